//! Entries by name, kind, size and time, across snapshots. File data is never read, and what two
//! snapshots share is searched once: what was found in a tree chunk is kept under its id and the path
//! that it was reached by, and serves again wherever both come back. What is kept has a limit, beyond
//! which chunks are read again; how many entries a folder or a snapshot has makes no difference.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::clock::{Cancel, Timestamp};
use crate::base::id::ChunkId;
use crate::base::limits::TREE_DEPTH_MAX;
use crate::format::list::ListEntry;
use crate::format::node::FileMeta;
use crate::format::tree::TreeReader;
use crate::ops::Error;
use crate::ops::glob::Glob;
use crate::ops::look::{append, too_deep, view_with};
use crate::repo;
use crate::repo::read::{ChunkReader, Entries};
use crate::repo::roots::Snapshot;
use crate::vfs::{Entry, EntryKind, View, read_nodes};

/// What is usually kept of chunks that were searched, in bytes.
pub const KEPT_MAX: usize = 64 << 20;
/// What the allocator adds to an entry, its name, and what its metadata points to.
const ALLOCATIONS: usize = 64;
/// What a chunk costs that nothing was found in: its key and its place in the table.
const CHUNK_COST: usize = 128;

/// A pattern, and what it is held against.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// An entry's name.
    Name(Glob),
    /// Its path, without a slash at the beginning.
    Path(Glob),
}

impl Pattern {
    /// `text` as a person writes it: with a slash it is a path's end, or all of it if it begins with
    /// one; else it is a name.
    pub fn new(text: &[u8]) -> Result<Self, &'static str> {
        if text.contains(&b'/') { Pattern::path(text) } else { Ok(Pattern::Name(Glob::new(text, false)?)) }
    }

    /// A path's end, or all of it if `text` begins with a slash.
    pub fn path(text: &[u8]) -> Result<Self, &'static str> {
        let text = text.strip_suffix(b"/").unwrap_or(text);
        Ok(Pattern::Path(match text.strip_prefix(b"/") {
            Some(whole) => Glob::new(whole, false)?,
            None => Glob::new(text, false)?.at_any_depth(),
        }))
    }

    fn matches(&self, path: &[u8], name: &[u8]) -> bool {
        match self {
            Pattern::Name(glob) => glob.matches(name),
            Pattern::Path(glob) => glob.matches(path),
        }
    }
}

/// What an entry has to be. Every condition must hold.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Of each group that is not empty, one pattern must fit.
    pub patterns: Vec<Vec<Pattern>>,
    /// Unless empty, it is one of these.
    pub kinds: Vec<EntryKind>,
    /// It has more bytes than this.
    pub larger: Option<u64>,
    /// It has fewer bytes than this.
    pub smaller: Option<u64>,
    /// It changed after this.
    pub newer: Option<Timestamp>,
    /// It changed before this.
    pub older: Option<Timestamp>,
}

impl Query {
    fn matches(&self, path: &[u8], entry: &Entry) -> bool {
        let fits = |group: &Vec<Pattern>| {
            group.is_empty() || group.iter().any(|pattern| pattern.matches(path, &entry.name))
        };
        let (size, mtime) = (entry.size, entry.meta.mtime);
        (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && self.larger.is_none_or(|least| size.is_some_and(|size| size > least))
            && self.smaller.is_none_or(|most| size.is_some_and(|size| size < most))
            && self.newer.is_none_or(|then| mtime.is_some_and(|mtime| mtime > then))
            && self.older.is_none_or(|then| mtime.is_some_and(|mtime| mtime < then))
            && self.patterns.iter().all(fits)
    }
}

/// An entry that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes it has.
    pub size: Option<u64>,
    /// What a file system knew about it.
    pub meta: FileMeta,
}

impl Found {
    fn new(entry: &Entry) -> Self {
        Found { name: entry.name.clone(), kind: entry.kind, size: entry.size, meta: entry.meta.clone() }
    }

    /// About what it takes in memory.
    fn cost(&self) -> usize {
        let xattrs = self.meta.xattrs.iter().map(|x| size_of_val(x) + x.name.len() + x.value.len());
        let link = self.meta.link_target.as_ref().map_or(0, Vec::len);
        size_of::<Step>() + size_of::<Self>() + ALLOCATIONS + self.name.len() + link + xattrs.sum::<usize>()
    }
}

/// What a searched chunk gives whenever it is met again.
#[derive(Clone, Debug)]
enum Step {
    /// An entry that was found.
    Found(Box<Found>),
    /// A folder with something in it that was found.
    Folder { name: Vec<u8>, children: Vec<ListEntry> },
}

impl Step {
    fn cost(&self) -> usize {
        match self {
            Step::Found(found) => found.cost(),
            Step::Folder { name, children } => {
                size_of::<Step>() + name.len() + size_of_val(children.as_slice())
            }
        }
    }
}

/// The first half of a path's hash, and a tree chunk.
type Key = ([u8; 16], ChunkId);

/// A search, to be asked for one snapshot after another.
pub struct Search {
    reader: Arc<ChunkReader>,
    query: Query,
    cancel: Cancel,
    kept: HashMap<Key, Arc<[Step]>>,
    kept_bytes: usize,
    kept_max: usize,
}

/// Receives the path of each entry that was found, and the entry.
pub type Each<'e> = &'e mut dyn FnMut(&[u8], &Found) -> Result<(), Error>;

/// An open folder.
struct Frame {
    /// Length of its path.
    path: usize,
    /// Chunks to come; none of a folder that is made while it is read.
    entries: Entries,
    listing: TreeReader,
    chunk: Option<Chunk>,
    /// Whether anything was found here or below.
    found: bool,
}

/// What is left of a tree chunk, and what it gave so far.
struct Chunk {
    left: VecDeque<Left>,
    /// Its key and steps, while it may be kept.
    kept: Option<(Key, Vec<Step>)>,
}

enum Left {
    Entry(Box<Entry>),
    Step(Step),
}

impl Search {
    /// A search for what `query` says, whose `reader` was made after the snapshots were listed. At
    /// most `kept_max` bytes are kept of what was searched.
    pub fn new(reader: Arc<ChunkReader>, query: Query, kept_max: usize, cancel: Cancel) -> Self {
        Search { reader, query, cancel, kept: HashMap::new(), kept_bytes: 0, kept_max }
    }

    /// Tells `each` what is found in `snapshot`, a folder's entries in order of their names.
    pub fn run(&mut self, snapshot: &Snapshot, each: Each<'_>) -> Result<(), Error> {
        let view = view_with(&self.reader, snapshot, &self.cancel);
        let mut path = Vec::new();
        // Not by recursion: whoever wrote the snapshot decides how deep its folders are.
        let mut open = vec![Frame::stored(0, snapshot.root.root.children.clone())];
        while let Some(frame) = open.last_mut() {
            view.check()?;
            path.truncate(frame.path);
            let Some(left) = frame.chunk.as_mut().and_then(|chunk| chunk.left.pop_front()) else {
                if let Some(chunk) = frame.chunk.take() {
                    self.keep(chunk);
                }
                if !self.next_chunk(&view, frame, &path)? {
                    let found = open.pop().is_some_and(|frame| frame.found);
                    note_below(open.last_mut(), found);
                }
                continue;
            };
            let below = match left {
                Left::Entry(entry) => self.entry(&view, frame, &mut path, *entry, each)?,
                Left::Step(Step::Found(found)) => {
                    append(&mut path, &found.name);
                    each(&path, &found)?;
                    frame.found = true;
                    None
                }
                Left::Step(Step::Folder { name, children }) => {
                    append(&mut path, &name);
                    Some(Frame::stored(path.len(), children))
                }
            };
            if let Some(below) = below {
                if open.len() == TREE_DEPTH_MAX {
                    return Err(too_deep(&path));
                }
                open.push(below);
            }
        }
        Ok(())
    }

    /// Looks at one entry; a folder's frame is what comes next.
    fn entry(
        &self,
        view: &View,
        frame: &mut Frame,
        path: &mut Vec<u8>,
        entry: Entry,
        each: Each<'_>,
    ) -> Result<Option<Frame>, Error> {
        append(path, &entry.name);
        let kept = frame.chunk.as_mut().and_then(|chunk| chunk.kept.as_mut());
        if self.query.matches(path, &entry) {
            let found = Found::new(&entry);
            each(path, &found)?;
            frame.found = true;
            if let Some((_, steps)) = kept {
                steps.push(Step::Found(Box::new(found)));
            }
        }
        if entry.kind != EntryKind::Directory {
            return Ok(None);
        }
        let chunk = frame.chunk.as_mut();
        if entry.shows_made() {
            // What it shows is made while it is read, and differs with what its description says.
            if let Some(chunk) = chunk {
                chunk.kept = None;
            }
            return Frame::made(view, &entry, path.len()).map(Some);
        }
        let children = entry.node().map(|node| node.children.clone()).unwrap_or_default();
        if let Some((_, steps)) = chunk.and_then(|chunk| chunk.kept.as_mut()) {
            steps.push(Step::Folder { name: entry.name, children: children.clone() });
        }
        Ok(Some(Frame::stored(path.len(), children)))
    }

    /// Goes on to the frame's next chunk, if there is one.
    fn next_chunk(&self, view: &View, frame: &mut Frame, path: &[u8]) -> Result<bool, Error> {
        let Some(entry) = frame.entries.next(&self.reader)? else { return Ok(false) };
        let ListEntry::Chunk { id, len } = entry else {
            return Err(repo::Error::damaged("a directory", "its listing has a hole").into());
        };
        let key = (short_hash(path), id);
        frame.chunk = Some(match self.kept.get(&key) {
            Some(steps) => Chunk { left: steps.iter().cloned().map(Left::Step).collect(), kept: None },
            None => {
                let nodes = read_nodes(&self.reader, &mut frame.listing, &id, len)?;
                let entries = nodes.into_iter().map(|node| view.entry(node));
                let left = entries.map(|entry| entry.map(|entry| Left::Entry(Box::new(entry))));
                Chunk { left: left.collect::<Result<_, _>>()?, kept: Some((key, Vec::new())) }
            }
        });
        Ok(true)
    }

    /// Keeps what a chunk gave, as long as there is room.
    fn keep(&mut self, chunk: Chunk) {
        let Some((key, steps)) = chunk.kept else { return };
        let cost = CHUNK_COST + steps.iter().map(Step::cost).sum::<usize>();
        if self.kept_bytes + cost <= self.kept_max {
            self.kept_bytes += cost;
            self.kept.insert(key, steps.into());
        }
    }
}

impl Frame {
    fn stored(path: usize, children: Vec<ListEntry>) -> Self {
        let (entries, listing) = (Entries::new(children), TreeReader::new());
        Frame { path, entries, listing, chunk: None, found: false }
    }

    /// A folder whose entries are made while it is read: they are few.
    fn made(view: &View, folder: &Entry, path: usize) -> Result<Self, Error> {
        let mut left = VecDeque::new();
        view.children(folder, &mut |entry| {
            left.push_back(Left::Entry(Box::new(entry)));
            Ok(())
        })?;
        Ok(Frame { chunk: Some(Chunk { left, kept: None }), ..Frame::stored(path, Vec::new()) })
    }
}

/// Tells a frame what came of the folder that it entered last: one without a find needs not be
/// entered again.
fn note_below(frame: Option<&mut Frame>, found: bool) {
    let Some(frame) = frame else { return };
    frame.found |= found;
    let steps = frame.chunk.as_mut().and_then(|chunk| chunk.kept.as_mut());
    if let Some((_, steps)) = steps.filter(|_| !found)
        && matches!(steps.last(), Some(Step::Folder { .. }))
    {
        steps.pop();
    }
}

fn short_hash(path: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(path).as_bytes()[..16]);
    short
}
