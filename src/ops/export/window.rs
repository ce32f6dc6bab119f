//! Entries that wait to be written, and the content lists of their files in a row, of which the reader is told at
//! once: it goes over them ahead of who writes.

use crate::format::list::ListEntry;
use crate::vfs::{Entry, EntryKind};

/// Memory that the entries of a window may take.
const RECORDS: usize = 4 << 20;
/// Content of one window: a few groups of what is read at once, so that those are whole but for the last.
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

    /// Takes the entries out, and the lists of the contents of their files in a row.
    pub(super) fn take(&mut self) -> (Vec<Item>, Vec<ListEntry>) {
        let Window { items, lists, .. } = std::mem::take(self);
        (items, lists)
    }
}
