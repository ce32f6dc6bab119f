//! What goes wrong: the words, the hint and the exit status of each.

use std::fs;
use std::process::Stdio;
use std::sync::Arc;

use kamba_vault::base::clock::{Cancel, SystemClock};
use kamba_vault::base::id::SessionId;
use kamba_vault::base::monitor::Silent;
use kamba_vault::crypto::SystemRandom;
use kamba_vault::repo::{self, Repository, roots};
use kamba_vault::storage;

use crate::program::{Run, Sandbox, files, finish, outcome, wait_for};

#[test]
fn each_failure_has_its_status() {
    let empty = Sandbox::empty();
    fs::write(empty.path("key"), repo::new_key_file(&SystemRandom).unwrap().0.as_str()).unwrap();
    let none = empty.run(&["snapshots"]);
    assert!(none.failed(10).contains("no repository") && none.stderr.contains("hint: "), "{none:?}");

    let sandbox = Sandbox::new();
    let again = sandbox.run(&["init"]);
    assert!(again.failed(1).contains("already"), "{again:?}");
    let no_snapshot = sandbox.run(&["ls", "latest"]);
    assert!(no_snapshot.failed(1).contains("no snapshot matches latest"), "{no_snapshot:?}");
    let selector = sandbox.run(&["ls", "newest"]);
    assert!(selector.failed(2).contains("names no snapshot"), "{selector:?}");
    let unnamed = finish(sandbox.program().env_remove("KAMBA_REPO").arg("stats"));
    assert!(unnamed.failed(2).contains("no repository was named"), "{unnamed:?}");
    sandbox.feed(b"x", &["snapshot", "stdin", "--name", "a"]).text();
    let no_path = sandbox.run(&["cat", "latest:b"]);
    assert!(no_path.failed(1).contains("has no b"), "{no_path:?}");
    for name in ["a/b", "", ".", &"x".repeat(5000)] {
        let bad = sandbox.feed(b"x", &["snapshot", "stdin", "--name", name]);
        assert!(bad.failed(2).contains("cannot be a name in a snapshot\n"), "{bad:?}");
        assert!(bad.stderr.len() < 300, "{bad:?}");
    }
    let slip = sandbox.run(&["ls", "latest@host=web1~1"]);
    assert!(slip.failed(1).contains("latest~1@host=web1"), "{slip:?}");
    let option = sandbox.run(&["--option", "region=x", "stats"]);
    assert!(option.failed(2).contains("region"), "{option:?}");
    let option = sandbox.run(&["--option", "secret_access_key=hunter2", "stats"]);
    assert!(option.failed(2).contains("process list") && !option.stderr.contains("hunter2"), "{option:?}");
}

#[test]
fn a_wrong_key_is_not_a_damaged_repository() {
    let sandbox = Sandbox::new();
    let (text, _) = repo::new_key_file(&SystemRandom).unwrap();
    fs::write(sandbox.path("other"), text.as_str()).unwrap();
    let wrong = finish(sandbox.program().args(["--key-file"]).arg(sandbox.path("other")).arg("stats"));
    assert!(wrong.failed(12).contains("wrong"), "{wrong:?}");
    let passphrase =
        finish(sandbox.program().env_remove("KAMBA_KEY_FILE").env("KAMBA_PASSWORD", "hunter2").arg("stats"));
    assert!(!passphrase.failed(12).contains("hunter2"), "{passphrase:?}");
    let nothing = finish(sandbox.program().env_remove("KAMBA_KEY_FILE").arg("stats"));
    assert!(nothing.failed(2).contains("--password-file"), "{nothing:?}");
}

#[test]
fn a_damaged_snapshot_does_not_hide_the_others() {
    let sandbox = Sandbox::new();
    for name in ["a", "b"] {
        sandbox.feed(b"x", &["snapshot", "stdin", "--name", name]).text();
    }
    let id = sandbox.snapshots()[0]["id"].as_str().unwrap().to_owned();
    let objects = files(&sandbox.path("repository"));
    let root = objects.iter().find(|path| path.to_str().unwrap().contains(&id)).unwrap();
    let mut bytes = fs::read(root).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(root).unwrap();
    fs::write(root, bytes).unwrap();
    // The cache has the sound copy; a machine without it sees the damage.
    fs::remove_dir_all(sandbox.path(".cache")).unwrap();
    let run = sandbox.run(&["snapshots"]);
    assert_eq!(run.status, 20, "{run:?}");
    assert!(run.stderr.starts_with("warning: ") && run.stderr.contains(&id), "{run:?}");
    assert!(String::from_utf8(run.stdout).unwrap().ends_with("1 snapshot\n"));
}

#[test]
fn passphrases_come_from_every_source_and_a_flag_wins() {
    let sandbox = Sandbox::empty();
    let file = sandbox.path("pass");
    fs::write(&file, "hunter2\nnotes\n").unwrap();
    let run = |env: &[(&str, &str)], args: &[&str]| -> Run {
        let mut command = sandbox.program();
        finish(command.env_remove("KAMBA_KEY_FILE").envs(env.iter().copied()).args(args))
    };
    let file = file.to_str().unwrap();
    let init = run(&[], &["--password-file", file, "init"]);
    // Everybody may read the file that the test made.
    assert_eq!(init.status, 0, "{init:?}");
    assert!(init.stderr.starts_with("warning: ") && init.stderr.contains("chmod 600"), "{init:?}");
    run(&[("KAMBA_PASSWORD", "hunter2")], &["stats"]).text();
    run(&[("KAMBA_PASSWORD_COMMAND", "echo hunter2")], &["stats"]).text();
    assert_eq!(run(&[("KAMBA_PASSWORD_FILE", file)], &["stats"]).status, 0);
    run(&[("KAMBA_PASSWORD", "wrong")], &["--password-command", "echo hunter2", "stats"]).text();
    run(&[("KAMBA_PASSWORD", "hunter2")], &["--password-command", "echo wrong", "stats"]).failed(12);
    run(&[], &["--password-command", "exit 3", "stats"]).failed(1);
}

#[test]
fn two_factors_need_both() {
    let sandbox = Sandbox::empty();
    let run = |args: &[&str], password: Option<&str>| {
        let mut command = sandbox.program();
        finish(command.envs(password.map(|p| ("KAMBA_PASSWORD", p))).args(args))
    };
    let made = run(&["init", "--json"], Some("hunter2")).json();
    assert_eq!(made["unlocked_by"], "passphrase_and_key_file");
    assert_eq!(made["key_file_created"], true);
    assert_eq!(made["create_if_absent"], "atomic");
    run(&["stats"], Some("hunter2")).text();
    run(&["stats"], Some("wrong")).failed(12);
    let none = run(&["stats"], None);
    assert!(
        none.failed(12).contains("only a key file was given; it takes a passphrase and a key file together")
    );
    let alone =
        finish(sandbox.program().env_remove("KAMBA_KEY_FILE").env("KAMBA_PASSWORD", "hunter2").arg("stats"));
    assert!(alone.failed(12).contains("only a passphrase was given"), "{alone:?}");
}

#[test]
fn init_that_fails_keeps_the_key_file_for_the_next_one() {
    let sandbox = Sandbox::empty();
    fs::write(sandbox.path("repository"), "a file, no folder").unwrap();
    let failed = sandbox.run(&["init"]);
    assert_ne!(failed.status, 0, "{failed:?}");
    fs::remove_file(sandbox.path("repository")).unwrap();
    let again = sandbox.run(&["init"]);
    assert_eq!(again.status, 0, "{again:?}");
    sandbox.run(&["stats"]).text();
}

/// The sandbox's repository, opened by the library.
fn open(sandbox: &Sandbox) -> Repository {
    let context = storage::Context::new(Cancel::new(), Arc::new(Silent));
    let url = sandbox.path("repository").display().to_string();
    let environment = repo::Environment {
        backend: storage::open(&url, &storage::Options::default(), &context).unwrap(),
        cache_dir: sandbox.path("other-cache"),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        copies_limit: 0,
    };
    let key = repo::read_key_file(&fs::read(sandbox.path("key")).unwrap()).unwrap();
    Repository::open(environment, &repo::Credentials { passphrase: None, key_file: Some(key) }).unwrap()
}

#[test]
fn a_writer_that_was_fenced_says_so() {
    let sandbox = Sandbox::new();
    let go = sandbox.path("go");
    let script = format!("echo x; while [ ! -e '{}' ]; do sleep 0.02; done", go.display());
    let mut command = sandbox.program();
    command.args(["snapshot", "command", "--name", "a", "--", "sh", "-c", &script]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let leases = || fs::read_dir(sandbox.path("repository/leases")).into_iter().flatten();
    let names = || leases().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let session = || names().find_map(|name| SessionId::from_hex(name.split('-').next()?));
    wait_for("the lease", || session().is_some());
    assert!(roots::fence(&open(&sandbox), &session().unwrap()).unwrap());
    fs::write(go, "").unwrap();
    let run = outcome(child.wait_with_output().unwrap());
    assert!(run.failed(11).contains("was fenced") && run.stderr.contains("hint: "), "{run:?}");
    assert!(sandbox.snapshots().is_empty());
}

#[test]
fn a_cache_that_cannot_be_used_is_replaced_for_the_run() {
    let sandbox = Sandbox::new();
    sandbox.feed(b"hello", &["snapshot", "stdin", "--name", "a"]).text();
    // Not even root can make a folder below a file.
    let no_folder = sandbox.path("key").join("cache");
    let (temporary, run) = (sandbox.path("tmp"), |args: &[&str], temporary: &std::path::Path| {
        finish(sandbox.program().env("KAMBA_CACHE_DIR", &no_folder).env("TMPDIR", temporary).args(args))
    });
    fs::create_dir(&temporary).unwrap();
    for args in [&["cat", "latest"][..], &["check", "--read-data"], &["snapshots"]] {
        let done = run(args, &temporary);
        assert_eq!(done.status, 0, "{done:?}");
        assert!(done.stderr.starts_with("warning: ") && done.stderr.contains("--cache-dir"), "{done:?}");
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    }
    assert_eq!(run(&["cat", "latest"], &temporary).stdout, b"hello");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    let none = run(&["cat", "latest"], &no_folder);
    assert!(none.failed(1).contains("hint: name another folder"), "{none:?}");
}

#[test]
fn init_where_a_repository_is_leaves_no_key_file() {
    let sandbox = Sandbox::new();
    let again = finish(sandbox.program().env("KAMBA_KEY_FILE", sandbox.path("other")).arg("init"));
    assert!(again.failed(1).contains("already"), "{again:?}");
    assert!(!sandbox.path("other").exists());
}
