//! `restore files`, from snapshots that are built by hand: everything comes back as it was, by an
//! independent look; in place; interrupted; hostile; damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "made for the tests of the command line, which need more of it")]
mod program;
#[path = "../support/mod.rs"]
mod support;

mod commands;
mod hostile;
mod in_place;
mod kinds;
mod order;
mod sealed;
mod tree;
