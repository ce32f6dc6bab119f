//! Every snapshot's every path: is each chunk it needs in the index, at a place that is not bad?
//! Lists and trees that were found whole are remembered and not walked again, so a thousand
//! snapshots that share nearly everything cost little more than one. They are remembered together
//! with what was claimed of them: another snapshot may claim something else, and be unreadable.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::id::ChunkId;
use crate::base::kind::{ChunkKind, PackKind};
use crate::base::limits::TREE_DEPTH_MAX;
use crate::base::monitor::{Count, Monitor};
use crate::format::database::DatabaseInfo;
use crate::format::list::{ListEntry, only_chunks};
use crate::format::node::{Node, NodeType};
use crate::format::tree::TreeReader;
use crate::ops::Error;
use crate::ops::check::{BadPlaces, Hurt, Report, said};
use crate::repo::index::{PackInfo, Place};
use crate::repo::pack::Scratch;
use crate::repo::read::{ChunkReader, read_list};
use crate::repo::roots::Snapshot;
use crate::repo::{self, Repository};
use crate::vfs::{Database, read_nodes};

/// Packs whose descriptions are kept: about 4 MB.
const PACKS_KEPT: usize = 256;
/// Segments whose chains are remembered: some 30 MB.
const CHAINS_KEPT: usize = 1 << 18;
/// What is wrong with a directory that nobody can list.
const DISORDER: &str = "the names in its listing do not ascend";

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
    let (contents, listings, torn) = (HashSet::new(), HashMap::new(), HashMap::new());
    let (chains, packs, hurt) = (HashMap::new(), HashMap::new(), Vec::new());
    let mut walker = Walker { repo, reader, bad, cancel, contents, listings, torn, chains, packs, hurt };
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
    /// Lists of content below which everything is well.
    contents: HashSet<Claim>,
    /// Parts of directories' listings below which everything is well, and the names in them.
    listings: HashMap<Claim, Names>,
    /// Those of this snapshot below which something is not, and a folder that has them. Folders may
    /// hold each other over and over: each is walked once.
    torn: HashMap<Claim, String>,
    /// What is wrong with chains of deltas, by the packs' numbers and the segments'.
    chains: HashMap<(u32, u32), Option<String>>,
    /// What the index says of some packs: neighbours lie together.
    packs: HashMap<u32, PackInfo>,
    hurt: Vec<(String, String)>,
}

/// A list or tree chunk, and what the entry that leads to it says of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Claim {
    id: ChunkId,
    len: u64,
    /// Of a list; none for a chunk of nodes.
    depth: Option<u8>,
}

impl Claim {
    /// What an entry claims; `None` for one that leads nowhere.
    fn new(entry: &ListEntry) -> Option<Self> {
        let (id, depth) = match *entry {
            ListEntry::Chunk { id, .. } => (id, None),
            ListEntry::List { id, depth, .. } => (id, Some(depth)),
            ListEntry::Hole { .. } | ListEntry::Zeros { .. } => return None,
        };
        Some(Claim { id, len: entry.content_len(), depth })
    }
}

/// The first and the last name in a part of a directory's listing.
struct Names {
    first: Vec<u8>,
    last: Vec<u8>,
}

/// A folder that is being walked.
struct Folder {
    /// Bytes of its path.
    path_len: usize,
    /// A database, which is asked for its description in the end.
    database: Option<Node>,
    /// The last name so far.
    last: Vec<u8>,
    hurt_before: usize,
    /// What is left of it: the lists that are being walked, and the chunk of nodes.
    parts: Vec<Part>,
}

struct Part {
    /// What it comes from; none for what stands in the folder's own node.
    claim: Option<Claim>,
    /// The first name in it, once that is known.
    first: Option<Vec<u8>>,
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

    /// Goes on with the names from `first` to `last`; whether they come after those before.
    fn go_on(&mut self, first: &[u8], last: &[u8]) -> bool {
        for part in &mut self.parts {
            part.first.get_or_insert_with(|| first.to_vec());
        }
        std::mem::replace(&mut self.last, last.to_vec()).as_slice() < first
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
                Next::EndOfPart(Some(part)) => self.leave(part, &folder.last, &path),
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
            last: Vec::new(),
            hurt_before,
            parts: vec![Part { claim: None, first: None, hurt_before: self.hurt.len(), rest }],
        }))
    }

    /// Opens a chunk of a folder's listing, unless it is known what is in it.
    fn entry(&mut self, folder: &mut Folder, entry: &ListEntry, path: &str) -> Result<(), Error> {
        let Some(claim) = Claim::new(entry) else {
            self.hurt.push((path.to_owned(), "its listing has a hole".into()));
            return Ok(());
        };
        if let Some(Names { first, last }) = self.listings.get(&claim) {
            if !folder.go_on(first, last) {
                self.hurt.push((path.to_owned(), DISORDER.into()));
            }
            return Ok(());
        }
        if let Some(there) = self.torn.get(&claim) {
            let reason = format!("part of its listing is that of {there}, which is hurt");
            self.hurt.push((path.to_owned(), reason));
            return Ok(());
        }
        let rest = match self.inside(entry) {
            Ok(rest) => rest,
            Err(e) => {
                self.hurt.push((path.to_owned(), format!("part of its listing: {}", said(e)?)));
                return Ok(());
            }
        };
        let mut part = Part { claim: Some(claim), first: None, hurt_before: 0, rest };
        if let Rest::Nodes(nodes) = &part.rest
            && let [first, ..] = nodes.as_slice()
            && let [.., last] = nodes.as_slice()
        {
            part.first = Some(first.name.clone());
            if !folder.go_on(&first.name, &last.name) {
                self.hurt.push((path.to_owned(), DISORDER.into()));
            }
        }
        // A chunk at the wrong place is no worse for that where it belongs.
        part.hurt_before = self.hurt.len();
        folder.parts.push(part);
        Ok(())
    }

    /// Remembers how a part of the folder at `path`, which ends with the name `last`, turned out.
    fn leave(&mut self, part: Part, last: &[u8], path: &str) {
        let Some(claim) = part.claim else { return };
        match part.first {
            Some(first) if self.hurt.len() == part.hurt_before => {
                self.listings.insert(claim, Names { first, last: last.to_vec() });
            }
            _ => {
                self.torn.insert(claim, path.to_owned());
            }
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

    fn inside(&self, entry: &ListEntry) -> Result<Rest, repo::Error> {
        match entry {
            ListEntry::List { id, len, depth } => {
                let entries = read_list(&self.reader, id, *len, *depth)?;
                only_chunks(&entries).map_err(repo::Error::format(&format!("list chunk {id}")))?;
                Ok(Rest::Entries(entries.into_iter()))
            }
            ListEntry::Chunk { id, len } => {
                let nodes = read_nodes(&self.reader, &mut TreeReader::new(), id, *len)?;
                Ok(Rest::Nodes(nodes.into_iter()))
            }
            ListEntry::Hole { .. } | ListEntry::Zeros { .. } => Ok(Rest::Nodes(Vec::new().into_iter())),
        }
    }

    /// Checks a content list; the first thing wrong with it.
    fn content(&mut self, entries: &[ListEntry]) -> Result<Option<String>, Error> {
        for entry in entries {
            let wrong = match *entry {
                ListEntry::Hole { .. } | ListEntry::Zeros { .. } => None,
                ListEntry::Chunk { id, len } => self.data_chunk(&id, len)?,
                ListEntry::List { id, len, depth } => self.content_list(id, len, depth)?,
            };
            if wrong.is_some() {
                return Ok(wrong);
            }
        }
        Ok(None)
    }

    fn content_list(&mut self, id: ChunkId, len: u64, depth: u8) -> Result<Option<String>, Error> {
        let claim = Claim { id, len, depth: Some(depth) };
        if self.contents.contains(&claim) {
            return Ok(None);
        }
        let inner = match read_list(&self.reader, &id, len, depth) {
            Ok(inner) => inner,
            Err(e) => return said(e).map(Some),
        };
        let wrong = self.content(&inner)?;
        if wrong.is_none() {
            self.contents.insert(claim);
        }
        Ok(wrong)
    }

    /// What is wrong with a data chunk, if no good copy of it is left.
    fn data_chunk(&mut self, id: &ChunkId, len: u32) -> Result<Option<String>, Error> {
        let (bad, places) = (self.bad, self.repo.index().places(id)?);
        let Some(first) = places.first() else {
            return Ok(Some(format!("chunk {id} is in no pack that the index knows")));
        };
        let is_doubtful = |place: &Place| bad.doubtful.contains(&place.pack);
        let (mut wrong, mut broken) = (None, None);
        for place in places.iter().filter(|place| !bad.is_bad(place) && !is_doubtful(place)) {
            match self.stored_len(place)? {
                Some(stored) if stored == len as usize => match self.chain(place)? {
                    None => return Ok(None),
                    Some(reason) => broken = Some((place, reason)),
                },
                Some(_) => wrong = Some("has another length than its list says"),
                None => wrong = Some("is no data"),
            }
        }
        if places.iter().any(is_doubtful) {
            match self.read_len(id)? {
                Some(read) if read == len as usize => return Ok(None),
                Some(_) => wrong = Some("has another length than its list says"),
                None => {}
            }
        }
        if let Some(wrong) = wrong {
            return Ok(Some(format!("chunk {id} {wrong}")));
        }
        if let Some((place, reason)) = broken {
            return Ok(Some(format!("chunk {id} in pack {}: {reason}", self.pack(place.pack)?.id)));
        }
        let reason = bad.reasons.get(&first.pack).map_or("it is damaged", String::as_str);
        Ok(Some(format!("chunk {id} in pack {}: {reason}", self.pack(first.pack)?.id)))
    }

    /// What is wrong with the chain of deltas below the segment at `place`: with a chunk that it or
    /// another link is coded against (I-8).
    fn chain(&mut self, place: &Place) -> Result<Option<String>, Error> {
        let key = (place.pack, place.segment);
        if let Some(known) = self.chains.get(&key) {
            return Ok(known.clone());
        }
        let pack = self.pack(place.pack)?;
        let Some(segment) = pack.segments.get(place.segment as usize).filter(|segment| segment.depth > 0)
        else {
            return Ok(None);
        };
        let (depth, bases) = (segment.depth, pack.bases_of(segment).to_vec());
        let mut wrong = None;
        for base in bases {
            wrong = self.base(&base, depth)?;
            if wrong.is_some() {
                break;
            }
        }
        if self.chains.len() >= CHAINS_KEPT {
            self.chains.clear();
        }
        self.chains.insert(key, wrong.clone());
        Ok(wrong)
    }

    /// What is wrong with a base, if there is no good copy of it less deep than `below`.
    fn base(&mut self, base: &ChunkId, below: u8) -> Result<Option<String>, Error> {
        let mut reason = "is in no pack that the index knows, or only deeper".to_owned();
        for place in self.repo.index().places(base)? {
            let pack = self.pack(place.pack)?;
            let (kind, name) = (pack.kind, pack.id);
            let depth = pack.segments.get(place.segment as usize).map(|segment| segment.depth);
            if kind != PackKind::Data || depth.is_none_or(|depth| depth >= below) {
                continue;
            }
            let wrong = if self.bad.is_bad(&place) {
                let known = self.bad.reasons.get(&place.pack);
                Some(known.cloned().unwrap_or_else(|| "it is damaged".to_owned()))
            } else if self.bad.doubtful.contains(&place.pack) && self.read_len(base)?.is_none() {
                Some("it cannot be read".to_owned())
            } else {
                self.chain(&place)?
            };
            match wrong {
                None => return Ok(None),
                Some(wrong) => reason = format!("in pack {name}: {wrong}"),
            }
        }
        Ok(Some(format!("it is coded against chunk {base}, which {reason}")))
    }

    /// The length that the index gives of the chunk at `place`; `None` if no data can be there. Asks for
    /// no key, so that those can check who may not read.
    fn stored_len(&mut self, place: &Place) -> Result<Option<usize>, Error> {
        let pack = self.pack(place.pack)?;
        let span = pack.chunk_span(place.segment, place.ordinal);
        Ok(span.filter(|_| pack.kind == PackKind::Data).map(|(_, len)| len))
    }

    /// The length of a data chunk that was read to see whether it can be; `None` if it cannot, or by
    /// others only.
    fn read_len(&self, id: &ChunkId) -> Result<Option<usize>, Error> {
        let mut plain = Vec::new();
        match self.reader.append_chunk(ChunkKind::Data, id, &mut Scratch::default(), &mut plain) {
            Ok(()) => Ok(Some(plain.len())),
            Err(repo::Error::Denied { .. }) => Ok(None),
            Err(e) => said(e).map(|_| None),
        }
    }

    fn pack(&mut self, number: u32) -> Result<&PackInfo, Error> {
        if self.packs.len() >= PACKS_KEPT && !self.packs.contains_key(&number) {
            self.packs.clear();
        }
        match self.packs.entry(number) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(new) => {
                let info = self.repo.index().pack(number)?.ok_or(repo::Error::Worker)?;
                Ok(new.insert(info))
            }
        }
    }
}

/// The first object that a database's description names and its folders lack.
fn missing_object(database: &Database, info: &DatabaseInfo) -> Result<Option<String>, repo::Error> {
    let names = database.object_names()?;
    let wanted = info.objects.iter().map(String::as_str).chain(["recipe"]);
    Ok(wanted.into_iter().find(|path| !names.contains(*path)).map(str::to_owned))
}
