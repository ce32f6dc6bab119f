//! Nodes, chunks of directory listings, chunks of content lists; and what is built of them.
#![no_main]

use std::collections::HashMap;

use kamba_vault::base::id::ChunkId;
use kamba_vault::base::kind::ChunkKind;
use kamba_vault::base::limits;
use kamba_vault::crypto;
use kamba_vault::format::Error;
use kamba_vault::format::list::{
    ListBuilder, ListEntry, content_len, decode_entries, decode_list_chunk, encode_entries,
};
use kamba_vault::format::node::Node;
use kamba_vault::format::tree::{TreeBuilder, TreeReader};
use kamba_vault::format::wire::{Reader, Writer};
use kamba_vault_fuzz::property::canonical;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    canonical(data, Node::decode(data), encoded);
    if let Some(nodes) = canonical(data, TreeReader::new().nodes(data).collect(), listed) {
        tree_comes_back(&nodes);
    }
    for max in [limits::LIST_INLINE_MAX, limits::LIST_ENTRIES_MAX] {
        let entries = canonical(data, decode_entries(Reader::new("list", data), max), |entries| {
            entries_encoded(entries)
        });
        if let Some(entries) = entries {
            list_comes_back(&entries);
        }
    }
    list_chunk(data);
});

fn encoded(node: &Node) -> Vec<u8> {
    let mut out = Vec::new();
    node.encode(&mut out);
    out
}

fn listed(nodes: &Vec<Node>) -> Vec<u8> {
    let mut out = Vec::new();
    for node in nodes {
        let record = encoded(node);
        Writer::new(&mut out).varint(record.len() as u64).bytes(&record);
    }
    out
}

fn entries_encoded(entries: &[ListEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_entries(entries, &mut out);
    out
}

/// A list chunk is what it was announced as, and nothing else.
fn list_chunk(data: &[u8]) {
    let Some((depth, rest)) = data.split_first() else { return };
    let Ok(entries) = decode_entries(Reader::new("list", rest), limits::LIST_ENTRIES_MAX) else { return };
    let len = content_len(&entries).unwrap();
    canonical(data, decode_list_chunk(data, *depth, len), |entries| {
        [vec![*depth], entries_encoded(entries)].concat()
    });
    assert!(decode_list_chunk(data, depth.wrapping_add(1), len).is_err());
    assert!(decode_list_chunk(data, *depth, len.wrapping_add(1)).is_err());
}

type Chunks = HashMap<ChunkId, Vec<u8>>;

fn store(chunks: &mut Chunks, plain: &[u8]) -> ChunkId {
    let id = ChunkId(crypto::hash(plain));
    chunks.insert(id, plain.to_vec());
    id
}

/// The entries below `top` that are no lists.
fn flat(chunks: &Chunks, top: &[ListEntry], into: &mut Vec<ListEntry>) {
    for entry in top {
        match entry {
            ListEntry::List { len, depth, id } => {
                let inner = decode_list_chunk(&chunks[id], *depth, *len).unwrap();
                flat(chunks, &inner, into);
            }
            content => into.push(*content),
        }
    }
}

/// What a builder makes of the nodes gives the same nodes.
fn tree_comes_back(nodes: &[Node]) {
    let mut chunks = Chunks::new();
    let store = &mut |_: ChunkKind, plain: &[u8]| Ok::<_, Error>(store(&mut chunks, plain));
    let mut tree = TreeBuilder::new();
    nodes.iter().for_each(|node| tree.push(node, store).unwrap());
    let top = tree.finish(store).unwrap();
    let (mut entries, mut reader, mut again) = (Vec::new(), TreeReader::new(), Vec::new());
    flat(&chunks, &top, &mut entries);
    for entry in entries {
        let ListEntry::Chunk { id, len } = entry else { panic!("a listing has holes") };
        assert_eq!(chunks[&id].len(), len as usize);
        again.extend(reader.nodes(&chunks[&id]).map(Result::unwrap));
    }
    assert_eq!(again, nodes);
}

/// What a builder makes of entries gives the same entries; a list is not built from lists.
fn list_comes_back(entries: &[ListEntry]) {
    let mut chunks = Chunks::new();
    let store = &mut |_: ChunkKind, plain: &[u8]| Ok::<_, Error>(store(&mut chunks, plain));
    let mut list = ListBuilder::new();
    for entry in entries {
        let is_list = matches!(entry, ListEntry::List { .. });
        assert_eq!(list.push(*entry, store).is_err(), is_list);
        if is_list {
            return;
        }
    }
    assert_eq!(list.content_len(), content_len(entries).unwrap());
    let top = list.finish(store).unwrap();
    assert!(top.len() <= limits::LIST_INLINE_MAX);
    let mut again = Vec::new();
    flat(&chunks, &top, &mut again);
    assert_eq!(again, entries);
}
