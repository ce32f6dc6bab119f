//! Tests of the archive functions over generated archives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod hostile;
mod identity;
mod looking;
mod sample;
