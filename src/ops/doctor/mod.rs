//! `doctor`: what is wrong with this set-up, and what to type. The repository, the server if one is named, and
//! what the one holds of the other are read first; judging ([`server`], [`wal`], [`estimate`]) are functions
//! of what was read.

pub mod estimate;
pub mod server;
pub mod wal;

use std::path::PathBuf;

use crate::base::clock::Cancel;
use crate::format::config::CreateIfAbsent;
use crate::ops::Error;
use crate::ops::doctor::estimate::{Estimate, Way};
use crate::ops::doctor::wal::Stored;
use crate::postgres;
use crate::postgres::connect::Settings;
use crate::postgres::health::Health;
use crate::postgres::libpq::Library;
use crate::postgres::replication::Replication;
use crate::postgres::session;
use crate::postgres::tools::Tools;
use crate::repo::Repository;

/// How bad something is, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something to know.
    Note,
    /// Something that may cost time or data some day.
    Warning,
    /// Something that costs data, or keeps backups from being made.
    Problem,
}

/// What was found out about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `archive_mode`, `base backup`.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// A sentence without a full stop.
    pub message: String,
    /// What to type: a command, a statement or a line of a file, one a line. All but [`Level::Ok`] have it
    /// if there is something to be done.
    pub fix: Option<String>,
}

impl Finding {
    /// All is well.
    fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Finding { check, level: Level::Ok, message: message.into(), fix: None }
    }

    /// Something is not, and this is to be typed.
    fn bad(check: &'static str, level: Level, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Finding { check, level, message: message.into(), fix: Some(fix.into()) }
    }
}

/// What is to be looked at beside the repository.
#[derive(Clone, Debug)]
pub struct DoctorRequest {
    /// How to reach the server, if there is one.
    pub server: Option<Settings>,
    /// Where PostgreSQL's programs are; its library may lie beside them.
    pub tools: Tools,
    /// The slot that WAL is received by.
    pub slot: String,
    /// Where received WAL waits, if there is such a place.
    pub spool: Option<PathBuf>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All findings, in an order that reads well.
    pub findings: Vec<Finding>,
    /// The system identifier of the server's cluster.
    pub system: Option<u64>,
    /// Seconds of commits that would be lost with the server; `None` without a limit, or if nobody can tell.
    pub rpo_seconds: Option<f64>,
    /// Seconds that a recovery would take; `None` if there is nothing to recover from.
    pub rto_seconds: Option<f64>,
}

impl Report {
    /// How bad it is in all.
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }
}

/// Looks at everything. Only the repository's failures are errors: a server that cannot be reached is a
/// finding.
pub fn examine(repo: &Repository, request: &DoctorRequest, cancel: &Cancel) -> Result<Report, Error> {
    let mut report = Report { findings: judge_repository(repo), ..Report::default() };
    let stored = wal::read(repo, request.spool.as_deref(), cancel)?;
    report.findings.extend(stored.unread());
    let Some(settings) = &request.server else {
        for system in stored.systems() {
            judge_stored(&mut report, &stored, system, None, None);
        }
        return Ok(report);
    };
    match ask(settings, &request.tools, cancel) {
        Ok((health, replication)) => {
            report.system = health.system;
            report.findings.extend(server::judge(&health, &replication, &request.slot));
            if let Some(system) = health.system {
                judge_stored(&mut report, &stored, system, Some(&health), Some(&request.slot));
            }
        }
        Err(_) if cancel.is_cancelled() => return Err(postgres::error::Error::Cancelled.into()),
        Err(error) => {
            let fix = error.hint().unwrap_or("psql shows more of it");
            report.findings.push(Finding::bad("server", Level::Problem, error.to_string(), fix));
        }
    }
    Ok(report)
}

/// Asks the server; whether replication connections are possible is a question of its own.
fn ask(
    settings: &Settings,
    tools: &Tools,
    cancel: &Cancel,
) -> Result<(Health, Result<(), String>), postgres::error::Error> {
    let library = Library::open(tools)?;
    let mut connection = session::connect(&library, settings, "kamba-vault", cancel)?;
    let mut health = Health::read(&mut connection)?;
    drop(connection);
    let identity =
        Replication::connect(&library, settings, cancel).and_then(|mut replication| replication.identify());
    if let Ok(identity) = &identity {
        health.system.get_or_insert(identity.system);
        health.timeline.get_or_insert(identity.timeline);
    }
    let replication = identity.map(drop).map_err(|error| match error {
        postgres::error::Error::Replication { reason, .. } => reason,
        other => other.to_string(),
    });
    Ok((health, replication))
}

/// What the repository holds of one cluster, and what it would mean to lose its server.
fn judge_stored(
    report: &mut Report,
    stored: &Stored,
    system: u64,
    health: Option<&Health>,
    slot: Option<&str>,
) {
    let cluster = stored.of(system);
    report.findings.extend(wal::judge(&cluster, health));
    if let (Some(health), Some(slot)) = (health, slot) {
        let Estimate { seconds, finding } = estimate::rpo(health, Way::of(health, slot));
        report.rpo_seconds = seconds;
        report.findings.push(finding);
    }
    let Estimate { seconds, finding } = estimate::rto(&cluster);
    // Of several clusters, the one that takes longest.
    report.rto_seconds = report.rto_seconds.into_iter().chain(seconds).reduce(f64::max);
    report.findings.push(finding);
}

/// The repository as such: that it was opened is known by now.
fn judge_repository(repo: &Repository) -> Vec<Finding> {
    const CHECK: &str = "repository";
    let location = repo.backend().location();
    let mut findings = vec![Finding::ok(CHECK, format!("{location} is there and unlocked"))];
    if let Err(error) = repo.may_write() {
        let fix = error.hint().unwrap_or("use a key that may write for making backups").to_owned();
        findings.push(Finding::bad(
            CHECK,
            Level::Note,
            format!("nothing can be added with this key: {error}"),
            fix,
        ));
    }
    let probe = repo.config().probe;
    findings.push(judge_creation(probe.create_if_absent));
    if probe.list_after_write == Some(false) {
        findings.push(Finding::bad(
            CHECK,
            Level::Warning,
            "its storage does not list at once what was stored, as 'init' found out",
            "kamba-vault init --repo URL          # with storage that lists consistently",
        ));
    }
    findings
}

/// What two writers of one name do to each other.
fn judge_creation(found: Option<CreateIfAbsent>) -> Finding {
    const CHECK: &str = "repository";
    const OTHER: &str = "kamba-vault init --repo URL          # with storage that creates exclusively";
    match found {
        Some(CreateIfAbsent::Atomic) => Finding::ok(CHECK, "no writer can replace what another stored"),
        Some(CreateIfAbsent::LookFirst) => Finding::bad(
            CHECK,
            Level::Note,
            "its storage looks before it creates: two writers of one name at the same moment are not told apart",
            OTHER,
        ),
        Some(CreateIfAbsent::Ignored | CreateIfAbsent::Other(_)) => Finding::bad(
            CHECK,
            Level::Warning,
            "its storage replaces what is there: this program looks first, others may not",
            OTHER,
        ),
        None => Finding::bad(
            CHECK,
            Level::Note,
            "it is not known whether its storage creates exclusively: 'init' did not try",
            OTHER,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_storage_does_not_guarantee_is_told() {
        let level = |found| judge_creation(found).level;
        assert_eq!(level(Some(CreateIfAbsent::Atomic)), Level::Ok);
        assert_eq!(level(Some(CreateIfAbsent::LookFirst)), Level::Note);
        assert_eq!(level(Some(CreateIfAbsent::Ignored)), Level::Warning);
        assert_eq!(level(Some(CreateIfAbsent::Other(9))), Level::Warning);
        assert_eq!(level(None), Level::Note);
    }

    #[test]
    fn the_worst_counts() {
        let mut report = Report::default();
        assert_eq!(report.worst(), Level::Ok);
        report.findings.push(Finding::bad("a", Level::Warning, "x", "y"));
        report.findings.push(Finding::ok("a", "x"));
        assert_eq!(report.worst(), Level::Warning);
    }
}
