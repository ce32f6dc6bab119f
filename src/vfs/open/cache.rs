//! Plaintext that all open files share: segments as they were decoded, and lists. What was not used for
//! longest goes first. Threads that need the same segment wait for the one that decodes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::base::id::{ChunkId, PackId};
use crate::base::kind::ChunkKind;
use crate::repo::Error;
use crate::repo::index::Place;
use crate::repo::read::{ChunkReader, LoadedPack, Loader};
use crate::vfs::open::ahead::Ahead;
use crate::vfs::open::level::Level;

/// Buffers of segments that went, for those that come.
const SPARE: usize = 8;
/// Sets of buffers for threads that decode.
const LOADERS: usize = 8;

/// Plaintext kept for all open files, with a limit in bytes. Shared between threads.
pub struct ReadCache {
    limit: usize,
    kept: Mutex<Kept>,
    /// Told whenever a segment is there, or will not be.
    settled: Condvar,
    spare: Mutex<Vec<Vec<u8>>>,
    loaders: Mutex<Vec<Loader>>,
    ahead: Ahead,
}

/// A segment.
pub type SegmentId = (PackId, u32);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Segment(SegmentId),
    List(ChunkId),
}

#[derive(Clone)]
enum Value {
    Segment(Arc<Segment>),
    List(Arc<Level>),
}

enum Slot {
    /// A thread decodes it.
    Begun,
    There {
        value: Value,
        used: u64,
    },
}

#[derive(Default)]
struct Kept {
    slots: HashMap<Key, Slot>,
    /// What is there, by its last use.
    order: BTreeMap<u64, Key>,
    bytes: usize,
    /// Counts uses.
    now: u64,
}

/// A decoded segment.
pub struct Segment {
    plain: Vec<u8>,
    /// Which id each of its chunks was found to have, by their ordinals.
    verified: Mutex<HashMap<u16, ChunkId>>,
    /// It was decoded before anybody asked for it, and nobody did yet.
    pub is_ahead: std::sync::atomic::AtomicBool,
}

impl Segment {
    /// The chunk `id` at `place`, its id recomputed the first time.
    pub fn chunk(
        &self,
        reader: &ChunkReader,
        pack: &LoadedPack,
        place: Place,
        id: &ChunkId,
    ) -> Result<&[u8], Error> {
        let known = self.verified.lock().map_err(|_| Error::Worker)?.get(&place.ordinal) == Some(id);
        if known {
            return reader.spanned(pack, place, id, &self.plain);
        }
        let chunk = reader.checked(pack, place, ChunkKind::Data, id, &self.plain)?;
        self.verified.lock().map_err(|_| Error::Worker)?.insert(place.ordinal, *id);
        Ok(chunk)
    }
}

/// What a thread may do about a segment.
pub enum Turn<'c> {
    /// It is there.
    There(Arc<Segment>),
    /// Decode it: others wait.
    Yours(Promise<'c>),
}

/// Others wait for a segment until this is kept or dropped.
pub struct Promise<'c> {
    cache: &'c ReadCache,
    id: SegmentId,
    is_kept: bool,
}

impl Promise<'_> {
    /// Hands the segment over to those who wait, and to those who come.
    pub fn keep(mut self, plain: Vec<u8>, is_ahead: bool) -> Arc<Segment> {
        let segment = Arc::new(Segment { plain, verified: Mutex::default(), is_ahead: is_ahead.into() });
        self.is_kept = true;
        self.cache.settle(Key::Segment(self.id), Some(Value::Segment(segment.clone())));
        segment
    }
}

impl Drop for Promise<'_> {
    /// What was not decoded must not be waited for.
    fn drop(&mut self) {
        if !self.is_kept {
            self.cache.settle(Key::Segment(self.id), None);
        }
    }
}

impl ReadCache {
    /// An empty cache that keeps at most `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(ReadCache {
            limit,
            kept: Mutex::default(),
            settled: Condvar::new(),
            spare: Mutex::default(),
            loaders: Mutex::default(),
            ahead: Ahead::default(),
        })
    }

    /// Most bytes that it keeps.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Those who read ahead into it.
    pub(super) fn ahead(&self) -> &Ahead {
        &self.ahead
    }

    fn kept(&self) -> Result<MutexGuard<'_, Kept>, Error> {
        self.kept.lock().map_err(|_| Error::Worker)
    }

    /// A segment, or the right to decode it. Waits for a thread that does, which waits for none.
    pub(super) fn segment(&self, id: SegmentId) -> Result<Turn<'_>, Error> {
        let mut kept = self.kept()?;
        loop {
            if let Some(Value::Segment(segment)) = kept.get(Key::Segment(id)) {
                return Ok(Turn::There(segment));
            }
            if !kept.slots.contains_key(&Key::Segment(id)) {
                break;
            }
            kept = self.settled.wait(kept).map_err(|_| Error::Worker)?;
        }
        kept.slots.insert(Key::Segment(id), Slot::Begun);
        Ok(Turn::Yours(Promise { cache: self, id, is_kept: false }))
    }

    /// The right to decode a segment, unless it is there or somebody is at it.
    pub(super) fn claim(&self, id: SegmentId) -> Option<Promise<'_>> {
        let mut kept = self.kept().ok()?;
        if kept.slots.contains_key(&Key::Segment(id)) {
            return None;
        }
        kept.slots.insert(Key::Segment(id), Slot::Begun);
        Some(Promise { cache: self, id, is_kept: false })
    }

    /// A segment that is there, which this does not count as a use of.
    pub(super) fn peek(&self, id: SegmentId) -> Option<Arc<Segment>> {
        match self.kept().ok()?.slots.get(&Key::Segment(id)) {
            Some(Slot::There { value: Value::Segment(segment), .. }) => Some(segment.clone()),
            _ => None,
        }
    }

    /// A list, which `read` reads if it is not there.
    pub(super) fn list(
        &self,
        id: &ChunkId,
        read: impl FnOnce() -> Result<Level, Error>,
    ) -> Result<Arc<Level>, Error> {
        let key = Key::List(*id);
        if let Some(Value::List(level)) = self.kept()?.get(key) {
            return Ok(level);
        }
        let level = Arc::new(read()?);
        self.settle(key, Some(Value::List(level.clone())));
        Ok(level)
    }

    /// Buffers to decode with.
    pub(super) fn loader(&self) -> Loader {
        self.loaders.lock().ok().and_then(|mut loaders| loaders.pop()).unwrap_or_default()
    }

    /// Takes them back.
    pub(super) fn give_back(&self, loader: Loader) {
        if let Ok(mut loaders) = self.loaders.lock()
            && loaders.len() < LOADERS
        {
            loaders.push(loader);
        }
    }

    /// A buffer with anything in it, if there is one to spare: what is decoded into it need not be zeroed
    /// before.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.spare.lock().ok().and_then(|mut spare| spare.pop()).unwrap_or_default()
    }

    fn settle(&self, key: Key, value: Option<Value>) {
        let Ok(mut kept) = self.kept.lock() else { return };
        kept.remove(key);
        if let Some(value) = value {
            kept.add(key, value);
        }
        let mut gone = Vec::new();
        while kept.bytes > self.limit {
            let Some(oldest) = kept.order.first_key_value().map(|(_, key)| *key) else { break };
            gone.extend(kept.remove(oldest));
        }
        drop(kept);
        self.settled.notify_all();
        let Ok(mut spare) = self.spare.lock() else { return };
        for value in gone {
            if let Value::Segment(segment) = value
                && spare.len() < SPARE
                && let Some(segment) = Arc::into_inner(segment)
            {
                spare.push(segment.plain);
            }
        }
    }
}

impl Value {
    fn cost(&self) -> usize {
        match self {
            Value::Segment(segment) => segment.plain.capacity() + 256,
            Value::List(level) => level.cost(),
        }
    }
}

impl Kept {
    /// What is there, and used by this.
    fn get(&mut self, key: Key) -> Option<Value> {
        let Some(Slot::There { value, used }) = self.slots.get_mut(&key) else { return None };
        self.now += 1;
        self.order.remove(used);
        *used = self.now;
        self.order.insert(self.now, key);
        Some(value.clone())
    }

    fn add(&mut self, key: Key, value: Value) {
        self.now += 1;
        self.bytes += value.cost();
        self.order.insert(self.now, key);
        self.slots.insert(key, Slot::There { value, used: self.now });
    }

    fn remove(&mut self, key: Key) -> Option<Value> {
        let Some(Slot::There { value, used }) = self.slots.remove(&key) else { return None };
        self.order.remove(&used);
        self.bytes -= value.cost();
        Some(value)
    }
}
