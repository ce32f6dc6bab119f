//! A directory of the stored tree by pages: any node of a folder of a million entries is found by reading a
//! few tree chunks, and none stands in memory longer than somebody looks at it.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::base::limits::FOLDER_PAGES_MAX;
use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::format::tree::TreeReader;
use crate::repo::Error;
use crate::repo::read::{ChunkReader, Entries};
use crate::vfs::read_nodes;

/// The nodes of one tree chunk, ascending by name.
pub type Page = Arc<Vec<Node>>;

/// Which tree chunks make up a directory.
#[derive(Debug)]
pub struct Folder {
    pages: Vec<(ChunkId, u32)>,
}

impl Folder {
    /// The directory whose list of children begins with `children`; its lists are read, its tree chunks
    /// are not.
    pub fn new(reader: &ChunkReader, children: Vec<ListEntry>) -> Result<Self, Error> {
        let mut entries = Entries::new(children);
        let mut pages = Vec::new();
        while let Some(entry) = entries.next(reader)? {
            let ListEntry::Chunk { id, len } = entry else {
                return Err(Error::damaged("a directory", "its listing has a hole"));
            };
            if pages.len() == FOLDER_PAGES_MAX {
                return Err(Error::damaged("a directory", "its listing is larger than the limit"));
            }
            pages.push((id, len));
        }
        Ok(Folder { pages })
    }

    /// How many pages it has.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The chunk that page `number` is, which is also what it may be kept under.
    pub fn id(&self, number: usize) -> Option<ChunkId> {
        self.pages.get(number).map(|(id, _)| *id)
    }

    /// Reads page `number`; `None` after the last.
    pub fn read(&self, reader: &ChunkReader, number: usize) -> Result<Option<Page>, Error> {
        let Some((id, len)) = self.pages.get(number) else { return Ok(None) };
        // That names ascend from page to page is seen by whoever reads them in order.
        read_nodes(reader, &mut TreeReader::new(), id, *len).map(|nodes| Some(Arc::new(nodes)))
    }

    /// Page and place there of the child called `name`. Pages come from `page`, which may keep them: about
    /// the logarithm of their number.
    pub fn find(
        &self,
        name: &[u8],
        page: &mut dyn FnMut(usize) -> Result<Option<Page>, Error>,
    ) -> Result<Option<(usize, usize)>, Error> {
        let (mut low, mut high) = (0, self.pages.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(nodes) = page(middle)? else { return Ok(None) };
            match side(&nodes, name) {
                Ordering::Less => high = middle,
                Ordering::Greater => low = middle + 1,
                Ordering::Equal => {
                    let found = nodes.binary_search_by(|node| node.name.as_slice().cmp(name));
                    return Ok(found.ok().map(|at| (middle, at)));
                }
            }
        }
        Ok(None)
    }
}

/// Whether `name` belongs before a page, on it, or after it.
fn side(page: &[Node], name: &[u8]) -> Ordering {
    match (page.first(), page.last()) {
        (Some(first), _) if name < first.name.as_slice() => Ordering::Less,
        (_, Some(last)) if name > last.name.as_slice() => Ordering::Greater,
        _ => Ordering::Equal,
    }
}
