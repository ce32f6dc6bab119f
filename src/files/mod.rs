//! Layer 2: the live file tree, read and written back. That a repository exists is unknown here,
//! nothing is decided about what a snapshot keeps, and no walk is made: this module hands out
//! folders, names and what stands behind them, one at a time, to whoever walks.
//!
//! Invariant: below the folder that the user named, everything goes by names relative to an open
//! folder and no symbolic link is followed. So nothing that happens in the tree meanwhile leads
//! outside of it, and no path is too long.
//!
//! `folder` opens and asks, `names` lists, `stat` is what one `statx` says, `source` reads a regular
//! file with its holes, `describe` makes of all this what a node keeps; `exclude` says what the user
//! does not want. `write` is the way back: nodes go in, files come out.

pub mod describe;
pub mod error;
pub mod exclude;
pub mod folder;
pub mod names;
mod place;
pub mod source;
pub mod stat;
#[cfg(test)]
mod testing;
pub mod write;
mod xattrs;

pub use error::{Error, ErrorKind};
