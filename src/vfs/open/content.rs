//! Stored content at any place: its lists are descended from the top, each a binary search.

use std::sync::Arc;

use crate::base::kind::ChunkKind;
use crate::format::list::{ListEntry, content_len};
use crate::format::node::Node;
use crate::repo::Error;
use crate::repo::pack::Scratch;
use crate::repo::read::{ChunkReader, read_list};
use crate::vfs::open::ReadCache;

/// The content of a stored file.
pub struct Content {
    reader: Arc<ChunkReader>,
    cache: Arc<ReadCache>,
    name: String,
    top: Level,
}

/// The entries of one list.
struct Level {
    entries: Vec<ListEntry>,
    /// Where each of them ends, counted from where the list begins.
    ends: Vec<u64>,
}

impl Level {
    fn new(entries: Vec<ListEntry>) -> Self {
        let ends = entries.iter().scan(0u64, |end, entry| {
            *end = end.saturating_add(entry.content_len());
            Some(*end)
        });
        Level { ends: ends.collect(), entries }
    }

    fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The entry at `offset`, and where it begins.
    fn at(&self, offset: u64) -> Option<(ListEntry, u64)> {
        let number = self.ends.partition_point(|end| *end <= offset);
        let entry = self.entries.get(number)?;
        Some((*entry, if number == 0 { 0 } else { self.ends[number - 1] }))
    }
}

impl Content {
    /// The content of `node`.
    pub fn open(reader: Arc<ChunkReader>, cache: Arc<ReadCache>, node: &Node) -> Result<Self, Error> {
        let name = String::from_utf8_lossy(&node.name).into_owned();
        Self::new(reader, cache, name, node.size.unwrap_or(0), &node.content)
    }

    /// Content of `size` bytes, as is said elsewhere than in its lists, whose top `entries` these are.
    pub fn new(
        reader: Arc<ChunkReader>,
        cache: Arc<ReadCache>,
        name: String,
        size: u64,
        entries: &[ListEntry],
    ) -> Result<Self, Error> {
        let len = content_len(entries).map_err(Error::format(&name))?;
        if len != size {
            let reason = format!("its lists say that it has {len} bytes, and its entry says {size}");
            return Err(Error::damaged(name, reason));
        }
        Ok(Content { reader, cache, name, top: Level::new(entries.to_vec()) })
    }

    /// An error that says what is wrong with it.
    pub fn damaged(&self, reason: &str) -> Error {
        Error::damaged(&self.name, reason)
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.top.len()
    }

    /// Appends the `len` bytes at `offset`, fewer only at the end.
    pub fn read_at(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let end = offset.saturating_add(len as u64).min(self.size());
        let mut at = offset;
        while at < end {
            let (entry, start) = self.leaf(at)?;
            let from = at - start;
            let to = entry.content_len().min(end - start);
            match entry {
                ListEntry::Chunk { id, len } => {
                    let chunk = self.cache.chunk(&id, |chunk| {
                        let mut scratch = Scratch::default();
                        self.reader.append_chunk(ChunkKind::Data, &id, &mut scratch, chunk)
                    })?;
                    if chunk.len() != len as usize {
                        let reason = format!("chunk {id} has another length than its list says");
                        return Err(Error::damaged(&self.name, reason));
                    }
                    out.extend_from_slice(&chunk[from as usize..to as usize]);
                }
                _ => out.resize(out.len() + (to - from) as usize, 0),
            }
            at = start + to;
        }
        Ok(())
    }

    /// The entry at `offset` that is no list, and where it begins.
    pub(super) fn leaf(&self, offset: u64) -> Result<(ListEntry, u64), Error> {
        let beyond = || Error::damaged(&self.name, "its lists are shorter than they say");
        let (mut entry, mut start) = self.top.at(offset).ok_or_else(beyond)?;
        while let ListEntry::List { id, len, depth } = entry {
            let level = Level::new(read_list(&self.reader, &id, len, depth)?);
            let (inner, begins) = level.at(offset - start).ok_or_else(beyond)?;
            (entry, start) = (inner, start + begins);
        }
        Ok((entry, start))
    }
}
