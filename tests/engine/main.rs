//! The engine below the command line, against backends in memory and in folders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod caches;
mod checks;
mod commit;
mod crash;
mod damage;
mod hostile;
mod roundtrip;
mod trust;
mod writers;
