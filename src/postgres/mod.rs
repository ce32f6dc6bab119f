//! Layer 2: PostgreSQL as a source and a target, through PostgreSQL's own programs. That a
//! repository exists is unknown here. What this module starts it stops.
//!
//! `archive` holds the pure functions on pg_dump's custom format; `connect` says how to reach a
//! server, `tools` finds the programs, `process` runs them; `server` asks, `dump` reads, `restore`
//! writes, `globals` prepares what belongs to no database, `sql` knows quotes; `cluster` is a throwaway
//! server and `shop` a database to try things on; `wal` knows the files of the write-ahead log.

pub mod archive;
pub mod cluster;
pub mod connect;
pub mod dump;
pub mod error;
pub mod globals;
pub mod lsn;
pub mod process;
pub mod restore;
pub mod server;
pub mod shop;
mod sql;
pub mod tools;
pub mod version;
pub mod wal;
