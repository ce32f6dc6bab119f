//! A stored database: its description, its objects, and the dump that they rejoin to. The dump is
//! streamed: one reader runs ahead over all objects in the order of the recipe.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use crate::base::class::Class;
use crate::base::clock::Cancel;
use crate::base::id::hex;
use crate::base::limits::{ARCHIVE_HEAD_MAX, DATABASE_INFO_MAX};
use crate::crypto::StreamHasher;
use crate::format::database::{BlockInfo, DatabaseInfo, TableInfo};
use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::postgres::archive::clean::patch_for_clean;
use crate::postgres::archive::csv::columns;
use crate::postgres::archive::join::{JoinError, join};
use crate::postgres::archive::name::table_file;
use crate::postgres::archive::reframe::Filter;
use crate::postgres::archive::schema::schema_sql;
use crate::postgres::archive::seekable::patch_head;
use crate::postgres::archive::split::Block;
use crate::postgres::archive::toc::{Entry, Head, Parsed, parse_head};
use crate::repo::Error;
use crate::repo::read::{ChunkReader, ContentReader, Entries};
use crate::vfs::Children;

/// A database of a snapshot.
pub struct Database {
    reader: Arc<ChunkReader>,
    cancel: Cancel,
    node: Node,
    info: DatabaseInfo,
    info_bytes: Vec<u8>,
    schema_len: OnceLock<Option<u64>>,
}

impl Database {
    /// Opens the database whose node this is.
    pub fn open(reader: Arc<ChunkReader>, cancel: Cancel, node: Node) -> Result<Self, Error> {
        let found = Children::new(node.children.clone()).find(&reader, b"info")?;
        let info = found.ok_or_else(|| damaged(&node, "its description is missing"))?;
        let info_bytes = read_small(&reader, &info, DATABASE_INFO_MAX as u64, &cancel)?;
        let object = format!("the description of database {}", String::from_utf8_lossy(&node.name));
        let info = DatabaseInfo::decode(&info_bytes).map_err(Error::format(&object))?;
        Ok(Database { reader, cancel, node, info, info_bytes, schema_len: OnceLock::new() })
    }

    /// What the snapshot records about it.
    pub fn info(&self) -> &DatabaseInfo {
        &self.info
    }

    /// The description as stored: JSON.
    pub fn info_bytes(&self) -> &[u8] {
        &self.info_bytes
    }

    /// The stored node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The stored node at `path`, whose parts are node names.
    pub fn stored(&self, path: &str) -> Result<Option<Node>, Error> {
        let mut node = self.node.clone();
        for part in path.split('/') {
            match Children::new(node.children).find(&self.reader, part.as_bytes())? {
                Some(found) => node = found,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// The stored node at `path`, without which the database is damaged.
    pub(super) fn required(&self, path: &str) -> Result<Node, Error> {
        self.stored(path)?.ok_or_else(|| self.damaged(&format!("its {path} is missing")))
    }

    /// What reads it.
    pub(super) fn reader(&self) -> &Arc<ChunkReader> {
        &self.reader
    }

    /// Whether it should still be read.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// An error that says what is wrong with it.
    pub(super) fn damaged(&self, reason: &str) -> Error {
        damaged(&self.node, reason)
    }

    /// Paths of all stored objects.
    pub fn object_names(&self) -> Result<HashSet<String>, Error> {
        let mut names = HashSet::new();
        let mut children = Children::new(self.node.children.clone());
        while let Some(node) = children.next(&self.reader)? {
            let name = String::from_utf8_lossy(&node.name).into_owned();
            let mut inner = Children::new(node.children);
            while let Some(below) = inner.next(&self.reader)? {
                names.insert(format!("{name}/{}", String::from_utf8_lossy(&below.name)));
            }
            names.insert(name);
        }
        Ok(names)
    }

    /// Header and table of contents; `None` if the dump was stored as it was.
    pub fn head(&self) -> Result<Option<Head>, Error> {
        if !self.info.split {
            return Ok(None);
        }
        let node = self.required("head")?;
        let bytes = read_small(&self.reader, &node, ARCHIVE_HEAD_MAX as u64, &self.cancel)?;
        match parse_head(&bytes) {
            Parsed::Head(head) => Ok(Some(*head)),
            _ => Err(damaged(&self.node, "its table of contents cannot be parsed")),
        }
    }

    /// The definitions as SQL; `None` if the dump was stored as it was.
    pub fn schema(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.head()?.map(|head| schema_sql(&head)))
    }

    /// Length of the definitions as SQL; `None` if there are none, or they cannot be read.
    pub fn schema_len(&self) -> Option<u64> {
        *self.schema_len.get_or_init(|| self.schema().ok().flatten().map(|schema| schema.len() as u64))
    }

    /// Whether the node of this name below `tables` holds rows of a COPY, and all of them.
    pub(super) fn has_rows(&self, node: &[u8]) -> bool {
        let is_it = |table: &&TableInfo| table.node.as_bytes() == node;
        self.info.tables.iter().find(is_it).is_some_and(|table| table.rows.is_some())
    }

    /// Names of the columns whose values are in the node of this name below `tables`.
    pub(super) fn columns(&self, node: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let head = self.head()?.ok_or_else(|| self.damaged("its table of contents is missing"))?;
        let is_it = |entry: &Entry<'_>| {
            entry.desc() == b"TABLE DATA" && table_file(entry.namespace(), entry.tag()).as_bytes() == node
        };
        let columns = head.entries().find(is_it).and_then(|entry| columns(entry.copy_stmt()));
        let name = String::from_utf8_lossy(node);
        columns.ok_or_else(|| self.damaged(&format!("no COPY statement tells the columns of {name}")))
    }

    /// Length of the dump in bytes.
    pub fn dump_len(&self) -> u64 {
        self.info.dump_bytes
    }

    /// The exact bytes that `pg_dump` wrote. With a `filter`, data blocks whose dump id it refuses
    /// are left out. Returns the number of bytes written.
    pub fn write_dump(&self, filter: Option<Filter<'_>>, out: &mut dyn Write) -> Result<u64, Error> {
        if filter.is_some() {
            return self.rejoin(None, filter, out);
        }
        let mut hashed = Hashed { out, hash: StreamHasher::plain() };
        let written = self.rejoin(None, None, &mut hashed)?;
        if hex(&hashed.hash.finish()) != self.info.dump_hash || written != self.info.dump_bytes {
            return Err(damaged(&self.node, "what was put together is not the dump that was taken apart"));
        }
        Ok(written)
    }

    /// The same with offsets filled in, as `pg_dump --file` would have written it, so that
    /// `pg_restore --jobs` can use it. The plain dump if it was stored as it was.
    pub fn write_seekable(&self, out: &mut dyn Write) -> Result<u64, Error> {
        self.rejoin(self.patched_head()?, None, out)
    }

    /// The head with offsets filled in; `None` if the dump was stored as it was.
    pub(super) fn patched_head(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.head()?.map(|head| self.seekable_head(&head)))
    }

    /// The dump for `pg_restore --clean`, which stumbles over the plain one where tables have
    /// partitions; otherwise as `write_dump` or, if it is to be `seekable`, `write_seekable`.
    pub fn write_for_clean(
        &self,
        seekable: bool,
        filter: Option<Filter<'_>>,
        out: &mut dyn Write,
    ) -> Result<u64, Error> {
        let head = self.head()?.map(|head| {
            let mut bytes = if seekable { self.seekable_head(&head) } else { head.bytes().to_vec() };
            patch_for_clean(&head, &mut bytes);
            bytes
        });
        self.rejoin(head, filter, out)
    }

    fn seekable_head(&self, head: &Head) -> Vec<u8> {
        let blocks = self.info.blocks.iter().map(|b| Block { dump_id: b.dump_id, offset: b.offset });
        patch_head(head, &blocks.collect::<Vec<_>>())
    }

    fn rejoin(
        &self,
        head: Option<Vec<u8>>,
        filter: Option<Filter<'_>>,
        out: &mut dyn Write,
    ) -> Result<u64, Error> {
        let is_whole = filter.is_none();
        let recipe = self.required("recipe")?;
        let recipe = self.content(recipe.content)?;
        let mut objects = self.objects(filter.is_some())?;
        let mut head = head;
        let current = Cell::new(None);
        let opened = |number: usize| -> io::Result<Box<dyn Read + '_>> {
            current.set(Some(number));
            if self.info.objects.get(number).map(String::as_str) == Some("head")
                && let Some(head) = head.take()
            {
                objects.skip(number)?;
                return Ok(Box::new(io::Cursor::new(head)));
            }
            objects.open(number)
        };
        // `join` asks for objects in order and reads each to its end before the next.
        let joined = join(recipe, opened, filter, out);
        let joined = joined.map_err(|e| self.join_error(e, current.get()))?;
        // Whoever reads at a place begins where a block is said to begin.
        let is_listed = |(block, listed): (&Block, &BlockInfo)| {
            block.dump_id == listed.dump_id && block.offset == listed.offset
        };
        let blocks = (&joined.blocks, &self.info.blocks);
        if is_whole && (blocks.0.len() != blocks.1.len() || !blocks.0.iter().zip(blocks.1).all(is_listed)) {
            return Err(self.damaged("its data blocks are not where its description says"));
        }
        Ok(joined.bytes)
    }

    /// Why the dump could not be put together, while the object of this number was read.
    fn join_error(&self, e: JoinError, number: Option<usize>) -> Error {
        match e {
            JoinError::Recipe(reason) => damaged(&self.node, &format!("its recipe: {reason}")),
            JoinError::Read(source) => match source.downcast::<Error>() {
                Ok(e) if e.class() == Class::Damaged => {
                    let path = number.and_then(|number| self.info.objects.get(number));
                    damaged(&self.node, &format!("its {}: {e}", path.map_or("recipe", String::as_str)))
                }
                Ok(e) => e,
                Err(source) => Error::Source { what: "the snapshot".into(), source },
            },
            JoinError::Write(source) => Error::Sink { what: "the dump".into(), source },
        }
    }

    fn content(&self, entries: Vec<ListEntry>) -> Result<ContentReader, Error> {
        ContentReader::new(self.reader.clone(), Entries::new(entries), self.cancel.clone())
    }

    fn objects(&self, one_by_one: bool) -> Result<Objects<'_>, Error> {
        let mut nodes = Vec::with_capacity(self.info.objects.len());
        let mut folders = Folders::default();
        for path in &self.info.objects {
            nodes.push(folders.find(self, path)?);
        }
        Ok(Objects { database: self, nodes, ahead: None, next: 0, one_by_one })
    }
}

fn damaged(node: &Node, reason: &str) -> Error {
    Error::damaged(format!("database {}", String::from_utf8_lossy(&node.name)), reason)
}

/// Reads a whole small file of a snapshot.
fn read_small(reader: &Arc<ChunkReader>, node: &Node, max: u64, cancel: &Cancel) -> Result<Vec<u8>, Error> {
    let size = node.size.unwrap_or(0);
    if size > max {
        return Err(damaged(node, "it is larger than the limit"));
    }
    let entries = Entries::new(node.content.clone());
    let mut content = ContentReader::new(reader.clone(), entries, cancel.clone())?;
    let mut out = Vec::new();
    loop {
        let bytes = content.next_bytes()?;
        if bytes.is_empty() {
            return Ok(out);
        }
        out.extend_from_slice(bytes);
    }
}

/// Hashes what it passes on.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hash: StreamHasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Size and content of one stored object.
#[derive(Clone)]
pub(super) struct Object {
    /// Its length in bytes.
    pub(super) size: u64,
    /// Its chunks.
    pub(super) content: Vec<ListEntry>,
}

/// Finds objects by path; the listings of the two folders are read once.
#[derive(Default)]
pub(super) struct Folders {
    listed: HashMap<String, HashMap<Vec<u8>, Object>>,
}

impl Folders {
    /// The object at `path`.
    pub(super) fn find(&mut self, database: &Database, path: &str) -> Result<Object, Error> {
        let missing = || damaged(&database.node, &format!("its {path} is missing"));
        let object = |node: Node| Object { size: node.size.unwrap_or(0), content: node.content };
        let Some((folder, name)) = path.split_once('/') else {
            return database.required(path).map(object);
        };
        if !self.listed.contains_key(folder) {
            let mut children = Children::new(database.required(folder)?.children);
            let mut listed = HashMap::new();
            while let Some(node) = children.next(&database.reader)? {
                listed.insert(node.name.clone(), object(node));
            }
            self.listed.insert(folder.to_owned(), listed);
        }
        self.listed.get(folder).and_then(|l| l.get(name.as_bytes()).cloned()).ok_or_else(missing)
    }
}

/// Hands out the objects one after another. Without a filter one reader runs ahead over all of
/// them; with one, only those asked for are read.
struct Objects<'d> {
    database: &'d Database,
    nodes: Vec<Object>,
    ahead: Option<std::rc::Rc<std::cell::RefCell<ContentReader>>>,
    next: usize,
    one_by_one: bool,
}

impl Objects<'_> {
    /// Says that object `number` is provided by somebody else.
    fn skip(&mut self, number: usize) -> io::Result<()> {
        self.next = number + 1;
        self.ahead = None;
        Ok(())
    }

    fn open(&mut self, number: usize) -> io::Result<Box<dyn Read + 'static>> {
        let Some(object) = self.nodes.get(number).cloned() else {
            return Err(io::Error::other(damaged(
                &self.database.node,
                "its recipe names an object it lacks",
            )));
        };
        if self.one_by_one {
            let reader = self.database.content(object.content).map_err(io::Error::other)?;
            return Ok(Box::new(reader));
        }
        if self.ahead.is_none() || self.next != number {
            let rest = self.nodes.iter().skip(number).flat_map(|o| o.content.iter().copied());
            let reader = self.database.content(rest.collect()).map_err(io::Error::other)?;
            self.ahead = Some(std::rc::Rc::new(std::cell::RefCell::new(reader)));
        }
        self.next = number + 1;
        let Some(ahead) = self.ahead.clone() else { return Err(io::Error::other(Error::Worker)) };
        Ok(Box::new(Span { ahead, left: object.size }))
    }
}

/// The next `left` bytes of a reader that runs over several objects.
struct Span {
    ahead: std::rc::Rc<std::cell::RefCell<ContentReader>>,
    left: u64,
}

impl Read for Span {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let n = self.ahead.borrow_mut().read(&mut out[..most])?;
        if n == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= n as u64;
        Ok(n)
    }
}
