//! PostgreSQL for real: throwaway clusters of the installed version, its own pg_dump and
//! pg_restore. Without an installed server these tests fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod base_backups;
mod clusters;
mod dumps;
mod failures;
mod inside;
mod odd_servers;
mod places;
mod programs;
mod replication;
mod repository;
mod restores;
mod servers;
#[path = "../support/mod.rs"]
mod shared;
#[path = "../support/servers/mod.rs"]
mod shared_servers;
mod support;
mod vault;
mod writing_back;
