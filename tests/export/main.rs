//! Exports from end to end: the real program writes archives, and other programs read them; what they make of them
//! is compared with what was snapshotted by code that shares nothing with either.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/install.rs"]
mod install;
#[path = "../trees/look.rs"]
#[allow(dead_code, reason = "made for the tests of trees, which need more of it")]
mod look;
#[path = "../trees/maker.rs"]
#[allow(dead_code, reason = "likewise")]
mod maker;
#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "made for the tests of the command line, which need more of it")]
mod program;
#[path = "../trees/vault.rs"]
#[allow(dead_code, reason = "made for the tests of trees, which need more of it")]
mod vault;

mod broken;
mod database;
mod scene;
mod tar;
mod zip;
