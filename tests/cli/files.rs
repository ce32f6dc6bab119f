//! Snapshots of files: what the program says of them, and with which status it ends.

use std::fs;

use serde_json::{Value, json};

use crate::program::Sandbox;

/// A sandbox with a small tree, and its path.
fn with_tree() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let tree = sandbox.path("tree");
    fs::create_dir_all(tree.join("folder")).unwrap();
    fs::write(tree.join("a.txt"), "a").unwrap();
    fs::write(tree.join("folder/b.log"), "bb").unwrap();
    std::os::unix::fs::symlink("a.txt", tree.join("link")).unwrap();
    let tree = tree.display().to_string();
    (sandbox, tree)
}

#[test]
fn files_are_stored_listed_and_given_back() {
    let (sandbox, tree) = with_tree();
    let made = sandbox.run(&["snapshot", "files", &tree, "--exclude", "*.log"]);
    assert_eq!(made.status, 0, "{}", made.stderr);
    let lines: Vec<&str> = made.text().lines().collect();
    assert!(lines[0].starts_with("snapshot ") && lines[0].ends_with(&format!(" of {tree}")), "{lines:?}");
    assert!(lines[1].starts_with("  1 file, 1 link and the like, "), "{lines:?}");
    assert!(lines[1].ends_with(" directories, 1 B; 1 left out"), "{lines:?}");
    assert!(lines[2].starts_with("  0 unchanged, 0 changed, 2 new, read 1 B, new "), "{lines:?}");
    assert_eq!(lines.len(), 3);
    let listed = sandbox.run(&["ls", "-R", "latest@kind=files"]);
    let inside: Vec<&str> =
        listed.text().lines().filter_map(|line| line.split_once("/tree/")).map(|at| at.1).collect();
    assert_eq!(inside, ["", "a.txt", "folder/", "link"]);
    assert_eq!(sandbox.run(&["cat", &format!("latest:{tree}/a.txt")]).text(), "a");
}

#[test]
fn json_has_the_counts_beside_the_documented_fields() {
    let (sandbox, tree) = with_tree();
    let made =
        sandbox.run(&["--json", "snapshot", "files", &tree, "--tag", "t", "--time", "2026-01-02T03:04:05Z"]);
    let (made, listed) = (made.json(), &sandbox.snapshots()[0]);
    for field in
        ["id", "time", "ended", "kind", "host", "tags", "sources", "end_unverified", "incomplete", "stats"]
    {
        assert_eq!(made[field], listed[field], "{field}");
    }
    assert_eq!((&made["kind"], &made["sources"][0]), (&"files".into(), &tree.into()));
    assert!(made["time"].as_str().unwrap().starts_with("2026-01-02T03:04:05"), "{made}");
    for (field, count) in
        [("files", 2), ("others", 1), ("new", 3), ("unchanged", 0), ("problems", 0), ("bytes", 3)]
    {
        assert_eq!(made[field], count, "{field}");
    }
}

#[test]
fn what_is_not_read_as_it_was_is_named_and_the_status_is_3() {
    let (sandbox, tree) = with_tree();
    // A file that says it is empty, and is not: the same as one that grows while it is read.
    let made = sandbox.run(&["snapshot", "files", &tree, "/proc/version"]);
    assert_eq!(made.status, 3, "{}", made.stderr);
    assert!(made.stderr.contains("/proc/version: it grew while it was read"), "{}", made.stderr);
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(
        said.ends_with("  incomplete: 1 problem, named above, with what could not be read as it was\n"),
        "{said}"
    );
    assert_eq!(sandbox.snapshots()[0]["incomplete"], true);
}

#[test]
fn a_dry_run_stores_nothing() {
    let (sandbox, tree) = with_tree();
    let said = sandbox.run(&["snapshot", "files", "--dry-run", &tree]);
    assert!(
        said.text().starts_with("a snapshot would hold 2 files, 1 link and the like, "),
        "{}",
        said.text()
    );
    assert!(said.text().ends_with("  0 unchanged, 0 changed, 3 new; 3 B would be read\n"), "{}", said.text());
    assert!(sandbox.snapshots().is_empty());
}

#[test]
fn a_dry_run_names_what_it_leaves_out() {
    let (sandbox, tree) = with_tree();
    let args = ["snapshot", "files", "--dry-run", "--exclude", "*.log", &tree];
    let said = sandbox.run(&[&args[..], &["-v"]].concat());
    let line = format!("left out   {tree}/folder/b.log: a pattern excludes it\n");
    assert!(said.stdout.starts_with(line.as_bytes()), "{said:?}");
    assert!(said.stderr.contains(&format!("{tree}/a.txt")), "what would be read: {}", said.stderr);
    let said = sandbox.run(&[&args[..], &["--json"]].concat());
    let lines: Vec<Value> = said.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let path = format!("{tree}/folder/b.log");
    assert_eq!(lines[0], json!({ "message_type": "left_out", "path": path, "why": "pattern" }));
    assert_eq!((&lines[1]["message_type"], &lines[1]["excluded"]), (&json!("summary"), &json!(1)));
    assert_eq!(lines.len(), 2);
    // Otherwise only their number is told.
    assert!(!sandbox.run(&args).text().contains("b.log"));
}

#[test]
fn paths_and_patterns_come_from_files_too() {
    let (sandbox, tree) = with_tree();
    fs::write(sandbox.path("patterns"), "# a comment\n*.log\n").unwrap();
    let patterns = sandbox.path("patterns").display().to_string();
    let args = ["--json", "snapshot", "files", "--files-from", "-", "--exclude-file", &patterns];
    for input in [format!("{tree}/folder\n{tree}/link\n"), format!("{tree}/folder\0{tree}/link\0")] {
        let made = sandbox.feed(input.as_bytes(), &args).json();
        assert_eq!((&made["files"], &made["others"], &made["excluded"]), (&0.into(), &1.into(), &1.into()));
    }
}

#[test]
fn mistakes_are_usage_errors() {
    let (sandbox, tree) = with_tree();
    for args in [&["--time", "soon"][..], &["--time", "2026-01-02T03:04:05Zx"], &["--exclude", "{a"]] {
        let failed = sandbox.run(&[&["snapshot", "files", &tree], args].concat());
        assert_eq!(failed.status, 2, "{args:?}: {}", failed.stderr);
    }
    let missing = format!("{tree}/missing");
    let failed = sandbox.run(&["snapshot", "files", &missing]);
    assert!(failed.failed(1).contains("missing: No such file or directory"), "{}", failed.stderr);
}
