//! Finds chunks through the index, opens the segments that hold them, and keeps what it will
//! probably need again: the packs' keys and the last metadata segments.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::base::id::{ChunkId, PackId};
use crate::base::kind::ChunkKind;
use crate::chunker::Base;
use crate::crypto::AeadKey;
use crate::format::name::pack_name;
use crate::repo::copies::Copies;
use crate::repo::index::{PackInfo, Place};
use crate::repo::pack::{Scratch, Sealed};
use crate::repo::read::source::Source;
use crate::repo::read::store::Store;
use crate::repo::{Error, Repository};
use crate::storage::ErrorKind;

/// Packs whose keys and segment tables are kept: about 4 MB.
const PACKS_KEPT: usize = 256;
/// Decoded metadata segments that are kept: neighbours in a tree lie in one segment.
const SEGMENTS_KEPT: usize = 16;
/// Packs of which it is kept what chunks are in them: each at most 1 MB.
const PACKED_KEPT: usize = 4;

/// A pack that can be read from.
#[derive(Debug)]
pub struct LoadedPack {
    /// What the index says of it.
    pub info: PackInfo,
    /// Its key.
    pub key: AeadKey,
    /// Its object's name.
    pub name: String,
}

/// Reads chunks. Shared between threads.
pub struct ChunkReader {
    repo: Repository,
    source: Source,
    packs: Mutex<Kept<u32, Arc<LoadedPack>>>,
    segments: Mutex<KeptSegments>,
    /// The chunks of packs, by the packs' numbers.
    pub(super) packed: Mutex<Kept<u32, Arc<Vec<Base>>>>,
    /// What chains of deltas go through.
    store: Store,
    /// The same, for chains that are gone through carefully.
    careful: Store,
}

/// Plaintext of segments by pack and number.
type KeptSegments = Kept<(PackId, u32), Arc<Vec<u8>>>;

/// A map that forgets its oldest entries.
pub(super) struct Kept<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Copy + Eq + std::hash::Hash, V: Clone> Kept<K, V> {
    fn new(most: usize) -> Mutex<Self> {
        Mutex::new(Kept { map: HashMap::new(), order: VecDeque::new(), most })
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.map.get(key).cloned()
    }

    pub(super) fn keep(&mut self, key: K, value: V) {
        if self.map.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > self.most {
            if let Some(oldest) = self.order.pop_front() {
                self.map.remove(&oldest);
            }
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, Error> {
    mutex.lock().map_err(|_| Error::Worker)
}

impl ChunkReader {
    /// A reader of `repo`, whose index must have been refreshed.
    pub fn new(repo: &Repository) -> Self {
        Self::from(repo, Source::repository())
    }

    /// A reader of what `copies` has of `repo`, except for the packs with these numbers.
    pub fn of_copies(repo: &Repository, copies: Arc<Copies>, except: HashSet<u32>) -> Self {
        Self::from(repo, Source::Copies { copies, except })
    }

    fn from(repo: &Repository, source: Source) -> Self {
        ChunkReader {
            repo: repo.clone(),
            source,
            packs: Kept::new(PACKS_KEPT),
            segments: Kept::new(SEGMENTS_KEPT),
            packed: Kept::new(PACKED_KEPT),
            store: Store::default(),
            careful: Store::default(),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn careful_store(&self) -> &Store {
        &self.careful
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Bytes of packs that were fetched from the repository.
    pub fn fetched(&self) -> u64 {
        self.source.fetched()
    }

    /// The repository it reads.
    pub fn repo(&self) -> &Repository {
        &self.repo
    }

    /// Every place of a chunk; an error if there is none.
    pub fn places(&self, id: &ChunkId) -> Result<Vec<Place>, Error> {
        let places = self.repo.index().places(id)?;
        if places.is_empty() { Err(Error::MissingChunk { id: *id }) } else { Ok(places) }
    }

    /// Of each of many chunks the first place, with one look into the index; `None` if it is unknown.
    pub fn first_places(&self, ids: &[ChunkId]) -> Result<Vec<Option<Place>>, Error> {
        let (mut first, mut places) = (Vec::with_capacity(ids.len()), Vec::new());
        self.repo.index().look(&mut |look| {
            ids.iter().try_for_each(|id| {
                places.clear();
                look.append(id, &mut places)?;
                first.push(places.first().copied());
                Ok(())
            })
        })?;
        Ok(first)
    }

    /// The pack with this number in the cache, its key unwrapped.
    pub fn pack(&self, number: u32) -> Result<Arc<LoadedPack>, Error> {
        if let Some(pack) = lock(&self.packs)?.get(&number) {
            return Ok(pack);
        }
        let info = self.repo.index().pack(number)?.ok_or(Error::Worker)?;
        let name = pack_name(info.kind, &info.id);
        let key = AeadKey::new(&self.source.key(&self.repo, number, &info, &name)?);
        let pack = Arc::new(LoadedPack { key, info, name });
        lock(&self.packs)?.keep(number, pack.clone());
        Ok(pack)
    }

    /// A list or tree chunk.
    pub fn meta_chunk(&self, kind: ChunkKind, id: &ChunkId) -> Result<Vec<u8>, Error> {
        self.any_copy(id, |pack, place| {
            let whole = self.kept_segment(pack, place.segment)?;
            self.checked(pack, place, kind, id, &whole).map(<[u8]>::to_vec)
        })
    }

    /// A chunk of any kind, appended to `out`, read by itself. Slow for many: see `ContentReader`.
    pub fn append_chunk(
        &self,
        kind: ChunkKind,
        id: &ChunkId,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.any_copy(id, |pack, place| {
            let depth = segment_of(pack, place.segment)?.depth;
            if depth > 0 {
                return self.append_base(id, depth + 1, scratch, out);
            }
            let sealed = self.sealed(pack, place.segment)?;
            let plain = self.open(pack, place.segment, &sealed, scratch)?;
            let chunk = self.checked(pack, place, kind, id, plain)?;
            out.extend_from_slice(chunk);
            Ok(())
        })
    }

    /// Tries the copies of a chunk one after another; the last failure is the answer if all fail.
    fn any_copy<T>(
        &self,
        id: &ChunkId,
        mut read: impl FnMut(&LoadedPack, Place) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut failure = Error::MissingChunk { id: *id };
        for place in self.places(id)? {
            match self.pack(place.pack).and_then(|pack| {
                read(&pack, place).map_err(|e| match e {
                    Error::Denied { .. } | Error::Interrupted => e,
                    // An unreachable backend is not a damaged repository.
                    Error::Storage(e) if !is_loss(e.kind) => Error::Storage(e),
                    e => Error::BadChunk { id: *id, pack: pack.info.id, reason: e.to_string() },
                })
            }) {
                Ok(done) => return Ok(done),
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }

    fn sealed(&self, pack: &LoadedPack, number: u32) -> Result<Vec<u8>, Error> {
        let segment = segment_of(pack, number)?;
        let mut sealed = Vec::with_capacity(segment.stored_len as usize);
        self.source.get_range(&self.repo, pack, segment.range(), &mut sealed)?;
        Ok(sealed)
    }

    /// Opens one segment of `pack`, which is no delta, from its sealed bytes.
    pub fn open<'s>(
        &self,
        pack: &LoadedPack,
        number: u32,
        sealed: &[u8],
        scratch: &'s mut Scratch,
    ) -> Result<&'s [u8], Error> {
        let segment = segment_of(pack, number)?;
        let sealed = Sealed { bytes: sealed, prefix: &[] };
        scratch
            .open(&pack.key, &pack.info.header, number.into(), segment, sealed)
            .map_err(|reason| Error::damaged(&pack.name, format!("segment {number}: {reason}")))
    }

    /// Opens any segment of `pack` into `out`.
    pub(super) fn open_into(
        &self,
        pack: &LoadedPack,
        number: u32,
        sealed: Sealed<'_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let segment = segment_of(pack, number)?;
        scratch
            .open_into(&pack.key, &pack.info.header, number.into(), segment, sealed, out)
            .map_err(|reason| Error::damaged(&pack.name, format!("segment {number}: {reason}")))
    }

    /// The chunk at `place` in the plaintext of its segment, its id recomputed.
    pub fn checked<'p>(
        &self,
        pack: &LoadedPack,
        place: Place,
        kind: ChunkKind,
        id: &ChunkId,
        plain: &'p [u8],
    ) -> Result<&'p [u8], Error> {
        let chunk = self.spanned(pack, place, id, plain)?;
        match self.repo.keys().chunk_id(kind, chunk) == *id {
            true => Ok(chunk),
            false => Err(misplaced(pack, id)),
        }
    }

    /// What is at `place` in the plaintext of its segment, whatever it is.
    pub fn spanned<'p>(
        &self,
        pack: &LoadedPack,
        place: Place,
        id: &ChunkId,
        plain: &'p [u8],
    ) -> Result<&'p [u8], Error> {
        let span = pack.info.chunk_span(place.segment, place.ordinal);
        span.and_then(|(start, len)| plain.get(start..start + len)).ok_or_else(|| misplaced(pack, id))
    }

    fn kept_segment(&self, pack: &LoadedPack, number: u32) -> Result<Arc<Vec<u8>>, Error> {
        let key = (pack.info.id, number);
        if let Some(kept) = lock(&self.segments)?.get(&key) {
            return Ok(kept);
        }
        let sealed = self.sealed(pack, number)?;
        let mut scratch = Scratch::default();
        let plain =
            self.open(pack, number, &sealed, &mut scratch).inspect_err(|_| self.source.forget(pack))?;
        let plain = Arc::new(plain.to_vec());
        lock(&self.segments)?.keep(key, plain.clone());
        Ok(plain)
    }
}

/// Whether a failed read says that stored bytes are gone.
fn is_loss(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Truncated | ErrorKind::TooLarge)
}

fn misplaced(pack: &LoadedPack, id: &ChunkId) -> Error {
    Error::damaged(&pack.name, format!("chunk {id} is not where the index says"))
}

pub(super) fn segment_of(pack: &LoadedPack, number: u32) -> Result<&crate::format::pack::Segment, Error> {
    let found = pack.info.segments.get(number as usize);
    found.ok_or_else(|| {
        Error::damaged(&pack.name, format!("the index names a segment {number} that it lacks"))
    })
}
