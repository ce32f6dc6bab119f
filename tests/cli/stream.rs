//! The life of a stream: stored, listed, looked into, written out again.

use crate::program::{Sandbox, noise};

/// Replaces what differs from run to run.
fn stable(f: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\b[0-9a-f]{32}\b", "[ID]");
    settings.add_filter(r"\b[0-9a-f]{8}\b", "[SHORT] ");
    settings.add_filter(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+Z)?", "[TIME]");
    settings.add_filter(r"in \d[\d.:]*( s)? \([\d.]+ .?i?B/s\)", "in [SPAN]");
    settings.add_filter(r"/tmp/[^ /]+/|/[^ ]*/\.tmp[^ /]+/", "/home/");
    settings.add_filter(r" at /\S*/repository", " at /home/repository");
    settings.add_filter(r"key file /\S*/key", "key file /home/key");
    // Cut points are keyed, so every repository has others.
    settings.add_filter(r"(?m)^(data|metadata) +(\d+) .*$", "$1 $2 packs, [CHUNKS]");
    settings.bind(f);
}

#[test]
fn a_stream_is_stored_listed_and_given_back() {
    let sandbox = Sandbox::empty();
    let data = noise(3_000_000);
    let mut session = String::new();
    let mut say = |args: &[&str], input: &[u8]| {
        let run = sandbox.feed(input, args);
        session.push_str(&format!("$ kamba-vault {}\n{}\n", args.join(" "), run.text()));
    };
    say(&["init"], b"");
    say(&["snapshot", "stdin", "--name", "uploads.tar", "--tag", "nightly", "--host", "web1"], &data);
    say(&["snapshot", "command", "--name", "hello.txt", "--host", "web1", "--", "echo", "hello"], b"");
    say(&["snapshots"], b"");
    say(&["ls", "latest"], b"");
    say(&["cat", "latest"], b"");
    say(&["stats"], b"");
    stable(|| insta::assert_snapshot!(session));

    let back = sandbox.run(&["cat", "latest@tag=nightly:uploads.tar"]);
    assert_eq!((back.status, back.stderr.as_str()), (0, ""));
    assert!(back.stdout == data, "the bytes differ");

    let snapshots = sandbox.snapshots();
    let id = snapshots[0]["id"].as_str().unwrap();
    for selector in [id, &id[..8], "latest~1", "latest@host=web1@kind=stream@tag=nightly"] {
        assert!(sandbox.run(&["cat", selector]).stdout == data, "{selector}");
    }
    let time = snapshots[0]["time"].as_str().unwrap();
    assert!(sandbox.run(&["cat", time]).stdout == data, "{time}");
}

#[test]
fn json_has_the_documented_fields() {
    let sandbox = Sandbox::new();
    let args = ["--json", "snapshot", "stdin", "--name", "a", "--tag", "x", "--tag", "y", "--host", "h"];
    let made = sandbox.feed(b"hello", &[&args[..], &["--description", "before the move"]].concat()).json();
    let listed = &sandbox.snapshots()[0];
    for field in ["id", "time", "ended", "kind", "host", "tags", "sources", "end_unverified", "stats"] {
        assert_eq!(made[field], listed[field], "{field}");
    }
    assert_eq!((&listed["kind"], &listed["description"]), (&"stream".into(), &"before the move".into()));
    assert_eq!(listed["tags"], serde_json::json!(["x", "y"]));
    assert_eq!(listed["sources"], serde_json::json!(["a"]));
    assert_eq!(listed["end_unverified"], true);
    assert_eq!(listed["stats"]["source_bytes"], 5);
    let entry = sandbox.run(&["ls", "latest", "--json"]).json();
    assert_eq!(entry, serde_json::json!({"path": "a", "kind": "file", "size": 5}));
    let stats = sandbox.run(&["stats", "--json"]).json();
    assert_eq!((&stats["snapshots"], &stats["source_bytes"]), (&1.into(), &5.into()));
    let none = sandbox.run(&["snapshots", "--json", "--tag", "z"]).json();
    assert_eq!(none, serde_json::json!([]));
}

#[test]
fn filters_and_latest_narrow_the_list() {
    let sandbox = Sandbox::new();
    for (name, tag) in [("a", "x"), ("b", "y"), ("a", "y")] {
        sandbox.feed(b"1", &["snapshot", "stdin", "--name", name, "--tag", tag]).text();
    }
    let count = |args: &[&str]| {
        let args = [&["snapshots", "--json"], args].concat();
        sandbox.run(&args).json().as_array().unwrap().len()
    };
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["--path", "a"]), 2);
    assert_eq!(count(&["--tag", "y"]), 2);
    assert_eq!(count(&["--tag", "y", "--tag", "x"]), 0);
    assert_eq!(count(&["--path", "a", "--tag", "y"]), 1);
    assert_eq!(count(&["--kind", "stream", "--latest", "2"]), 2);
    assert_eq!(count(&["--kind", "db"]), 0);
    assert_eq!(count(&["--host", "nowhere"]), 0);
}

#[test]
fn the_same_stream_again_costs_next_to_nothing() {
    let sandbox = Sandbox::new();
    let data = noise(3_000_000);
    for _ in 0..2 {
        sandbox.feed(&data, &["snapshot", "stdin", "--name", "a"]).text();
    }
    let snapshots = sandbox.snapshots();
    let stats = |i: usize, field: &str| snapshots[i]["stats"][field].as_u64().unwrap();
    assert_eq!(stats(0, "new_bytes") / 1_000_000, 3);
    assert!(stats(1, "new_bytes") < 10_000, "{snapshots:?}");
    assert_eq!(stats(1, "source_bytes"), 3_000_000);
}

#[test]
fn a_command_that_does_not_end_well_leaves_no_snapshot() {
    let sandbox = Sandbox::new();
    let script =
        |script: &str| sandbox.run(&["snapshot", "command", "--name", "a", "--", "sh", "-c", script]);
    let failed = script("echo half; exit 7");
    assert!(failed.failed(1).contains("exited with status 7"), "{failed:?}");
    let killed = script("echo half; kill -9 $$");
    assert!(killed.failed(1).contains("signal 9"), "{killed:?}");
    let empty = script("true");
    assert!(empty.failed(1).contains("--allow-empty"), "{empty:?}");
    let missing = sandbox.run(&["snapshot", "command", "--name", "a", "--", "/none/such"]);
    assert!(missing.failed(1).contains("/none/such"), "{missing:?}");
    let empty = sandbox.run(&["snapshot", "stdin", "--name", "a"]);
    assert!(empty.failed(1).contains("--allow-empty"), "{empty:?}");
    assert!(sandbox.snapshots().is_empty());

    sandbox.run(&["snapshot", "command", "--name", "a", "--allow-empty", "--", "true"]).text();
    assert_eq!(sandbox.snapshots().len(), 1);
    assert_eq!(sandbox.run(&["cat", "latest"]).text(), "");
}

#[test]
fn the_passphrase_does_not_reach_the_command() {
    let sandbox = Sandbox::empty();
    let with_passphrase = |args: &[&str]| {
        let mut command = sandbox.program();
        command.env_remove("KAMBA_KEY_FILE").env("KAMBA_PASSWORD", "hunter2").args(args);
        crate::program::finish(&mut command)
    };
    with_passphrase(&["init"]).text();
    with_passphrase(&["snapshot", "command", "--name", "env", "--", "env"]).text();
    let printed = with_passphrase(&["cat", "latest"]);
    assert!(printed.text().contains("PATH="));
    assert!(!printed.text().contains("hunter2"));
}
