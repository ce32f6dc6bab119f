//! Tars as PostgreSQL writes them, and as it does not.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::{BLOCK, Entry, Error, Event, Kind, Reader};

/// What one entry of a tar is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    path: String,
    link: Option<String>,
    folder: bool,
    mode: u32,
    data: Vec<u8>,
}

fn file(path: &str, data: &[u8]) -> Item {
    Item { path: path.to_owned(), link: None, folder: false, mode: 0o600, data: data.to_vec() }
}

/// A header as `tarCreateHeader` writes it.
fn header(item: &Item, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let slash = if item.folder || item.link.is_some() { "/" } else { "" };
    put(&mut block, 0, format!("{}{slash}", item.path).as_bytes());
    number(&mut block[100..108], u64::from(item.mode));
    number(&mut block[108..116], 999);
    number(&mut block[116..124], 999);
    number(&mut block[124..136], size);
    number(&mut block[136..148], 1_800_000_000);
    block[156] = if item.folder {
        b'5'
    } else if item.link.is_some() {
        b'2'
    } else {
        b'0'
    };
    put(&mut block, 157, item.link.as_deref().unwrap_or_default().as_bytes());
    put(&mut block, 257, b"ustar\x0000");
    put(&mut block, 265, b"postgres");
    put(&mut block, 297, b"postgres");
    number(&mut block[329..337], 0);
    number(&mut block[337..345], 0);
    seal(&mut block);
    block
}

fn put(block: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

fn number(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    if value < 1 << (digits * 3) {
        let text = format!("{value:0digits$o} ");
        field.copy_from_slice(text.as_bytes());
    } else {
        let bytes = value.to_be_bytes();
        let digits = digits.min(8);
        let begin = field.len() - digits;
        field[0] = 0x80;
        field[begin..].copy_from_slice(&bytes[8 - digits..]);
    }
}

fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    number(&mut block[148..156], sum);
}

fn tar(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        bytes.extend(header(item, item.data.len() as u64));
        bytes.extend_from_slice(&item.data);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn item(entry: &Entry<'_>) -> Item {
    let link = match entry.kind {
        Kind::Link(target) => Some(text(target)),
        _ => None,
    };
    let folder = entry.kind == Kind::Folder;
    Item { path: text(entry.path), link, folder, mode: entry.mode, data: Vec::new() }
}

/// Reads a tar in pieces of these lengths, over and over.
fn read(bytes: &[u8], lengths: &[usize]) -> Result<Vec<Item>, Error> {
    let (mut items, mut ends) = (Vec::<Item>::new(), 0);
    let (mut reader, mut rest, mut lengths) = (Reader::new(), bytes, lengths.iter().cycle());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((*lengths.next().unwrap()).min(rest.len()));
        rest = after;
        reader.push::<Error>(piece, &mut |event| {
            match event {
                Event::Entry(entry) => {
                    assert_eq!((entry.uid, entry.gid, entry.mtime), (999, 999, 1_800_000_000));
                    assert_eq!(ends, items.len(), "the last one ended");
                    items.push(item(&entry));
                }
                Event::Data(data) => {
                    assert!(!data.is_empty());
                    items.last_mut().unwrap().data.extend_from_slice(data);
                }
                Event::EndOfEntry => ends += 1,
            }
            Ok(())
        })?;
    }
    assert_eq!(reader.finish()?, bytes.len() as u64);
    assert_eq!(ends, items.len());
    Ok(items)
}

fn some() -> Vec<Item> {
    let folder = Item { folder: true, mode: 0o700, ..file("base/5", b"") };
    let link = Item { link: Some("/srv/space".to_owned()), mode: 0o777, ..file("pg_tblspc/16384", b"") };
    vec![file("backup_label", b"START"), folder, file("base/5/1259", &[7; 8192]), file("empty", b""), link]
}

#[test]
fn what_is_written_is_read_in_pieces_of_any_length() {
    let bytes = tar(&some());
    for lengths in [&[1][..], &[511, 513], &[512], &[32 << 10], &[3, 5000]] {
        assert_eq!(read(&bytes, lengths).unwrap(), some(), "{lengths:?}");
    }
}

#[test]
fn the_folder_that_comes_with_a_dot_has_it_no_more() {
    let items = [Item { folder: true, ..file("./pg_wal/archive_status", b"") }];
    assert_eq!(read(&tar(&items), &[512]).unwrap()[0].path, "pg_wal/archive_status");
}

#[test]
fn sizes_from_eight_gibibytes_on_are_read() {
    for size in [(8 << 30) - 1, 8 << 30, 1 << 40, i64::MAX as u64 - BLOCK as u64] {
        let mut seen = None;
        let sink = &mut |event: Event<'_>| -> Result<(), Error> {
            if let Event::Entry(entry) = event {
                seen = Some(entry.size);
            }
            Ok(())
        };
        Reader::new().push(&header(&file("large", b""), size), sink).unwrap();
        assert_eq!(seen, Some(size));
    }
}

#[test]
fn a_tar_that_ends_anywhere_else_is_refused() {
    let bytes = tar(&some());
    for len in 0..bytes.len() {
        let error = read(&bytes[..len], &[4096]).unwrap_err();
        assert!(matches!(error, Error::Truncated { at, .. } if at == len as u64), "{len}: {error}");
    }
    for more in [0, 1] {
        let mut longer = bytes.clone();
        longer.push(more);
        assert_eq!(read(&longer, &[4096]), Err(Error::AfterEnd { at: bytes.len() as u64 }));
    }
    let mut one_block = bytes[..bytes.len() - BLOCK].to_vec();
    one_block.extend(header(&file("later", b""), 0));
    assert_eq!(read(&one_block, &[4096]), Err(Error::AfterEnd { at: (bytes.len() - BLOCK) as u64 }));
}

#[test]
fn every_bit_of_a_header_counts() {
    let bytes = tar(&some()[..1]);
    for (at, bit) in (0..BLOCK).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << bit;
        let error = read(&damaged, &[4096]).unwrap_err();
        assert!(matches!(error, Error::Header { at: 0, .. }), "byte {at}: {error}");
    }
    let mut damaged = bytes.clone();
    damaged[BLOCK + 5] = 1;
    assert!(matches!(read(&damaged, &[4096]), Err(Error::Padding { .. })));
}

#[test]
fn what_postgresql_does_not_write_is_refused() {
    fn change(change: impl FnOnce(&mut [u8; BLOCK])) -> [u8; BLOCK] {
        let mut block = header(&file("base/1", b""), 0);
        change(&mut block);
        seal(&mut block);
        block
    }
    let name = |name: &str| header(&file(name, b""), 0);
    let folder = Item { folder: true, ..file("base", b"") };
    let link = Item { link: Some(String::new()), ..file("base", b"") };
    let cases = [
        ("a name that leads elsewhere", name("/etc/passwd")),
        ("a name that leads elsewhere", name("base/../../x")),
        ("a name that leads elsewhere", name("..")),
        ("a name that leads elsewhere", header(&Item { folder: true, ..file(".", b"") }, 0)),
        ("a name that leads elsewhere", name("./..")),
        ("a name that leads elsewhere", name("././x")),
        ("a name that leads elsewhere", name("base//x")),
        ("a name that leads elsewhere", name("")),
        ("an entry of a kind", name("folder/")),
        ("an entry of a kind", header(&folder, 1)),
        ("an entry of a kind", header(&link, 0)),
        ("an entry of a kind", change(|b| b[156] = b'1')),
        ("an entry of a kind", change(|b| b[156] = b'L')),
        ("an entry of a kind", change(|b| b[157] = b'x')),
        ("a name without an end", change(|b| b[50] = b'x')),
        ("a name without an end", change(|b| b[..100].fill(b'x'))),
        ("a link's target without an end", change(|b| b[157..257].fill(b'x'))),
        ("a name in two parts", change(|b| b[345] = b'x')),
        ("a mark of another format", change(|b| b[262] = b' ')),
        ("an impossible size", header(&file("x", b""), i64::MAX as u64)),
        ("an impossible size", change(|b| b[124..136].copy_from_slice(b"00000000009 "))),
        ("an impossible size", change(|b| b[124..136].copy_from_slice(b"000000000000"))),
        ("an impossible size", change(|b| b[124..136].copy_from_slice(b"\x80\0\x01\0\0\0\0\0\0\0\0\0"))),
        ("an impossible mode", change(|b| b[100..108].copy_from_slice(b"0010000 "))),
        ("a field that is no number", change(|b| b[108] = b'-')),
    ];
    for (want, block) in cases {
        let error = read(&block, &[BLOCK]).unwrap_err();
        assert!(matches!(error, Error::Header { what, at: 0 } if what.starts_with(want)), "{want}: {error}");
    }
}

#[test]
fn an_error_of_the_sink_ends_the_reading() {
    #[derive(Debug)]
    enum Mine {
        Full,
        Tar,
    }
    impl From<Error> for Mine {
        fn from(_: Error) -> Self {
            Mine::Tar
        }
    }
    let bytes = tar(&some());
    assert!(matches!(Reader::new().push(&bytes, &mut |_| Err(Mine::Full)), Err(Mine::Full)));
    assert!(matches!(Reader::new().push(&[1; BLOCK], &mut |_| Ok(())), Err(Mine::Tar)));
}

prop_compose! {
    fn items()(names in prop::collection::vec("[a-z_0-9]{1,20}(/[a-z.0-9]{3,20}){0,2}", 0..6),
        kinds in prop::collection::vec((0..3u8, prop::collection::vec(any::<u8>(), 0..2000), 0..0o10000u32), 6))
        -> Vec<Item> {
        names.iter().zip(&kinds).filter(|(name, _)| !name.split('/').any(|part| part.trim_matches('.').is_empty()))
            .map(|(name, (kind, data, mode))| match kind {
                0 => Item { mode: *mode, ..file(name, data) },
                1 => Item { folder: true, mode: *mode, ..file(name, b"") },
                _ => Item { link: Some(format!("/{name}")), mode: *mode, ..file(name, b"") },
            }).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_tar_comes_back(items in items(), lengths in prop::collection::vec(1..3000usize, 1..5)) {
        prop_assert_eq!(read(&tar(&items), &lengths), Ok(items));
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..3000),
        items in items(), at in 0..3000usize) {
        let _ = read(&bytes, &[700]);
        // And damage to what begins well.
        let good = tar(&items);
        bytes.truncate(10);
        let at = at % good.len();
        let damaged = [&good[..at], &bytes[..], &good[(at + bytes.len()).min(good.len())..]].concat();
        if let Ok(read) = read(&damaged, &[700]) {
            prop_assert!(read.iter().all(|item| !item.path.starts_with('/') && !item.path.contains("..")
                || items.iter().any(|known| known.path == item.path)));
        }
    }
}
