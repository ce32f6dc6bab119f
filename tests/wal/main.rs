//! PostgreSQL's WAL: objects that hold it, the commands that a server calls, and servers that call them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/killing.rs"]
mod killing;
#[path = "../cli/program.rs"]
#[allow(dead_code, reason = "made for the tests of the command line, which need more of it")]
mod program;
#[path = "../support/mod.rs"]
mod support;

mod checked;
mod commands;
mod doctor;
mod killed;
mod objects;
mod receiver_killed;
mod receiver_steps;
mod receiving;
mod recovery;
mod segments;
mod server;
mod spool;
mod steps;
mod switching;
mod words;
