//! `diff SNAPSHOT[:PATH] SNAPSHOT[:PATH]`: what differs between two snapshots.

use std::borrow::Cow;
use std::ffi::OsString;

use clap::Args;
use serde::Serialize;

use crate::base::units;
use crate::cli::context::Context;
use crate::cli::entries::{kind_name, text_and_bytes};
use crate::cli::exit::{Done, Failure};
use crate::cli::json::line;
use crate::cli::lines::Lines;
use crate::cli::text::printable_bytes;
use crate::ops::diff::{Change, ChangeKind, Summary, What, diff};
use crate::ops::look::{self, trimmed};
use crate::vfs::EntryKind;

const EXAMPLES: &str = "\
Examples:
  kamba-vault diff latest~1 latest
  kamba-vault diff --stat latest~7@host=web1 latest@host=web1
  kamba-vault diff 2026-11-22T03:00:/srv/uploads latest:/srv/uploads
  kamba-vault diff --json latest~1 latest | jq -r 'select(.change == \"removed\").path'";

/// Show what differs between two snapshots
///
/// A line for each entry: + added, - removed, M other content, m other metadata only (which, in
/// brackets), T other type, R renamed. Nothing is read but folders that differ.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArgs {
    /// The older one: an id or its beginning, latest, latest~2, latest@db=NAME, or a time; with a
    /// path, what is below it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub old: OsString,

    /// The newer one, likewise
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub new: OsString,

    /// Only count
    #[arg(long)]
    pub stat: bool,
}

/// Compares.
pub fn run(args: &DiffArgs, context: &Context) -> Result<Done, Failure> {
    let repository = context.open()?;
    let (old, old_path) = context.find(&repository, &args.old)?;
    let (new, new_path) = context.find(&repository, &args.new)?;
    let (old_path, new_path) = (old_path.unwrap_or_default(), new_path.unwrap_or_default());
    let reader = look::reader(&repository, context.progress(), &context.cancel)?;
    let old_view = look::view_with(&reader, &old, &context.cancel);
    let new_view = look::view_with(&reader, &new, &context.cancel);
    let before = look::entry(&old_view, &old, &old_path)?;
    let after = look::entry(&new_view, &new, &new_path)?;
    context.finish_progress();
    // Of two places, paths can only be told from there on.
    let same_place = trimmed(&old_path) == trimmed(&new_path);
    let top = if same_place { new_path.as_slice() } else { b"" };
    let mut lines = Lines::new(context);
    let compared = diff(&reader, &before, &after, top, &context.cancel, &mut |change| match context.json() {
        _ if args.stat => Ok(()),
        true => lines.push(&line(&ChangeDocument::from(change))),
        false => lines.push(&words(change)),
    });
    if let Some(summary) = lines.finish(compared)? {
        context.result(&SummaryDocument::from(&summary), || total(&summary))?;
    }
    Ok(Done::Complete)
}

/// One change, for programs.
#[derive(Serialize)]
struct ChangeDocument<'a> {
    message_type: &'static str,
    change: &'static str,
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_path_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<WhatDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<WhatDocument>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    attributes: &'a [&'static str],
}

/// An entry on one side.
#[derive(Serialize)]
struct WhatDocument {
    kind: &'static str,
    size: Option<u64>,
}

impl From<&What> for WhatDocument {
    fn from(what: &What) -> Self {
        WhatDocument { kind: kind_name(EntryKind::of(what.kind)), size: what.size }
    }
}

impl<'a> From<&'a Change> for ChangeDocument<'a> {
    fn from(change: &'a Change) -> Self {
        let (path, path_bytes) = text_and_bytes(&change.path);
        let old_path = change.old_path.as_deref().map(text_and_bytes);
        let (old_path, old_path_bytes) = old_path.map_or((None, None), |(path, bytes)| (Some(path), bytes));
        ChangeDocument {
            message_type: "change",
            change: change_name(change.kind),
            path,
            path_bytes,
            old_path,
            old_path_bytes,
            old: change.old.as_ref().map(Into::into),
            new: change.new.as_ref().map(Into::into),
            attributes: &change.attributes,
        }
    }
}

/// How much changed, for programs.
#[derive(Serialize)]
struct SummaryDocument {
    message_type: &'static str,
    added: u64,
    removed: u64,
    content: u64,
    metadata: u64,
    #[serde(rename = "type")]
    types: u64,
    renamed: u64,
    added_bytes: u64,
    removed_bytes: u64,
}

impl From<&Summary> for SummaryDocument {
    fn from(summary: &Summary) -> Self {
        SummaryDocument {
            message_type: "summary",
            added: summary.added,
            removed: summary.removed,
            content: summary.content,
            metadata: summary.metadata,
            types: summary.types,
            renamed: summary.renamed,
            added_bytes: summary.added_bytes,
            removed_bytes: summary.removed_bytes,
        }
    }
}

fn change_name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Content => "content",
        ChangeKind::Metadata => "metadata",
        ChangeKind::Type => "type",
        ChangeKind::Renamed => "renamed",
    }
}

/// One change, for people.
fn words(change: &Change) -> String {
    let is_folder = |what: &Option<What>| {
        what.as_ref().is_some_and(|what| EntryKind::of(what.kind) == EntryKind::Directory)
    };
    let shown = |path: &[u8], what: &Option<What>| match (path.is_empty(), is_folder(what)) {
        (true, _) => ".".to_owned(),
        (false, true) => format!("{}/", printable_bytes(path)),
        (false, false) => printable_bytes(path).into_owned(),
    };
    let path = shown(&change.path, if change.new.is_some() { &change.new } else { &change.old });
    // With other content comes another time: no news.
    let news = |name: &&&str| change.kind != ChangeKind::Content || **name != "mtime";
    let attributes: Vec<&str> = change.attributes.iter().filter(news).copied().collect();
    let attributes = match attributes.is_empty() {
        true => String::new(),
        false => format!("  ({})", attributes.join(", ")),
    };
    let kind =
        |what: &Option<What>| what.as_ref().map_or("nothing", |what| kind_name(EntryKind::of(what.kind)));
    match change.kind {
        ChangeKind::Added => format!("+  {path}\n"),
        ChangeKind::Removed => format!("-  {path}\n"),
        ChangeKind::Content => format!("M  {path}{attributes}\n"),
        ChangeKind::Metadata => format!("m  {path}{attributes}\n"),
        ChangeKind::Type => {
            let path = shown(&change.path, &None);
            format!("T  {path}  ({} -> {})\n", kind(&change.old), kind(&change.new))
        }
        ChangeKind::Renamed => {
            let old = shown(change.old_path.as_deref().unwrap_or_default(), &change.old);
            format!("R  {old} -> {path}{attributes}\n")
        }
    }
}

/// How much changed, for people.
fn total(summary: &Summary) -> String {
    if summary.is_empty() {
        return "no differences\n".to_owned();
    }
    let bytes = |count: u64, bytes: u64| match (count, bytes) {
        (0, _) | (_, 0) => String::new(),
        (_, bytes) => format!(" ({})", units::bytes(bytes)),
    };
    let parts = [
        (summary.added, format!("added{}", bytes(summary.added, summary.added_bytes))),
        (summary.removed, format!("removed{}", bytes(summary.removed, summary.removed_bytes))),
        (summary.content, "with other content".to_owned()),
        (summary.metadata, "with other metadata".to_owned()),
        (summary.types, "of another type".to_owned()),
        (summary.renamed, "renamed".to_owned()),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    parts.join(", ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::NodeType;

    fn change(kind: ChangeKind, old: Option<NodeType>, new: Option<NodeType>) -> Change {
        let what = |kind| What { kind, size: None };
        let (old, new) = (old.map(what), new.map(what));
        Change { kind, path: b"srv/a\xff".to_vec(), old_path: None, old, new, attributes: Vec::new() }
    }

    #[test]
    fn each_kind_of_change_has_a_sign() {
        let (file, folder) = (Some(NodeType::File), Some(NodeType::Directory));
        let mut renamed = change(ChangeKind::Renamed, folder, folder);
        renamed.old_path = Some(b"srv/old\n".to_vec());
        let mut metadata = change(ChangeKind::Metadata, file, file);
        metadata.attributes = vec!["mode", "mtime"];
        let mut top = metadata.clone();
        top.path.clear();
        let all = [
            change(ChangeKind::Added, None, folder),
            change(ChangeKind::Removed, file, None),
            change(ChangeKind::Content, file, file),
            metadata,
            top,
            change(ChangeKind::Type, folder, Some(NodeType::Symlink)),
            renamed,
        ];
        insta::assert_snapshot!(all.iter().map(words).collect::<String>(), @r"
        +  srv/a\xff/
        -  srv/a\xff
        M  srv/a\xff
        m  srv/a\xff  (mode, mtime)
        m  .  (mode, mtime)
        T  srv/a\xff  (directory -> symlink)
        R  srv/old\u{a}/ -> srv/a\xff/
        ");
        let json: String = all.iter().map(|change| line(&ChangeDocument::from(change))).collect();
        insta::assert_snapshot!(json, @r#"
        {"message_type":"change","change":"added","path":"srv/a�","path_bytes":"7372762f61ff","new":{"kind":"directory","size":null}}
        {"message_type":"change","change":"removed","path":"srv/a�","path_bytes":"7372762f61ff","old":{"kind":"file","size":null}}
        {"message_type":"change","change":"content","path":"srv/a�","path_bytes":"7372762f61ff","old":{"kind":"file","size":null},"new":{"kind":"file","size":null}}
        {"message_type":"change","change":"metadata","path":"srv/a�","path_bytes":"7372762f61ff","old":{"kind":"file","size":null},"new":{"kind":"file","size":null},"attributes":["mode","mtime"]}
        {"message_type":"change","change":"metadata","path":"","old":{"kind":"file","size":null},"new":{"kind":"file","size":null},"attributes":["mode","mtime"]}
        {"message_type":"change","change":"type","path":"srv/a�","path_bytes":"7372762f61ff","old":{"kind":"directory","size":null},"new":{"kind":"symlink","size":null}}
        {"message_type":"change","change":"renamed","path":"srv/a�","path_bytes":"7372762f61ff","old_path":"srv/old\n","old":{"kind":"directory","size":null},"new":{"kind":"directory","size":null}}
        "#);
    }

    #[test]
    fn a_total_names_what_there_is() {
        assert_eq!(total(&Summary::default()), "no differences\n");
        let some = Summary { added: 3, added_bytes: 1536, removed: 1, renamed: 2, ..Summary::default() };
        assert_eq!(total(&some), "3 added (1.5 KiB), 1 removed, 2 renamed\n");
        insta::assert_snapshot!(line(&SummaryDocument::from(&some)), @r#"
        {"message_type":"summary","added":3,"removed":1,"content":0,"metadata":0,"type":0,"renamed":2,"added_bytes":1536,"removed_bytes":0}
        "#);
    }
}
