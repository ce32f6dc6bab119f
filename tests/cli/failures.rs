//! What goes wrong: the words, the hint and the exit status of each.

use std::fs;

use crate::program::{Run, Sandbox, files, finish};

#[test]
fn each_failure_has_its_status() {
    let empty = Sandbox::empty();
    fs::write(
        empty.path("key"),
        kamba_vault::repo::new_key_file(&kamba_vault::crypto::SystemRandom).unwrap().0.as_str(),
    )
    .unwrap();
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
    let ambiguous = sandbox.feed(b"x", &["snapshot", "stdin", "--name", "a/b"]);
    assert_eq!(ambiguous.status, 2, "{ambiguous:?}");
    let option = sandbox.run(&["--option", "region=x", "stats"]);
    assert!(option.failed(2).contains("region"), "{option:?}");
    let option = sandbox.run(&["--option", "secret_access_key=hunter2", "stats"]);
    assert!(option.failed(2).contains("process list") && !option.stderr.contains("hunter2"), "{option:?}");
}

#[test]
fn a_wrong_key_is_not_a_damaged_repository() {
    let sandbox = Sandbox::new();
    let (text, _) = kamba_vault::repo::new_key_file(&kamba_vault::crypto::SystemRandom).unwrap();
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
    run(&["stats"], None).failed(12);
    let alone =
        finish(sandbox.program().env_remove("KAMBA_KEY_FILE").env("KAMBA_PASSWORD", "hunter2").arg("stats"));
    alone.failed(12);
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
