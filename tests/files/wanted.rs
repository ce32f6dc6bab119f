//! What is walked: sources, what lies above them, and what is left out.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use kamba_vault::base::clock::{Cancel, Timestamp};
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::node::NodeType;
use kamba_vault::ops::snapshot::{Deaf, FilesRequest, Observer, Why, plan_files};

use crate::scene::{self, Scene, exclude, snapshot};
use crate::support;

fn names(scene: &Scene, request: &FilesRequest) -> Vec<String> {
    let made = snapshot(&scene.repo, request).0.unwrap();
    scene.nodes(&made).into_keys().map(|path| String::from_utf8(path).unwrap()).collect()
}

#[test]
fn patterns_leave_out_and_what_is_below_with_it() {
    let scene = Scene::new();
    for name in ["a.log", "a.txt", "x/b.log", "x/keep.log", "cache/c", "y/cache/c"] {
        scene.file(name, b"");
    }
    let patterns = ["*.log", "!keep.log", "/cache"];
    let request = FilesRequest { exclude: exclude(&patterns), ..scene.request() };
    assert_eq!(names(&scene, &request), ["a.txt", "x", "x/keep.log", "y", "y/cache", "y/cache/c"]);
    let made = snapshot(&scene.repo, &request).0.unwrap();
    assert_eq!((made.counts.excluded, made.counts.unchanged), (3, 3));
}

#[test]
fn a_source_in_what_is_left_out_is_wanted() {
    let scene = Scene::new();
    for name in ["a", "out/b", "out/in/c", "out/in/out/d"] {
        scene.file(name, b"");
    }
    let sources = vec![scene.path(), scene.at("out/in")];
    let request = FilesRequest { sources, exclude: exclude(&["/out"]), ..FilesRequest::default() };
    // The pattern counts from each source, and so once more below the inner one.
    assert_eq!(names(&scene, &request), ["a", "out", "out/in", "out/in/c"]);
}

#[test]
fn of_a_cache_its_mark_is_kept() {
    let scene = Scene::new();
    scene.file("c/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55 and more");
    scene.file("c/big", b"");
    scene.file("d/CACHEDIR.TAG", b"no signature");
    scene.file("d/big", b"");
    let request = FilesRequest { exclude_caches: true, ..scene.request() };
    assert_eq!(names(&scene, &request), ["c", "c/CACHEDIR.TAG", "d", "d/CACHEDIR.TAG", "d/big"]);
    assert_eq!(names(&scene, &scene.request()).len(), 6);
}

#[test]
fn other_file_systems_are_left_out_on_request() {
    let scene = Scene::new();
    let device = |path: &str| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    let sources = vec![PathBuf::from("/dev")];
    let request = FilesRequest { sources, one_file_system: true, ..FilesRequest::default() };
    let made = snapshot(&scene.repo, &request).0.unwrap();
    let nodes = scene::nodes(&scene.repo, &made);
    for other in ["dev/shm", "dev/pts", "dev/mqueue"] {
        if device(&format!("/{other}")).is_some_and(|at| Some(at) != device("/dev")) {
            let node = &nodes[other.as_bytes()];
            assert_eq!((node.kind, node.children.len()), (NodeType::Directory, 0));
        }
    }
    assert_eq!(nodes[&b"dev/null"[..]].meta.device, Some(rustix::fs::makedev(1, 3)));
}

#[test]
fn folders_above_a_source_are_there_with_their_own_metadata_and_nothing_else() {
    let scene = Scene::new();
    for name in ["a/b/c/f", "a/b/other", "a/g", "h"] {
        scene.file(name, name.as_bytes());
    }
    symlink("a/b", scene.at("way")).unwrap();
    let sources = vec![scene.at("a/b/c"), scene.at("a/g"), scene.at("way"), scene.at("way/other")];
    let request = FilesRequest { sources, ..FilesRequest::default() };
    let made = snapshot(&scene.repo, &request).0.unwrap();
    let nodes = scene.nodes(&made);
    let paths: Vec<&[u8]> = nodes.keys().map(Vec::as_slice).collect();
    // What is both a source and the way to one is a folder.
    let expected = ["a", "a/b", "a/b/c", "a/b/c/f", "a/g", "way"];
    assert_eq!(paths, expected.map(str::as_bytes));
    let meta = std::fs::metadata(scene.at("a/b")).unwrap();
    assert_eq!(nodes[&b"a/b"[..]].meta.mode, Some(meta.mode() & 0o7777));
    let sources: Vec<String> = request.sources.iter().map(|path| path.display().to_string()).collect();
    assert_eq!(made.made.sources, sources);
    let again = snapshot(&scene.repo, &request).0.unwrap();
    assert_eq!((again.counts.unchanged, again.counts.read_bytes), (3, 0), "sources that are files as well");
}

#[test]
fn a_link_that_is_named_is_kept_as_a_link() {
    let scene = Scene::new();
    symlink("/etc", scene.at("l")).unwrap();
    let request = FilesRequest { sources: vec![scene.at("l")], ..FilesRequest::default() };
    let made = snapshot(&scene.repo, &request).0.unwrap();
    let node = &scene.nodes(&made)[&b"l"[..]];
    assert_eq!((node.kind, node.meta.link_target.as_deref()), (NodeType::Symlink, Some(&b"/etc"[..])));
}

#[test]
fn a_source_that_is_not_there_makes_no_snapshot() {
    let scene = Scene::new();
    let request = FilesRequest { sources: vec![scene.path(), scene.at("gone")], ..FilesRequest::default() };
    let (made, _) = snapshot(&scene.repo, &request);
    let error = made.unwrap_err().to_string();
    assert!(error.ends_with("/gone: No such file or directory (os error 2)"), "{error}");
    assert_eq!(support::names(&*scene.memory, "leases/"), [""; 0]);
}

#[test]
fn the_snapshots_time_can_be_given() {
    let scene = Scene::new();
    let request = FilesRequest { time: Some(Timestamp(7)), ..scene.request() };
    let made = snapshot(&scene.repo, &request).0.unwrap();
    assert_eq!(made.made.started, Timestamp(7));
}

#[test]
fn a_plan_stores_nothing_and_says_what_would_be_read() {
    let scene = Scene::new();
    scene.file("old", b"content");
    let _ = scene.snapshot();
    scene.file("new", &[7; 1000]);
    let before = support::objects(&scene.memory);
    let plan = || {
        let request = scene.request();
        plan_files(&scene.repo, &support::provenance(), &request, &Deaf, Arc::new(Silent), &Cancel::new())
            .unwrap()
    };
    let counts = plan();
    assert_eq!((counts.unchanged, counts.new, counts.read_bytes), (1, 1, 1000));
    assert_eq!(plan(), counts, "nothing was noted either");
    assert!(support::objects(&scene.memory) == before);
    assert_eq!(scene.counts(), counts);
}

#[derive(Default)]
struct Heard(Mutex<Vec<(PathBuf, Why)>>);

impl Observer for Heard {
    fn left_out(&self, path: &Path, why: Why) {
        self.0.lock().unwrap().push((path.to_owned(), why));
    }
}

#[test]
fn what_is_left_out_is_named() {
    let scene = Scene::new();
    for name in ["a.log", "b", "out/c", "cache/d", "cache/e"] {
        scene.file(name, b"");
    }
    scene.file("cache/CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55");
    let request =
        FilesRequest { exclude: exclude(&["*.log", "out"]), exclude_caches: true, ..scene.request() };
    let heard = Heard::default();
    let (monitor, cancel) = (Arc::new(Silent), Cancel::new());
    let counts = plan_files(&scene.repo, &support::provenance(), &request, &heard, monitor, &cancel).unwrap();
    assert_eq!(counts.excluded, 3);
    let expected = [("a.log", Why::Pattern), ("cache", Why::Cache), ("out", Why::Pattern)];
    assert_eq!(heard.0.into_inner().unwrap(), expected.map(|(name, why)| (scene.at(name), why)));
}

#[test]
fn names_that_are_no_text_are_sources_too() {
    let scene = Scene::new();
    let path = scene.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    std::fs::write(&path, b"x").unwrap();
    let request = FilesRequest { sources: vec![path], ..FilesRequest::default() };
    let made = snapshot(&scene.repo, &request).0.unwrap();
    assert!(scene.nodes(&made).contains_key(&b"\xff\xfe"[..]));
}
