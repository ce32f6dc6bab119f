//! What cannot be read, or changes while it is read: the snapshot is made, and says so.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::monitor::{Monitor, Recorder};
use kamba_vault::ops::snapshot::{Deaf, MadeFiles, snapshot_files};

use crate::scene::{Scene, snapshot};
use crate::support;

/// Does something when a file or folder is come to, after it was opened.
struct Meanwhile<F> {
    recorder: Recorder,
    act: F,
}

impl<F: Fn(&Path) + Send + Sync> Monitor for Meanwhile<F> {
    fn item(&self, name: &str) {
        (self.act)(Path::new(name));
    }
    fn warn(&self, message: &str) {
        self.recorder.warn(message);
    }
}

fn meanwhile(scene: &Scene, act: impl Fn(&Path) + Send + Sync + 'static) -> (MadeFiles, Vec<String>) {
    let monitor = Arc::new(Meanwhile { recorder: Recorder::default(), act });
    let made = snapshot_files(
        &scene.repo,
        &support::provenance(),
        &scene.request(),
        &Deaf,
        monitor.clone(),
        &Cancel::new(),
    );
    (made.unwrap(), monitor.recorder.lines())
}

/// A file of long ago, changed by `change` while it is read: what is kept of it, and what is said.
fn changed(len: usize, change: fn(&Path)) -> (Vec<u8>, String) {
    let scene = Scene::new();
    let data = support::rows(5, len);
    scene.file("f", &data);
    crate::scene::set_mtime(&scene.at("f"), std::time::UNIX_EPOCH);
    let (made, warned) = meanwhile(&scene, move |path| {
        if path.ends_with("f") {
            change(path);
        }
    });
    assert!(made.made.incomplete);
    assert_eq!((made.counts.problems, warned.len()), (1, 1), "{warned:?}");
    let node = scene.nodes(&made).remove(&b"f"[..]).unwrap();
    let problem = node.meta.problem.clone().unwrap();
    assert!(warned[0].ends_with(&problem), "{warned:?}");
    assert_eq!((node.meta.ctime, node.meta.inode), (None, None));
    assert_eq!(scene.counts().unchanged, 0, "it is read again");
    (scene.bytes(&made, "f"), problem)
}

#[test]
fn a_file_that_changes_is_kept_as_it_was_read() {
    let (kept, problem) = changed(100_000, |path| {
        std::fs::File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
    });
    assert_eq!((kept.len(), problem.as_str()), (100_000, "it grew while it was read"));
    let (kept, problem) = changed(100_000, |path| {
        std::fs::File::options().write(true).open(path).unwrap().set_len(40_000).unwrap();
    });
    assert_eq!((kept.len(), problem.as_str()), (40_000, "it shrank while it was read"));
    assert!(kept == support::rows(5, 100_000)[..40_000]);
    let (kept, problem) = changed(1_000, |path| {
        std::fs::File::options().write(true).open(path).unwrap().write_all(b"other").unwrap();
    });
    assert_eq!((kept.len(), problem.as_str()), (1_000, "it was written to while it was read"));
}

#[test]
fn what_vanishes_is_left_out_and_said() {
    let scene = Scene::new();
    scene.file("d/a", b"stays");
    scene.file("d/b", b"goes");
    scene.file("d/c/f", b"goes with its folder");
    let (made, warned) = meanwhile(&scene, |path| {
        if path.ends_with("d") {
            std::fs::remove_file(path.join("b")).unwrap();
            std::fs::remove_dir_all(path.join("c")).unwrap();
        }
    });
    assert_eq!((made.counts.vanished, made.counts.problems, made.made.incomplete), (2, 2, true));
    assert!(warned[0].ends_with("/d/b vanished while the snapshot was made"), "{warned:?}");
    let nodes = scene.nodes(&made);
    assert!(nodes.keys().eq([&b"d"[..], b"d/a"]), "{:?}", nodes.keys());
    assert!(!scene.snapshot().made.incomplete);
}

#[test]
fn what_is_replaced_is_kept_as_what_it_is_then() {
    let scene = Scene::new();
    scene.file("d/b", b"a file");
    scene.file("d/c/f", b"in a folder");
    let (made, warned) = meanwhile(&scene, |path| {
        if path.ends_with("d") && path.join("b").exists() {
            std::fs::remove_file(path.join("b")).unwrap();
            std::fs::create_dir(path.join("b")).unwrap();
            std::fs::remove_dir_all(path.join("c")).unwrap();
            std::os::unix::fs::symlink("/etc", path.join("c")).unwrap();
        }
    });
    assert_eq!(warned, [""; 0]);
    let nodes = scene.nodes(&made);
    assert!(nodes.keys().eq([&b"d"[..], b"d/b", b"d/c"]), "{:?}", nodes.keys());
    assert_eq!(nodes[&b"d/c"[..]].meta.link_target.as_deref(), Some(&b"/etc"[..]));
}

/// Runs without root's rights, in a thread that gives them up for itself alone.
fn as_nobody(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let (user, group) =
                    (Some(rustix::thread::Uid::from_raw(65534)), Some(rustix::thread::Gid::from_raw(65534)));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            }
            run();
        });
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn what_may_not_be_read_is_there_without_its_content() {
    as_nobody(|| {
        let scene = Scene::new();
        scene.file("a", b"readable");
        scene.file("b", b"not readable");
        scene.file("c/d", b"not to be reached");
        scene.file("e/f", b"reached, not listed");
        let mode = |name: &str, mode| {
            std::fs::set_permissions(scene.at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode("b", 0o200);
        mode("c", 0o000);
        mode("e", 0o300);
        let (made, warned) = snapshot(&scene.repo, &scene.request());
        let made = made.unwrap();
        assert_eq!((made.counts.problems, warned.len(), made.made.incomplete), (3, 3, true), "{warned:?}");
        assert!(warned[0].contains("/b: Permission denied"), "{warned:?}");
        let nodes = scene.nodes(&made);
        assert!(nodes.keys().eq([&b"a"[..], b"b", b"c", b"e"]), "{:?}", nodes.keys());
        let b = &nodes[&b"b"[..]];
        assert_eq!((b.size, b.meta.mode), (Some(0), Some(0o200)));
        assert!(b.meta.problem.as_ref().unwrap().contains("Permission denied"));
        assert!(nodes[&b"c"[..]].meta.problem.is_some());
        // Once it may be read it is, though size and times are the same.
        mode("b", 0o600);
        mode("c", 0o700);
        // A source can be reached through a folder that may not be listed.
        let request = kamba_vault::ops::snapshot::FilesRequest {
            sources: vec![scene.at("b"), scene.at("c"), scene.at("e/f")],
            ..Default::default()
        };
        let (made, warned) = snapshot(&scene.repo, &request);
        assert_eq!(warned, [""; 0]);
        let made = made.unwrap();
        assert_eq!(scene.bytes(&made, "b"), b"not readable");
        assert_eq!(scene.bytes(&made, "e/f"), b"reached, not listed");
        mode("e", 0o700);
    });
}
