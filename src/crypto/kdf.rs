//! BLAKE3 in its four modes: plain hash (names of objects), keyed hash (ids of chunks),
//! key derivation, and its extendable output (gear table, padding). A hasher remembers what it was
//! fed, so those that are fed keys are wiped.

use zeroize::Zeroizing;

use crate::base::secret::Secret32;

/// Plain BLAKE3: the name of an object over its stored bytes.
pub fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// Keyed BLAKE3: a chunk's id over its plaintext.
pub fn keyed_id(key: &Secret32, plain: &[u8]) -> [u8; 32] {
    *blake3::keyed_hash(key.bytes(), plain).as_bytes()
}

/// Keyed BLAKE3 of bytes that come piece by piece.
pub struct KeyedHasher(Zeroizing<blake3::Hasher>);

impl KeyedHasher {
    /// Of nothing yet.
    pub fn new(key: &Secret32) -> Self {
        KeyedHasher(Zeroizing::new(blake3::Hasher::new_keyed(key.bytes())))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all that came.
    pub fn finish(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// A 32-byte key for the purpose `context` from `parts`, which are hashed one after another.
pub fn derive(context: &str, parts: &[&[u8]]) -> Secret32 {
    let mut hasher = Zeroizing::new(blake3::Hasher::new_derive_key(context));
    for part in parts {
        hasher.update(part);
    }
    let mut key = Secret32([0; 32]);
    Zeroizing::new(hasher.finalize_xof()).fill(&mut key.0);
    key
}

/// Fills `out` with the extendable output for `context` and `key`.
pub fn expand(context: &str, key: &Secret32, out: &mut [u8]) {
    output(context, key).fill(out);
}

/// The same as a stream.
pub(super) fn output(context: &str, key: &Secret32) -> Zeroizing<blake3::OutputReader> {
    let mut hasher = Zeroizing::new(blake3::Hasher::new_derive_key(context));
    hasher.update(key.bytes());
    Zeroizing::new(hasher.finalize_xof())
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
