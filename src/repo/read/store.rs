//! Decoded segments that chains of deltas go through, and ranges of packs that were fetched for them.
//! Both are shared between threads and bounded: a reader that passes over a content needs each link of
//! its chunks' chains once, and those of their neighbours right after (D-2).

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::base::id::ChunkId;
use crate::repo::read::chunk::LoadedPack;
use crate::repo::read::source::Source;
use crate::repo::{Error, Repository};

/// Plaintext that is kept: what two threads need around their places in each of some twenty links.
const PLAIN_KEPT: usize = 24 << 20;
/// Buffers that are kept for what is decoded next.
const SPARE: usize = 4;
/// Damaged segments that are remembered.
const BAD_KEPT: usize = 4096;
/// Ranges of packs that are kept: one for each link of two threads' places.
const RANGES_KEPT: usize = 40;
/// Bytes of a range, from a local disk: enough to amortise the call.
const RANGE_LOCAL: u64 = 256 << 10;
/// The same over a network, where a request costs milliseconds.
const RANGE_REMOTE: u64 = 1 << 20;

/// A segment: number of its pack in the cache, and its own.
pub type SegmentKey = (u32, u32);

/// The store.
#[derive(Default)]
pub struct Store {
    segments: Mutex<Segments>,
    /// Told whenever a segment is there, or will not be.
    settled: Condvar,
    ranges: Mutex<VecDeque<Fetched>>,
    spare: Mutex<Vec<Vec<u8>>>,
}

#[derive(Default)]
struct Segments {
    map: HashMap<SegmentKey, Slot>,
    plain: usize,
    /// Damaged ones.
    bad: usize,
    /// Counts uses, so that the one unused for longest can go.
    uses: u64,
    /// Threads that wait for one to be settled.
    waiting: usize,
    /// What was the count when each call began that is still going on.
    calls: Vec<u64>,
}

/// While a chunk's chain is gone through nothing that it used goes: with less room than a chain takes,
/// each link would be decoded again for each that needs it, and what is below it as often again.
pub struct Call<'s> {
    store: &'s Store,
    began: u64,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Ok(mut segments) = self.store.segments.lock()
            && let Some(at) = segments.calls.iter().position(|began| *began == self.began)
        {
            segments.calls.swap_remove(at);
        }
    }
}

/// A segment's plaintext.
pub struct Decoded {
    /// The bytes.
    pub plain: Vec<u8>,
    /// Which of its chunks, by their ordinals, were found to have which ids. The index may claim two ids of
    /// one place.
    verified: Mutex<Vec<(u16, ChunkId)>>,
}

impl Decoded {
    /// Whether the chunk `ordinal` was found to be `id`. A chunk is a base of more than one delta.
    pub fn is_verified(&self, ordinal: u16, id: &ChunkId) -> bool {
        self.verified.lock().is_ok_and(|verified| verified.contains(&(ordinal, *id)))
    }

    /// Notes that it was.
    pub fn set_verified(&self, ordinal: u16, id: &ChunkId) {
        if let Ok(mut verified) = self.verified.lock() {
            verified.push((ordinal, *id));
        }
    }
}

enum Slot {
    /// A thread decodes it.
    Begun,
    There {
        plain: Arc<Decoded>,
        used: u64,
    },
    /// It is damaged, and in which way.
    Bad(String),
}

/// A part of a pack.
#[derive(Clone)]
struct Fetched {
    pack: u32,
    range: Range<u64>,
    bytes: Arc<Vec<u8>>,
}

/// What a thread may do about a segment.
pub enum Turn<'s> {
    /// It is there.
    There(Arc<Decoded>),
    /// It was tried, and is damaged.
    Bad(String),
    /// Decode it: others wait.
    Yours(Promise<'s>),
}

/// Others wait for a segment until this is kept or dropped.
pub struct Promise<'s> {
    store: &'s Store,
    key: SegmentKey,
    is_kept: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, Error> {
    mutex.lock().map_err(|_| Error::Worker)
}

impl Store {
    /// Begins a call.
    pub fn begin(&self) -> Result<Call<'_>, Error> {
        let mut segments = lock(&self.segments)?;
        segments.uses += 1;
        let began = segments.uses;
        segments.calls.push(began);
        Ok(Call { store: self, began })
    }

    /// A segment, or the right to decode it. Waits for a thread that does: it never waits for this one in
    /// turn, because whoever has a segment in hand only asks for less deep ones.
    pub fn segment(&self, key: SegmentKey) -> Result<Turn<'_>, Error> {
        let mut segments = lock(&self.segments)?;
        loop {
            segments.uses += 1;
            let now = segments.uses;
            match segments.map.get_mut(&key) {
                Some(Slot::There { plain, used }) => {
                    *used = now;
                    return Ok(Turn::There(plain.clone()));
                }
                Some(Slot::Bad(reason)) => return Ok(Turn::Bad(reason.clone())),
                Some(Slot::Begun) => {
                    segments.waiting += 1;
                    segments = self.settled.wait(segments).map_err(|_| Error::Worker)?;
                    segments.waiting -= 1;
                }
                None => {
                    segments.map.insert(key, Slot::Begun);
                    return Ok(Turn::Yours(Promise { store: self, key, is_kept: false }));
                }
            }
        }
    }

    /// A segment if it is there.
    pub fn kept(&self, key: SegmentKey) -> Option<Arc<Decoded>> {
        let mut segments = self.segments.lock().ok()?;
        segments.uses += 1;
        let now = segments.uses;
        match segments.map.get_mut(&key) {
            Some(Slot::There { plain, used }) => {
                *used = now;
                Some(plain.clone())
            }
            Some(Slot::Begun | Slot::Bad(_)) | None => None,
        }
    }

    /// A buffer with anything in it, if there was one to spare: what is decoded into it need not be zeroed
    /// before.
    pub fn buffer(&self) -> Result<Vec<u8>, Error> {
        Ok(lock(&self.spare)?.pop().unwrap_or_default())
    }

    /// Gives a buffer back.
    pub fn give_back(&self, buffer: Vec<u8>) {
        if let Ok(mut spare) = self.spare.lock()
            && spare.len() < SPARE
        {
            spare.push(buffer);
        }
    }

    /// The bytes at `range` of `pack`, which has the number `number`, and where they begin in what comes
    /// with them: what follows is fetched along, for it is asked for next.
    pub fn range(
        &self,
        from: (&Source, &Repository),
        number: u32,
        pack: &LoadedPack,
        range: Range<u64>,
    ) -> Result<(Arc<Vec<u8>>, Range<usize>), Error> {
        let within = |fetched: &Fetched| {
            let start = (range.start - fetched.range.start) as usize;
            start..start + (range.end - range.start) as usize
        };
        let has = |fetched: &&Fetched| {
            let there = &fetched.range;
            fetched.pack == number && there.start <= range.start && range.end <= there.end
        };
        if let Some(found) = lock(&self.ranges)?.iter().find(has) {
            return Ok((found.bytes.clone(), within(found)));
        }
        let (source, repo) = from;
        let ahead = if source.is_local(repo) { RANGE_LOCAL } else { RANGE_REMOTE };
        let end = pack.info.segments.last().map_or(range.end, |last| last.range().end);
        let fetched = range.start..(range.start + ahead).min(end).max(range.end);
        let mut bytes = Vec::with_capacity((fetched.end - fetched.start) as usize);
        source.get_range(repo, pack, fetched.clone(), &mut bytes)?;
        let fetched = Fetched { pack: number, range: fetched, bytes: Arc::new(bytes) };
        let found = (fetched.bytes.clone(), within(&fetched));
        let mut ranges = lock(&self.ranges)?;
        if ranges.len() >= RANGES_KEPT {
            ranges.pop_back();
        }
        ranges.push_front(fetched);
        Ok(found)
    }

    fn settle(&self, key: SegmentKey, outcome: Outcome) {
        let Ok(mut segments) = self.segments.lock() else { return };
        segments.map.remove(&key);
        match outcome {
            Outcome::There(plain) => segments.add(key, plain),
            Outcome::Bad(reason) => segments.add_bad(key, reason),
            Outcome::Unknown => {}
        }
        let mut gone = Vec::new();
        while segments.plain > PLAIN_KEPT {
            let Some(buffer) = segments.forget_oldest() else { break };
            gone.extend(buffer);
        }
        let is_awaited = segments.waiting > 0;
        drop(segments);
        gone.into_iter().for_each(|buffer| self.give_back(buffer));
        // A system call, even if nobody waits.
        if is_awaited {
            self.settled.notify_all();
        }
    }
}

/// What became of a segment.
enum Outcome {
    There(Arc<Decoded>),
    Bad(String),
    /// Whether it is good is not known.
    Unknown,
}

impl Segments {
    fn add(&mut self, key: SegmentKey, plain: Arc<Decoded>) {
        self.plain += plain.plain.capacity();
        self.map.insert(key, Slot::There { plain, used: self.uses });
    }

    /// Remembers a damaged one: whatever is coded against it would try it again, and all that is coded
    /// against that.
    fn add_bad(&mut self, key: SegmentKey, reason: String) {
        self.bad += 1;
        if self.bad > BAD_KEPT {
            self.map.retain(|_, slot| !matches!(slot, Slot::Bad(_)));
            self.bad = 1;
        }
        self.map.insert(key, Slot::Bad(reason));
    }

    /// Forgets the segment unused for longest, unless a call that is going on used it; its buffer if
    /// nobody looks at it any more.
    fn forget_oldest(&mut self) -> Option<Option<Vec<u8>>> {
        let before = self.calls.iter().copied().min().unwrap_or(u64::MAX);
        let there = self.map.iter().filter_map(|(key, slot)| match slot {
            Slot::There { used, .. } => Some((*used, *key)),
            Slot::Begun | Slot::Bad(_) => None,
        });
        let (_, oldest) = there.min().filter(|(used, _)| *used < before)?;
        let Some(Slot::There { plain, .. }) = self.map.remove(&oldest) else { return None };
        self.plain -= plain.plain.capacity();
        Some(Arc::into_inner(plain).map(|decoded| decoded.plain))
    }
}

impl Promise<'_> {
    /// Hands the segment over to those who wait, and to those who come.
    pub fn keep(mut self, plain: Vec<u8>) -> Arc<Decoded> {
        let plain = Arc::new(Decoded { plain, verified: Mutex::default() });
        self.is_kept = true;
        self.store.settle(self.key, Outcome::There(plain.clone()));
        plain
    }

    /// Says that the segment is damaged.
    pub fn fail(mut self, reason: String) {
        self.is_kept = true;
        self.store.settle(self.key, Outcome::Bad(reason));
    }
}

impl Drop for Promise<'_> {
    /// What was not decoded must not be waited for.
    fn drop(&mut self) {
        if !self.is_kept {
            self.store.settle(self.key, Outcome::Unknown);
        }
    }
}
