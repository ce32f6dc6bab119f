//! The test vectors of the format's specification, `format-spec/vectors/*.json`: each is made here from
//! its inputs and compared with the file, so that neither the program nor the specification can change
//! a byte alone. With `KAMBA_BLESS=1` in the environment the files are written instead of compared.
//!
//! A chapter of vectors is a function that fills a [`vectors::Chapter`].

#![allow(clippy::unwrap_used, clippy::panic)]

mod bodies;
mod chunking;
mod dumps;
mod keys;
mod lists;
mod objects;
mod packs;
mod records;
mod secrets;
mod vectors;
mod wal;
