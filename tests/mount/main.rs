//! Real mounts through the kernel: the real program shows snapshots, and the tools that people use read
//! them; what they see is compared with what was there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/install.rs"]
mod install;
#[path = "../trees/look.rs"]
mod look;
#[path = "../trees/maker.rs"]
#[allow(dead_code, reason = "made for the tests of file trees, which need more of it")]
mod maker;
#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "made for the tests of the command line, which need more of it")]
mod program;

#[path = "../support/servers/mod.rs"]
mod servers;

mod ahead;
mod damage;
mod database;
mod ending;
mod folders;
mod network;
mod readers;
mod scene;
mod tools;
mod whole;
