//! `check`: verify the repository.

use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use crate::base::monitor::Monitor;
use crate::base::units;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::text::{count, printable};
use crate::crypto::{Random, SystemRandom};
use crate::ops::check::{ReadData, Report, check};

const EXAMPLES: &str = "\
Examples:
  kamba-vault check                              structure: every chunk is there
  kamba-vault check --read-data                  also that every byte is intact
  kamba-vault check --read-data-subset 10%       a tenth of the packs, at random
  kamba-vault check --read-data-subset 3/7       the third of seven parts: all of it in a week";

/// Verify that the repository is whole
///
/// Without options: that every snapshot's every chunk is in the index, and that every pack is
/// there with its size. Damaged objects are named, and every snapshot and path that they hurt;
/// the exit status is then 20.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// Read and verify all data
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,

    /// Read and verify some packs: P% of them (not of their bytes) at random, or part N/M of a fixed
    /// division
    #[arg(long, value_name = "P%|N/M")]
    pub read_data_subset: Option<Subset>,
}

/// What a check found, for programs.
#[derive(Serialize)]
struct Document<'a> {
    clean: bool,
    damaged: Vec<DamagedDocument<'a>>,
    hurt: Vec<HurtDocument<'a>>,
    notes: &'a [String],
    snapshots: u64,
    packs: u64,
    chunks: u64,
    wal_files: u64,
    packs_read: u64,
    wal_files_read: u64,
    bytes_read: u64,
}

/// A damaged object.
#[derive(Serialize)]
struct DamagedDocument<'a> {
    object: &'a str,
    reason: &'a str,
}

/// A snapshot, or a path in one, that cannot be read whole.
#[derive(Serialize)]
struct HurtDocument<'a> {
    snapshot: String,
    path: &'a str,
    reason: &'a str,
}

impl<'a> From<&'a Report> for Document<'a> {
    fn from(report: &'a Report) -> Self {
        let damaged = report.damaged.iter().map(|d| DamagedDocument { object: &d.object, reason: &d.reason });
        let hurt = report.hurt.iter().map(|h| HurtDocument {
            snapshot: h.snapshot.to_hex(),
            path: &h.path,
            reason: &h.reason,
        });
        Document {
            clean: report.is_clean(),
            damaged: damaged.collect(),
            hurt: hurt.collect(),
            notes: &report.notes,
            snapshots: report.snapshots,
            packs: report.packs,
            chunks: report.chunks,
            wal_files: report.wal_files,
            packs_read: report.packs_read,
            wal_files_read: report.wal_files_read,
            bytes_read: report.bytes_read,
        }
    }
}

/// Checks the repository and shows what was found.
pub fn run(args: &CheckArgs, context: &Context) -> Result<Done, Failure> {
    let read = match args.read_data_subset {
        _ if args.read_data => ReadData::All,
        None => ReadData::None,
        Some(Subset::Part { part, of }) => ReadData::Part { part, of },
        Some(Subset::Share(share)) => ReadData::Share { share, seed: seed()? },
    };
    let repository = context.open()?;
    let report = check(&repository, read, context.progress(), &context.cancel)?;
    if !context.json() {
        report.notes.iter().for_each(|note| context.progress().note(note));
    }
    context.result(&Document::from(&report), || words(&report, read != ReadData::None))?;
    Ok(if report.is_clean() { Done::Complete } else { Done::Damaged })
}

/// Another sample each time, so that many small checks see everything in the end.
fn seed() -> Result<u64, Failure> {
    let random: &dyn Random = &SystemRandom;
    let bytes = random.array().map_err(|e| Failure::new(e.class(), e.to_string()))?;
    Ok(u64::from_le_bytes(bytes))
}

/// A damaged object and what is wrong with it, which may name it already.
fn named(object: &str, reason: &str) -> String {
    match reason.strip_prefix(object) {
        Some(rest) if rest.starts_with(' ') => reason.to_owned(),
        _ => format!("{object}: {reason}"),
    }
}

/// What a check found, for people; with `read`, also how much data was read.
fn words(report: &Report, read: bool) -> String {
    let mut out = String::new();
    if !report.damaged.is_empty() {
        out.push_str("damaged objects:\n");
    }
    for damage in &report.damaged {
        out.push_str(&format!("  {}\n", printable(&named(&damage.object, &damage.reason))));
    }
    if !report.hurt.is_empty() {
        out.push_str("what that hurts:\n");
    }
    for hurt in &report.hurt {
        let path = if hurt.path.is_empty() { "all of it" } else { &hurt.path };
        out.push_str(&format!("  {}:{}: {}\n", hurt.snapshot, printable(path), printable(&hurt.reason)));
    }
    let mut checked = vec![count(report.snapshots, "snapshot"), count(report.packs, "pack")];
    if report.wal_files > 0 {
        checked.push(count(report.wal_files, "WAL file"));
    }
    let chunks = count(report.chunks, "chunk");
    out.push_str(&format!("checked {} and {chunks}", checked.join(", ")));
    if read {
        let bytes = units::bytes(report.bytes_read);
        let mut what = count(report.packs_read, "pack");
        if report.wal_files_read > 0 {
            what.push_str(&format!(" and {}", count(report.wal_files_read, "WAL file")));
        }
        out.push_str(&format!("; read {what} with {bytes}"));
    }
    out.push_str(&match report.is_clean() {
        true => "\nno damage found\n".to_owned(),
        false => format!(
            "\ndamage found: {} and {}\n",
            count(report.damaged.len() as u64, "object"),
            count(report.hurt.len() as u64, "path")
        ),
    });
    out
}

/// Some of the packs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subset {
    /// This share of them, above 0 and at most 1, chosen at random.
    Share(f64),
    /// The `part`th of `of` parts that together are all of them; counted from 1.
    Part {
        /// Which part.
        part: u32,
        /// Of how many.
        of: u32,
    },
}

impl FromStr for Subset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a share such as 10% or a part such as 3/7".to_owned();
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| wrong())?;
            let fits = percent > 0.0 && percent <= 100.0;
            return fits.then_some(Subset::Share(percent / 100.0)).ok_or_else(wrong);
        }
        let (part, of) = text.split_once('/').ok_or_else(wrong)?;
        let (part, of) = (part.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        (1 <= part && part <= of).then_some(Subset::Part { part, of }).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::Damage;

    #[test]
    fn an_object_is_named_once_and_a_small_share_says_how_little_it_read() {
        let damage = |object: &str, reason: &str| Damage { object: object.into(), reason: reason.into() };
        let damaged =
            vec![damage("roots/2c", "roots/2c is damaged: torn"), damage("data/3f", "it is missing")];
        let report = Report { damaged, snapshots: 1, packs: 2, chunks: 3, ..Report::default() };
        insta::assert_snapshot!(words(&report, true), @r"
        damaged objects:
          roots/2c is damaged: torn
          data/3f: it is missing
        checked 1 snapshot, 2 packs and 3 chunks; read 0 packs with 0 B
        damage found: 2 objects and 0 paths
        ");
        let clean = Report { wal_files: 2, wal_files_read: 1, bytes_read: 1 << 24, ..Report::default() };
        insta::assert_snapshot!(words(&clean, true), @r"
        checked 0 snapshots, 0 packs, 2 WAL files and 0 chunks; read 0 packs and 1 WAL file with 16.0 MiB
        no damage found
        ");
        let clean = Report::default();
        insta::assert_snapshot!(words(&clean, false), @r"
        checked 0 snapshots, 0 packs and 0 chunks
        no damage found
        ");
    }

    #[test]
    fn shares_and_parts_are_read() {
        assert_eq!("10%".parse(), Ok(Subset::Share(0.1)));
        assert_eq!("100%".parse(), Ok(Subset::Share(1.0)));
        assert_eq!("0.5%".parse(), Ok(Subset::Share(0.005)));
        assert_eq!("1/1".parse(), Ok(Subset::Part { part: 1, of: 1 }));
        assert_eq!("7/7".parse(), Ok(Subset::Part { part: 7, of: 7 }));
        for bad in
            ["", "%", "0%", "101%", "-1%", "NaN%", "inf%", "10", "0/7", "8/7", "1/0", "/", "1/2/3", "1.5/7"]
        {
            assert!(bad.parse::<Subset>().is_err(), "{bad}");
        }
    }
}
