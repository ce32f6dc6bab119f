//! `wal push`, `wal fetch` and what fetches ahead are killed at every system call that changes a file: nothing is
//! half there, nothing that was acknowledged is missing, and the next call makes good.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::commands::{Place, quiet};
use crate::killing::{dying_at, has_died};
use crate::program::{Run, finish, outcome};
use crate::segments::{name, segment, write_segment};

/// Calls that change files or make changes durable, and the end, before which all is done.
const CALLS: [&str; 13] = [
    "write",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "exit_group",
];

/// Runs `command` to its end, or to its `n`-th `call`.
fn run_to(command: &Command, call: &str, n: u32) -> Run {
    let strace = Command::new("strace");
    let output = dying_at(strace, command, call, n).output().expect("strace is needed");
    let died = has_died(output.status);
    let run = outcome(output);
    assert!(died || run.status == 0, "{call} {n}: {run:?}");
    run
}

/// Kills what `command` makes at every call of each kind, and has `after` look at what is left: it is given a number
/// of its own for each time, and whether the program ended by itself. Answers at which calls it was killed.
fn kill_at_every_call(command: impl Fn(u64) -> Command, mut after: impl FnMut(u64, bool)) -> Vec<String> {
    let mut round = 0;
    let mut killed = Vec::new();
    for call in CALLS {
        for n in 1.. {
            let run = run_to(&command(round), call, n);
            let ended = run.status == 0;
            after(round, ended);
            round += 1;
            if ended {
                break;
            }
            killed.push(format!("{call} {n}"));
        }
    }
    killed
}

/// It was killed at these, too.
#[track_caller]
fn contains(killed: &[String], calls: &[&str]) {
    for call in calls {
        assert!(killed.iter().any(|killed| killed == call), "{call}: {killed:?}");
    }
}

fn path_of(number: u64) -> String {
    format!("pg_wal/{}", name(1, number))
}

/// What a fetch brings; `None` if there is no such file.
fn fetched(place: &Place, number: u64) -> Option<Vec<u8>> {
    let text = name(1, number).to_string();
    let run = place.run(&["wal", "fetch", "--prefetch=0", &text, "pg_wal/RECOVERYXLOG"]);
    assert!([0, 1].contains(&run.status) && run.stderr.is_empty(), "{run:?}");
    (run.status == 0).then(|| place.fetched())
}

#[test]
fn a_push_may_be_killed_at_every_call() {
    let place = Place::new();
    // After this one a ledger is written, too, and the next waits.
    let first = |round: u64| round * 64 + 63;
    let command = |round: u64| {
        for number in [first(round), first(round) + 1] {
            write_segment(&place.data, 1, number);
        }
        let waits = format!("pg_wal/archive_status/{}.ready", name(1, first(round) + 1));
        fs::write(place.data.join(waits), "").unwrap();
        place.program(&["wal", "push", &path_of(first(round))])
    };
    let killed = kill_at_every_call(command, |round, ended| {
        let numbers = [first(round), first(round) + 1];
        for (number, must_be_there) in numbers.into_iter().zip([ended, false]) {
            let there = fetched(&place, number);
            assert!(there.is_some() || !must_be_there, "{number} is not there");
            assert!(there.is_none_or(|bytes| bytes == segment(1, number)), "{number} is another");
        }
        for number in numbers {
            quiet(&place.run(&["wal", "push", "--batch=2", &path_of(number)]));
            assert!(fetched(&place, number).unwrap() == segment(1, number));
            fs::remove_file(place.data.join(path_of(number))).unwrap();
        }
        fs::remove_file(place.data.join(format!("pg_wal/archive_status/{}.ready", name(1, numbers[1]))))
            .unwrap();
    });
    contains(
        &killed,
        &["fsync 1", "fsync 2", "fsync 3", "mkdirat 2", "write 1", "write 2", "renameat2 2", "exit_group 1"],
    );
    let check = place.run(&["check", "--read-data", "--json"]).json();
    assert_eq!(check["clean"], Value::Bool(true), "{check}");
}

/// Names in `pg_wal` of files that are neither the server's own nor what it removes at its start.
fn strange(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let known = ["archive_status", "RECOVERYXLOG", ".kamba-vault-prefetch"];
    names.filter(|name| !known.contains(&name.as_str()) && !name.starts_with("xlogtemp.")).collect()
}

#[test]
fn a_fetch_may_be_killed_at_every_call() {
    let place = Place::new();
    place.push_segments([3]);
    let folder = place.data.join("pg_wal");
    fs::remove_file(place.data.join(path_of(3))).unwrap();
    let text = name(1, 3).to_string();
    let command = |_| place.program(&["wal", "fetch", "--prefetch=0", &text, "pg_wal/RECOVERYXLOG"]);
    let killed = kill_at_every_call(command, |_, ended| {
        let there = fs::read(folder.join("RECOVERYXLOG")).ok();
        assert!(there.is_some() || !ended);
        assert!(there.is_none_or(|bytes| bytes == segment(1, 3)), "whole or not at all");
        assert_eq!(strange(&folder), [""; 0]);
        assert!(fetched(&place, 3).unwrap() == segment(1, 3));
    });
    contains(&killed, &["write 1", "renameat 1", "exit_group 1"]);
}

#[test]
fn what_fetches_ahead_may_be_killed_at_every_call() {
    let place = Place::new();
    place.push_segments(3..7);
    let text = name(1, 3).to_string();
    let ahead = format!("--ahead={}", 1 << 20);
    let command = |_| {
        // Whoever starts it makes the folder.
        DirBuilder::new().mode(0o700).create(place.ahead()).unwrap();
        place.program(&["wal", "fetch", &ahead, "--prefetch=8", &text, "pg_wal/RECOVERYXLOG"])
    };
    let killed = kill_at_every_call(command, |_, ended| {
        let there = place.fetched_ahead();
        assert!(there.len() == 3 || !ended, "{there:?}");
        // Whatever is called as a whole one is, is one; the rest comes from the repository.
        for number in 4..7 {
            let text = name(1, number).to_string();
            quiet(&finish(&mut place.program(&[
                "wal",
                "fetch",
                "--prefetch=0",
                &text,
                "pg_wal/RECOVERYXLOG",
            ])));
            assert!(place.fetched() == segment(1, number));
        }
        fs::remove_dir_all(place.ahead()).ok();
    });
    contains(&killed, &["write 1", "rename 1", "exit_group 1"]);
}
