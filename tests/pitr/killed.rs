//! `restore pitr` killed at growing numbers of files, at each of its last steps, and at system calls of every kind
//! that it makes: what it leaves starts no server until it is whole, and the next run goes on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::killing::{dying_at, has_died, kill_when};
use crate::stage::Stage;

/// Files and folders below `folder`.
fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| 1 + if entry.path().is_dir() { count(&entry.path()) } else { 0 }).sum()
}

/// Whether a server starts in the copy as it is.
fn starts(stage: &Stage) -> bool {
    let copy = stage.copy();
    let mut command = stage.server.command(stage.server.cluster.pg_ctl());
    command.args(["start", "--wait", "--silent", "--timeout=60", "--options=-p 5433", "--log"]);
    command.arg(stage.server.path("killed.log")).arg("--pgdata").arg(&copy);
    let started = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success();
    stage.server.stop_copy();
    started
}

#[test]
fn what_is_killed_anywhere_starts_only_when_it_is_whole() {
    let stage = Stage::start();
    stage.base();
    stage.mark(1);
    stage.server.switch();
    let copy = stage.copy();
    let restore = |more: &[&str]| {
        let mut command = stage.vault();
        command.args(["restore", "pitr", "--latest", "--target"]).arg(&copy).args(more);
        command
    };
    let mut killed = 0;
    // The first file is the marker, which is under another name while it is written.
    for most in [0, 1, 1, 2, 20, 100, 300, 500, 700, 900] {
        let again = if copy.join("kamba-vault.restoring").exists() { &["--delta"][..] } else { &[] };
        if !kill_when(&mut restore(again), || count(&copy) >= most) {
            break;
        }
        killed += 1;
        // It may have come to its end meanwhile, and only then is there what makes it a cluster.
        if !copy.join("global/pg_control").exists() {
            assert!(
                !starts(&stage),
                "at {most} files: {}",
                fs::read_to_string(stage.server.path("killed.log")).unwrap()
            );
        }
    }
    assert!(killed >= 3, "it was killed {killed} times");
    for step in ["backup_label", "recovery.signal", "global/pg_control"] {
        fs::remove_dir_all(&copy).unwrap();
        kill_when(&mut restore(&[]), || copy.join(step).exists());
        let is_cluster = copy.join("global/pg_control").exists();
        if is_cluster {
            // Then all that a recovery takes is there, too.
            assert!(copy.join("recovery.signal").exists() && copy.join("backup_label").exists(), "{step}");
        } else {
            assert!(!starts(&stage), "{step}");
        }
    }
    stage.restored(&["--latest", "--delta", "--yes"]);
    assert!(!copy.join("kamba-vault.restoring").exists());
    assert_eq!(stage.marks(), "1");
}

/// System calls that change what is on the disk, or make it durable, and at which of them it is killed; of `syncfs`
/// each, for they part the steps. A call is counted thread by thread.
const CALLS: [(&str, &[u32]); 8] = [
    ("syncfs", &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ("mkdirat", &[1, 2, 9]),
    ("openat", &[30, 300]),
    ("pwrite64", &[1, 10, 300]),
    ("utimensat", &[1, 300]),
    ("renameat", &[1, 2, 300]),
    ("unlinkat", &[1, 2]),
    ("exit_group", &[1]),
];

/// What every file below `folder` holds; folders hold nothing.
fn look(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(look(&path));
        }
        let holds = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        found.insert(path, holds);
    }
    found
}

/// Whether there is nothing but files under temporary names, which the next run removes.
fn has_begun_nothing(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.all(|entry| entry.file_name().to_string_lossy().starts_with(".kamba"))
}

#[test]
fn what_is_killed_at_any_kind_of_call_is_no_cluster_until_it_is_whole() {
    let stage = Stage::start();
    stage.base();
    stage.server.switch();
    let copy = stage.copy();
    stage.restored(&["--latest"]);
    let whole = look(&copy);
    let marker = copy.join("kamba-vault.restoring");
    let (mut killed, mut ended) = (Vec::new(), Vec::new());
    for (call, numbers) in CALLS {
        for &n in numbers {
            fs::remove_dir_all(&copy).unwrap();
            let mut command = stage.vault();
            command.args(["restore", "pitr", "--latest", "--target"]).arg(&copy);
            let strace = stage.server.command(Path::new("strace"));
            let output = dying_at(strace, &command, call, n).output().expect("strace is needed");
            match has_died(output.status) {
                true => killed.push(format!("{call} {n}")),
                false => ended.push(format!("{call} {n}")),
            }
            if copy.join("global/pg_control").exists() {
                let mut left = look(&copy);
                left.remove(&marker);
                assert!(left == whole, "{call} {n}: it has pg_control, and is not whole");
            } else {
                assert!(has_died(output.status), "{call} {n}: {}", String::from_utf8_lossy(&output.stderr));
                assert!(marker.exists() || has_begun_nothing(&copy), "{call} {n}");
            }
            stage.restored(&["--latest", "--delta", "--yes"]);
            assert!(look(&copy) == whole, "{call} {n}: the next run makes it whole");
        }
    }
    for call in ["syncfs 1", "syncfs 5", "mkdirat 2", "renameat 300", "pwrite64 1", "exit_group 1"] {
        assert!(killed.iter().any(|killed| killed == call), "{call}: {killed:?}");
    }
    assert!(ended.iter().any(|ended| ended == "syncfs 9"), "all steps were come to: {ended:?}");
}
