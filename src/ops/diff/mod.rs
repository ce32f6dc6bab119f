//! What differs between two snapshots, or between two folders or files in them. Folders are compared
//! by their listings: what both list under the same id is passed over unread, so the work is that of
//! what changed. File data is never read.
//!
//! Changes are handed out in order of their paths as long as they fit into memory; beyond that, in
//! batches that are ordered in themselves. Renames are found among as many candidates as may be held.

mod compare;
mod moved;
mod pair;

use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::limits::TREE_DEPTH_MAX;
use crate::format::list::ListEntry;
use crate::format::node::{Node, NodeType};
use crate::ops::Error;
use crate::ops::diff::compare::Difference;
use crate::ops::diff::moved::{Candidate, Matched, match_up};
use crate::ops::diff::pair::{Met, Pair};
use crate::ops::look::{append, too_deep, trimmed};
use crate::repo;
use crate::repo::read::ChunkReader;
use crate::vfs::{Children, Entry};

/// Candidates for renames that are held, in bytes for each of the two snapshots.
const HELD_MAX: usize = 24 << 20;
/// Changes that wait to be put in order, in bytes.
const WAITING_MAX: usize = 16 << 20;

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Its bytes are others, or what it points to.
    Content,
    /// Something about it is different, and its bytes are the same.
    Metadata,
    /// It is of another type.
    Type,
    /// It is what was elsewhere.
    Renamed,
}

/// An entry on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct What {
    /// What it is.
    pub kind: NodeType,
    /// Bytes it has.
    pub size: Option<u64>,
}

impl From<&Node> for What {
    fn from(node: &Node) -> Self {
        What { kind: node.kind, size: node.size }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Where: of what is gone, its old path.
    pub path: Vec<u8>,
    /// Where what was renamed had been.
    pub old_path: Option<Vec<u8>>,
    /// What it was.
    pub old: Option<What>,
    /// What it is.
    pub new: Option<What>,
    /// Names of the attributes that are different; of what was renamed, its content may be one.
    pub attributes: Vec<&'static str>,
}

impl Change {
    fn cost(&self) -> usize {
        size_of::<Change>() + self.path.len() + self.old_path.as_ref().map_or(0, Vec::len) + 64
    }
}

/// How much changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries that are new.
    pub added: u64,
    /// Entries that are gone.
    pub removed: u64,
    /// Entries with other content.
    pub content: u64,
    /// Entries with other metadata only.
    pub metadata: u64,
    /// Entries of another type.
    pub types: u64,
    /// Entries that were elsewhere.
    pub renamed: u64,
    /// Bytes of new files.
    pub added_bytes: u64,
    /// Bytes of files that are gone.
    pub removed_bytes: u64,
}

impl Summary {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Summary::default()
    }

    fn count(&mut self, change: &Change) {
        let size = |what: &Option<What>| what.and_then(|what| what.size).unwrap_or(0);
        match change.kind {
            ChangeKind::Added => {
                self.added += 1;
                self.added_bytes = self.added_bytes.saturating_add(size(&change.new));
            }
            ChangeKind::Removed => {
                self.removed += 1;
                self.removed_bytes = self.removed_bytes.saturating_add(size(&change.old));
            }
            ChangeKind::Content => self.content += 1,
            ChangeKind::Metadata => self.metadata += 1,
            ChangeKind::Type => self.types += 1,
            ChangeKind::Renamed => self.renamed += 1,
        }
    }
}

/// Compares `old` with `new`, whose path in the results is `path`; tells `each` what differs.
pub fn diff(
    reader: &Arc<ChunkReader>,
    old: &Entry,
    new: &Entry,
    path: &[u8],
    cancel: &Cancel,
    each: &mut dyn FnMut(&Change) -> Result<(), Error>,
) -> Result<Summary, Error> {
    let (Some(old), Some(new)) = (old.node(), new.node()) else {
        return Err(Error::Usage {
            message: "a file that is made of a database while it is read cannot be compared".into(),
            hint: Some("compare the database itself, or one of its tables"),
        });
    };
    let mut diff = Diff {
        reader,
        cancel,
        each,
        summary: Summary::default(),
        waiting: Vec::new(),
        waiting_bytes: 0,
        gone: Held::default(),
        came: Held::default(),
    };
    diff.walk(trimmed(path), old.clone(), new.clone())?;
    diff.settle()?;
    diff.hand_out()?;
    Ok(diff.summary)
}

struct Diff<'d> {
    reader: &'d ChunkReader,
    cancel: &'d Cancel,
    each: &'d mut dyn FnMut(&Change) -> Result<(), Error>,
    summary: Summary,
    waiting: Vec<Change>,
    waiting_bytes: usize,
    gone: Held,
    came: Held,
}

/// Candidates of one side.
#[derive(Default)]
struct Held {
    candidates: Vec<Candidate>,
    bytes: usize,
}

impl Held {
    fn push(&mut self, candidate: Candidate) {
        self.bytes += candidate.cost();
        self.candidates.push(candidate);
    }

    fn is_full(&self) -> bool {
        self.bytes >= HELD_MAX
    }

    fn take(&mut self) -> Vec<Candidate> {
        self.bytes = 0;
        std::mem::take(&mut self.candidates)
    }
}

/// Which of the two an entry is in.
#[derive(Clone, Copy)]
enum Only {
    Old,
    New,
}

impl Diff<'_> {
    /// Compares two nodes and all that is below them. Not by recursion: whoever wrote the snapshots
    /// decides how deep their folders are.
    fn walk(&mut self, path: &[u8], old: Node, new: Node) -> Result<(), Error> {
        let mut path = path.to_vec();
        let mut open: Vec<(usize, NodeType, Pair)> = Vec::new();
        if let Some(pair) = self.compare(&path, old, new)? {
            open.push((path.len(), pair.0, pair.1));
        }
        while let Some((len, kind, pair)) = open.last_mut() {
            self.check()?;
            path.truncate(*len);
            let Some(met) = pair.next(self.reader)? else {
                open.pop();
                continue;
            };
            let name = match &met {
                Met::Old(node) | Met::New(node) => &node.name,
                Met::Both(nodes) => &nodes.0.name,
            };
            let Some(name) = shown_name(*kind, name) else { continue };
            append(&mut path, name);
            match met {
                Met::Old(node) => self.hold(Only::Old, Candidate { path: path.clone(), node })?,
                Met::New(node) => self.hold(Only::New, Candidate { path: path.clone(), node })?,
                Met::Both(nodes) => {
                    let (old, new) = *nodes;
                    if let Some((kind, pair)) = self.compare(&path, old, new)? {
                        if open.len() == TREE_DEPTH_MAX {
                            return Err(too_deep(&path));
                        }
                        open.push((path.len(), kind, pair));
                    }
                }
            }
        }
        Ok(())
    }

    /// Compares two nodes; what is below them both is the caller's to walk.
    fn compare(&mut self, path: &[u8], old: Node, new: Node) -> Result<Option<(NodeType, Pair)>, Error> {
        if old.kind != new.kind {
            self.change(ChangeKind::Type, path, Some(&old), Some(&new), Vec::new())?;
            self.open(Only::Old, path, &old)?;
            self.open(Only::New, path, &new)?;
            return Ok(None);
        }
        let difference = Difference::between(&old, &new);
        if !difference.is_none() {
            let kind = if difference.content { ChangeKind::Content } else { ChangeKind::Metadata };
            self.change(kind, path, Some(&old), Some(&new), difference.attributes)?;
        }
        let below = old.children != new.children;
        Ok(below.then(|| (old.kind, Pair::new(old.children, new.children))))
    }

    /// Holds what is in one snapshot only until it is known whether it moved.
    fn hold(&mut self, only: Only, candidate: Candidate) -> Result<(), Error> {
        self.held(only).push(candidate);
        if self.held(only).is_full() { self.settle() } else { Ok(()) }
    }

    fn held(&mut self, only: Only) -> &mut Held {
        match only {
            Only::Old => &mut self.gone,
            Only::New => &mut self.came,
        }
    }

    /// Finds out what of the candidates moved. Folders come first: one that moved whole is one
    /// change. Of the others the entries are candidates too; files are matched when all are there.
    fn settle(&mut self) -> Result<(), Error> {
        let (mut gone_files, mut came_files) = (Vec::new(), Vec::new());
        loop {
            let is_folder = |candidate: &Candidate| candidate.node.kind.has_children();
            let (gone, files): (Vec<_>, Vec<_>) = self.gone.take().into_iter().partition(is_folder);
            gone_files.extend(files);
            let (came, files): (Vec<_>, Vec<_>) = self.came.take().into_iter().partition(is_folder);
            came_files.extend(files);
            if gone.is_empty() && came.is_empty() {
                break;
            }
            let matched = self.moved(match_up(gone, came, Candidate::content))?;
            // What is held already counts: the files wait for the last folder to be opened.
            let cost = |files: &[Candidate]| files.iter().map(Candidate::cost).sum::<usize>();
            self.gone.bytes = cost(&gone_files);
            self.came.bytes = cost(&came_files);
            for folder in matched.gone {
                self.single(Only::Old, &folder)?;
                self.open(Only::Old, &folder.path, &folder.node)?;
            }
            for folder in matched.came {
                self.single(Only::New, &folder)?;
                self.open(Only::New, &folder.path, &folder.node)?;
            }
        }
        let matched = self.moved(match_up(gone_files, came_files, Candidate::content))?;
        let matched = self.moved(match_up(matched.gone, matched.came, Candidate::inode))?;
        matched.gone.iter().try_for_each(|candidate| self.single(Only::Old, candidate))?;
        matched.came.iter().try_for_each(|candidate| self.single(Only::New, candidate))
    }

    /// Tells of what moved; what is left did not.
    fn moved(&mut self, mut matched: Matched) -> Result<Matched, Error> {
        for (old, new) in std::mem::take(&mut matched.moved) {
            let mut difference = Difference::between(&old.node, &new.node);
            if difference.content {
                difference.attributes.insert(0, "content");
            }
            self.push(Change {
                kind: ChangeKind::Renamed,
                path: new.path,
                old_path: Some(old.path),
                old: Some((&old.node).into()),
                new: Some((&new.node).into()),
                attributes: difference.attributes,
            })?;
        }
        Ok(matched)
    }

    /// Makes candidates of a folder's entries; what is beyond the limit is told at once, with all
    /// that is below it.
    fn open(&mut self, only: Only, path: &[u8], folder: &Node) -> Result<(), Error> {
        if path.iter().filter(|byte| **byte == b'/').count() >= TREE_DEPTH_MAX {
            return Err(too_deep(path));
        }
        let mut path = path.to_vec();
        let frame =
            |path: &Vec<u8>, kind, children: Vec<ListEntry>| (path.len(), kind, Children::new(children));
        let mut open = vec![frame(&path, folder.kind, folder.children.clone())];
        while let Some((len, kind, children)) = open.last_mut() {
            self.check()?;
            path.truncate(*len);
            let Some(node) = children.next(self.reader)? else {
                open.pop();
                continue;
            };
            let Some(name) = shown_name(*kind, &node.name) else { continue };
            append(&mut path, name);
            let candidate = Candidate { path: path.clone(), node };
            if !self.held(only).is_full() {
                self.held(only).push(candidate);
                continue;
            }
            self.single(only, &candidate)?;
            if candidate.node.kind.has_children() {
                if open.len() == TREE_DEPTH_MAX {
                    return Err(too_deep(&path));
                }
                open.push(frame(&path, candidate.node.kind, candidate.node.children));
            }
        }
        Ok(())
    }

    /// Tells of one entry that is in one snapshot only.
    fn single(&mut self, only: Only, candidate: &Candidate) -> Result<(), Error> {
        let (path, node) = (&candidate.path, &candidate.node);
        match only {
            Only::Old => self.change(ChangeKind::Removed, path, Some(node), None, Vec::new()),
            Only::New => self.change(ChangeKind::Added, path, None, Some(node), Vec::new()),
        }
    }

    fn change(
        &mut self,
        kind: ChangeKind,
        path: &[u8],
        old: Option<&Node>,
        new: Option<&Node>,
        attributes: Vec<&'static str>,
    ) -> Result<(), Error> {
        let (old, new) = (old.map(Into::into), new.map(Into::into));
        self.push(Change { kind, path: path.to_vec(), old_path: None, old, new, attributes })
    }

    fn push(&mut self, change: Change) -> Result<(), Error> {
        self.summary.count(&change);
        self.waiting_bytes += change.cost();
        self.waiting.push(change);
        if self.waiting_bytes < WAITING_MAX { Ok(()) } else { self.hand_out() }
    }

    /// Hands out the changes that wait, in order of their paths.
    fn hand_out(&mut self) -> Result<(), Error> {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        waiting.sort_by(|a, b| (&a.path, a.kind).cmp(&(&b.path, b.kind)));
        waiting.iter().try_for_each(|change| (self.each)(change))
    }

    fn check(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(repo::Error::Interrupted.into()) } else { Ok(()) }
    }
}

/// What an entry of a folder of this kind is called by those who look: of a database the definitions
/// are its schema, and what puts it together is not shown.
fn shown_name(folder: NodeType, name: &[u8]) -> Option<&[u8]> {
    match (folder, name) {
        (NodeType::Database, b"info" | b"recipe") => None,
        (NodeType::Database, b"head") => Some(b"schema.sql"),
        _ => Some(name),
    }
}
