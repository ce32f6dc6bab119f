//! `stats`: what the repository holds and what it takes, and what became of what each snapshot brought.

use clap::Args;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::base::units;
use crate::cli::commands::snapshots::{id_digits, short_id};
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::selector::Selector;
use crate::cli::table::{Align, Table};
use crate::cli::{text, time};
use crate::ops::select::select;
use crate::ops::stats::{Brought, PackStats, RepositoryStats, stats};
use crate::repo::roots::Snapshot;

const EXAMPLES: &str = "\
Examples:
  kamba-vault stats
  kamba-vault stats latest~1 latest
  kamba-vault stats --json | jq '.in_all.delta_ratio'";

/// Show what the repository holds and what it takes
///
/// Of each snapshot, and of all of them: size is what its sources had, new what of that (and of lists
/// of it) the repository did not have, coded what the new became by differences and compression, and
/// added by how much the repository grew. dedupe is how many times more the size is than the new;
/// delta, how many times smaller differences are than what they stand for; compression, the same of
/// what was stored whole.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatsArgs {
    /// Of snapshots, only these: an id or its beginning, latest, latest~2, latest@db=NAME, or a time
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
}

/// The result, for programs.
#[derive(Serialize)]
struct Document {
    repository: String,
    location: String,
    snapshots: u64,
    source_bytes: u64,
    stored_bytes: u64,
    objects: u64,
    ratio: Option<f64>,
    data: Packs,
    metadata: Packs,
    per_snapshot: Vec<SnapshotFigures>,
    in_all: BroughtDocument,
}

/// One family of packs.
#[derive(Serialize)]
struct Packs {
    packs: u64,
    stored_bytes: u64,
    plain_bytes: u64,
    chunks: u64,
}

impl From<PackStats> for Packs {
    fn from(stats: PackStats) -> Self {
        let PackStats { packs, stored_bytes, plain_bytes, chunks } = stats;
        Packs { packs, stored_bytes, plain_bytes, chunks }
    }
}

/// What one snapshot brought.
#[derive(Serialize)]
struct SnapshotFigures {
    id: String,
    time: String,
    kind: String,
    host: Option<String>,
    sources: Vec<String>,
    #[serde(flatten)]
    brought: BroughtDocument,
}

impl From<&Snapshot> for SnapshotFigures {
    fn from(snapshot: &Snapshot) -> Self {
        let root = &snapshot.root;
        SnapshotFigures {
            id: snapshot.id.to_hex(),
            time: time::rfc3339(root.started),
            kind: root.kind.to_string(),
            host: root.host.clone(),
            sources: root.sources.clone(),
            brought: Brought::by(snapshot).into(),
        }
    }
}

/// What one snapshot or several brought, and what became of it. What is coded is known of
/// `recorded_bytes` of the new bytes only: earlier programs did not record it.
#[derive(Serialize)]
struct BroughtDocument {
    source_bytes: u64,
    new_bytes: u64,
    recorded_bytes: u64,
    coded_bytes: u64,
    delta_bytes: u64,
    delta_coded_bytes: u64,
    base_bytes: u64,
    added_bytes: u64,
    dedupe_ratio: Option<f64>,
    delta_ratio: Option<f64>,
    compression_ratio: Option<f64>,
}

impl From<Brought> for BroughtDocument {
    fn from(brought: Brought) -> Self {
        BroughtDocument {
            source_bytes: brought.source_bytes,
            new_bytes: brought.new_bytes,
            recorded_bytes: brought.recorded_bytes,
            coded_bytes: brought.coded_bytes,
            delta_bytes: brought.delta_bytes,
            delta_coded_bytes: brought.delta_coded_bytes,
            base_bytes: brought.base_bytes,
            added_bytes: brought.added_bytes,
            dedupe_ratio: brought.dedupe_ratio(),
            delta_ratio: brought.delta_ratio(),
            compression_ratio: brought.compression_ratio(),
        }
    }
}

/// Gathers and shows the figures.
pub fn run(args: &StatsArgs, context: &Context) -> Result<Done, Failure> {
    let zone = context.zone();
    let selectors = selectors(&args.snapshots, &zone)?;
    let repository = context.open()?;
    let stats = stats(&repository, context.progress(), &context.cancel)?;
    let chosen = chosen(&stats.snapshots, &selectors)?;
    let document = Document {
        repository: repository.id().to_hex(),
        location: repository.backend().location(),
        snapshots: stats.snapshots.len() as u64,
        source_bytes: stats.source_bytes,
        stored_bytes: stats.stored_bytes,
        objects: stats.objects,
        ratio: stats.ratio(),
        data: stats.data.into(),
        metadata: stats.meta.into(),
        per_snapshot: chosen.iter().map(Into::into).collect(),
        in_all: Brought::by_all(&chosen).into(),
    };
    context.result(&document, || words(&document, &stats, &per_snapshot(&chosen, &zone)))?;
    Ok(Done::Complete)
}

/// What the arguments mean.
fn selectors(texts: &[String], zone: &TimeZone) -> Result<Vec<Selector>, Failure> {
    let selector = |text: &String| match Selector::parse(text, zone)? {
        Selector { path: Some(_), .. } => {
            Err(Failure::usage(format!("'{text}' has a path: figures are of whole snapshots")))
        }
        selector => Ok(selector),
    };
    texts.iter().map(selector).collect()
}

/// Those of `snapshots` that are asked for, each once; all if none is named.
fn chosen(snapshots: &[Snapshot], selectors: &[Selector]) -> Result<Vec<Snapshot>, Failure> {
    let find = |selector: &Selector| {
        let found = select(snapshots, &selector.which, &selector.wanted);
        found.map(|snapshot| snapshot.id).map_err(|error| selector.explained(error.into()))
    };
    let wanted = selectors.iter().map(find).collect::<Result<Vec<_>, Failure>>()?;
    let is_wanted = |snapshot: &&Snapshot| wanted.is_empty() || wanted.contains(&snapshot.id);
    Ok(snapshots.iter().filter(is_wanted).cloned().collect())
}

/// A table of what each of `snapshots` brought, and all of them; nothing without any.
fn per_snapshot(snapshots: &[Snapshot], zone: &TimeZone) -> String {
    let mut table = Table::new(&[
        ("id", Align::Left),
        ("time", Align::Left),
        ("kind", Align::Left),
        ("size", Align::Right),
        ("new", Align::Right),
        ("coded", Align::Right),
        ("added", Align::Right),
        ("dedupe", Align::Right),
        ("delta", Align::Right),
        ("compression", Align::Right),
    ]);
    let digits = id_digits(snapshots);
    let mut row = |named: [String; 3], brought: Brought| {
        table.row(named.into_iter().chain(figures(brought)));
    };
    for snapshot in snapshots {
        let (when, kind) = (time::local(snapshot.root.started, zone), snapshot.root.kind.to_string());
        row([short_id(snapshot, digits), when, kind], Brought::by(snapshot));
    }
    if snapshots.len() > 1 {
        row(["in all".to_owned(), String::new(), String::new()], Brought::by_all(snapshots));
    }
    if snapshots.is_empty() { String::new() } else { format!("{}\n", table.render()) }
}

/// The cells of a row; a dash for what is not known, or has no meaning.
fn figures(brought: Brought) -> [String; 7] {
    let ratio = |ratio: Option<f64>| match ratio {
        None => "-".to_owned(),
        Some(many) if many >= 99.95 => format!("{many:.0}"),
        Some(few) => format!("{few:.1}"),
    };
    let coded = brought.is_recorded().then(|| units::bytes(brought.coded_bytes));
    [
        units::bytes(brought.source_bytes),
        units::bytes(brought.new_bytes),
        coded.unwrap_or_else(|| "-".to_owned()),
        units::bytes(brought.added_bytes),
        ratio(brought.dedupe_ratio()),
        ratio(brought.delta_ratio()),
        ratio(brought.compression_ratio()),
    ]
}

/// What a ratio means, if it means anything. Of little data more is stored than there was: every
/// object has its seal.
fn times(ratio: f64) -> String {
    match (ratio * 10.0).round() {
        10.0 => String::new(),
        tenths if tenths > 10.0 => format!(": {ratio:.1} times smaller"),
        _ => format!(": {:.1} times larger", 1.0 / ratio),
    }
}

/// All of it for people; `per_snapshot` is the table of that.
fn words(document: &Document, stats: &RepositoryStats, per_snapshot: &str) -> String {
    let mut table = Table::new(&[
        ("", Align::Left),
        ("packs", Align::Right),
        ("chunks", Align::Right),
        ("plain", Align::Right),
        ("stored", Align::Right),
    ]);
    for (name, packs) in [("data", &document.data), ("metadata", &document.metadata)] {
        table.row([
            name.to_owned(),
            packs.packs.to_string(),
            packs.chunks.to_string(),
            units::bytes(packs.plain_bytes),
            units::bytes(packs.stored_bytes),
        ]);
    }
    let ratio = stats.ratio().map_or(String::new(), times);
    format!(
        "repository {} at {}\n\n{per_snapshot}{}\n{} of {} are kept in {}, {} in all{ratio}\n",
        document.repository,
        document.location,
        table.render(),
        text::count(document.snapshots, "snapshot"),
        units::bytes(document.source_bytes),
        text::count(document.objects, "object"),
        units::bytes(document.stored_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::SessionId;
    use crate::cli::json::tests::snapshot;
    use crate::format::root::Stats;

    #[test]
    fn what_snapshots_brought_stands_in_a_table_with_its_sum() {
        let with = |byte: u8, stats: Stats| {
            let mut snapshot = snapshot();
            snapshot.id = SessionId([byte; 16]);
            snapshot.root.stats = stats;
            snapshot
        };
        let (source_bytes, new_bytes, stored_bytes) = (1_300_000, 70_000, 30_000);
        let old = with(0x2b, Stats { source_bytes, new_bytes, stored_bytes, ..Stats::default() });
        let same = with(0x4c, Stats { source_bytes, ..Stats::default() });
        let table = |snapshots: &[Snapshot]| per_snapshot(snapshots, &TimeZone::UTC);
        insta::assert_snapshot!(table(&[old, snapshot(), same]), @r"
        id        time                 kind       size        new     coded     added  dedupe  delta  compression
        2b2b2b2b  2026-11-22 02:00:20  stream  1.2 MiB   68.4 KiB         -  29.8 KiB    18.6      -            -
        3f3f3f3f  2026-11-22 02:00:20  stream  1.2 MiB   68.4 KiB  28.3 KiB  29.8 KiB    18.6   40.0          1.1
        4c4c4c4c  2026-11-22 02:00:20  stream  1.2 MiB        0 B       0 B     500 B       -      -            -
        in all                                 3.7 MiB  136.7 KiB         -  60.1 KiB    27.9   40.0          1.1
        ");
        assert_eq!(table(&[snapshot()]).lines().count(), 3, "one needs no sum");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn a_ratio_is_told_from_its_better_side() {
        assert_eq!(times(12.34), ": 12.3 times smaller");
        assert_eq!(times(0.2), ": 5.0 times larger");
        assert_eq!(times(0.99), "");
    }
}
