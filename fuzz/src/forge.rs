//! Makes objects with the repository's own keys: what an honest writer makes, and what a hostile one
//! that holds a key can make. Every random byte comes from a counter.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use kamba_vault::base::clock::{Clock, Timestamp};
use kamba_vault::base::id::{ChunkId, ObjectHash};
use kamba_vault::base::kind::{ChunkKind, Coding, PackKind};
use kamba_vault::base::secret::Secret32;
use kamba_vault::codec::{Coded, Compressor, Level};
use kamba_vault::crypto::{self, Domain, Place, Random};
use kamba_vault::format::frames::{split, write_frame};
use kamba_vault::format::header::{Header, Kind};
use kamba_vault::format::name::{index_name, pack_name};
use kamba_vault::format::pack::ChunkEntry;
use kamba_vault::repo::keys::Keys;
use kamba_vault::repo::objects;
use kamba_vault::repo::pack::{Built, PackBuilder, ToSeal};

/// Random bytes that are the same in every process, and different at every call.
#[derive(Debug)]
pub struct Counter {
    seed: u8,
    calls: AtomicU64,
}

impl Counter {
    /// The sequence called `seed`.
    pub const fn new(seed: u8) -> Self {
        Counter { seed, calls: AtomicU64::new(0) }
    }
}

impl Random for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<(), crypto::Error> {
        let mut key = Secret32([self.seed; 32]);
        key.0[..8].copy_from_slice(&self.calls.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        crypto::expand("kamba-vault fuzzing", &key, out);
        Ok(())
    }
}

/// A clock that stands still.
#[derive(Debug)]
pub struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_764_000_000_000_000_000)
    }
}

/// An object's name and bytes.
pub type Object = (String, Vec<u8>);

/// Chunks that wait to be packed.
#[derive(Debug, Default)]
pub struct Chunks {
    chunks: Vec<(ChunkKind, Vec<u8>)>,
    seen: HashSet<ChunkId>,
}

impl Chunks {
    /// Adds a chunk, unless it is there; answers its id.
    pub fn add(&mut self, keys: &Keys, kind: ChunkKind, plain: &[u8]) -> ChunkId {
        let id = keys.chunk_id(kind, plain);
        if self.seen.insert(id) {
            self.chunks.push((kind, plain.to_vec()));
        }
        id
    }
}

/// Holds the keys.
pub struct Forge<'k> {
    keys: &'k Keys,
    random: Counter,
}

impl<'k> Forge<'k> {
    /// A forge with these keys, whose objects differ from those of forges with other seeds.
    pub fn new(keys: &'k Keys, seed: u8) -> Self {
        Forge { keys, random: Counter::new(seed) }
    }

    /// The keys.
    pub fn keys(&self) -> &'k Keys {
        self.keys
    }

    /// A small object around `body`. `None` if no program would write it.
    pub fn small(&self, kind: Kind, name: &str, clear: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        objects::seal(self.keys, &self.random, kind, name, clear, body).ok()
    }

    /// An index part around `plain`, which may be anything.
    pub fn part(&self, plain: &[u8]) -> Object {
        let random: &dyn Random = &self.random;
        let signer = self.keys.signer();
        let header =
            Header::new(Kind::Index, self.keys.epoch(), signer.id(), random.array().unwrap()).encode();
        let key = self.keys.object_key(self.keys.epoch(), &header).unwrap();
        let mut object = header.to_vec();
        for frame in split(plain) {
            let domain = if frame.last { Domain::LastFrame } else { Domain::Frame };
            let place = Place { header: &header, domain, ordinal: frame.ordinal, tail: b"" };
            let mut sealed = frame.plain.to_vec();
            key.seal(place, &mut sealed, 0).unwrap();
            write_frame(&mut object, &sealed);
        }
        let signature = signer.sign(&object);
        object.extend_from_slice(&signature);
        (index_name(&ObjectHash(crypto::hash(&object))), object)
    }

    /// An empty pack.
    pub fn begin(&self, kind: PackKind) -> PackBuilder {
        PackBuilder::new(kind, self.keys, &self.random, Vec::new()).unwrap()
    }

    /// A pack of all `chunks` of its kind, a few to a segment; `None` if there are none.
    pub fn pack(&self, kind: PackKind, chunks: &Chunks) -> Option<Built> {
        const CHUNKS: usize = 5;
        let own: Vec<_> = chunks.chunks.iter().filter(|(k, _)| k.pack_kind() == kind).collect();
        let mut compressor = Compressor::new(Level::DEFAULT).unwrap();
        let mut pack = self.begin(kind);
        for segment in own.chunks(CHUNKS) {
            let plain: Vec<u8> = segment.iter().flat_map(|(_, plain)| plain.iter().copied()).collect();
            let entry = |(kind, plain): &&(ChunkKind, Vec<u8>)| {
                let id = self.keys.chunk_id(*kind, plain);
                ChunkEntry { id, len: plain.len() as u32, kind: *kind }
            };
            let entries: Vec<ChunkEntry> = segment.iter().map(entry).collect();
            let mut coded = Vec::new();
            let (coding, coded) = match compressor.compress(&plain, &mut coded).unwrap() {
                Coded::Zstd => (Coding::Zstd, &coded),
                Coded::Raw => (Coding::Raw, &plain),
            };
            let appended = pack.append(&ToSeal { coded, coding, depth: 0, bases: &[], chunks: &entries });
            // An empty chunk, or one that is too long, cannot be packed by anybody.
            appended.ok()?;
        }
        if own.is_empty() { None } else { pack.finish().ok() }
    }
}

/// What a pack is stored as.
pub fn stored(built: &Built) -> Object {
    (pack_name(built.record.directory.kind(), &built.record.id), built.bytes.clone())
}
