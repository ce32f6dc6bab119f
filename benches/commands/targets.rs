//! What the engine is to come to, and what it came to. Only for what was measured.

use crate::cluster::{self, PGBACKREST};
use crate::database;
use crate::days::{self, Tasks};
use crate::files;
use crate::index;
use crate::latency;
use crate::mount;
use crate::peers::RESTIC;
use crate::report::Report;
use crate::scale;
use crate::streams;
use crate::vault::NAME;

/// The tree that the target for its stored size is about: Debian's, unpacked.
const KERNEL: &str = "linux-source-6.1";

/// One target.
#[derive(Debug)]
pub struct Target {
    /// What is wanted.
    pub what: String,
    /// Unit of the numbers.
    unit: &'static str,
    /// Upper bound.
    pub at_most: Option<f64>,
    /// Lower bound.
    pub at_least: Option<f64>,
    /// What was measured.
    pub value: f64,
}

impl Target {
    /// Whether it came to that.
    pub fn is_met(&self) -> bool {
        self.at_most.is_none_or(|most| self.value <= most)
            && self.at_least.is_none_or(|least| self.value >= least)
    }

    /// Its row of the table.
    pub fn cells(&self) -> [String; 4] {
        let number = |n: f64| match n {
            n if n < 100.0 => format!("{n:.2}"),
            n => format!("{n:.0}"),
        };
        let bound = match (self.at_most, self.at_least) {
            (Some(most), _) => format!("≤ {} {}", number(most), self.unit),
            (None, least) => format!("≥ {} {}", number(least.unwrap_or_default()), self.unit),
        };
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        [self.what.clone(), bound, format!("{} {}", number(self.value), self.unit), verdict.to_owned()]
    }
}

/// The targets of what `report` has figures for.
pub fn all(report: &Report) -> Vec<Target> {
    let mut found = Vec::new();
    let mut at_most = |what: &str, unit, most, value: Option<f64>| {
        let target =
            |value| Target { what: what.to_owned(), unit, at_most: Some(most), at_least: None, value };
        found.extend(value.map(target));
    };
    let ours = |task: &str| report.ratio(task, NAME);
    at_most("first dump against zstd", "×", 1.0, ours(streams::FIRST));
    let stored = |who| report.size(streams::FIRST, who);
    let against_restic = stored(NAME).zip(stored(RESTIC)).map(|(ours, restic)| ours / restic);
    at_most("its stored size against restic's", "×", 1.06, against_restic);
    at_most("the next dump against zstd", "×", 0.35, ours(streams::SECOND));
    at_most("snapshot db, first, against pg_dump", "×", 1.2, ours(database::FIRST));
    at_most("snapshot db, nothing changed, against pg_dump", "×", 1.2, ours(database::AGAIN));
    at_most("snapshot db, a day later, against pg_dump", "×", 1.2, ours(database::DAY));
    at_most("small snapshot with a large index", "s", 2.0, report.seconds(index::OPEN, NAME));
    for (what, unit, most, value) in of_trees(report) {
        at_most(what, unit, most, value);
    }
    for (what, most, value) in of_clusters(report) {
        at_most(what, "×", most, value);
    }
    for (what, unit, most, value) in of_mounts(report) {
        at_most(what, unit, most, value);
    }
    for (tasks, bounds) in [(&days::USUAL, [2.5, 3.5, 0.35]), (&days::EVERYWHERE, [6.0, 9.0, 0.5])] {
        for ((what, unit, value), most) in of_days(report, tasks).into_iter().zip(bounds) {
            at_most(&format!("{}: {what}", tasks.next), unit, most, value);
        }
    }
    let peaks = [
        (streams::FIRST, NAME, 150.0),
        (streams::CAT, NAME, 150.0),
        (streams::CHECK, NAME, 150.0),
        (streams::SECOND, NAME, 150.0),
        (database::FIRST, NAME, 150.0),
        (database::AGAIN, NAME, 150.0),
        (database::DAY, NAME, 150.0),
        (cluster::FIRST, NAME, 200.0),
        (cluster::NEXT, NAME, 200.0),
        (cluster::RESTORE, NAME, 200.0),
        (files::FIRST, NAME, 150.0),
        (files::AGAIN, NAME, 150.0),
        (files::CHANGED, NAME, 150.0),
        (files::RESTORE, NAME, 150.0),
        (files::DIFF, NAME, 150.0),
        (files::PHOTOS, NAME, 150.0),
        (files::NEXT, NAME, 200.0),
        (mount::TAR, NAME, 200.0),
        (mount::FIND_AGAIN, NAME, 200.0),
        (mount::LARGE, NAME, 200.0),
        (mount::RANDOM, NAME, 200.0),
        (mount::READY, NAME, 200.0),
        (latency::TASK, latency::SLOW, 150.0),
        (days::USUAL.next, NAME, 200.0),
        (days::EVERYWHERE.next, NAME, 200.0),
        (days::EVERYWHERE.read_last, NAME, 200.0),
        (index::OPEN, NAME, 256.0),
        (index::REBUILD, NAME, 256.0),
    ];
    let of_scale = scale::FOLDER.into_iter().chain(scale::TREE).map(|task| (task, NAME, 256.0));
    for (task, who, most) in peaks.into_iter().chain(of_scale) {
        at_most(&format!("memory: {task}"), "MB", most, report.peak(task, who).map(|bytes| bytes / 1e6));
    }
    let mut at_least = |what: &str, unit, least, value: Option<f64>| {
        let target =
            |value| Target { what: what.to_owned(), unit, at_most: None, at_least: Some(least), value };
        found.extend(value.map(target));
    };
    let rate = |task| report.rate(task, NAME);
    at_least("cat to a pipe", "MB/s", 400.0, rate(streams::CAT).map(|rate| rate / 1e6));
    at_least("check --read-data", "MB/s", 800.0, rate(streams::CHECK).map(|rate| rate / 1e6));
    for tasks in [&days::USUAL, &days::EVERYWHERE] {
        let speed = rate(tasks.read_last).zip(rate(tasks.read_first)).map(|(last, first)| last / first);
        at_least(tasks.read_last, "× the first", 0.4, speed);
    }
    let faster = |task| report.ratio(task, NAME).map(|ratio| 1.0 / ratio);
    at_least("wal push, against pgBackRest", "× its speed", 1.5, faster(cluster::PUSH));
    at_least("wal fetch, against pgBackRest", "× its speed", 2.0, faster(cluster::FETCH));
    let segments = |task| rate(task).map(|rate| rate / f64::from(1 << 24));
    at_least("wal push", "segments/s", 10.0, segments(cluster::PUSH));
    at_least("large file through a mount", "MB/s", 400.0, rate(mount::LARGE).map(|rate| rate / 1e6));
    at_least("photos", "MB/s", 700.0, rate(files::PHOTOS).map(|rate| rate / 1e6));
    at_least("making the index cache", "chunks/s", 300_000.0, rate(index::REBUILD));
    let kept = report.ratio(latency::TASK, latency::SLOW).map(|ratio| 100.0 / ratio);
    at_least("speed kept over a slow network", "%", 80.0, kept);
    found
}

/// What is wanted of a dump every day: the target's name, unit, and what was measured.
fn of_days(report: &Report, tasks: &Tasks) -> [(&'static str, &'static str, Option<f64>); 3] {
    let first = report.size(tasks.first, NAME);
    let added = report.added(tasks.next, NAME).zip(first);
    [
        ("what the second adds", "%", added.map(|((second, _), first)| second / first * 100.0)),
        ("what they add in the mean", "%", added.map(|((_, mean), first)| mean / first * 100.0)),
        ("time against zstd", "×", report.ratio(tasks.next, NAME)),
    ]
}

/// What is wanted of base backups against pgBackRest: the target's name, upper bound, and what was measured.
fn of_clusters(report: &Report) -> [(&'static str, f64, Option<f64>); 5] {
    let ratio = |task| report.ratio(task, NAME);
    let size = |task| report.size(task, NAME).zip(report.size(task, PGBACKREST));
    let sizes = |task| size(task).map(|(ours, theirs)| ours / theirs);
    [
        ("first base backup, against pgBackRest", 0.7, ratio(cluster::FIRST)),
        ("its stored size", 1.0, sizes(cluster::FIRST)),
        ("the next, against its incremental", 0.5, ratio(cluster::NEXT)),
        ("what the next adds", 0.1, sizes(cluster::NEXT)),
        ("cluster restored, against pgBackRest", 0.7, ratio(cluster::RESTORE)),
    ]
}

/// What is wanted of mounts: the target's name, unit, upper bound, and what was measured.
fn of_mounts(report: &Report) -> [(&'static str, &'static str, f64, Option<f64>); 6] {
    let seconds = |task, who| report.seconds(task, who);
    let theirs = seconds(mount::TAR, NAME).zip(seconds(mount::TAR, RESTIC));
    [
        ("tar of a mounted tree, against the source", "×", 2.5, report.ratio(mount::TAR, NAME)),
        ("tar of a mounted tree, against restic's", "×", 0.5, theirs.map(|(ours, theirs)| ours / theirs)),
        ("find in a mounted tree", "s", 2.0, seconds(mount::FIND, NAME)),
        ("find again", "s", 0.6, seconds(mount::FIND_AGAIN, NAME)),
        ("10,000 pages at random through a mount", "s", 4.0, seconds(mount::RANDOM, NAME)),
        ("a mount of 1,000 snapshots is ready", "s", 0.5, seconds(mount::READY, NAME)),
    ]
}

/// What is wanted of file trees: the target's name, unit, upper bound, and what was measured.
fn of_trees(report: &Report) -> [(&'static str, &'static str, f64, Option<f64>); 7] {
    let (ratio, seconds) = (|task| report.ratio(task, NAME), |task| report.seconds(task, NAME));
    // The files that changed are to take no more than their share of the first snapshot.
    let beyond = seconds(files::CHANGED).zip(seconds(files::FIRST)).map(|(all, first)| all - first / 100.0);
    let changed = beyond.zip(seconds(files::AGAIN)).map(|(beyond, again)| beyond / again);
    // A bound in bytes is one for a tree that everybody can have.
    let stored = report.size(files::FIRST, NAME).filter(|_| report.tree_name() == KERNEL);
    let next = report.size(files::NEXT, NAME).filter(|_| report.tree_name() == KERNEL);
    [
        ("first tree against tar and zstd", "×", 1.0, ratio(files::FIRST)),
        ("its stored size", "MB", 220.0, stored.map(|bytes| bytes / 1e6)),
        ("unchanged tree against find", "×", 2.0, ratio(files::AGAIN)),
        ("1 % changed, less its share, against unchanged", "×", 1.5, changed),
        ("restored tree against cp -a", "×", 1.2, ratio(files::RESTORE)),
        ("two trees compared", "s", 0.5, seconds(files::DIFF)),
        ("what the next version adds", "MB", 75.0, next.map(|bytes| bytes / 1e6)),
    ]
}
