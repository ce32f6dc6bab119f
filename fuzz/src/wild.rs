//! Trees that no honest writer stores: names that lead elsewhere, links with files below them, names
//! twice and out of order, lists that lie about lengths, folders in each other without end. An input
//! is a little program that writes one.

use kamba_vault::base::clock::Timestamp;
use kamba_vault::base::id::ChunkId;
use kamba_vault::base::kind::ChunkKind;
use kamba_vault::base::limits::NODE_MAX;
use kamba_vault::format::list::{ListEntry, content_len, encode_entries};
use kamba_vault::format::node::{FileMeta, Node, NodeType, Xattr};
use kamba_vault::format::wire::Writer;

use crate::ground::{ELSEWHERE, OUTSIDE};
use crate::input::Input;
use crate::maker::Maker;

/// Entries of one tree, each counted as often as a walk meets it.
const ENTRIES: u64 = 300;
/// Levels that a program may write one by one.
const LEVELS: usize = 6;
/// Folders in each other that one byte asks for; the last are more than a tree may have.
const NESTED: [usize; 4] = [3, 20, 200, 4200];
/// Zeros take their space.
const ZEROS: u64 = 1 << 16;
/// A hole takes none, but no file is as long as the longest.
const HOLES: [u64; 4] = [4096, 1 << 20, 1 << 40, 1 << 62];

/// Names that are none, some of them those of traps in the target.
const NAMES: [&[u8]; 24] = [
    b"a",
    b"b",
    b"c",
    b"d",
    b"e",
    b"f",
    b"sub",
    b"kept",
    b"..",
    b".",
    b"",
    b"a/b",
    b"../outside/evil",
    b"../../outside/kept",
    ELSEWHERE.as_bytes(),
    b"nul\0in it",
    b"/",
    b"\xff\xfe",
    b"new\nline",
    b"..\0",
    b"...",
    b".kamba-vault",
    b"-rf",
    b"a ",
];
/// Where links lead.
const LINKS: [&[u8]; 8] = [b"..", b"../outside", b"../outside/kept", b"/", b"/etc", b"a", b".", b"d/e/f"];

/// Writes trees.
pub struct Wild<'i, 'm, 'k> {
    input: &'i mut Input<'m>,
    maker: &'i mut Maker<'k>,
    entries: u64,
}

/// A listing, and how many entries a walk of it meets.
#[derive(Clone, Default)]
struct Listing {
    children: Vec<ListEntry>,
    entries: u64,
}

impl<'i, 'm, 'k> Wild<'i, 'm, 'k> {
    /// What the rest of `input` describes; chunks go to `maker`.
    pub fn new(input: &'i mut Input<'m>, maker: &'i mut Maker<'k>) -> Self {
        Wild { input, maker, entries: 0 }
    }

    /// The children of a snapshot's root.
    pub fn tree(mut self) -> Vec<ListEntry> {
        self.listing(0).children
    }

    fn listing(&mut self, level: usize) -> Listing {
        let (mut nodes, mut entries) = (Vec::new(), 0);
        let count = self.input.u8() % 12;
        for _ in 0..count {
            if self.input.is_empty() || self.entries + entries >= ENTRIES {
                break;
            }
            let (node, below) = self.node(level);
            entries += 1 + below;
            self.entries += 1;
            nodes.push(node);
        }
        Listing { children: self.store(nodes), entries }
    }

    /// Stores a listing: as it should be, in any order, cut anywhere, or with bytes changed.
    fn store(&mut self, mut nodes: Vec<Node>) -> Vec<ListEntry> {
        let how = self.input.u8();
        if how & 1 == 0 {
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
            nodes.dedup_by(|a, b| a.name == b.name);
        }
        let in_a_chunk = usize::from(how >> 4) + 1;
        let mut children = Vec::new();
        for part in nodes.chunks(in_a_chunk) {
            let mut chunk = Vec::new();
            part.iter().for_each(|node| append(node, &mut chunk));
            if how & 6 == 6 {
                self.input.splice(&mut chunk);
            }
            children.extend(self.chunk(ChunkKind::Tree, &chunk));
        }
        if how & 8 != 0 { self.listed(children) } else { children }
    }

    /// A chunk, whose length may be a lie.
    fn chunk(&mut self, kind: ChunkKind, plain: &[u8]) -> Option<ListEntry> {
        let lie = u32::from(self.input.u8() == 0xff);
        // Nobody can store an empty one.
        let id = if plain.is_empty() { return None } else { self.maker.chunk(kind, plain) };
        Some(ListEntry::Chunk { len: plain.len() as u32 + lie, id })
    }

    /// The same entries by way of a list, whose length and depth may be lies.
    fn listed(&mut self, entries: Vec<ListEntry>) -> Vec<ListEntry> {
        let (lie, depth) = (u64::from(self.input.u8() == 0xff), self.input.u8() % 3);
        let mut plain = vec![0];
        encode_entries(&entries, &mut plain);
        let Ok(len) = content_len(&entries) else { return entries };
        let id = self.maker.chunk(ChunkKind::List, &plain);
        let depth = if depth == 2 { 1 } else { 0 };
        if entries.is_empty() { entries } else { vec![ListEntry::List { len: len + lie, depth, id }] }
    }

    fn node(&mut self, level: usize) -> (Node, u64) {
        let name = self.name();
        let (mut below, kind) = (0, self.input.u8() % 16);
        let mut node = match kind {
            0..=2 => self.file(&name, NodeType::File),
            3..=6 if level < LEVELS => {
                let listing = self.folder(level);
                below = listing.entries;
                Node::with_children(name, NodeType::Directory, listing.children)
            }
            7 => Node::new(name, NodeType::Fifo),
            8 => Node::new(name, NodeType::Socket),
            9 => Node::new(
                name,
                [NodeType::CharDevice, NodeType::BlockDevice][usize::from(self.input.u8() % 2)],
            ),
            10 => Node::new(name, NodeType::Other(self.input.u8().into())),
            11 => self.file(&name, NodeType::Stream),
            12 => Node::with_children(name, NodeType::Database, self.listing(LEVELS).children),
            _ => Node::new(name, NodeType::Symlink),
        };
        if !matches!(node.kind, NodeType::Stream | NodeType::Database) {
            node.meta = self.meta(node.kind);
        }
        (node, below)
    }

    fn name(&mut self) -> Vec<u8> {
        match self.input.u8() {
            len @ 1..32 => self.input.bytes(len.into()).to_vec(),
            255 => vec![b'x'; 100 + usize::from(self.input.u8()) * 17],
            byte => NAMES[usize::from(byte) % NAMES.len()].to_vec(),
        }
    }

    /// What is in a folder: written now, or the same several times in each other.
    fn folder(&mut self, level: usize) -> Listing {
        let mut listing = self.listing(level + 1);
        match self.input.u8() {
            byte @ 0xf0.. => {
                let levels = NESTED[usize::from(byte % 4)];
                for _ in 0..levels {
                    let node = Node::with_children("d", NodeType::Directory, listing.children);
                    listing = Listing { children: self.plain(&[node]), entries: listing.entries + 1 };
                }
            }
            // Twice the same: what is in it is met twice, and a few levels of that are very many.
            byte @ 0xe0.. if self.entries + 3 * listing.entries < ENTRIES => {
                let twin =
                    |name: &str| Node::with_children(name, NodeType::Directory, listing.children.clone());
                let names = if byte & 1 == 0 { ["a", "b"] } else { ["d", "d"] };
                let nodes = names.map(twin);
                listing = Listing { children: self.plain(&nodes), entries: 2 * listing.entries + 2 };
                self.entries += listing.entries;
            }
            _ => {}
        }
        listing
    }

    fn plain(&mut self, nodes: &[Node]) -> Vec<ListEntry> {
        let mut chunk = Vec::new();
        nodes.iter().for_each(|node| append(node, &mut chunk));
        vec![ListEntry::Chunk { len: chunk.len() as u32, id: self.maker.chunk(ChunkKind::Tree, &chunk) }]
    }

    fn file(&mut self, name: &[u8], kind: NodeType) -> Node {
        let mut content = Vec::new();
        for _ in 0..self.input.u8() % 4 {
            let entry = match self.input.u8() % 8 {
                0..=2 => {
                    let len = self.input.u8();
                    let bytes = self.input.bytes(len.into());
                    self.chunk(ChunkKind::Data, bytes)
                }
                3 => self.chunk(ChunkKind::Data, OUTSIDE),
                4 => Some(ListEntry::Hole { len: HOLES[usize::from(self.input.u8() % 4)] }),
                5 => Some(ListEntry::Zeros { len: u64::from(self.input.u16()).clamp(1, ZEROS) }),
                // One that nobody stored.
                6 => Some(ListEntry::Chunk { len: 10, id: ChunkId([self.input.u8(); 32]) }),
                _ => {
                    content = self.listed(content);
                    None
                }
            };
            content.extend(entry);
        }
        let lie = u64::from(self.input.u8() == 0xff);
        let mut node = Node::new(name, kind);
        node.size = Some(content_len(&content).unwrap_or(7) + lie);
        node.content = content;
        node
    }

    fn meta(&mut self, kind: NodeType) -> FileMeta {
        let bits = self.input.u8();
        let input = &mut *self.input;
        let mut mode = u32::from(input.u16()) & 0o7777;
        if kind == NodeType::Directory {
            // Else nobody but root could clean up.
            mode |= 0o700;
        }
        let has = |bit: u8| bits & bit != 0;
        let link = |input: &mut Input<'_>| match input.u8() {
            byte @ 0..128 => LINKS[usize::from(byte) % LINKS.len()].to_vec(),
            byte => input.bytes(usize::from(byte) * 40).to_vec(),
        };
        FileMeta {
            mode: (!has(1)).then_some(mode),
            uid: has(2).then(|| input.u8().into()),
            gid: has(2).then(|| input.u8().into()),
            user: has(4).then(|| "root".to_owned()),
            mtime: (!has(8)).then(|| Timestamp(input.u64() as i64)),
            link_target: (kind == NodeType::Symlink).then(|| link(input)),
            device: matches!(kind, NodeType::CharDevice | NodeType::BlockDevice).then(|| input.u32().into()),
            link_group: has(16).then(|| vec![input.u8() % 3]),
            xattrs: if has(32) { vec![xattr(input)] } else { Vec::new() },
            // Not those that forbid changes: nobody could clean up.
            inode_flags: has(64).then(|| u64::from(input.u32()) & !0x30),
            problem: has(128).then(|| "it was not read whole".to_owned()),
            ..FileMeta::default()
        }
    }
}

fn xattr(input: &mut Input<'_>) -> Xattr {
    const KINDS: [&str; 6] = [
        "user.a",
        "trusted.a",
        "security.capability",
        "system.posix_acl_access",
        "system.posix_acl_default",
        "no.such",
    ];
    let name = KINDS[usize::from(input.u8()) % KINDS.len()];
    let len = input.u8();
    Xattr { name: name.into(), value: input.bytes(len.into()).to_vec() }
}

/// Appends a node to a tree chunk, in whatever order. One that is too large cannot be stored by anybody.
fn append(node: &Node, chunk: &mut Vec<u8>) {
    let mut record = Vec::new();
    node.encode(&mut record);
    if record.len() <= NODE_MAX {
        Writer::new(chunk).varint(record.len() as u64).bytes(&record);
    }
}
