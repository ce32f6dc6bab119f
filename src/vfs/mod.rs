//! Layer 4: a snapshot seen as one read-only tree, the same for `ls`, `cat`, restore and, later,
//! mount. Most of it is the stored tree; a database's node shows files that are made while they are
//! read: the exact dump, the dump with offsets, the schema.

mod database;
mod entry;
mod folder;
mod open;
mod tree;

pub use database::Database;
pub use entry::{Entry, EntryKind, Listing, View};
pub use folder::{Folder, Page};
pub use open::{OpenFile, ReadCache, Sought};
pub use tree::{Children, read_nodes};
