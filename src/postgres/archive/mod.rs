//! The custom-format archive of pg_dump as pure functions: bytes in, objects and a recipe out, and
//! back. No I/O, no clock; every parser takes hostile bytes (I-9) and can be fuzzed.
//!
//! `split` takes an archive apart, `join` puts it together, `shadow` proves the one by the other;
//! `toc` reads its table of contents, `select` chooses from it, `schema` prints it, `seekable`
//! fills in what only a file can have, `clean` mends it for restores over what is there, `database`
//! takes from it what makes the database itself, `csv` makes CSV of a table's rows, `name` makes path parts of identifiers.

pub mod clean;
pub mod csv;
pub mod database;
mod frames;
pub mod ints;
pub mod join;
pub mod name;
pub mod recipe;
pub mod reframe;
pub mod schema;
pub mod seekable;
pub mod select;
pub mod shadow;
pub mod split;
pub mod toc;

#[cfg(test)]
mod tests;
