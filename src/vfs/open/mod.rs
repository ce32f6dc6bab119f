//! Files opened for reading at any place, by several threads at once: what a mounted file system asks
//! for. Stored content is found through its lists, of which only those on the way are read; what is made
//! while it is read is made again from the last place that was kept before the one asked for.

mod cache;
mod content;
mod made;

use std::sync::Arc;

use crate::format::node::Node;
use crate::repo::Error;
use crate::repo::read::ChunkReader;

pub use cache::ReadCache;
use content::Content;
pub(super) use made::{Form, Made};

/// A file that can be read at any place, by any number of threads.
pub struct OpenFile(Bytes);

enum Bytes {
    /// In memory, whole.
    Here(Vec<u8>),
    Stored(Content),
    Made(Made),
}

impl OpenFile {
    /// What is in memory already.
    pub(super) fn here(bytes: Vec<u8>) -> Self {
        OpenFile(Bytes::Here(bytes))
    }

    /// The content of a stored `node`.
    pub(super) fn stored(
        reader: Arc<ChunkReader>,
        cache: Arc<ReadCache>,
        node: &Node,
    ) -> Result<Self, Error> {
        Content::open(reader, cache, node).map(|content| OpenFile(Bytes::Stored(content)))
    }

    /// What is made while it is read.
    pub(super) fn made(made: Made) -> Self {
        OpenFile(Bytes::Made(made))
    }

    /// Its length in bytes; `None` if that is known only once it was read.
    pub fn size(&self) -> Option<u64> {
        match &self.0 {
            Bytes::Here(bytes) => Some(bytes.len() as u64),
            Bytes::Stored(content) => Some(content.size()),
            Bytes::Made(made) => Some(made.size()),
        }
    }

    /// Appends the `len` bytes at `offset` to `out`; fewer only where the file ends before. After an
    /// error nothing was appended.
    pub fn read_at(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let before = out.len();
        let read = match &self.0 {
            Bytes::Here(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                out.extend_from_slice(&bytes[start..start + len.min(bytes.len() - start)]);
                Ok(())
            }
            Bytes::Stored(content) => content.read_at(offset, len, out),
            Bytes::Made(made) => made.read_at(offset, len, out),
        };
        read.inspect_err(|_| out.truncate(before))
    }
}
