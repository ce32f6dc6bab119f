//! The program itself, killed by a signal that nobody can catch: no destructor runs, nothing is
//! closed. Wherever it struck, the repository opens and checks clean (I-10), holds whole snapshots
//! only, and the next run succeeds and reuses what is in the index.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;

use crate::program::{self, Sandbox, finish};
use crate::support::{noise, wait_for};

/// Objects below the repository's folder, and files that are becoming some.
fn files(repository: &Path) -> usize {
    let (mut folders, mut files) = (vec![repository.to_owned()], 0);
    while let Some(folder) = folders.pop() {
        // What was there a moment ago may be gone: the program is at work.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => files += 1,
            }
        }
    }
    files
}

/// Kills `child` once `reached`; `false` if it ended before.
fn kill_when(mut child: Child, mut reached: impl FnMut() -> bool) -> bool {
    let mut ended = None;
    wait_for("the moment to strike", || {
        ended = child.try_wait().unwrap();
        ended.is_some() || reached()
    });
    let _ = child.kill();
    let status = child.wait().unwrap();
    assert!(ended.is_none_or(|status| status.success()), "it failed by itself: {ended:?}");
    !status.success()
}

/// Starts a snapshot of `data`, whose source then ends or falls silent, and kills it once `reached`;
/// `false` if it ended before.
fn strike(sandbox: &Sandbox, data: &[u8], ends: bool, reached: impl FnMut() -> bool) -> bool {
    let mut command = sandbox.program();
    command.args(["-q", "snapshot", "stdin", "--name", "stream"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut source = child.stdin.take().unwrap();
    thread::scope(|scope| {
        let feeding = scope.spawn(move || {
            // It may be dead by now.
            let _ = source.write_all(data);
            (!ends).then_some(source)
        });
        let killed = kill_when(child, reached);
        drop(feeding.join().unwrap());
        killed
    })
}

/// What the program adds to a snapshot's repository, as it says itself.
fn stored_bytes(sandbox: &Sandbox) -> u64 {
    sandbox.snapshots().last().unwrap()["stats"]["stored_bytes"].as_u64().unwrap()
}

/// All snapshots are whole; how many there are.
fn assert_sound(sandbox: &Sandbox, data: &[u8]) -> usize {
    let checked = sandbox.run(&["-q", "check", "--read-data", "--json"]).json();
    assert_eq!(checked["clean"], true, "{checked}");
    let snapshots = sandbox.snapshots();
    for snapshot in &snapshots {
        let read = sandbox.run(&["cat", &format!("{}:stream", snapshot["id"].as_str().unwrap())]);
        assert!(read.status == 0 && read.stdout == data, "{snapshot}: {}", read.stderr);
    }
    snapshots.len()
}

/// The next run after a death: it succeeds, and what it stored is all there is to read.
fn go_on(sandbox: &Sandbox, data: &[u8], before: usize) {
    let next = sandbox.feed(data, &["-q", "snapshot", "stdin", "--name", "stream"]);
    assert_eq!(next.status, 0, "{}", next.stderr);
    assert_eq!(assert_sound(sandbox, data), before + 1);
}

#[test]
fn killed_after_any_number_of_objects_it_leaves_garbage_at_most() {
    // A lease and two packs of 16 MiB come before the end of the source, the rest after it.
    let data = noise(1, 40_000_000);
    let before_its_end = 3;
    for objects in 1.. {
        let sandbox = Sandbox::new();
        let repository = sandbox.path("repository");
        let (before, ends) = (files(&repository), objects > before_its_end);
        let killed = strike(&sandbox, &data, ends, || files(&repository) >= before + objects);
        let there = assert_sound(&sandbox, &data);
        assert!(there <= usize::from(ends));
        go_on(&sandbox, &data, there);
        if !killed {
            assert!(objects > before_its_end);
            break;
        }
    }
}

/// Rows that are noise, some of them other ones on each day.
fn day(day: u64) -> Vec<u8> {
    let mut data = noise(3, 24_000_000);
    for today in 1..=day {
        for at in (0..data.len() - 60).step_by(150_000) {
            data[at..at + 40].copy_from_slice(&noise(today * 1_000_000 + at as u64, 40));
        }
    }
    data
}

#[test]
fn killed_while_it_codes_deltas_it_leaves_no_chain_without_an_end() {
    let days = [day(0), day(1), day(2)];
    for objects in 1.. {
        let sandbox = Sandbox::new();
        for data in &days[..2] {
            assert_eq!(sandbox.feed(data, &["-q", "snapshot", "stdin", "--name", "stream"]).status, 0);
        }
        let repository = sandbox.path("repository");
        let before = files(&repository);
        let killed = strike(&sandbox, &days[2], true, || files(&repository) >= before + objects);
        let checked = sandbox.run(&["-q", "check", "--read-data", "--json"]).json();
        assert_eq!(checked["clean"], true, "{checked}");
        let next = sandbox.feed(&days[2], &["-q", "snapshot", "stdin", "--name", "stream"]);
        assert_eq!(next.status, 0, "{}", next.stderr);
        // What the dead one left is known or not; what is new today is small either way.
        assert!(stored_bytes(&sandbox) < 3_000_000, "{}", stored_bytes(&sandbox));
        let snapshots = sandbox.snapshots();
        for (snapshot, data) in [(0, &days[0]), (1, &days[1]), (snapshots.len() - 1, &days[2])] {
            let id = snapshots[snapshot]["id"].as_str().unwrap();
            let read = sandbox.run(&["cat", &format!("{id}:stream")]);
            assert!(read.status == 0 && read.stdout == *data, "{snapshot}: {}", read.stderr);
        }
        if !killed {
            break;
        }
    }
}

#[test]
fn killed_with_a_part_of_the_index_written_it_goes_on_from_there() {
    // An index part is written after every 128 MiB. The source has more, and then falls silent.
    let data = noise(2, 170_000_000);
    let sandbox = Sandbox::new();
    let index = sandbox.path("repository/index");
    let has_part = || program::files(&index).iter().any(|path| !path.to_str().unwrap().contains(".tmp-"));
    assert!(strike(&sandbox, &data, false, || index.exists() && has_part()));
    assert_eq!(assert_sound(&sandbox, &data), 0);
    go_on(&sandbox, &data, 0);
    let stored = stored_bytes(&sandbox);
    assert!(stored < 80_000_000, "what was in the index is used: {stored} bytes stored again");
    // A machine without the cache sees the same.
    fs::remove_dir_all(sandbox.path(".cache")).unwrap();
    assert_eq!(assert_sound(&sandbox, &data), 1);
}

#[test]
fn killed_at_init_there_is_a_repository_or_the_next_init_makes_one() {
    for objects in 0.. {
        let sandbox = Sandbox::empty();
        let mut command = sandbox.program();
        let child = command.arg("init").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let repository = sandbox.path("repository");
        let killed = kill_when(child, || files(&repository) >= objects);
        let made = repository.join("config").exists();
        assert!(killed || made);
        if !made {
            let again = finish(sandbox.program().arg("init"));
            assert_eq!(again.status, 0, "killed at {objects} objects: {again:?}");
        }
        go_on(&sandbox, b"small", 0);
        if !killed {
            break;
        }
    }
}
