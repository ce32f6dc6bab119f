//! What a failure of the server would cost: commits (recovery point objective) and time (recovery time
//! objective), with the assumptions in words.

use crate::base::units;
use crate::ops::doctor::wal::Cluster;
use crate::ops::doctor::{Finding, Level};
use crate::postgres::health::Health;

/// More commits than of so many seconds are a warning: the usual objective, five minutes.
const RPO_MAX: f64 = 300.0;
/// A recovery that takes more seconds is a warning: the usual objective, an hour.
const RTO_MAX: f64 = 3600.0;
/// What is assumed of restoring: bytes of files in a second.
const RESTORE_RATE: u64 = 100 << 20;
/// What is assumed of recovery: bytes of WAL in a second, four segments of the usual size.
const REPLAY_RATE: u64 = 64 << 20;

/// The name that receivers of this program give.
pub const RECEIVER: &str = "kamba-vault";

/// How a server's WAL gets away from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As it is written, by streaming.
    Streaming {
        /// How far behind it is, in milliseconds; `None` if our role may not see that.
        lag_millis: Option<u64>,
    },
    /// Whole segments, by `archive_command`.
    Archiving,
    /// Not at all.
    None,
}

impl Way {
    /// The way that a server's WAL takes.
    pub fn of(health: &Health, slot: &str) -> Self {
        let is_receiver = |name: &str| name == RECEIVER;
        if let Some(receiver) = health.receivers.iter().find(|receiver| is_receiver(&receiver.application)) {
            // Nothing was written lately if there is no lag and all is durable.
            let lag_millis = receiver.lag_millis.or(receiver.lag_bytes.filter(|bytes| *bytes == 0));
            return Way::Streaming { lag_millis };
        }
        if health.slots.iter().any(|known| known.name == slot && known.is_active) {
            return Way::Streaming { lag_millis: None };
        }
        if archives_here(health) { Way::Archiving } else { Way::None }
    }
}

/// Whether the server archives with this program. A library takes the command's place.
pub fn archives_here(health: &Health) -> bool {
    let mode = health.setting("archive_mode");
    let is_on = mode != "off" && !mode.is_empty() && health.setting("archive_library").is_empty();
    is_on && health.setting("archive_command").contains("kamba-vault")
}

/// An estimate, and what to say of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// In seconds, if there is one.
    pub seconds: Option<f64>,
    /// The words.
    pub finding: Finding,
}

/// How many seconds of commits would be lost with the server.
pub fn rpo(health: &Health, way: Way) -> Estimate {
    const CHECK: &str = "RPO";
    const STREAM: &str = "kamba-vault wal receive";
    let unbounded = |level, message: &str, fix: &str| Estimate {
        seconds: None,
        finding: Finding::bad(CHECK, level, message, fix),
    };
    let bounded = |seconds: f64, why: String| {
        let finding = if seconds > RPO_MAX {
            Finding::bad(CHECK, Level::Warning, why, STREAM)
        } else {
            Finding::ok(CHECK, why)
        };
        Estimate { seconds: Some(seconds), finding }
    };
    match way {
        Way::None | Way::Archiving if health.is_standby => unbounded(
            Level::Note,
            "it is a standby: what would be lost with its primary, that one says",
            "kamba-vault doctor --url PRIMARY",
        ),
        Way::None => unbounded(
            Level::Problem,
            "all commits since the newest base backup would be lost: no WAL leaves the server",
            STREAM,
        ),
        Way::Streaming { lag_millis: None } => unbounded(
            Level::Note,
            "WAL is streamed, but this role may not see how far behind that is",
            &format!("GRANT pg_monitor TO {};", health.role.name),
        ),
        Way::Streaming { lag_millis: Some(lag) } => {
            // Positions are reported a moment after they are true.
            let seconds = (lag as f64 / 1e3).max(1.0);
            bounded(seconds, format!("about {seconds:.0} s of commits would be lost: WAL is streamed"))
        }
        Way::Archiving if health.archiver.is_failing => unbounded(
            Level::Problem,
            "all commits since the last archived segment would be lost: archive_command fails",
            STREAM,
        ),
        Way::Archiving => archiving(health).map_or_else(
            || {
                let message = "commits in a segment that is not full would be lost, however old they are: \
                               nothing ends it";
                unbounded(Level::Problem, message, "kamba-vault wal receive --switch-only")
            },
            |(seconds, why)| bounded(seconds, why),
        ),
    }
}

/// How long commits wait for `archive_command`, at most.
fn archiving(health: &Health) -> Option<(f64, String)> {
    if let Some(after) = health.timers.iter().min() {
        let why = format!(
            "up to {after} s of commits would be lost: a switch timer ends segments that are not full"
        );
        return Some((*after as f64, why));
    }
    let timeout = health.number("archive_timeout").filter(|timeout| *timeout > 0)?;
    let idle = health.number("checkpoint_timeout").unwrap_or(300).max(timeout);
    let why = format!(
        "up to {timeout} s of commits would be lost, and up to {idle} s after a clean restart, when \
         archive_timeout begins late"
    );
    Some((idle as f64, why))
}

/// How long a recovery would take.
pub fn rto(cluster: &Cluster<'_>) -> Estimate {
    const CHECK: &str = "RTO";
    const BASE: &str = "kamba-vault snapshot base";
    let Some(base) = cluster.newest() else {
        let message = format!("cluster {} cannot be recovered: it has no base backup", cluster.system);
        return Estimate { seconds: None, finding: Finding::bad(CHECK, Level::Problem, message, BASE) };
    };
    let wal = cluster.wal_since(base);
    let seconds = base.bytes as f64 / RESTORE_RATE as f64 + wal as f64 / REPLAY_RATE as f64;
    let message = format!(
        "about {}, assumed that {} of files are restored at {}/s and {} of WAL since replayed at {}/s",
        span(seconds),
        units::bytes(base.bytes),
        units::bytes(RESTORE_RATE),
        units::bytes(wal),
        units::bytes(REPLAY_RATE)
    );
    let finding = if seconds > RTO_MAX {
        Finding::bad(
            CHECK,
            Level::Warning,
            message,
            format!("{BASE}          # more often: less WAL to replay"),
        )
    } else {
        Finding::ok(CHECK, message)
    };
    Estimate { seconds: Some(seconds), finding }
}

/// Seconds for people: `42 s`, `7 min`, `3 h`, `5 d`.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{:.0} s", s.max(1.0).round()),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ops::doctor::server::tests::{archiving, streaming};

    #[test]
    fn streaming_loses_as_much_as_it_lags() {
        let way = |lag_millis, lag_bytes| {
            let mut health = streaming();
            (health.receivers[0].lag_millis, health.receivers[0].lag_bytes) = (lag_millis, lag_bytes);
            let found = rpo(&health, Way::of(&health, "kamba_vault"));
            (found.seconds, found.finding.level)
        };
        assert_eq!(way(None, Some(0)), (Some(1.0), Level::Ok));
        assert_eq!(way(Some(20), Some(5)), (Some(1.0), Level::Ok));
        assert_eq!(way(Some(9000), Some(5)), (Some(9.0), Level::Ok));
        assert_eq!(way(Some(900_000), Some(5)), (Some(900.0), Level::Warning));
        assert_eq!(way(None, None), (None, Level::Note));
    }

    #[test]
    fn archiving_loses_what_waits() {
        let rpo = |health: &Health| {
            let found = rpo(health, Way::of(health, "kamba_vault"));
            (found.seconds, found.finding.level)
        };
        let mut health = archiving();
        assert_eq!(rpo(&health), (Some(300.0), Level::Ok), "archive_timeout is 60 s, but begins late");
        health.timers = vec![90, 30];
        assert_eq!(rpo(&health), (Some(30.0), Level::Ok));
        health.timers = vec![301];
        assert_eq!(rpo(&health), (Some(301.0), Level::Warning));
        health.timers.clear();
        health.settings.get_mut("archive_timeout").unwrap().value = "0".into();
        assert_eq!(rpo(&health), (None, Level::Problem));
        health.timers = vec![30];
        health.archiver.is_failing = true;
        assert_eq!(rpo(&health), (None, Level::Problem));
        health.archiver.is_failing = false;
        assert_eq!(rpo(&health), (Some(30.0), Level::Ok));
        health.settings.get_mut("archive_command").unwrap().value = "cp %p /elsewhere".into();
        assert_eq!(rpo(&health), (None, Level::Problem));
        health.is_standby = true;
        assert_eq!(rpo(&health), (None, Level::Note));
    }

    #[test]
    fn spans_are_round() {
        let spans = [0.2, 60.0, 119.0, 600.0, 10_800.0, 1e6].map(span);
        assert_eq!(spans, ["1 s", "60 s", "119 s", "10 min", "3 h", "12 d"]);
    }
}
