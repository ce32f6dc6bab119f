//! Tests of reading: holes, and files that do not hold still.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::time::{Duration, Instant};

use super::*;
use crate::base::clock::Timestamp;
use crate::files::folder::{Folder, LastLink};
use crate::files::testing::{Tree, set_mtime};

/// All regions, and the bytes of the data.
fn read_all(source: &mut Source) -> (Vec<Region>, Vec<u8>) {
    let (mut regions, mut bytes, mut buf) = (Vec::new(), Vec::new(), [0; 1000]);
    while let Some(region) = source.next_region().unwrap() {
        regions.push(region);
        loop {
            match source.read(&mut buf).unwrap() {
                0 => break,
                n => bytes.extend_from_slice(&buf[..n]),
            }
        }
    }
    (regions, bytes)
}

/// The content that regions and data stand for.
fn content(regions: &[Region], data: &[u8]) -> Vec<u8> {
    let (mut content, mut at) = (Vec::new(), 0);
    for region in regions {
        match *region {
            Region::Hole { len } => content.resize(content.len() + len as usize, 0),
            Region::Data { len } => {
                content.extend_from_slice(&data[at..at + len as usize]);
                at += len as usize;
            }
        }
    }
    assert_eq!(at, data.len());
    content
}

/// Offsets, and what is written there.
type Pieces<'a> = &'a [(u64, &'a [u8])];

fn sparse(tree: &Tree, len: u64, data: Pieces) {
    let file = File::create(tree.at("f")).unwrap();
    file.set_len(len).unwrap();
    data.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
}

fn open(tree: &Tree) -> Source {
    tree.folder().open_file(b"f").unwrap()
}

#[test]
fn a_file_without_holes_is_one_region() {
    let tree = Tree::new();
    for len in [0, 1, 999, 1000, 1001, 3 << 20] {
        let bytes: Vec<u8> = (0..len).map(|i| i as u8 | 1).collect();
        tree.file("f", &bytes);
        let mut source = open(&tree);
        let (regions, read) = read_all(&mut source);
        assert_eq!(regions, if len == 0 { vec![] } else { vec![Region::Data { len }] });
        assert!(read == bytes);
        let finished = source.finish().unwrap();
        assert_eq!((finished.bytes, finished.change), (len, None));
    }
}

#[test]
fn holes_are_found_and_not_read() {
    let tree = Tree::new();
    let ones = vec![1; 64 << 10];
    let layouts: [(u64, Pieces); 6] = [
        (8 << 20, &[]),
        (8 << 20, &[(0, &ones)]),
        (8 << 20, &[(4 << 20, &ones)]),
        ((8 << 20) + 5, &[((8 << 20) - 3, &[1; 8])]),
        (8 << 20, &[(1 << 20, &ones), (3 << 20, &ones), (5 << 20, &ones)]),
        (5, &[]),
    ];
    for (len, data) in layouts {
        sparse(&tree, len, data);
        let mut source = open(&tree);
        let (regions, read) = read_all(&mut source);
        assert!(content(&regions, &read) == fs::read(tree.at("f")).unwrap());
        assert!(regions.iter().any(|region| matches!(region, Region::Hole { .. })), "{regions:?}");
        assert!(read.len() <= 1 << 20, "{regions:?}");
        assert!(regions.len() <= 7, "{regions:?}");
        let finished = source.finish().unwrap();
        assert_eq!((finished.bytes, finished.change), (len, None));
    }
}

#[test]
fn a_terabyte_of_nothing_costs_nothing() {
    let tree = Tree::new();
    sparse(&tree, 1 << 40, &[(1 << 39, b"middle"), ((1 << 40) - 3, b"end")]);
    let mut source = open(&tree);
    let (regions, read) = read_all(&mut source);
    let len: u64 = regions
        .iter()
        .map(|region| match region {
            Region::Data { len } | Region::Hole { len } => len,
        })
        .sum();
    assert_eq!((len, source.finish().unwrap().bytes), (1 << 40, 1 << 40));
    assert!(
        read.len() <= 2 << 20 && memchr::memmem::find(&read, b"middle").is_some() && read.ends_with(b"end")
    );
}

#[test]
fn what_was_not_read_comes_again() {
    let tree = Tree::new();
    tree.file("f", b"0123456789");
    let mut source = open(&tree);
    assert_eq!(source.read(&mut [0; 4]).unwrap(), 0, "no region was asked for");
    assert_eq!(source.next_region().unwrap(), Some(Region::Data { len: 10 }));
    assert_eq!(source.read(&mut [0; 4]).unwrap(), 4);
    assert_eq!(source.next_region().unwrap(), Some(Region::Data { len: 6 }));
    assert_eq!(source.finish().unwrap().bytes, 4);
}

#[test]
fn a_file_that_grows_is_kept_as_it_was() {
    let tree = Tree::new();
    tree.file("f", b"line\n");
    let mut source = open(&tree);
    OpenOptions::new().append(true).open(tree.at("f")).unwrap().write_all(b"line\n").unwrap();
    assert_eq!(read_all(&mut source).1, b"line\n");
    let finished = source.finish().unwrap();
    assert_eq!((finished.bytes, finished.after.size, finished.change), (5, 10, Some(Change::Grew)));
}

#[test]
fn a_file_that_shrinks_ends_where_it_ends() {
    let tree = Tree::new();
    tree.file("f", &[1; 5000]);
    let mut source = open(&tree);
    assert_eq!(source.next_region().unwrap(), Some(Region::Data { len: 5000 }));
    assert_eq!(source.read(&mut [0; 1000]).unwrap(), 1000);
    OpenOptions::new().write(true).open(tree.at("f")).unwrap().set_len(1500).unwrap();
    assert_eq!(read_all(&mut source).1.len(), 500);
    let finished = source.finish().unwrap();
    assert_eq!((finished.bytes, finished.change), (1500, Some(Change::Shrank)));
}

#[test]
fn shrinking_shows_even_if_the_size_comes_back() {
    let tree = Tree::new();
    tree.file("f", &[1; 5000]);
    let mut source = open(&tree);
    let file = OpenOptions::new().write(true).open(tree.at("f")).unwrap();
    file.set_len(0).unwrap();
    assert_eq!(read_all(&mut source).1, b"");
    file.set_len(5000).unwrap();
    assert_eq!(source.finish().unwrap().change, Some(Change::Shrank));
}

#[test]
fn a_write_shows_and_so_does_one_with_the_time_put_back() {
    let tree = Tree::new();
    tree.file("f", b"old");
    let long_ago = Timestamp(1_000_000_000);
    set_mtime(&tree.at("f"), long_ago);
    let source = open(&tree);
    tree.file("f", b"new");
    assert_eq!(source.finish().unwrap().change, Some(Change::Written));

    set_mtime(&tree.at("f"), long_ago);
    let source = open(&tree);
    let deadline = Instant::now() + Duration::from_secs(20);
    // The clock of a file system may be as coarse as a few milliseconds.
    while tree.folder().stat(b"f").unwrap().ctime == source.stat().ctime && Instant::now() < deadline {
        tree.file("f", b"NEW");
        set_mtime(&tree.at("f"), long_ago);
    }
    assert_eq!(source.finish().unwrap().change, Some(Change::Touched));
}

#[test]
fn a_file_removed_while_it_is_open_is_still_read() {
    let tree = Tree::new();
    tree.file("f", b"abc");
    let mut source = open(&tree);
    fs::remove_file(tree.at("f")).unwrap();
    assert_eq!(read_all(&mut source).1, b"abc");
    assert_eq!(source.finish().unwrap().after.links, 0);
}

#[test]
fn a_file_that_says_it_is_empty_and_is_not() {
    let folder = Folder::open("/proc/self".as_ref(), LastLink::Follow).unwrap();
    let mut source = folder.open_file(b"status").unwrap();
    assert_eq!(source.next_region().unwrap(), None);
    assert_eq!(source.finish().unwrap().change, Some(Change::Grew));
}

#[test]
fn reading_leaves_no_time_of_access_where_we_may_ask() {
    let tree = Tree::new();
    tree.file("f", b"abc");
    fs::set_permissions(tree.at("f"), fs::Permissions::from_mode(0o600)).unwrap();
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 },
        last_modification: rustix::fs::Timespec { tv_sec: 2, tv_nsec: 0 },
    };
    rustix::fs::utimensat(rustix::fs::CWD, tree.at("f"), &times, rustix::fs::AtFlags::empty()).unwrap();
    read_all(&mut open(&tree));
    assert_eq!(tree.folder().stat(b"f").unwrap().atime, Timestamp(1_000_000_000));
}
