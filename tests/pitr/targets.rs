//! Every kind of target, to the row.

use crate::stage::Stage;

const ROWS: &str = "SELECT count(*) || ' ' || coalesce(sum(hashtext(t::text)), 0) FROM t";

#[test]
fn every_kind_of_target_is_met_to_the_row() {
    let stage = Stage::start();
    stage.base();
    let (mut commits, mut rows) = (Vec::new(), Vec::new());
    for id in 1..=4 {
        commits.push(stage.mark(id));
        rows.push(stage.server.sql(ROWS));
    }
    stage.server.switch();
    let second = &commits[1];
    let copy = stage.copy();
    let document = stage.restored(&["--latest"]);
    assert_eq!((&document["timeline"], &document["base"]["why"]), (&1.into(), &"the newest".into()));
    for (arguments, marks) in [
        (vec![], "1 2 3 4"),
        (vec!["--time", &second.time], "1 2"),
        (vec!["--lsn", &second.lsn], "1 2"),
        (vec!["--xid", &second.xid], "1 2"),
        (vec!["--xid", &second.xid, "--exclusive"], "1"),
        (vec!["--name", &second.name], "1 2"),
        (vec!["--immediate"], ""),
    ] {
        if !arguments.is_empty() {
            // Over what the last one left, which was opened for writing meanwhile.
            let document = stage.restored(&[&arguments[..], &["--delta", "--yes"]].concat());
            assert_eq!(document["in_place"], true);
            assert!(document["files"]["unchanged"].as_u64() > document["files"]["created"].as_u64());
        }
        assert!(!copy.join("kamba-vault.restoring").exists() && copy.join("recovery.signal").exists());
        stage.configure("archive_mode = off");
        if let Err(said) = stage.server.recover_copy() {
            panic!("{arguments:?}: {said}");
        }
        assert_eq!(stage.ask_marks(), marks, "{arguments:?}");
        if marks == "1 2" {
            assert_eq!(stage.server.ask_copy(ROWS), rows[1], "{arguments:?}");
        }
        stage.server.stop_copy();
    }
    // What the copy wrote since is in no repository.
    let said = stage.refused(2, &["--latest", "--delta"]);
    assert!(said.contains("pg_wal") && said.contains("--yes"), "{said}");
    let said = stage.refused(2, &["--latest"]);
    assert!(said.contains("holds a cluster") && said.contains("--delta"), "{said}");
}

#[test]
fn a_target_that_does_not_come_does_not_pass_for_met() {
    let stage = Stage::start();
    stage.base();
    let commit = stage.mark(1);
    stage.server.switch();
    let document = stage.restored(&["--name", "no such point"]);
    assert!(document["notes"][0].as_str().unwrap().contains("no such point"), "{document}");
    stage.configure("archive_mode = off");
    let said = stage.server.recover_copy().unwrap_err();
    assert!(said.contains("recovery ended before configured recovery target was reached"), "{said}");
    // Before the base backup there is nothing to begin with.
    let said = stage.refused(1, &["--time", "2001-01-01 00:00Z", "--delta"]);
    assert!(said.contains("no base backup leads to 2001-01-01 00:00:00+00"), "{said}");
    let said = stage.refused(1, &["--lsn", "0/1000", "--delta"]);
    assert!(said.contains("is consistent from"), "{said}");
    let dry = stage.restored(&["--time", &commit.time, "--delta", "--yes", "--dry-run"]);
    assert_eq!((&dry["dry_run"], &dry["files"]), (&true.into(), &serde_json::Value::Null));
}
