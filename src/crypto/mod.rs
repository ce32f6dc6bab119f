//! Layer 1: keys, sealing, ids and signatures, as functions of bytes. No I/O, no clock; randomness
//! is handed in as a [`Random`]. Everything that touches a cipher, a hash with a key, a password
//! or a signature is here and nowhere else. Byte layouts are `format`'s; the spec is
//! `format-spec/keys.md` and `format-spec/segments-and-packs.md`.

mod aead;
mod error;
mod kdf;
mod random;
mod sign;
mod slot;
mod wrap;

pub use aead::{AeadKey, Domain, Place, TAG_LEN};
pub use error::Error;
pub use kdf::{KeyedHasher, StreamHasher, derive, expand, hash, keyed_id};
pub use random::{Random, SystemRandom};
pub use sign::{Signer, Verifier};
pub use slot::{ArgonCost, SlotKeys, SlotSecret};
pub use wrap::{KeyPair, WRAPPED_LEN, unwrap_key, wrap_key};

/// Contexts of key derivation: one string per purpose, so that no two keys can coincide.
pub mod context {
    /// Key of a sealed object other than a pack, from the role key and the whole header.
    pub const OBJECT_KEY: &str = "kamba-vault v1 object key";
    /// The gear table of the chunker, from the repository's gear secret.
    pub const GEAR: &str = "kamba-vault v1 gear";
    /// Padding of a pack, from its key.
    pub const PADDING: &str = "kamba-vault v1 padding";
    /// Passphrase and key file together.
    pub const TWO_FACTORS: &str = "kamba-vault v1 two factors";
    /// The key that seals a keyslot's keyring.
    pub const SLOT_KEY: &str = "kamba-vault v1 slot key";
    /// The commitment of a keyslot to its key.
    pub const SLOT_COMMITMENT: &str = "kamba-vault v1 slot commitment";
    /// Domain of wrapping a pack key.
    pub const PACK_KEY: &str = "kamba-vault v1 pack key";
    /// The key that seals the key of a pack of which a copy is kept, from the signer's seed and the pack's header.
    pub const COPY_KEY: &str = "kamba-vault v1 copy key";
    /// The key of a frame of a spool.
    pub const SPOOL_KEY: &str = "kamba-vault v1 spool key";
    /// The randomness of one encapsulation.
    pub const EPHEMERAL: &str = "kamba-vault v1 ephemeral";
    /// The key that WAL objects' names are made with, from the id key of lists.
    pub const WAL_NAME: &str = "kamba-vault v1 wal name";
    /// Domain of signatures.
    pub const SIGNATURE: &str = "kamba-vault v1 signature";
}
