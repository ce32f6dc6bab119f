//! Each rule for a server, by a server that is set up right and one change to it.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::postgres::health::{Archiver, Role, Setting};

/// A server with all that this takes.
fn good() -> Health {
    let settings = [
        ("wal_level", "replica"),
        ("archive_mode", "on"),
        ("archive_command", "kamba-vault wal push %p"),
        ("archive_library", ""),
        ("archive_timeout", "60"),
        ("checkpoint_timeout", "300"),
        ("max_wal_senders", "10"),
        ("max_replication_slots", "10"),
        ("max_slot_wal_keep_size", "51200"),
        ("data_checksums", "on"),
        ("full_page_writes", "on"),
        ("fsync", "on"),
    ];
    let setting = |value: &str| Setting { value: value.to_owned(), is_pending: false };
    Health {
        version: 150_018,
        settings: settings.map(|(name, value)| (name.to_owned(), setting(value))).into(),
        system: Some(7),
        timeline: Some(1),
        role: Role {
            name: "backup".to_owned(),
            replicates: true,
            switches: true,
            monitors: true,
            ..Role::default()
        },
        archiver: Archiver {
            last: Some("000000010000000000000001".to_owned()),
            last_ago: Some(5),
            ..Archiver::default()
        },
        ..Health::default()
    }
}

/// One that archives.
pub fn archiving() -> Health {
    good()
}

/// One that is streamed from.
pub fn streaming() -> Health {
    let slot = Slot {
        name: "kamba_vault".to_owned(),
        is_active: true,
        status: Some("reserved".to_owned()),
        retained: Some(100),
    };
    let receiver = Receiver {
        application: RECEIVER.to_owned(),
        state: Some("streaming".to_owned()),
        lag_bytes: Some(0),
        lag_millis: None,
    };
    Health { slots: vec![slot], receivers: vec![receiver], ..good() }
}

/// What a change to a server leads to: checks that are not ok, with their levels.
fn found(mut health: Health, change: impl FnOnce(&mut Health)) -> Vec<(&'static str, Level)> {
    change(&mut health);
    let findings = judge(&health, &Ok(()), "kamba_vault");
    let bad = findings.iter().filter(|finding| finding.level != Level::Ok);
    assert!(findings.iter().all(|finding| (finding.level == Level::Ok) == finding.fix.is_none()));
    bad.map(|finding| (finding.check, finding.level)).collect()
}

fn with(health: Health, name: &str, value: &str) -> Vec<(&'static str, Level)> {
    found(health, |health| {
        health.settings.entry(name.to_owned()).or_default().value = value.to_owned();
    })
}

#[test]
fn nothing_is_said_of_a_server_that_is_set_up_right() {
    assert_eq!(found(streaming(), |_| ()), []);
    // archive_timeout begins late after a restart, which the timer is for.
    assert_eq!(found(archiving(), |health| health.timers = vec![60]), []);
    assert_eq!(found(archiving(), |_| ()), [("archive_timeout", Level::Note)]);
}

#[test]
fn each_setting_is_judged() {
    let one = |name: &str, value: &str| with(streaming(), name, value);
    assert_eq!(one("wal_level", "logical"), []);
    assert_eq!(one("wal_level", "minimal"), [("wal_level", Level::Problem)]);
    assert_eq!(one("fsync", "off"), [("fsync", Level::Problem)]);
    assert_eq!(one("full_page_writes", "off"), [("full_page_writes", Level::Problem)]);
    assert_eq!(one("data_checksums", "off"), [("data_checksums", Level::Warning)]);
    assert_eq!(one("max_wal_senders", "0"), [("max_wal_senders", Level::Problem)]);
    assert_eq!(one("max_wal_senders", "1"), [("max_wal_senders", Level::Warning)]);
    assert_eq!(one("max_replication_slots", "0"), [("max_replication_slots", Level::Warning)]);
    assert_eq!(one("max_slot_wal_keep_size", "-1"), [("slot", Level::Note)]);
    // With streaming, archiving is no must.
    assert_eq!(one("archive_mode", "off"), [("archive_mode", Level::Note)]);
    assert_eq!(one("archive_command", "cp %p /x"), [("archive_command", Level::Note)]);
    assert_eq!(one("archive_command", ""), [("archive_command", Level::Problem)]);
    let two = |health: &mut Health| {
        health.version = 170_001;
        let off = Setting { value: "off".to_owned(), is_pending: true };
        health.settings.insert("summarize_wal".to_owned(), off);
    };
    let want = [("summarize_wal", Level::Note), ("settings", Level::Warning)];
    assert_eq!(found(streaming(), two), want);
    assert_eq!(found(streaming(), |health| health.version = 120_000), [("server", Level::Problem)]);
}

#[test]
fn without_streaming_archiving_is_a_must() {
    let one = |name: &str, value: &str| with(archiving(), name, value);
    assert_eq!(one("archive_mode", "off"), [("archive_mode", Level::Problem)]);
    assert_eq!(one("archive_command", "cp %p /x"), [("archive_command", Level::Problem)]);
    assert_eq!(one("archive_timeout", "0"), [("archive_timeout", Level::Problem)]);
    let library = with(archiving(), "archive_library", "basic_archive");
    assert_eq!(library, [("archive_command", Level::Problem)]);
    let standby = found(streaming(), |health| health.is_standby = true);
    assert_eq!(standby, [("archive_mode", Level::Note)]);
    let alone = found(archiving(), |health| {
        health.is_standby = true;
        health.settings.remove("archive_command");
    });
    assert_eq!(alone, [("archive_mode", Level::Note), ("archive_command", Level::Note)]);
}

#[test]
fn an_archiver_that_fails_is_a_problem_until_it_succeeds() {
    let one = |is_failing, failed_ago, last_ago: Option<u64>| {
        found(streaming(), |health| {
            let last = last_ago.map(|_| "x".to_owned());
            health.archiver = Archiver { last, last_ago, failures: 3, failed: None, failed_ago, is_failing };
        })
    };
    assert_eq!(one(true, Some(5), Some(60)), [("archiver", Level::Problem)]);
    assert_eq!(one(true, Some(5), None), [("archiver", Level::Problem)]);
    assert_eq!(one(false, Some(5), Some(5)), [("archiver", Level::Note)]);
    assert_eq!(one(false, None, None), [("archiver", Level::Note)]);
}

#[test]
fn slots_are_judged_by_what_they_keep_and_whose_they_are() {
    let one = |name: &str, is_active, status: &str, retained| {
        found(streaming(), |health| {
            let (name, status) = (name.to_owned(), Some(status.to_owned()));
            health.slots = vec![Slot { name, is_active, status, retained: Some(retained) }];
        })
    };
    let slot = |level| vec![("slot", level)];
    assert_eq!(one("kamba_vault", true, "reserved", 5), []);
    assert_eq!(one("kamba_vault", false, "reserved", 5), slot(Level::Warning));
    assert_eq!(one("kamba_vault", false, "extended", 2 << 30), slot(Level::Problem));
    assert_eq!(one("kamba_vault", true, "extended", 2 << 30), slot(Level::Warning));
    assert_eq!(one("kamba_vault", true, "unreserved", 5), slot(Level::Problem));
    assert_eq!(one("kamba_vault", false, "lost", 0), slot(Level::Problem));
    assert_eq!(one("other", false, "reserved", 5), []);
    assert_eq!(one("other", false, "extended", 2 << 30), slot(Level::Warning));
    assert_eq!(one("other", false, "lost", 0), slot(Level::Warning));
}

#[test]
fn a_receiver_that_lags_is_a_warning() {
    let one = |bytes, millis| {
        found(streaming(), |health| {
            (health.receivers[0].lag_bytes, health.receivers[0].lag_millis) = (bytes, millis);
        })
    };
    assert_eq!(one(Some(1 << 20), Some(900)), []);
    assert_eq!(one(Some(1 << 30), Some(900)), [("streaming", Level::Warning)]);
    assert_eq!(one(Some(5), Some(90_000)), [("streaming", Level::Warning)]);
}

#[test]
fn rights_are_told_with_the_statement_that_gives_them() {
    let role = found(archiving(), |health| {
        health.role = Role { name: "\"Backup\"".to_owned(), ..Role::default() };
        health.timers = vec![60];
    });
    assert_eq!(role, [("role", Level::Problem), ("role", Level::Note), ("role", Level::Note)]);
    let refused = |client: Option<&str>| {
        let health = Health { client: client.map(str::to_owned), ..streaming() };
        let findings = judge(&health, &Err("no entry".to_owned()), "kamba_vault");
        let bad = findings.into_iter().find(|finding| finding.check == "pg_hba.conf").unwrap();
        assert_eq!(bad.level, Level::Problem);
        bad.fix.unwrap()
    };
    assert!(refused(None).starts_with("local   replication   backup   peer"));
    assert!(refused(Some("10.0.0.7")).starts_with("host   replication   backup   10.0.0.7/32   scram"));
    assert!(refused(Some("fd00::7")).contains("fd00::7/128"));
}
