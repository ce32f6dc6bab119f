//! Nodes: what a snapshot says about one file, directory, stream or database. A node is an attribute
//! record, so that what other systems know about their files can be added without a new format.

use crate::base::clock::Timestamp;
use crate::base::limits;
use crate::format::attrs::{Attribute, RecordReader, RecordWriter, Text, Unknown, check_items};
use crate::format::error::{Error, Reason};
use crate::format::list::{self, ListEntry};
use crate::format::wire::{Reader, Writer};

const WHAT: &str = "node";
/// Permission bits, with those for setuid, setgid and sticky.
const MODE_MAX: u32 = 0o7777;

mod tag {
    pub const NAME: u64 = 1;
    pub const KIND: u64 = 3;
    pub const MODE: u64 = 4;
    pub const UID: u64 = 6;
    pub const GID: u64 = 8;
    pub const USER: u64 = 10;
    pub const GROUP: u64 = 12;
    pub const MTIME: u64 = 14;
    pub const ATIME: u64 = 16;
    pub const BTIME: u64 = 18;
    pub const LINK_TARGET: u64 = 20;
    pub const DEVICE: u64 = 22;
    pub const XATTRS: u64 = 24;
    pub const LINK_GROUP: u64 = 26;
    pub const INODE_FLAGS: u64 = 28;
    pub const PROBLEM: u64 = 30;
    pub const SIZE: u64 = 31;
    pub const CTIME: u64 = 32;
    pub const CONTENT: u64 = 33;
    pub const INODE: u64 = 34;
    pub const CHILDREN: u64 = 35;
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeType {
    /// A directory: has children.
    Directory,
    /// A file: has content.
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
    /// A stream that came through a pipe: has content.
    Stream,
    /// A database: has children.
    Database,
    /// The roles and settings of a cluster: has content.
    Globals,
    /// Something that a later version knows. It is shown as such, and never restored.
    Other(u64),
}

impl NodeType {
    /// The number that stands for it.
    pub fn to_u64(self) -> u64 {
        match self {
            NodeType::Directory => 1,
            NodeType::File => 2,
            NodeType::Symlink => 3,
            NodeType::Fifo => 4,
            NodeType::Socket => 5,
            NodeType::CharDevice => 6,
            NodeType::BlockDevice => 7,
            NodeType::Stream => 8,
            NodeType::Database => 9,
            NodeType::Globals => 10,
            NodeType::Other(number) => number,
        }
    }

    /// The reverse of `to_u64`.
    pub fn from_u64(number: u64) -> Self {
        match number {
            1 => NodeType::Directory,
            2 => NodeType::File,
            3 => NodeType::Symlink,
            4 => NodeType::Fifo,
            5 => NodeType::Socket,
            6 => NodeType::CharDevice,
            7 => NodeType::BlockDevice,
            8 => NodeType::Stream,
            9 => NodeType::Database,
            10 => NodeType::Globals,
            other => NodeType::Other(other),
        }
    }

    /// Whether such a node may have children.
    pub fn has_children(self) -> bool {
        matches!(self, NodeType::Directory | NodeType::Database | NodeType::Other(_))
    }

    /// Whether such a node may have content; unless it is unknown, it then also has a size.
    pub fn has_content(self) -> bool {
        matches!(self, NodeType::File | NodeType::Stream | NodeType::Globals | NodeType::Other(_))
    }
}

/// An extended attribute of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xattr {
    /// Its name, with its namespace.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// What a file system knows about a node; streams and databases have none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileMeta {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner's number.
    pub uid: Option<u32>,
    /// The group's number.
    pub gid: Option<u32>,
    /// The owner's name.
    pub user: Option<String>,
    /// The group's name.
    pub group: Option<String>,
    /// When the content changed.
    pub mtime: Option<Timestamp>,
    /// When it was read.
    pub atime: Option<Timestamp>,
    /// When it was made.
    pub btime: Option<Timestamp>,
    /// What a symbolic link points to.
    pub link_target: Option<Vec<u8>>,
    /// A device's number.
    pub device: Option<u64>,
    /// Extended attributes, ascending by name.
    pub xattrs: Vec<Xattr>,
    /// Equal in all names of one file that has several.
    pub link_group: Option<Vec<u8>>,
    /// The file system's flags.
    pub inode_flags: Option<u64>,
    /// What of it could not be read, in words for people.
    pub problem: Option<String>,
    /// When content or metadata changed. This and the inode are there only if a later snapshot may take
    /// the entry for unchanged by them; neither is ever restored.
    pub ctime: Option<Timestamp>,
    /// Its number in its file system.
    pub inode: Option<u64>,
}

/// An entry of a directory, or the root of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name; empty for the root of a snapshot only.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeType,
    /// What a file system knows about it.
    pub meta: FileMeta,
    /// Bytes of its content; there unless it has none.
    pub size: Option<u64>,
    /// Its content, at most [`limits::LIST_INLINE_MAX`] entries of one level.
    pub content: Vec<ListEntry>,
    /// Its children: a content list of tree chunks, likewise.
    pub children: Vec<ListEntry>,
    /// Attributes that this version does not know.
    pub unknown: Unknown,
}

impl Node {
    /// A node with a name and nothing else.
    pub fn new(name: impl Into<Vec<u8>>, kind: NodeType) -> Self {
        Node {
            name: name.into(),
            kind,
            meta: FileMeta::default(),
            size: None,
            content: Vec::new(),
            children: Vec::new(),
            unknown: Unknown::default(),
        }
    }

    /// A node with children, as a tree builder gave them.
    pub fn with_children(name: impl Into<Vec<u8>>, kind: NodeType, children: Vec<ListEntry>) -> Self {
        Node { children, ..Node::new(name, kind) }
    }

    /// A node with content, as a list builder gave it.
    pub fn with_content(
        name: impl Into<Vec<u8>>,
        kind: NodeType,
        content: Vec<ListEntry>,
    ) -> Result<Self, Error> {
        let size = Some(list::content_len(&content)?);
        Ok(Node { size, content, ..Node::new(name, kind) })
    }

    /// Checks what must hold between the attributes of a node, its name apart.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what| Err(Error::new(WHAT, Reason::Inconsistent(what)));
        if !self.children.is_empty() && !self.kind.has_children() {
            return wrong("it has children, and is no directory");
        }
        if (!self.content.is_empty() || self.size.is_some()) && !self.kind.has_content() {
            return wrong("it has content, and is no file");
        }
        let unknown = matches!(self.kind, NodeType::Other(_));
        if self.size.is_none() && self.kind.has_content() && !unknown {
            return Err(Error::new(WHAT, Reason::Missing("size")));
        }
        if list::content_len(&self.content)? != self.size.unwrap_or(0) {
            return wrong("its size is not that of its content");
        }
        let (entries, max) =
            (self.content.len().max(self.children.len()) as u64, limits::LIST_INLINE_MAX as u64);
        if entries > max {
            let what = "the number of entries of a list";
            return Err(Error::new(WHAT, Reason::TooLarge { what, len: entries, max }));
        }
        self.meta.check()?;
        list::content_len(&self.children)?;
        list::only_chunks(&self.children)
    }

    /// Checks that the name is one that an entry of a directory may have.
    pub fn check_name(&self) -> Result<(), Error> {
        let (len, max) = (self.name.len() as u64, limits::NAME_MAX as u64);
        if len > max {
            return Err(Error::new(WHAT, Reason::TooLarge { what: "a name", len, max }));
        }
        match self.name.as_slice() {
            b"" | b"." | b".." => Err(Error::new(WHAT, Reason::Inconsistent("its name is not a name"))),
            name if name.iter().any(|byte| matches!(byte, 0 | b'/')) => {
                Err(Error::new(WHAT, Reason::Inconsistent("its name has a slash or a zero in it")))
            }
            _ => Ok(()),
        }
    }

    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let meta = &self.meta;
        let mut record = RecordWriter::new(out, &self.unknown);
        record
            .bytes(tag::NAME, &self.name)
            .u64(tag::KIND, self.kind.to_u64())
            .opt_u64(tag::MODE, meta.mode.map(u64::from))
            .opt_u64(tag::UID, meta.uid.map(u64::from))
            .opt_u64(tag::GID, meta.gid.map(u64::from))
            .opt_bytes(tag::USER, meta.user.as_deref().map(str::as_bytes))
            .opt_bytes(tag::GROUP, meta.group.as_deref().map(str::as_bytes))
            .opt_i64(tag::MTIME, meta.mtime.map(|time| time.0))
            .opt_i64(tag::ATIME, meta.atime.map(|time| time.0))
            .opt_i64(tag::BTIME, meta.btime.map(|time| time.0))
            .opt_bytes(tag::LINK_TARGET, meta.link_target.as_deref())
            .opt_u64(tag::DEVICE, meta.device)
            .list(tag::XATTRS, meta.xattrs.iter().map(encode_xattr))
            .opt_bytes(tag::LINK_GROUP, meta.link_group.as_deref())
            .opt_u64(tag::INODE_FLAGS, meta.inode_flags)
            .opt_bytes(tag::PROBLEM, meta.problem.as_deref().map(str::as_bytes))
            .opt_u64(tag::SIZE, self.size)
            .opt_i64(tag::CTIME, meta.ctime.map(|time| time.0))
            .opt_bytes(tag::CONTENT, encode_list(&self.content).as_deref())
            .opt_u64(tag::INODE, meta.inode)
            .opt_bytes(tag::CHILDREN, encode_list(&self.children).as_deref());
        record.finish();
    }

    /// Reads the record that is all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(Reader::new(WHAT, bytes))
    }

    /// Reads the record that is the rest of `reader`.
    pub fn read(reader: Reader<'_>) -> Result<Self, Error> {
        let base = reader.offset();
        reader.limit("a node", reader.remaining() as u64, limits::NODE_MAX as u64)?;
        let mut record = RecordReader::from_reader(reader);
        let (mut name, mut kind) = (None, None);
        let mut node = Node::new([], NodeType::Directory);
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                tag::NAME => name = Some(attribute.bytes("a name", limits::NAME_MAX)?.to_vec()),
                tag::KIND => kind = Some(NodeType::from_u64(attribute.u64()?)),
                tag::SIZE => node.size = Some(attribute.u64()?),
                tag::CONTENT => node.content = read_entries(&attribute)?,
                tag::CHILDREN => node.children = read_entries(&attribute)?,
                _ => {
                    if !node.meta.take(&attribute)? {
                        node.unknown.keep(&attribute)?;
                    }
                }
            }
        }
        node.name = record.need(name, "name")?;
        node.kind = record.need(kind, "type")?;
        node.check().map_err(|error| Error { offset: base, ..error })?;
        Ok(node)
    }
}

impl FileMeta {
    fn check(&self) -> Result<(), Error> {
        let wrong = |what| Err(Error::new(WHAT, Reason::Inconsistent(what)));
        if self.mode.is_some_and(|mode| mode > MODE_MAX) {
            return wrong("its mode has more than permission bits");
        }
        if !self.xattrs.is_sorted_by(|a, b| a.name < b.name) {
            return wrong("its extended attributes do not ascend");
        }
        check_items(WHAT, self.xattrs.len())?;
        Text::USER.check_some(WHAT, self.user.as_ref())?;
        Text::GROUP.check_some(WHAT, self.group.as_ref())?;
        Text::PROBLEM.check_some(WHAT, self.problem.as_ref())
    }

    /// Takes an attribute over; `false` if it is none of these.
    fn take(&mut self, attribute: &Attribute<'_>) -> Result<bool, Error> {
        let time = |attribute: &Attribute<'_>| attribute.i64().map(|nanos| Some(Timestamp(nanos)));
        match attribute.tag {
            tag::MODE => self.mode = Some(attribute.u32()?),
            tag::UID => self.uid = Some(attribute.u32()?),
            tag::GID => self.gid = Some(attribute.u32()?),
            tag::USER => self.user = Some(attribute.text(Text::USER)?),
            tag::GROUP => self.group = Some(attribute.text(Text::GROUP)?),
            tag::MTIME => self.mtime = time(attribute)?,
            tag::ATIME => self.atime = time(attribute)?,
            tag::BTIME => self.btime = time(attribute)?,
            tag::LINK_TARGET => self.link_target = Some(attribute.value.to_vec()),
            tag::DEVICE => self.device = Some(attribute.u64()?),
            tag::XATTRS => self.xattrs = attribute.list(read_xattr)?,
            tag::LINK_GROUP => self.link_group = Some(attribute.value.to_vec()),
            tag::INODE_FLAGS => self.inode_flags = Some(attribute.u64()?),
            tag::PROBLEM => self.problem = Some(attribute.text(Text::PROBLEM)?),
            tag::CTIME => self.ctime = time(attribute)?,
            tag::INODE => self.inode = Some(attribute.u64()?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// The entries of a list; nothing if there are none.
fn encode_list(entries: &[ListEntry]) -> Option<Vec<u8>> {
    if entries.is_empty() {
        return None;
    }
    let mut value = Vec::new();
    list::encode_entries(entries, &mut value);
    Some(value)
}

fn read_entries(attribute: &Attribute<'_>) -> Result<Vec<ListEntry>, Error> {
    list::decode_entries(attribute.reader(), limits::LIST_INLINE_MAX)
}

/// An extended attribute is an item: the length of its name as a varint, its name, its value.
fn encode_xattr(xattr: &Xattr) -> Vec<u8> {
    let mut item = Vec::with_capacity(xattr.name.len() + xattr.value.len() + 2);
    Writer::new(&mut item).varint(xattr.name.len() as u64).bytes(&xattr.name).bytes(&xattr.value);
    item
}

fn read_xattr(item: &mut Reader<'_>) -> Result<Xattr, Error> {
    let len = item.length("a name", limits::NAME_MAX)?;
    Ok(Xattr { name: item.bytes(len)?.to_vec(), value: item.rest().to_vec() })
}

#[cfg(test)]
#[path = "node_tests.rs"]
pub(in crate::format) mod tests;
