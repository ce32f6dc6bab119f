//! The storage layer: one conformance suite that every backend passes, and what is particular to each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod conformance;
mod decorators;
mod local;
mod memory;
mod open;
mod probe;
#[cfg(feature = "cloud")]
mod s3;
#[path = "../support/servers/mod.rs"]
mod servers;
mod sftp;
#[cfg(feature = "cloud")]
mod webdav;
