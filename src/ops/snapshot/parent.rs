//! The snapshot before, as far as a new one is coded against it: contents by their paths. Nothing here
//! fails a snapshot: what cannot be read is not there.

use std::collections::HashMap;
use std::sync::Arc;

use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::repo::read::ChunkReader;
use crate::repo::session::Session;
use crate::vfs::Children;

/// Entries of one folder that are kept: of one with more, none is looked for. A folder of tables never
/// has as many, and large objects that change are rare.
const FOLDER_MAX: usize = 16_384;

/// A folder of the parent.
#[derive(Default)]
pub struct Folder {
    reader: Option<Arc<ChunkReader>>,
    nodes: HashMap<Vec<u8>, Node>,
}

impl Folder {
    /// The folder whose listing these entries are.
    pub fn open(session: &Session, entries: Vec<ListEntry>) -> Self {
        let Some(reader) = session.bases() else { return Folder::default() };
        Folder::read(reader.clone(), entries)
    }

    fn read(reader: Arc<ChunkReader>, entries: Vec<ListEntry>) -> Self {
        let (mut children, mut nodes) = (Children::new(entries), HashMap::new());
        while let Ok(Some(node)) = children.next(&reader) {
            nodes.insert(node.name.clone(), node);
            if nodes.len() > FOLDER_MAX {
                nodes.clear();
                break;
            }
        }
        Folder { reader: Some(reader), nodes }
    }

    /// The folder called `name` in this one.
    pub fn folder(&self, name: &str) -> Self {
        let children = self.nodes.get(name.as_bytes()).map(|node| node.children.clone());
        match (&self.reader, children) {
            (Some(reader), Some(children)) => Folder::read(reader.clone(), children),
            _ => Folder::default(),
        }
    }

    /// The content called `name`; empty if there is none.
    pub fn content(&self, name: &str) -> Vec<ListEntry> {
        self.nodes.get(name.as_bytes()).map_or_else(Vec::new, |node| node.content.clone())
    }
}
