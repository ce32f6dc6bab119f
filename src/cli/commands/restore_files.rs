//! `restore files`: write a snapshot's files back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::base::class::Class;
use crate::base::units;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::text::{count, printable};
use crate::ops::restore_files::{Action, FilesRequest, Observer, Report, Severity, Trouble, restore_files};

const EXAMPLES: &str = "\
Examples:
  kamba-vault restore files latest --target /tmp/look
  kamba-vault restore files latest:/srv/uploads --target /srv/uploads --dry-run
  kamba-vault restore files latest:/srv/uploads --target /srv/uploads --delete --verify
  kamba-vault restore files latest --target / --include /etc/nginx --exclude '*.bak'";

/// Restore files and folders, with everything that the file system knew of them
///
/// A folder's contents go into DIR; without a path, everything goes below DIR by its full path, so
/// with --target / to where it was. What is there already and right is left alone, so a restore that
/// was interrupted goes on when it is run again. A file is right if it has the size, the time and the
/// content that the snapshot says; it is read to find out, unless its inode shows that nobody wrote to
/// it since. Nothing is ever written outside of DIR. DIR itself keeps its owner and permissions if it
/// was there. Files that were immutable or append only (chattr) become so again, last of all.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FilesArgs {
    /// An id or its beginning, latest, latest~2, latest@host=NAME, or a time; with a path, only
    /// what is there
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: String,

    /// The folder to restore to; it is made if it is not there
    #[arg(long, value_name = "DIR")]
    pub target: PathBuf,

    /// Only what matches this pattern, as in a .gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,

    /// Not what matches this pattern; may be repeated
    ///
    /// Patterns are matched against paths from what is restored: --exclude '*.log', --exclude
    /// /cache. With --delete, what is excluded is not deleted either.
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,

    /// Delete what the snapshot does not have
    ///
    /// Only in folders that the snapshot has all of, never above or beside them, and nothing that
    /// is mounted.
    #[arg(long)]
    pub delete: bool,

    /// Take files of the right size and time for right, without reading them
    ///
    /// Faster, and enough where nobody put times back and the machine did not lose power while files
    /// were written.
    #[arg(long)]
    pub quick: bool,

    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with = "verify")]
    pub dry_run: bool,

    /// Afterwards read everything back and compare; a difference is exit status 20
    #[arg(long)]
    pub verify: bool,

    /// Let everything belong to the numbers of its owner and group, whatever their names are here
    #[arg(long)]
    pub numeric_ids: bool,
}

/// Restores.
pub fn run(args: &FilesArgs, context: &Context) -> Result<Done, Failure> {
    let repository = context.open()?;
    let (snapshot, path) = context.find(&repository, &args.snapshot)?;
    let request = FilesRequest {
        path,
        target: args.target.clone(),
        include: args.include.clone(),
        exclude: args.exclude.clone(),
        delete: args.delete,
        dry_run: args.dry_run,
        quick: args.quick,
        verify: args.verify,
        numeric_ids: args.numeric_ids,
    };
    let lines = Lines { context, all: args.dry_run && context.json() || context.global.verbose > 0 };
    let report =
        restore_files(&repository, &snapshot, &request, &lines, context.progress(), &context.cancel)?;
    let id = snapshot.id.to_hex();
    let document = Document::new(&id, args, &report);
    context.result(&document, || words(args, &report))?;
    outcome(&report)
}

/// What single entries could not be had decides on the status: damage first.
pub(super) fn outcome(report: &Report) -> Result<Done, Failure> {
    if report.count(Severity::Damaged) + report.count(Severity::Differs) > 0 {
        return Ok(Done::Damaged);
    }
    let (failed, lacking) = (report.count(Severity::Failed), report.count(Severity::Lacking));
    let message = match (failed, lacking) {
        (0, 0) if report.count(Severity::Incomplete) > 0 => return Ok(Done::Incomplete),
        (0, 0) => return Ok(Done::Complete),
        (0, n) => format!("{} could not be set", count(n, "property").replace("propertys", "properties")),
        (n, _) => format!("{} could not be restored", entries(n)),
    };
    Err(Failure::new(Class::Failed, message).with_hint("the result above names the first; -v names all"))
}

fn entries(n: u64) -> String {
    if n == 1 { "1 entry".to_owned() } else { format!("{n} entries") }
}

/// Prints a line for each entry, while the restore runs.
pub(super) struct Lines<'a> {
    pub(super) context: &'a Context,
    /// What is done as well, not only what goes wrong.
    pub(super) all: bool,
}

/// One entry, for programs.
#[derive(Serialize)]
struct Line<'a> {
    message_type: &'static str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Lines<'_> {
    fn line(&self, line: &Line<'_>, words: impl FnOnce() -> String) {
        // A reader that left, or a full disk, does not stop a restore: the result comes to it later.
        let _ = match self.context.json() {
            true => self.context.output.json(line),
            false => self.context.output.text(&words()),
        };
    }
}

impl Observer for Lines<'_> {
    fn action(&self, action: Action, path: &[u8]) {
        if !self.all {
            return;
        }
        let path = String::from_utf8_lossy(path);
        let name = action_name(action);
        let line = Line { message_type: name, path: &path, what: None, reason: None };
        self.line(&line, || format!("{name:<10} {}\n", printable(&path)));
    }

    fn trouble(&self, trouble: &Trouble) {
        if !self.context.json() && self.context.global.verbose == 0 {
            return;
        }
        let path = String::from_utf8_lossy(&trouble.path);
        let line = Line {
            message_type: severity_name(trouble.severity),
            path: &path,
            what: Some(&trouble.what),
            reason: Some(&trouble.reason),
        };
        self.line(&line, || trouble_words(trouble));
    }
}

fn action_name(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Overwrite => "overwrite",
        Action::Repair => "repair",
        Action::Delete => "delete",
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Damaged => "damaged",
        Severity::Differs => "differs",
        Severity::Failed => "failed",
        Severity::Lacking => "lacking",
        Severity::Incomplete => "incomplete",
        Severity::NotRoot => "not_root",
        Severity::Mounted => "mounted",
    }
}

fn trouble_words(trouble: &Trouble) -> String {
    let path = String::from_utf8_lossy(&trouble.path);
    let name = severity_name(trouble.severity).replace('_', " ");
    format!("{name:<10} {}: {}: {}\n", printable(&path), trouble.what, printable(&trouble.reason))
}

/// What was done, for programs.
#[derive(Serialize)]
struct Document<'a> {
    message_type: &'static str,
    snapshot: &'a str,
    target: String,
    dry_run: bool,
    created: u64,
    overwritten: u64,
    repaired: u64,
    unchanged: u64,
    deleted: u64,
    bytes: u64,
    /// Null without --verify.
    verified: Option<u64>,
    damaged: u64,
    differing: u64,
    failed: u64,
    /// Counts by what is missing, for each severity.
    troubles: BTreeMap<&'static str, BTreeMap<&'a str, u64>>,
}

impl<'a> Document<'a> {
    fn new(snapshot: &'a str, args: &FilesArgs, report: &'a Report) -> Self {
        let mut troubles: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for ((severity, what), count) in &report.troubles {
            troubles.entry(severity_name(*severity)).or_default().insert(what.as_str(), *count);
        }
        Document {
            message_type: "summary",
            snapshot,
            target: args.target.display().to_string(),
            dry_run: args.dry_run,
            created: report.created,
            overwritten: report.overwritten,
            repaired: report.repaired,
            unchanged: report.unchanged,
            deleted: report.deleted,
            bytes: report.bytes,
            verified: args.verify.then_some(report.verified),
            damaged: report.count(Severity::Damaged),
            differing: report.count(Severity::Differs),
            failed: report.count(Severity::Failed),
            troubles,
        }
    }
}

/// What was done, for people.
fn words(args: &FilesArgs, report: &Report) -> String {
    let mut out = String::new();
    let target = args.target.display().to_string();
    let (would, to) = if args.dry_run { ("would restore", "would be ") } else { ("restored", "") };
    out.push_str(&format!(
        "{would} {} of files to {}: {} {to}created, {} {to}overwritten, {} {to}repaired, {} {to}deleted, {} unchanged\n",
        units::bytes(report.bytes),
        printable(&target),
        report.created,
        report.overwritten,
        report.repaired,
        report.deleted,
        report.unchanged,
    ));
    if args.verify {
        out.push_str(&format!("verified {}\n", count(report.verified, "file")));
    }
    for ((severity, what), n) in &report.troubles {
        let n = entries(*n);
        out.push_str(&match severity {
            Severity::Damaged => format!("{n} left out or cut short: stored data is damaged\n"),
            Severity::Differs => format!("{n} not as in the snapshot: {what}\n"),
            Severity::Failed => format!("{n} not restored: {what}\n"),
            Severity::Lacking => format!("{n} without {what}\n"),
            Severity::Incomplete => format!("{n} of which the snapshot does not have all\n"),
            Severity::NotRoot => format!("{n} without {what}, which only root may set\n"),
            Severity::Mounted => format!("{n} not deleted: something is mounted there\n"),
        });
    }
    report.first.iter().for_each(|trouble| out.push_str(&format!("  {}", trouble_words(trouble))));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn report(troubles: &[(Severity, &str)]) -> Report {
        let mut report = Report { created: 3, bytes: 5 << 20, verified: 2, ..Report::default() };
        for (severity, what) in troubles {
            let (path, what) = (b"srv/odd\n\x1b".to_vec(), (*what).to_owned());
            *report.troubles.entry((*severity, what.clone())).or_default() += 1;
            report.first.push(Trouble { severity: *severity, path, what, reason: "of that".into() });
        }
        report
    }

    fn args() -> FilesArgs {
        FilesArgs {
            snapshot: "latest".into(),
            target: "/srv/look".into(),
            include: vec![],
            exclude: vec![],
            delete: false,
            dry_run: false,
            quick: false,
            verify: true,
            numeric_ids: false,
        }
    }

    #[test]
    fn what_could_not_be_had_is_named() {
        let report = report(&[
            (Severity::Damaged, "content"),
            (Severity::NotRoot, "owner"),
            (Severity::NotRoot, "owner"),
        ]);
        insta::assert_snapshot!(words(&args(), &report), @r"
        restored 5.0 MiB of files to /srv/look: 3 created, 0 overwritten, 0 repaired, 0 deleted, 0 unchanged
        verified 2 files
        1 entry left out or cut short: stored data is damaged
        2 entries without owner, which only root may set
          damaged    srv/odd\u{a}\u{1b}: content: of that
          not root   srv/odd\u{a}\u{1b}: owner: of that
          not root   srv/odd\u{a}\u{1b}: owner: of that
        ");
        let dry = FilesArgs { dry_run: true, verify: false, ..args() };
        insta::assert_snapshot!(words(&dry, &Report::default()), @"would restore 0 B of files to /srv/look: 0 would be created, 0 would be overwritten, 0 would be repaired, 0 would be deleted, 0 unchanged");
    }

    #[test]
    fn damage_counts_before_failures_and_what_root_alone_may_does_not() {
        let status = |troubles: &[(Severity, &str)]| match outcome(&report(troubles)) {
            Ok(done) => done.exit_status(),
            Err(failure) => failure.exit_status(),
        };
        assert_eq!(status(&[]), 0);
        assert_eq!(status(&[(Severity::NotRoot, "owner"), (Severity::Mounted, "mount point")]), 0);
        assert_eq!(status(&[(Severity::Lacking, "ACL")]), 1);
        assert_eq!(status(&[(Severity::Incomplete, "content")]), 3);
        assert_eq!(status(&[(Severity::Incomplete, "content"), (Severity::Failed, "entry")]), 1);
        assert_eq!(status(&[(Severity::Failed, "entry")]), 1);
        assert_eq!(status(&[(Severity::Failed, "entry"), (Severity::Damaged, "content")]), 20);
        assert_eq!(status(&[(Severity::Differs, "content")]), 20);
    }
}
