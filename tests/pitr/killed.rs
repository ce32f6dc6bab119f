//! `restore pitr` killed at growing numbers of files, and at each of its last steps: what it leaves starts no
//! server until it is whole, and the next run goes on.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::killing::kill_when;
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
