//! Trees as tests write them down, and snapshots of them behind a backend that counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use kamba_vault::base::clock::{Cancel, Timestamp};
use kamba_vault::base::id::SessionId;
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::ops::look;
use kamba_vault::repo::Repository;
use kamba_vault::repo::read::ChunkReader;
use kamba_vault::repo::roots::{self, Snapshot};
use kamba_vault::repo::session::Session;
use kamba_vault::storage::{Backend, Memory, Op, Record};

use crate::support::{self, begin, commit_children, credentials, init_with, listing, noise, store};

/// A tree: each entry's bytes, unless it is a folder, and its node without content and children.
pub type Tree = BTreeMap<String, (Vec<u8>, Node)>;

/// A repository that counts what is read.
pub struct Counting {
    pub record: Arc<Record>,
    pub repo: Repository,
    _cache: tempfile::TempDir,
}

impl Counting {
    pub fn new() -> Self {
        let memory = Arc::new(Memory::new());
        init_with(&*memory, &credentials(), 16 << 10);
        let (record, cache) = (Arc::new(Record::new(memory)), support::folder());
        let repo = support::open(&(record.clone() as Arc<dyn Backend>), cache.path());
        Counting { record, repo, _cache: cache }
    }

    pub fn commit(&self, tree: &Tree) -> Snapshot {
        let session = begin(&self.repo).unwrap();
        let children = children(&session, tree, "");
        let id = commit_children(session, &self.repo, children).unwrap();
        self.snapshot(id)
    }

    pub fn snapshot(&self, id: SessionId) -> Snapshot {
        let listing = roots::list(&self.repo, &Cancel::new()).unwrap();
        listing.snapshots.into_iter().find(|snapshot| snapshot.id == id).unwrap()
    }

    /// A reader that keeps nothing yet.
    pub fn reader(&self) -> Arc<ChunkReader> {
        look::reader(&self.repo, &Silent, &Cancel::new()).unwrap()
    }

    /// What `work` gives, and how many segments of metadata it read; it may read nothing else of packs.
    pub fn counted<T>(&self, work: impl FnOnce() -> T) -> (T, usize) {
        self.record.clear();
        let done = work();
        let reads: Vec<String> = self
            .record
            .calls()
            .into_iter()
            .filter(|call| call.op == Op::GetRange)
            .map(|call| call.name)
            .collect();
        assert!(reads.iter().all(|name| name.starts_with("meta/")), "{reads:?}");
        (done, reads.len())
    }
}

/// Stores the entries below `above` (empty or ending in a slash) and their listing.
pub fn children(session: &Session, tree: &Tree, above: &str) -> Vec<ListEntry> {
    let below = tree.range(above.to_owned()..).take_while(|(path, _)| path.starts_with(above));
    let mut nodes = Vec::new();
    for (path, (bytes, node)) in below.filter(|(path, _)| !path[above.len()..].contains('/')) {
        let mut node = node.clone();
        node.name = path[above.len()..].into();
        if node.kind.has_children() {
            node.children = children(session, tree, &format!("{path}/"));
        } else if node.kind.has_content() {
            node.content = store(session, bytes).unwrap().entries;
            node.size = Some(bytes.len() as u64);
        }
        nodes.push(node);
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    listing(session, &nodes).unwrap()
}

pub fn folder() -> (Vec<u8>, Node) {
    (Vec::new(), with_meta(NodeType::Directory))
}

pub fn file(text: impl AsRef<[u8]>) -> (Vec<u8>, Node) {
    (text.as_ref().to_vec(), with_meta(NodeType::File))
}

pub fn link(target: &str) -> (Vec<u8>, Node) {
    let mut node = with_meta(NodeType::Symlink);
    node.meta.link_target = Some(target.into());
    (Vec::new(), node)
}

fn with_meta(kind: NodeType) -> Node {
    let mut node = Node::new("", kind);
    node.meta.mode = Some(0o644);
    node.meta.mtime = Some(Timestamp(1_700_000_000_000_000_000));
    node
}

/// Folders of files whose nodes do not compress, so that metadata takes many segments.
pub fn large(folders: usize, files: usize) -> Tree {
    let mut tree = Tree::from([("srv".to_owned(), folder())]);
    for i in 0..folders {
        tree.insert(format!("srv/{i:03}"), folder());
        for j in 0..files {
            let mut file = file(b"");
            let value = noise((i * files + j) as u64, 2000);
            file.1.meta.xattrs =
                vec![kamba_vault::format::node::Xattr { name: b"user.noise".to_vec(), value }];
            tree.insert(format!("srv/{i:03}/{j:05}"), file);
        }
    }
    tree
}
