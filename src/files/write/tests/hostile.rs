//! Names and links that lead elsewhere: nothing may appear, change or vanish outside the target.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink as make_link};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tempfile::TempDir;

use super::{REPLACING, done, file_node, meta, mode, names, node, put, symlink, target};
use crate::base::class::Class;
use crate::files::write::{Error, ErrorKind, Made, Match, Options, Target, What};
use crate::format::node::{FileMeta, NodeType};

/// A folder that nothing may touch.
fn outside() -> (TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("precious"), "precious").unwrap();
    let path = temp.path().to_owned();
    (temp, path)
}

#[test]
fn names_that_are_paths_are_refused_everywhere() {
    let (temp, path, target) = target(REPLACING);
    let root = target.root();
    let folder = root.folder(b"in").unwrap();
    put(folder.file(b"first").unwrap(), b"x");
    for bad in [&b""[..], b".", b"..", b"../x", b"/etc/passwd", b"in/first", b"a\0b", b"/"] {
        let refused = |error: Error| {
            assert_eq!(error.kind, ErrorKind::Name, "{error}");
            assert_eq!(error.class(), Class::Damaged);
            assert!(error.path.starts_with(&path), "{error}");
        };
        refused(folder.folder(bad).unwrap_err());
        refused(folder.existing(bad).unwrap_err());
        refused(folder.file(bad).unwrap_err());
        refused(folder.entry(bad, &symlink(b"x")).unwrap_err());
        refused(folder.entry(bad, &node(NodeType::Fifo, meta(0o600))).unwrap_err());
        refused(folder.matches(bad, &file_node(1, meta(0o600))).unwrap_err());
        refused(folder.repair(bad, &file_node(1, meta(0o600)), folder.identity()).unwrap_err());
        refused(folder.remove(bad).unwrap_err());
        refused(folder.link(bad, &folder, b"first", folder.identity()).unwrap_err());
        refused(folder.link(b"second", &folder, bad, folder.identity()).unwrap_err());
    }
    assert!(target.find(b"../in").is_err());
    assert_eq!(names(temp.path()), ["target"]);
    assert_eq!(names(&path), ["in"]);
    assert_eq!(names(&path.join("in")), ["first"]);
}

#[test]
fn a_link_and_then_a_file_below_it_stays_inside() {
    let (_outside, elsewhere) = outside();
    for options in [REPLACING, Options { replace: false, ..REPLACING }] {
        let (_temp, path, target) = target(options);
        let to = elsewhere.to_str().unwrap().as_bytes();
        done(target.root().entry(b"sub", &symlink(to)).unwrap());
        assert!(target.root().existing(b"sub").unwrap().is_none());
        assert!(target.find(b"sub/x").unwrap().is_none());
        match target.root().folder(b"sub") {
            Ok(folder) => {
                assert!(options.replace);
                put(folder.file(b"precious").unwrap(), b"ours");
                assert_eq!(fs::read(path.join("sub/precious")).unwrap(), b"ours");
                assert!(!path.join("sub").is_symlink());
            }
            Err(error) => assert!(!options.replace && error.kind == ErrorKind::Exists),
        }
        // A file over a link replaces the link, not what it points to.
        let precious = elsewhere.join("precious");
        done(target.root().entry(b"file", &symlink(precious.to_str().unwrap().as_bytes())).unwrap());
        match target.root().file(b"file") {
            Ok(file) => put(file, b"ours"),
            Err(error) => assert!(!options.replace && error.kind == ErrorKind::Exists),
        }
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert_eq!(names(&elsewhere), ["precious"]);
    }
}

#[test]
fn a_folder_swapped_for_a_link_between_two_steps_leads_nowhere() {
    let (_outside, elsewhere) = outside();
    let (_temp, path, target) = target(REPLACING);
    let folder = target.root().folder(b"a").unwrap();
    let inner = folder.folder(b"b").unwrap();
    let begun = inner.file(b"begun").unwrap();
    put(inner.file(b"first").unwrap(), b"first");
    let first = fs::metadata(path.join("a/b/first")).unwrap();
    fs::rename(path.join("a"), path.join("away")).unwrap();
    make_link(&elsewhere, path.join("a")).unwrap();
    fs::create_dir(elsewhere.join("b")).unwrap();

    begun.write_at(b"begun", 0).unwrap();
    done(begun.finish(5, &meta(0o644)).unwrap());
    put(inner.file(b"file").unwrap(), b"file");
    done(inner.entry(b"link", &symlink(b"x")).unwrap());
    let identity = crate::files::write::Identity { device: first.dev(), inode: first.ino() };
    done(inner.link(b"second", &inner, b"first", identity).unwrap());
    inner.folder(b"c").unwrap();
    inner.remove(b"precious").unwrap();
    assert_eq!(inner.finish(&meta(0o711)), []);
    assert_eq!(folder.finish(&meta(0o711)), []);
    assert_eq!(names(&path.join("away/b")), ["begun", "c", "file", "first", "link", "second"]);
    assert_eq!(names(&elsewhere), ["b", "precious"]);
    assert_eq!(names(&elsewhere.join("b")), [""; 0]);

    // Opened anew it is a link, and goes.
    let folder = target.root().folder(b"a").unwrap();
    put(folder.file(b"x").unwrap(), b"x");
    assert!(folder.is_new() && names(&path.join("a")) == ["x"]);
    assert_eq!(names(&elsewhere), ["b", "precious"]);
}

#[test]
fn a_folder_that_flips_all_the_time_never_leads_outside() {
    let (_outside, elsewhere) = outside();
    let (_temp, path, target) = target(REPLACING);
    // Not a mode that the folder inside could get.
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
    let before = mode(&elsewhere);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (flip, away) = (path.join("flip"), path.join("away"));
            while !stop.load(Ordering::Relaxed) {
                let _ = fs::rename(&flip, &away);
                let _ = make_link(&elsewhere, &flip);
                let _ = fs::remove_file(&flip);
                let _ = fs::rename(&away, &flip);
            }
        });
        for n in 0..300 {
            // Either may fail while the other turns it over; only where things land counts.
            if let Ok(folder) = target.root().folder(b"flip") {
                if let Ok(file) = folder.file(format!("{}", n % 10).as_bytes()) {
                    let _ = file.finish(0, &meta(0o644));
                }
                folder.finish(&meta(0o700));
            }
            let _ = target.root().remove(b"flip");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(names(&elsewhere), ["precious"]);
    assert_eq!(mode(&elsewhere), before);
}

#[test]
fn removal_never_follows_links() {
    let (_outside, elsewhere) = outside();
    let (_temp, path, target) = target(REPLACING);
    fs::create_dir_all(path.join("a/b")).unwrap();
    make_link(&elsewhere, path.join("a/b/link")).unwrap();
    make_link(&elsewhere, path.join("link")).unwrap();
    assert_eq!(target.root().remove(b"a").unwrap(), 3);
    assert_eq!(target.root().remove(b"link").unwrap(), 1);
    assert_eq!(target.root().remove(b"link").unwrap(), 0);
    assert_eq!(names(&path), [""; 0]);
    assert_eq!(names(&elsewhere), ["precious"]);
}

#[test]
fn a_second_name_is_given_to_the_right_file_only() {
    let (_outside, elsewhere) = outside();
    let (_temp, path, target) = target(REPLACING);
    let root = target.root();
    let file = root.file(b"first").unwrap();
    let Made::Done { identity, .. } = file.finish(0, &meta(0o600)).unwrap() else { panic!("refused") };
    done(root.link(b"second", root, b"first", identity).unwrap());
    done(root.link(b"second", root, b"first", identity).unwrap());
    let stat = fs::metadata(path.join("second")).unwrap();
    assert_eq!((stat.ino(), stat.nlink()), (identity.inode, 2));
    // The very file is left alone even if it is called a link to itself.
    done(root.link(b"first", root, b"first", identity).unwrap());

    fs::remove_file(path.join("first")).unwrap();
    fs::hard_link(elsewhere.join("precious"), path.join("first")).unwrap();
    let made = root.link(b"third", root, b"first", identity).unwrap();
    assert!(matches!(&made, Made::Refused(problem) if problem.what == What::HardLink), "{made:?}");
    let made = root.link(b"third", root, b"nothing", identity).unwrap();
    assert!(matches!(&made, Made::Refused(problem) if problem.what == What::HardLink), "{made:?}");
    assert_eq!(names(&path), ["first", "second"]);
}

#[test]
fn a_file_known_outside_is_replaced_and_not_mended() {
    let (_outside, elsewhere) = outside();
    let (_temp, path, target) = target(REPLACING);
    let precious = elsewhere.join("precious");
    fs::hard_link(&precious, path.join("x")).unwrap();
    let stat = fs::metadata(&precious).unwrap();
    let mtime = crate::base::clock::Timestamp(stat.mtime() * 1_000_000_000 + stat.mtime_nsec());
    let node = file_node(8, FileMeta { mtime: Some(mtime), ..meta(0o666) });
    let found = target.root().matches(b"x", &node).unwrap();
    assert!(matches!(found, Match::Different { .. }), "{found:?}");
    // One that is right in everything may stay what it is.
    let node = file_node(8, FileMeta { mtime: Some(mtime), ..meta(stat.mode() & 0o7777) });
    let found = target.root().matches(b"x", &node).unwrap();
    assert!(matches!(&found, Match::Same { linked: true, metadata, .. } if metadata.is_empty()), "{found:?}");
}

#[test]
fn what_a_node_lacks_or_is_not_known_is_said() {
    let (_temp, path, target) = target(REPLACING);
    let root = target.root();
    let lacks = |kind| root.entry(b"x", &node(kind, meta(0o600))).unwrap_err();
    for kind in [NodeType::Symlink, NodeType::CharDevice, NodeType::BlockDevice] {
        assert_eq!(lacks(kind).class(), Class::Damaged);
    }
    for kind in [NodeType::Other(99), NodeType::Stream, NodeType::Database, NodeType::File] {
        let made = root.entry(b"x", &node(kind, meta(0o600))).unwrap();
        assert!(matches!(made, Made::Refused(_)), "{kind:?}");
    }
    for bad in [&b""[..], b"a\0b", &[b'a'; 5000]] {
        root.entry(b"x", &symlink(bad)).unwrap_err();
    }
    // Said before the content is written, which may be long.
    root.file(&[b'a'; 300]).unwrap_err();
    assert_eq!(names(&path), [""; 0]);
    assert!(Target::open(&path.join("not\0a path"), REPLACING).is_err());
}
