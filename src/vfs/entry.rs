//! What `ls`, `cat` and restore see: entries by path, some stored, some made while they are read.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::monitor::{Count, Monitor};
use crate::format::node::{FileMeta, Node, NodeType};
use crate::repo::Error;
use crate::repo::read::{ChunkReader, ContentReader, Entries};
use crate::vfs::open::{Form, OpenFile, ReadCache};
use crate::vfs::{Children, Database};

/// The exact dump of a database.
const DUMP: &str = "database.dump";
/// The same with offsets filled in.
const SEEKABLE: &str = "database.seekable.dump";
/// Its definitions as SQL.
const SCHEMA: &str = "schema.sql";
/// What the snapshot records of it.
const INFO: &str = "info.json";
/// The folders of a database that are shown as they are stored.
const FOLDERS: [&str; 2] = ["large-objects", TABLES];
/// The folder of tables.
const TABLES: &str = "tables";
/// What the names of rows end in.
const ROWS: &[u8] = b".copy";
/// What the names of the same as CSV end in.
const CSV: &[u8] = b".csv";

/// Plaintext kept while one file is written.
const WRITE_CACHE: usize = 32 << 20;
/// Bytes written at a time.
const WRITE_STEP: usize = 1 << 20;

/// What an entry is to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Has children.
    Directory,
    /// Has bytes.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// Something that a later version knows.
    Other,
}

impl EntryKind {
    /// What a node of this type is shown as.
    pub fn of(kind: NodeType) -> Self {
        match kind {
            NodeType::Directory | NodeType::Database => EntryKind::Directory,
            NodeType::File | NodeType::Stream | NodeType::Globals => EntryKind::File,
            NodeType::Symlink => EntryKind::Symlink,
            NodeType::Fifo => EntryKind::Fifo,
            NodeType::Socket => EntryKind::Socket,
            NodeType::CharDevice => EntryKind::CharDevice,
            NodeType::BlockDevice => EntryKind::BlockDevice,
            NodeType::Other(_) => EntryKind::Other,
        }
    }
}

/// One entry of a view.
#[derive(Clone)]
pub struct Entry {
    /// Its name; empty for the root.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes it has; absent for directories, and for what is made while it is read.
    pub size: Option<u64>,
    /// What a file system knew about it.
    pub meta: FileMeta,
    source: Source,
}

impl Entry {
    /// What is stored of it; nothing of what is made while it is read.
    pub fn node(&self) -> Option<&Node> {
        match &self.source {
            Source::Stored(node) => Some(node),
            Source::Database(database) => Some(database.node()),
            Source::Tables(_, node) => Some(node),
            Source::Made(..) => None,
        }
    }

    /// Whether it holds only what another file beside it holds as well: the dump with offsets, rows as CSV.
    pub fn is_other_form(&self) -> bool {
        matches!(self.source, Source::Made(_, Made::Seekable | Made::Csv(_)))
    }

    /// Whether it is a directory that shows more, or other things, than are stored in it.
    pub fn shows_made(&self) -> bool {
        matches!(self.source, Source::Database(_) | Source::Tables(..))
    }
}

#[derive(Clone)]
enum Source {
    Stored(Box<Node>),
    Database(Arc<Database>),
    /// The tables of a database, stored as rows and shown as CSV too.
    Tables(Arc<Database>, Box<Node>),
    Made(Arc<Database>, Made),
}

#[derive(Clone)]
enum Made {
    Dump,
    Seekable,
    Schema,
    Info,
    /// The rows that are stored in this node.
    Csv(Box<Node>),
}

/// What is left of a directory's children.
pub struct Listing(Listed);

enum Listed {
    Stored(Children),
    Tables {
        database: Arc<Database>,
        children: Children,
        /// Entries whose turn is still to come, in order of name.
        waiting: VecDeque<Entry>,
        /// The last stored name.
        last: Vec<u8>,
        ended: bool,
    },
    Made(std::vec::IntoIter<Entry>),
}

/// A snapshot as a tree.
pub struct View {
    reader: Arc<ChunkReader>,
    cancel: Cancel,
    root: Node,
}

impl View {
    /// The snapshot whose root node is `root`.
    pub fn new(reader: Arc<ChunkReader>, root: Node, cancel: Cancel) -> Self {
        View { reader, cancel, root }
    }

    /// The root directory.
    pub fn root(&self) -> Entry {
        stored(self.root.clone())
    }

    /// The entry at `path`; empty parts are ignored, so `/a//b/` is `a/b`.
    pub fn find(&self, path: &[u8]) -> Result<Option<Entry>, Error> {
        let mut entry = self.root();
        for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            match self.child(&entry, part)? {
                Some(found) => entry = found,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }

    fn child(&self, parent: &Entry, name: &[u8]) -> Result<Option<Entry>, Error> {
        match &parent.source {
            Source::Stored(node) => {
                let found = Children::new(node.children.clone()).find(&self.reader, name)?;
                found.map(|node| self.entry(node)).transpose()
            }
            Source::Tables(database, node) => {
                let found = Children::new(node.children.clone()).find(&self.reader, name)?;
                match (found, rows_of(name)) {
                    (Some(node), _) => Ok(Some(stored(node))),
                    (None, Some(rows)) => {
                        let found = Children::new(node.children.clone()).find(&self.reader, &rows)?;
                        Ok(found.and_then(|node| csv(database, &node)))
                    }
                    (None, None) => Ok(None),
                }
            }
            Source::Database(_) => {
                let mut found = None;
                self.children(parent, &mut |entry| {
                    if entry.name == name {
                        found = Some(entry);
                    }
                    Ok(())
                })?;
                Ok(found)
            }
            Source::Made(..) => Ok(None),
        }
    }

    /// Calls `each` for every child of a directory, in order of name.
    pub fn children(
        &self,
        parent: &Entry,
        each: &mut dyn FnMut(Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut listing = self.list(parent)?;
        while let Some(entry) = self.next(&mut listing)? {
            each(entry)?;
        }
        Ok(())
    }

    /// The children of a directory, to be asked for one after another with [`View::next`].
    pub fn list(&self, parent: &Entry) -> Result<Listing, Error> {
        Ok(Listing(match &parent.source {
            Source::Stored(node) => Listed::Stored(Children::new(node.children.clone())),
            Source::Database(database) => Listed::Made(database_children(database)?.into_iter()),
            Source::Tables(database, node) => Listed::Tables {
                database: database.clone(),
                children: Children::new(node.children.clone()),
                waiting: VecDeque::new(),
                last: Vec::new(),
                ended: false,
            },
            Source::Made(..) => Listed::Made(Vec::new().into_iter()),
        }))
    }

    /// The next child, in order of name.
    pub fn next(&self, listing: &mut Listing) -> Result<Option<Entry>, Error> {
        self.check()?;
        match &mut listing.0 {
            Listed::Stored(children) => children.next(&self.reader)?.map(|node| self.entry(node)).transpose(),
            Listed::Tables { database, children, waiting, last, ended } => {
                // What waits may go once no stored name can come before it.
                while !*ended && waiting.front().is_none_or(|first| first.name > *last) {
                    let Some(node) = children.next(&self.reader)? else {
                        *ended = true;
                        break;
                    };
                    last.clone_from(&node.name);
                    let csv = csv(database, &node);
                    waiting.push_back(stored(node));
                    waiting.extend(csv);
                    let order = |entry: &Entry| (entry.name.clone(), entry.node().is_none());
                    waiting.make_contiguous().sort_by_key(order);
                }
                let next = waiting.pop_front();
                // A stored file of the name that one would be made under is shown instead.
                waiting.retain(|entry| next.as_ref().is_none_or(|next| next.name != entry.name));
                Ok(next)
            }
            Listed::Made(entries) => Ok(entries.next()),
        }
    }

    /// What reads it.
    pub fn reader(&self) -> &ChunkReader {
        &self.reader
    }

    /// Fails if the user asked to stop.
    pub fn check(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Opens a node; a database becomes what is shown of it.
    pub fn entry(&self, node: Node) -> Result<Entry, Error> {
        if node.kind != NodeType::Database {
            return Ok(stored(node));
        }
        let database = Database::open(self.reader.clone(), self.cancel.clone(), node)?;
        Ok(Entry {
            name: database.node().name.clone(),
            kind: EntryKind::Directory,
            size: None,
            meta: FileMeta::default(),
            source: Source::Database(Arc::new(database)),
        })
    }

    /// The database that an entry is, if it is one.
    pub fn database<'e>(&self, entry: &'e Entry) -> Option<&'e Database> {
        match &entry.source {
            Source::Database(database) => Some(database),
            _ => None,
        }
    }

    /// Writes the bytes of a file to `out`; returns how many. Every byte was verified before.
    pub fn write(&self, entry: &Entry, out: &mut dyn Write, monitor: &dyn Monitor) -> Result<u64, Error> {
        let mut out = Counted { out, monitor };
        match &entry.source {
            Source::Stored(node) => self.write_stored(node, &mut out),
            Source::Tables(..) => Err(Error::Usage("a directory has no bytes: name one of its files".into())),
            Source::Database(_) => {
                Err(Error::Usage("a database is a directory: name one of its files".into()))
            }
            Source::Made(database, Made::Dump) => database.write_dump(None, &mut out),
            Source::Made(database, Made::Seekable) => database.write_seekable(&mut out),
            Source::Made(database, Made::Schema) => {
                write_all(&mut out, &database.schema()?.unwrap_or_default())
            }
            Source::Made(database, Made::Info) => write_all(&mut out, database.info_bytes()),
            Source::Made(_, Made::Csv(_)) => self.write_open(entry, &mut out),
        }
    }

    /// Opens stored files, to be read at any place, with one look into the index for all of them.
    pub fn open_all(
        &self,
        nodes: &[&Node],
        cache: &Arc<ReadCache>,
    ) -> Result<Vec<Result<OpenFile, Error>>, Error> {
        OpenFile::all_stored(&self.reader, cache, nodes)
    }

    /// Opens a file to be read at any place. What is decoded for it is kept in `cache`.
    pub fn open(&self, entry: &Entry, cache: &Arc<ReadCache>) -> Result<OpenFile, Error> {
        match &entry.source {
            Source::Stored(node) if entry.kind == EntryKind::File => {
                OpenFile::stored(self.reader.clone(), cache.clone(), node)
            }
            Source::Stored(_) | Source::Tables(..) | Source::Database(_) => {
                let name = String::from_utf8_lossy(&entry.name);
                Err(Error::Usage(format!("{name} is no file: it has no bytes to read")))
            }
            Source::Made(database, Made::Dump) => OpenFile::dump(database, cache.clone(), Form::Exact),
            Source::Made(database, Made::Seekable) => OpenFile::dump(database, cache.clone(), Form::Seekable),
            Source::Made(database, Made::Csv(node)) => OpenFile::csv(database, cache.clone(), node),
            Source::Made(database, Made::Schema) => {
                Ok(OpenFile::here(database.schema()?.unwrap_or_default()))
            }
            Source::Made(database, Made::Info) => Ok(OpenFile::here(database.info_bytes().to_vec())),
        }
    }

    /// Writes what can only be read like an open file.
    fn write_open(&self, entry: &Entry, out: &mut dyn Write) -> Result<u64, Error> {
        let file = self.open(entry, &ReadCache::new(WRITE_CACHE))?;
        let (mut written, mut bytes) = (0, Vec::new());
        loop {
            self.check()?;
            bytes.clear();
            file.read_at(written, WRITE_STEP, &mut bytes)?;
            if bytes.is_empty() {
                return Ok(written);
            }
            written += write_all(out, &bytes)?;
        }
    }

    fn write_stored(&self, node: &Node, out: &mut dyn Write) -> Result<u64, Error> {
        let entries = Entries::new(node.content.clone());
        let mut content = ContentReader::new(self.reader.clone(), entries, self.cancel.clone())?;
        let mut written = 0;
        loop {
            let bytes = content.next_bytes()?;
            if bytes.is_empty() {
                break;
            }
            written += write_all(out, bytes)?;
        }
        // A list can lie about its chunks' lengths; each was what its id says all the same.
        match node.size.unwrap_or(0) {
            size if size == written => Ok(written),
            size => {
                let reason = format!("its chunks have {written} bytes where its lists say {size}");
                Err(Error::damaged(String::from_utf8_lossy(&node.name), reason))
            }
        }
    }
}

fn stored(node: Node) -> Entry {
    Entry {
        name: node.name.clone(),
        kind: EntryKind::of(node.kind),
        size: node.size,
        meta: node.meta.clone(),
        source: Source::Stored(Box::new(node)),
    }
}

fn tables(database: &Arc<Database>, node: Node) -> Entry {
    let source = Source::Tables(database.clone(), Box::new(node.clone()));
    Entry { source, ..stored(node) }
}

/// The name of the rows of which the file called `name` would be made.
fn rows_of(name: &[u8]) -> Option<Vec<u8>> {
    name.strip_suffix(CSV).map(|stem| [stem, ROWS].concat())
}

/// What is shown beside the rows of a table.
fn csv(database: &Arc<Database>, node: &Node) -> Option<Entry> {
    let stem = node.name.strip_suffix(ROWS).filter(|_| node.kind == NodeType::File)?;
    database.has_rows(&node.name).then(|| Entry {
        name: [stem, CSV].concat(),
        kind: EntryKind::File,
        size: None,
        meta: node.meta.clone(),
        source: Source::Made(database.clone(), Made::Csv(Box::new(node.clone()))),
    })
}

fn database_children(database: &Arc<Database>) -> Result<Vec<Entry>, Error> {
    let file = |name: &str, size, made| Entry {
        name: name.into(),
        kind: EntryKind::File,
        size,
        meta: FileMeta::default(),
        source: Source::Made(database.clone(), made),
    };
    let len = Some(database.dump_len());
    let info_len = database.info_bytes().len() as u64;
    let mut children = vec![
        file(DUMP, len, Made::Dump),
        file(SEEKABLE, len, Made::Seekable),
        file(INFO, Some(info_len), Made::Info),
    ];
    if database.info().split {
        children.push(file(SCHEMA, database.schema_len(), Made::Schema));
    }
    // Of a dump that was not followed to its end, the last table or large object is a part only.
    for folder in FOLDERS.iter().filter(|_| database.info().split) {
        let shown = |node| if *folder == TABLES { tables(database, node) } else { stored(node) };
        children.extend(database.stored(folder)?.map(shown));
    }
    children.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(children)
}

fn write_all(out: &mut dyn Write, bytes: &[u8]) -> Result<u64, Error> {
    let written = out.write_all(bytes);
    written.map_err(|source| Error::Sink { what: "what was read".into(), source })?;
    Ok(bytes.len() as u64)
}

/// Reports bytes as they go out.
struct Counted<'a> {
    out: &'a mut dyn Write,
    monitor: &'a dyn Monitor,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.monitor.add(Count::DoneBytes, n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
