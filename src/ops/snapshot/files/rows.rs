//! A folder's listing in the file cache, read along with the walk in order of names, one chunk in
//! memory at a time.

use std::ops::Range;

use crate::base::id::ChunkId;
use crate::format::node::Node;
use crate::format::tree::TreeReader;
use crate::repo::index::{Listing, ListingChunk};

/// A listing, read up to some name.
pub struct Rows {
    /// Which.
    pub listing: Listing,
    reader: TreeReader,
    chunk: ListingChunk,
    /// The place of that chunk, and how much of it was read.
    place: u32,
    at: usize,
    /// The next node, and where its record lies in the chunk.
    next: Option<(Node, Range<usize>)>,
    /// The record of the node that was found last.
    found: Range<usize>,
}

impl Rows {
    /// A listing before its first node, given its first chunk.
    pub fn new(listing: Listing, chunk: ListingChunk) -> Self {
        Rows { listing, reader: TreeReader::new(), chunk, place: 0, at: 0, next: None, found: 0..0 }
    }

    /// The entry `name`. Names must ascend. `more` gives the chunk at a place, unless that is gone.
    pub fn find(
        &mut self,
        name: &[u8],
        mut more: impl FnMut(&Listing, u32) -> Option<ListingChunk>,
    ) -> Option<Node> {
        loop {
            if self.next.is_none() {
                match self.reader.node_at(&self.chunk.nodes, &mut self.at) {
                    Ok(Some(next)) => self.next = Some(next),
                    Ok(None) if self.place + 1 < self.listing.chunks => {
                        self.chunk = more(&self.listing, self.place + 1)?;
                        (self.place, self.at) = (self.place + 1, 0);
                        continue;
                    }
                    Ok(None) => return None,
                    // Of what is garbled nothing counts any more (I-11).
                    Err(_) => {
                        self.listing.chunks = 0;
                        self.chunk.nodes.clear();
                        return None;
                    }
                }
            }
            let (node, record) = self.next.take_if(|(node, _)| node.name.as_slice() <= name)?;
            if node.name == name {
                self.found = record;
                return Some(node);
            }
        }
    }

    /// The record of what was found last.
    pub fn record(&self) -> &[u8] {
        self.chunk.nodes.get(self.found.clone()).unwrap_or_default()
    }

    /// The id of the chunk that is being read, if that is `bytes`.
    pub fn same(&self, bytes: &[u8]) -> Option<ChunkId> {
        (self.chunk.nodes == bytes).then_some(self.chunk.id)
    }
}
