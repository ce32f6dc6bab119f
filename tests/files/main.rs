//! Snapshots of files: real trees, walked, stored and looked at again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod kinds;
mod moving;
mod problems;
mod renames;
mod scene;
mod unchanged;
mod wanted;
