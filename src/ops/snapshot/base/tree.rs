//! The tree of a base backup, built while the server sends it: folder by folder and file by file, but in
//! the order of its disk, where a listing is in the order of its names. So the nodes of the folders that are
//! open are kept, as encoded records; a folder that was left is stored. The one that the server comes back
//! to is `global`, whose `pg_control` comes last.

use crate::format::list::ListEntry;
use crate::format::node::{FileMeta, Node, NodeType};
use crate::format::tree::TreeBuilder;
use crate::ops::snapshot::parent::Folder;
use crate::repo::Error;
use crate::repo::session::Session;

/// The folder that is come back to.
const GLOBAL: &[u8] = b"global";

/// Nodes of one folder, in any order.
#[derive(Default)]
pub struct Nodes {
    records: Vec<u8>,
    /// Names, and where their records end.
    ends: Vec<(Vec<u8>, usize)>,
}

impl Nodes {
    /// Adds one.
    pub fn push(&mut self, node: &Node) -> Result<(), Error> {
        node.check_name()?;
        node.check()?;
        node.encode(&mut self.records);
        self.ends.push((node.name.clone(), self.records.len()));
        Ok(())
    }

    /// Stores the listing.
    pub fn store(self, session: &Session) -> Result<Vec<ListEntry>, Error> {
        let mut spans = Vec::with_capacity(self.ends.len());
        let mut start = 0;
        for (name, end) in self.ends {
            spans.push((name, start..end));
            start = end;
        }
        spans.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut tree = TreeBuilder::new();
        let store = &mut |kind, bytes: &[u8]| session.store(kind, bytes);
        for (name, span) in spans {
            tree.push_record(&name, self.records.get(span).unwrap_or_default(), store)?;
        }
        tree.finish(store)
    }
}

/// A folder that is open.
struct Open {
    name: Vec<u8>,
    meta: FileMeta,
    nodes: Nodes,
    earlier: Folder,
}

/// The tree of one tar.
pub struct Tree<'s> {
    session: &'s Session,
    /// The folders from the top on to the one that was used last.
    open: Vec<Open>,
    /// `global`, while others are used.
    global: Option<Open>,
}

impl<'s> Tree<'s> {
    /// An empty tree beside what was at its place earlier.
    pub fn new(session: &'s Session, earlier: Folder) -> Self {
        let top = Open { name: Vec::new(), meta: FileMeta::default(), nodes: Nodes::default(), earlier };
        Tree { session, open: vec![top], global: None }
    }

    /// Adds a folder that comes.
    pub fn folder(&mut self, path: &[u8], meta: FileMeta) -> Result<(), Error> {
        let (parent, name) = split(path);
        let earlier = self.go_to(parent)?.earlier.folder(name);
        self.open.push(Open { name: name.to_vec(), meta, nodes: Nodes::default(), earlier });
        Ok(())
    }

    /// What the file at `path` held earlier.
    pub fn earlier(&mut self, path: &[u8]) -> Result<Vec<ListEntry>, Error> {
        let (parent, name) = split(path);
        Ok(self.go_to(parent)?.earlier.content(name))
    }

    /// Adds anything but a folder; the node has its name already.
    pub fn add(&mut self, path: &[u8], node: &Node) -> Result<(), Error> {
        let (parent, _) = split(path);
        self.go_to(parent)?.nodes.push(node)
    }

    /// Ends it: the entries of the top's listing.
    pub fn finish(mut self) -> Result<Vec<ListEntry>, Error> {
        self.leave(1)?;
        if let (Some(global), Some(top)) = (self.global.take(), self.open.last_mut()) {
            top.nodes.push(&closed(self.session, global)?)?;
        }
        let top = self.open.pop().map(|open| open.nodes).unwrap_or_default();
        top.store(self.session)
    }

    /// Comes to the folder at `path`, which is open or `global`.
    fn go_to(&mut self, path: &[u8]) -> Result<&mut Open, Error> {
        let names: Vec<&[u8]> = path.split(|b| *b == b'/').filter(|name| !name.is_empty()).collect();
        let is_same = |(open, name): &(&Open, &&[u8])| open.name == **name;
        let same = self.open[1..].iter().zip(&names).take_while(is_same).count();
        self.leave(same + 1)?;
        if names[same..] == [GLOBAL] && self.open.len() == 1 {
            self.open.extend(self.global.take());
        }
        let is_there = self.open.len() == names.len() + 1;
        match self.open.last_mut().filter(|_| is_there) {
            Some(open) => Ok(open),
            None => Err(Error::Source {
                what: "the base backup".into(),
                source: std::io::Error::other(format!(
                    "the server sent something in {} before the folder, or came back to it",
                    String::from_utf8_lossy(path)
                )),
            }),
        }
    }

    /// Leaves all but the first `kept` folders.
    fn leave(&mut self, kept: usize) -> Result<(), Error> {
        while self.open.len() > kept {
            let Some(left) = self.open.pop() else { break };
            if self.open.len() == 1 && left.name == GLOBAL {
                self.global = Some(left);
                continue;
            }
            let node = closed(self.session, left)?;
            if let Some(parent) = self.open.last_mut() {
                parent.nodes.push(&node)?;
            }
        }
        Ok(())
    }
}

/// The node of a folder that nothing more comes to.
fn closed(session: &Session, open: Open) -> Result<Node, Error> {
    let children = open.nodes.store(session)?;
    Ok(Node { meta: open.meta, ..Node::with_children(open.name, NodeType::Directory, children) })
}

/// A path's folder, which may be the top, and its name there.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}
