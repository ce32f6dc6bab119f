//! Files that were moved and changed: stored as what changed in them, whatever their names.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::SystemTime;

use kamba_vault::repo::session::Added;

use crate::scene::{Scene, set_mtime};
use crate::support::{self, noise, rows};

const LEN: usize = 600_000;

impl Scene {
    /// Writes other bytes into the file, one in `step`, from `start` on.
    fn edit(&self, name: &str, start: usize, step: usize) {
        let file = fs::File::options().write(true).open(self.at(name)).unwrap();
        for at in (start..LEN).step_by(step) {
            file.write_all_at(format!("edited {at}").as_bytes(), at as u64).unwrap();
        }
    }

    /// Snapshots, and demands that `name` comes back as it is now.
    fn snapshot_with(&self, name: &str) -> Added {
        let made = self.snapshot();
        assert!(self.bytes(&made, name) == fs::read(self.at(name)).unwrap());
        support::assert_clean(&self.repo);
        made.made.added
    }
}

/// Demands that most of a file was new, and stored as what had changed.
fn assert_deltas(added: &Added) {
    assert!(added.new_bytes as usize > LEN / 2, "{added:?}");
    assert!(added.delta_bytes > added.new_bytes * 9 / 10, "{added:?}");
    assert!(added.coded_bytes < added.new_bytes / 20, "{added:?}");
}

fn assert_whole(added: &Added) {
    assert!(added.new_bytes as usize > LEN * 9 / 10 && added.delta_bytes == 0, "{added:?}");
}

#[test]
fn one_that_was_moved_and_edited_all_over_follows_itself() {
    let scene = Scene::new();
    scene.file("a/orders.csv", &rows(1, LEN));
    scene.file("z/other", &rows(2, LEN));
    let _ = scene.snapshot();
    for (from, to) in [
        ("a/orders.csv", "a/before.csv"),
        ("a/before.csv", "a/orders 2.csv"),
        ("a/orders 2.csv", "z/orders.csv"),
        ("z/orders.csv", "a/b/c"),
    ] {
        fs::create_dir_all(scene.at("a/b")).unwrap();
        fs::rename(scene.at(from), scene.at(to)).unwrap();
        scene.edit(to, to.len(), 5_000);
        assert_deltas(&scene.snapshot_with(to));
    }
}

#[test]
fn one_that_took_over_the_name_of_another_follows_itself() {
    let scene = Scene::new();
    scene.file("log.1", &rows(1, LEN));
    scene.file("log", &rows(2, LEN));
    let _ = scene.snapshot();
    fs::rename(scene.at("log"), scene.at("log.1")).unwrap();
    scene.edit("log.1", 0, 5_000);
    assert_deltas(&scene.snapshot_with("log.1"));
}

#[test]
fn one_that_was_written_anew_follows_its_name() {
    let scene = Scene::new();
    scene.file("f", &rows(1, LEN));
    let _ = scene.snapshot();
    fs::copy(scene.at("f"), scene.at("new")).unwrap();
    fs::rename(scene.at("new"), scene.at("f")).unwrap();
    scene.edit("f", 0, 5_000);
    assert_deltas(&scene.snapshot_with("f"));
}

#[test]
fn what_the_parent_knew_when_the_cache_was_lost_is_known_again() {
    let mut scene = Scene::new();
    scene.file("f", &rows(1, LEN));
    let _ = scene.snapshot();
    scene.lose_cache();
    assert_eq!(scene.counts().unchanged, 1);
    fs::rename(scene.at("f"), scene.at("g")).unwrap();
    scene.edit("g", 0, 5_000);
    assert_deltas(&scene.snapshot_with("g"));
}

#[test]
fn without_a_cache_one_that_begins_as_it_did_follows_itself() {
    let mut scene = Scene::new();
    scene.file("f", &rows(1, LEN));
    let _ = scene.snapshot();
    scene.lose_cache();
    fs::rename(scene.at("f"), scene.at("g")).unwrap();
    scene.edit("g", 100_000, 5_000);
    assert_deltas(&scene.snapshot_with("g"));
}

#[test]
fn a_copy_that_was_edited_follows_what_it_was_made_of() {
    let scene = Scene::new();
    scene.file("a", &rows(1, LEN));
    let _ = scene.snapshot();
    fs::copy(scene.at("a"), scene.at("b")).unwrap();
    scene.edit("b", 100_000, 5_000);
    assert_deltas(&scene.snapshot_with("b"));
    // And one of which only the middle is as it was.
    fs::copy(scene.at("a"), scene.at("c")).unwrap();
    scene.edit("c", 1_234, 5_000);
    let file = fs::File::options().write(true).open(scene.at("c")).unwrap();
    file.write_all_at(&rows(1, LEN)[200_000..300_000], 200_000).unwrap();
    let added = scene.snapshot_with("c");
    assert!(added.new_bytes > 400_000 && added.delta_bytes > 200_000, "{added:?}");
}

#[test]
fn copies_that_are_the_same_cost_nothing() {
    let mut scene = Scene::new();
    scene.file("a", &rows(1, LEN));
    let _ = scene.snapshot();
    fs::copy(scene.at("a"), scene.at("b")).unwrap();
    scene.lose_cache();
    let added = scene.snapshot_with("b");
    assert!(added.new_bytes < 2_000 && added.base_bytes == 0, "{added:?}");
}

#[test]
fn an_inode_with_another_file_does_no_harm() {
    let scene = Scene::new();
    scene.file("f", &rows(1, LEN));
    let _ = scene.snapshot();
    // As far as the cache can tell this is the same file, and all of it is another.
    let inode = fs::metadata(scene.at("f")).unwrap().ino();
    fs::rename(scene.at("f"), scene.at("g")).unwrap();
    fs::write(scene.at("g"), noise(7, LEN)).unwrap();
    assert_eq!(fs::metadata(scene.at("g")).unwrap().ino(), inode);
    assert_whole(&scene.snapshot_with("g"));
    // One that was given a free inode, where the file system does that.
    fs::remove_file(scene.at("g")).unwrap();
    scene.file("h", &noise(8, LEN));
    set_mtime(&scene.at("h"), SystemTime::UNIX_EPOCH);
    assert_whole(&scene.snapshot_with("h"));
}
