//! The stored tree, entry after entry in order, as far as it is wanted. One tree chunk of each folder
//! on the way is in memory, however large folders are. A listing that is damaged is told, ends there,
//! and the walk goes on beside it.

use crate::base::class::Class;
use crate::base::clock::Cancel;
use crate::base::limits::TREE_DEPTH_MAX;
use crate::format::node::{Node, NodeType};
use crate::ops::restore_files::filter::Filter;
use crate::repo::Error;
use crate::repo::read::ChunkReader;
use crate::vfs::Children;

/// What comes next.
pub(super) enum Step {
    /// A folder begins; the path is its own. Not wanted means: only for what is wanted below it.
    Enter { node: Box<Node>, wanted: bool },
    /// An entry without children.
    Entry(Box<Node>),
    /// The rest of a folder's listing cannot be read; the path is the folder's.
    Lost(Error),
    /// A folder ends; the path is its own.
    Leave,
}

struct Level {
    children: Children,
    /// Length of the folder's own path.
    len: usize,
    wanted: bool,
}

/// The walk.
pub(super) struct Walk<'a> {
    reader: &'a ChunkReader,
    filter: &'a Filter,
    cancel: &'a Cancel,
    path: Vec<u8>,
    levels: Vec<Level>,
}

impl<'a> Walk<'a> {
    /// Walks what is below `top`, which is not entered itself and not left either.
    pub(super) fn new(top: &Node, reader: &'a ChunkReader, filter: &'a Filter, cancel: &'a Cancel) -> Self {
        let children = Children::new(top.children.clone());
        let level = Level { children, len: 0, wanted: filter.wants_all() };
        Walk { reader, filter, cancel, path: Vec::new(), levels: vec![level] }
    }

    /// The path of what the last step is about, from the top.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The next step.
    pub(super) fn next(&mut self) -> Result<Option<Step>, Error> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            self.path.truncate(level.len);
            let node = match level.children.next(self.reader) {
                Ok(Some(node)) => node,
                Ok(None) => {
                    self.levels.pop();
                    if self.levels.is_empty() {
                        return Ok(None);
                    }
                    return Ok(Some(Step::Leave));
                }
                Err(error) if error.class() == Class::Damaged => {
                    level.children = Children::new(Vec::new());
                    return Ok(Some(Step::Lost(error)));
                }
                Err(error) => return Err(error),
            };
            let above = level.wanted;
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&node.name);
            let is_folder = node.kind == NodeType::Directory;
            if self.filter.excludes(&self.path, is_folder) {
                continue;
            }
            let wanted = above || self.filter.wants(&self.path, is_folder);
            if is_folder {
                return self.enter(node, wanted).map(Some);
            }
            if wanted {
                return Ok(Some(Step::Entry(Box::new(node))));
            }
        }
    }

    fn enter(&mut self, node: Node, wanted: bool) -> Result<Step, Error> {
        if self.levels.len() >= TREE_DEPTH_MAX {
            let path = String::from_utf8_lossy(&self.path).into_owned();
            return Ok(Step::Lost(Error::damaged(path, "its folders are nested too deep")));
        }
        let children = Children::new(node.children.clone());
        self.levels.push(Level { children, len: self.path.len(), wanted });
        Ok(Step::Enter { node: Box::new(node), wanted })
    }
}
