//! The snapshot before, as far as a new one is coded against it: contents by their paths. Nothing here
//! fails a snapshot: what cannot be read is not there.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::base::id::ChunkId;
use crate::base::idmap::IdMap;
use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::repo::read::{ChunkReader, Entries};
use crate::repo::session::{Contents, Session};
use crate::vfs::Children;

/// Entries of one folder that are kept: of one with more, none is looked for. A folder of tables never
/// has as many, a cluster's database seldom, and large objects that change are rare.
const FOLDER_MAX: usize = 32_768;

/// Chunks by which a content is found: the first may be one of those that changed.
const BEGINNING: usize = 8;

/// A folder of the parent.
#[derive(Default)]
pub struct Folder {
    reader: Option<Arc<ChunkReader>>,
    nodes: BTreeMap<Vec<u8>, Node>,
    /// Names of the contents by the chunks that they begin with, once somebody asked.
    beginnings: OnceLock<IdMap<Vec<u8>>>,
}

impl Folder {
    /// The folder whose listing these entries are.
    pub fn open(session: &Session, entries: Vec<ListEntry>) -> Self {
        let Some(reader) = session.bases() else { return Folder::default() };
        Folder::read(reader.clone(), entries)
    }

    fn read(reader: Arc<ChunkReader>, entries: Vec<ListEntry>) -> Self {
        let (mut children, mut nodes) = (Children::new(entries), BTreeMap::new());
        while let Ok(Some(node)) = children.next(&reader) {
            nodes.insert(node.name.clone(), node);
            if nodes.len() > FOLDER_MAX {
                nodes.clear();
                break;
            }
        }
        Folder { reader: Some(reader), nodes, beginnings: OnceLock::new() }
    }

    /// The folder called `name` in this one.
    pub fn folder(&self, name: impl AsRef<[u8]>) -> Self {
        let children = self.nodes.get(name.as_ref()).map(|node| node.children.clone());
        match (&self.reader, children) {
            (Some(reader), Some(children)) => Folder::read(reader.clone(), children),
            _ => Folder::default(),
        }
    }

    /// The content called `name`; empty if there is none.
    pub fn content(&self, name: impl AsRef<[u8]>) -> Vec<ListEntry> {
        self.nodes.get(name.as_ref()).map_or_else(Vec::new, |node| node.content.clone())
    }

    fn beginnings(&self) -> IdMap<Vec<u8>> {
        let mut beginnings = IdMap::default();
        let Some(reader) = &self.reader else { return beginnings };
        for (name, node) in &self.nodes {
            let mut entries = Entries::new(node.content.clone());
            let chunks = std::iter::from_fn(|| entries.next(reader).unwrap_or_default()).take(BEGINNING);
            beginnings.extend(chunks.filter_map(|entry| match entry {
                ListEntry::Chunk { id, .. } => Some((id, name.clone())),
                ListEntry::Hole { .. } | ListEntry::Zeros { .. } | ListEntry::List { .. } => None,
            }));
        }
        beginnings
    }
}

impl Contents for Folder {
    fn beginning_with(&self, id: &ChunkId) -> Option<Vec<ListEntry>> {
        let name = self.beginnings.get_or_init(|| self.beginnings()).get(id)?;
        self.nodes.get(name).map(|node| node.content.clone())
    }
}
