//! `find PATTERN...`: entries by name, kind, size and time, across snapshots.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::base::class::Class;
use crate::base::clock::Timestamp;
use crate::base::monitor::Monitor;
use crate::base::units;
use crate::cli::commands::snapshots::{id_digits, kind};
use crate::cli::context::Context;
use crate::cli::entries::{EntryDocument, kind_of_letter, problem};
use crate::cli::exit::{Done, Failure};
use crate::cli::json::line;
use crate::cli::lines::Lines;
use crate::cli::selector::Selector;
use crate::cli::text::printable_bytes;
use crate::cli::time;
use crate::format::root::SnapshotKind;
use crate::ops::find::{Found, KEPT_MAX, Pattern, Query, Search};
use crate::ops::glob::Glob;
use crate::ops::look;
use crate::ops::select::{Filter, select};
use crate::repo::Repository;
use crate::repo::roots::Snapshot;
use crate::vfs::EntryKind;

const EXAMPLES: &str = "\
Examples:
  kamba-vault find '*.png'
  kamba-vault find 'uploads/**/*.png' --larger 10M --snapshot latest
  kamba-vault find --iname 'invoice*' --type f --newer 2026-11-01 --kind files --latest 10
  kamba-vault find /etc/passwd --json | jq -r '[.snapshot, .mtime] | @tsv'";

/// Find entries by name, kind, size and time, across snapshots
///
/// Patterns are those of a shell: * and ? stop at a slash, ** does not. One with a slash in it is held
/// against the end of an entry's path, or against all of it if it begins with a slash; one without is
/// held against its name. Every option must hold, of several patterns one must fit.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FindArgs {
    /// A name or the end of a path, with * and ?
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<OsString>,

    /// Only names that fit; may be repeated
    #[arg(long = "name", value_name = "GLOB")]
    pub names: Vec<OsString>,

    /// The same with case ignored
    #[arg(long = "iname", value_name = "GLOB")]
    pub inames: Vec<OsString>,

    /// Only paths whose end fits, or that fit from a leading slash on; may be repeated
    #[arg(long = "path", value_name = "GLOB")]
    pub paths: Vec<OsString>,

    /// Only of this kind: f, d, l, p, s, b or c, as find has them; may be repeated
    #[arg(long = "type", value_name = "T", value_parser = entry_kind)]
    pub types: Vec<EntryKind>,

    /// Only with more bytes: 10M, 1.5G
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub larger: Option<u64>,

    /// Only with fewer bytes
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub smaller: Option<u64>,

    /// Only changed after this: 2026-11-22, 2026-11-22T03:00
    #[arg(long, value_name = "TIME")]
    pub newer: Option<String>,

    /// Only changed before this
    #[arg(long, value_name = "TIME")]
    pub older: Option<String>,

    /// Only in this snapshot: an id, latest, latest@db=NAME, or a time; may be repeated
    #[arg(short, long = "snapshot", value_name = "SNAPSHOT", conflicts_with_all = ["kind", "tags", "host", "source", "latest"])]
    pub snapshots: Vec<String>,

    /// Only in snapshots of this kind: db, stream, files or base
    #[arg(long, value_name = "KIND", value_parser = kind)]
    pub kind: Option<SnapshotKind>,

    /// Only in those with this tag; repeated, with all of them
    #[arg(long = "tag", value_name = "TAG", value_parser = NonEmptyStringValueParser::new())]
    pub tags: Vec<String>,

    /// Only in those from this host
    #[arg(long, value_name = "HOST", value_parser = NonEmptyStringValueParser::new())]
    pub host: Option<String>,

    /// Only in those of this source: a path, a database or a stream's name
    #[arg(long, value_name = "SOURCE", value_parser = NonEmptyStringValueParser::new())]
    pub source: Option<String>,

    /// Only in the newest N of what is left
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
}

fn entry_kind(text: &str) -> Result<EntryKind, String> {
    kind_of_letter(text).ok_or_else(|| "expected f, d, l, p, s, b or c".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    units::parse_bytes(text).ok_or_else(|| "expected a size such as 512K or 10M".to_owned())
}

/// One entry, for programs.
#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    time: String,
    #[serde(flatten)]
    entry: EntryDocument<'a>,
}

/// Searches the snapshots, the oldest first.
pub fn run(args: FindArgs, context: &Context) -> Result<Done, Failure> {
    let zone = context.zone();
    let query = query(&args, &zone)?;
    let repository = context.open()?;
    let (snapshots, mut done) = chosen(args, &repository, &zone, context)?;
    let reader = look::reader(&repository, context.progress(), &context.cancel)?;
    let mut search = Search::new(reader, query, KEPT_MAX, context.cancel.clone());
    let digits = id_digits(&snapshots);
    let mut lines = Lines::new(context);
    for snapshot in &snapshots {
        let id = snapshot.id.to_hex();
        context.progress().item(&id[..digits]);
        let searched = search.run(snapshot, &mut |path, found| {
            lines.push(&if context.json() {
                let entry = EntryDocument::new(path, found.kind, found.size, &found.meta);
                line(&Document { snapshot: id.clone(), time: time::rfc3339(snapshot.root.started), entry })
            } else {
                words(&id[..digits], path, found, &zone)
            })
        });
        match searched {
            // What is damaged in one snapshot does not hide the others.
            Err(error) if error.class() == Class::Damaged => {
                context
                    .progress()
                    .warn(&format!("snapshot {} was not searched to its end: {error}", &id[..digits]));
                done = Done::Damaged;
            }
            Err(error) => return lines.finish::<()>(Err(error)).map(|_| done),
            Ok(()) => {}
        }
    }
    context.finish_progress();
    lines.finish(Ok(()))?;
    Ok(done)
}

/// The snapshots that are meant, oldest first, and whether some could not be listed.
fn chosen(
    args: FindArgs,
    repository: &Repository,
    zone: &TimeZone,
    context: &Context,
) -> Result<(Vec<Snapshot>, Done), Failure> {
    let filters: Vec<Filter> = (args.kind.map(Filter::Kind).into_iter())
        .chain(args.tags.into_iter().map(Filter::Tag))
        .chain(args.host.map(Filter::Host))
        .chain(args.source.map(Filter::Source))
        .collect();
    let listing = look::snapshots(repository, &filters, args.latest, &context.cancel)?;
    for (name, error) in &listing.damaged {
        context.progress().warn(&format!("{name} cannot be searched: {error}"));
    }
    let done = if listing.damaged.is_empty() { Done::Complete } else { Done::Damaged };
    if args.snapshots.is_empty() {
        return Ok((listing.snapshots, done));
    }
    let mut wanted = Vec::new();
    for text in &args.snapshots {
        let selector = Selector::parse(text, zone)?;
        if selector.path.is_some() {
            return Err(Failure::usage(format!("'{text}' has a path: --snapshot takes a snapshot alone"))
                .with_hint("say what to look for below with a pattern such as '/srv/uploads/**'"));
        }
        let found = select(&listing.snapshots, &selector.which, &selector.wanted);
        wanted.push(found.map_err(crate::ops::Error::from)?.id);
    }
    let meant = |snapshot: &Snapshot| wanted.contains(&snapshot.id);
    Ok((listing.snapshots.into_iter().filter(meant).collect(), done))
}

fn query(args: &FindArgs, zone: &TimeZone) -> Result<Query, Failure> {
    let all = |texts: &[OsString], make: &dyn Fn(&[u8]) -> Result<Pattern, &'static str>| {
        let one = |text: &OsString| {
            let wrong =
                |why| Failure::usage(format!("the pattern '{}' is wrong: {why}", text.to_string_lossy()));
            make(text.as_bytes()).map_err(wrong)
        };
        texts.iter().map(one).collect::<Result<Vec<_>, _>>()
    };
    let name = |fold| move |text: &[u8]| Ok(Pattern::Name(Glob::new(text, fold)?));
    let names = [all(&args.names, &name(false))?, all(&args.inames, &name(true))?].concat();
    let time = |text: &Option<String>| text.as_deref().map(|text| instant(text, zone)).transpose();
    Ok(Query {
        patterns: vec![all(&args.patterns, &Pattern::new)?, names, all(&args.paths, &Pattern::path)?],
        kinds: args.types.clone(),
        larger: args.larger,
        smaller: args.smaller,
        newer: time(&args.newer)?,
        older: time(&args.older)?,
    })
}

/// A time, or a day's beginning.
fn instant(text: &str, zone: &TimeZone) -> Result<Timestamp, Failure> {
    let midnight = format!("{text}T00:00");
    let whole = [text, &midnight].into_iter().find_map(|text| {
        let leading = time::leading(text, zone).ok().flatten()?;
        (leading.len == text.len()).then_some(leading.time)
    });
    whole.ok_or_else(|| {
        Failure::usage(format!("'{text}' is no time"))
            .with_hint("write a day such as 2026-11-22, or a time such as 2026-11-22T03:00")
    })
}

fn words(id: &str, path: &[u8], found: &Found, zone: &TimeZone) -> String {
    let size = found.size.map_or("-".to_owned(), units::bytes);
    let mtime = found.meta.mtime.map_or("-".to_owned(), |at| time::local(at, zone));
    let slash = if found.kind == EntryKind::Directory { "/" } else { "" };
    let problem = problem(&found.meta);
    format!("{size:>10}  {mtime:<19}  {id}:{}{slash}{problem}\n", printable_bytes(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_day_is_its_beginning() {
        let time = |text| instant(text, &TimeZone::UTC);
        assert_eq!(time("2026-11-22").unwrap(), time("2026-11-22T00:00Z").unwrap());
        for wrong in ["", "yesterday", "2026-11-31", "2026-11-22T03:00:x", "2026-11-22T03:00@db=x"] {
            assert_eq!(time(wrong).unwrap_err().exit_status(), 2, "{wrong}");
        }
    }
}
