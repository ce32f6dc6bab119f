//! Vectors of pack directories, trailers, and the bodies of index parts.

use kamba_vault::base::id::{ChunkId, ObjectHash, PackId, SignerId, hex};
use kamba_vault::base::kind::{ChunkKind, Coding, PackKind};
use kamba_vault::format::header::Header;
use kamba_vault::format::index::{self, IndexPart, PackRecord};
use kamba_vault::format::pack::{ChunkEntry, Directory, Stored, Trailer};
use serde_json::{Value, json};

use crate::vectors::Chapter;

fn id(n: u8) -> ChunkId {
    ChunkId([n; 32])
}

fn chunk(n: u8, len: u32, kind: ChunkKind) -> ChunkEntry {
    ChunkEntry { id: id(n), len, kind }
}

fn data_pack() -> Directory {
    let mut directory = Directory::new(PackKind::Data);
    let stored = |len, coding| Stored { len, coding, depth: 0 };
    let data = ChunkKind::Data;
    directory.push(stored(5016, Coding::Raw), &[], &[chunk(9, 5000, data)]).unwrap();
    directory.push(stored(777, Coding::Zstd), &[], &[chunk(3, 1000, data), chunk(7, 2000, data)]).unwrap();
    directory.push(stored(99, Coding::Zstd), &[], &[chunk(3, 1000, data)]).unwrap();
    directory
}

fn meta_pack() -> Directory {
    let mut directory = Directory::new(PackKind::Meta);
    let stored = Stored { len: 400, coding: Coding::Zstd, depth: 0 };
    let chunks = [chunk(1, 600, ChunkKind::Tree), chunk(2, 70, ChunkKind::List)];
    directory.push(stored, &[], &chunks).unwrap();
    directory
}

fn delta_pack() -> Directory {
    let mut directory = Directory::new(PackKind::Data);
    let data = ChunkKind::Data;
    let delta = Stored { len: 60, coding: Coding::Prefix, depth: 3 };
    directory.push(delta, &[id(0xb1), id(0xb2)], &[chunk(4, 65_536, data)]).unwrap();
    let dictionary = Stored { len: 61, coding: Coding::Dictionary, depth: 0 };
    directory.push(dictionary, &[id(0xd1)], &[chunk(5, 300, data), chunk(6, 300, data)]).unwrap();
    directory
}

fn describe(directory: &Directory) -> Value {
    let segment = |segment| {
        let chunks: Vec<Value> = directory
            .chunks_of(segment)
            .iter()
            .map(|chunk| json!({ "id": chunk.id.to_hex(), "length": chunk.len, "type": chunk.kind.to_u8() }))
            .collect();
        let bases: Vec<String> = directory.bases_of(segment).iter().map(ChunkId::to_hex).collect();
        json!({
            "stored_length": segment.stored_len, "plain_length": segment.plain_len,
            "coding": segment.coding.to_u8(), "depth": segment.depth, "bases": bases, "chunks": chunks,
        })
    };
    let segments: Vec<Value> = directory.segments().iter().map(segment).collect();
    json!({ "kind": directory.kind().to_u8(), "segments": segments })
}

#[test]
fn pack_directories() {
    let mut chapter = Chapter::new(
        "pack-directory",
        "the plaintext of a pack's directory; with it the sizes that follow from it, in bytes",
    );
    let cases =
        [("a data pack", data_pack()), ("a metadata pack", meta_pack()), ("reserved codings", delta_pack())];
    for (case, directory) in cases {
        let bytes = directory.encode();
        assert_eq!(Directory::decode(directory.kind(), &bytes).unwrap(), directory);
        let offsets: Vec<u64> = directory.segments().iter().map(|segment| segment.offset).collect();
        let output = json!({
            "bytes": hex(&bytes), "segment_offsets": offsets, "padding": directory.padding_len(),
            "object": directory.object_len(),
        });
        chapter.case(case, describe(&directory), output);
    }
    let good = meta_pack().encode();
    let changes: [(&str, usize, &[u8]); 11] = [
        ("more segments than there are", 0, &[2]),
        ("no segments and no chunks", 0, &[0; 8]),
        ("more segments than a pack may have", 2, &[2]),
        ("more chunks than its segments have", 4, &[3]),
        ("a segment shorter than its seal", 8, &[16, 0]),
        ("a plain length that is not the sum of the chunks", 12, &[0]),
        ("an unknown coding", 16, &[4]),
        ("a depth without a delta", 17, &[1]),
        ("a chunk of length zero", 53, &[0, 0]),
        ("a data chunk in a metadata pack", 57, &[1]),
        ("padding that is not zero", good.len() - 1, &[1]),
    ];
    for (case, at, bytes) in changes {
        let mut changed = good.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        chapter.refused(case, &changed, Directory::decode(PackKind::Meta, &changed).unwrap_err());
    }
    let short = &good[..good.len() - 1];
    chapter.refused("too little padding", short, Directory::decode(PackKind::Meta, short).unwrap_err());
    chapter.finish();
}

#[test]
fn pack_trailers() {
    let mut chapter = Chapter::new("pack-trailer", "the last 160 bytes of a pack");
    let header = Header::new(PackKind::Data.into(), 1, SignerId([0xaa; 16]), [0xcc; 32]).encode();
    let trailer = Trailer { wrapped: std::array::from_fn(|i| i as u8), header, directory_len: 1234 };
    let bytes = trailer.encode();
    assert_eq!(Trailer::decode(PackKind::Data, &bytes).unwrap(), trailer);
    let input = json!({
        "wrapped_key": hex(&trailer.wrapped), "header": hex(&header), "directory_length": 1234,
    });
    chapter.bytes("a data pack's", input, &bytes);
    let changes: [(&str, usize, u8); 4] = [
        ("another magic", 159, b'd'),
        ("a reserved field that is not zero", 148, 1),
        ("a directory above its limit", 147, 3),
        ("the header of another kind", 88, 5),
    ];
    for (case, at, byte) in changes {
        let mut changed = bytes;
        changed[at] = byte;
        chapter.refused(case, &changed, Trailer::decode(PackKind::Data, &changed).unwrap_err());
    }
    chapter.finish();
}

fn record(n: u8, directory: Directory) -> PackRecord {
    let header = Header::new(directory.kind().into(), 1, SignerId([0xaa; 16]), [n; 32]).encode();
    PackRecord { id: PackId([n; 32]), size: directory.object_len(), header, wrapped: [n; 80], directory }
}

#[test]
fn index_bodies() {
    let mut chapter =
        Chapter::new("index-body", "the plaintext of index parts, before it is cut into frames");
    let cases: [(&str, Vec<ObjectHash>, Vec<PackRecord>); 3] = [
        ("nothing", vec![], vec![]),
        (
            "two packs, with a chunk that lies in two places",
            vec![],
            vec![record(0x21, data_pack()), record(0x42, meta_pack())],
        ),
        (
            "reserved codings, and two parts superseded",
            vec![ObjectHash([1; 32]), ObjectHash([2; 32])],
            vec![record(7, delta_pack())],
        ),
    ];
    let mut last = Vec::new();
    for (case, supersedes, packs) in cases {
        let bytes = index::encode(&supersedes, &packs).unwrap();
        let part = IndexPart::decode(&bytes).unwrap();
        assert_eq!(part.supersedes(), supersedes);
        assert_eq!(part.packs().iter().map(|pack| part.record(pack)).collect::<Vec<_>>(), packs);
        let rows: Vec<Value> = part
            .rows()
            .map(|row| {
                json!([row.id.to_hex(), row.pack, row.segment, row.ordinal, row.len, row.kind.to_u8()])
            })
            .collect();
        let pack = |pack: &PackRecord| {
            json!({
                "id": pack.id.to_hex(), "size": pack.size, "header": hex(&pack.header),
                "wrapped_key": hex(&pack.wrapped), "directory": describe(&pack.directory),
            })
        };
        let input = json!({
            "supersedes": supersedes.iter().map(ObjectHash::to_hex).collect::<Vec<_>>(),
            "packs": packs.iter().map(pack).collect::<Vec<_>>(),
        });
        let output = json!({ "bytes": hex(&bytes), "rows": rows });
        chapter.case(case, input, output);
        last = bytes;
    }
    let rows = last.len() - 3 * 47;
    let changes: [(&str, usize, u8); 7] = [
        ("a superseded part twice", 35, 1),
        ("a pack of an unknown family", 4 + 64 + 8 + 32, 3),
        ("a pack whose size is not that of its content", 4 + 64 + 8 + 36, 0),
        ("a pack whose header is of another kind", 4 + 64 + 8 + 44 + 8, 5),
        ("rows that do not ascend", rows, 6),
        ("a row of a pack that is not there", rows + 32, 1),
        ("a row of another length than its segment", rows + 42, 1),
    ];
    for (case, at, byte) in changes {
        let mut changed = last.clone();
        match case {
            "a superseded part twice" => changed.copy_within(4..36, 36),
            _ => changed[at] = byte,
        }
        chapter.refused(case, &changed, IndexPart::decode(&changed).unwrap_err());
    }
    chapter.finish();
}
