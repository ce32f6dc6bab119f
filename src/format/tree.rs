//! Directory listings: nodes in ascending order of their names, cut into tree chunks, whose ids make a
//! content list. A folder of a million files changes by kilobytes when one of them does, and neither
//! writing nor reading it takes more memory than one chunk.

use std::ops::Range;

use crate::base::kind::ChunkKind;
use crate::base::limits;
use crate::format::error::{Error, Reason};
use crate::format::list::{ListBuilder, ListEntry, Store};
use crate::format::node::Node;
use crate::format::wire::{Reader, Writer};

const WHAT: &str = "directory listing";
/// A tree chunk may end once it has so many bytes.
const CUT_MIN: usize = 4 << 10;
/// A tree chunk ends once it has so many bytes.
const CUT_MAX: usize = 64 << 10;
/// It ends after a node of whose name's hash these bits are zero.
const CUT_MASK: u32 = 0x7f;

/// Makes a directory's listing.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    chunk: Vec<u8>,
    record: Vec<u8>,
    /// The name of the last node; empty before the first.
    last: Vec<u8>,
    list: ListBuilder,
}

impl TreeBuilder {
    /// A builder of an empty listing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a node, whose name must be greater than that of the one before. Chunks that it completes
    /// are stored.
    pub fn push<E: From<Error>>(&mut self, node: &Node, store: Store<'_, E>) -> Result<(), E> {
        node.check_name()?;
        node.check()?;
        self.record.clear();
        node.encode(&mut self.record);
        let (len, max) = (self.record.len() as u64, limits::NODE_MAX as u64);
        if len > max {
            return Err(E::from(Error::new(WHAT, Reason::TooLarge { what: "a node", len, max })));
        }
        let record = std::mem::take(&mut self.record);
        let pushed = self.push_record(&node.name, &record, store);
        self.record = record;
        pushed
    }

    /// The same for a node as it stands in another listing, where a [`TreeReader`] found its name and
    /// its record: it need not be encoded anew.
    pub fn push_record<E: From<Error>>(
        &mut self,
        name: &[u8],
        record: &[u8],
        store: Store<'_, E>,
    ) -> Result<(), E> {
        if self.last.as_slice() >= name {
            return Err(E::from(Error::new(WHAT, Reason::Inconsistent("its names do not ascend"))));
        }
        Writer::new(&mut self.chunk).varint(record.len() as u64).bytes(record);
        self.last.clear();
        self.last.extend_from_slice(name);
        let cut = self.chunk.len() >= CUT_MAX || (self.chunk.len() >= CUT_MIN && ends_chunk(name));
        if cut { self.flush(store) } else { Ok(()) }
    }

    /// Ends the listing: the entries that a directory's node has as its children.
    pub fn finish<E: From<Error>>(mut self, store: Store<'_, E>) -> Result<Vec<ListEntry>, E> {
        if !self.chunk.is_empty() {
            self.flush(store)?;
        }
        self.list.finish(store)
    }

    fn flush<E: From<Error>>(&mut self, store: Store<'_, E>) -> Result<(), E> {
        let id = store(ChunkKind::Tree, &self.chunk)?;
        let len = self.chunk.len() as u32;
        self.chunk.clear();
        self.list.push(ListEntry::Chunk { len, id }, store)
    }
}

fn ends_chunk(name: &[u8]) -> bool {
    let hash = blake3::hash(name);
    let first = hash.as_bytes().first_chunk::<4>().copied().unwrap_or_default();
    u32::from_le_bytes(first) & CUT_MASK == 0
}

/// Reads the nodes of a directory's listing, tree chunk after tree chunk.
#[derive(Clone, Debug, Default)]
pub struct TreeReader {
    /// The name of the last node; empty before the first.
    last: Vec<u8>,
}

impl TreeReader {
    /// A reader of one directory's listing, before its first chunk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The nodes of the listing's next chunk, given its plaintext. After an error the rest of the
    /// chunk, and the order of what follows, cannot be told.
    pub fn nodes<'r>(&'r mut self, chunk: &'r [u8]) -> impl Iterator<Item = Result<Node, Error>> + 'r {
        let mut reader = Reader::new(WHAT, chunk);
        let mut done = false;
        let mut empty = chunk.is_empty();
        std::iter::from_fn(move || {
            if done || (reader.remaining() == 0 && !std::mem::take(&mut empty)) {
                return None;
            }
            let node = self.next(&mut reader).map(|(node, _)| node);
            done = node.is_err();
            Some(node)
        })
    }

    /// The node `at` bytes into the listing's next chunk, given its plaintext, and where its record lies
    /// there; `at` moves behind it. `None` at the chunk's end. After an error as with `nodes`.
    pub fn node_at(&mut self, chunk: &[u8], at: &mut usize) -> Result<Option<(Node, Range<usize>)>, Error> {
        let rest = chunk.get(*at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let mut reader = Reader::nested(WHAT, rest, *at as u64);
        let (node, len) = self.next(&mut reader)?;
        *at = reader.offset() as usize;
        Ok(Some((node, *at - len..*at)))
    }

    /// The next node, and the length of its record.
    fn next(&mut self, reader: &mut Reader<'_>) -> Result<(Node, usize), Error> {
        let len = reader.length("a node", limits::NODE_MAX)?;
        let offset = reader.offset();
        let node = Node::read(Reader::nested("node", reader.bytes(len)?, offset))?;
        node.check_name().map_err(|error| Error { offset, ..error })?;
        if self.last.as_slice() >= node.name.as_slice() {
            return Err(reader.inconsistent("its names do not ascend"));
        }
        self.last.clear();
        self.last.extend_from_slice(&node.name);
        Ok((node, len))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::format::list::tests::Chunks;
    use crate::format::node::NodeType;
    use crate::format::node::tests::nodes;
    use crate::format::testing;
    use proptest::prelude::*;

    fn build(nodes: &[Node], chunks: &mut Chunks) -> Vec<ListEntry> {
        let mut builder = TreeBuilder::new();
        for node in nodes {
            builder.push(node, &mut |kind, bytes| chunks.store(kind, bytes)).unwrap();
        }
        builder.finish(&mut |kind, bytes| chunks.store(kind, bytes)).unwrap()
    }

    fn read(entries: &[ListEntry], chunks: &Chunks) -> Vec<Node> {
        let mut reader = TreeReader::new();
        let mut all = Vec::new();
        for entry in chunks.walk(entries) {
            let ListEntry::Chunk { len, id } = entry else { panic!("{entry:?}") };
            assert_eq!(chunks.0[&id].len(), len as usize);
            all.extend(reader.nodes(&chunks.0[&id]).map(Result::unwrap));
        }
        all
    }

    fn sorted(mut nodes: Vec<Node>) -> Vec<Node> {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.dedup_by(|a, b| a.name == b.name);
        nodes
    }

    fn files(count: usize) -> Vec<Node> {
        sorted((0..count).map(|n| Node::new(format!("file {n}"), NodeType::Symlink)).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn listings_come_back(nodes in proptest::collection::vec(nodes(), 0..60)) {
            let nodes = sorted(nodes);
            let mut chunks = Chunks::default();
            let entries = build(&nodes, &mut chunks);
            prop_assert_eq!(read(&entries, &chunks), nodes);
        }

        #[test]
        fn tree_chunks_have_one_form(nodes in proptest::collection::vec(nodes(), 1..4)) {
            let nodes = sorted(nodes);
            let mut chunks = Chunks::default();
            build(&nodes, &mut chunks);
            for bytes in chunks.0.values() {
                testing::canonical(
                    bytes,
                    |bytes| TreeReader::new().nodes(bytes).collect::<Result<Vec<_>, _>>(),
                    |nodes| {
                        let mut out = Vec::new();
                        for node in nodes {
                            let mut record = Vec::new();
                            node.encode(&mut record);
                            Writer::new(&mut out).varint(record.len() as u64).bytes(&record);
                        }
                        out
                    },
                );
            }
        }
    }

    #[test]
    fn a_change_in_a_large_directory_stores_little() {
        let mut nodes = files(100_000);
        let mut chunks = Chunks::default();
        let entries = build(&nodes, &mut chunks);
        assert_eq!(read(&entries, &chunks), nodes);
        let before = chunks.0.len();
        assert!(before > 100, "{before}");
        assert!(chunks.0.values().all(|chunk| chunk.len() <= CUT_MAX + 100));
        nodes.remove(50_000);
        build(&nodes, &mut chunks);
        assert!(chunks.0.len() <= before + 4, "{} after {before}", chunks.0.len());
    }

    #[test]
    fn an_empty_directory_has_no_children_and_an_empty_chunk_is_damage() {
        let mut chunks = Chunks::default();
        assert_eq!(build(&[], &mut chunks), []);
        assert!(chunks.0.is_empty());
        let nodes: Vec<_> = TreeReader::new().nodes(&[]).collect();
        assert!(matches!(nodes[..], [Err(_)]));
    }

    #[test]
    fn names_ascend_over_the_borders_of_chunks() {
        let mut chunks = Chunks::default();
        build(&files(2)[..1], &mut chunks);
        let bytes = chunks.0.values().next().unwrap();
        let mut reader = TreeReader::new();
        assert!(reader.nodes(bytes).all(|node| node.is_ok()));
        let again: Vec<_> = reader.nodes(bytes).collect();
        assert!(matches!(again[..], [Err(_)]));
        let mut builder = TreeBuilder::new();
        let mut store = |kind, bytes: &[u8]| chunks.store(kind, bytes);
        builder.push(&files(1)[0], &mut store).unwrap();
        assert!(builder.push(&files(1)[0], &mut store).is_err());
        assert!(builder.push(&Node::new("..", NodeType::Directory), &mut store).is_err());
        assert!(builder.push(&Node::new("z", NodeType::File), &mut store).is_err(), "no size");
    }
}
