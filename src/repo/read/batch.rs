//! Many chunks in order, read by the calling thread alone: for whoever keeps all cores busy with many
//! such readers, as the restore of a tree of small files does, where threads for each content would
//! cost more than the content. What lies together is fetched at once and opened once. A chunk that
//! cannot be read is told and hinders none of the others.

use std::ops::Range;
use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::repo::Error;
use crate::repo::index::Place;
use crate::repo::pack::Scratch;
use crate::repo::read::ChunkReader;
use crate::repo::read::chunk::{LoadedPack, segment_of};
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
    found: Found,
    sealed: Vec<u8>,
    scratch: Scratch,
    alone: Alone,
}

/// Where the chunks of one call lie, in their order.
#[derive(Default)]
struct Found {
    places: Vec<Place>,
    /// Where those of each chunk end.
    ends: Vec<usize>,
}

/// Reads one chunk by itself, from wherever it is.
#[derive(Default)]
struct Alone {
    scratch: Scratch,
    chunk: Vec<u8>,
}

/// What is read next.
enum Step {
    Run(Run),
    /// A chunk in a delta: what that is decoded with lies elsewhere.
    Delta {
        pack: Arc<LoadedPack>,
        place: Place,
    },
    /// A chunk whose place is not known, or of no use.
    Alone,
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
        let (found, sealed) = (Found::default(), Vec::new());
        BatchReader { reader, found, sealed, scratch: Scratch::default(), alone: Alone::default() }
    }

    /// Hands out each of `chunks`, in order, with the length that its list says.
    pub fn read<E>(&mut self, chunks: &[Wanted], each: TakeChunk<'_, E>) -> Result<(), E> {
        self.found.look_up(&self.reader, chunks);
        let mut at = 0;
        let mut ahead = None;
        while at < chunks.len() {
            match self.step(chunks, at, &mut ahead) {
                Step::Run(run) => {
                    let end = at + run.places.len();
                    self.read_run(&run, &chunks[at..end], at, each)?;
                    at = end;
                }
                Step::Delta { pack, place } => {
                    self.read_delta(&pack, place, &chunks[at], at, each)?;
                    at += 1;
                }
                Step::Alone => {
                    each(at, self.alone.read(&self.reader, &chunks[at]))?;
                    at += 1;
                }
            }
        }
        Ok(())
    }

    /// What the chunks from `at` on begin with. `ahead` is the place of the first, if that is settled.
    fn step(&self, chunks: &[Wanted], at: usize, ahead: &mut Option<Place>) -> Step {
        let place = ahead.take().or_else(|| self.found.of(at).first().copied());
        let Some(place) = place else { return Step::Alone };
        let Ok(pack) = self.reader.pack(place.pack) else { return Step::Alone };
        match segment_of(&pack, place.segment) {
            Ok(segment) if segment.depth == 0 => {
                let range = segment.range();
                Step::Run(self.run(chunks, at, Run { pack, places: vec![place], range }, ahead))
            }
            Ok(_) => Step::Delta { pack, place },
            Err(_) => Step::Alone,
        }
    }

    /// Makes `run`, which has the chunk `at`, as long as it can be fetched at once.
    fn run(&self, chunks: &[Wanted], at: usize, mut run: Run, ahead: &mut Option<Place>) -> Run {
        let most = if self.reader.repo().backend().is_local() { GROUP_LOCAL } else { GROUP_REMOTE };
        let mut plain = u64::from(chunks[at].len);
        for (number, chunk) in chunks.iter().enumerate().skip(at + 1) {
            plain += u64::from(chunk.len);
            let Some(&last) = run.places.last() else { break };
            let goes_on = |p: &Place| {
                p.pack == last.pack && (p.segment == last.segment || p.segment == last.segment + 1)
            };
            // Of several copies the one that lies where this goes on.
            let places = self.found.of(number);
            let Some(next) = places.iter().copied().find(goes_on) else { break };
            // What lies in the last segment is opened with it, however long the run is.
            let is_full = plain > GROUP_PLAIN || run.range.end - run.range.start >= most;
            let ends = is_full && next.segment != last.segment;
            let segment = segment_of(&run.pack, next.segment).ok().filter(|segment| segment.depth == 0);
            let Some(segment) = segment.filter(|_| !ends) else {
                *ahead = Some(next);
                break;
            };
            run.range.end = segment.range().end;
            run.places.push(next);
        }
        run
    }

    /// Fetches a run and opens its segments one after another. Of a segment at either end the rest is often
    /// wanted too, by what comes before or after: a delta against a chunk in the middle of it, and what
    /// follows that. So such a one goes to, or comes from, the store of segments.
    fn read_run<E>(
        &mut self,
        run: &Run,
        chunks: &[Wanted],
        from: usize,
        each: TakeChunk<'_, E>,
    ) -> Result<(), E> {
        let BatchReader { reader, sealed, scratch, alone, .. } = self;
        let count_at = |at: usize| run.count_at(at);
        let mut kept = run.is_part(0, count_at(0)).then(|| reader.kept(run.places[0])).flatten();
        let range = run.range_from(if kept.is_some() { count_at(0) } else { 0 });
        sealed.clear();
        let fetched = range.is_empty()
            || reader.source().get_range(reader.repo(), &run.pack, range.clone(), sealed).is_ok();
        let own = |segment: u32| {
            let own = segment_of(&run.pack, segment).ok().filter(|_| fetched)?.range();
            let start = own.start.checked_sub(range.start)? as usize;
            sealed.get(start..start + (own.end - own.start) as usize)
        };
        let mut at = 0;
        while at < chunks.len() {
            let (place, count) = (run.places[at], count_at(at));
            if kept.is_none() && run.is_part(at, count) {
                let shared = |sealed| reader.share_segment(&run.pack, place, sealed, scratch).ok();
                kept = own(place.segment).and_then(shared);
            }
            let opened = match kept.as_ref() {
                Some(decoded) => Some(&decoded.plain[..]),
                None => own(place.segment)
                    .and_then(|sealed| reader.open(&run.pack, place.segment, sealed, scratch).ok()),
            };
            let these = chunks[at..at + count].iter().zip(&run.places[at..]);
            for (number, (wanted, place)) in (at..).zip(these) {
                let found = opened.and_then(|plain| {
                    reader.checked(&run.pack, *place, ChunkKind::Data, &wanted.id, plain).ok()
                });
                match found {
                    Some(chunk) => each(from + number, of_length(wanted, chunk))?,
                    None => each(from + number, alone.read(reader, wanted))?,
                }
            }
            kept = None;
            at += count;
        }
        Ok(())
    }

    /// Reads the chunk `wanted`, which has the number `number`, out of the delta at `place`.
    fn read_delta<E>(
        &mut self,
        pack: &LoadedPack,
        place: Place,
        wanted: &Wanted,
        number: usize,
        each: TakeChunk<'_, E>,
    ) -> Result<(), E> {
        let BatchReader { reader, scratch, alone, .. } = self;
        let decoded = reader.shared_segment(pack, place, scratch);
        let found = decoded.as_ref().ok().and_then(|decoded| {
            reader.checked(pack, place, ChunkKind::Data, &wanted.id, &decoded.plain).ok()
        });
        match found {
            Some(chunk) => each(number, of_length(wanted, chunk)),
            None => each(number, alone.read(reader, wanted)),
        }
    }
}

impl Found {
    /// Looks all of `chunks` up that come without a place. Those that are not found are read by themselves,
    /// which tells why.
    fn look_up(&mut self, reader: &ChunkReader, chunks: &[Wanted]) {
        let Found { places, ends } = self;
        places.clear();
        ends.clear();
        // What an error leaves out counts as not found.
        let _ = reader.repo().index().look(&mut |look| {
            chunks.iter().try_for_each(|chunk| {
                match chunk.place {
                    Some(place) => places.push(place),
                    None => look.append(&chunk.id, places)?,
                }
                ends.push(places.len());
                Ok(())
            })
        });
        ends.resize(chunks.len(), places.len());
    }

    /// The places of a chunk: all of them, or the one that it came with.
    fn of(&self, number: usize) -> &[Place] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.places[start..self.ends[number]]
    }
}

impl Run {
    /// How many chunks from `at` on lie in one segment.
    fn count_at(&self, at: usize) -> usize {
        let Some(first) = self.places.get(at) else { return 0 };
        self.places[at..].iter().take_while(|place| place.segment == first.segment).count()
    }

    /// Whether the `count` chunks from `at` on are at an end of the run, and not all of their segment.
    fn is_part(&self, at: usize, count: usize) -> bool {
        let is_end = at == 0 || at + count == self.places.len();
        let segment = self.places.get(at).and_then(|place| segment_of(&self.pack, place.segment).ok());
        is_end && segment.is_some_and(|segment| count < usize::from(segment.chunk_count))
    }

    /// The sealed bytes of what begins with the chunk `at`.
    fn range_from(&self, at: usize) -> Range<u64> {
        let segment = self.places.get(at).and_then(|place| segment_of(&self.pack, place.segment).ok());
        segment.map_or(self.range.end, |segment| segment.range().start)..self.range.end
    }
}

impl Alone {
    fn read(&mut self, reader: &ChunkReader, wanted: &Wanted) -> Result<&[u8], Error> {
        self.chunk.clear();
        reader.append_chunk(ChunkKind::Data, &wanted.id, &mut self.scratch, &mut self.chunk)?;
        of_length(wanted, &self.chunk)
    }
}

/// A list can lie about a chunk's length.
fn of_length<'c>(wanted: &Wanted, chunk: &'c [u8]) -> Result<&'c [u8], Error> {
    if chunk.len() == wanted.len as usize {
        return Ok(chunk);
    }
    let id = wanted.id;
    Err(Error::damaged("a content list", format!("chunk {id} has another length than its list says")))
}
