//! Every kind of entry becomes the node that says what the system says of it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{Node, NodeType};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::scene::Scene;
use crate::support;

fn kind_of(meta: &std::fs::Metadata) -> NodeType {
    let kind = meta.file_type();
    match () {
        () if kind.is_dir() => NodeType::Directory,
        () if kind.is_symlink() => NodeType::Symlink,
        () if kind.is_fifo() => NodeType::Fifo,
        () if kind.is_socket() => NodeType::Socket,
        () if kind.is_char_device() => NodeType::CharDevice,
        () if kind.is_block_device() => NodeType::BlockDevice,
        () => NodeType::File,
    }
}

/// Compares a node with what the standard library says, and not our own calls.
fn assert_same(scene: &Scene, path: &[u8], node: &Node) {
    let at = scene.path().join(OsStr::from_bytes(path));
    let (meta, shown) = (std::fs::symlink_metadata(&at).unwrap(), at.display().to_string());
    assert_eq!(node.kind, kind_of(&meta), "{shown}");
    assert_eq!(node.meta.mode, Some(meta.mode() & 0o7777), "{shown}");
    assert_eq!((node.meta.uid, node.meta.gid), (Some(meta.uid()), Some(meta.gid())), "{shown}");
    let nanos = |seconds: i64, nanos: i64| Some(seconds * 1_000_000_000 + nanos);
    assert_eq!(node.meta.mtime.map(|t| t.0), nanos(meta.mtime(), meta.mtime_nsec()), "{shown}");
    assert_eq!(node.meta.atime, None, "{shown}");
    assert_eq!(node.meta.problem, None, "{shown}");
    assert_eq!(node.size, meta.is_file().then_some(meta.size()), "{shown}");
    if meta.is_symlink() {
        let target = std::fs::read_link(&at).unwrap();
        assert_eq!(node.meta.link_target.as_deref(), Some(target.as_os_str().as_bytes()), "{shown}");
    }
    assert_eq!(node.meta.link_group.is_some(), meta.nlink() > 1 && !meta.is_dir(), "{shown}");
    if !meta.is_dir() {
        assert_eq!(node.meta.ctime.map(|t| t.0), nanos(meta.ctime(), meta.ctime_nsec()), "{shown}");
        assert_eq!(node.meta.inode, Some(meta.ino()), "{shown}");
    }
}

fn every_kind(scene: &Scene) {
    scene.file("plain", b"some bytes");
    scene.file("empty", b"");
    scene.file("folder/below/it", &support::rows(1, 400_000));
    scene.file("setuid", b"");
    std::fs::set_permissions(scene.at("setuid"), std::fs::Permissions::from_mode(0o6751)).unwrap();
    std::fs::create_dir(scene.at("sticky")).unwrap();
    std::fs::set_permissions(scene.at("sticky"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    std::fs::write(scene.path().join(OsStr::from_bytes(b"\xff\n\x01 name")), b"x").unwrap();
    std::fs::write(scene.path().join(OsStr::from_bytes(&[b'n'; 255])), b"x").unwrap();
    symlink("folder", scene.at("link")).unwrap();
    symlink("x".repeat(4095), scene.at("dangling")).unwrap();
    std::fs::hard_link(scene.at("plain"), scene.at("folder/other name")).unwrap();
    std::fs::hard_link(scene.at("link"), scene.at("linked link")).unwrap();
    UnixListener::bind(scene.at("socket")).unwrap();
    rustix::fs::mknodat(CWD, scene.at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    if rustix::process::geteuid().is_root() {
        let device = rustix::fs::makedev(1, 3);
        let made = rustix::fs::mknodat(
            CWD,
            scene.at("device"),
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o600),
            device,
        );
        // A container may not let even root make one.
        assert!(made.is_ok() || !scene.at("device").exists());
    }
}

#[test]
fn every_kind_of_entry_is_kept_as_it_is() {
    let scene = Scene::new();
    every_kind(&scene);
    let with_attributes =
        rustix::fs::setxattr(scene.at("plain"), "user.a", b"value", XattrFlags::CREATE).is_ok();
    let made = scene.snapshot();
    let nodes = scene.nodes(&made);
    let mut there = Vec::new();
    let mut folders = vec![scene.path()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            there.push(path.strip_prefix(scene.path()).unwrap().as_os_str().as_bytes().to_vec());
            if path.symlink_metadata().unwrap().is_dir() {
                folders.push(path);
            }
        }
    }
    there.sort();
    assert!(nodes.keys().eq(there.iter()), "{:?}", nodes.keys());
    nodes.iter().for_each(|(path, node)| assert_same(&scene, path, node));
    assert_eq!(nodes[&b"plain"[..]].meta.link_group, nodes[&b"folder/other name"[..]].meta.link_group);
    assert_eq!(nodes[&b"plain"[..]].content, nodes[&b"folder/other name"[..]].content);
    assert_ne!(nodes[&b"plain"[..]].meta.link_group, nodes[&b"link"[..]].meta.link_group);
    if with_attributes {
        let xattr = &nodes[&b"plain"[..]].meta.xattrs;
        assert!(xattr.iter().any(|xattr| xattr.name == b"user.a" && xattr.value == b"value"));
    }
    assert!(scene.bytes(&made, "folder/below/it") == support::rows(1, 400_000));
    assert_eq!(scene.bytes(&made, "folder/other name"), b"some bytes");
    assert_eq!(made.counts.problems, 0);
    assert!(!made.made.incomplete);
    support::assert_clean(&scene.repo);
}

#[test]
fn an_unchanged_tree_is_stored_the_same_and_nothing_of_it_is_read() {
    let scene = Scene::new();
    every_kind(&scene);
    let (first, second) = (scene.snapshot(), scene.snapshot());
    assert_eq!(second.counts.read_bytes, 0);
    assert_eq!(second.counts.unchanged, first.counts.files + first.counts.others);
    assert_eq!(scene.nodes(&first), scene.nodes(&second));
    // Folders above the tree are kept too, and others may be at work in them: a listing for each.
    let above = scene.path().components().count() as u64;
    assert!(second.made.added.new_chunks < above, "{:?}", second.made.added);
}

#[test]
fn holes_are_kept_and_cost_nothing() {
    let scene = Scene::new();
    let path = scene.at("sparse");
    let file = std::fs::File::create(&path).unwrap();
    let data = support::rows(3, 70_000);
    let len = 1 << 40;
    file.set_len(len).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &data, 1 << 30).unwrap();
    let made = scene.snapshot();
    let node = &scene.nodes(&made)[&b"sparse"[..]];
    assert_eq!(node.size, Some(len));
    let holes: u64 = node
        .content
        .iter()
        .map(|entry| match entry {
            ListEntry::Hole { len } => *len,
            _ => 0,
        })
        .sum();
    assert!(holes > len - (1 << 20), "{:?}", node.content);
    assert!(made.counts.read_bytes < 1 << 20);
    assert!(matches!(node.content[0], ListEntry::Hole { len } if len == 1 << 30));
}

#[test]
fn long_paths_and_deep_trees_are_walked() {
    let scene = Scene::new();
    let name = "d".repeat(200);
    let top = scene.at("deep");
    std::fs::create_dir(&top).unwrap();
    let mut folder = std::fs::File::open(&top).unwrap();
    for _ in 0..60 {
        rustix::fs::mkdirat(&folder, &name, Mode::from_raw_mode(0o755)).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        folder = rustix::fs::openat(&folder, &name, flags, Mode::empty()).unwrap().into();
    }
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE;
    let file = rustix::fs::openat(&folder, "f", flags, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(&file, b"bottom").unwrap();
    let made = scene.snapshot();
    assert_eq!((made.counts.problems, made.counts.files), (0, 1));
    let nodes = scene.nodes(&made);
    let (path, node) = nodes.iter().find(|(_, node)| node.kind == NodeType::File).unwrap();
    assert!(path.len() > 12_000);
    assert_eq!(crate::scene::bytes(&scene.repo, node), b"bottom");
    assert_eq!(scene.counts().unchanged, 1);
}

#[test]
fn a_folder_of_many_entries_is_taken_over_in_parts() {
    let scene = Scene::new();
    let names: Vec<String> = (0..3_000).map(|n| format!("many/entry {n}")).collect();
    names.iter().for_each(|name| scene.file(name, name.as_bytes()));
    let first = scene.snapshot();
    assert_eq!((first.counts.files, first.counts.new), (3_000, 3_000));
    std::fs::remove_file(scene.at(&names[17])).unwrap();
    scene.file(&names[1_700], b"other");
    scene.file("many/another", b"one more");
    let second = scene.snapshot();
    assert_eq!((second.counts.unchanged, second.counts.changed, second.counts.new), (2_998, 1, 1));
    assert_eq!(scene.bytes(&second, &names[1_700]), b"other");
    assert_eq!(scene.nodes(&second).len(), 3_001);
}
