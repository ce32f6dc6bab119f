//! Looking at file trees: `ls`, `find` and `diff` on snapshots built by hand, what they find and what
//! they read for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod diffs;
mod finds;
mod trees;
