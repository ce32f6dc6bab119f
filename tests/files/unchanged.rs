//! What may be taken for unchanged, and what may not: each rule of D-6 with what would break it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kamba_vault::ops::snapshot::Provenance;
use kamba_vault::storage::{Backend, Effect, ErrorKind, Fault, Op, Rule};

use crate::scene::{self, Scene, set_mtime, snapshot, snapshot_as};
use crate::support;

fn modified(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn other_content_with_the_same_size_and_the_time_put_back_is_read() {
    let scene = Scene::new();
    scene.file("f", b"old content");
    let first = scene.snapshot();
    let time = modified(&scene.at("f"));
    scene.file("f", b"new content");
    set_mtime(&scene.at("f"), time);
    let second = scene.snapshot();
    assert_eq!((second.counts.unchanged, second.counts.changed), (0, 1));
    assert_eq!(scene.bytes(&first, "f"), b"old content");
    assert_eq!(scene.bytes(&second, "f"), b"new content");
}

#[test]
fn a_file_of_this_moment_is_read_again() {
    let scene = Scene::new();
    scene.file("f", b"content");
    // A clock that is not ahead: the file was made just now, and may change in the same tick.
    let repo = support::open(&(scene.memory.clone() as _), scene.cache.path());
    let made = snapshot(&repo, &scene.request()).0.unwrap();
    let node = &scene.nodes(&made)[&b"f"[..]];
    assert_eq!((node.meta.ctime, node.meta.inode), (None, None));
    let made = scene.snapshot();
    assert_eq!((made.counts.unchanged, made.counts.changed), (0, 1));
    assert_eq!(scene.counts().unchanged, 1, "an hour later it is certain");
}

#[test]
fn another_file_in_the_place_and_inode_of_one_is_read() {
    let scene = Scene::new();
    scene.file("f", b"old content");
    let _ = scene.snapshot();
    let (time, inode) = (modified(&scene.at("f")), std::fs::metadata(scene.at("f")).unwrap().ino());
    // Many file systems give a free inode to the next file; where not, it is another file all the same.
    std::fs::remove_file(scene.at("f")).unwrap();
    for n in 0..100 {
        scene.file("f", b"new content");
        if std::fs::metadata(scene.at("f")).unwrap().ino() == inode {
            break;
        }
        std::fs::rename(scene.at("f"), scene.at(&format!("g{n}"))).unwrap();
    }
    scene.file("f", b"new content");
    set_mtime(&scene.at("f"), time);
    assert_eq!(scene.bytes(&scene.snapshot(), "f"), b"new content");
}

#[test]
fn a_file_moved_over_another_of_its_size_and_time_is_read() {
    let scene = Scene::new();
    scene.file("f", b"old content");
    scene.file("g", b"new content");
    set_mtime(&scene.at("g"), modified(&scene.at("f")));
    let _ = scene.snapshot();
    std::fs::rename(scene.at("g"), scene.at("f")).unwrap();
    assert_eq!(scene.bytes(&scene.snapshot(), "f"), b"new content");
}

#[test]
fn changed_metadata_alone_is_seen() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    scene.file("f", b"content");
    let _ = scene.snapshot();
    std::fs::set_permissions(scene.at("f"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let made = scene.snapshot();
    assert_eq!(scene.nodes(&made)[&b"f"[..]].meta.mode, Some(0o600));
    std::fs::hard_link(scene.at("f"), scene.at("g")).unwrap();
    let nodes = scene.nodes(&scene.snapshot());
    assert!(nodes[&b"f"[..]].meta.link_group.is_some());
    assert_eq!(nodes[&b"f"[..]].meta.link_group, nodes[&b"g"[..]].meta.link_group);
    std::fs::remove_file(scene.at("g")).unwrap();
    assert_eq!(scene.nodes(&scene.snapshot())[&b"f"[..]].meta.link_group, None);
}

#[test]
fn what_a_forgotten_snapshot_had_does_not_count() {
    let scene = Scene::new();
    scene.file("f", &support::rows(1, 100_000));
    let _ = scene.snapshot();
    // Forgotten, and its data removed as well: whoever still believed in it would lose the file.
    for prefix in ["roots/", "data/", "meta/", "index/"] {
        for name in support::names(&*scene.memory, prefix) {
            scene.memory.delete(&name).unwrap();
        }
    }
    let made = scene.snapshot();
    assert_eq!((made.counts.unchanged, made.counts.new), (0, 1));
    assert!(scene.bytes(&made, "f") == support::rows(1, 100_000));
    // This machine remembers the snapshot that is gone, another does not.
    support::assert_clean(&support::Vault::of(scene.memory.clone()).repo);
}

#[test]
fn what_a_forgotten_snapshot_had_does_not_count_beside_another() {
    let scene = Scene::new();
    scene.file("f", b"content");
    let other = Provenance { host: "another".into(), ..support::provenance() };
    let keeps = scene.request();
    let _ = snapshot_as(&scene.repo, &other, &keeps).0.unwrap();
    let forgotten = scene.snapshot();
    assert_eq!(forgotten.counts.unchanged, 1);
    scene.memory.delete(&format!("roots/{}", forgotten.made.id)).unwrap();
    assert_eq!(scene.counts().unchanged, 0, "the rows were from the snapshot that is gone");
}

#[test]
fn chunks_that_are_lost_are_read_again() {
    let scene = Scene::new();
    scene.file("f", &support::rows(1, 100_000));
    let _ = scene.snapshot();
    for name in support::names(&*scene.memory, "data/") {
        scene.memory.delete(&name).unwrap();
    }
    let made = scene.snapshot();
    assert_eq!(made.counts.unchanged, 0);
    assert!(scene.bytes(&made, "f") == support::rows(1, 100_000));
}

#[test]
fn two_trees_at_the_same_path_are_told_apart() {
    let scene = Scene::new();
    scene.file("now/f", b"first tree");
    scene.file("other/f", b"other tree");
    set_mtime(&scene.at("other/f"), modified(&scene.at("now/f")));
    let first = scene.snapshot();
    std::fs::rename(scene.at("now"), scene.at("away")).unwrap();
    std::fs::rename(scene.at("other"), scene.at("now")).unwrap();
    let second = scene.snapshot();
    assert_eq!(scene.bytes(&first, "now/f"), b"first tree");
    assert_eq!(scene.bytes(&second, "now/f"), b"other tree");
}

#[test]
fn without_a_cache_the_parent_serves() {
    let mut scene = Scene::new();
    for n in 0..300 {
        scene.file(&format!("{}/{n}", n % 7), format!("file {n}").as_bytes());
    }
    let first = scene.snapshot();
    scene.lose_cache();
    let second = scene.snapshot();
    assert_eq!((second.counts.unchanged, second.counts.read_bytes), (300, 0));
    assert_eq!(scene.nodes(&first), scene.nodes(&second));
}

#[test]
fn without_a_parent_the_cache_serves() {
    let scene = Scene::new();
    scene.file("a/f", b"content");
    let _ = scene.snapshot();
    let other = Provenance { host: "another".into(), ..support::provenance() };
    let made = snapshot_as(&scene.repo, &other, &scene.request()).0.unwrap();
    assert_eq!((made.counts.unchanged, made.counts.read_bytes), (1, 0));
}

#[test]
fn with_neither_everything_is_read() {
    let mut scene = Scene::new();
    scene.file("a/f", b"content");
    let _ = scene.snapshot();
    scene.lose_cache();
    let other = Provenance { host: "another".into(), ..support::provenance() };
    let made = snapshot_as(&scene.repo, &other, &scene.request()).0.unwrap();
    assert_eq!((made.counts.unchanged, made.counts.new), (0, 1));
}

#[test]
fn a_garbled_cache_is_not_believed() {
    let mut scene = Scene::new();
    scene.file("a/f", b"content");
    let _ = scene.snapshot();
    let folder = std::fs::read_dir(scene.cache.path()).unwrap().next().unwrap().unwrap().path();
    let path = folder.join("files.sqlite");
    assert!(path.exists());
    for log in ["files.sqlite-wal", "files.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.join(log));
    }
    std::fs::write(&path, vec![7; 20_000]).unwrap();
    assert_eq!(scene.counts().unchanged, 1, "the parent serves");
    scene.lose_cache();
}

#[test]
fn what_a_writer_noted_that_died_does_not_count() {
    let scene = Scene::new();
    scene.file("a/f", &support::rows(1, 100_000));
    let fault = std::sync::Arc::new(Fault::new(scene.memory.clone()));
    let repo = scene::open(fault.clone(), scene.cache.path());
    let no_root = |op, name: &str| op == Op::Put && name.starts_with("roots/");
    fault.add(Rule::new(Effect::Fail(ErrorKind::Other), no_root));
    assert!(snapshot(&repo, &scene.request()).0.is_err());
    let made = scene.snapshot();
    assert_eq!((made.counts.unchanged, made.counts.new), (0, 1));
    assert!(scene.bytes(&made, "a/f") == support::rows(1, 100_000));
    // And after one that had replaced what an earlier snapshot knew, the parent serves.
    fault.clear();
    fault.add(Rule::new(Effect::Fail(ErrorKind::Other), no_root));
    assert!(snapshot(&repo, &scene.request()).0.is_err());
    assert_eq!(scene.counts().unchanged, 1);
}

#[test]
fn times_of_access_are_kept_on_request_and_are_those_of_now() {
    let scene = Scene::new();
    scene.file("f", b"content");
    let _ = scene.snapshot();
    let mut request = scene.request();
    request.with_atime = true;
    let made = snapshot(&scene.repo, &request).0.unwrap();
    assert_eq!(made.counts.unchanged, 1);
    let meta = std::fs::metadata(scene.at("f")).unwrap();
    let atime = scene.nodes(&made)[&b"f"[..]].meta.atime.unwrap();
    assert_eq!(atime.0, meta.atime() * 1_000_000_000 + meta.atime_nsec());
    assert_eq!(scene.nodes(&scene.snapshot())[&b"f"[..]].meta.atime, None);
}
