//! Tables keyed by chunk ids. An id is a keyed hash already, so its first bytes serve as the table's.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use crate::base::id::ChunkId;

/// Takes the first eight bytes of an id for its hash.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        let mut head = [0; 8];
        let n = bytes.len().min(8);
        head[..n].copy_from_slice(&bytes[..n]);
        self.0 ^= u64::from_le_bytes(head);
    }
    fn write_usize(&mut self, _len: usize) {}
}

/// A set of chunk ids.
pub type IdSet = HashSet<ChunkId, BuildHasherDefault<IdHasher>>;
/// A map from chunk ids.
pub type IdMap<V> = HashMap<ChunkId, V, BuildHasherDefault<IdHasher>>;
