//! Layer 5: the verbs. Each takes a repository and a request and answers with what it did, as
//! values; nothing here prints or asks.

pub mod check;
pub mod child;
pub mod diff;
pub mod doctor;
mod error;
pub mod export;
pub mod find;
pub mod glob;
pub mod input;
pub mod look;
pub mod restore_db;
pub mod restore_files;
pub mod restore_pitr;
pub mod retention;
pub mod select;
pub mod snapshot;
pub mod stats;
pub mod wal;

pub use error::Error;
