//! Directories of the stored tree, a node at a time: a folder of a million entries never stands in
//! memory whole.

use std::collections::VecDeque;

use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::format::tree::TreeReader;
use crate::repo::Error;
use crate::repo::read::{ChunkReader, Entries};

/// Walks the nodes of one directory, ascending by name.
pub struct Children {
    entries: Entries,
    listing: TreeReader,
    nodes: VecDeque<Node>,
}

impl Children {
    /// The children whose list begins with `entries`.
    pub fn new(entries: Vec<ListEntry>) -> Self {
        Children { entries: Entries::new(entries), listing: TreeReader::new(), nodes: VecDeque::new() }
    }

    /// The next node.
    pub fn next(&mut self, reader: &ChunkReader) -> Result<Option<Node>, Error> {
        loop {
            if let Some(node) = self.nodes.pop_front() {
                return Ok(Some(node));
            }
            let Some(entry) = self.entries.next(reader)? else { return Ok(None) };
            let ListEntry::Chunk { id, len } = entry else {
                return Err(Error::damaged("a directory", "its listing has a hole"));
            };
            self.nodes = read_nodes(reader, &mut self.listing, &id, len)?.into();
        }
    }

    /// The child called `name`, if there is one.
    pub fn find(mut self, reader: &ChunkReader, name: &[u8]) -> Result<Option<Node>, Error> {
        while let Some(node) = self.next(reader)? {
            if node.name == name {
                return Ok(Some(node));
            }
            if node.name.as_slice() > name {
                break;
            }
        }
        Ok(None)
    }
}

/// The nodes in the next chunk of a directory's `listing`, which says that it has `len` bytes.
pub fn read_nodes(
    reader: &ChunkReader,
    listing: &mut TreeReader,
    id: &ChunkId,
    len: u32,
) -> Result<Vec<Node>, Error> {
    let bytes = reader.meta_chunk(ChunkKind::Tree, id)?;
    let object = format!("tree chunk {id}");
    if bytes.len() != len as usize {
        return Err(Error::damaged(object, format!("it has {} bytes where a list says {len}", bytes.len())));
    }
    listing.nodes(&bytes).collect::<Result<_, _>>().map_err(Error::format(&object))
}
