//! Files with several names: what makes these names one file again, and the node of one name for the
//! others, so that the file is read once. Nodes lie in a table that spills to disk.

use std::collections::HashMap;

use crate::files::stat::Stat;
use crate::format::node::{Node, NodeType};
use crate::ops::snapshot::files::entry::is_unchanged;
use crate::repo::Error;
use crate::repo::index::Spill;

/// What a walk knows of files with several names.
pub struct Links {
    /// Numbers of the file systems met, by device.
    file_systems: HashMap<u64, u64>,
    /// Nodes, by device and inode.
    nodes: Spill,
}

impl Links {
    pub fn new() -> Result<Self, Error> {
        Ok(Links { file_systems: HashMap::new(), nodes: Spill::new()? })
    }

    /// The group of a file with several names: its inode and the number of its file system.
    pub fn group(&mut self, stat: &Stat) -> Option<Vec<u8>> {
        if stat.links < 2 || stat.kind == NodeType::Directory {
            return None;
        }
        let next = self.file_systems.len() as u64;
        let number = self.file_systems.entry(stat.device).or_insert(next).to_le_bytes();
        Some([&stat.inode.to_le_bytes()[..], short(&number)].concat())
    }

    /// The node of a file that this walk has read by another name, and that did not change since.
    pub fn other_name(&self, name: &[u8], stat: &Stat) -> Result<Option<Node>, Error> {
        if stat.links < 2 {
            return Ok(None);
        }
        let Some(record) = self.nodes.get(&identity(stat))? else { return Ok(None) };
        let Ok(mut node) = Node::decode(&record) else { return Ok(None) };
        if !is_unchanged(&node, stat) {
            return Ok(None);
        }
        node.name = name.to_vec();
        Ok(Some(node))
    }

    /// Keeps a node whose file has other names. One that is uncertain is read again for each.
    pub fn keep(&mut self, node: &Node, stat: &Stat) -> Result<(), Error> {
        if stat.links > 1 && node.meta.ctime.is_some() {
            let mut record = Vec::new();
            node.encode(&mut record);
            self.nodes.put(&identity(stat), &record)?;
        }
        Ok(())
    }
}

/// A number without the zeros at its upper end: nearly every snapshot has one file system.
fn short(number: &[u8; 8]) -> &[u8] {
    let len = number.iter().rposition(|byte| *byte != 0).map_or(1, |at| at + 1);
    &number[..len]
}

/// Which file of this machine.
fn identity(stat: &Stat) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&stat.device.to_le_bytes());
    key[8..].copy_from_slice(&stat.inode.to_le_bytes());
    key
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn groups_of_any_number_of_file_systems_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let folder = crate::files::folder::Folder::open(dir.path(), Default::default()).unwrap();
        let stat = Stat { kind: NodeType::File, links: 2, inode: 7, ..folder.stat_self().unwrap() };
        let mut links = Links::new().unwrap();
        let mut group = |device: u64| links.group(&Stat { device, ..stat.clone() }).unwrap();
        let first: Vec<_> = (0..70_000).map(&mut group).collect();
        assert_eq!(first.iter().collect::<HashSet<_>>().len(), first.len());
        assert!((0..70_000).map(&mut group).eq(first.iter().cloned()), "the same again");
        assert_eq!(first[0], [7, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(first[258], [7, 0, 0, 0, 0, 0, 0, 0, 2, 1]);
    }

    #[test]
    fn one_name_and_folders_have_no_group() {
        let dir = tempfile::tempdir().unwrap();
        let folder = crate::files::folder::Folder::open(dir.path(), Default::default()).unwrap();
        let stat = folder.stat_self().unwrap();
        let mut links = Links::new().unwrap();
        assert_eq!(links.group(&Stat { kind: NodeType::Directory, links: 2, ..stat.clone() }), None);
        assert_eq!(links.group(&Stat { kind: NodeType::File, links: 1, ..stat }), None);
    }
}
