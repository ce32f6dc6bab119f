//! Every snapshot's every path: is each chunk it needs in the index, at a place that is not bad?
//! Lists and trees that were found whole are remembered and not walked again, so a thousand
//! snapshots that share nearly everything cost little more than one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::base::limits::TREE_DEPTH_MAX;
use crate::base::monitor::{Count, Monitor};
use crate::format::database::DatabaseInfo;
use crate::format::list::ListEntry;
use crate::format::node::{Node, NodeType};
use crate::format::tree::TreeReader;
use crate::ops::Error;
use crate::ops::check::{BadPlaces, Hurt, Report};
use crate::repo::index::Place;
use crate::repo::pack::Scratch;
use crate::repo::read::{ChunkReader, read_list};
use crate::repo::roots::Snapshot;
use crate::repo::{self, Repository};
use crate::vfs::Database;

/// Walks all snapshots.
pub fn check_snapshots(
    repo: &Repository,
    snapshots: &[Snapshot],
    bad: &BadPlaces,
    report: &mut Report,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<(), Error> {
    monitor.phase("checking snapshots", Count::Items, Some(snapshots.len() as u64));
    let reader = Arc::new(ChunkReader::new(repo));
    let (whole, torn, hurt) = (HashSet::new(), HashMap::new(), Vec::new());
    let mut walker = Walker { repo, reader, bad, cancel, whole, torn, hurt };
    for snapshot in snapshots {
        walker.snapshot(snapshot.root.root.clone())?;
        report.hurt.extend(walker.hurt.drain(..).map(|(path, reason)| Hurt {
            snapshot: snapshot.id,
            path,
            reason,
        }));
        monitor.add(Count::Items, 1);
    }
    Ok(())
}

struct Walker<'a> {
    repo: &'a Repository,
    reader: Arc<ChunkReader>,
    bad: &'a BadPlaces,
    cancel: &'a Cancel,
    /// List and tree chunks below which everything is well.
    whole: HashSet<ChunkId>,
    /// Those of this snapshot below which something is not, and a folder that has them. Folders may
    /// hold each other over and over: each is walked once.
    torn: HashMap<ChunkId, String>,
    hurt: Vec<(String, String)>,
}

/// A folder that is being walked.
struct Folder {
    /// Bytes of its path.
    path_len: usize,
    /// A database, which is asked for its description in the end.
    database: Option<Node>,
    names: TreeReader,
    hurt_before: usize,
    /// What is left of it: the lists that are being walked, and the chunk of nodes.
    parts: Vec<Part>,
}

struct Part {
    /// The chunk it comes from; none for what stands in the folder's own node.
    id: Option<ChunkId>,
    hurt_before: usize,
    rest: Rest,
}

enum Rest {
    Entries(std::vec::IntoIter<ListEntry>),
    Nodes(std::vec::IntoIter<Node>),
}

/// The next thing to do in a folder.
enum Next {
    Entry(ListEntry),
    Node(Box<Node>),
    EndOfPart(Option<Part>),
}

impl Folder {
    fn next(&mut self) -> Next {
        let next = self.parts.last_mut().and_then(|part| match &mut part.rest {
            Rest::Entries(entries) => entries.next().map(Next::Entry),
            Rest::Nodes(nodes) => nodes.next().map(|node| Next::Node(Box::new(node))),
        });
        next.unwrap_or_else(|| Next::EndOfPart(self.parts.pop()))
    }
}

impl Walker<'_> {
    /// Checks a snapshot from its root node. Not by recursion: whoever wrote the snapshot decides how
    /// deep its folders are.
    fn snapshot(&mut self, root: Node) -> Result<(), Error> {
        self.torn.clear();
        let mut path = String::new();
        let mut open: Vec<Folder> = self.enter(root, &path)?.into_iter().collect();
        while let Some(folder) = open.last_mut() {
            path.truncate(folder.path_len);
            match folder.next() {
                Next::Entry(entry) => self.entry(folder, &entry, &path)?,
                Next::Node(node) => {
                    if !path.is_empty() {
                        path.push('/');
                    }
                    path.push_str(&String::from_utf8_lossy(&node.name));
                    match self.enter(*node, &path)? {
                        Some(_) if open.len() == TREE_DEPTH_MAX => {
                            self.hurt.push((path.clone(), "its folders are nested too deep".into()));
                        }
                        entered => open.extend(entered),
                    }
                }
                Next::EndOfPart(Some(part)) => self.leave(&part, &path),
                Next::EndOfPart(None) => {
                    if let Some(Folder { database: Some(node), hurt_before, .. }) = open.pop()
                        && self.hurt.len() == hurt_before
                    {
                        self.database(&node, &path)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Checks what a node holds itself. What is below it comes next.
    fn enter(&mut self, node: Node, path: &str) -> Result<Option<Folder>, Error> {
        if self.cancel.is_cancelled() {
            return Err(repo::Error::Interrupted.into());
        }
        let hurt_before = self.hurt.len();
        if let Some(reason) = self.content(&node.content)? {
            self.hurt.push((path.to_owned(), reason));
        }
        let is_database = node.kind == NodeType::Database;
        if node.children.is_empty() && !is_database {
            return Ok(None);
        }
        let rest = Rest::Entries(node.children.clone().into_iter());
        Ok(Some(Folder {
            path_len: path.len(),
            database: is_database.then_some(node),
            names: TreeReader::new(),
            hurt_before,
            parts: vec![Part { id: None, hurt_before: self.hurt.len(), rest }],
        }))
    }

    /// Opens a chunk of a folder's listing, unless it is known what is in it.
    fn entry(&mut self, folder: &mut Folder, entry: &ListEntry, path: &str) -> Result<(), Error> {
        let (ListEntry::Chunk { id, .. } | ListEntry::List { id, .. }) = *entry else { return Ok(()) };
        if self.whole.contains(&id) {
            return Ok(());
        }
        if let Some(there) = self.torn.get(&id) {
            let reason = format!("part of its listing is that of {there}, which is hurt");
            self.hurt.push((path.to_owned(), reason));
            return Ok(());
        }
        let hurt_before = self.hurt.len();
        match self.inside(entry, &mut folder.names) {
            Ok(rest) => folder.parts.push(Part { id: Some(id), hurt_before, rest }),
            Err(e) => self.hurt.push((path.to_owned(), format!("part of its listing: {}", said(e)?))),
        }
        Ok(())
    }

    /// Remembers how a chunk of the folder at `path` turned out.
    fn leave(&mut self, part: &Part, path: &str) {
        let Some(id) = part.id else { return };
        if self.hurt.len() == part.hurt_before {
            self.whole.insert(id);
        } else {
            self.torn.insert(id, path.to_owned());
        }
    }

    /// A database whose parts are all there must also describe itself.
    fn database(&mut self, node: &Node, path: &str) -> Result<(), Error> {
        let described = Database::open(self.reader.clone(), self.cancel.clone(), node.clone())
            .and_then(|database| missing_object(&database, database.info()));
        match described {
            Ok(None) => {}
            Ok(Some(object)) => self.hurt.push((path.to_owned(), format!("its {object} is missing"))),
            Err(e) => self.hurt.push((path.to_owned(), said(e)?)),
        }
        Ok(())
    }

    fn inside(&self, entry: &ListEntry, names: &mut TreeReader) -> Result<Rest, repo::Error> {
        match entry {
            ListEntry::List { id, len, depth } => {
                read_list(&self.reader, id, *len, *depth).map(|entries| Rest::Entries(entries.into_iter()))
            }
            ListEntry::Chunk { id, .. } => {
                let bytes = self.reader.meta_chunk(ChunkKind::Tree, id)?;
                let nodes: Result<Vec<Node>, _> = names.nodes(&bytes).collect();
                let object = format!("tree chunk {id}");
                let nodes = nodes.map_err(repo::Error::format(&object))?;
                Ok(Rest::Nodes(nodes.into_iter()))
            }
            ListEntry::Hole { .. } | ListEntry::Zeros { .. } => Ok(Rest::Nodes(Vec::new().into_iter())),
        }
    }

    /// Checks a content list; the first thing wrong with it.
    fn content(&mut self, entries: &[ListEntry]) -> Result<Option<String>, Error> {
        for entry in entries {
            let wrong = match entry {
                ListEntry::Hole { .. } | ListEntry::Zeros { .. } => None,
                ListEntry::Chunk { id, len } => self.data_chunk(id, *len)?,
                ListEntry::List { id, .. } if self.whole.contains(id) => None,
                ListEntry::List { id, len, depth } => match read_list(&self.reader, id, *len, *depth) {
                    Ok(inner) => {
                        let wrong = self.content(&inner)?;
                        if wrong.is_none() {
                            self.whole.insert(*id);
                        }
                        wrong
                    }
                    Err(e) => Some(said(e)?),
                },
            };
            if wrong.is_some() {
                return Ok(wrong);
            }
        }
        Ok(None)
    }

    /// What is wrong with a data chunk, if no good copy of it is left.
    fn data_chunk(&self, id: &ChunkId, len: u32) -> Result<Option<String>, Error> {
        let places = self.repo.index().places(id)?;
        let Some(first) = places.first() else {
            return Ok(Some(format!("chunk {id} is in no pack that the index knows")));
        };
        let (mut reason, mut wrong_len) = (None, false);
        let is_doubtful = |place: &Place| self.bad.doubtful.contains(&place.pack);
        for place in places.iter().filter(|place| !self.bad.is_bad(place) && !is_doubtful(place)) {
            let pack = match self.reader.pack(place.pack) {
                Ok(pack) => pack,
                Err(e @ repo::Error::Denied { .. }) => return Err(e.into()),
                Err(e) => {
                    reason = Some(said(e)?);
                    continue;
                }
            };
            match pack.info.chunk_span(place.segment, place.ordinal) {
                Some((_, stored)) if stored == len as usize => return Ok(None),
                _ => wrong_len = true,
            }
        }
        if places.iter().any(is_doubtful) {
            let mut plain = Vec::new();
            let mut scratch = Scratch::default();
            let read = self.reader.append_chunk(ChunkKind::Data, id, &mut scratch, &mut plain);
            match read.map(|()| plain.len()) {
                Ok(read) if read == len as usize => return Ok(None),
                read => wrong_len |= read.is_ok(),
            }
        }
        if wrong_len {
            return Ok(Some(format!("chunk {id} has another length than its list says")));
        }
        let known = || self.bad.reasons.get(&first.pack).map_or("it is damaged", String::as_str).to_owned();
        let reason = reason.unwrap_or_else(known);
        let pack = self.repo.index().pack(first.pack)?.map_or_else(String::new, |p| p.id.to_hex());
        Ok(Some(format!("chunk {id} in pack {pack}: {reason}")))
    }
}

/// The first object that a database's description names and its folders lack.
fn missing_object(database: &Database, info: &DatabaseInfo) -> Result<Option<String>, repo::Error> {
    let names = database.object_names()?;
    let wanted = info.objects.iter().map(String::as_str).chain(["recipe"]);
    Ok(wanted.into_iter().find(|path| !names.contains(*path)).map(str::to_owned))
}

/// The words of an error about stored data; an error of the backend itself goes up.
fn said(e: repo::Error) -> Result<String, Error> {
    match e {
        repo::Error::Storage(_)
        | repo::Error::Interrupted
        | repo::Error::Cache { .. }
        | repo::Error::Worker => Err(e.into()),
        e => Ok(e.to_string()),
    }
}
