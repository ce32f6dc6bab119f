//! Records of zip against bytes that were written down by hand.

use super::{Blocks, Crc, Entry, Kind, NAME_MAX, finish};
use crate::base::clock::Timestamp;

fn entry(name: &str, kind: Kind, size: u64) -> Entry {
    let mtime = Timestamp(1_700_000_000_000_000_000);
    Entry { name: name.into(), kind, size, mode: 0o644, uid: 1000, gid: 5, mtime }
}

/// Times and owner of every entry here.
const TAIL: &str = r"UT\x05\x00\x01\x00\xf1Seux\x0b\x00\x01\x04\xe8\x03\x00\x00\x04\x05\x00\x00\x00";

fn words(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    out.escape_ascii().to_string()
}

#[test]
fn what_is_known_before_stands_before() {
    let link = entry("a/l", Kind::Symlink, 3);
    let local = words(|out| link.local(0x0102_0304, out));
    let same =
        r"\x14\x00\x00\x08\x00\x00\xaa\xb1nW\x04\x03\x02\x01\x03\x00\x00\x00\x03\x00\x00\x00\x03\x00\x18\x00";
    assert_eq!(local, format!(r"PK\x03\x04{same}a/l{TAIL}"));
    let listed = words(|out| link.listed(0x0102_0304, 77, out));
    assert_eq!(
        listed,
        format!(r"PK\x01\x02-\x03{same}\x00\x00\x00\x00\x00\x00\x00\x00\xa4\xa1M\x00\x00\x00a/l{TAIL}")
    );
    assert_eq!(link.packed(), 3);
}

#[test]
fn what_is_known_after_follows() {
    let file = entry("f", Kind::File, 65_536);
    assert!(words(|out| file.local(0, out)).starts_with(
        r"PK\x03\x04\x14\x00\x08\x08\x08\x00\xaa\xb1nW\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x18\x00f"
    ));
    assert_eq!(words(|out| file.follow(7, out)), r"PK\x07\x08\x07\x00\x00\x00\n\x00\x01\x00\x00\x00\x01\x00");
}

#[test]
fn large_numbers_stand_elsewhere() {
    let file = entry("f", Kind::File, 5 << 30);
    let packed = (5u64 << 30) + 5 * (5u64 << 30).div_ceil(65_535);
    assert_eq!(file.packed(), packed);
    let local = words(|out| file.local(0, out));
    assert!(local.starts_with(r"PK\x03\x04-\x00\x08\x08"), "{local}");
    let empty = r"\x01\x00\x10\x00".to_owned() + &r"\x00".repeat(16);
    assert!(local.ends_with(&format!("{empty}{TAIL}")), "{local}");
    let mut out = Vec::new();
    file.follow(7, &mut out);
    assert_eq!(
        (out.len(), &out[8..16], &out[16..]),
        (24, &packed.to_le_bytes()[..], &(5u64 << 30).to_le_bytes()[..])
    );
    let mut out = Vec::new();
    file.listed(7, 6 << 30, &mut out);
    let extra = &out[46 + 1..];
    assert_eq!(&extra[..4], b"\x01\0\x18\0");
    for (number, should) in extra[4..28].chunks(8).zip([5 << 30, packed, 6 << 30]) {
        assert_eq!(number, should.to_le_bytes());
    }
    // A small one that is far behind: only that stands elsewhere.
    let mut out = Vec::new();
    entry("f", Kind::File, 1).listed(7, u32::MAX.into(), &mut out);
    assert_eq!(&out[47..59], b"\x01\0\x08\0\xff\xff\xff\xff\0\0\0\0");
}

#[test]
fn the_end_is_long_only_if_it_must() {
    let mut out = Vec::new();
    finish(3, 1000, 1100, &mut out);
    assert_eq!(out, b"PK\x05\x06\0\0\0\0\x03\0\x03\0\x64\0\0\0\xe8\x03\0\0\0\0");
    for (entries, start, len) in [(65_535, 0, 0), (0, u64::from(u32::MAX), 0), (0, 0, 5 << 30)] {
        let mut out = Vec::new();
        finish(entries, start, start + len, &mut out);
        assert_eq!(out.len(), 56 + 20 + 22);
        assert!(out.starts_with(b"PK\x06\x06\x2c\0"));
        assert_eq!(out[48..56], start.to_le_bytes());
        assert_eq!(out[56 + 8..56 + 16], (start + len).to_le_bytes());
    }
    let mut out = Vec::new();
    finish(65_534, 0, 0, &mut out);
    assert_eq!(out.len(), 22);
    assert_eq!(NAME_MAX, 65_535);
}

#[test]
fn blocks_are_as_deflate_has_them() {
    let (mut blocks, mut len) = (Blocks::new(65_535 + 3), 0);
    assert_eq!(blocks.begin(), (Some([0, 255, 255, 0, 0]), 65_535));
    blocks.passed(65_000);
    assert_eq!(blocks.begin(), (None, 535));
    blocks.passed(535);
    assert_eq!(blocks.begin(), (Some([1, 3, 0, 0xfc, 0xff]), 3));
    blocks.passed(3);
    assert_eq!(blocks.begin(), (None, 0));
    for size in [1, 65_535, 65_536, 131_070, 131_071] {
        let mut blocks = Blocks::new(size);
        while let (Some(head), bytes) = blocks.begin() {
            len += head.len() as u64 + bytes;
            blocks.passed(bytes);
        }
        assert_eq!(std::mem::take(&mut len), Blocks::packed(size));
    }
}

#[test]
fn sums_are_those_of_others() {
    assert_eq!(Crc::of(b"123456789"), 0xcbf4_3926);
    assert_eq!(Crc::of(b""), 0);
    assert_eq!(Crc::of(b"The quick brown fox jumps over the lazy dog"), 0x414f_a339);
    let mut crc = Crc::default();
    [&b"The quick"[..], b" brown fox jumps", b"", b" over the lazy dog"]
        .iter()
        .for_each(|part| crc.add(part));
    assert_eq!(crc.finish(), 0x414f_a339);
}
