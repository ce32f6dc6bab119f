//! `snapshots`: list them.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::tz::TimeZone;

use crate::base::monitor::Monitor;
use crate::base::units;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::json::{SnapshotDocument, kind_of_name};
use crate::cli::table::{Align, Table};
use crate::cli::{text, time};
use crate::format::root::{RootBody, SnapshotKind};
use crate::ops::look;
use crate::ops::select::Filter;
use crate::repo::roots::Snapshot;

const EXAMPLES: &str = "\
Examples:
  kamba-vault snapshots
  kamba-vault snapshots --kind db --latest 10
  kamba-vault snapshots --tag nightly --json | jq -r '.[].id'";

/// Digits of an id that a listing shows, if they tell them all apart.
const SHORT_ID: usize = 8;

/// List snapshots, the newest last
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SnapshotsArgs {
    /// Only of this kind: db, stream, files or base
    #[arg(long, value_name = "KIND", value_parser = kind)]
    pub kind: Option<SnapshotKind>,

    /// Only with this tag; repeated, with all of them
    #[arg(long = "tag", value_name = "TAG", value_parser = NonEmptyStringValueParser::new())]
    pub tags: Vec<String>,

    /// Only from this host
    #[arg(long, value_name = "HOST", value_parser = NonEmptyStringValueParser::new())]
    pub host: Option<String>,

    /// Only of this source: a database or a stream's name
    #[arg(long, value_name = "PATH", value_parser = NonEmptyStringValueParser::new())]
    pub path: Option<String>,

    /// Only the newest N of what is left
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
}

/// The kind of snapshot that `text` names.
pub fn kind(text: &str) -> Result<SnapshotKind, String> {
    kind_of_name(text).ok_or_else(|| "expected db, stream, files or base".to_owned())
}

/// Lists the snapshots.
pub fn run(args: SnapshotsArgs, context: &Context) -> Result<Done, Failure> {
    let repository = context.open()?;
    let filters: Vec<Filter> = (args.kind.map(Filter::Kind).into_iter())
        .chain(args.tags.into_iter().map(Filter::Tag))
        .chain(args.host.map(Filter::Host))
        .chain(args.path.map(Filter::Source))
        .collect();
    let listing = look::snapshots(&repository, &filters, args.latest, &context.cancel)?;
    for (name, error) in &listing.damaged {
        context.progress().warn(&format!("{name} cannot be listed: {error}"));
    }
    let documents: Vec<SnapshotDocument> = listing.snapshots.iter().map(Into::into).collect();
    context.result(&documents, || table(&listing.snapshots, &context.zone()))?;
    Ok(if listing.damaged.is_empty() { Done::Complete } else { Done::Damaged })
}

/// The listing for people.
fn table(snapshots: &[Snapshot], zone: &TimeZone) -> String {
    if snapshots.is_empty() {
        return "no snapshots\n".to_owned();
    }
    let mut table = Table::new(&[
        ("id", Align::Left),
        ("time", Align::Left),
        ("kind", Align::Left),
        ("host", Align::Left),
        ("source", Align::Left),
        ("size", Align::Right),
        ("new", Align::Right),
        ("added", Align::Right),
        ("tags", Align::Left),
    ]);
    let digits = id_digits(snapshots);
    for snapshot in snapshots {
        let root = &snapshot.root;
        table.row([
            short_id(snapshot, digits),
            time::local(root.started, zone),
            root.kind.to_string(),
            root.host.clone().unwrap_or_default(),
            root.sources.join(", "),
            units::bytes(root.stats.source_bytes),
            units::bytes(root.stats.new_bytes),
            units::bytes(snapshot.added_bytes()),
            tags_and_marks(root),
        ]);
    }
    format!("{}{}\n", table.render(), text::count(snapshots.len() as u64, "snapshot"))
}

/// Tags, and in brackets what is remarkable about a snapshot.
fn tags_and_marks(root: &RootBody) -> String {
    let mut words = vec![root.tags.join(", ")];
    if root.end_unverified() {
        words.push("[end unverified]".to_owned());
    }
    if root.incomplete() {
        words.push("[incomplete]".to_owned());
    }
    words.retain(|word| !word.is_empty());
    words.join(" ")
}

/// The first digits of a snapshot's id.
pub fn short_id(snapshot: &Snapshot, digits: usize) -> String {
    let mut id = snapshot.id.to_hex();
    id.truncate(digits);
    id
}

/// How many digits tell all ids apart, at least the usual number.
pub fn id_digits(snapshots: &[Snapshot]) -> usize {
    let mut ids: Vec<String> = snapshots.iter().map(|snapshot| snapshot.id.to_hex()).collect();
    ids.sort_unstable();
    let common = |pair: &[String]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    ids.windows(2).map(|pair| common(pair) + 1).max().unwrap_or(0).max(SHORT_ID)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::SessionId;
    use crate::cli::json::tests::snapshot;

    #[test]
    fn a_listing_is_aligned_and_marks_what_is_remarkable() {
        let stream = snapshot();
        let mut db = snapshot();
        db.id = SessionId(*b"0123456789abcdef");
        db.root.kind = SnapshotKind::Database;
        db.root.sources = vec!["shop".into(), "stock\n".into()];
        db.root.stats.source_bytes = 104_857_600;
        db.root.flags = 0;
        db.root.tags.clear();
        insta::assert_snapshot!(table(&[db, stream], &TimeZone::UTC), @r"
        id        time                 kind    host  source                 size       new     added  tags
        30313233  2026-11-22 02:00:20  db      web1  shop, stock\u{a}  100.0 MiB  68.4 KiB  29.8 KiB
        3f3f3f3f  2026-11-22 02:00:20  stream  web1  vercel.json         1.2 MiB  68.4 KiB  29.8 KiB  nightly, eu [end unverified]
        2 snapshots
        ");
        assert_eq!(table(&[], &TimeZone::UTC), "no snapshots\n");
    }

    #[test]
    fn ids_are_shown_as_long_as_they_must_be() {
        let with = |bytes: [u8; 16]| Snapshot { id: SessionId(bytes), ..snapshot() };
        let (mut like, mut other) = ([0x3f; 16], [0x3f; 16]);
        assert_eq!(id_digits(&[with(like)]), 8);
        other[0] = 1;
        assert_eq!(id_digits(&[with(like), with(other)]), 8);
        like[15] = 0x30;
        other = [0x3f; 16];
        assert_eq!(id_digits(&[with(like), with(other)]), 32);
    }
}
