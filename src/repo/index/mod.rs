//! The index: which chunk lies where. The truth is the repository's index parts (`part`); each
//! machine keeps a SQLite cache of them (`cache`), brought up to date by `load`. The other tables that a
//! machine keeps in SQLite live here too: what it knows of files (`files`), what one run spills (`spill`).

mod cache;
mod files;
mod filter;
mod load;
mod pack_info;
mod part;
mod spill;

pub(super) use cache::make_private_dir;
pub use cache::{Cache, Look, Place};
pub use files::{FileCache, FileKey, FolderKey, Listing, ListingChunk};
pub use load::refresh;
pub use pack_info::PackInfo;
pub use part::{WrittenPart, read_part, write_part};
pub use spill::Spill;
