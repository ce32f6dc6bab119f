//! The engine below the command line: in memory, in folders, over real servers, and as the program itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "made for the tests of the command line, which need more of it")]
mod program;
#[path = "../support/servers/mod.rs"]
mod servers;

mod base_cache;
mod caches;
mod checks;
mod commit;
mod crash;
mod damage;
mod database;
mod deltas;
mod figures;
mod full;
mod hostile;
mod killed;
mod lax;
mod model;
mod newer;
mod places;
mod remote;
mod roundtrip;
mod trust;
mod writers;
