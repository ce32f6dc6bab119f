//! `stats`: what the repository holds and what it takes.

use clap::Args;
use serde::Serialize;

use crate::base::units;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::table::{Align, Table};
use crate::cli::text;
use crate::ops::stats::{PackStats, RepositoryStats, stats};

const EXAMPLES: &str = "\
Examples:
  kamba-vault stats
  kamba-vault stats --json";

/// Show what the repository holds and what it takes
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct StatsArgs {}

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

/// Gathers and shows the figures.
pub fn run(_: &StatsArgs, context: &Context) -> Result<Done, Failure> {
    let repository = context.open()?;
    let stats = stats(&repository, context.progress(), &context.cancel)?;
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
    };
    context.result(&document, || words(&document, &stats))?;
    Ok(Done::Complete)
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

fn words(document: &Document, stats: &RepositoryStats) -> String {
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
        "repository {} at {}\n\n{}\n{} of {} are kept in {}, {} in all{ratio}\n",
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

    #[test]
    fn a_ratio_is_told_from_its_better_side() {
        assert_eq!(times(12.34), ": 12.3 times smaller");
        assert_eq!(times(0.2), ": 5.0 times larger");
        assert_eq!(times(0.99), "");
    }
}
