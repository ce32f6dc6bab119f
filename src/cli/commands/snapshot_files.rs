//! `snapshot files`: its arguments, and what it says of a snapshot that it made or would make.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::base::clock::Timestamp;
use crate::base::units;
use crate::cli::commands::snapshot::{self, Document, Provenance};
use crate::cli::context::Context;
use crate::cli::entries::text_and_bytes;
use crate::cli::exit::{Done, Failure};
use crate::cli::text::{self, printable};
use crate::cli::time;
use crate::files::exclude::Exclude;
use crate::ops::snapshot::{Counts, FilesRequest, MadeFiles, Observer, Why, plan_files, snapshot_files};

const EXAMPLES: &str = "\
Examples:
  kamba-vault snapshot files /srv/uploads /etc
  kamba-vault snapshot files / --one-file-system --exclude-caches --tag nightly
  kamba-vault snapshot files /srv --exclude '*.log' --exclude '/cache/*' --exclude '!/cache/keep'
  find /srv -type f -newer /srv/mark -print0 | kamba-vault snapshot files --files-from -";

/// Store files and folders, with everything that Linux keeps of them
///
/// What did not change since an earlier snapshot is not read again. What cannot be read, or changes
/// while it is read, is named, and the snapshot is marked "incomplete"; the exit status is 3 then. A
/// link is stored as a link, also one that is given as a PATH.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FilesArgs {
    /// What to store
    #[arg(value_name = "PATH", required_unless_present = "files_from")]
    pub paths: Vec<PathBuf>,

    /// Read further paths from this file, - for standard input; may be repeated
    ///
    /// One a line, or each ended by a zero byte if there is one, as find -print0 writes them.
    #[arg(long, value_name = "FILE")]
    pub files_from: Vec<PathBuf>,

    /// Leave out what matches this pattern, as in a .gitignore file in each PATH; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,

    /// Leave out what matches the patterns in this file, one a line; may be repeated
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,

    /// Leave out the content of folders that say that they are caches, with a file CACHEDIR.TAG
    #[arg(long)]
    pub exclude_caches: bool,

    /// Leave out the content of folders that lie in other file systems than their PATH
    #[arg(long)]
    pub one_file_system: bool,

    /// Keep times of access, which makes every file that was looked at differ
    #[arg(long)]
    pub with_atime: bool,

    /// Give the snapshot this time instead of the present: 2026-11-22T03:00
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,

    /// Walk, but read and store nothing: say what would be read
    ///
    /// With -v or --json, what would be left out is named as well, and with -v what would be read.
    #[arg(long)]
    pub dry_run: bool,

    /// What the snapshot carries.
    #[command(flatten)]
    pub provenance: Provenance,
}

/// Makes the snapshot, or says what it would be.
pub fn run(args: FilesArgs, context: &Context) -> Result<Done, Failure> {
    let mut sources = args.paths;
    for file in &args.files_from {
        sources.extend(paths_in(file)?);
    }
    let request = FilesRequest {
        sources,
        exclude: Exclude::new(&args.exclude, &args.exclude_file)?,
        exclude_caches: args.exclude_caches,
        one_file_system: args.one_file_system,
        with_atime: args.with_atime,
        time: args.time.as_deref().map(|text| instant(text, context)).transpose()?,
    };
    let repository = context.open()?;
    let provenance = snapshot::provenance(args.provenance, context);
    let (monitor, cancel) = (context.monitor(), &context.cancel);
    let lines = Lines { context, on: args.dry_run && context.json() || context.global.verbose > 0 };
    if args.dry_run {
        let counts = plan_files(&repository, &provenance, &request, &lines, monitor, cancel)?;
        let document = PlanDocument { message_type: "summary", counts: CountsDocument::from(&counts) };
        context.result(&document, || plan_words(&counts))?;
        return Ok(done(&counts));
    }
    let made = snapshot_files(&repository, &provenance, &request, &lines, monitor, cancel)?;
    let document = MadeDocument {
        snapshot: snapshot::document(&made.made, &provenance),
        counts: CountsDocument::from(&made.counts),
    };
    context.result(&document, || words(&made))?;
    Ok(done(&made.counts))
}

fn done(counts: &Counts) -> Done {
    if counts.problems > 0 { Done::Incomplete } else { Done::Complete }
}

/// A time alone.
fn instant(text: &str, context: &Context) -> Result<Timestamp, Failure> {
    let wrong =
        |why: String| Failure::usage(format!("--time: {why}")).with_hint("write it as 2026-11-22T03:00");
    match time::leading(text, &context.zone()).map_err(wrong)? {
        Some(found) if found.len == text.len() => Ok(found.time),
        _ => Err(wrong(format!("'{text}' is no time"))),
    }
}

/// The paths that a file lists.
fn paths_in(file: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut bytes = Vec::new();
    let read = match file.as_os_str().as_bytes() {
        b"-" => io::stdin().lock().read_to_end(&mut bytes).map(drop),
        _ => std::fs::read(file).map(|read| bytes = read),
    };
    read.map_err(|e| Failure::io(format!("read the paths in {}", file.display()), &e))?;
    let end = if bytes.contains(&0) { 0 } else { b'\n' };
    let paths = bytes.split(|byte| *byte == end).filter(|path| !path.is_empty());
    Ok(paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect())
}

/// Prints a line for each entry that is left out, while the walk runs.
struct Lines<'a> {
    context: &'a Context,
    on: bool,
}

/// What is left out, for programs.
#[derive(Serialize)]
struct LeftOut<'a> {
    message_type: &'static str,
    path: Cow<'a, str>,
    /// Hexadecimal, where the path is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    why: &'static str,
}

impl Observer for Lines<'_> {
    fn left_out(&self, path: &Path, why: Why) {
        if !self.on {
            return;
        }
        let (name, words) = match why {
            Why::Pattern => ("pattern", "a pattern excludes it"),
            Why::Cache => ("cache", "its content: it is a cache"),
            Why::FileSystem => ("file_system", "its content: it is in another file system"),
        };
        let (path, path_bytes) = text_and_bytes(path.as_os_str().as_bytes());
        // A reader that left, or a full disk, does not stop a snapshot: the result comes to it later.
        let _ = match self.context.json() {
            true => {
                let line = LeftOut { message_type: "left_out", path, path_bytes, why: name };
                self.context.output.json(&line)
            }
            false => self.context.output.text(&format!("left out   {}: {words}\n", printable(&path))),
        };
    }
}

/// A snapshot that would be made, for programs.
#[derive(Serialize)]
struct PlanDocument {
    message_type: &'static str,
    #[serde(flatten)]
    counts: CountsDocument,
}

/// A snapshot of files, for programs.
#[derive(Serialize)]
struct MadeDocument<'a> {
    #[serde(flatten)]
    snapshot: Document<'a>,
    #[serde(flatten)]
    counts: CountsDocument,
}

/// How much of what there was, for programs.
#[derive(Serialize)]
struct CountsDocument {
    files: u64,
    directories: u64,
    others: u64,
    unchanged: u64,
    changed: u64,
    new: u64,
    excluded: u64,
    vanished: u64,
    problems: u64,
    bytes: u64,
    read_bytes: u64,
}

impl From<&Counts> for CountsDocument {
    fn from(counts: &Counts) -> Self {
        CountsDocument {
            files: counts.files,
            directories: counts.directories,
            others: counts.others,
            unchanged: counts.unchanged,
            changed: counts.changed,
            new: counts.new,
            excluded: counts.excluded,
            vanished: counts.vanished,
            problems: counts.problems,
            bytes: counts.bytes,
            read_bytes: counts.read_bytes,
        }
    }
}

/// A snapshot that was made, for people.
fn words(files: &MadeFiles) -> String {
    let (made, counts) = (&files.made, &files.counts);
    let mut out = format!(
        "snapshot {} of {}\n  {}\n  {}, read {}, new {}, stored {}\n",
        made.id,
        printable(&made.sources.join(", ")),
        contents(counts),
        comparison(counts),
        units::bytes(counts.read_bytes),
        units::bytes(made.added.new_bytes),
        units::bytes(made.added.stored_bytes),
    );
    problems(counts, &mut out);
    out
}

/// The same for one that would be made.
fn plan_words(counts: &Counts) -> String {
    let mut out = format!(
        "a snapshot would hold {}\n  {}; {} would be read\n",
        contents(counts),
        comparison(counts),
        units::bytes(counts.read_bytes),
    );
    problems(counts, &mut out);
    out
}

fn contents(counts: &Counts) -> String {
    let mut out = text::count(counts.files, "file");
    if counts.others > 0 {
        out.push_str(&format!(", {} and the like", text::count(counts.others, "link")));
    }
    let folders = if counts.directories == 1 { "directory" } else { "directories" };
    out.push_str(&format!(", {} {folders}, {}", counts.directories, units::bytes(counts.bytes)));
    if counts.excluded > 0 {
        out.push_str(&format!("; {} left out", counts.excluded));
    }
    out
}

fn comparison(counts: &Counts) -> String {
    format!("{} unchanged, {} changed, {} new", counts.unchanged, counts.changed, counts.new)
}

fn problems(counts: &Counts, out: &mut String) {
    if counts.problems > 0 {
        let problems = text::count(counts.problems, "problem");
        out.push_str(&format!(
            "  incomplete: {problems}, named above, with what could not be read as it was\n"
        ));
    }
}
