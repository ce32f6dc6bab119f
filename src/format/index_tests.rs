//! Tests of index parts.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::base::id::SignerId;
use crate::format::pack::tests::directories;
use crate::format::testing;
use proptest::prelude::*;

fn record(id: [u8; 32], directory: Directory) -> PackRecord {
    let header = Header::new(directory.kind().into(), 1, SignerId([4; 16]), id).encode();
    let size = directory.object_len();
    PackRecord { id: PackId(id), size, header, wrapped: [id[0]; WRAPPED_LEN], directory }
}

fn parts() -> impl Strategy<Value = (Vec<ObjectHash>, Vec<PackRecord>)> {
    let packs = proptest::collection::btree_map(any::<[u8; 32]>(), directories(), 0..4);
    let ids = proptest::collection::btree_set(any::<[u8; 32]>(), 0..3);
    (ids, packs).prop_map(|(ids, packs)| {
        let packs = packs.into_iter().map(|(id, directory)| record(id, directory)).collect();
        (ids.into_iter().map(ObjectHash).collect(), packs)
    })
}

fn decoded(bytes: &[u8]) -> Result<(Vec<ObjectHash>, Vec<PackRecord>), Error> {
    let part = IndexPart::decode(bytes)?;
    Ok((part.supersedes().to_vec(), part.packs().iter().map(|pack| part.record(pack)).collect()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn parts_round_trip_in_one_form((ids, packs) in parts()) {
        let bytes = encode(&ids, &packs).unwrap();
        prop_assert_eq!(&decoded(&bytes).unwrap(), &(ids.clone(), packs.clone()));
        let mut reversed = packs.clone();
        reversed.reverse();
        prop_assert_eq!(&encode(&ids, &reversed).unwrap(), &bytes);
        testing::canonical(&bytes, decoded, |(ids, packs)| encode(ids, packs).unwrap());
    }

    #[test]
    fn rows_lead_to_their_chunks((ids, packs) in parts()) {
        let bytes = encode(&ids, &packs).unwrap();
        let part = IndexPart::decode(&bytes).unwrap();
        prop_assert_eq!(part.rows().count(), part.len());
        prop_assert!(part.rows().map(|row| row.id).is_sorted());
        for row in part.rows() {
            let pack = &part.packs()[row.pack as usize];
            let directory = part.directory(pack);
            let segment = &directory.segments()[row.segment as usize];
            let chunks = directory.chunks_of(segment);
            prop_assert_eq!(chunks[usize::from(row.ordinal)].id, row.id);
        }
    }
}

fn small() -> PackRecord {
    let mut directory = Directory::new(PackKind::Data);
    let chunk = |n| ChunkEntry { id: ChunkId([n; 32]), len: 100, kind: ChunkKind::Data };
    let stored = pack::Stored { len: 90, coding: crate::base::kind::Coding::Zstd, depth: 0 };
    directory.push(stored, &[], &[chunk(3), chunk(1)]).unwrap();
    directory.push(stored, &[], &[chunk(1), chunk(2)]).unwrap();
    record([9; 32], directory)
}

#[test]
fn a_chunk_may_lie_in_two_places() {
    let bytes = encode(&[], &[small()]).unwrap();
    let part = IndexPart::decode(&bytes).unwrap();
    let rows = part.rows().filter(|row| row.id == ChunkId([1; 32]));
    let places: Vec<_> = rows.map(|row| (row.pack, row.segment, row.ordinal)).collect();
    assert_eq!(places, [(0, 0, 1), (0, 1, 0)]);
}

#[test]
fn a_pack_named_twice_is_refused() {
    assert!(encode(&[], &[small(), small()]).is_err());
    assert!(encode(&[ObjectHash([1; 32]); 2], &[]).is_err());
}

#[test]
fn rows_that_are_no_permutation_are_refused() {
    let bytes = encode(&[], &[small()]).unwrap();
    let rows = bytes.len() - 4 * CHUNK_ROW;
    let reason = |change: &dyn Fn(&mut [u8])| {
        let mut changed = bytes.clone();
        change(&mut changed[rows..]);
        IndexPart::decode(&changed).unwrap_err().reason
    };
    // The last row is that of chunk 3, in segment 0, at ordinal 0.
    let last = 3 * CHUNK_ROW;
    assert_eq!(reason(&|rows| rows[last + 36] = 1), Reason::Inconsistent("two chunks lie at the same place"));
    assert_eq!(reason(&|rows| rows[last + 40] = 2), Reason::Inconsistent("a chunk lies outside of its pack"));
    assert_eq!(
        reason(&|rows| rows[last + 42] = 101),
        Reason::Inconsistent("a segment's chunks do not add up to its length")
    );
    assert_eq!(
        reason(&|rows| rows[last + 46] = 2),
        Reason::Inconsistent("a chunk lies in a pack of the wrong family")
    );
    assert_eq!(reason(&|rows| rows[last] = 0), Reason::NotCanonical("the order of chunks"));
}

#[test]
fn hostile_counts_take_no_memory() {
    for at in [0usize, 4, 8] {
        let mut bytes = vec![0u8; 12];
        bytes[at..at + 4].fill(0xff);
        assert!(matches!(IndexPart::decode(&bytes).unwrap_err().reason, Reason::TooLarge { .. }));
    }
    let mut bytes = vec![0u8; 12];
    bytes[4] = 1;
    bytes[8..12].copy_from_slice(&(1u32 << 17).to_le_bytes());
    assert!(matches!(IndexPart::decode(&bytes).unwrap_err().reason, Reason::Truncated { .. }));
}
