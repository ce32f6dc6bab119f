//! File trees from end to end: the real program snapshots trees with everything that Linux keeps, and
//! restores them; what comes back is compared field by field by code that shares nothing with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/install.rs"]
mod install;
#[path = "../support/killing.rs"]
mod killing;
#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "made for the tests of the command line, which need more of it")]
mod program;

mod day;
mod killed;
mod look;
mod maker;
mod moving;
mod scale;
mod vault;
mod whole;
