//! Reading chunks back: one at a time for metadata ([`ChunkReader`]), or a whole content in order
//! with several threads ([`ContentReader`]). No byte leaves before its chunk's id was recomputed (I-6).

mod chunk;
mod content;
mod entries;

pub use chunk::ChunkReader;
pub use content::ContentReader;
pub use entries::{Entries, read_list};
