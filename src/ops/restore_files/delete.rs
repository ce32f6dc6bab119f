//! Which entries of a folder the snapshot does not have. A part of the folder's names is held at a
//! time and compared with the stored listing, so that neither has to fit in memory; nearly every
//! folder is one part.

use std::collections::BTreeSet;

use crate::files::write::{self, Entry, Folder};
use crate::format::node::{Node, NodeType};
use crate::ops::Error;
use crate::repo::read::ChunkReader;
use crate::vfs::Children;

/// Names that are held at once.
const PART: usize = 1 << 17;

/// Calls `each` for every entry of `folder` that is not among the children of `node`.
pub(super) fn extras(
    folder: &Folder,
    node: &Node,
    reader: &ChunkReader,
    each: &mut dyn FnMut(Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut entries = folder.entries()?;
    loop {
        let mut part = BTreeSet::new();
        for entry in entries.by_ref().take(PART) {
            let Entry { name, kind } = entry?;
            part.insert((name, kind == NodeType::Directory));
        }
        if part.is_empty() {
            return Ok(());
        }
        let mut children = Children::new(node.children.clone());
        while let Some(child) = children.next(reader)? {
            part.remove(&(child.name.clone(), true));
            part.remove(&(child.name, false));
        }
        for (name, is_folder) in part {
            let kind = if is_folder { NodeType::Directory } else { NodeType::File };
            each(Entry { name, kind })?;
        }
    }
}

/// Whether an entry stayed because something is mounted on it, or below it.
pub(super) fn is_mounted(error: &write::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.reason.raw_os_error();
    [Errno::XDEV, Errno::BUSY].iter().any(|mounted| errno == Some(mounted.raw_os_error()))
}
