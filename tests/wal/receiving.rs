//! `wal receive` beside real servers: nothing that was acknowledged is missing, whoever dies; outages only delay;
//! a timeline's end is followed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use kamba_vault::base::clock::Cancel;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::server::{Archiving, run};
use crate::support::{WAIT_MAX, wait_for};

/// A running `wal receive`; killed when it is dropped.
pub struct Receiver {
    child: Child,
    log: PathBuf,
}

impl Receiver {
    pub fn start(server: &Archiving) -> Self {
        Receiver::of(server, receive(server))
    }

    /// Runs the command beside the server.
    pub fn of(server: &Archiving, command: Command) -> Self {
        Receiver::of_role(server, command, "postgres")
    }

    /// The same as this role.
    pub fn of_role(server: &Archiving, mut command: Command, role: &str) -> Self {
        let log = server.path("receive.log");
        command.args(["--url", &server.url(role)]).stdout(Stdio::null());
        let child = command.stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        Receiver { child, log }
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Ends it as a machine that dies does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("its end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Ends it as a service manager does.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn receive(server: &Archiving) -> Command {
    let mut command = server.vault();
    command.args(["--no-progress", "wal", "receive", "--spool"]).arg(server.path("spool"));
    command
}

fn system(server: &Archiving) -> String {
    server.sql("SELECT system_identifier FROM pg_control_system()")
}

/// Files in the spool of the server's cluster.
fn spooled(server: &Archiving) -> Vec<String> {
    let files = kamba_vault::repo::wal::spool::files(&server.path("spool").join(system(server))).unwrap();
    files.into_iter().map(|(name, _)| name).collect()
}

/// Bytes of them.
pub fn spooled_bytes(server: &Archiving) -> u64 {
    kamba_vault::repo::wal::spool::held(&server.path("spool").join(system(server))).unwrap().bytes
}

/// Waits until everything that the server wrote is acknowledged; what the receiver says is shown when that never comes.
#[track_caller]
pub fn caught_up(server: &Archiving) {
    let caught_up =
        "SELECT coalesce(bool_or(flush_lsn >= pg_current_wal_flush_lsn()), false) FROM pg_stat_replication";
    let senders = "SELECT coalesce(string_agg(s::text, '; '), 'none') || ' of ' || pg_current_wal_flush_lsn() \
                   FROM pg_stat_replication s";
    let began = Instant::now();
    while server.sql(caught_up) != "t" {
        let said = || fs::read_to_string(server.path("receive.log")).unwrap_or_default();
        assert!(began.elapsed() < WAIT_MAX, "not caught up: {}\n{}", server.sql(senders), said());
    }
}

/// Ends the present segment, whatever becomes of it.
fn switch(server: &Archiving) {
    server.sql("INSERT INTO t VALUES (0); SELECT pg_switch_wal()");
}

fn status(server: &Archiving) -> Value {
    let mut command = server.vault();
    command.args(["wal", "status", "--json", "--spool"]).arg(server.path("spool"));
    serde_json::from_slice(&run(&mut command).stdout).unwrap()
}

/// Ends segments until the server has removed the first of what it writes now, which no slot keeps.
fn let_go(server: &Archiving) {
    server.sql("ALTER SYSTEM SET archive_command = 'true'");
    server.sql("ALTER SYSTEM SET min_wal_size = '2MB'");
    server.sql("SELECT pg_reload_conf(); SELECT pg_drop_replication_slot('kamba_vault')");
    let first = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    wait_for("the server to remove its WAL", || {
        switch(server);
        server.sql("CHECKPOINT");
        server.sql(&format!("SELECT count(*) FROM pg_ls_waldir() WHERE name = '{first}'")) == "0"
    });
}

/// A server with a table and a copy that knows nothing of what comes.
pub fn begun() -> Archiving {
    let server = Archiving::start();
    server.sql("CREATE TABLE t (id int)");
    server.copy();
    server
}

/// The same with a receiver, and a segment that was ended under its eyes.
fn receiving() -> (Archiving, Receiver) {
    let server = begun();
    let receiver = Receiver::start(&server);
    wait_for("the receiver", || server.sql("SELECT count(*) FROM pg_stat_replication") == "1");
    switch(&server);
    (server, receiver)
}

/// A row that is on the disk when its commit returns. Servers here write other commits out a moment later, and one
/// that dies before has nothing of them.
const DURABLE: &str = "SET synchronous_commit = on; INSERT INTO t VALUES (1)";

/// The server dies, recovers, finds nothing, and goes on on a timeline of its own.
fn promote(server: &Archiving) {
    server.sql("ALTER SYSTEM SET restore_command = 'false'");
    server.cluster.crash().unwrap();
    fs::write(server.path("data/recovery.signal"), "").unwrap();
    server.cluster.restart(&Cancel::new()).unwrap();
    wait_for("the promotion", || server.sql("SELECT pg_is_in_recovery()") == "f");
}

#[test]
fn no_commit_that_was_acknowledged_is_lost_with_server_and_receiver() {
    let server = begun();
    let mut receiver = Receiver::start(&server);
    wait_for("the receiver", || server.sql("SELECT count(*) FROM pg_stat_replication") == "1");
    // From here on a commit returns when its WAL is in the spool.
    server.sql("ALTER SYSTEM SET synchronous_standby_names = '\"kamba-vault\"'");
    server.sql("ALTER SYSTEM SET synchronous_commit = on");
    server.sql("SELECT pg_reload_conf()");
    wait_for("it to be waited for", || server.sql("SELECT sync_state FROM pg_stat_replication") == "sync");
    for id in 1..=40 {
        server.sql(&format!("INSERT INTO t VALUES ({id})"));
        if id % 15 == 0 {
            switch(&server);
        }
    }
    receiver.kill();
    server.cluster.crash().unwrap();
    // The machine of the server is gone; that of the receiver is not.
    run(receive(&server).arg("--finish"));
    let again = run(receive(&server).arg("--finish"));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is empty"), "{again:?}");
    server.prepare_copy(&server.command_line("repository", "wal fetch --partial %f %p"));
    server.recover_copy().unwrap();
    assert_eq!(server.ask_copy("SELECT count(*) FROM t WHERE id > 0"), "40");
}

#[test]
fn an_outage_of_the_repository_fills_the_spool_and_nothing_else() {
    let server = begun();
    let receiver = Receiver::start(&server);
    wait_for("the receiver", || server.sql("SELECT count(*) FROM pg_stat_replication") == "1");
    // It asks the repository where to begin, which must be there for that.
    caught_up(&server);
    let folder = server.path("repository/wal");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
    for _ in 0..3 {
        switch(&server);
        caught_up(&server);
    }
    assert!(spooled(&server).len() >= 3, "{:?}", spooled(&server));
    let held = kamba_vault::repo::wal::spool::held(&server.path("spool").join(system(&server))).unwrap();
    assert!(held.segments >= 3 && held.bytes > 1000 && held.since.is_some(), "{held:?}");
    wait_for("it to say so", || receiver.said().contains("WAL stays in the spool"));
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    // The segment that is being written stays; the server goes on meanwhile.
    switch(&server);
    wait_for("the spool to be taken over", || spooled(&server).len() <= 1);
    wait_for("all to be there", || {
        status(&server)["clusters"][0]["timelines"][0]["gaps"] == Value::Array(vec![])
    });
    receiver.stop();
}

#[test]
fn restarts_of_either_side_lose_nothing_and_store_nothing_twice() {
    let (server, receiver) = receiving();
    caught_up(&server);
    receiver.stop();
    for _ in 0..2 {
        switch(&server);
    }
    let receiver = Receiver::start(&server);
    caught_up(&server);
    server.cluster.crash().unwrap();
    server.cluster.restart(&Cancel::new()).unwrap();
    server.sql("INSERT INTO t VALUES (7)");
    caught_up(&server);
    assert!(receiver.said().contains("it is tried again"), "{}", receiver.said());
    let name = server.switch();
    caught_up(&server);
    wait_for("the spool to be taken over", || spooled(&server).len() <= 1);
    receiver.stop();
    let status = status(&server);
    let waiting = &status["spool"][0];
    assert_eq!(waiting["system_id"], system(&server));
    assert!(waiting["segments"].as_u64().unwrap() <= 1, "{waiting}");
    let line = &status["clusters"][0]["timelines"][0];
    assert_eq!((&line["gaps"], &line["lost"]), (&Value::Array(vec![]), &Value::Array(vec![])));
    assert_eq!(line["last"], name, "{line}");
    let log = fs::read_to_string(server.path("log")).unwrap();
    assert!(!log.contains("archive command failed"), "both ways store the same: {log}");
}

#[test]
fn what_was_in_a_spool_that_is_gone_is_asked_for_again() {
    let server = begun();
    server.sql("ALTER SYSTEM SET archive_command = 'true'");
    server.sql("SELECT pg_reload_conf()");
    let receiver = Receiver::start(&server);
    caught_up(&server);
    switch(&server);
    caught_up(&server);
    wait_for("the first segment to be stored", || spooled(&server).len() <= 1);
    let folder = server.path("repository/wal");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).unwrap();
    for _ in 0..2 {
        switch(&server);
        caught_up(&server);
    }
    receiver.stop();
    fs::remove_dir_all(server.path("spool")).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    // The server was told that it may forget them, and has not yet.
    let receiver = Receiver::start(&server);
    caught_up(&server);
    let name = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    switch(&server);
    caught_up(&server);
    wait_for("all to be stored", || status(&server)["clusters"][0]["timelines"][0]["last"] == name);
    receiver.stop();
    let status = status(&server);
    let line = &status["clusters"][0]["timelines"][0];
    assert_eq!(line["gaps"], Value::Array(vec![]), "{line}");
    assert!(line["segments"].as_u64().unwrap() >= 4, "{line}");
}

#[test]
fn the_end_of_a_timeline_is_followed() {
    let (server, receiver) = receiving();
    server.sql(DURABLE);
    caught_up(&server);
    promote(&server);
    switch(&server);
    caught_up(&server);
    wait_for("the spool to be taken over", || spooled(&server).len() <= 1);
    assert!(receiver.said().contains("went over to timeline 2"), "{}", receiver.said());
    receiver.stop();
    let status = status(&server);
    let lines = status["clusters"][0]["timelines"].as_array().unwrap();
    assert_eq!(lines.len(), 2, "{status}");
    assert_eq!(lines[0]["partial"], true, "{status}");
    assert!(status["clusters"][0]["histories"].to_string().contains('2'), "{status}");
}

#[test]
fn what_was_received_of_a_left_timeline_stands_beside_what_the_server_archives_of_it() {
    for is_recycled in [true, false] {
        let (server, receiver) = receiving();
        server.sql(DURABLE);
        caught_up(&server);
        receiver.stop();
        let (segment, system) = (server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())"), system(&server));
        server.sql("ALTER SYSTEM SET archive_command = 'true'");
        promote(&server);
        let (left, fetched) =
            (server.path(&format!("data/pg_wal/{segment}.partial")), server.path("fetched"));
        wait_for("the server to leave the timeline", || left.exists());
        if is_recycled {
            // The server's file was once another segment, whose end is still there.
            let mut bytes = fs::read(&left).unwrap();
            let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
            bytes[end..].fill(7);
            fs::write(&left, bytes).unwrap();
        }
        let archive = || run(server.vault().args(["wal", "push"]).arg(&left));
        if is_recycled {
            archive();
        }
        let receiver = Receiver::start(&server);
        switch(&server);
        caught_up(&server);
        wait_for("the spool to be taken over", || spooled(&server).len() <= 1);
        receiver.stop();
        archive();
        let fetch = |name: String| {
            run(server.vault().args(["wal", "fetch", &name, "--system-id", &system]).arg(&fetched));
            fs::read(&fetched).unwrap()
        };
        let (received, best) =
            (fetch(format!("{segment}.00000000.partial")), fetch(format!("{segment}.partial")));
        let end = received.iter().rposition(|b| *b != 0).unwrap() + 1;
        assert!(best[..end] == received[..end], "{is_recycled}");
        assert_eq!(best != received, is_recycled);
        assert!(best == fs::read(&left).unwrap());
    }
}

#[test]
fn what_the_server_has_removed_is_written_down_as_missed() {
    let (server, receiver) = receiving();
    caught_up(&server);
    server.sql("INSERT INTO t VALUES (1)");
    caught_up(&server);
    let first = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    receiver.stop();
    let_go(&server);
    let oldest = server.sql("SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'");
    let receiver = Receiver::start(&server);
    caught_up(&server);
    let last = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    switch(&server);
    caught_up(&server);
    wait_for("all to be stored", || status(&server)["clusters"][0]["timelines"][0]["last"] == last);
    assert!(receiver.said().contains("make a base backup now"), "{}", receiver.said());
    receiver.stop();
    let status = status(&server);
    let line = &status["clusters"][0]["timelines"][0];
    assert_eq!((&line["partial"], &line["lost"]), (&true.into(), &Value::Array(vec![])), "{line}");
    let number = |name: &str| u64::from_str_radix(&name[8..], 16).unwrap();
    let [gap] = &line["gaps"].as_array().unwrap()[..] else { panic!("{line}") };
    assert_eq!(gap["first"], first, "{line}");
    // All that the server still had was taken.
    assert_eq!(number(gap["last"].as_str().unwrap()) + 1, number(&oldest), "{line} {oldest}");
}

#[test]
fn a_gap_at_the_beginning_of_a_timeline_is_known() {
    let (server, receiver) = receiving();
    server.sql("INSERT INTO t VALUES (1)");
    caught_up(&server);
    receiver.stop();
    // What the server archives of the timeline that it leaves, and when, has no say in it.
    server.sql("INSERT INTO t VALUES (2)");
    // A failover: the new server has no slot, and goes on for long.
    promote(&server);
    let first = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    assert!(first.starts_with("00000002"), "{first}");
    let_go(&server);
    let receiver = Receiver::start(&server);
    caught_up(&server);
    let last = server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    switch(&server);
    caught_up(&server);
    let second = || status(&server)["clusters"][0]["timelines"][1].clone();
    wait_for("all to be stored", || second()["last"] == last);
    receiver.stop();
    let line = second();
    let gaps = line["gaps"].as_array().unwrap();
    assert_eq!((gaps.len(), &gaps[0]["first"]), (1, &first.into()), "{line}");
    assert!(gaps[0]["last"].as_str() < line["first"].as_str(), "{line}");
    assert!(status(&server)["clusters"][0]["histories"].to_string().contains('2'));
}
