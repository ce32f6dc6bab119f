//! What earlier snapshots knew of the entries that a walk meets (D-6): from the file cache, and where
//! that has no row for a folder, from the parent's tree. Both are read along with the walk, in order
//! of names, so neither has to fit in memory.
//!
//! Nothing here decides that an entry is unchanged, and nothing here can fail a snapshot: what cannot
//! be read is not known.

use std::collections::VecDeque;

use crate::base::id::SessionId;
use crate::base::monitor::Monitor;
use crate::format::list::ListEntry;
use crate::format::node::{Node, NodeType};
use crate::format::tree::{self, TreeReader};
use crate::repo::index::{FileCache, FolderKey};
use crate::repo::read::ChunkReader;
use crate::vfs::Children;

/// Bytes of nodes in one part of a folder's rows.
const PART: usize = 64 << 10;

/// Where earlier snapshots are read.
pub struct Known<'a> {
    /// The file cache, unless it failed.
    pub cache: Option<FileCache>,
    /// Reads the parent's tree, if there is one and this key may read it.
    pub parent: Option<(ChunkReader, Vec<ListEntry>)>,
    /// Is told when the cache or the parent fail.
    pub monitor: &'a dyn Monitor,
    /// Whether this walk's entries go into the cache.
    pub keeps: bool,
}

/// What is known of one folder's entries, and what becomes known of them.
pub struct Earlier {
    key: FolderKey,
    name: Vec<u8>,
    rows: Option<Rows>,
    parent: InParent,
    /// The part that is being filled, and its number.
    part: Vec<u8>,
    number: u32,
    record: Vec<u8>,
}

/// A folder's rows in the cache, as far as they were read.
struct Rows {
    snapshot: SessionId,
    next: u32,
    listing: TreeReader,
    nodes: VecDeque<Node>,
}

/// The folder in the parent's tree.
enum InParent {
    /// Nobody has asked yet.
    Unasked,
    /// It is not there.
    Absent,
    There(Cursor),
}

/// A folder of the parent, read up to some name.
struct Cursor {
    children: Children,
    next: Option<Node>,
}

impl Earlier {
    /// The key of the folder `name` in this one.
    fn child_key(&self, name: &[u8]) -> FolderKey {
        crate::crypto::hash(&[&self.key[..], name].concat())
    }
}

impl Known<'_> {
    /// What is known of the root.
    pub fn root(&mut self) -> Earlier {
        self.folder(crate::crypto::hash(b"/"), b"")
    }

    /// What is known of the folder `name` in `above`.
    pub fn child(&mut self, above: &Earlier, name: &[u8]) -> Earlier {
        self.folder(above.child_key(name), name)
    }

    fn folder(&mut self, key: FolderKey, name: &[u8]) -> Earlier {
        let rows = self.rows(&key);
        let parent = if self.parent.is_some() { InParent::Unasked } else { InParent::Absent };
        Earlier { key, name: name.to_vec(), rows, parent, part: Vec::new(), number: 0, record: Vec::new() }
    }

    fn rows(&mut self, key: &FolderKey) -> Option<Rows> {
        let found = self.cache.as_ref()?.first(key);
        let found = self.in_cache(found)??;
        let mut rows =
            Rows { snapshot: found.snapshot, next: 1, listing: TreeReader::new(), nodes: VecDeque::new() };
        rows.take(&found.nodes).then_some(rows)
    }

    /// The result of a use of the cache; one that fails is not used any more.
    fn in_cache<T>(&mut self, result: Result<T, crate::repo::Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                self.monitor.note(&format!("unchanged files are looked for in the parent alone: {e}"));
                self.cache = None;
                None
            }
        }
    }

    /// What an earlier snapshot knew of the entry `name` in the innermost of `folders`, which are those
    /// that the walk is in, from the root. Names must ascend.
    pub fn find(&mut self, folders: &mut [Earlier], name: &[u8]) -> Option<Node> {
        let (last, _) = folders.split_last_mut()?;
        if last.rows.is_some() {
            return self.find_in_rows(last, name);
        }
        self.resolve(folders);
        let (last, _) = folders.split_last_mut()?;
        self.find_in_parent(last, name)
    }

    fn find_in_rows(&mut self, folder: &mut Earlier, name: &[u8]) -> Option<Node> {
        let key = folder.key;
        let rows = folder.rows.as_mut()?;
        loop {
            while let Some(node) = rows.nodes.pop_front_if(|node| node.name.as_slice() <= name) {
                if node.name == name {
                    return Some(node);
                }
            }
            if !rows.nodes.is_empty() {
                return None;
            }
            let part = self.cache.as_ref()?.part(&key, &rows.snapshot, rows.next);
            let nodes = self.in_cache(part)??;
            rows.next += 1;
            if !rows.take(&nodes) {
                return None;
            }
        }
    }

    /// Finds the folders in the parent's tree, from the first that nobody has asked for there.
    fn resolve(&mut self, folders: &mut [Earlier]) {
        let asked = folders.iter().rposition(|folder| !matches!(folder.parent, InParent::Unasked));
        let from = asked.map_or(0, |asked| asked + 1);
        for at in from..folders.len() {
            let name = folders[at].name.clone();
            let children = match at.checked_sub(1) {
                None => self.parent.as_ref().map(|(_, root)| root.clone()),
                Some(above) => {
                    let node = self.find_in_parent(&mut folders[above], &name);
                    node.filter(|node| node.kind == NodeType::Directory).map(|node| node.children)
                }
            };
            folders[at].parent = match children {
                Some(entries) => InParent::There(Cursor { children: Children::new(entries), next: None }),
                None => InParent::Absent,
            };
        }
    }

    fn find_in_parent(&self, folder: &mut Earlier, name: &[u8]) -> Option<Node> {
        let (reader, _) = self.parent.as_ref()?;
        let InParent::There(cursor) = &mut folder.parent else { return None };
        match cursor.find(reader, name) {
            Ok(found) => found,
            Err(e) => {
                self.monitor.note(&format!("files are read because the parent cannot be: {e}"));
                folder.parent = InParent::Absent;
                None
            }
        }
    }

    /// Remembers an entry of `folder` for the next snapshot. Names must ascend.
    pub fn remember(&mut self, folder: &mut Earlier, node: &Node) {
        if !self.keeps || self.cache.is_none() {
            return;
        }
        // One that is too large to be encoded fails where it is stored, or is in no cache.
        if tree::append(node, &mut folder.record, &mut folder.part).is_ok() && folder.part.len() >= PART {
            self.put(folder);
        }
    }

    /// Says that all entries of `folder` were remembered.
    pub fn end(&mut self, folder: &mut Earlier) {
        if !self.keeps || self.cache.is_none() {
            return;
        }
        if !folder.part.is_empty() {
            self.put(folder);
        }
        if (folder.number > 0 || folder.rows.is_some())
            && let Some(cache) = &mut self.cache
        {
            cache.end(&folder.key);
        }
    }

    fn put(&mut self, folder: &mut Earlier) {
        let nodes = std::mem::take(&mut folder.part);
        let Some(cache) = &mut self.cache else { return };
        let put = cache.put(&folder.key, folder.number, nodes);
        folder.number += 1;
        self.in_cache(put);
    }
}

impl Rows {
    /// Decodes a part; `false` if it is garbled, and then nothing of it counts (I-11).
    fn take(&mut self, nodes: &[u8]) -> bool {
        match self.listing.nodes(nodes).collect::<Result<VecDeque<_>, _>>() {
            Ok(nodes) => {
                self.nodes = nodes;
                true
            }
            Err(_) => false,
        }
    }
}

impl Cursor {
    /// The entry `name`, which may be asked for twice.
    fn find(&mut self, reader: &ChunkReader, name: &[u8]) -> Result<Option<Node>, crate::repo::Error> {
        loop {
            if self.next.is_none() {
                self.next = self.children.next(reader)?;
            }
            match &self.next {
                Some(node) if node.name.as_slice() < name => self.next = None,
                Some(node) if node.name == name => return Ok(Some(node.clone())),
                _ => return Ok(None),
            }
        }
    }
}
