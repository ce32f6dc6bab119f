//! `doctor` beside real servers: each is set up in another way, and what is found is what was done.

use kamba_vault::base::clock::Cancel;
use serde_json::Value;

use crate::program::Sandbox;
use crate::receiving::{Receiver, receive};
use crate::server::{Archiving, run};
use crate::support::wait_for;

/// What the doctor says, and its exit status.
fn doctor(server: &Archiving, role: &str, more: &[&str]) -> (Value, i32) {
    let mut command = server.vault();
    command.args(["doctor", "--json", "--url", &server.url(role), "--spool"]).arg(server.path("spool"));
    let output = command.args(more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    (document, output.status.code().unwrap())
}

/// The checks that came out at this level.
fn checks<'d>(document: &'d Value, level: &str) -> Vec<&'d str> {
    let findings = document["findings"].as_array().unwrap().iter();
    let at = findings.filter(|finding| finding["level"] == level);
    at.map(|finding| finding["check"].as_str().unwrap()).collect()
}

/// What to type about a check, of the first that asks for something.
fn fix<'d>(document: &'d Value, check: &str) -> &'d str {
    let findings = document["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["check"] == check && finding["fix"].is_string());
    finding.unwrap_or_else(|| panic!("{check}: {document}"))["fix"].as_str().unwrap()
}

/// Sets something that counts from now on.
fn set(server: &Archiving, name: &str, value: &str) {
    server.sql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    // The server reads its files a moment later.
    server.sql("SELECT pg_reload_conf(), pg_sleep(0.3)");
}

/// A server that does not risk what it has.
fn durable() -> Archiving {
    let server = Archiving::start();
    set(&server, "fsync", "on");
    set(&server, "full_page_writes", "on");
    server.sql("CREATE TABLE t (id int)");
    server
}

#[test]
fn of_a_server_with_nothing_set_up_everything_is_told() {
    let server = Archiving::start();
    for (name, value) in [("archive_mode", "off"), ("wal_level", "minimal"), ("max_wal_senders", "0")] {
        set(&server, name, value);
    }
    server.sql("ALTER SYSTEM RESET archive_command");
    server.restart();
    let (found, status) = doctor(&server, "postgres", &[]);
    assert_eq!(status, 1);
    let problems = checks(&found, "problem");
    for check in [
        "fsync",
        "full_page_writes",
        "wal_level",
        "archive_mode",
        "max_wal_senders",
        "pg_hba.conf",
        "base backup",
        "RPO",
        "RTO",
    ] {
        assert!(problems.contains(&check), "{check}: {found:#}");
    }
    assert!(checks(&found, "warning").contains(&"data_checksums"), "{found:#}");
    assert_eq!((&found["rpo_seconds"], &found["rto_seconds"]), (&Value::Null, &Value::Null));
    assert!(fix(&found, "wal_level").contains("ALTER SYSTEM SET wal_level = 'replica';"), "{found:#}");
    // What it says is what helps.
    server.sql("ALTER SYSTEM RESET max_wal_senders");
    for check in ["wal_level", "archive_mode"] {
        for statement in fix(&found, check).lines().filter(|line| line.starts_with("ALTER SYSTEM")) {
            server.sql(statement);
        }
    }
    server.restart();
    let (found, _) = doctor(&server, "postgres", &[]);
    let problems = checks(&found, "problem");
    for check in ["wal_level", "archive_mode", "archive_command", "max_wal_senders", "pg_hba.conf"] {
        assert!(!problems.contains(&check), "{check}: {found:#}");
    }
}

#[test]
fn of_a_server_that_is_set_up_right_there_are_no_problems() {
    let server = durable();
    run(server.vault().args(["snapshot", "base", "--url", &server.url("postgres")]));
    server.switch();
    set(&server, "archive_timeout", "60s");
    let (archiving, status) = doctor(&server, "postgres", &[]);
    assert_eq!((checks(&archiving, "problem"), status), (vec![], 0), "{archiving:#}");
    assert_eq!(archiving["rpo_seconds"], 300.0, "as long as checkpoint_timeout: {archiving:#}");
    assert!(archiving["rto_seconds"].as_f64().unwrap() > 0.0);
    let system = server.sql("SELECT system_identifier FROM pg_control_system()");
    assert_eq!(archiving["system_id"], system);

    let mut timer = server.vault();
    timer.args(["--no-progress", "wal", "receive", "--switch-only", "--switch-after", "7s"]);
    let timer = Receiver::of(&server, timer);
    wait_for("the timer", || doctor(&server, "postgres", &[]).0["rpo_seconds"] == 7.0);
    timer.stop();

    let receiver = Receiver::of(&server, receive(&server));
    wait_for("the receiver", || server.sql("SELECT count(*) FROM pg_stat_replication") == "1");
    wait_for("it to catch up", || {
        server.sql("INSERT INTO t VALUES (1)");
        let (streaming, status) = doctor(&server, "postgres", &[]);
        let rpo = streaming["rpo_seconds"].as_f64();
        rpo.is_some_and(|seconds| seconds < 60.0)
            && status == 0
            && checks(&streaming, "ok").contains(&"streaming")
            && checks(&streaming, "ok").contains(&"slot")
            && checks(&streaming, "ok").contains(&"spool")
    });
    receiver.stop();
    let (stopped, _) = doctor(&server, "postgres", &[]);
    assert!(checks(&stopped, "warning").contains(&"slot"), "{stopped:#}");
    assert!(fix(&stopped, "slot").starts_with("kamba-vault wal receive --slot kamba_vault\n"));
}

#[test]
fn an_archive_command_that_fails_is_told() {
    let server = durable();
    server.switch();
    server.archive_to("elsewhere");
    server.sql("INSERT INTO t VALUES (1); SELECT pg_switch_wal()");
    wait_for("a failure", || server.sql("SELECT failed_count > 0 FROM pg_stat_archiver") == "t");
    let (found, status) = doctor(&server, "postgres", &[]);
    assert_eq!(status, 1);
    let problems = checks(&found, "problem");
    assert!(problems.contains(&"archiver") && problems.contains(&"RPO"), "{found:#}");
    assert!(fix(&found, "archiver").contains("wal push"), "{found:#}");
    server.archive_to("repository");
    server.switch();
    let (found, _) = doctor(&server, "postgres", &[]);
    assert!(!checks(&found, "problem").contains(&"archiver"), "{found:#}");
    assert!(checks(&found, "note").contains(&"archiver"), "it says what was: {found:#}");
}

#[test]
fn a_slot_that_lags_is_told_before_and_after_it_loses_something() {
    let server = durable();
    server.sql("SELECT pg_create_physical_replication_slot('kamba_vault', true)");
    let (unused, _) = doctor(&server, "postgres", &[]);
    assert!(checks(&unused, "warning").contains(&"slot"), "{unused:#}");
    assert!(!checks(&unused, "problem").contains(&"slot"), "{unused:#}");
    set(&server, "max_slot_wal_keep_size", "1MB");
    set(&server, "wal_keep_size", "0");
    for _ in 0..4 {
        server.switch();
        server.sql("CHECKPOINT");
    }
    let lost = "SELECT wal_status FROM pg_replication_slots";
    wait_for("it to lose something", || {
        server.sql("INSERT INTO t VALUES (1); SELECT pg_switch_wal(); CHECKPOINT");
        server.sql(lost) == "lost"
    });
    let (found, status) = doctor(&server, "postgres", &[]);
    assert_eq!(status, 1);
    assert!(checks(&found, "problem").contains(&"slot"), "{found:#}");
    assert!(fix(&found, "slot").contains("pg_drop_replication_slot('kamba_vault')"), "{found:#}");
    // Another's slot is less of our business.
    let (others, _) = doctor(&server, "postgres", &["--slot", "another"]);
    assert!(!checks(&others, "problem").contains(&"slot"), "{others:#}");
}

#[test]
fn a_role_that_may_nothing_is_told_what_to_grant() {
    let server = durable();
    server.sql("CREATE ROLE \"The Backup\" LOGIN");
    let (found, status) = doctor(&server, "The%20Backup", &[]);
    assert_eq!(status, 1);
    let problems = checks(&found, "problem");
    assert!(problems.contains(&"role") && problems.contains(&"pg_hba.conf"), "{found:#}");
    let findings = found["findings"].as_array().unwrap();
    for finding in findings.iter().filter(|finding| finding["check"] == "role") {
        if let Some(statement) = finding["fix"].as_str() {
            server.sql(statement);
        }
    }
    let (found, _) = doctor(&server, "The%20Backup", &[]);
    assert_eq!(checks(&found, "problem").iter().find(|check| **check == "role"), None, "{found:#}");
    assert!(checks(&found, "ok").contains(&"pg_hba.conf"), "{found:#}");
}

#[test]
fn a_server_that_is_away_is_a_finding_and_a_repository_an_error() {
    let server = durable();
    server.sql("SELECT 1");
    let url = server.url("postgres");
    server.cluster.crash().unwrap();
    let away = server.vault().args(["doctor", "--json", "--url", &url]).output().unwrap();
    let found: Value = serde_json::from_slice(&away.stdout).unwrap();
    assert_eq!((checks(&found, "problem"), away.status.code()), (vec!["server"], Some(1)), "{found:#}");
    server.cluster.restart(&Cancel::new()).unwrap();

    let place = Sandbox::new();
    let none = place.program().args(["doctor"]).env("KAMBA_REPO", place.path("nothing")).output().unwrap();
    assert_eq!((none.status.code(), none.stdout.len()), (Some(10), 0), "{none:?}");
    let alone = place.run(&["doctor"]);
    assert!(alone.text().ends_with("0 problems, 0 warnings\n"), "{alone:?}");
    let named = place.program().args(["doctor", "--no-server", "--json"]).env("PGHOST", "/nowhere").output();
    assert_eq!(named.unwrap().status.code(), Some(0));
    let named = place.program().args(["doctor"]).env("PGHOST", "/nowhere").output().unwrap();
    assert_eq!(named.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&named.stdout).contains("problem  server"), "{named:?}");
}
