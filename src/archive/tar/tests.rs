//! Headers against bytes that were written down by hand.
#![allow(clippy::unwrap_used)]

use super::{Attribute, BLOCK, Entry, Kind, Map, break_off, finish, pad};
use crate::base::clock::Timestamp;

fn written(entry: &Entry<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    entry.write(&mut out);
    assert_eq!(out.len() as u64 % BLOCK, 0);
    out
}

/// The records of an entry's extended header.
fn records(entry: &Entry<'_>) -> String {
    let out = written(entry);
    if out.len() as u64 == BLOCK {
        return String::new();
    }
    assert_eq!(out[156], b'x');
    let len = usize::from_str_radix(std::str::from_utf8(&out[124..135]).unwrap(), 8).unwrap();
    assert_eq!(out.len() as u64, 2 * BLOCK + (len as u64).next_multiple_of(BLOCK));
    out[512..512 + len].escape_ascii().to_string()
}

#[test]
fn what_fits_is_one_block() {
    let entry = Entry {
        size: 5,
        mode: 0o4755,
        uid: 1000,
        gid: 100,
        user: Some("ann"),
        group: Some("users"),
        ..Entry::new(b"srv/a.txt", Kind::File, Timestamp(1_700_000_000_000_000_000))
    };
    let block = written(&entry);
    let mut should = Vec::new();
    for (text, len) in [
        ("srv/a.txt", 100),
        ("0004755", 8),
        ("0001750", 8),
        ("0000144", 8),
        ("00000000005", 12),
        ("14524770400", 12),
        ("012651\0 ", 8),
        ("0", 1),
        ("", 100),
        ("ustar\x0000", 8),
        ("ann", 32),
        ("users", 32),
        ("0000000", 8),
        ("0000000", 8),
        ("", 167),
    ] {
        let end = should.len() + len;
        should.extend_from_slice(text.as_bytes());
        should.resize(end, 0);
    }
    assert_eq!(block.escape_ascii().to_string(), should.escape_ascii().to_string());
}

#[test]
fn a_record_counts_its_own_length() {
    let path = |len: usize| vec![b'a'; len];
    for len in [101, 200, 4000, 9986, 9987, 9988, 9989, 9990, 9991] {
        let path = path(len);
        let text = records(&Entry::new(&path, Kind::File, Timestamp(0)));
        let (said, rest) = text.split_once(' ').unwrap();
        // The line feed is escaped, and takes a byte more.
        assert_eq!(said.parse::<usize>().unwrap(), said.len() + 1 + rest.len() - 1, "{len}");
    }
}

#[test]
fn what_does_not_fit_stands_in_records() {
    let entry = Entry {
        size: 8 << 30,
        uid: 0o1000_0000,
        gid: u32::MAX,
        user: Some("a name that is longer than thirty-one bytes"),
        group: Some("grüße"),
        atime: Some(Timestamp(5_000_000_000)),
        btime: Some(Timestamp(4_102_444_800_000_000_003)),
        flags: 0x10 | 0x80_0000,
        ..Entry::new("ü".as_bytes(), Kind::File, Timestamp(-1_500_000_000))
    };
    insta::assert_snapshot!(records(&entry), @r"11 path=\xc3\xbc\n53 uname=a name that is longer than thirty-one bytes\n17 gname=gr\xc3\xbc\xc3\x9fe\n19 size=8589934592\n15 uid=2097152\n18 gid=4294967295\n22 mtime=-1.500000000\n11 atime=5\n48 LIBARCHIVE.creationtime=4102444800.000000003\n28 SCHILY.fflags=schg,nocow\n");
    let block = &written(&entry)[1024..];
    assert_eq!(&block[..2], b"__");
    assert_eq!(&block[108..136], b"0000000\x000000000\x0000000000000\0");
    // What just fits stands in the header alone.
    let fits = Entry { size: (8 << 30) - 1, uid: 0o777_7777, ..Entry::new(b"a", Kind::File, Timestamp(0)) };
    assert_eq!(records(&fits), "");
}

#[test]
fn names_that_are_no_text_are_said_to_be_none() {
    let entry = Entry { link: b"to \xff\n", ..Entry::new(b"a", Kind::Symlink, Timestamp(1)) };
    assert_eq!(records(&entry), r"21 hdrcharset=BINARY\n18 linkpath=to \xff\n\n21 mtime=0.000000001\n");
}

#[test]
fn attributes_and_access_lists_are_told_as_stored_and_in_words() {
    let mut list = 2u32.to_le_bytes().to_vec();
    let rows = [(1u16, 7u16, u32::MAX), (2, 4, 1000), (4, 5, u32::MAX), (8, 6, 7), (16, 6, 0), (32, 0, 0)];
    for (tag, rights, id) in rows {
        list.extend([&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    let attributes = vec![
        Attribute { name: b"system.posix_acl_access", value: &list },
        Attribute { name: b"system.posix_acl_default", value: b"\x02\0\0\0odd" },
        Attribute { name: b"user.a=b%", value: b"\0\xff" },
    ];
    let text = records(&Entry { attributes, ..Entry::new(b"a", Kind::Directory, Timestamp(0)) });
    let words = "user::rwx,user:1000:r--,group::r-x,group:7:rw-,mask::rw-,other::---";
    assert!(text.contains(&format!("SCHILY.acl.access={words}\\n")), "{text}");
    assert!(!text.contains("SCHILY.acl.default"), "{text}");
    assert!(text.contains(r"SCHILY.xattr.system.posix_acl_default=\x02\x00\x00\x00odd\n"), "{text}");
    assert!(text.ends_with(r"33 SCHILY.xattr.user.a%3Db%25=\x00\xff\n"), "{text}");
}

#[test]
fn other_kinds_have_their_letters() {
    let kinds = [
        (Kind::HardLink, b'1', "0000000\x000000000\0"),
        (Kind::Symlink, b'2', "0000000\x000000000\0"),
        (Kind::CharDevice(1, 3), b'3', "0000001\x000000003\0"),
        (Kind::BlockDevice(259, 70_000), b'4', "0000403\x000210560\0"),
        (Kind::Directory, b'5', "0000000\x000000000\0"),
        (Kind::Fifo, b'6', "0000000\x000000000\0"),
    ];
    for (kind, letter, numbers) in kinds {
        let entry = Entry { link: b"first", size: 7, ..Entry::new(b"name", kind, Timestamp(0)) };
        let block = written(&entry);
        assert_eq!((block[156], entry.stored()), (letter, 0));
        assert_eq!(&block[124..136], b"00000000000\0");
        assert_eq!(&block[329..345], numbers.as_bytes());
        assert_eq!(block.starts_with(b"name/\0"), kind == Kind::Directory);
        assert_eq!(&block[157..163], b"first\0");
    }
}

#[test]
fn a_map_is_as_long_as_it_was_measured() {
    let spans = [(0, 9), (10, 512), (1 << 40, u64::from(u32::MAX)), (99_999_999_999_999, 0)];
    let mut map = Map::default();
    assert!(map.is_empty());
    spans.iter().for_each(|(offset, len)| map.count(*offset, *len));
    let mut out = Vec::new();
    map.begin(&mut out);
    spans.iter().for_each(|(offset, len)| Map::span(*offset, *len, &mut out));
    assert_eq!(map.len(), out.len() as u64);
    assert!(out.starts_with(b"4\n0\n9\n10\n512\n1099511627776\n"));
    assert_eq!(map.packed(), 512 + 9 + 512 + u64::from(u32::MAX));
    let entry =
        Entry { size: 1 << 41, packed: Some(map.packed()), ..Entry::new(b"d/a", Kind::File, Timestamp(0)) };
    let text = records(&entry);
    assert_eq!(
        text,
        r"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n23 GNU.sparse.name=d/a\n37 GNU.sparse.realsize=2199023255552\n"
    );
    assert!(written(&entry)[1024..].starts_with(b"GNUSparseFile.0/a\0"));
}

#[test]
fn archives_end_at_a_record() {
    for (written, len) in [(0, 10_240), (512, 9728), (9216, 1024), (9728, 10_752), (10_240, 10_240)] {
        let mut out = Vec::new();
        finish(written, &mut out);
        assert_eq!(out, vec![0; len], "{written}");
    }
    for (len, padding) in [(0, 0), (1, 511), (512, 0), (513, 511)] {
        let mut out = Vec::new();
        pad(len, &mut out);
        assert_eq!(out.len(), padding);
    }
}

#[test]
fn what_is_broken_off_asks_for_more() {
    let mut out = Vec::new();
    break_off(&mut out);
    assert_eq!((out.len(), out[156]), (512, b'x'));
    assert_eq!(&out[124..136], b"00000001000\0");
}
