//! BLAKE3 in its four modes: plain hash (names of objects), keyed hash (ids of chunks),
//! key derivation, and its extendable output (gear table, padding).

use crate::base::secret::Secret32;

/// Plain BLAKE3: the name of an object over its stored bytes.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Keyed BLAKE3: a chunk's id over its plaintext.
pub fn keyed_id(key: &Secret32, plain: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key.bytes(), plain).as_bytes()
}

/// A 32-byte key for the purpose `context` from `parts`, which are hashed one after another.
pub fn derive(context: &str, parts: &[&[u8]]) -> Secret32 {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    Secret32(*hasher.finalize().as_bytes())
}

/// Fills `out` with the extendable output for `context` and `key`.
pub fn expand(context: &str, key: &Secret32, out: &mut [u8]) {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(key.bytes());
    hasher.finalize_xof().fill(out);
}

/// Incremental plain BLAKE3, for streams that do not fit in memory and for packs as they grow.
#[derive(Clone, Default)]
pub struct StreamHasher(blake3::Hasher);

impl StreamHasher {
    /// A hasher without a key: the same function as [`hash`].
    pub fn plain() -> Self {
        StreamHasher(blake3::Hasher::new())
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all that was added.
    pub fn finish(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}
