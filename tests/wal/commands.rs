//! `wal push` and `wal fetch` as a server calls them: in its data folder, by relative paths, with nothing but an
//! exit status to tell how it went.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::program::{Run, Sandbox, finish};
use crate::segments::{SYSTEM, data_folder, name, segment, segment_of, write_segment};

/// A repository, and the data folder of a cluster.
pub struct Place {
    sandbox: Sandbox,
    pub data: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        let data = sandbox.path("data");
        data_folder(&data, SYSTEM);
        Place { sandbox, data }
    }

    pub fn program(&self, args: &[&str]) -> Command {
        let mut command = self.sandbox.program();
        command.current_dir(&self.data).args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        finish(&mut self.program(args))
    }

    /// Pushes segments of timeline 1.
    pub fn push_segments(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut args = vec!["wal".to_owned(), "push".to_owned()];
        for number in numbers {
            write_segment(&self.data, 1, number);
            args.push(format!("pg_wal/{}", name(1, number)));
        }
        quiet(&self.run(&args.iter().map(String::as_str).collect::<Vec<_>>()));
    }

    /// `wal fetch` of a segment of timeline 1 to where PostgreSQL wants it, with more arguments.
    fn fetch(&self, number: u64, more: &[&str]) -> Run {
        let text = name(1, number).to_string();
        self.run(&[&["wal", "fetch", &text, "pg_wal/RECOVERYXLOG"][..], more].concat())
    }

    pub fn fetched(&self) -> Vec<u8> {
        let path = self.data.join("pg_wal/RECOVERYXLOG");
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(path).unwrap();
        bytes
    }

    /// All WAL objects, which are as many as files were pushed.
    fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in fs::read_dir(self.sandbox.path("repository/wal")).unwrap() {
            let folder = folder.unwrap().path();
            if !folder.ends_with("ledger") {
                found.extend(fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        found
    }

    pub fn ahead(&self) -> PathBuf {
        self.data.join("pg_wal/.kamba-vault-prefetch")
    }

    /// Whether nobody holds the lock of those who fetch ahead.
    fn nobody_fetches_ahead(&self) -> bool {
        let lock = fs::File::open(self.ahead().join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok()
    }

    /// Names in the folder of what was fetched ahead, without the marks of the repository.
    pub fn fetched_ahead(&self) -> Vec<String> {
        let entries = fs::read_dir(self.ahead()).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let whole = names.filter(|name| !name.ends_with(".part"));
        let mut names: Vec<String> =
            whole.filter_map(|name| name.split_once('.').map(|(name, _)| name.to_owned())).collect();
        names.sort();
        names
    }
}

/// Ended well, without a word.
#[track_caller]
pub fn quiet(run: &Run) {
    assert_eq!((run.status, &run.stdout[..], run.stderr.as_str()), (0, &b""[..], ""), "{run:?}");
}

/// Failed with this status and one line.
#[track_caller]
fn says<'r>(run: &'r Run, status: i32, words: &str) -> &'r str {
    let said = run.failed(status);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("error: ") && said.contains(words), "{said}");
    said
}

/// Waits until `there` says so; a busy machine takes its time.
fn wait_until(what: &str, there: impl Fn() -> bool) {
    for _ in 0..6000 {
        if there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} never came");
}

#[test]
fn a_push_is_silent_and_may_be_repeated() {
    let place = Place::new();
    write_segment(&place.data, 1, 3);
    let path = format!("pg_wal/{}", name(1, 3));
    quiet(&place.run(&["wal", "push", &path]));
    quiet(&place.run(&["wal", "push", &path]));
    assert_eq!(place.objects().len(), 1);
    fs::write(place.data.join(&path), segment_of(SYSTEM, 1, 3, 700_000)).unwrap();
    let run = place.run(&["wal", "push", &path]);
    let said = says(&run, 1, "the first difference is at byte");
    assert!(said.contains(&name(1, 3).to_string()) && said.contains("nothing was replaced"), "{said}");
    fs::write(place.data.join("pg_wal/00000002.history"), "1\t0/30000D8\tno reason\n").unwrap();
    let backup = format!("{}.00000028.backup", name(1, 3));
    fs::write(place.data.join("pg_wal").join(&backup), "START WAL LOCATION: 0/3000028\n").unwrap();
    let partial = format!("pg_wal/{}.partial", name(1, 4));
    fs::write(place.data.join(&partial), segment(1, 4)).unwrap();
    quiet(&place.run(&["wal", "push", "pg_wal/00000002.history", &format!("pg_wal/{backup}"), &partial]));
    assert_eq!(place.objects().len(), 4);
    fs::write(place.data.join("pg_wal/00000002.history"), "1\t0/30000D8\tno reasoo\n").unwrap();
    says(&place.run(&["wal", "push", "pg_wal/00000002.history"]), 1, "the first difference is at byte 20");
    assert!(!place.sandbox.path(".cache").exists(), "no index cache was made");
}

#[test]
fn segments_that_wait_are_taken_along() {
    let place = Place::new();
    let path = |number: u64| format!("pg_wal/{}", name(1, number));
    for number in 0..8 {
        write_segment(&place.data, 1, number);
        fs::write(place.data.join(format!("pg_wal/archive_status/{}.ready", name(1, number))), "").unwrap();
    }
    fs::remove_file(place.data.join(format!("pg_wal/archive_status/{}.ready", name(1, 5)))).unwrap();
    quiet(&place.run(&["wal", "push", "--batch=5", &path(1)]));
    assert_eq!(place.objects().len(), 5, "1, 2, 3, 4 and 6");
    // Those that follow are done without being pushed again, or even unlocking anything.
    let without_key =
        |number: u64| finish(place.program(&["wal", "push", &path(number)]).env("KAMBA_KEY_FILE", "/no"));
    quiet(&without_key(2));
    says(&without_key(2), 1, "/no");
    // Unless the repository does not have it, or not any more, or the file has changed.
    let (repository, away) = (place.sandbox.path("repository"), place.sandbox.path("away"));
    fs::rename(&repository, &away).unwrap();
    says(&place.run(&["wal", "push", &path(3)]), 1, "there is no repository");
    fs::rename(&away, &repository).unwrap();
    let before = place.objects();
    for object in &before {
        fs::remove_file(object).unwrap();
    }
    quiet(&place.run(&["wal", "push", "--batch=2", &path(4)]));
    assert_eq!(place.objects().len(), 2, "it was pushed again, with one that waits");
    fs::write(place.data.join(path(6)), segment_of(SYSTEM, 1, 6, 700_000)).unwrap();
    says(&place.run(&["wal", "push", &path(6)]), 1, "has another");
    // A repository that takes the place of the one is not it.
    quiet(&place.run(&["wal", "push", "--batch=8", &path(1)]));
    fs::remove_dir_all(&repository).unwrap();
    fs::remove_file(place.sandbox.path("key")).unwrap();
    place.run(&["init"]).text();
    quiet(&place.run(&["wal", "push", "--batch=1", &path(2)]));
    quiet(&place.run(&["wal", "push", "--batch=2", &path(3)]));
    assert_eq!(place.objects().len(), 3);
}

#[test]
fn what_is_not_this_clusters_is_refused() {
    let place = Place::new();
    let path = format!("pg_wal/{}", name(1, 3));
    let refused = |bytes: &[u8], words: &str| {
        fs::write(place.data.join(&path), bytes).unwrap();
        says(&place.run(&["wal", "push", &path]), 1, words);
    };
    refused(&segment_of(99, 1, 3, 1000), "of the cluster with system identifier 99");
    refused(&segment(1, 4), "its first page is at 0/400000");
    refused(&segment(2, 3), "timeline 2");
    refused(&segment(1, 3)[..(1 << 20) - 1], "it has 1048575 bytes where its segments have 1048576");
    refused(&[&segment(1, 3)[..], &[0]].concat(), "it has 1048577 bytes");
    refused(b"", "too short");
    let mut other = segment(1, 3);
    other[0] = 0x13;
    refused(&other, "it is of PostgreSQL 16, and this cluster is of 15");
    other[0] = 0;
    refused(&other, "does not begin as WAL");
    fs::write(place.data.join("pg_wal/00000002.history"), "no history\n").unwrap();
    says(&place.run(&["wal", "push", "pg_wal/00000002.history"]), 1, "line 1");
    says(&place.run(&["wal", "push", "pg_wal/RECOVERYXLOG"]), 1, "is not called as a WAL file");
    says(&place.run(&["wal", "push", &format!("pg_wal/{}", name(1, 9))]), 1, "No such file");
    // Without a data folder, a segment says itself whose it is; a history does not.
    let alone = place.sandbox.path(&name(1, 3).to_string());
    fs::write(&alone, segment(1, 3)).unwrap();
    quiet(&place.run(&["wal", "push", alone.to_str().unwrap()]));
    let alone = place.sandbox.path("00000002.history");
    fs::write(&alone, "1\t0/30000D8\tno reason\n").unwrap();
    let alone = alone.to_str().unwrap();
    says(&place.run(&["wal", "push", alone]), 1, "--system-id");
    quiet(&place.run(&["wal", "push", "--system-id", &SYSTEM.to_string(), alone]));
    assert_eq!(place.objects().len(), 2);
}

#[test]
fn no_failure_of_a_push_has_a_status_of_its_own() {
    let place = Place::new();
    let path = format!("pg_wal/{}", name(1, 3));
    write_segment(&place.data, 1, 3);
    let with = |name: &str, value: &str| finish(place.program(&["wal", "push", &path]).env(name, value));
    says(&with("KAMBA_REPO", "/nowhere/at/all"), 1, "there is no repository");
    says(&with("KAMBA_REPO", ""), 1, "--repo");
    says(&with("KAMBA_KEY_FILE", "/nowhere"), 1, "/nowhere");
    says(&place.run(&["wal", "push", &path, "--no-such-option"]), 1, "--no-such-option");
    says(&place.run(&["wal", "push"]), 1, "PATH");
    let json = place.run(&["wal", "push", "--json", "pg_wal/x"]);
    let said: Value = serde_json::from_str(json.failed(1)).unwrap();
    assert_eq!(said["message_type"], "error");
}

#[test]
fn a_fetch_tells_absent_from_everything_else() {
    let place = Place::new();
    place.push_segments([3]);
    quiet(&place.fetch(3, &["--prefetch=0"]));
    assert!(place.fetched() == segment(1, 3));
    for absent in [name(1, 4).to_string(), "00000002.history".into(), format!("{}.partial", name(1, 3))] {
        let run = place.run(&["wal", "fetch", &absent, "pg_wal/RECOVERYXLOG"]);
        assert_eq!((run.status, run.stderr.as_str()), (1, ""), "{absent}");
    }
    // Whose it is, the current folder says, or an option.
    let target = place.sandbox.path("segment");
    let target = target.to_str().unwrap();
    let text = name(1, 3).to_string();
    quiet(&place.run(&["wal", "fetch", "--prefetch=0", &text, target]));
    let mut elsewhere = place.sandbox.program();
    elsewhere.current_dir("/").args(["wal", "fetch", "--prefetch=0", &text, target]);
    says(&finish(&mut elsewhere), 126, "--system-id");
    quiet(&finish(elsewhere.args(["--system-id", &SYSTEM.to_string()])));
    let run = finish(elsewhere.args(["--standby"]));
    quiet(&run);
    assert!(!place.data.join("pg_wal/RECOVERYXLOG").exists());
}

#[test]
fn no_failure_of_a_fetch_ends_a_recovery() {
    let place = Place::new();
    place.push_segments([3]);
    let repository = place.sandbox.path("repository");
    let away = place.sandbox.path("away");
    let both = |words: &str| {
        says(&place.fetch(3, &[]), 126, words);
        says(&place.fetch(3, &["--standby"]), 1, words);
        assert!(!place.data.join("pg_wal/RECOVERYXLOG").exists());
    };
    fs::rename(&repository, &away).unwrap();
    both("there is no repository");
    fs::create_dir(&repository).unwrap();
    both("there is no repository");
    fs::remove_dir(&repository).unwrap();
    fs::rename(&away, &repository).unwrap();
    let object = place.objects().remove(0);
    let good = fs::read(&object).unwrap();
    let mut bad = good.clone();
    bad[2000] ^= 1;
    fs::set_permissions(&object, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&object, &bad).unwrap();
    both(&name(1, 3).to_string());
    fs::write(&object, &good[..500]).unwrap();
    both(&name(1, 3).to_string());
    fs::write(&object, &good).unwrap();
    // A target that cannot be written.
    let text = name(1, 3).to_string();
    says(&place.run(&["wal", "fetch", &text, "no/such/folder"]), 126, "no/such/folder");
    // Mistakes in restore_command.
    says(&place.run(&["wal", "fetch", &text]), 126, "PATH");
    says(&place.run(&["wal", "fetch", "--no-such-option", &text, "x"]), 126, "--no-such-option");
    says(&place.run(&["wal", "fetch", "RECOVERYXLOG", "pg_wal/RECOVERYXLOG"]), 126, "no name of a WAL file");
    let mut command = place.program(&["wal", "fetch", &text, "pg_wal/RECOVERYXLOG"]);
    says(&finish(command.env("KAMBA_KEY_FILE", "/nowhere")), 126, "/nowhere");
    quiet(&place.fetch(3, &[]));
}

#[test]
fn a_killed_push_or_fetch_leaves_nothing_half() {
    let place = Place::new();
    for number in 0..16u64 {
        write_segment(&place.data, 1, number);
        let path = format!("pg_wal/{}", name(1, number));
        let mut child = place.program(&["wal", "push", "--batch=1", &path]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(number * 2));
        child.kill().unwrap();
        child.wait().unwrap();
        quiet(&place.run(&["wal", "push", "--batch=1", &path]));
        let text = name(1, number).to_string();
        let args = ["wal", "fetch", "--prefetch=0", &text, "pg_wal/RECOVERYXLOG"];
        let mut child = place.program(&args).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(number * 2));
        child.kill().unwrap();
        child.wait().unwrap();
        // Whole or not there.
        if let Ok(bytes) = fs::read(place.data.join("pg_wal/RECOVERYXLOG")) {
            assert!(bytes == segment(1, number));
        }
        quiet(&place.fetch(number, &["--prefetch=0"]));
        assert!(place.fetched() == segment(1, number));
    }
    assert_eq!(place.objects().iter().filter(|path| !path.to_string_lossy().contains("/.tmp-")).count(), 16);
    let check = place.run(&["check", "--read-data", "--json"]).json();
    assert_eq!((&check["clean"], &check["wal_files_read"]), (&Value::Bool(true), &16.into()));
}

#[test]
fn what_follows_is_fetched_ahead_and_moved() {
    let place = Place::new();
    place.push_segments(0..7);
    quiet(&place.fetch(0, &["--prefetch=4"]));
    assert!(place.fetched() == segment(1, 0));
    let names = |numbers: std::ops::RangeInclusive<u64>| -> Vec<String> {
        numbers.map(|number| name(1, number).to_string()).collect()
    };
    wait_until("what follows", || place.fetched_ahead() == names(1..=4));
    assert_eq!(fs::metadata(place.ahead()).unwrap().permissions().mode() & 0o777, 0o700);
    // The next ones come from there: the repository is not asked, not even whether it is there. The process
    // that fetches ahead still has it open, and would add one.
    wait_until("the end of who fetches ahead", || place.nobody_fetches_ahead());
    let (repository, away) = (place.sandbox.path("repository"), place.sandbox.path("away"));
    fs::rename(&repository, &away).unwrap();
    quiet(&place.fetch(1, &["--prefetch=4"]));
    assert!(place.fetched() == segment(1, 1));
    assert_eq!(place.fetched_ahead(), names(2..=4));
    // Asked for again, it is not there any more.
    says(&place.fetch(1, &["--prefetch=4"]), 126, "there is no repository");
    // One that is not whole, or another cluster's, does not count.
    let of = |number: u64| {
        let entries = fs::read_dir(place.ahead()).unwrap().map(|entry| entry.unwrap().path());
        let mut named = entries.filter(|path| path.to_string_lossy().contains(&name(1, number).to_string()));
        named.next().unwrap()
    };
    fs::write(of(2), &segment(1, 2)[..1000]).unwrap();
    fs::write(of(3), segment_of(99, 1, 3, 1000)).unwrap();
    says(&place.fetch(2, &["--prefetch=4"]), 126, "there is no repository");
    says(&place.fetch(3, &["--prefetch=4"]), 126, "there is no repository");
    assert_eq!(place.fetched_ahead(), names(4..=4));
    fs::rename(&away, &repository).unwrap();
    // Recovery goes past one that it never asked for.
    quiet(&place.fetch(5, &["--prefetch=4"]));
    assert!(place.fetched() == segment(1, 5));
    wait_until("the last one", || place.fetched_ahead() == names(6..=6));
    quiet(&place.fetch(6, &["--prefetch=4"]));
    assert!(place.fetched() == segment(1, 6));
    // The end, asked for twice; then recovery looks for other timelines.
    for _ in 0..2 {
        assert_eq!(place.fetch(7, &["--prefetch=4"]).status, 1);
        quiet(&place.fetch(6, &["--prefetch=4"]));
        assert!(place.fetched() == segment(1, 6));
    }
    assert_eq!(place.run(&["wal", "fetch", "00000002.history", "pg_wal/RECOVERYHISTORY"]).status, 1);
    wait_until("the end of the folder", || !place.ahead().exists());
}

#[test]
fn what_a_recovery_did_not_need_is_removed_when_the_server_archives_again() {
    let place = Place::new();
    place.push_segments(0..4);
    let path = format!("pg_wal/{}", name(1, 3));
    let begin = || {
        quiet(&place.fetch(0, &["--prefetch=4"]));
        wait_until("what follows", || place.fetched_ahead().len() == 3);
        wait_until("the end of who fetches ahead", || place.nobody_fetches_ahead());
    };
    begin();
    // A standby may push, too, and still needs them.
    for signal in ["recovery.signal", "standby.signal"] {
        fs::write(place.data.join(signal), "").unwrap();
        quiet(&place.run(&["wal", "push", &path]));
        assert_eq!(place.fetched_ahead().len(), 3, "{signal}");
        fs::remove_file(place.data.join(signal)).unwrap();
    }
    quiet(&place.run(&["wal", "push", &path]));
    assert!(!place.ahead().exists());
    // Not beside what is no server's folder.
    begin();
    fs::rename(place.data.join("global"), place.data.join("other")).unwrap();
    quiet(&place.run(&["wal", "push", &path]));
    assert_eq!(place.fetched_ahead().len(), 3);
}

#[test]
fn a_process_that_begins_after_recovery_has_ended_fetches_nothing() {
    let place = Place::new();
    place.push_segments(0..4);
    let text = name(1, 0).to_string();
    let ahead = format!("--ahead={}", 1 << 20);
    quiet(&place.run(&["wal", "fetch", &ahead, &text, "pg_wal/RECOVERYXLOG"]));
    assert!(!place.ahead().exists(), "who started it had made the folder, and it is gone");
}

#[test]
fn fetching_ahead_keeps_its_distance() {
    let place = Place::new();
    place.push_segments(0..10);
    for number in 0..6 {
        quiet(&place.fetch(number, &["--prefetch=4"]));
        assert!(place.fetched() == segment(1, number));
        let ahead: Vec<_> = (1..=4).map(|more| name(1, number + more).to_string()).collect();
        wait_until("what follows", || place.fetched_ahead() == ahead);
    }
    // Recovery begins anew, earlier than what is there.
    quiet(&place.fetch(1, &["--prefetch=4"]));
    assert!(place.fetched() == segment(1, 1));
    quiet(&place.fetch(2, &["--prefetch=4"]));
    assert!(place.fetched() == segment(1, 2));
}

#[test]
fn what_is_fetched_ahead_for_one_repository_is_not_anothers() {
    let place = Place::new();
    place.push_segments(0..3);
    quiet(&place.fetch(0, &[]));
    wait_until("what follows", || place.fetched_ahead().len() == 2);
    let empty = Sandbox::new();
    let text = name(1, 1).to_string();
    let mut command = empty.program();
    command.current_dir(&place.data).args(["wal", "fetch", &text, "pg_wal/RECOVERYXLOG"]);
    assert_eq!(finish(&mut command).status, 1, "it has no such segment");
}

#[test]
fn status_names_gaps_and_what_was_lost() {
    let place = Place::new();
    assert_eq!(place.run(&["wal", "status"]).text(), "no WAL\n");
    place.push_segments((0..64).filter(|number| *number != 9));
    let ledgers = fs::read_dir(place.sandbox.path("repository/wal/ledger")).unwrap().count();
    assert_eq!(ledgers, 1, "the push of number 63 wrote it");
    let line = |document: &Value| document["clusters"][0]["timelines"][0].clone();
    let before = place.run(&["wal", "status", "--json"]).json();
    assert_eq!(before["clusters"][0]["system_id"], SYSTEM.to_string());
    let before = line(&before);
    assert_eq!((&before["segments"], &before["lost"]), (&63.into(), &Value::Array(Vec::new())));
    assert_eq!(before["gaps"][0]["first"], name(1, 9).to_string());
    assert_eq!(
        (&before["first"], &before["last"]),
        (&name(1, 0).to_string().into(), &name(1, 63).to_string().into())
    );
    // One of the first sixty-three objects goes: whichever it was, its name is known.
    let gone = place.objects().remove(0);
    fs::remove_file(&gone).unwrap();
    let run = place.run(&["wal", "status", "--json"]);
    assert_eq!(run.status, 20, "{run:?}");
    let after = line(&serde_json::from_slice(&run.stdout).unwrap());
    assert_eq!((&after["segments"], after["lost"].as_array().unwrap().len()), (&62.into(), 1));
    let lost = after["lost"][0]["first"].as_str().unwrap();
    let words = place.run(&["wal", "status"]);
    let words = String::from_utf8(words.stdout).unwrap();
    assert!(words.contains(&format!("lost: {lost}, 1 segment\n")), "{words}");
    assert!(words.contains(&format!("gap: {}, 1 segment\n", name(1, 9))), "{words}");
    assert_eq!(place.run(&["wal", "fetch", lost, "x"]).status, 1);
}
