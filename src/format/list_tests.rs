//! Tests of content lists, over a map that plays the repository.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::format::testing;
use proptest::prelude::*;
use std::collections::HashMap;

/// Chunks by id; the id is the hash of kind and content.
#[derive(Default)]
pub(in crate::format) struct Chunks(pub HashMap<ChunkId, Vec<u8>>);

impl Chunks {
    pub fn store(&mut self, kind: ChunkKind, bytes: &[u8]) -> Result<ChunkId, Error> {
        let id = ChunkId(*blake3::Hasher::new().update(&[kind.to_u8()]).update(bytes).finalize().as_bytes());
        self.0.insert(id, bytes.to_vec());
        Ok(id)
    }

    /// All content entries below `entries`, in order.
    pub fn walk(&self, entries: &[ListEntry]) -> Vec<ListEntry> {
        entries
            .iter()
            .flat_map(|entry| match *entry {
                ListEntry::List { len, depth, id } => {
                    self.walk(&decode_list_chunk(&self.0[&id], depth, len).unwrap())
                }
                content => vec![content],
            })
            .collect()
    }
}

fn build(entries: &[ListEntry], chunks: &mut Chunks) -> Vec<ListEntry> {
    let mut builder = ListBuilder::new();
    for entry in entries {
        builder.push(*entry, &mut |kind, bytes| chunks.store(kind, bytes)).unwrap();
    }
    assert_eq!(builder.content_len(), content_len(entries).unwrap());
    builder.finish(&mut |kind, bytes| chunks.store(kind, bytes)).unwrap()
}

fn entry(n: u64) -> ListEntry {
    match n % 17 {
        3 => ListEntry::Hole { len: n + 1 },
        5 => ListEntry::Zeros { len: n + 1 },
        _ => ListEntry::Chunk {
            len: n as u32 % 4000 + 1,
            id: ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes()),
        },
    }
}

pub(in crate::format) fn entries() -> impl Strategy<Value = ListEntry> {
    prop_oneof![
        (1..=limits::CHUNK_LEN_MAX, any::<[u8; 32]>())
            .prop_map(|(len, id)| ListEntry::Chunk { len, id: ChunkId(id) }),
        (1u64..1 << 50).prop_map(|len| ListEntry::Hole { len }),
        (1u64..1 << 50).prop_map(|len| ListEntry::Zeros { len }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn lists_of_any_length_come_back(count in 0u64..12_000, first: u32) {
        let content: Vec<ListEntry> = (0..count).map(|n| entry(n + u64::from(first))).collect();
        let mut chunks = Chunks::default();
        let inline = build(&content, &mut chunks);
        prop_assert!(inline.len() <= limits::LIST_INLINE_MAX);
        prop_assert_eq!(inline.len() as u64 == count, count <= 16, "{} of {}", inline.len(), count);
        prop_assert_eq!(content_len(&inline).unwrap(), content_len(&content).unwrap());
        prop_assert_eq!(chunks.walk(&inline), content);
    }

    #[test]
    fn list_chunks_have_one_form(content in proptest::collection::vec(entries(), 1..20), depth in 0u8..3) {
        let content: Vec<ListEntry> = match depth {
            0 => content,
            _ => content
                .into_iter()
                .map(|e| ListEntry::List { len: e.content_len(), depth: depth - 1, id: ChunkId([depth; 32]) })
                .collect(),
        };
        let mut bytes = vec![depth];
        encode_entries(&content, &mut bytes);
        let len = content_len(&content).unwrap();
        prop_assert_eq!(&decode_list_chunk(&bytes, depth, len).unwrap(), &content);
        testing::canonical(&bytes, |b| decode_list_chunk(b, depth, len), |entries| {
            let mut out = vec![depth];
            encode_entries(entries, &mut out);
            out
        });
        prop_assert!(decode_list_chunk(&bytes, depth + 1, len).is_err());
        prop_assert!(decode_list_chunk(&bytes, depth, len + 1).is_err());
    }
}

#[test]
fn a_change_in_a_long_list_stores_few_new_list_chunks() {
    let mut content: Vec<ListEntry> = (0..100_000).map(entry).collect();
    let mut chunks = Chunks::default();
    build(&content, &mut chunks);
    let before = chunks.0.len();
    assert!(before > 100, "{before}");
    content.insert(50_000, entry(1_000_000));
    let inline = build(&content, &mut chunks);
    assert!(chunks.0.len() <= before + 3, "{} after {before}", chunks.0.len());
    assert_eq!(chunks.walk(&inline), content);
}

#[test]
fn without_cut_points_lists_end_at_their_largest() {
    let content = vec![ListEntry::Hole { len: 1 }; 5000];
    let mut chunks = Chunks::default();
    let inline = build(&content, &mut chunks);
    let lens: Vec<u64> = inline.iter().map(ListEntry::content_len).collect();
    assert_eq!(lens, [2048, 2048, 904]);
    assert_eq!(chunks.walk(&inline), content);
}

#[test]
fn deep_lists_are_built_in_little_memory() {
    // All ids end a list: 64 entries a chunk, so 300,000 entries make four levels.
    let content = ListEntry::Chunk { len: 7, id: ChunkId([0; 32]) };
    let mut stored = 0;
    let mut depth = 0;
    let mut store = |_, bytes: &[u8]| -> Result<ChunkId, Error> {
        stored += 1;
        depth = depth.max(bytes[0]);
        Ok(ChunkId([0; 32]))
    };
    let mut builder = ListBuilder::new();
    for _ in 0..300_000 {
        builder.push(content, &mut store).unwrap();
    }
    assert!(builder.levels.iter().all(|level| level.entries.len() < CUT_MIN));
    let inline = builder.finish(&mut store).unwrap();
    assert_eq!(content_len(&inline).unwrap(), 2_100_000);
    assert_eq!((stored, depth), (300_000 / 64 + 1 + 4687_usize.div_ceil(64) + 74_usize.div_ceil(64), 2));
}

#[test]
fn entries_that_make_no_sense_are_refused() {
    let mut chunks = Chunks::default();
    let mut store = |kind, bytes: &[u8]| chunks.store(kind, bytes);
    let list = ListEntry::List { len: 5, depth: 0, id: ChunkId([1; 32]) };
    assert!(ListBuilder::new().push(ListEntry::Hole { len: 0 }, &mut store).is_err());
    assert!(ListBuilder::new().push(list, &mut store).is_err());
    let mut builder = ListBuilder::new();
    builder.push(ListEntry::Hole { len: u64::MAX }, &mut store).unwrap();
    assert!(builder.push(ListEntry::Hole { len: 1 }, &mut store).is_err());
    let refused = |bytes: &[u8]| decode_entries(Reader::new("test", bytes), 16).is_err();
    assert!(refused(&[]), "empty");
    assert!(refused(&[2, 0]), "an empty hole");
    assert!(refused(&[5, 1]), "an unknown kind");
    assert!(refused(&[2u8, 1].repeat(17)), "too many");
    assert!(!refused(&[2u8, 1].repeat(16)));
    let mut mixed = vec![2, 5];
    encode_entries(&[list], &mut mixed);
    assert!(refused(&mixed), "levels mixed");
    let deep = [ListEntry::List { len: 5, depth: limits::LIST_DEPTH_MAX, id: ChunkId([1; 32]) }];
    let mut bytes = Vec::new();
    encode_entries(&deep, &mut bytes);
    assert!(refused(&bytes), "too deep");
}
