//! What the repository holds of a cluster: its newest base backup, the WAL that this needs, what is missing,
//! and how far behind the server it is.

use std::collections::BTreeSet;
use std::path::Path;

use crate::base::clock::{Cancel, Timestamp};
use crate::base::units;
use crate::format::base_backup::BaseBackup;
use crate::ops::Error;
use crate::ops::doctor::estimate::span;
use crate::ops::doctor::{Finding, Level};
use crate::ops::wal::ranges::{self, Ranges};
use crate::ops::wal::receive::clusters;
use crate::ops::wal::status::{self, Status, Timeline, status};
use crate::postgres::health::Health;
use crate::postgres::lsn::Lsn;
use crate::postgres::wal::{SegmentName, SegmentSize};
use crate::repo::Repository;
use crate::repo::roots::{self, Snapshot};
use crate::repo::wal::spool;

/// A base backup that is older makes recovery slow, and its WAL must have been kept all that time.
const BASE_AGE_MAX: f64 = 8.0 * 86_400.0;
/// Bytes of the server's WAL that may be on their way: four segments of the usual size.
const BEHIND_MAX: u64 = 64 << 20;
/// Bytes that may wait in the spool.
const SPOOL_MAX: u64 = 1 << 30;

/// What the repository holds, of all clusters.
#[derive(Debug)]
pub struct Stored {
    now: Timestamp,
    bases: Vec<Base>,
    unreadable: usize,
    wal: Status,
    /// Bytes in the spool of each cluster.
    spools: Vec<(u64, u64)>,
    /// Why nobody knows, if nobody does.
    unread_spool: Option<String>,
}

/// A base backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// When it ended.
    pub ended: Timestamp,
    /// Bytes of the cluster's files.
    pub bytes: u64,
    /// Whether some of them could not be read.
    pub is_incomplete: bool,
    /// What it says of the cluster.
    pub base: BaseBackup,
}

/// What the repository holds of one cluster.
#[derive(Clone, Debug)]
pub struct Cluster<'s> {
    /// Its system identifier.
    pub system: u64,
    now: Timestamp,
    bases: Vec<&'s Base>,
    wal: Option<&'s status::Cluster>,
    spooled: Option<u64>,
}

/// Reads what there is, and how full the spool is.
pub fn read(repo: &Repository, spool: Option<&Path>, cancel: &Cancel) -> Result<Stored, Error> {
    let listing = roots::list(repo, cancel)?;
    let bases = listing.snapshots.iter().filter_map(Base::of).collect();
    let (spools, unread_spool) = match spool.map(fill).transpose() {
        Ok(spools) => (spools.unwrap_or_default(), None),
        // It may be another user's, who alone may look.
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let unreadable = listing.damaged.len();
    let wal = status(repo, cancel)?;
    Ok(Stored { now: repo.clock().now(), bases, unreadable, wal, spools, unread_spool })
}

/// Bytes in the spool of each cluster.
fn fill(dir: &Path) -> Result<Vec<(u64, u64)>, Error> {
    let mut spools = Vec::new();
    for (system, dir) in clusters(dir)? {
        let fail = |source| Error::Input { path: dir.display().to_string(), source };
        spools.push((system, spool::files(&dir).map_err(fail)?.iter().map(|(_, bytes)| bytes).sum()));
    }
    Ok(spools)
}

impl Base {
    fn of(snapshot: &Snapshot) -> Option<Self> {
        let root = &snapshot.root;
        let base = root.base.clone()?;
        let (ended, bytes, is_incomplete) = (root.ended, root.stats.source_bytes, root.incomplete());
        Some(Base { ended, bytes, is_incomplete, base })
    }
}

impl Stored {
    /// What cannot be read: objects, or the spool.
    pub fn unread(&self) -> Vec<Finding> {
        let spool = self.unread_spool.as_ref().map(|reason| {
            let fix = "kamba-vault doctor          # as the user of 'wal receive'";
            Finding::bad("spool", Level::Note, format!("nobody knows how full it is: {reason}"), fix)
        });
        self.damage().into_iter().chain(spool).collect()
    }

    fn damage(&self) -> Option<Finding> {
        let count = self.wal.damaged.len() + self.unreadable;
        let message = format!("{count} of its snapshots or WAL files cannot be read");
        (count > 0)
            .then(|| Finding::bad("repository", Level::Problem, message, "kamba-vault check --read-data"))
    }

    /// The clusters that it holds something of.
    pub fn systems(&self) -> BTreeSet<u64> {
        let bases = self.bases.iter().map(|base| base.base.system);
        bases.chain(self.wal.clusters.iter().map(|cluster| cluster.system)).collect()
    }

    /// What it holds of this one.
    pub fn of(&self, system: u64) -> Cluster<'_> {
        Cluster {
            system,
            now: self.now,
            bases: self.bases.iter().filter(|base| base.base.system == system).collect(),
            wal: self.wal.clusters.iter().find(|cluster| cluster.system == system),
            spooled: self.spools.iter().find(|(of, _)| *of == system).map(|(_, bytes)| *bytes),
        }
    }
}

impl<'s> Cluster<'s> {
    /// The newest base backup.
    pub fn newest(&self) -> Option<&'s Base> {
        self.bases.iter().copied().max_by_key(|base| base.ended)
    }

    /// Bytes of whole segments after the start of a base backup, on its timeline and later ones.
    pub fn wal_since(&self, base: &Base) -> u64 {
        let since = |line: &&Timeline| line.timeline >= base.base.timeline;
        let bytes = |line: &Timeline| {
            let first = line.size.number_at(Lsn(base.base.start));
            ranges::count(&from(&line.present, first)).saturating_mul(line.size.bytes())
        };
        self.lines().filter(since).map(bytes).fold(0, u64::saturating_add)
    }

    fn lines(&self) -> impl Iterator<Item = &'s Timeline> {
        self.wal.into_iter().flat_map(|cluster| &cluster.timelines)
    }

    fn line(&self, timeline: u32) -> Option<&'s Timeline> {
        self.lines().find(|line| line.timeline == timeline)
    }

    fn age(&self, then: Timestamp) -> f64 {
        self.now.0.saturating_sub(then.0).max(0) as f64 / 1e9
    }
}

/// The numbers from `first` on.
fn from(ranges: &Ranges, first: u64) -> Ranges {
    let cut = ranges.iter().map(|range| (*range.start()).max(first)..=*range.end());
    cut.filter(|range| !range.is_empty()).collect()
}

/// Judges what there is of a cluster; `health` is of its server, if that was asked.
pub fn judge(cluster: &Cluster<'_>, health: Option<&Health>) -> Vec<Finding> {
    let mut findings = judge_base(cluster);
    findings.extend(judge_wal(cluster));
    findings.extend(health.and_then(|health| judge_end(cluster, health)));
    findings.extend(judge_spool(cluster));
    findings
}

fn judge_base(cluster: &Cluster<'_>) -> Vec<Finding> {
    const CHECK: &str = "base backup";
    const MAKE: &str = "kamba-vault snapshot base";
    let system = cluster.system;
    let Some(base) = cluster.newest() else {
        return vec![Finding::bad(CHECK, Level::Problem, format!("there is none of cluster {system}"), MAKE)];
    };
    let age = cluster.age(base.ended);
    let message = format!("the newest of cluster {system} was made {} ago", span(age));
    let mut findings = vec![match age > BASE_AGE_MAX {
        true => Finding::bad(CHECK, Level::Warning, message, MAKE),
        false => Finding::ok(CHECK, message),
    }];
    if base.is_incomplete {
        let message = "some of the newest could not be read: 'kamba-vault snapshots' shows which it is";
        findings.push(Finding::bad(CHECK, Level::Problem, message, MAKE));
    }
    if base.base.corrupt_pages > 0 {
        let message = format!("{} pages of the newest have wrong checksums", base.base.corrupt_pages);
        let fix = "pg_amcheck --all --heapallindexed          # which tables and indexes are concerned";
        findings.push(Finding::bad(CHECK, Level::Problem, message, fix));
    }
    if let Some(name) = missing(cluster, base) {
        let message = format!("the newest cannot be recovered yet: its WAL {name} is not here");
        let fix = "SELECT pg_switch_wal();\nkamba-vault wal status";
        findings.push(Finding::bad(CHECK, Level::Problem, message, fix));
    }
    findings
}

/// The first segment that a base backup needs to be consistent and that is not there.
fn missing(cluster: &Cluster<'_>, base: &Base) -> Option<SegmentName> {
    let size = SegmentSize::new(base.base.segment_size.into())?;
    let (first, last) =
        (size.number_at(Lsn(base.base.start)), size.number_at(Lsn(base.base.stop.max(1) - 1)));
    let present = cluster.line(base.base.timeline).map(|line| line.present.clone()).unwrap_or_default();
    let missing = ranges::without(&vec![first..=last.max(first)], &present);
    SegmentName::new(base.base.timeline, *missing.first()?.start(), size)
}

fn judge_wal(cluster: &Cluster<'_>) -> Vec<Finding> {
    const CHECK: &str = "WAL";
    let newest = cluster.lines().max_by_key(|line| line.newest);
    let Some(newest) = newest else {
        let message = format!("there is none of cluster {}", cluster.system);
        let fix = "kamba-vault wal receive          # or archive_command = 'kamba-vault wal push %p'";
        return vec![Finding::bad(CHECK, Level::Problem, message, fix)];
    };
    let name = newest.ends().map(|(_, last)| last.to_string()).unwrap_or_default();
    let age = span(cluster.age(newest.newest));
    let mut findings = vec![Finding::ok(CHECK, format!("the newest segment is {name}, stored {age} ago"))];
    let base = cluster.newest().map(|base| &base.base);
    for line in cluster.lines() {
        let lost = ranges::count(&line.lost);
        if lost > 0 {
            let message =
                format!("{lost} segments of timeline {} were stored once and are gone", line.timeline);
            let fix = "kamba-vault wal status\nkamba-vault snapshot base          # what comes after it can be recovered";
            findings.push(Finding::bad(CHECK, Level::Problem, message, fix));
        }
        findings.extend(judge_gaps(line, base));
    }
    findings
}

/// A gap behind the newest base backup ends what can be recovered; one before it makes a hole in the past.
fn judge_gaps(line: &Timeline, base: Option<&BaseBackup>) -> Option<Finding> {
    let gaps = ranges::count(&line.gaps);
    let first = line.gaps.first().and_then(|range| line.name(*range.start()))?;
    let needed = base.is_some_and(|base| {
        line.timeline >= base.timeline && !from(&line.gaps, line.size.number_at(Lsn(base.start))).is_empty()
    });
    let message = format!("{gaps} segments of timeline {} are missing, {first} is the first", line.timeline);
    Some(match needed {
        true => {
            let fix = "kamba-vault snapshot base          # what comes after it can be recovered";
            Finding::bad("WAL", Level::Problem, format!("{message}: recovery ends there"), fix)
        }
        false => {
            let message = format!(
                "{message}: no moment between the base backup before it and the next can be recovered"
            );
            Finding::bad("WAL", Level::Note, message, "kamba-vault wal status")
        }
    })
}

/// How far the server is ahead of the repository, whole segments only.
fn judge_end(cluster: &Cluster<'_>, health: &Health) -> Option<Finding> {
    const CHECK: &str = "WAL";
    let line = cluster.line(health.timeline?)?;
    let end = line.present.last()?.end().checked_add(1)?.checked_mul(line.size.bytes())?;
    let behind = health.position?.0.saturating_sub(end) / line.size.bytes() * line.size.bytes();
    let message = format!("the repository is {} of WAL behind the server", units::bytes(behind));
    Some(match behind {
        0 => Finding::ok(CHECK, "every segment that the server has ended is here"),
        1..=BEHIND_MAX => {
            Finding::bad(CHECK, Level::Note, message, "kamba-vault doctor          # again, in a while")
        }
        _ => {
            Finding::bad(CHECK, Level::Warning, message, "kamba-vault wal status          # whether it grows")
        }
    })
}

fn judge_spool(cluster: &Cluster<'_>) -> Option<Finding> {
    const CHECK: &str = "spool";
    let bytes = cluster.spooled?;
    let message = format!("{} of WAL wait there for the repository", units::bytes(bytes));
    Some(match bytes > SPOOL_MAX {
        true => {
            let fix =
                "kamba-vault wal receive          # runs? its messages say why the repository takes nothing";
            Finding::bad(CHECK, Level::Warning, message, fix)
        }
        false => Finding::ok(CHECK, message),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ops::doctor::estimate::rto;

    const SIZE: u64 = 16 << 20;
    const DAY: i64 = 86_400;

    /// A repository with a base backup of cluster 7 that needs the segments 4 and 5, made a day ago, and
    /// these ranges of segments.
    fn stored(present: Ranges, gaps: Ranges, lost: Ranges) -> Stored {
        let base = BaseBackup {
            system: 7,
            timeline: 1,
            start: 4 * SIZE + 40,
            stop: 5 * SIZE + 300,
            page_size: 8192,
            segment_size: SIZE as u32,
            ..BaseBackup::default()
        };
        let line = Timeline {
            damaged: Vec::new(),
            timeline: 1,
            size: SegmentSize::new(SIZE).unwrap(),
            present,
            lost,
            gaps,
            partial: false,
            stored_bytes: 5,
            newest: Timestamp::default().plus_seconds(100 * DAY),
        };
        let cluster = status::Cluster { system: 7, timelines: vec![line], histories: Vec::new() };
        let ended = Timestamp::default().plus_seconds(99 * DAY);
        Stored {
            now: Timestamp::default().plus_seconds(100 * DAY),
            bases: vec![Base { ended, bytes: 1000 << 20, is_incomplete: false, base }],
            unreadable: 0,
            wal: Status { clusters: vec![cluster], damaged: Vec::new(), recoverable: None },
            spools: vec![(7, 1 << 20)],
            unread_spool: None,
        }
    }

    fn good() -> Stored {
        stored(vec![2..=9], Vec::new(), Vec::new())
    }

    /// What is not ok about cluster 7.
    fn found(stored: &Stored, health: Option<&Health>) -> Vec<(&'static str, Level)> {
        let findings = judge(&stored.of(7), health);
        assert!(findings.iter().all(|finding| (finding.level == Level::Ok) == finding.fix.is_none()));
        let bad = findings.iter().filter(|finding| finding.level != Level::Ok);
        bad.map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn nothing_is_said_of_what_is_whole() {
        assert_eq!(found(&good(), None), []);
        assert_eq!(good().unread(), []);
        assert_eq!(good().systems(), BTreeSet::from([7]));
    }

    #[test]
    fn a_base_backup_that_is_missing_old_or_bad_is_told() {
        let mut none = good();
        none.bases.clear();
        assert_eq!(found(&none, None), [("base backup", Level::Problem)]);
        assert_eq!(rto(&none.of(7)).seconds, None);
        let mut of_another = good();
        of_another.bases[0].base.system = 8;
        assert_eq!(found(&of_another, None), [("base backup", Level::Problem)]);
        let mut old = good();
        old.bases[0].ended = Timestamp::default().plus_seconds(91 * DAY);
        assert_eq!(found(&old, None), [("base backup", Level::Warning)]);
        let mut bad = good();
        (bad.bases[0].is_incomplete, bad.bases[0].base.corrupt_pages) = (true, 3);
        assert_eq!(found(&bad, None), [("base backup", Level::Problem); 2]);
    }

    #[test]
    fn wal_that_the_newest_base_needs_must_be_there() {
        for (present, want) in [(vec![4..=5], None), (vec![5..=9], Some("04")), (vec![2..=4], Some("05"))] {
            let stored = stored(present, Vec::new(), Vec::new());
            let cluster = stored.of(7);
            let name = missing(&cluster, cluster.newest().unwrap()).map(|name| name.to_string());
            assert_eq!(name.as_deref().map(|name| &name[22..]), want);
            assert_eq!(found(&stored, None).len(), usize::from(want.is_some()));
        }
        let mut none = good();
        none.wal.clusters.clear();
        assert_eq!(found(&none, None), [("base backup", Level::Problem), ("WAL", Level::Problem)]);
    }

    #[test]
    fn a_gap_ends_recovery_only_behind_the_newest_base() {
        let before = stored(vec![1..=1, 4..=9], vec![2..=3], Vec::new());
        assert_eq!(found(&before, None), [("WAL", Level::Note)]);
        let behind = stored(vec![4..=6, 8..=9], vec![7..=7], Vec::new());
        assert_eq!(found(&behind, None), [("WAL", Level::Problem)]);
        let lost = stored(vec![4..=9], Vec::new(), vec![2..=2]);
        assert_eq!(found(&lost, None), [("WAL", Level::Problem)]);
    }

    #[test]
    fn a_repository_that_is_behind_is_told() {
        let at = |position, timeline| {
            let health =
                Health { position: Some(Lsn(position)), timeline: Some(timeline), ..Health::default() };
            found(&good(), Some(&health))
        };
        assert_eq!(at(10 * SIZE + 5000, 1), []);
        assert_eq!(at(12 * SIZE, 1), [("WAL", Level::Note)]);
        assert_eq!(at(30 * SIZE, 1), [("WAL", Level::Warning)]);
        assert_eq!(at(30 * SIZE, 2), [], "nothing is known of another timeline");
    }

    #[test]
    fn a_spool_that_fills_and_damage_are_told() {
        let mut full = good();
        full.spools = vec![(7, 2 << 30), (8, 0)];
        assert_eq!(found(&full, None), [("spool", Level::Warning)]);
        let mut damaged = good();
        damaged.unreadable = 1;
        damaged.unread_spool = Some("Permission denied".to_owned());
        let levels: Vec<Level> = damaged.unread().iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Problem, Level::Note]);
    }

    #[test]
    fn a_recovery_takes_its_files_and_the_wal_since() {
        // 1000 MiB at 100 MiB, and segments 4 to 9 at four a second.
        assert_eq!(rto(&good().of(7)).seconds, Some(10.0 + 6.0 / 4.0));
        let long = stored(vec![4..=4 + 4 * 4000], Vec::new(), Vec::new());
        assert_eq!(rto(&long.of(7)).finding.level, Level::Warning);
    }
}
