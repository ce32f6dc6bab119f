//! A content in order, read ahead by several threads: a planner walks the content list and forms
//! groups, workers fetch and open whole groups, the reader takes them in order. At most a fixed number
//! of groups is in memory, however long the content.
//!
//! Segments that a group uses whole and that lie one after another are fetched at once and opened once.
//! What is left, deltas and segments of which the content has only some chunks by now, goes through the
//! store of segments that all threads share: its neighbours ask for the same.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::base::clock::Cancel;
use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::format::list::ListEntry;
use crate::format::pack::Segment;
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
    Chunk { id: ChunkId, len: usize, found: Option<Found> },
    Zeros(u64),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Chunk { len, .. } => *len,
            // Few at a time: the planner sees to that.
            Piece::Zeros(len) => *len as usize,
        }
    }
}

/// Where a chunk lies.
struct Found {
    place: Place,
    pack: Arc<LoadedPack>,
}

impl Found {
    fn segment(&self) -> Option<&Segment> {
        self.pack.info.segments.get(self.place.segment as usize)
    }
}

/// Pieces that one thread reads.
type Group = Vec<Piece>;

type Answer = Result<Vec<u8>, Error>;

/// Reads a content from its start to its end.
pub struct ContentReader {
    /// Takes contents that are to follow; absent if none can.
    more: Option<Sender<Entries>>,
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
        let mut content = Self::start(reader, cancel)?;
        content.add(entries)?;
        content.more = None;
        Ok(content)
    }

    /// A reader of contents that are told with [`ContentReader::add`], in a row that never ends: nobody may
    /// ask it for more bytes than they have.
    pub fn endless(reader: Arc<ChunkReader>, cancel: Cancel) -> Result<Self, Error> {
        Self::start(reader, cancel)
    }

    /// Has `entries` read after all that was told before.
    pub fn add(&mut self, entries: Entries) -> Result<(), Error> {
        let told = self.more.as_ref().is_some_and(|more| more.send(entries).is_ok());
        if told { Ok(()) } else { Err(Error::Worker) }
    }

    fn start(reader: Arc<ChunkReader>, cancel: Cancel) -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let ahead = cores * 2 + 1;
        let (answers_out, answers) = bounded::<Receiver<Answer>>(ahead);
        let (groups_out, groups) = bounded::<(Group, Sender<Answer>)>(ahead);
        let (spare, spare_in) = bounded::<Vec<u8>>(ahead);
        let (more, contents) = unbounded();
        let mut threads = Vec::new();
        for _ in 0..cores {
            let (reader, groups, spare) = (reader.clone(), groups.clone(), spare_in.clone());
            threads.push(spawn("read", move || work(&reader, &groups, &spare))?);
        }
        let planned = Arc::new(AtomicBool::new(false));
        let all = Arc::clone(&planned);
        let planner = Planner { reader, groups: groups_out, answers: answers_out, cancel };
        threads.push(spawn("plan", move || planner.run(&contents, &all))?);
        let (more, answers, current) = (Some(more), Some(answers), Vec::new());
        Ok(ContentReader { more, answers, planned, spare, current, at: 0, threads })
    }

    /// The next bytes; empty at the end. They stay valid until the next call.
    pub fn next_bytes(&mut self) -> Result<&[u8], Error> {
        self.next_at_most(u64::MAX)
    }

    /// The next bytes, at most `most`, likewise.
    pub fn next_at_most(&mut self, most: u64) -> Result<&[u8], Error> {
        if self.at == self.current.len() {
            self.refill()?;
        }
        let left = self.current.len() - self.at;
        let from = self.at;
        self.at += usize::try_from(most).unwrap_or(usize::MAX).min(left);
        Ok(&self.current[from..self.at])
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
        // Closing the queues ends the planner, and that the workers.
        self.more = None;
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
    fn run(self, contents: &Receiver<Entries>, all: &AtomicBool) {
        match self.plan(contents) {
            // Before the queue closes, which happens when `self` is dropped.
            Ok(()) => all.store(true, Ordering::Release),
            Err(e) => {
                let (out, answer) = bounded(1);
                let _ = out.send(Err(e));
                let _ = self.answers.send(answer);
            }
        }
    }

    fn plan(&self, contents: &Receiver<Entries>) -> Result<(), Error> {
        let most = if self.reader.repo().backend().is_local() { GROUP_LOCAL } else { GROUP_REMOTE };
        let mut open = Open::default();
        while let Some(mut entries) = self.next_content(contents, &mut open) {
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
        }
        Ok(())
    }

    /// The next content; none if none follows, or nobody reads any more. Before it waits for one, it has read
    /// what was told of so far: whoever reads may want that first.
    fn next_content(&self, contents: &Receiver<Entries>, open: &mut Open) -> Option<Entries> {
        if let Ok(entries) = contents.try_recv() {
            return Some(entries);
        }
        if let Some(group) = open.take()
            && !self.send(group)
        {
            return None;
        }
        contents.recv().ok()
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
    pieces: Vec<Piece>,
    /// Pack and segment of the last chunk.
    last: Option<(u32, u32)>,
    sealed: u64,
    plain: u64,
}

impl Open {
    fn take(&mut self) -> Option<Group> {
        let done = std::mem::take(self);
        (!done.pieces.is_empty()).then_some(done.pieces)
    }

    /// Adds zeros; a group that is full comes out.
    fn add_zeros(&mut self, len: u64) -> Option<Group> {
        let full = if self.plain + len > GROUP_PLAIN { self.take() } else { None };
        self.pieces.push(Piece::Zeros(len));
        self.plain += len;
        full
    }

    /// Adds a chunk; the group before it comes out if it is full.
    fn add_chunk(
        &mut self,
        reader: &ChunkReader,
        id: ChunkId,
        len: u64,
        most: u64,
    ) -> Result<Option<Group>, Error> {
        let places = reader.places(&id)?;
        // Of several copies the one that goes on from the last chunk is the cheapest.
        let goes_on = |p: &&Place| {
            self.last.is_some_and(|(pack, last)| p.pack == pack && (last..=last + 1).contains(&p.segment))
        };
        let next = places.iter().find(goes_on);
        let place = *next.or(places.first()).ok_or(Error::MissingChunk { id })?;
        let is_full = self.sealed >= most || self.plain + len > GROUP_PLAIN;
        let full = if is_full { self.take() } else { None };
        // Without its key the chunk is looked for in its other places.
        let found = reader.pack(place.pack).ok().map(|pack| Found { place, pack });
        if self.last != Some((place.pack, place.segment)) {
            let segment = found.as_ref().and_then(Found::segment);
            self.sealed += segment.map_or(1, |segment| u64::from(segment.stored_len));
        }
        self.last = Some((place.pack, place.segment));
        self.plain += len;
        self.pieces.push(Piece::Chunk { id, len: len as usize, found });
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
        out.reserve_exact(group.iter().map(Piece::len).sum());
        let done = fetch(reader, &group, &mut sealed, &mut scratch, &mut out);
        let _ = answer.send(done.map(|()| out));
    }
}

/// Reads a group. A chunk that does not come out well is tried again by itself, from wherever else it is.
fn fetch(
    reader: &ChunkReader,
    group: &[Piece],
    sealed: &mut Vec<u8>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut rest = group;
    while let Some(piece) = rest.first() {
        let whole = whole_segments(rest);
        if whole > 0 {
            let (run, after) = rest.split_at(whole);
            read_run(reader, run, sealed, scratch, out)?;
            rest = after;
            continue;
        }
        match piece {
            Piece::Zeros(len) => append_zeros(out, *len)?,
            Piece::Chunk { id, len, .. } => {
                let before = out.len();
                if !reader.append_shared(id, scratch, out)? {
                    reader.append_chunk(ChunkKind::Data, id, scratch, out)?;
                }
                of_length(id, *len, out.len() - before)?;
            }
        }
        rest = &rest[1..];
    }
    Ok(())
}

/// How many of the first pieces are all the chunks of segments that are no deltas and lie one after
/// another in one pack.
fn whole_segments(pieces: &[Piece]) -> usize {
    let mut whole = 0;
    let mut last: Option<(u32, u32)> = None;
    while let Some(Piece::Chunk { found: Some(first), .. }) = pieces.get(whole) {
        let Place { pack, segment, .. } = first.place;
        let Some(described) = first.segment().filter(|segment| segment.depth == 0) else { break };
        if last.is_some_and(|last| last != (pack, segment.wrapping_sub(1))) {
            break;
        }
        let has = |(ordinal, piece): (u16, &Piece)| match piece {
            Piece::Chunk { found: Some(found), .. } => found.place == Place { pack, segment, ordinal },
            Piece::Chunk { found: None, .. } | Piece::Zeros(_) => false,
        };
        let count = usize::from(described.chunk_count);
        let all = pieces.get(whole..whole + count);
        if !all.is_some_and(|all| (0..).zip(all).all(has)) {
            break;
        }
        whole += count;
        last = Some((pack, segment));
    }
    whole
}

/// Fetches whole segments at once and opens them one after another.
fn read_run(
    reader: &ChunkReader,
    run: &[Piece],
    sealed: &mut Vec<u8>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = fetch_range(reader, run, sealed);
    let mut rest = run;
    while let Some(Piece::Chunk { found: Some(first), .. }) = rest.first() {
        let count = first.segment().map_or(1, |segment| usize::from(segment.chunk_count));
        let (chunks, after) = rest.split_at(count.min(rest.len()));
        let plain = start.and_then(|start| open(reader, first, start, sealed, scratch));
        // What does not open is looked for by itself, which needs the same buffers.
        let mut missing = chunks.len();
        for (at, piece) in chunks.iter().enumerate() {
            let Piece::Chunk { id, len, found: Some(found) } = piece else { return Err(Error::Worker) };
            let chunk = plain
                .and_then(|plain| reader.checked(&found.pack, found.place, ChunkKind::Data, id, plain).ok());
            let Some(chunk) = chunk else {
                missing = at;
                break;
            };
            of_length(id, *len, chunk.len())?;
            out.extend_from_slice(chunk);
        }
        for piece in &chunks[missing..] {
            let Piece::Chunk { id, len, .. } = piece else { return Err(Error::Worker) };
            let before = out.len();
            reader.append_chunk(ChunkKind::Data, id, scratch, out)?;
            of_length(id, *len, out.len() - before)?;
        }
        rest = after;
    }
    Ok(())
}

/// Fetches from a run's first segment to its last; where that begins in the pack, if it could be read.
fn fetch_range(reader: &ChunkReader, run: &[Piece], sealed: &mut Vec<u8>) -> Option<u64> {
    let range = |piece: &Piece| match piece {
        Piece::Chunk { found: Some(found), .. } => Some(found.segment()?.range()),
        Piece::Chunk { found: None, .. } | Piece::Zeros(_) => None,
    };
    let Piece::Chunk { found: Some(first), .. } = run.first()? else { return None };
    let (start, end) = (range(run.first()?)?.start, range(run.last()?)?.end);
    sealed.clear();
    reader.repo().backend().get_range(&first.pack.name, start..end, sealed).ok()?;
    Some(start)
}

/// Opens a segment out of the fetched range; `None` if it is damaged.
fn open<'s>(
    reader: &ChunkReader,
    found: &Found,
    start: u64,
    sealed: &[u8],
    scratch: &'s mut Scratch,
) -> Option<&'s [u8]> {
    let range = found.segment()?.range();
    let own = sealed.get((range.start - start) as usize..(range.end - start) as usize)?;
    reader.open(&found.pack, found.place.segment, own, scratch).ok()
}

/// A list can lie about a chunk's length.
fn of_length(id: &ChunkId, listed: usize, len: usize) -> Result<(), Error> {
    if listed == len {
        return Ok(());
    }
    Err(Error::damaged("a content list", format!("chunk {id} has another length than its list says")))
}

/// Zeros of a hole or a run: at most `GROUP_PLAIN` of them, the planner saw to that.
fn append_zeros(out: &mut Vec<u8>, len: u64) -> Result<(), Error> {
    let len = usize::try_from(len).map_err(|_| Error::Worker)?;
    out.resize(out.len() + len, 0);
    Ok(())
}
