//! Many chunks in order, read by the calling thread alone: for whoever keeps all cores busy with many
//! such readers, as the restore of a tree of small files does, where threads for each content would
//! cost more than the content. What lies together is fetched at once and opened once. A chunk that
//! cannot be read is told and hinders none of the others.

use std::ops::Range;
use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::format::pack::Segment;
use crate::repo::Error;
use crate::repo::index::Place;
use crate::repo::pack::Scratch;
use crate::repo::read::ChunkReader;
use crate::repo::read::chunk::LoadedPack;
use crate::repo::read::content::{GROUP_LOCAL, GROUP_PLAIN, GROUP_REMOTE};

/// A chunk that is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its id.
    pub id: ChunkId,
    /// Its length in bytes, as its list says.
    pub len: u32,
    /// One of its places, if the caller looked it up already; it is looked up otherwise.
    pub place: Option<Place>,
}

/// Takes what became of the chunk with this number; an error stops the reading.
pub type TakeChunk<'t, E> = &'t mut dyn FnMut(usize, Result<&[u8], Error>) -> Result<(), E>;

/// Reads chunks of file data. One for each thread.
pub struct BatchReader {
    reader: Arc<ChunkReader>,
    sealed: Vec<u8>,
    scratch: Scratch,
    alone: Alone,
}

/// Reads one chunk by itself, from wherever it is.
#[derive(Default)]
struct Alone {
    scratch: Scratch,
    chunk: Vec<u8>,
}

/// Chunks that lie one after another in one pack.
struct Run {
    pack: Arc<LoadedPack>,
    places: Vec<Place>,
    /// Of the sealed bytes in the pack.
    range: Range<u64>,
}

impl BatchReader {
    /// A reader beside others on the same repository.
    pub fn new(reader: Arc<ChunkReader>) -> Self {
        BatchReader { reader, sealed: Vec::new(), scratch: Scratch::default(), alone: Alone::default() }
    }

    /// Hands out each of `chunks`, in order, with the length that its list says.
    pub fn read<E>(&mut self, chunks: &[Wanted], each: TakeChunk<'_, E>) -> Result<(), E> {
        let mut at = 0;
        let mut ahead = None;
        while at < chunks.len() {
            match self.run(&chunks[at..], &mut ahead) {
                Some(run) => {
                    let end = at + run.places.len();
                    self.read_run(&run, &chunks[at..end], at, each)?;
                    at = end;
                }
                None => {
                    each(at, self.alone.read(&self.reader, &chunks[at]))?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// The chunks from the first on that can be fetched at once; none if its place is not known, or
    /// of no use. `ahead` is a place of the next chunk, if one is known already.
    fn run(&self, chunks: &[Wanted], ahead: &mut Option<Place>) -> Option<Run> {
        let most = if self.reader.repo().backend().is_local() { GROUP_LOCAL } else { GROUP_REMOTE };
        let first = chunks.first()?;
        let known = ahead.take().or(first.place);
        let place = known.or_else(|| self.reader.places(&first.id).ok()?.first().copied())?;
        let pack = self.reader.pack(place.pack).ok()?;
        // A delta is read by itself: its bases lie elsewhere.
        let is_whole = |segment: &&Segment| segment.depth == 0;
        let segment = pack.info.segments.get(place.segment as usize).filter(is_whole)?;
        let mut run = Run { places: vec![place], range: segment.range(), pack: pack.clone() };
        let mut plain = u64::from(first.len);
        let mut last = place;
        for chunk in &chunks[1..] {
            plain += u64::from(chunk.len);
            let goes_on = |p: &Place| {
                p.pack == last.pack && (p.segment == last.segment || p.segment == last.segment + 1)
            };
            let next = match chunk.place.filter(goes_on) {
                Some(next) => next,
                None => {
                    // Another copy of it may lie where this one goes on.
                    let Ok(places) = self.reader.places(&chunk.id) else { break };
                    let Some(next) = places.iter().copied().find(goes_on) else {
                        *ahead = places.first().copied();
                        break;
                    };
                    next
                }
            };
            // What lies in the last segment is opened with it, however long the run is.
            let is_full = plain > GROUP_PLAIN || run.range.end - run.range.start >= most;
            let ends = is_full && next.segment != last.segment;
            let segment = pack.info.segments.get(next.segment as usize).filter(is_whole);
            let Some(segment) = segment.filter(|_| !ends) else {
                *ahead = Some(next);
                break;
            };
            run.range.end = segment.range().end;
            run.places.push(next);
            last = next;
        }
        Some(run)
    }

    /// Fetches a run and opens its segments one after another.
    fn read_run<E>(
        &mut self,
        run: &Run,
        chunks: &[Wanted],
        from: usize,
        each: TakeChunk<'_, E>,
    ) -> Result<(), E> {
        let BatchReader { reader, sealed, scratch, alone } = self;
        sealed.clear();
        let fetched = reader.repo().backend().get_range(&run.pack.name, run.range.clone(), sealed).is_ok();
        let mut at = 0;
        while at < chunks.len() {
            let segment = run.places[at].segment;
            let count = run.places[at..].iter().take_while(|place| place.segment == segment).count();
            let plain = if fetched { open(reader, run, segment, sealed, scratch) } else { None };
            let these = chunks[at..at + count].iter().zip(&run.places[at..]);
            for (number, (wanted, place)) in (at..).zip(these) {
                let found = plain.and_then(|plain| {
                    reader.checked(&run.pack, *place, ChunkKind::Data, &wanted.id, plain).ok()
                });
                match found {
                    Some(chunk) => each(from + number, of_length(wanted, chunk))?,
                    None => each(from + number, alone.read(reader, wanted))?,
                }
            }
            at += count;
        }
        Ok(())
    }
}

impl Alone {
    fn read(&mut self, reader: &ChunkReader, wanted: &Wanted) -> Result<&[u8], Error> {
        self.chunk.clear();
        reader.append_chunk(ChunkKind::Data, &wanted.id, &mut self.scratch, &mut self.chunk)?;
        of_length(wanted, &self.chunk)
    }
}

/// Opens a segment out of the fetched range; `None` if it is damaged.
fn open<'s>(
    reader: &ChunkReader,
    run: &Run,
    segment: u32,
    sealed: &[u8],
    scratch: &'s mut Scratch,
) -> Option<&'s [u8]> {
    let range = run.pack.info.segments.get(segment as usize)?.range();
    let start = range.start.checked_sub(run.range.start)? as usize;
    let own = sealed.get(start..start + (range.end - range.start) as usize)?;
    reader.open(&run.pack, segment, own, scratch).ok()
}

/// A list can lie about a chunk's length.
fn of_length<'c>(wanted: &Wanted, chunk: &'c [u8]) -> Result<&'c [u8], Error> {
    if chunk.len() == wanted.len as usize {
        return Ok(chunk);
    }
    let id = wanted.id;
    Err(Error::damaged("a content list", format!("chunk {id} has another length than its list says")))
}
