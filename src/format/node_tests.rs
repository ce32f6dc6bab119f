//! Tests of nodes, and nodes at random for the tests of trees.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::base::id::ChunkId;
use crate::format::list::tests::entries;
use crate::format::testing;
use proptest::prelude::*;

fn metas() -> impl Strategy<Value = FileMeta> {
    let times = (any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<i64>>());
    let bytes = proptest::collection::vec(any::<u8>(), 0..12);
    let xattrs = proptest::collection::btree_map(bytes.clone(), bytes.clone(), 0..3);
    (
        any::<(Option<u32>, Option<u32>, Option<u32>)>(),
        proptest::option::of((".{0,8}", ".{0,8}", ".{0,8}")),
        times,
        proptest::option::of((bytes.clone(), bytes)),
        any::<(Option<u64>, Option<u64>, Option<i64>, Option<u64>)>(),
        xattrs,
    )
        .prop_map(|((mode, uid, gid), names, (mtime, atime, btime), links, numbers, xattrs)| {
            let (device, flags, ctime, inode) = numbers;
            FileMeta {
                mode: mode.map(|mode| mode & MODE_MAX),
                uid,
                gid,
                user: names.clone().map(|names| names.0),
                group: names.clone().map(|names| names.1),
                mtime: mtime.map(Timestamp),
                atime: atime.map(Timestamp),
                btime: btime.map(Timestamp),
                link_target: links.clone().map(|links| links.0),
                device,
                xattrs: xattrs.into_iter().map(|(name, value)| Xattr { name, value }).collect(),
                link_group: links.map(|links| links.1),
                inode_flags: flags,
                problem: names.map(|names| names.2),
                ctime: ctime.map(Timestamp),
                inode,
            }
        })
}

/// Nodes of every type, with what such nodes may have.
pub(in crate::format) fn nodes() -> impl Strategy<Value = Node> {
    let names = proptest::collection::vec(any::<u8>(), 1..20)
        .prop_filter("a name", |name| Node::new(name.as_slice(), NodeType::File).check_name().is_ok());
    let content = proptest::collection::vec(entries(), 0..=limits::LIST_INLINE_MAX);
    (names, 1u64..13, proptest::option::of(metas()), content).prop_map(|(name, kind, meta, content)| {
        let kind = NodeType::from_u64(kind);
        let mut node = match (kind.has_content(), kind.has_children()) {
            (true, _) => Node::with_content(name, kind, content).unwrap(),
            (false, true) => {
                let chunk = |entry: ListEntry| ListEntry::Chunk {
                    len: entry.content_len().min(70_000) as u32,
                    id: ChunkId([7; 32]),
                };
                Node::with_children(name, kind, content.into_iter().map(chunk).collect())
            }
            (false, false) => Node::new(name, kind),
        };
        node.meta = meta.unwrap_or_default();
        node
    })
}

fn encoded(node: &Node) -> Vec<u8> {
    let mut out = Vec::new();
    node.encode(&mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nodes_round_trip_in_one_form(node in nodes()) {
        node.check().unwrap();
        let bytes = encoded(&node);
        prop_assert_eq!(&Node::decode(&bytes).unwrap(), &node);
        testing::canonical(&bytes, Node::decode, encoded);
    }
}

#[test]
fn what_a_later_version_adds_is_kept() {
    let mut bytes = encoded(&Node::new("a", NodeType::Symlink));
    bytes.extend([40, 3, 1, 2, 3, 0x80, 8, 0]);
    let node = Node::decode(&bytes).unwrap();
    assert_eq!(node.unknown.iter().collect::<Vec<_>>(), [(40, &[1u8, 2, 3][..]), (1024, &[])]);
    assert_eq!(encoded(&node), bytes);
    bytes.extend([0x81, 8, 0]);
    assert_eq!(Node::decode(&bytes).unwrap_err().reason, Reason::UnknownCritical { tag: 1025 });
}

#[test]
fn an_unknown_type_is_kept_and_shown() {
    let node = Node::new("door", NodeType::Other(77));
    assert_eq!(Node::decode(&encoded(&node)).unwrap().kind, NodeType::Other(77));
}

#[test]
fn nodes_that_contradict_themselves_are_refused() {
    let hole = ListEntry::Hole { len: 5 };
    let chunk = ListEntry::Chunk { len: 5, id: ChunkId([1; 32]) };
    let file = Node::with_content("f", NodeType::File, vec![chunk, hole]).unwrap();
    assert_eq!(file.size, Some(10));
    let refused = |node: Node| node.check().is_err() && Node::decode(&encoded(&node)).is_err();
    assert!(!refused(file.clone()));
    assert!(refused(Node { size: Some(9), ..file.clone() }));
    assert!(refused(Node { size: None, ..file.clone() }));
    assert!(refused(Node { kind: NodeType::Directory, ..file.clone() }));
    assert!(refused(Node { children: vec![chunk], ..file.clone() }));
    assert!(refused(Node { content: vec![chunk; 17], size: Some(85), ..file }));
    assert!(refused(Node::new("f", NodeType::File)), "a file without a size");
    assert!(refused(Node::with_children("d", NodeType::Directory, vec![hole])));
    let mode = |mode| FileMeta { mode: Some(mode), ..FileMeta::default() };
    assert!(!refused(Node { meta: mode(0o7777), ..Node::new("l", NodeType::Symlink) }));
    assert!(refused(Node { meta: mode(0o10000), ..Node::new("l", NodeType::Symlink) }));
    let user = |over| FileMeta { user: Some("x".repeat(limits::NAME_MAX + over)), ..FileMeta::default() };
    assert!(!refused(Node { meta: user(0), ..Node::new("l", NodeType::Symlink) }));
    assert!(refused(Node { meta: user(1), ..Node::new("l", NodeType::Symlink) }));
    let xattr = |name: &str| Xattr { name: name.into(), value: vec![] };
    let mut link = Node::new("l", NodeType::Symlink);
    link.meta.xattrs = vec![xattr("b"), xattr("a")];
    assert!(refused(link));
    assert!(Node::decode(&[]).is_err());
    assert!(Node::decode(&vec![0; limits::NODE_MAX + 1]).is_err());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for bad in ["", ".", "..", "a/b", "/", "a\0"] {
        assert!(Node::new(bad, NodeType::File).check_name().is_err(), "{bad:?}");
    }
    assert!(Node::new("a".repeat(limits::NAME_MAX + 1), NodeType::File).check_name().is_err());
    for good in ["...", "a b", "\u{e9}", "-"] {
        assert!(Node::new(good, NodeType::File).check_name().is_ok(), "{good:?}");
    }
}
