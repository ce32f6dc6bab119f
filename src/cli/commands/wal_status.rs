//! `wal status`: which WAL the repository holds, what is missing, and what was lost.

use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::base::clock::Timestamp;
use crate::base::id::SessionId;
use crate::base::monitor::Monitor;
use crate::base::units;
use crate::cli::commands::wal_receive;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::table::{Align, Table};
use crate::cli::{text, time};
use crate::ops::wal::ranges::{self, Ranges};
use crate::ops::wal::receive::clusters;
use crate::ops::wal::status::{Cluster, Status, Timeline, status};
use crate::ops::wal::windows::{Recoverable, Window};
use crate::repo::wal::spool::{self, Held};

const EXAMPLES: &str = "\
Examples:
  kamba-vault wal status
  kamba-vault wal status --json | jq '.clusters[].timelines[] | select(.lost != [])'";

/// Show which WAL the repository holds, and what is missing
///
/// A gap is a segment between others that was never seen here. A lost one was durable once, as a
/// ledger says, and is gone.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// Where 'wal receive' on this machine has its spool
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
}

/// All of it, for programs.
#[derive(Serialize)]
struct Document {
    clusters: Vec<ClusterDocument>,
    /// What was received on this machine and is not in the repository yet.
    spool: Vec<SpoolDocument>,
    damaged: Vec<DamageDocument>,
}

#[derive(Serialize)]
struct SpoolDocument {
    system_id: String,
    segments: u64,
    bytes: u64,
    /// How long ago the first of them was begun.
    age_seconds: Option<f64>,
}

#[derive(Serialize)]
struct DamageDocument {
    object: String,
    reason: String,
}

#[derive(Serialize)]
struct ClusterDocument {
    /// As text: the number is larger than many programs can hold.
    system_id: String,
    timelines: Vec<TimelineDocument>,
    histories: Vec<u32>,
    /// Absent where this key may not tell.
    windows: Option<Vec<WindowDocument>>,
    /// Base backups that need WAL which is not there.
    useless_bases: Vec<String>,
}

#[derive(Serialize)]
struct WindowDocument {
    timeline: u32,
    base: String,
    from_lsn: String,
    from_time: String,
    to_lsn: String,
    to_time: String,
}

#[derive(Serialize)]
struct TimelineDocument {
    timeline: u32,
    segment_bytes: u64,
    first: Option<String>,
    last: Option<String>,
    segments: u64,
    stored_bytes: u64,
    newest: String,
    newest_age_seconds: f64,
    partial: bool,
    gaps: Vec<RangeDocument>,
    lost: Vec<RangeDocument>,
}

#[derive(Serialize)]
struct RangeDocument {
    first: Option<String>,
    last: Option<String>,
    segments: u64,
}

/// Shows what there is. Segments that were lost are damage; a gap may be as old as the repository.
pub fn run(args: &StatusArgs, context: &Context) -> Result<Done, Failure> {
    let spools = spools(args, context)?;
    let repository = context.open()?;
    let found = status(&repository, &context.cancel)?;
    let now = repository.clock().now();
    for (object, reason) in &found.damaged {
        context.progress().warn(&format!("{object} cannot be read: {reason}"));
    }
    let document = Document {
        clusters: found.clusters.iter().map(|cluster| ClusterDocument::new(cluster, &found, now)).collect(),
        spool: spools.iter().map(|(system, held)| SpoolDocument::new(*system, held, now)).collect(),
        damaged: (found.damaged.iter())
            .map(|(object, reason)| DamageDocument { object: object.clone(), reason: reason.clone() })
            .collect(),
    };
    context.result(&document, || words(&found, now, &context.zone()) + &waiting(&spools, now))?;
    let lost = found.clusters.iter().flat_map(|cluster| &cluster.timelines).any(|line| !line.lost.is_empty());
    Ok(if lost || !found.damaged.is_empty() { Done::Damaged } else { Done::Complete })
}

/// What is in this machine's spools. A place where none can be, unless it was named, holds nothing.
fn spools(args: &StatusArgs, context: &Context) -> Result<Vec<(u64, Held)>, Failure> {
    let is_named = args.spool.is_some();
    let Ok(spool) = wal_receive::spool(args.spool.clone(), context) else { return Ok(Vec::new()) };
    let held = |(system, dir): (u64, PathBuf)| -> Result<(u64, Held), Failure> {
        let held = spool::held(&dir);
        Ok((system, held.map_err(|e| Failure::io(format!("look into {}", dir.display()), &e))?))
    };
    let found: Result<Vec<_>, Failure> = match clusters(&spool) {
        Ok(clusters) => clusters.into_iter().map(held).collect(),
        Err(error) => Err(error.into()),
    };
    match found {
        Err(error) if is_named => Err(error),
        found => Ok(found.unwrap_or_default()),
    }
}

impl SpoolDocument {
    fn new(system: u64, held: &Held, now: Timestamp) -> Self {
        let age = |since: Timestamp| now.0.saturating_sub(since.0).max(0) as f64 / 1e9;
        SpoolDocument {
            system_id: system.to_string(),
            segments: held.segments,
            bytes: held.bytes,
            age_seconds: held.since.map(age),
        }
    }
}

/// What waits for the repository, for people.
fn waiting(spools: &[(u64, Held)], now: Timestamp) -> String {
    let line = |(system, held): &(u64, Held)| {
        let document = SpoolDocument::new(*system, held, now);
        let age =
            document.age_seconds.map_or_else(String::new, |age| format!(", begun {} ago", time::span(age)));
        let (segments, bytes) = (text::count(held.segments, "segment"), units::bytes(held.bytes));
        format!("in the spool of cluster {system}: {segments}, {bytes}{age}\n")
    };
    spools.iter().filter(|(_, held)| held.segments > 0).map(line).collect()
}

impl ClusterDocument {
    fn new(cluster: &Cluster, status: &Status, now: Timestamp) -> Self {
        let found = status.recoverable.as_ref().and_then(|found| found.get(&cluster.system));
        let useless = found.map(|found| found.useless.iter().map(SessionId::to_hex).collect());
        ClusterDocument {
            windows: found.map(|found| found.windows.iter().map(WindowDocument::from).collect()),
            useless_bases: useless.unwrap_or_default(),
            system_id: cluster.system.to_string(),
            timelines: cluster.timelines.iter().map(|line| TimelineDocument::new(line, now)).collect(),
            histories: cluster.histories.clone(),
        }
    }
}

impl From<&Window> for WindowDocument {
    fn from(window: &Window) -> Self {
        WindowDocument {
            timeline: window.timeline,
            base: window.base.to_hex(),
            from_lsn: window.from.0.to_string(),
            from_time: time::rfc3339(window.from.1),
            to_lsn: window.to.0.to_string(),
            to_time: time::rfc3339(window.to.1),
        }
    }
}

impl TimelineDocument {
    fn new(line: &Timeline, now: Timestamp) -> Self {
        let (first, last) = line.ends().unzip();
        TimelineDocument {
            timeline: line.timeline,
            segment_bytes: line.size.bytes(),
            first: first.map(|name| name.to_string()),
            last: last.map(|name| name.to_string()),
            segments: line.count(),
            stored_bytes: line.stored_bytes,
            newest: time::rfc3339(line.newest),
            newest_age_seconds: age(line, now),
            partial: line.partial,
            gaps: ranges_of(line, &line.gaps),
            lost: ranges_of(line, &line.lost),
        }
    }
}

fn ranges_of(line: &Timeline, ranges: &Ranges) -> Vec<RangeDocument> {
    let name = |number: &u64| line.name(*number).map(|name| name.to_string());
    let document = |range: &std::ops::RangeInclusive<u64>| RangeDocument {
        first: name(range.start()),
        last: name(range.end()),
        segments: ranges::count(&vec![range.clone()]),
    };
    ranges.iter().map(document).collect()
}

/// Seconds since the newest segment was pushed.
fn age(line: &Timeline, now: Timestamp) -> f64 {
    now.0.saturating_sub(line.newest.0).max(0) as f64 / 1e9
}

/// The same for people.
fn words(status: &Status, now: Timestamp, zone: &TimeZone) -> String {
    if status.clusters.is_empty() {
        return "no WAL\n".to_owned();
    }
    let mut out = String::new();
    for cluster in &status.clusters {
        out.push_str(&format!("cluster {}\n", cluster.system));
        let mut table = Table::new(&[
            ("timeline", Align::Right),
            ("first", Align::Left),
            ("last", Align::Left),
            ("segments", Align::Right),
            ("stored", Align::Right),
            ("newest", Align::Left),
            ("age", Align::Right),
            ("gaps", Align::Right),
            ("lost", Align::Right),
        ]);
        for line in &cluster.timelines {
            let ends = line.ends().map(|(first, last)| (first.to_string(), last.to_string()));
            let (first, last) = ends.unwrap_or_default();
            table.row([
                line.timeline.to_string(),
                first,
                last,
                line.count().to_string(),
                units::bytes(line.stored_bytes),
                time::local(line.newest, zone),
                time::span(age(line, now)),
                ranges::count(&line.gaps).to_string(),
                ranges::count(&line.lost).to_string(),
            ]);
        }
        out.push_str(&table.render());
        for line in &cluster.timelines {
            for (what, missing) in [("lost", &line.lost), ("gap", &line.gaps)] {
                for range in ranges_of(line, missing) {
                    let (first, last) = (range.first.unwrap_or_default(), range.last.unwrap_or_default());
                    let to = if first == last { String::new() } else { format!(" to {last}") };
                    out.push_str(&format!(
                        "{what}: {first}{to}, {}\n",
                        text::count(range.segments, "segment")
                    ));
                }
            }
        }
        let found = status.recoverable.as_ref().and_then(|found| found.get(&cluster.system));
        out.push_str(&found.map_or(String::new(), |found| recoverable(found, zone)));
    }
    out
}

/// What can be recovered of a cluster, in words.
fn recoverable(found: &Recoverable, zone: &TimeZone) -> String {
    let Recoverable { windows, useless } = found;
    let mut out = String::new();
    for window in windows {
        let (from, to) = (time::local(window.from.1, zone), time::local(window.to.1, zone));
        let (timeline, id) = (window.timeline, window.base.to_hex());
        out.push_str(&format!(
            "recoverable: timeline {timeline} from {from} ({}) to {to} ({}), from base backup {}\n",
            window.from.0,
            window.to.0,
            id.get(..8).unwrap_or(&id)
        ));
    }
    for id in useless.iter().map(SessionId::to_hex) {
        let id = id.get(..8).unwrap_or(&id);
        out.push_str(&format!("base backup {id} is of no use: WAL that it needs is not there\n"));
    }
    if windows.is_empty() && useless.is_empty() {
        out.push_str("nothing can be recovered: there is no base backup (`kamba-vault snapshot base`)\n");
    }
    out
}
