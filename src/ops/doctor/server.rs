//! A server's set-up for backups, judged from what it says of itself.

use crate::base::units;
use crate::ops::doctor::estimate::{RECEIVER, Way, archiver_fails, archives_here, span};
use crate::ops::doctor::{Finding, Level};
use crate::postgres::health::{Health, Receiver, Slot};
use crate::postgres::replication::OLDEST;
use crate::postgres::version::Version;

/// The first server with WAL summaries.
const SUMMARIZES: Version = Version(170_000);
/// Bytes that a slot may keep back.
const RETAINED_MAX: u64 = 1 << 30;
/// Bytes and milliseconds that a receiver may be behind.
const LAG_MAX: (u64, u64) = (64 << 20, 60_000);
/// Connections that receiving and a base backup take together.
const SENDERS: i64 = 2;
const RESTART: &str = "# then restart the server";
const RELOAD: &str = "SELECT pg_reload_conf();";
const RECEIVE: &str = "kamba-vault wal receive";
const PUSH: &str = "ALTER SYSTEM SET archive_command = 'kamba-vault wal push %p';";

/// Judges a server; `replication` is what became of a replication connection, `slot` the slot that WAL is
/// received by.
pub fn judge(health: &Health, replication: &Result<(), String>, slot: &str) -> Vec<Finding> {
    let way = Way::of(health, slot);
    let mut findings = vec![judge_version(health)];
    findings.extend(judge_durability(health));
    findings.push(judge_wal_level(health));
    findings.extend(judge_archiving(health, way));
    findings.extend(judge_timeout(health, way));
    findings.extend(judge_senders(health));
    findings.extend(judge_slots(health, slot));
    findings.extend(judge_receivers(health));
    findings.extend(judge_role(health, way));
    findings.push(judge_replication(health, replication));
    findings.extend(judge_pending(health));
    findings
}

/// `ALTER SYSTEM`, and what makes it take effect.
fn set(name: &str, value: &str, effect: &str) -> String {
    format!("ALTER SYSTEM SET {name} = '{value}';\n{effect}")
}

fn judge_version(health: &Health) -> Finding {
    const CHECK: &str = "server";
    let version = health.version();
    if version < OLDEST {
        let message =
            format!("PostgreSQL {version} is too old for base backups and WAL: {OLDEST} is the oldest");
        return Finding::bad(
            CHECK,
            Level::Problem,
            message,
            "kamba-vault snapshot db --all-databases --globals",
        );
    }
    let kind = if health.is_standby { ", a standby" } else { "" };
    let system = health.system.map_or(String::new(), |system| format!(", cluster {system}"));
    Finding::ok(CHECK, format!("PostgreSQL {version}{system}{kind}"))
}

/// Settings by which a server risks what it has.
fn judge_durability(health: &Health) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, what) in [
        ("fsync", "a crash of the machine can destroy the cluster"),
        ("full_page_writes", "a crash of the machine can leave torn pages"),
    ] {
        findings.push(match health.setting(name) {
            "off" => {
                Finding::bad(name, Level::Problem, format!("it is off: {what}"), set(name, "on", RELOAD))
            }
            value => Finding::ok(name, value),
        });
    }
    findings.push(match health.setting("data_checksums") {
        "on" => Finding::ok("data_checksums", "on"),
        value => {
            let message = format!("it is {value}: pages that the disk corrupts are backed up unnoticed");
            let fix = "pg_checksums --enable -D PGDATA          # while the server is stopped";
            Finding::bad("data_checksums", Level::Warning, message, fix)
        }
    });
    if health.version() >= SUMMARIZES && health.setting("summarize_wal") == "off" {
        let message = "it is off: incremental base backups by the server's own list of changes need it";
        findings.push(Finding::bad(
            "summarize_wal",
            Level::Note,
            message,
            set("summarize_wal", "on", RELOAD),
        ));
    }
    findings
}

fn judge_wal_level(health: &Health) -> Finding {
    const CHECK: &str = "wal_level";
    match health.setting(CHECK) {
        value @ ("replica" | "logical") => Finding::ok(CHECK, value),
        value => {
            let message = format!("it is {value}: neither base backups nor archiving are possible");
            Finding::bad(CHECK, Level::Problem, message, set(CHECK, "replica", RESTART))
        }
    }
}

/// `archive_mode`, `archive_command`, and what came of them.
fn judge_archiving(health: &Health, way: Way) -> Vec<Finding> {
    let streams = matches!(way, Way::Streaming { .. });
    // What streaming does is not needed twice.
    let level = if streams { Level::Note } else { Level::Problem };
    let mode = health.setting("archive_mode");
    if mode == "off" {
        let message = if streams {
            "it is off: streaming alone takes WAL away"
        } else {
            "it is off, and nobody streams"
        };
        let fix = format!("{}\n{PUSH}", set("archive_mode", "on", RESTART));
        return vec![Finding::bad("archive_mode", level, message, fix)];
    }
    let mut findings = vec![Finding::ok("archive_mode", mode)];
    if health.is_standby && mode == "on" {
        let message = "a standby archives nothing before its promotion: its primary has to";
        findings.push(Finding::bad("archive_mode", Level::Note, message, "kamba-vault doctor --url PRIMARY"));
    }
    findings.push(judge_command(health, level));
    findings.extend(judge_archiver(health));
    findings
}

fn judge_command(health: &Health, level: Level) -> Finding {
    const CHECK: &str = "archive_command";
    let fix = format!("{PUSH}\n{RELOAD}");
    if archives_here(health) {
        return Finding::ok(CHECK, health.setting(CHECK));
    }
    let library = health.setting("archive_library");
    if !library.is_empty() {
        let message = format!("archive_library {library} takes its place, and stores nothing here");
        return Finding::bad(CHECK, level, message, format!("ALTER SYSTEM RESET archive_library;\n{fix}"));
    }
    match health.setting(CHECK) {
        // pg_settings says so while archive_mode is off.
        "" | "(disabled)" => {
            let message = "it is empty: WAL piles up in pg_wal until the disk is full";
            Finding::bad(CHECK, Level::Problem, message, fix)
        }
        command => Finding::bad(CHECK, level, format!("it stores nothing here: {command}"), fix),
    }
}

fn judge_archiver(health: &Health) -> Option<Finding> {
    const CHECK: &str = "archiver";
    let archiver = &health.archiver;
    let ago = |seconds: Option<u64>| span(seconds.unwrap_or(0) as f64);
    if archiver_fails(health) {
        let message = format!(
            "archive_command fails: {} {} ago, {} failures in all; WAL piles up in pg_wal",
            archiver.failed.as_deref().unwrap_or_default(),
            ago(archiver.failed_ago),
            archiver.failures
        );
        let fix =
            "kamba-vault wal push PGDATA/pg_wal/NAME          # as the server's user; its log says the same";
        return Some(Finding::bad(CHECK, Level::Problem, message, fix));
    }
    let last = archiver.last.as_deref();
    Some(match (last, archiver.failed_ago) {
        (Some(last), None) => {
            Finding::ok(CHECK, format!("{last} was archived {} ago", ago(archiver.last_ago)))
        }
        (Some(last), failed @ Some(_)) => {
            let message = format!(
                "{last} was archived {} ago; {} failures before, the last {} ago",
                ago(archiver.last_ago),
                archiver.failures,
                ago(failed)
            );
            let fix = "SELECT pg_stat_reset_shared('archiver');          # when the server's log is read";
            Finding::bad(CHECK, Level::Note, message, fix)
        }
        (None, _) if health.is_standby => return None,
        (None, _) => Finding::bad(CHECK, Level::Note, "nothing was archived yet", "SELECT pg_switch_wal();"),
    })
}

/// Who ends segments that are not full.
fn judge_timeout(health: &Health, way: Way) -> Option<Finding> {
    const CHECK: &str = "archive_timeout";
    if way != Way::Archiving {
        return None;
    }
    let timer = "kamba-vault wal receive --switch-only";
    if let Some(after) = health.timers.iter().min() {
        return Some(Finding::ok(
            CHECK,
            format!("a switch timer ends segments that are not full after {after} s"),
        ));
    }
    Some(match health.number(CHECK) {
        Some(seconds @ 1..) => {
            let message = format!(
                "segments that are not full end after {seconds} s, but not soon after a clean restart"
            );
            Finding::bad(CHECK, Level::Note, message, timer)
        }
        _ => {
            let message = "nothing ends segments that are not full: what is in them waits without a limit";
            Finding::bad(CHECK, Level::Problem, message, timer)
        }
    })
}

fn judge_senders(health: &Health) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (senders, slots) = (health.number("max_wal_senders"), health.number("max_replication_slots"));
    let used = i64::try_from(health.receivers.len()).unwrap_or(i64::MAX);
    findings.push(match senders.unwrap_or(0) {
        senders if senders < SENDERS => {
            let level = if senders == 0 { Level::Problem } else { Level::Warning };
            let message = format!("it is {senders}: receiving and a base backup take {SENDERS}");
            Finding::bad("max_wal_senders", level, message, set("max_wal_senders", "10", RESTART))
        }
        senders if used >= senders => {
            let message = format!("all {senders} are in use");
            let fix = set("max_wal_senders", &senders.saturating_mul(2).to_string(), RESTART);
            Finding::bad("max_wal_senders", Level::Warning, message, fix)
        }
        senders => Finding::ok("max_wal_senders", format!("{senders}, {used} in use")),
    });
    if slots == Some(0) {
        let message = "it is 0: no WAL can be received";
        let fix = set("max_replication_slots", "10", RESTART);
        findings.push(Finding::bad("max_replication_slots", Level::Warning, message, fix));
    }
    findings
}

fn judge_slots(health: &Health, ours: &str) -> Vec<Finding> {
    const CHECK: &str = "slot";
    let mut findings: Vec<Finding> =
        health.slots.iter().map(|slot| judge_slot(slot, slot.name == ours)).collect();
    if !health.slots.is_empty() && health.number("max_slot_wal_keep_size") == Some(-1) {
        let message = "what slots keep has no limit: a receiver that stays away fills the server's disk";
        let fix = set("max_slot_wal_keep_size", "50GB", RELOAD);
        findings.push(Finding::bad(CHECK, Level::Note, message, fix));
    }
    findings
}

fn judge_slot(slot: &Slot, is_ours: bool) -> Finding {
    const CHECK: &str = "slot";
    let name = &slot.name;
    let drop = format!("SELECT pg_drop_replication_slot('{name}');          # if nobody needs it any more");
    let kept = units::bytes(slot.retained.unwrap_or(0));
    let own = if is_ours { Level::Problem } else { Level::Warning };
    let receive = format!("{RECEIVE} --slot {name}");
    match (slot.status.as_deref(), slot.is_active) {
        (Some("lost"), _) => {
            let fix = if is_ours { format!("{drop}\n{receive}\nkamba-vault snapshot base") } else { drop };
            Finding::bad(CHECK, own, format!("{name} has lost WAL that was not received"), fix)
        }
        (Some("unreserved"), _) => {
            let message = format!("{name} keeps {kept}, and is about to lose it");
            Finding::bad(CHECK, own, message, if is_ours { receive } else { drop })
        }
        (_, false) if is_ours || slot.retained.unwrap_or(0) > RETAINED_MAX => {
            let level = if slot.retained.unwrap_or(0) > RETAINED_MAX { own } else { Level::Warning };
            let message = format!("{name} is used by nobody, and keeps {kept} of WAL on the server");
            Finding::bad(CHECK, level, message, if is_ours { format!("{receive}\n{drop}") } else { drop })
        }
        (_, true) if slot.retained.unwrap_or(0) > RETAINED_MAX => {
            let message = format!("{name} is in use, and {kept} behind");
            let fix = "SELECT * FROM pg_stat_replication;          # whether it catches up";
            Finding::bad(CHECK, Level::Warning, message, fix)
        }
        (_, is_active) => {
            let state = if is_active { "in use" } else { "used by nobody" };
            Finding::ok(CHECK, format!("{name} is {state}, and keeps {kept} of WAL"))
        }
    }
}

fn judge_receivers(health: &Health) -> Vec<Finding> {
    let ours = health.receivers.iter().filter(|receiver| receiver.application == RECEIVER);
    ours.map(judge_receiver).collect()
}

fn judge_receiver(receiver: &Receiver) -> Finding {
    const CHECK: &str = "streaming";
    let (bytes, millis) = (receiver.lag_bytes, receiver.lag_millis);
    let lag = match (bytes, millis) {
        (None, _) => "behind by nobody knows how much".to_owned(),
        (Some(bytes), None) => format!("{} behind", units::bytes(bytes)),
        (Some(bytes), Some(millis)) => {
            format!("{} and {:.1} s behind", units::bytes(bytes), millis as f64 / 1e3)
        }
    };
    let state = receiver.state.as_deref().unwrap_or("connected");
    let message = format!("{RECEIVER} is {state}, {lag}");
    match bytes.unwrap_or(0) > LAG_MAX.0 || millis.unwrap_or(0) > LAG_MAX.1 {
        true => {
            let fix = "SELECT * FROM pg_stat_replication;          # whether it catches up";
            Finding::bad(CHECK, Level::Warning, message, fix)
        }
        false => Finding::ok(CHECK, message),
    }
}

fn judge_role(health: &Health, way: Way) -> Vec<Finding> {
    const CHECK: &str = "role";
    let role = &health.role;
    let name = &role.name;
    if role.is_superuser {
        return vec![Finding::ok(CHECK, format!("{name} is a superuser"))];
    }
    let mut findings = Vec::new();
    if role.replicates {
        findings.push(Finding::ok(CHECK, format!("{name} may make replication connections")));
    } else {
        let message = format!("{name} may neither take base backups nor receive WAL");
        findings.push(Finding::bad(
            CHECK,
            Level::Problem,
            message,
            format!("ALTER ROLE {name} REPLICATION;"),
        ));
    }
    if !role.switches && way == Way::Archiving {
        let message = format!("{name} may not end segments, as 'wal receive --switch-only' does");
        let fix = format!("GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO {name};");
        findings.push(Finding::bad(CHECK, Level::Note, message, fix));
    }
    if !role.monitors {
        let message = format!("{name} may not see how far receivers are");
        findings.push(Finding::bad(CHECK, Level::Note, message, format!("GRANT pg_monitor TO {name};")));
    }
    findings
}

fn judge_replication(health: &Health, replication: &Result<(), String>) -> Finding {
    const CHECK: &str = "pg_hba.conf";
    let Err(reason) = replication else {
        return Finding::ok(CHECK, "a replication connection was made");
    };
    let name = &health.role.name;
    let line = match &health.client {
        None => format!("local   replication   {name}   peer"),
        Some(client) => {
            let bits = if client.contains(':') { 128 } else { 32 };
            format!("host   replication   {name}   {client}/{bits}   scram-sha-256")
        }
    };
    let fix = format!("{line}          # a line of pg_hba.conf\n{RELOAD}");
    Finding::bad(CHECK, Level::Problem, format!("no replication connection: {reason}"), fix)
}

/// Settings that were changed and do not count yet.
fn judge_pending(health: &Health) -> Option<Finding> {
    let pending = health.settings.iter().filter(|(_, setting)| setting.is_pending);
    let names: Vec<&str> = pending.map(|(name, _)| name.as_str()).collect();
    let message = format!("changed, but not in effect before a restart: {}", names.join(", "));
    (!names.is_empty()).then(|| Finding::bad("settings", Level::Warning, message, "pg_ctl restart -D PGDATA"))
}

#[cfg(test)]
pub(super) mod tests {
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
    }

    #[test]
    fn an_archiver_that_fails_is_a_problem_until_it_succeeds() {
        let one = |failed_ago, last_ago: Option<u64>| {
            found(streaming(), |health| {
                let last = last_ago.map(|_| "x".to_owned());
                health.archiver = Archiver { last, last_ago, failures: 3, failed: None, failed_ago };
            })
        };
        assert_eq!(one(Some(5), Some(60)), [("archiver", Level::Problem)]);
        assert_eq!(one(Some(5), None), [("archiver", Level::Problem)]);
        assert_eq!(one(Some(60), Some(5)), [("archiver", Level::Note)]);
        assert_eq!(one(None, None), [("archiver", Level::Note)]);
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
}
