//! Vectors of what everything else is made of: Padmé sizes, varints, attribute records, headers.

use kamba_vault::base::id::{SignerId, hex};
use kamba_vault::format::attrs::{RecordReader, RecordWriter, Unknown};
use kamba_vault::format::header::{Header, Kind};
use kamba_vault::format::pack::padme;
use kamba_vault::format::wire::{Reader, Writer};
use serde_json::{Value, json};

use crate::vectors::Chapter;

#[test]
fn padme_sizes() {
    let mut chapter = Chapter::new("padme", "padme(n): the size to which n bytes are padded");
    for n in [0u64, 1, 2, 3, 7, 8, 9, 15, 16, 17, 33, 100, 1000, 4097, 65_537, 1 << 20, (1 << 20) + 1] {
        chapter.case(&n.to_string(), json!(n), json!(padme(n)));
    }
    for n in [(16u64 << 20) - 1, 16 << 20, (16 << 20) + 1, 50_000_000, 1 << 40, (1 << 40) + 1] {
        chapter.case(&n.to_string(), json!(n), json!(padme(n)));
    }
    chapter.finish();
}

#[test]
fn varints() {
    let mut chapter = Chapter::new("varints", "varint and zigzag encodings; numbers are decimal strings");
    for value in [0u64, 1, 127, 128, 300, 16_383, 16_384, u32::MAX.into(), 1 << 63, u64::MAX] {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).varint(value);
        assert_eq!(Reader::new("varint", &bytes).varint().unwrap(), value);
        chapter.bytes("varint", json!(value.to_string()), &bytes);
    }
    for value in [0i64, -1, 1, -2, 63, -64, 64, i64::MAX, i64::MIN, 1_700_000_000_000_000_000] {
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).zigzag(value);
        assert_eq!(Reader::new("zigzag", &bytes).zigzag().unwrap(), value);
        chapter.bytes("zigzag", json!(value.to_string()), &bytes);
    }
    let bad: [(&str, &[u8]); 5] = [
        ("nothing", &[]),
        ("cut off", &[0x80]),
        ("not minimal", &[0x81, 0]),
        ("zero, not minimal", &[0x80, 0]),
        ("more than 64 bits", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
    ];
    for (case, bytes) in bad {
        chapter.refused(case, bytes, Reader::new("varint", bytes).varint().unwrap_err());
    }
    chapter.finish();
}

/// Tags and raw values of a record.
fn attributes(bytes: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, kamba_vault::format::Error> {
    let mut record = RecordReader::new("record", bytes);
    let mut all = Vec::new();
    while let Some(attribute) = record.next_attribute()? {
        all.push((attribute.tag, attribute.value.to_vec()));
    }
    Ok(all)
}

#[test]
fn attribute_records() {
    let mut chapter = Chapter::new(
        "attrs",
        "attribute records; the input has each attribute's tag and raw value. \
         The refused are refused whatever the tags mean",
    );
    let long = vec![0x5a; 200];
    type Attributes<'a> = &'a [(u64, &'a [u8])];
    let cases: [(&str, Attributes<'_>); 5] = [
        ("empty", &[]),
        ("one byte", &[(1, &[7])]),
        ("an empty value", &[(5, &[])]),
        ("ascending tags, also of two bytes", &[(0, b"a"), (2, b"b"), (127, b"c"), (128, b"d"), (300, b"e")]),
        ("a value of 200 bytes", &[(1, &[1]), (6, &long)]),
    ];
    for (case, attributes_in) in cases {
        let mut bytes = Vec::new();
        let unknown = Unknown::default();
        let mut record = RecordWriter::new(&mut bytes, &unknown);
        for (tag, value) in attributes_in {
            record.bytes(*tag, value);
        }
        record.finish();
        let owned: Vec<_> = attributes_in.iter().map(|(tag, value)| (*tag, value.to_vec())).collect();
        assert_eq!(attributes(&bytes).unwrap(), owned);
        let input: Vec<Value> =
            owned.iter().map(|(tag, value)| json!({ "tag": tag, "value": hex(value) })).collect();
        chapter.bytes(case, json!(input), &bytes);
    }
    let bad: [(&str, &[u8]); 6] = [
        ("tags that descend", &[4, 0, 2, 0]),
        ("a tag twice", &[4, 0, 4, 0]),
        ("a tag that is not minimal", &[0x84, 0, 0]),
        ("a length that is not minimal", &[4, 0x81, 0, 9]),
        ("a value that is cut off", &[4, 3, 1, 2]),
        ("a tag without a length", &[4]),
    ];
    for (case, bytes) in bad {
        chapter.refused(case, bytes, attributes(bytes).unwrap_err());
    }
    chapter.finish();
}

#[test]
fn headers() {
    let mut chapter = Chapter::new("header", "the 64 bytes with which every object begins");
    let salt: [u8; 32] = std::array::from_fn(|i| i as u8);
    let mut root = [0; 64];
    for (kind, epoch, signer) in
        [(Kind::Config, 1, [0x11; 16]), (Kind::KeySlot, 0, [0; 16]), (Kind::Root, 0x0102_0304, [0xab; 16])]
    {
        let header = Header::new(kind, epoch, SignerId(signer), salt);
        root = header.encode();
        assert_eq!(Header::decode(&root, kind).unwrap(), header);
        let input = json!({
            "kind": kind.to_u8(), "epoch": epoch, "signer": hex(&signer), "salt": hex(&salt),
        });
        chapter.bytes(&format!("{kind:?}"), input, &root);
    }
    let changes: [(&str, usize, u8); 6] = [
        ("another magic", 0, b'k'),
        ("another kind than asked for, 7", 8, 8),
        ("a least read version above ours", 10, 2),
        ("a least read version of zero", 10, 0),
        ("a write version below the least read version", 9, 0),
        ("an unknown suite", 11, 2),
    ];
    for (case, at, byte) in changes {
        let mut changed = root;
        changed[at] = byte;
        chapter.refused(case, &changed, Header::decode(&changed, Kind::Root).unwrap_err());
    }
    chapter.refused("cut off", &root[..63], Header::decode(&root[..63], Kind::Root).unwrap_err());
    chapter.finish();
}
