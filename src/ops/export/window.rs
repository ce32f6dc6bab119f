//! Entries that are written one after another, and the content lists of their files in a row: one reader goes over
//! all of them ahead of who writes.

use std::sync::Arc;

use crate::format::list::ListEntry;
use crate::ops::export::content::{Contents, Holes};
use crate::repo::Error;
use crate::repo::read::ChunkReader;
use crate::vfs::{Entry, EntryKind};

use crate::base::clock::Cancel;

/// Memory that the entries of a window may take.
const RECORDS: usize = 4 << 20;
/// Content of one window: enough that starting its reader costs nothing beside it.
const CONTENT: u64 = 32 << 20;

/// An entry that is to be written.
pub(super) struct Item {
    /// Its path in the archive.
    pub(super) path: Vec<u8>,
    pub(super) entry: Entry,
    /// The path of another name of it that was written before.
    pub(super) first: Option<Vec<u8>>,
}

impl Item {
    /// Whether bytes follow it.
    pub(super) fn is_file(&self) -> bool {
        self.entry.kind == EntryKind::File && self.first.is_none()
    }
}

/// Entries to come.
#[derive(Default)]
pub(super) struct Window {
    items: Vec<Item>,
    lists: Vec<ListEntry>,
    records: usize,
    content: u64,
}

/// Entries whose contents are being read.
pub(super) struct Begun {
    pub(super) items: Vec<Item>,
    pub(super) contents: Contents,
}

impl Window {
    /// Adds an entry.
    pub(super) fn add(&mut self, item: Item) {
        self.records += size_of::<Item>() + item.path.len();
        if let Some(node) = item.entry.node() {
            let xattrs = node.meta.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len());
            // An entry has what its node has once more.
            self.records += 2 * (xattrs.sum::<usize>() + node.content.len() * size_of::<ListEntry>());
            if item.is_file() {
                self.lists.extend_from_slice(&node.content);
                self.content += item.entry.size.unwrap_or(0);
            }
        }
        self.items.push(item);
    }

    /// Whether it is time to begin.
    pub(super) fn is_full(&self) -> bool {
        self.records >= RECORDS || self.content >= CONTENT
    }

    /// Has the contents read.
    pub(super) fn begin(
        &mut self,
        reader: &Arc<ChunkReader>,
        holes: Holes,
        cancel: &Cancel,
    ) -> Result<Begun, Error> {
        let Window { items, lists, .. } = std::mem::take(self);
        Ok(Begun { items, contents: Contents::begin(reader, lists, holes, cancel)? })
    }
}
