//! Layer 1: the repository format. Bytes to values and back, as `format-spec/` describes them, with
//! no I/O, clock, randomness or keys, so that every parser can be fuzzed. Decoders check limits before
//! they take memory (I-9) and accept one encoding only of each value: what was decoded encodes to the
//! same bytes again.

pub mod attrs;
pub mod base_backup;
pub mod config;
pub mod database;
pub mod error;
pub mod frames;
pub mod header;
pub mod index;
pub mod keyring;
pub mod keyslot;
pub mod lease;
pub mod ledger;
pub mod list;
pub mod name;
pub mod node;
pub mod pack;
pub mod root;
pub mod sealed;
pub mod signers;
pub mod tree;
pub mod wal;
pub mod wire;

#[cfg(test)]
mod testing;

pub use error::{Error, Reason};
