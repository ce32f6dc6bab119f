//! Deep and odd places: long paths, names of any bytes, removal of what is deep or mounted.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use super::{REPLACING, done, is_root, meta, mode, names, put, symlink, target};
use crate::files::write::Folder;

/// A chain of folders, and the last of them.
fn deep(root: &Folder, names: impl Iterator<Item = Vec<u8>>) -> Vec<Folder> {
    let mut folders = vec![root.clone()];
    for name in names {
        folders.push(folders.last().unwrap().folder(&name).unwrap());
    }
    folders
}

#[test]
fn paths_may_be_longer_than_the_system_takes() {
    let (_temp, path, target) = target(REPLACING);
    let folders = deep(target.root(), (0..40).map(|_| vec![b'n'; 255]));
    let last = folders.last().unwrap();
    assert!(last.path().as_os_str().len() > 10_000);
    put(last.file(b"file").unwrap(), b"deep");
    done(last.entry(b"link", &symlink(b"x")).unwrap());
    for folder in folders.iter().skip(1).rev() {
        assert_eq!(folder.finish(&meta(0o755)), []);
    }
    drop(folders);
    let long = vec![vec![b'n'; 255]; 40].join(&b'/');
    let mut found: Vec<Vec<u8>> =
        target.find(&long).unwrap().unwrap().entries().unwrap().map(|entry| entry.unwrap().name).collect();
    found.sort();
    assert_eq!(found, [b"file", b"link"]);
    assert_eq!(target.root().remove(&[b'n'; 255]).unwrap(), 42);
    assert_eq!(names(&path), [""; 0]);
}

#[test]
fn removal_is_deeper_than_its_descriptors() {
    let (_temp, path, target) = target(REPLACING);
    let root = target.root();
    for depth in [63, 64, 65, 66, 400] {
        let folders = deep(root, (0..depth).map(|_| b"d".to_vec()));
        for folder in folders.iter().skip(1) {
            put(folder.file(b"f").unwrap(), b"x");
            folder.folder(b"empty").unwrap();
        }
        drop(folders);
        assert_eq!(root.remove(b"d").unwrap(), 3 * depth);
        assert_eq!(names(&path), [""; 0]);
    }
}

#[test]
fn names_are_bytes() {
    let (_temp, path, target) = target(REPLACING);
    for name in [&b"\xff\xfe"[..], b"new\nline", b" ", b"-rf", b"...", b"\x1b[31m", &[b'x'; 255]] {
        put(target.root().file(name).unwrap(), name);
        assert_eq!(fs::read(path.join(OsStr::from_bytes(name))).unwrap(), name);
        assert_eq!(target.root().remove(name).unwrap(), 1);
    }
}

#[test]
fn an_existing_folder_keeps_what_is_in_it() {
    let (_temp, path, target) = target(REPLACING);
    fs::create_dir(path.join("f")).unwrap();
    fs::write(path.join("f/old"), "old").unwrap();
    let folder = target.root().folder(b"f").unwrap();
    assert!(!folder.is_new());
    put(folder.file(b"new").unwrap(), b"new");
    assert_eq!(folder.finish(&meta(0o711)), []);
    assert_eq!(names(&path.join("f")), ["new", "old"]);
    assert_eq!(mode(&path.join("f")), 0o711);
}

#[test]
fn what_is_mounted_is_not_removed() {
    if !is_root() {
        return;
    }
    let (temp, path, target) = target(REPLACING);
    let elsewhere = temp.path().join("elsewhere");
    let place = path.join("a/mounted");
    fs::create_dir_all(&place).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("precious"), "precious").unwrap();
    // A bind mount: the same file system, and so the same device.
    let run = |program: &str, arguments: &[&OsStr]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !run("mount", &["--bind".as_ref(), elsewhere.as_os_str(), place.as_os_str()]) {
        return; // Not everywhere may root do that.
    }
    let removed = target.root().remove(b"a");
    let inside = names(&place);
    let unmounted = run("umount", &[place.as_os_str()]);
    assert_eq!(inside, ["precious"]);
    assert_eq!(removed.unwrap_err().path, place);
    assert!(unmounted);
    assert_eq!(target.root().remove(b"a").unwrap(), 2);
    assert_eq!(names(&elsewhere), ["precious"]);
}
