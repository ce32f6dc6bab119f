//! Tests of folders: names that lead elsewhere, races, long paths, rights.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::RenameFlags;

use super::*;
use crate::files::ErrorKind;
use crate::files::testing::{Tree, as_nobody};

/// Everything that a folder is asked about a name.
fn ask(folder: &Folder, name: &[u8]) -> [Result<(), Error>; 4] {
    [
        folder.folder(name).map(drop),
        folder.stat(name).map(drop),
        folder.read_link(name).map(drop),
        folder.open_file(name).map(drop),
    ]
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let tree = Tree::new();
    fs::create_dir_all(tree.at("a/b")).unwrap();
    tree.file("a/b/f", b"");
    let folder = tree.folder().folder(b"a").unwrap();
    for name in [&b""[..], b".", b"..", b"b/f", b"b/", b"/", b"/etc", b"b\0", b"../a"] {
        for result in ask(&folder, name) {
            assert_eq!(result.unwrap_err().source.kind(), std::io::ErrorKind::InvalidInput, "{name:?}");
        }
    }
    assert!(folder.folder(b"b").unwrap().open_file(b"f").is_ok());
}

#[test]
fn what_is_missing_is_said_to_be() {
    let tree = Tree::new();
    for result in ask(&tree.folder(), b"gone") {
        let error = result.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Vanished);
        assert_eq!(error.path, tree.at("gone"));
    }
    let error = Folder::open(&tree.at("gone"), LastLink::Follow).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Vanished);
}

#[test]
fn a_link_as_source_is_followed_on_request_only() {
    let tree = Tree::new();
    fs::create_dir_all(tree.at("real/inner")).unwrap();
    tree.link("link", "real");
    let error = Folder::open(&tree.at("link"), LastLink::Refuse).unwrap_err();
    assert_eq!(error.kind, ErrorKind::OtherType);
    let followed = Folder::open(&tree.at("link"), LastLink::Follow).unwrap();
    assert_eq!(followed.stat_self().unwrap(), tree.folder().stat(b"real").unwrap());
    assert!(Folder::open(&tree.at("link/inner"), LastLink::Refuse).is_ok(), "links on the way are followed");
    let error = followed.folder(b"inner").unwrap().folder(b"x").unwrap_err();
    assert_eq!(error.path, tree.at("link/inner/x"), "paths are as the user gave them");
}

#[test]
fn a_folder_replaced_by_a_link_is_an_error() {
    let (tree, outside) = (Tree::new(), Tree::new());
    outside.file("secret", b"x");
    fs::create_dir(tree.at("d")).unwrap();
    let folder = tree.folder();
    assert_eq!(folder.stat(b"d").unwrap().kind, NodeType::Directory);
    let opened = folder.folder(b"d").unwrap();
    fs::remove_dir(tree.at("d")).unwrap();
    std::os::unix::fs::symlink(outside.path(), tree.at("d")).unwrap();
    assert_eq!(folder.folder(b"d").unwrap_err().kind, ErrorKind::OtherType);
    assert_eq!(folder.open_file(b"d").unwrap_err().kind, ErrorKind::OtherType);
    // One that was open already stays where it was.
    assert_eq!(opened.stat(b"secret").unwrap_err().kind, ErrorKind::Vanished);
}

#[test]
fn no_exchange_while_we_look_leads_outside() {
    let (tree, outside) = (Tree::new(), Tree::new());
    fs::create_dir(tree.at("x")).unwrap();
    std::os::unix::fs::symlink(outside.path(), tree.at("y")).unwrap();
    let (folder, stop) = (tree.folder(), AtomicBool::new(false));
    let inside = folder.stat(b"x").unwrap().inode;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let flags = RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&folder, "x", &folder, "y", flags).unwrap();
            }
        });
        let look = |_| folder.folder(b"x").and_then(|opened| opened.stat_self());
        let results: Vec<_> = (0..5_000).map(look).collect();
        stop.store(true, Ordering::Relaxed);
        for result in results {
            match result {
                Ok(opened) => assert_eq!(opened.inode, inside),
                Err(error) => assert_eq!(error.kind, ErrorKind::OtherType),
            }
        }
    });
}

#[test]
fn only_regular_files_are_opened_and_nothing_blocks() {
    let tree = Tree::new();
    tree.fifo("fifo");
    tree.socket("socket");
    tree.file("file", b"abc");
    tree.link("link", "file");
    fs::create_dir(tree.at("folder")).unwrap();
    let folder = tree.folder();
    for name in ["fifo", "socket", "link", "folder"] {
        assert_eq!(folder.open_file(name.as_bytes()).unwrap_err().kind, ErrorKind::OtherType, "{name}");
    }
    for name in ["fifo", "socket", "link", "file"] {
        assert_eq!(folder.folder(name.as_bytes()).unwrap_err().kind, ErrorKind::OtherType, "{name}");
    }
    for name in ["fifo", "socket", "folder", "file"] {
        assert_eq!(folder.read_link(name.as_bytes()).unwrap_err().kind, ErrorKind::OtherType, "{name}");
    }
    let dev = Folder::open("/dev".as_ref(), LastLink::Follow).unwrap();
    assert_eq!(dev.open_file(b"null").unwrap_err().kind, ErrorKind::OtherType);
    assert_eq!(folder.open_file(b"file").unwrap().stat().size, 3);
}

#[test]
fn links_are_read_whatever_their_target() {
    let tree = Tree::new();
    let long = "x/".repeat(2047) + "x";
    for (name, target) in
        [("dangling", "no/where"), ("long", long.as_str()), ("loop", "loop"), ("bytes", "\u{1}\n")]
    {
        tree.link(name, target);
        assert_eq!(tree.folder().read_link(name.as_bytes()).unwrap(), target.as_bytes());
    }
    assert_eq!(long.len(), 4095);
}

#[test]
fn paths_beyond_what_a_call_takes_work() {
    let tree = Tree::new();
    let mut folder = tree.folder();
    for _ in 0..60 {
        let name = [b'n'; 100];
        rustix::fs::mkdirat(&folder, &name[..], Mode::from_raw_mode(0o755)).unwrap();
        folder = folder.folder(&name).unwrap();
    }
    rustix::fs::openat(&folder, "f", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o644)).unwrap();
    let path = folder.path();
    assert!(path.as_os_str().len() > PATH_MAX && fs::metadata(&path).is_err());
    assert_eq!((folder.depth(), folder.below().as_os_str().len()), (60, 60 * 101 - 1));
    assert_eq!(folder.open_file(b"f").unwrap().path(), path.join("f"));
    rustix::fs::mkdirat(&folder, "x", Mode::from_raw_mode(0o755)).unwrap();
    let here = folder.stat_self().unwrap();
    for given in [path.clone(), path.join("."), path.join(""), path.join("x/..")] {
        let again = Folder::open(&given, LastLink::Refuse).unwrap().stat_self().unwrap();
        assert_eq!(again.inode, here.inode, "{}", given.display());
    }
    let slashes = format!("{}{}{}", tree.path().display(), "/".repeat(3 * PATH_MAX), "n".repeat(100));
    assert!(Folder::open(slashes.as_ref(), LastLink::Refuse).is_ok());
    assert!(Folder::open(format!("/{}", "/".repeat(3 * PATH_MAX)).as_ref(), LastLink::Refuse).is_ok());
    let error = Folder::open("n".repeat(PATH_MAX).as_ref(), LastLink::Refuse).unwrap_err();
    assert_eq!(error.source.raw_os_error(), Some(Errno::NAMETOOLONG.raw_os_error()));
}

#[test]
fn one_who_owns_nothing_reads_what_he_may() {
    let tree = Tree::new();
    tree.file("open", b"abc");
    tree.file("shut", b"abc");
    fs::create_dir(tree.at("shut folder")).unwrap();
    for name in ["shut", "shut folder"] {
        fs::set_permissions(tree.at(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    as_nobody(|| {
        let folder = tree.folder();
        assert_eq!(folder.open_file(b"open").unwrap().stat().size, 3);
        assert_eq!(folder.open_file(b"shut").unwrap_err().kind, ErrorKind::Denied);
        assert_eq!(folder.folder(b"shut folder").unwrap_err().kind, ErrorKind::Denied);
        assert!(folder.stat(b"shut").is_ok());
    });
}
