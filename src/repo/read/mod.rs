//! Reading chunks back: one at a time for metadata ([`ChunkReader`]), or a whole content in order
//! with several threads ([`ContentReader`]), or many short ones on threads of the caller's
//! ([`BatchReader`]). No byte leaves before its chunk's id was recomputed (I-6).

mod batch;
mod chains;
mod chunk;
mod content;
mod entries;
mod packed;
mod segments;
mod source;
mod store;

pub use batch::{BatchReader, TakeChunk};
pub use chains::Copied;
pub use chunk::{ChunkReader, LoadedPack};
pub use content::ContentReader;
pub use entries::{Entries, read_list};
pub use packed::Packed;
pub use segments::{Loader, TakeSegment};
pub use store::SegmentKey;
