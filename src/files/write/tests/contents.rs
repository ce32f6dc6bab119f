//! Bytes and names: whole or not there, holes, leftovers, what may be replaced.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;

use rustix::fs::FlockOperation;

use super::{KEEPING, REPLACING, done, meta, names, node, put, symlink, target};
use crate::files::write::{ErrorKind, Target};
use crate::format::node::NodeType;

#[test]
fn a_file_has_its_name_when_it_is_whole() {
    let (_temp, path, target) = target(REPLACING);
    fs::write(path.join("a"), "before").unwrap();
    let file = target.root().file(b"a").unwrap();
    file.write_at(b"after", 0).unwrap();
    assert_eq!(fs::read(path.join("a")).unwrap(), b"before");
    assert_eq!(names(&path).len(), 2);
    done(file.finish(5, &meta(0o640)).unwrap());
    assert_eq!(fs::read(path.join("a")).unwrap(), b"after");
    assert_eq!(names(&path), ["a"]);

    let dropped = target.root().file(b"b").unwrap();
    dropped.write_at(b"half", 0).unwrap();
    drop(dropped);
    assert_eq!(names(&path), ["a"]);
    target.sync().unwrap();
}

#[test]
fn holes_stay_holes_and_lengths_are_right() {
    let (_temp, path, target) = target(REPLACING);
    let file = target.root().file(b"sparse").unwrap();
    let size = 1 << 40;
    file.write_at(b"middle", 1 << 30).unwrap();
    file.write_at(b"start", 0).unwrap();
    done(file.finish(size, &meta(0o600)).unwrap());
    let stat = fs::metadata(path.join("sparse")).unwrap();
    assert_eq!(stat.len(), size);
    assert!(stat.blocks() * 512 < 1 << 20, "{} blocks", stat.blocks());

    for (name, size) in [("empty", 0), ("hole", 12345)] {
        done(target.root().file(name.as_bytes()).unwrap().finish(size, &meta(0o600)).unwrap());
        assert_eq!(fs::read(path.join(name)).unwrap(), vec![0; size as usize]);
    }
    // More was written than the file should have.
    let long = target.root().file(b"long").unwrap();
    long.write_at(b"0123456789", 0).unwrap();
    done(long.finish(4, &meta(0o600)).unwrap());
    assert_eq!(fs::read(path.join("long")).unwrap(), b"0123");
}

#[test]
fn several_threads_write_files_and_parts_of_one() {
    let (_temp, path, target) = target(REPLACING);
    let folder = target.root().folder(b"f").unwrap();
    let one = folder.file(b"one").unwrap();
    thread::scope(|scope| {
        for n in 0..4u8 {
            let (folder, one) = (&folder, &one);
            scope.spawn(move || {
                one.write_at(&[n; 1000], u64::from(n) * 1000).unwrap();
                for m in 0..50 {
                    put(folder.file(format!("{n}-{m}").as_bytes()).unwrap(), &[n; 100]);
                }
            });
        }
    });
    done(one.finish(4000, &meta(0o600)).unwrap());
    let wanted: Vec<u8> = (0..4).flat_map(|n| [n; 1000]).collect();
    assert_eq!(fs::read(path.join("f/one")).unwrap(), wanted);
    assert_eq!(names(&path.join("f")).len(), 201);
}

#[test]
fn leftovers_go_and_what_is_being_written_stays() {
    let (_temp, path, target) = target(REPLACING);
    let stale = ".kamba-restore-00112233445566aa";
    fs::create_dir(path.join("f")).unwrap();
    fs::write(path.join("f").join(stale), "half").unwrap();
    fs::write(path.join(stale), "half").unwrap();
    let others =
        [".kamba-restore-0011", ".kamba-restore-00112233445566AA", ".kamba-restore-00112233445566aa.txt"];
    for other in others {
        fs::write(path.join("f").join(other), "mine").unwrap();
    }
    std::os::unix::fs::symlink("/etc/passwd", path.join("f/.kamba-restore-00112233445566bb")).unwrap();
    let living = target.root().folder(b"g").unwrap().file(b"x").unwrap();
    living.write_at(b"whole", 0).unwrap();

    let again = Target::open(&path, REPLACING).unwrap();
    let folder = again.root().folder(b"f").unwrap();
    let mut wanted: Vec<String> = others.iter().map(|name| (*name).to_owned()).collect();
    wanted.push(".kamba-restore-00112233445566bb".to_owned());
    wanted.sort();
    assert_eq!(names(&path.join("f")), wanted);
    assert_eq!(names(&path), ["f", "g"]);
    assert_eq!(folder.entries().unwrap().count(), wanted.len());

    let other = again.root().folder(b"g").unwrap();
    assert_eq!(names(&path.join("g")).len(), 1, "a file that is being written was removed");
    assert_eq!(other.entries().unwrap().count(), 0);
    done(living.finish(5, &meta(0o600)).unwrap());
    assert_eq!(fs::read(path.join("g/x")).unwrap(), b"whole");
}

#[test]
fn a_new_file_is_locked_as_long_as_it_is_written() {
    let (_temp, path, target) = target(REPLACING);
    let file = target.root().file(b"x").unwrap();
    let there = fs::File::open(path.join(&names(&path)[0])).unwrap();
    assert!(rustix::fs::flock(&there, FlockOperation::NonBlockingLockExclusive).is_err());
    drop(file);
    rustix::fs::flock(&there, FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn what_is_there_is_replaced_only_if_that_is_allowed() {
    let (_temp, path, _) = target(KEEPING);
    let fill = || {
        fs::create_dir_all(path.join("folder/deep/er")).unwrap();
        fs::write(path.join("folder/deep/file"), "x").unwrap();
        fs::write(path.join("file"), "x").unwrap();
        std::os::unix::fs::symlink("folder", path.join("link")).unwrap();
    };
    fill();
    let keeping = Target::open(&path, KEEPING).unwrap();
    let root = keeping.root();
    let exists = |error: crate::files::write::Error, name: &str| {
        assert_eq!(error.kind, ErrorKind::Exists, "{error}");
        assert_eq!(error.path, path.join(name));
    };
    for name in ["file", "link", "folder"] {
        exists(root.file(name.as_bytes()).unwrap_err(), name);
        exists(root.entry(name.as_bytes(), &symlink(b"to")).unwrap_err(), name);
        exists(root.entry(name.as_bytes(), &node(NodeType::Fifo, meta(0o600))).unwrap_err(), name);
    }
    exists(root.folder(b"file").unwrap_err(), "file");
    exists(root.folder(b"link").unwrap_err(), "link");
    assert!(!root.folder(b"folder").unwrap().is_new());
    // One that appears while the file is written.
    let late = root.file(b"late").unwrap();
    fs::write(path.join("late"), "mine").unwrap();
    exists(late.finish(0, &meta(0o600)).unwrap_err(), "late");
    assert_eq!(fs::read(path.join("late")).unwrap(), b"mine");
    put(root.file(b"new").unwrap(), b"new");
    assert_eq!(names(&path), ["file", "folder", "late", "link", "new"]);

    let replacing = Target::open(&path, REPLACING).unwrap();
    let root = replacing.root();
    put(root.file(b"folder").unwrap(), b"now a file");
    put(root.file(b"link").unwrap(), b"now a file");
    assert!(root.folder(b"file").unwrap().is_new());
    assert!(root.folder(b"link").unwrap().is_new());
    done(root.entry(b"folder", &symlink(b"to")).unwrap());
    done(root.entry(b"file", &node(NodeType::Fifo, meta(0o600))).unwrap());
    assert_eq!(fs::read_link(path.join("folder")).unwrap().to_str(), Some("to"));
    assert_eq!(names(&path), ["file", "folder", "late", "link", "new"]);
}

#[test]
fn looking_changes_nothing() {
    let (temp, path, _) = target(KEEPING);
    fs::create_dir_all(path.join("a/b")).unwrap();
    let stale = path.join("a/.kamba-restore-00112233445566aa");
    fs::write(&stale, "x").unwrap();
    let target = Target::existing(&path, KEEPING).unwrap().unwrap();
    let folder = target.find(b"a/b").unwrap().unwrap();
    assert_eq!(folder.path(), path.join("a/b"));
    assert!(target.find(b"a/c/d").unwrap().is_none());
    assert!(target.root().existing(b"nothing").unwrap().is_none());
    assert!(stale.exists());
    assert!(Target::existing(&temp.path().join("other"), KEEPING).unwrap().is_none());
    assert!(!temp.path().join("other").exists());
}
