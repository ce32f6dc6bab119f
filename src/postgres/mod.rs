//! Layer 2: PostgreSQL as a source and a target, through PostgreSQL's own programs. That a
//! repository exists is unknown here. What this module starts it stops.
//!
//! `libpq` is PostgreSQL's own client library, `replication` the protocol that it is needed for,
//! `base_backup` a cluster's files by that protocol, `tar` the form that they come in; `page` knows their
//! pages' checksums, `control` and `label` the files that a server begins with, `lsn` positions in its WAL,
//! `crc32c` the sum that it likes.
//!
//! `archive` holds the pure functions on pg_dump's custom format; `connect` says how to reach a
//! server, `tools` finds the programs, `process` runs them; `server` asks, `session` keeps on asking,
//! `health` is what it asks for the sake of backups, `dump` reads, `restore` writes, `globals` prepares what
//! belongs to no database, `sql` knows quotes; `cluster` is a throwaway server and `shop` a database to try
//! things on; `recovering` starts a restored cluster to look at it; `wal` knows the files of the write-ahead
//! log.

pub mod archive;
pub mod base_backup;
pub mod cluster;
pub mod connect;
pub mod control;
pub mod crc32c;
pub mod dump;
pub mod error;
pub mod globals;
pub mod health;
pub mod label;
pub mod libpq;
pub mod lsn;
pub mod manifest;
pub mod page;
pub mod process;
pub mod recovering;
pub mod replication;
pub mod restore;
pub mod server;
pub mod session;
pub mod shop;
mod sql;
pub mod tar;
pub mod tools;
pub mod version;
pub mod wal;
