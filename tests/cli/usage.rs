//! Mistakes on the command line: what is said, to standard error, with status 2.

use crate::program::{Run, run};

/// The message of a run that must fail as bad usage and print no result.
#[track_caller]
fn refused(run: &Run) -> &str {
    assert_eq!(run.status, 2, "{run:?}");
    assert!(run.stdout.is_empty(), "{run:?}");
    &run.stderr
}

#[test]
fn no_command_shows_the_help() {
    assert!(refused(&run(&[])).contains("Usage: kamba-vault [OPTIONS] <COMMAND>"));
    assert!(refused(&run(&["snapshot"])).contains("  stdin "));
}

#[test]
fn mistakes_are_named() {
    let cases: &[&[&str]] = &[
        &["snapshto"],
        &["mount"],
        &["snapshot", "base"],
        &["snapshot", "stdin"],
        &["snapshot", "command", "--name", "x"],
        &["snapshot", "db", "--dbname", "a", "--url", "postgresql://b"],
        &["restore", "db", "latest"],
        &["restore", "db", "latest", "--dbname", "a", "--jobs", "0"],
        &["restore", "db", "latest", "--dbname", "a", "--schema-only", "--data-only"],
        &["check", "--read-data", "--read-data-subset", "10%"],
        &["check", "--read-data-subset", "10"],
        &["init", "--chunk-size", "48K"],
        &["snapshots", "--latest", "x"],
        &["snapshot", "files", "/srv", "--compression", "best"],
        &["snapshot", "stdin", "--name", "a", "--compression", "20"],
        &["--limit-upload", "0", "stats"],
        &["--option", "novalue", "stats"],
        &["-q", "-v", "stats"],
        &["--password-file", "a", "--password-command", "b", "stats"],
    ];
    let mut said = String::new();
    for args in cases {
        let run = run(args);
        said.push_str(&format!("$ kamba-vault {}\n{}\n", args.join(" "), refused(&run)));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn errors_are_json_lines_for_programs() {
    let run = run(&["--json", "stats"]);
    let error: serde_json::Value = serde_json::from_str(refused(&run)).unwrap();
    assert_eq!(error["message_type"], "error");
    assert_eq!(error["status"], 2);
    assert_eq!(error["class"], "usage");
    assert_eq!(run.stderr.lines().count(), 1);
}

#[test]
fn mistakes_in_arguments_are_json_too_if_json_is_asked_for() {
    let mut said = String::new();
    for args in [&["stats", "--json", "--none"][..], &["--json"], &["--json", "snapshot", "command"]] {
        let run = run(args);
        let error: serde_json::Value = serde_json::from_str(refused(&run)).unwrap();
        assert_eq!((&error["class"], &error["status"]), (&"usage".into(), &2.into()));
        said.push_str(&format!("{}\n", error["message"].as_str().unwrap()));
    }
    insta::assert_snapshot!(said, @r"
    unexpected argument '--none' found
    'kamba-vault' requires a subcommand but one was not provided [subcommands: init, snapshot, snapshots, ls, find, diff, cat, export, restore, wal, mount, check, doctor, stats, key, demo, completions, man]
    the following required arguments were not provided: --name <NAME> <CMD>...
    ");
    // What is after -- is not ours.
    let other = run(&["stats", "--", "--json"]);
    assert!(refused(&other).starts_with("error: "), "{other:?}");
}
