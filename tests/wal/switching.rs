//! `wal receive --switch-only` beside real servers: what was committed is archived in time, and an idle server
//! is left alone.

use std::process::Command;
use std::time::Duration;

use crate::program;
use crate::receiving::Receiver;
use crate::server::Archiving;
use crate::support::wait_for;

fn switching(server: &Archiving) -> Command {
    let mut command = server.vault();
    // It needs no repository.
    command.env_remove("KAMBA_REPO").env_remove("KAMBA_KEY_FILE");
    command.args(["--no-progress", "wal", "receive", "--switch-only", "--switch-after", "1s"]);
    command
}

/// The segment that the server writes to.
fn segment(server: &Archiving) -> String {
    server.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
}

/// Commits a row, and waits until the segment that it is in is archived.
fn archived(server: &Archiving, row: u32) {
    let name = segment(server);
    server.sql(&format!("INSERT INTO t VALUES ({row})"));
    let archived = format!("SELECT coalesce(last_archived_wal >= '{name}', false) FROM pg_stat_archiver");
    wait_for("the segment to be archived", || server.sql(&archived) == "t");
}

#[test]
fn a_commit_is_archived_in_time_also_right_after_a_restart() {
    let server = Archiving::start();
    server.sql("CREATE TABLE t (id int)");
    assert_eq!(server.sql("SHOW archive_timeout"), "0");
    let switcher = Receiver::of(&server, switching(&server));
    archived(&server, 1);
    server.restart();
    archived(&server, 2);
    wait_for("it to say so", || switcher.said().contains("it is tried again"));
    server.cluster.crash().unwrap();
    server.cluster.restart(&kamba_vault::base::clock::Cancel::new()).unwrap();
    archived(&server, 3);
    switcher.stop();
}

#[test]
fn an_idle_server_makes_no_segments() {
    let server = Archiving::start();
    server.sql("CREATE TABLE t (id int)");
    let switcher = Receiver::of(&server, switching(&server));
    archived(&server, 1);
    // What such a server writes by itself after a switch, and more of it.
    server.sql("CHECKPOINT");
    server.sql("CHECKPOINT");
    let used = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') % (1024 * 1024) > 100";
    assert_eq!(server.sql(used), "t", "there is something that could be archived");
    let before = segment(&server);
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(segment(&server), before);
    archived(&server, 2);
    switcher.stop();
}

#[test]
fn a_role_that_may_not_is_told_what_to_grant() {
    let server = Archiving::start();
    server.sql("CREATE TABLE t (id int)");
    server.sql("CREATE ROLE \"the Backup\" LOGIN");
    let refused = switching(&server).args(["--url", &server.url("the%20Backup")]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let grant = "GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO \"the Backup\"";
    assert!(said.contains(grant), "{said}");
    server.sql(grant);
    let switcher = Receiver::of_role(&server, switching(&server), "the%20Backup");
    archived(&server, 1);
    switcher.stop();
}

#[test]
fn its_options_belong_together() {
    for extra in [["--slot", "x"], ["--spool", "/x"], ["--spool-limit", "4G"]] {
        let mut arguments = vec!["wal", "receive", "--switch-only"];
        arguments.extend(extra);
        assert_eq!(program::run(&arguments).status, 2, "{extra:?}");
    }
    assert_eq!(program::run(&["wal", "receive", "--switch-after", "5s"]).status, 2);
    assert_eq!(program::run(&["wal", "receive", "--switch-only", "--switch-after", "0"]).status, 2);
}
