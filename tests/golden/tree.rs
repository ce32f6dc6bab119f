//! A file tree with every kind of entry and every attribute that a node can have, written down by hand,
//! so that the same is made without root and on any file system.

use std::collections::BTreeMap;

use kamba_vault::base::clock::{Cancel, Timestamp};
use kamba_vault::base::id::hex;
use kamba_vault::base::kind::ChunkKind;
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{FileMeta, Node, NodeType, Xattr};
use kamba_vault::format::root::{RootBody, SnapshotKind};
use kamba_vault::repo::read::{ChunkReader, Entries};
use kamba_vault::repo::roots::Snapshot;
use kamba_vault::repo::session::Session;
use kamba_vault::repo::{Repository, index};
use kamba_vault::vfs::Children;
use serde_json::{Value, json};

use crate::support;

/// Every node of a snapshot by its path, and what it holds.
pub type Nodes = BTreeMap<String, Value>;

/// 2009, with nanoseconds.
const THEN: Timestamp = Timestamp(1_234_567_890_123_456_789);

fn meta(mode: u32) -> FileMeta {
    let name = || Some("root".to_owned());
    FileMeta {
        mode: Some(mode),
        uid: Some(0),
        gid: Some(0),
        user: name(),
        group: name(),
        mtime: Some(THEN),
        ..FileMeta::default()
    }
}

fn at(nanos: i64) -> FileMeta {
    FileMeta { mtime: Some(Timestamp(nanos)), ..meta(0o644) }
}

fn tagged(xattrs: &[(&str, &[u8])]) -> FileMeta {
    let xattr =
        |(name, value): &(&str, &[u8])| Xattr { name: name.as_bytes().to_vec(), value: value.to_vec() };
    FileMeta { xattrs: xattrs.iter().map(xattr).collect(), ..meta(0o755) }
}

fn grouped(group: &[u8]) -> FileMeta {
    FileMeta { link_group: Some(group.to_vec()), ..meta(0o640) }
}

fn device(kind: NodeType, major: u32, minor: u32) -> Node {
    let name = if kind == NodeType::CharDevice { "char device" } else { "block device" };
    let meta = FileMeta { device: Some(rustix::fs::makedev(major, minor)), ..meta(0o660) };
    Node { meta, ..Node::new(name, kind) }
}

fn link(name: &str, target: &[u8]) -> Node {
    let meta = FileMeta { link_target: Some(target.to_vec()), ..meta(0o777) };
    Node { meta, ..Node::new(name, NodeType::Symlink) }
}

/// Commits the tree as a snapshot of `/srv`.
pub fn snapshot(repo: &Repository) {
    let session = support::begin(repo).unwrap();
    let srv = folder(&session, "srv", meta(0o755), entries(&session));
    let children = support::listing(&session, &[srv]).unwrap();
    let root = |id, _| {
        let body = support::root_body(repo, id, children);
        Ok(RootBody { kind: SnapshotKind::Files, sources: vec!["/srv".into()], ..body })
    };
    session.commit(root).unwrap();
}

fn entries(session: &Session) -> Vec<Node> {
    let file = |name: &[u8], meta, bytes: &[u8]| {
        let content = support::store(session, bytes).unwrap().entries;
        Node { meta, ..Node::with_content(name, NodeType::File, content).unwrap() }
    };
    let plain = |name: &str, kind| Node { meta: meta(0o622), ..Node::new(name, kind) };
    let everything = FileMeta {
        mode: Some(0o6755),
        uid: Some(4_000_000_000),
        gid: Some(33),
        user: None,
        group: Some("www-data".into()),
        atime: Some(Timestamp(THEN.0 + 1)),
        btime: Some(Timestamp(THEN.0 - 1)),
        // No dump, no times of access.
        inode_flags: Some(0xc0),
        ctime: Some(Timestamp(THEN.0 + 2)),
        inode: Some(u64::MAX),
        ..tagged(&[("user.a", b""), ("user.b", &[7; 300])])
    };
    let unread = FileMeta { problem: Some("it shrank while it was read".into()), ..meta(0o600) };
    let times =
        [("1677", i64::MIN), ("1910", -1_890_000_000_000_000_001), ("2100", 4_102_444_800_000_000_003)];
    let times = times.map(|(name, nanos)| file(name.as_bytes(), at(nanos), b"")).into();
    let many = (0..700).map(|n| file(format!("{n:05}").as_bytes(), meta(0o644), b"one of many")).collect();
    // Nobody reads this one, so its hole may be as long as it likes.
    let long = vec![ListEntry::Hole { len: 1 << 50 }];
    let later = Node::with_content("of a later version", NodeType::Other(99), long).unwrap();
    let later = Node { meta: at(i64::MAX), ..later };
    let inner = folder(session, "inner", meta(0o1777), vec![file(b"file", meta(0o444), b"nested")]);
    vec![
        file(b"empty", meta(0o644), b""),
        file(b"everything", everything, b"with everything"),
        file(b"large", meta(0o644), &support::rows(1, 600_000)),
        file(b"od\xffd\n name", meta(0o644), b"odd"),
        file(b"one", grouped(b"\x07\0\0\0\0\0\0\0\0"), b"one file"),
        file(b"two", grouped(b"\x07\0\0\0\0\0\0\0\0"), b"one file"),
        file(b"of the 513th file system", grouped(b"\x07\0\0\0\0\0\0\0\0\x02"), b"another file"),
        file(b"capable", tagged(&[("security.capability", &CAPABILITY)]), b"capable"),
        file(b"shared", tagged(&[("system.posix_acl_access", &ACL)]), b"shared"),
        file(b"unread", unread, b"a part"),
        sparse(session),
        link("link", b"one"),
        link("dangling", b"no/wh\xffre"),
        link("long", &[b'x'; 4095]),
        plain("fifo", NodeType::Fifo),
        plain("socket", NodeType::Socket),
        device(NodeType::CharDevice, 1, 3),
        device(NodeType::BlockDevice, 259, 70_000),
        later,
        folder(session, "empty folder", meta(0o2755), vec![]),
        folder(session, "folder", meta(0o700), vec![inner]),
        folder(session, "many", meta(0o755), many),
        folder(session, "times", at(-1), times),
    ]
}

/// To bind low ports.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// One more user may read.
const ACL: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
    16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255,
];

fn sparse(session: &Session) -> Node {
    let data = support::noise(3, 8192);
    let id = session.store(ChunkKind::Data, &data).unwrap();
    let chunk = ListEntry::Chunk { len: data.len() as u32, id };
    let (hole, zeros) = (|len| ListEntry::Hole { len }, ListEntry::Zeros { len: 65_536 });
    let content = vec![hole(5 << 20), chunk, zeros, chunk, hole(12_288)];
    Node { meta: meta(0o644), ..Node::with_content("sparse", NodeType::File, content).unwrap() }
}

fn folder(session: &Session, name: &str, meta: FileMeta, mut nodes: Vec<Node>) -> Node {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let children = support::listing(session, &nodes).unwrap();
    Node { meta, ..Node::with_children(name, NodeType::Directory, children) }
}

/// Reads every node of a snapshot.
pub fn nodes(repo: &Repository, snapshot: &Snapshot) -> Nodes {
    index::refresh(repo, &Silent, &Cancel::new()).unwrap();
    let mut found = Nodes::new();
    below(&ChunkReader::new(repo), &snapshot.root.root, "", &mut found);
    found
}

fn below(reader: &ChunkReader, node: &Node, path: &str, found: &mut Nodes) {
    let mut children = Children::new(node.children.clone());
    while let Some(child) = children.next(reader).unwrap() {
        let path = format!("{path}/{}", child.name.escape_ascii());
        below(reader, &child, &path, found);
        found.insert(path, described(reader, &child));
    }
}

/// A node in words that do not change when the program's own names do.
fn described(reader: &ChunkReader, node: &Node) -> Value {
    let meta = &node.meta;
    let time = |time: Option<Timestamp>| time.map(|time| time.0);
    let xattrs: Vec<_> =
        meta.xattrs.iter().map(|xattr| (xattr.name.escape_ascii().to_string(), hex(&xattr.value))).collect();
    let mut entries = Entries::new(node.content.clone());
    let mut content = Vec::new();
    while let Some(entry) = entries.next(reader).unwrap() {
        content.push(match entry {
            ListEntry::Chunk { id, len } => format!("chunk {id} of {len}"),
            ListEntry::Hole { len } => format!("hole of {len}"),
            ListEntry::Zeros { len } => format!("zeros of {len}"),
            ListEntry::List { .. } => panic!("lists are resolved"),
        });
    }
    let mut described = json!({
        "kind": node.kind.to_u64(), "size": node.size, "content": content,
        "mode": meta.mode, "uid": meta.uid, "gid": meta.gid, "user": meta.user, "group": meta.group,
        "mtime": time(meta.mtime), "atime": time(meta.atime), "btime": time(meta.btime), "ctime": time(meta.ctime),
        "link_target": meta.link_target.as_deref().map(hex), "device": meta.device, "xattrs": xattrs,
        "link_group": meta.link_group.as_deref().map(hex), "inode_flags": meta.inode_flags,
        "inode": meta.inode, "problem": meta.problem,
    });
    if let Value::Object(fields) = &mut described {
        fields.retain(|_, value| !value.is_null());
    }
    described
}
