//! The program as its user meets it: help, usage errors, what is printed where, exit statuses.
//! Runs the real binary; what the library does is tested beside the library.
#![allow(clippy::unwrap_used, clippy::panic)]

mod checks;
mod database;
mod demo;
mod failures;
mod files;
mod help;
mod integration;
mod looking;
mod manners;
mod program;
mod readers;
mod stats;
mod stream;
mod usage;
