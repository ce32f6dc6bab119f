//! Point-in-time recovery with real servers: one that archives into a repository, and what is restored of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/killing.rs"]
mod killing;
#[path = "../wal/server.rs"]
#[allow(dead_code, reason = "made for the tests of WAL, which need more of it")]
mod server;
#[path = "../support/mod.rs"]
mod support;

mod exported;
mod killed;
mod preflight;
#[path = "../support/servers/mod.rs"]
mod servers;
mod stage;
mod targets;
mod timelines;
mod whole;
