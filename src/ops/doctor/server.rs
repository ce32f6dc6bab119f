//! A server's set-up for backups, judged from what it says of itself.

use crate::base::units;
use crate::ops::doctor::estimate::{RECEIVER, Way, archives_here, span};
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
    if health.version() < OLDEST {
        // Nothing else was read.
        return findings;
    }
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
    // What streaming or another server does is not needed twice.
    let level = if streams || health.is_standby { Level::Note } else { Level::Problem };
    let mode = health.setting("archive_mode");
    if mode == "off" {
        let message = match (streams, health.is_standby) {
            (true, _) => "it is off: streaming alone takes WAL away",
            (false, true) => "it is off, also after a promotion",
            (false, false) => "it is off, and nobody streams",
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
        return Finding::ok(CHECK, "it calls kamba-vault");
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
            let level = if health.is_standby { level } else { Level::Problem };
            Finding::bad(CHECK, level, message, fix)
        }
        // A command may hold a secret, so it is not repeated.
        _ => Finding::bad(CHECK, level, "it does not call kamba-vault: nothing is stored here", fix),
    }
}

fn judge_archiver(health: &Health) -> Option<Finding> {
    const CHECK: &str = "archiver";
    let archiver = &health.archiver;
    let ago = |seconds: Option<u64>| span(seconds.unwrap_or(0) as f64);
    if archiver.is_failing {
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
pub(super) mod tests;
