//! A content in order, read ahead by several threads: a planner walks the content list and groups
//! chunks that lie together, workers fetch and open whole groups, the reader takes them in order.
//! At most a fixed number of groups is in memory, however long the content.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::clock::Cancel;
use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::format::list::ListEntry;
use crate::repo::Error;
use crate::repo::index::Place;
use crate::repo::pack::Scratch;
use crate::repo::read::chunk::LoadedPack;
use crate::repo::read::{ChunkReader, Entries};

/// Sealed bytes that one fetch reads from a local disk: enough to amortise the call.
pub(super) const GROUP_LOCAL: u64 = 512 << 10;
/// The same over a network, where a request costs milliseconds.
pub(super) const GROUP_REMOTE: u64 = 4 << 20;
/// Plaintext of one group at most, whatever it compresses to.
pub(super) const GROUP_PLAIN: u64 = 4 << 20;

/// One piece of the content.
enum Piece {
    Chunk { id: ChunkId, place: Place, len: usize },
    Zeros(u64),
}

/// Pieces whose chunks lie one after another in one pack.
struct Group {
    pack: Option<Arc<LoadedPack>>,
    pieces: Vec<Piece>,
}

type Answer = Result<Vec<u8>, Error>;

/// Reads a content from its start to its end.
pub struct ContentReader {
    answers: Option<Receiver<Receiver<Answer>>>,
    /// Raised by the planner when it has planned all of the content.
    planned: Arc<AtomicBool>,
    spare: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    threads: Vec<JoinHandle<()>>,
}

impl ContentReader {
    /// Starts to read ahead over `entries`, which may be the lists of several contents in a row.
    pub fn new(reader: Arc<ChunkReader>, entries: Entries, cancel: Cancel) -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let ahead = cores * 2 + 1;
        let (answers_out, answers) = bounded::<Receiver<Answer>>(ahead);
        let (groups_out, groups) = bounded::<(Group, Sender<Answer>)>(ahead);
        let (spare, spare_in) = bounded::<Vec<u8>>(ahead);
        let mut threads = Vec::new();
        for _ in 0..cores {
            let (reader, groups, spare) = (reader.clone(), groups.clone(), spare_in.clone());
            threads.push(spawn("read", move || work(&reader, &groups, &spare))?);
        }
        let planned = Arc::new(AtomicBool::new(false));
        let all = Arc::clone(&planned);
        let planner = Planner { reader, groups: groups_out, answers: answers_out, cancel };
        threads.push(spawn("plan", move || planner.run(entries, &all))?);
        let (answers, current) = (Some(answers), Vec::new());
        Ok(ContentReader { answers, planned, spare, current, at: 0, threads })
    }

    /// The next bytes; empty at the end. They stay valid until the next call.
    pub fn next_bytes(&mut self) -> Result<&[u8], Error> {
        if self.at == self.current.len() {
            self.refill()?;
        }
        let from = std::mem::replace(&mut self.at, self.current.len());
        Ok(&self.current[from..])
    }

    fn refill(&mut self) -> Result<(), Error> {
        let used = std::mem::take(&mut self.current);
        self.at = 0;
        if used.capacity() > 0 {
            let _ = self.spare.try_send(used);
        }
        let Some(answers) = &self.answers else { return Ok(()) };
        while self.current.is_empty() {
            let Ok(answer) = answers.recv() else {
                // The planner ended. Only if it says so has the content ended too.
                self.answers = None;
                return if self.planned.load(Ordering::Acquire) { Ok(()) } else { Err(Error::Worker) };
            };
            self.current = answer.recv().map_err(|_| Error::Worker)??;
        }
        Ok(())
    }
}

impl io::Read for ContentReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            self.refill().map_err(io::Error::other)?;
        }
        let n = out.len().min(self.current.len() - self.at);
        out[..n].copy_from_slice(&self.current[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

impl Drop for ContentReader {
    fn drop(&mut self) {
        // Closing the queue ends the planner, and that the workers.
        self.answers = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(body).map_err(|source| Error::Source { what: "a new thread's start".into(), source })
}

/// Walks the content list and forms groups.
struct Planner {
    reader: Arc<ChunkReader>,
    groups: Sender<(Group, Sender<Answer>)>,
    answers: Sender<Receiver<Answer>>,
    cancel: Cancel,
}

impl Planner {
    fn run(self, entries: Entries, all: &AtomicBool) {
        match self.plan(entries) {
            // Before the queue closes, which happens when `self` is dropped.
            Ok(()) => all.store(true, Ordering::Release),
            Err(e) => {
                let (out, answer) = bounded(1);
                let _ = out.send(Err(e));
                let _ = self.answers.send(answer);
            }
        }
    }

    fn plan(&self, mut entries: Entries) -> Result<(), Error> {
        let most = if self.reader.repo().backend().is_local() { GROUP_LOCAL } else { GROUP_REMOTE };
        let mut open = Open::default();
        while let Some(entry) = entries.next(&self.reader)? {
            if self.cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let going_on = match entry {
                ListEntry::Hole { len } | ListEntry::Zeros { len } => self.plan_zeros(&mut open, len),
                ListEntry::Chunk { id, len } => {
                    let full = open.add_chunk(&self.reader, id, len.into(), most)?;
                    full.is_none_or(|group| self.send(group))
                }
                ListEntry::List { .. } => return Err(Error::Worker),
            };
            if !going_on {
                return Ok(());
            }
        }
        if let Some(group) = open.take() {
            self.send(group);
        }
        Ok(())
    }

    /// A hole of a terabyte becomes many small runs of zeros: memory stays bounded.
    fn plan_zeros(&self, open: &mut Open, mut len: u64) -> bool {
        while len > 0 {
            let part = len.min(GROUP_PLAIN);
            len -= part;
            if let Some(group) = open.add_zeros(part)
                && !self.send(group)
            {
                return false;
            }
        }
        true
    }

    /// `false` when nobody reads any more.
    fn send(&self, group: Group) -> bool {
        let (out, answer) = bounded(1);
        self.answers.send(answer).is_ok() && self.groups.send((group, out)).is_ok()
    }
}

/// The group being formed.
#[derive(Default)]
struct Open {
    pack_number: Option<u32>,
    pack: Option<Arc<LoadedPack>>,
    pieces: Vec<Piece>,
    last_segment: u32,
    sealed: u64,
    plain: u64,
}

impl Open {
    fn take(&mut self) -> Option<Group> {
        let done = std::mem::take(self);
        (!done.pieces.is_empty()).then_some(Group { pack: done.pack, pieces: done.pieces })
    }

    /// Adds zeros; a group that is full comes out.
    fn add_zeros(&mut self, len: u64) -> Option<Group> {
        let full = if self.plain + len > GROUP_PLAIN { self.take() } else { None };
        self.pieces.push(Piece::Zeros(len));
        self.plain += len;
        full
    }

    /// Adds a chunk; the group before it comes out if the chunk does not continue it.
    fn add_chunk(
        &mut self,
        reader: &ChunkReader,
        id: ChunkId,
        len: u64,
        most: u64,
    ) -> Result<Option<Group>, Error> {
        let places = reader.places(&id)?;
        // Of several copies the one that continues the group is the cheapest.
        let next = places.iter().find(|p| {
            self.pack_number == Some(p.pack)
                && (p.segment == self.last_segment || p.segment == self.last_segment + 1)
        });
        let place = *next.or(places.first()).ok_or(Error::MissingChunk { id })?;
        let room = self.sealed < most && self.plain + len <= GROUP_PLAIN;
        let full = if self.pieces.is_empty() || (room && (next.is_some() || self.pack_number.is_none())) {
            None
        } else {
            self.take()
        };
        if self.pack_number.is_none() {
            // Without its key each chunk is looked for by itself, in its other places too.
            self.pack = reader.pack(place.pack).ok();
            self.pack_number = Some(place.pack);
        }
        if self.sealed == 0 || place.segment != self.last_segment {
            let segment = self.pack.as_ref().and_then(|p| p.info.segments.get(place.segment as usize));
            self.sealed += segment.map_or(1, |s| u64::from(s.stored_len));
        }
        self.last_segment = place.segment;
        self.plain += len;
        self.pieces.push(Piece::Chunk { id, place, len: len as usize });
        Ok(full)
    }
}

/// One fetching thread.
fn work(reader: &ChunkReader, groups: &Receiver<(Group, Sender<Answer>)>, spare: &Receiver<Vec<u8>>) {
    let mut scratch = Scratch::default();
    let mut sealed = Vec::new();
    for (group, answer) in groups {
        let mut out = spare.try_recv().unwrap_or_default();
        out.clear();
        let done = fetch(reader, &group, &mut sealed, &mut scratch, &mut out);
        let _ = answer.send(done.map(|()| out));
    }
}

/// Reads a group's range at once and opens its segments one after another. A chunk that does not
/// come out well is tried again by itself, from wherever else it is.
fn fetch(
    reader: &ChunkReader,
    group: &Group,
    sealed: &mut Vec<u8>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let fetched = group.pack.as_ref().map(|pack| fetch_range(reader, pack, group, sealed));
    let start = match fetched {
        Some(Ok(start)) => start,
        // Unreadable at this place: each chunk is looked for by itself.
        Some(Err(_)) | None => None,
    };
    let mut open: Option<u32> = None;
    let mut plain: Vec<u8> = Vec::new();
    for piece in &group.pieces {
        let (id, place, len) = match piece {
            Piece::Zeros(len) => {
                append_zeros(out, *len)?;
                continue;
            }
            Piece::Chunk { id, place, len } => (id, *place, *len),
        };
        let before = out.len();
        if let (Some(pack), Some(start)) = (&group.pack, start) {
            if open != Some(place.segment) {
                open = open_into(reader, pack, place.segment, start, sealed, scratch, &mut plain);
            }
            if open == Some(place.segment)
                && let Ok(chunk) = reader.checked(pack, place, ChunkKind::Data, id, &plain)
            {
                out.extend_from_slice(chunk);
            }
        }
        if out.len() == before {
            reader.append_chunk(ChunkKind::Data, id, scratch, out)?;
        }
        if out.len() - before != len {
            let reason = format!("chunk {id} has another length than its list says");
            return Err(Error::damaged("a content list", reason));
        }
    }
    Ok(())
}

/// Fetches from the group's first segment to its last; answers the range's start.
fn fetch_range(
    reader: &ChunkReader,
    pack: &LoadedPack,
    group: &Group,
    sealed: &mut Vec<u8>,
) -> Result<Option<u64>, Error> {
    let mut segments = group.pieces.iter().filter_map(|piece| match piece {
        Piece::Chunk { place, .. } => pack.info.segments.get(place.segment as usize),
        Piece::Zeros(_) => None,
    });
    let Some(first) = segments.next() else { return Ok(None) };
    let end = segments.next_back().unwrap_or(first).range().end;
    sealed.clear();
    reader.repo().backend().get_range(&pack.name, first.offset..end, sealed)?;
    Ok(Some(first.offset))
}

/// Opens `segment` out of the fetched range; `None` if it is damaged.
fn open_into(
    reader: &ChunkReader,
    pack: &LoadedPack,
    segment: u32,
    start: u64,
    sealed: &[u8],
    scratch: &mut Scratch,
    plain: &mut Vec<u8>,
) -> Option<u32> {
    let range = pack.info.segments.get(segment as usize)?.range();
    let own = sealed.get((range.start - start) as usize..(range.end - start) as usize)?;
    let opened = reader.open(pack, segment, own, scratch).ok()?;
    plain.clear();
    plain.extend_from_slice(opened);
    Some(segment)
}

/// Zeros of a hole or a run: at most `GROUP_PLAIN` of them, the planner saw to that.
fn append_zeros(out: &mut Vec<u8>, len: u64) -> Result<(), Error> {
    let len = usize::try_from(len).map_err(|_| Error::Worker)?;
    out.resize(out.len() + len, 0);
    Ok(())
}
