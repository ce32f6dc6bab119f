//! Tests of the writing half, in temporary folders and by an independent look at what is there:
//! `std` and raw calls, never the code under test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contents;
mod hostile;
mod metadata;
mod places;
mod unprivileged;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Made, NewFile, Options, Problem, Target, What};
use crate::base::clock::Timestamp;
use crate::format::list::ListEntry;
use crate::format::node::{FileMeta, Node, NodeType, Xattr};

const REPLACING: Options = Options { numeric_ids: true, replace: true };
const KEEPING: Options = Options { replace: false, ..REPLACING };
/// Some instant.
const THEN: i64 = 1_234_567_890_123_456_789;

/// A target in a folder of its own, and that folder.
fn target(options: Options) -> (TempDir, PathBuf, Target) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("target");
    let target = Target::open(&path, options).unwrap();
    (temp, path, target)
}

/// Metadata of something that belongs to whoever runs the tests.
fn meta(mode: u32) -> FileMeta {
    FileMeta {
        mode: Some(mode),
        uid: Some(rustix::process::geteuid().as_raw()),
        gid: Some(rustix::process::getegid().as_raw()),
        mtime: Some(Timestamp(THEN)),
        ..FileMeta::default()
    }
}

fn node(kind: NodeType, meta: FileMeta) -> Node {
    Node { meta, ..Node::new("not used", kind) }
}

fn file_node(size: u64, meta: FileMeta) -> Node {
    let content = if size == 0 { vec![] } else { vec![ListEntry::Hole { len: size }] };
    Node { size: Some(size), content, ..node(NodeType::File, meta) }
}

fn symlink(to: &[u8]) -> Node {
    node(NodeType::Symlink, FileMeta { link_target: Some(to.to_vec()), ..meta(0o777) })
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.as_bytes().to_vec(), value: value.to_vec() }
}

/// Ends a file that needs nothing but its bytes.
fn put(file: NewFile, bytes: &[u8]) {
    file.write_at(bytes, 0).unwrap();
    assert_eq!(done(file.finish(bytes.len() as u64, &meta(0o644)).unwrap()), []);
}

/// The problems of something that was made.
fn done(made: Made) -> Vec<Problem> {
    match made {
        Made::Done { problems, .. } => problems,
        Made::Refused(problem) => panic!("refused: {problem}"),
    }
}

fn whats(problems: &[Problem]) -> Vec<What> {
    problems.iter().map(|problem| problem.what.clone()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn get_xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 70_000];
    let len = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(len);
    Some(value)
}

/// An ACL as the kernel gives it: the owner, one user more, group, mask and others.
fn acl(user: u32) -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, user), (4, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 0, u32::MAX)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(rights.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// The capability to bind low ports, as a file has it.
fn capability() -> Vec<u8> {
    let mut bytes = vec![1, 0, 0, 2, 0, 4, 0, 0];
    bytes.resize(20, 0);
    bytes
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
