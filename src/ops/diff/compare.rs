//! Two nodes of one name: what is different about them. Nothing is read: equal lists mean equal
//! content.

use crate::format::list::ListEntry;
use crate::format::node::{Node, NodeType};

/// What differs between two nodes of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Their bytes, or what they point to.
    pub content: bool,
    /// Names of all attributes that differ.
    pub attributes: Vec<&'static str>,
}

impl Difference {
    /// What differs between `old` and `new`; of folders, their entries apart. Inode and time of change
    /// say nothing about a file but whether it may be taken for unchanged.
    pub fn between(old: &Node, new: &Node) -> Self {
        let (was, is) = (&old.meta, &new.meta);
        let holes = old.content != new.content && same_bytes(old, new);
        // A database is its parts; a folder is more than its entries.
        let parts = old.kind == NodeType::Database && old.children != new.children;
        let content = (old.content != new.content && !holes) || old.size != new.size || parts;
        let attributes = [
            ("holes", holes),
            ("mode", was.mode != is.mode),
            ("uid", was.uid != is.uid),
            ("gid", was.gid != is.gid),
            ("user", was.user != is.user),
            ("group", was.group != is.group),
            ("mtime", was.mtime != is.mtime),
            ("atime", was.atime != is.atime),
            ("btime", was.btime != is.btime),
            ("link_target", was.link_target != is.link_target),
            ("device", was.device != is.device),
            ("xattrs", was.xattrs != is.xattrs),
            ("link_group", was.link_group != is.link_group),
            ("inode_flags", was.inode_flags != is.inode_flags),
            ("problem", was.problem != is.problem),
            ("unknown", old.unknown != new.unknown),
        ];
        let attributes: Vec<_> =
            attributes.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        Difference { content: content || was.link_target != is.link_target, attributes }
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        !self.content && self.attributes.is_empty()
    }
}

/// Whether two contents differ only in whether their zeros take space.
fn same_bytes(old: &Node, new: &Node) -> bool {
    let zeros = |entry: &ListEntry| match *entry {
        ListEntry::Hole { len } => ListEntry::Zeros { len },
        entry => entry,
    };
    let mut pairs = joined(old.content.iter().map(zeros)).into_iter();
    let new = joined(new.content.iter().map(zeros));
    new.len() == pairs.len() && new.iter().all(|entry| pairs.next().as_ref() == Some(entry))
}

/// The entries with runs of zeros made one.
fn joined(entries: impl Iterator<Item = ListEntry>) -> Vec<ListEntry> {
    let mut out: Vec<ListEntry> = Vec::new();
    for entry in entries {
        match (out.last_mut(), entry) {
            (Some(ListEntry::Zeros { len }), ListEntry::Zeros { len: more }) => *len += more,
            _ => out.push(entry),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::id::ChunkId;
    use crate::format::node::Xattr;

    fn file(content: Vec<ListEntry>) -> Node {
        let size = Some(content.iter().map(ListEntry::content_len).sum());
        Node { size, content, ..Node::new("a", NodeType::File) }
    }

    fn chunk(seed: u8) -> ListEntry {
        ListEntry::Chunk { len: 10, id: ChunkId([seed; 32]) }
    }

    #[test]
    fn content_is_told_from_holes() {
        let old = file(vec![chunk(1), ListEntry::Hole { len: 8 }, ListEntry::Zeros { len: 2 }]);
        let filled = file(vec![chunk(1), ListEntry::Zeros { len: 10 }]);
        let other = file(vec![chunk(1), ListEntry::Hole { len: 11 }]);
        assert!(Difference::between(&old, &old).is_none());
        let holes = Difference::between(&old, &filled);
        assert_eq!(holes, Difference { content: false, attributes: vec!["holes"] });
        assert_eq!(Difference::between(&old, &other), Difference { content: true, attributes: vec![] });
        assert!(Difference::between(&file(vec![chunk(1)]), &file(vec![chunk(2)])).content);
    }

    #[test]
    fn each_attribute_is_named() {
        let old = Node::new("a", NodeType::Symlink);
        let with = |change: &dyn Fn(&mut Node)| {
            let mut new = old.clone();
            change(&mut new);
            Difference::between(&old, &new)
        };
        let time = Some(Timestamp(1));
        type Made<'c> = (&'c str, &'c dyn Fn(&mut Node));
        let changes: [Made<'_>; 14] = [
            ("mode", &|n| n.meta.mode = Some(1)),
            ("uid", &|n| n.meta.uid = Some(1)),
            ("gid", &|n| n.meta.gid = Some(1)),
            ("user", &|n| n.meta.user = Some("u".into())),
            ("group", &|n| n.meta.group = Some("g".into())),
            ("mtime", &|n| n.meta.mtime = time),
            ("atime", &|n| n.meta.atime = time),
            ("btime", &|n| n.meta.btime = time),
            ("link_target", &|n| n.meta.link_target = Some(vec![b'x'])),
            ("device", &|n| n.meta.device = Some(1)),
            ("xattrs", &|n| n.meta.xattrs.push(Xattr { name: vec![b'x'], value: vec![] })),
            ("link_group", &|n| n.meta.link_group = Some(vec![1])),
            ("inode_flags", &|n| n.meta.inode_flags = Some(1)),
            ("problem", &|n| n.meta.problem = Some("gone".into())),
        ];
        for (name, change) in changes {
            let difference = with(change);
            assert_eq!(difference.attributes, [name]);
            assert_eq!(difference.content, name == "link_target");
        }
        assert!(with(&|n| (n.meta.ctime, n.meta.inode) = (time, Some(1))).is_none());
    }
}
