//! Tests of packs' directories and trailers, and directories at random for the tests of index parts.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::base::id::SignerId;
use crate::format::testing;
use proptest::prelude::*;

/// Directories of packs of any kind, with few or many segments and chunks.
pub(in crate::format) fn directories() -> impl Strategy<Value = Directory> {
    let chunk = (any::<[u8; 32]>(), 1u32..5000, any::<bool>());
    let segment = (
        proptest::collection::vec(chunk, 1..6),
        proptest::collection::vec(any::<[u8; 32]>(), 1..4),
        0u8..4,
        1u8..=limits::DELTA_DEPTH_MAX,
        1u32..3000,
    );
    (any::<bool>(), proptest::collection::vec(segment, 1..6)).prop_map(|(data, segments)| {
        let mut directory = Directory::new(if data { PackKind::Data } else { PackKind::Meta });
        for (chunks, bases, coding, depth, len) in segments {
            let chunks: Vec<ChunkEntry> = chunks
                .into_iter()
                .map(|(id, len, list)| {
                    let kind = match (data, list) {
                        (true, _) => ChunkKind::Data,
                        (false, true) => ChunkKind::List,
                        (false, false) => ChunkKind::Tree,
                    };
                    ChunkEntry { id: ChunkId(id), len, kind }
                })
                .collect();
            let plain: u32 = chunks.iter().map(|chunk| chunk.len).sum();
            let bases: Vec<ChunkId> = bases.into_iter().map(ChunkId).collect();
            let coding = Coding::from_u8(coding).unwrap();
            let (len, depth, bases) = match coding {
                Coding::Raw => (plain + TAG_LEN, 0, &bases[..0]),
                Coding::Zstd => (len + TAG_LEN, 0, &bases[..0]),
                Coding::Prefix => (len + TAG_LEN, depth, &bases[..]),
                Coding::Dictionary => (len + TAG_LEN, 0, &bases[..1]),
            };
            directory.push(Stored { len, coding, depth }, bases, &chunks).unwrap();
        }
        directory
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn directories_round_trip_in_one_form(directory in directories()) {
        let bytes = directory.encode();
        prop_assert_eq!(bytes.len() as u64, directory.encoded_len());
        prop_assert_eq!(&Directory::decode(directory.kind(), &bytes).unwrap(), &directory);
        testing::canonical(&bytes, |b| Directory::decode(directory.kind(), b), Directory::encode);
        let mut end = SEGMENTS_START;
        for segment in directory.segments() {
            prop_assert_eq!(segment.offset, end);
            end = segment.range().end;
            let plain: u32 = directory.chunks_of(segment).iter().map(|chunk| chunk.len).sum();
            prop_assert_eq!(plain, segment.plain_len);
            prop_assert_eq!(directory.bases_of(segment).len(), usize::from(segment.base_count));
        }
        prop_assert_eq!(
            end + directory.padding_len() + directory.encoded_len() + 16 + 160,
            directory.object_len()
        );
        let other = if directory.kind() == PackKind::Data { PackKind::Meta } else { PackKind::Data };
        prop_assert!(Directory::decode(other, &bytes).is_err());
    }

    #[test]
    fn padme_adds_little_and_keeps_order(len in 0u64..1 << 40) {
        let padded = padme(len);
        prop_assert!(padded >= len && padded - len <= len / 8);
        prop_assert_eq!(padme(padded), padded);
        prop_assert!(padme(len + 1) >= padded);
    }
}

#[test]
fn padme_is_as_published() {
    for (len, padded) in
        [(0, 0), (1, 1), (2, 2), (7, 7), (8, 8), (9, 10), (100, 104), (1000, 1024), (1 << 24, 1 << 24)]
    {
        assert_eq!(padme(len), padded, "{len}");
    }
    assert_eq!(padme((1 << 24) + 1), (1 << 24) + (1 << 19));
}

#[test]
fn a_trailer_round_trips_and_refuses_the_rest() {
    let header = Header::new(PackKind::Meta.into(), 1, SignerId([2; 16]), [3; 32]).encode();
    let trailer = Trailer { wrapped: [7; WRAPPED_LEN], header, directory_len: 528 };
    let bytes = trailer.encode();
    assert_eq!(Trailer::decode(PackKind::Meta, &bytes).unwrap(), trailer);
    assert!(Trailer::decode(PackKind::Data, &bytes).is_err());
    testing::canonical(&bytes, |b| Trailer::decode(PackKind::Meta, b), |t| t.encode().to_vec());
    for len in [0, 16, limits::PACK_DIRECTORY_MAX + 1] {
        let bad = Trailer { directory_len: len, ..trailer }.encode();
        assert!(Trailer::decode(PackKind::Meta, &bad).is_err(), "{len}");
    }
}

#[test]
fn a_pack_is_no_larger_than_what_is_read() {
    let chunk = ChunkEntry { id: ChunkId([1; 32]), len: limits::CHUNK_LEN_MAX, kind: ChunkKind::Data };
    let stored = |len| Stored { len, coding: Coding::Zstd, depth: 0 };
    let mut directory = Directory::new(PackKind::Data);
    for _ in 0..3 {
        directory.push(stored(limits::SEGMENT_STORED_MAX), &[], &[chunk]).unwrap();
    }
    let left = (limits::PACK_SIZE_MAX - directory.data_end()) as u32;
    // Directory and trailer need their room too.
    for len in [left + 1, left, left - 300] {
        assert!(directory.push(stored(len), &[], &[chunk]).is_err(), "{len}");
    }
    let before = directory.clone();
    directory.push(stored(left - 1000), &[], &[chunk]).unwrap();
    assert_eq!(directory.object_len(), limits::PACK_SIZE_MAX);
    assert_ne!(directory, before);
    let (segments, bases) =
        (limits::PACK_SEGMENTS_MAX, limits::PACK_SEGMENTS_MAX * limits::SEGMENT_BASES_MAX);
    let end = SEGMENTS_START + 1;
    assert!(check_pack(segments, bases, segments, end).is_err(), "a directory above its limit");
    assert!(check_pack(segments, segments, segments, end).is_ok());
}

#[test]
fn a_directory_takes_no_segment_that_contradicts_itself() {
    let chunk = ChunkEntry { id: ChunkId([1; 32]), len: 100, kind: ChunkKind::Data };
    let base = [ChunkId([2; 32])];
    let refused = |len: u32, coding, depth, bases: &[ChunkId], chunks: &[ChunkEntry]| {
        Directory::new(PackKind::Data).push(Stored { len, coding, depth }, bases, chunks).is_err()
    };
    assert!(!refused(116, Coding::Raw, 0, &[], &[chunk]));
    assert!(refused(117, Coding::Raw, 0, &[], &[chunk]), "raw has its plain length");
    assert!(refused(16, Coding::Zstd, 0, &[], &[chunk]), "shorter than the seal");
    assert!(refused(50, Coding::Zstd, 1, &[], &[chunk]), "depth without a delta");
    assert!(refused(50, Coding::Zstd, 0, &base, &[chunk]), "bases without a delta");
    assert!(refused(50, Coding::Prefix, 1, &[], &[chunk]), "a delta without a base");
    assert!(refused(50, Coding::Prefix, limits::DELTA_DEPTH_MAX + 1, &base, &[chunk]), "too deep");
    assert!(refused(50, Coding::Prefix, 1, &[base[0]; limits::SEGMENT_BASES_MAX + 1], &[chunk]));
    assert!(refused(50, Coding::Zstd, 0, &[], &[]), "no chunk");
    assert!(refused(50, Coding::Zstd, 0, &[], &[chunk; limits::SEGMENT_CHUNKS_MAX + 1]));
    assert!(refused(50, Coding::Zstd, 0, &[], &[ChunkEntry { len: 0, ..chunk }]));
    assert!(refused(50, Coding::Zstd, 0, &[], &[ChunkEntry { kind: ChunkKind::Tree, ..chunk }]));
    let huge = ChunkEntry { len: limits::CHUNK_LEN_MAX, ..chunk };
    assert!(!refused(50, Coding::Zstd, 0, &[], &[huge]));
    assert!(refused(50, Coding::Zstd, 0, &[], &[huge, chunk]));
    assert!(Directory::decode(PackKind::Data, &[0; 8]).is_err(), "a pack without segments");
}
