//! The folders above the snapshots: sorted, up to date, and the same as the command line says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::program::wait_for;
use crate::scene::{Scene, ids};

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn snapshots_are_sorted_in_several_ways() {
    let scene = Scene::new();
    fs::write(scene.path("tree/a"), "one").unwrap();
    let tree = scene.path("tree");
    let snapshot = |more: &[&str]| {
        scene.run(&[&["snapshot", "files", "--json", tree.to_str().unwrap()], more].concat()).json()
    };
    let time = "2026-11-22T03:04:05Z";
    snapshot(&["--tag", "daily", "--tag", "a/b", "--host", "web1", "--time", time]);
    fs::write(scene.path("tree/a"), "two").unwrap();
    snapshot(&["--tag", "daily", "--host", "web2"]);
    scene.sandbox.feed(b"text", &["snapshot", "stdin", "--name", "x.txt", "--host", "web1"]).text();
    let _mounted = scene.mount(&[]);
    let top = scene.path("mnt");
    let all = ["by-database", "by-host", "by-kind", "by-tag", "latest", "snapshots"];
    assert_eq!(names(&top), all.map(str::to_owned).into());
    let ids = ids(&scene);
    let folders = names(&top.join("snapshots"));
    assert_eq!(folders.len(), 3);
    let first = format!("2026-11-22T03-04-05Z-{}", &ids[0][..8]);
    assert!(folders.contains(&first), "{folders:?}");
    assert_eq!(names(&top.join("by-host")), ["web1", "web2"].map(str::to_owned).into());
    assert_eq!(names(&top.join("by-kind")), ["files", "stream"].map(str::to_owned).into());
    assert_eq!(names(&top.join("by-tag")), ["a%2fb", "daily"].map(str::to_owned).into());
    assert_eq!(names(&top.join("by-tag/a%2fb")), [first.clone(), "latest".to_owned()].into());
    assert_eq!(names(&top.join("by-tag/daily")).len(), 3);
    assert!(names(&top.join("by-database")).is_empty());
    // What they point to is there.
    let file = tree.strip_prefix("/").unwrap().join("a");
    let read = |folder: &str| fs::read_to_string(top.join(folder).join(&file)).unwrap();
    assert_eq!(
        (read(&format!("by-host/web1/{first}")), read("by-host/web2/latest")),
        ("one".into(), "two".into())
    );
    assert_eq!(
        (read("by-kind/files/latest"), read(&format!("snapshots/{first}"))),
        ("two".into(), "one".into())
    );
    assert_eq!(fs::read_to_string(top.join("latest/x.txt")).unwrap(), "text");
}

#[test]
fn new_snapshots_appear_and_forgotten_ones_go() {
    let scene = Scene::new();
    fs::write(scene.path("tree/a"), "one").unwrap();
    let mounted = scene.mount(&[]);
    let snapshots = scene.path("mnt/snapshots");
    assert_eq!(names(&snapshots).len(), 0);
    assert!(!scene.path("mnt/latest").exists());

    let first = scene.snapshot();
    wait_for("the first snapshot", || names(&snapshots).len() == 1);
    wait_for("latest", || scene.latest().join("a").exists());
    assert_eq!(fs::read_to_string(scene.latest().join("a")).unwrap(), "one");
    fs::write(scene.path("tree/a"), "two").unwrap();
    scene.snapshot();
    wait_for("the second", || fs::read_to_string(scene.latest().join("a")).is_ok_and(|text| text == "two"));
    assert_eq!(names(&snapshots).len(), 2);

    let old = names(&snapshots).into_iter().find(|name| name.ends_with(&first[..8])).unwrap();
    let file = crate::scene::below(&snapshots.join(&old), &scene.path("tree")).join("a");
    let open = fs::File::open(&file).unwrap();
    scene.forget(&first);
    wait_for("the first to go", || names(&snapshots).len() == 1);
    wait_for("the name to go", || !snapshots.join(&old).exists());
    // What is open can still be read: nothing of it was pruned.
    assert_eq!(std::io::read_to_string(open).unwrap(), "one");
    assert_eq!(mounted.log(), "");
}

#[test]
fn a_root_that_cannot_be_read_hides_no_other() {
    let scene = Scene::new();
    fs::write(scene.path("tree/a"), "one").unwrap();
    let first = scene.snapshot();
    let mounted = scene.mount(&[]);
    let roots = scene.path("repository/roots");
    let root = crate::program::files(&roots).pop().unwrap();
    let other = root.with_file_name(root.file_name().unwrap().to_str().unwrap().replace(&first[..4], "0000"));
    fs::write(&other, "this is no root").unwrap();
    scene.snapshot();
    wait_for("the second", || names(&scene.path("mnt/snapshots")).len() == 2);
    assert!(mounted.log().contains("is left out"), "{}", mounted.log());
    assert_eq!(mounted.log().matches("is left out").count(), 1, "{}", mounted.log());
}

#[test]
fn a_mount_of_one_snapshot_is_of_that_one_alone() {
    let scene = Scene::new();
    let file = scene.path("tree/a");
    fs::write(&file, "one").unwrap();
    let first = scene.snapshot();
    fs::write(&file, crate::program::noise(1 << 20)).unwrap();
    scene.snapshot();
    let mounted = scene.mount(&[&first[..8]]);
    let shown = || fs::read_to_string(crate::scene::below(&mounted.at, &file)).unwrap();
    let space = || rustix::fs::statvfs(&mounted.at).unwrap();
    assert_eq!((shown(), space().f_blocks * space().f_frsize), ("one".to_owned(), 4096));
    // Whatever becomes of the others, and of itself in the list.
    scene.snapshot();
    scene.forget(&first);
    assert_eq!((shown(), space().f_blocks), ("one".to_owned(), 1));
    assert_eq!(mounted.log(), "");
}
