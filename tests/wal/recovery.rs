//! Real servers: what one archives, a copy of it recovers, to the last row that was archived; and nothing that
//! fails on the way makes it end earlier.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::server::{Archiving, run};

const ROWS: &str = "SELECT count(*) || ' ' || coalesce(sum(hashtext(t::text)), 0) FROM t";

/// Some hundred rows, changed back and forth, in a transaction each.
fn load(server: &Archiving, round: u32) {
    server.sql(&format!(
        "DO $$ BEGIN FOR n IN 1..200 LOOP \
         INSERT INTO t SELECT {round} * 1000 + n, md5(n::text || '{round}'); \
         UPDATE t SET what = what || 'x' WHERE id % 7 = n % 7; COMMIT; END LOOP; END $$"
    ));
}

/// A server with a copy and, after that, five segments of changes.
fn archived() -> Archiving {
    let server = Archiving::start();
    server.sql("CREATE TABLE t (id int, what text)");
    load(&server, 0);
    server.copy();
    for round in 1..=5 {
        load(&server, round);
        server.switch();
    }
    server
}

fn restore_command(server: &Archiving, more: &str) -> String {
    server.command_line("repository", &format!("wal fetch {more} %f %p"))
}

#[test]
fn a_copy_recovers_everything_that_was_archived() {
    let server = archived();
    let rows = server.sql(ROWS);
    let status: Value =
        serde_json::from_slice(&run(server.vault().args(["wal", "status", "--json"])).stdout).unwrap();
    let line = &status["clusters"][0]["timelines"][0];
    let system = server.sql("SELECT system_identifier FROM pg_control_system()");
    assert_eq!(status["clusters"][0]["system_id"], system);
    assert_eq!((&line["gaps"], &line["lost"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert!(line["segments"].as_u64().unwrap() >= 6, "{line}");
    server.prepare_copy(&restore_command(&server, ""));
    server.recover_copy().unwrap();
    assert_eq!(server.ask_copy(ROWS), rows);
    // It went on to a timeline of its own, and its history can be pushed like everything else.
    let history = server.path("copy/pg_wal/00000002.history");
    run(server.vault().args(["wal", "push"]).arg(&history));
    let fetched = server.path("copy/history");
    run(server.vault().args(["wal", "fetch", "00000002.history", "--system-id", &system]).arg(&fetched));
    assert_eq!(fs::read(fetched).unwrap(), fs::read(history).unwrap());
    // The mark of the base backup went the same way as the segments.
    let archived = server.sql("SELECT count(*) FROM pg_ls_dir('pg_wal') f WHERE f LIKE '%.backup'");
    assert_eq!(archived, "1");
    let log = fs::read_to_string(server.path("log")).unwrap();
    assert!(!log.contains("archive command failed"), "{log}");
}

#[test]
fn an_outage_delays_a_recovery_and_does_not_end_it() {
    let server = archived();
    let rows = server.sql(ROWS);
    server.prepare_copy(&restore_command(&server, ""));
    // The last segment but one cannot be read: what comes before it is recovered then, and is not the end.
    let objects = server.objects();
    let object = objects[objects.len() - 2].clone();
    let folder = object.parent().unwrap();
    let mode = |mode| fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    if rustix::process::geteuid().is_root() {
        mode(0o000);
        let said = server.recover_copy().unwrap_err();
        assert!(said.contains("Permission denied") && said.contains("FATAL"), "{said}");
        mode(0o700);
    }
    let (repository, away) = (server.path("repository"), server.path("away"));
    fs::rename(&repository, &away).unwrap();
    let said = server.recover_copy().unwrap_err();
    assert!(said.contains("there is no repository") && said.contains("FATAL"), "{said}");
    fs::rename(&away, &repository).unwrap();
    let good = fs::read(&object).unwrap();
    let mut bad = good.clone();
    bad[1500] ^= 1;
    fs::write(&object, &bad).unwrap();
    let said = server.recover_copy().unwrap_err();
    assert!(said.contains("is damaged") && said.contains("0000000100000000"), "{said}");
    fs::write(&object, &good).unwrap();
    server.recover_copy().unwrap();
    assert_eq!(server.ask_copy(ROWS), rows);
}

#[test]
fn archiving_goes_on_after_the_repository_was_away() {
    let server = Archiving::start();
    server.sql("CREATE TABLE t (id int, what text)");
    server.switch();
    server.archive_to("elsewhere");
    load(&server, 1);
    server.sql("SELECT pg_switch_wal()");
    for _ in 0..6000 {
        if server.sql("SELECT failed_count > 0 FROM pg_stat_archiver") == "t" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let log = || fs::read_to_string(server.path("log")).unwrap();
    assert!(log().contains("there is no repository"), "{}", log());
    server.archive_to("repository");
    load(&server, 2);
    server.switch();
    let status: Value =
        serde_json::from_slice(&run(server.vault().args(["wal", "status", "--json"])).stdout).unwrap();
    assert_eq!(status["clusters"][0]["timelines"][0]["gaps"], Value::Array(vec![]));
    assert!(!log().contains("archiver process"), "the archiver itself never ended: {}", log());
}
