//! `export SNAPSHOT[:PATH]`: a snapshot, or a part of it, as an archive.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::base::class::Class;
use crate::base::monitor::Monitor;
use crate::base::units;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::text::{printable, printable_bytes};
use crate::ops::export::{Broken, ExportRequest, Format, Note, Noted, Report, export};
use crate::repo::roots::Snapshot;

const EXAMPLES: &str = "\
Examples:
  kamba-vault export latest:/srv/uploads | tar -x -C /srv/uploads
  kamba-vault export latest | tar -x -p --acls --xattrs --xattrs-include='*' -C /mnt
  kamba-vault export latest:/srv/uploads | zstd | ssh web1 'cat > uploads.tar.zst'
  kamba-vault export latest@db=shop:shop/tables --output tables.zip";

/// Write a snapshot, or a part of it, as an archive
///
/// A folder's contents stand at the top of the archive; without a path, everything stands there under
/// its full path. Every byte is verified before it is written. Where stored data is damaged the
/// archive breaks off, with exit status 20, and no reader takes it for whole.
///
/// A tar has all that the file system knew, in pax headers: holes, hard links, ACLs and attributes,
/// which GNU tar restores with the options of the second example. A zip has files, folders and
/// symbolic links with their modes, owners' numbers and times in seconds; it is not compressed. What
/// an archive cannot hold is left out, and said at the end.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// An id or its beginning, latest, latest~2, latest@db=NAME, or a time; with a path, only what
    /// is there
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: OsString,

    /// What kind of archive [default: as the name of --output says, or tar]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "tar|zip")]
    pub format: Option<FormatName>,

    /// Write to this file instead of standard output; it appears when it is whole
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write times of birth and chattr's flags as well, as bsdtar reads them
    ///
    /// GNU tar restores neither, and warns of every one unless it is told not to with
    /// --warning=no-unknown-keyword.
    #[arg(long)]
    pub libarchive: bool,
}

/// Kinds of archives, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// pax.
    Tar,
    /// zip.
    Zip,
}

/// Exports.
pub fn run(args: &ExportArgs, context: &Context) -> Result<Done, Failure> {
    let format = format(args)?;
    match &args.output {
        None if io::stdout().is_terminal() => Err(Failure::usage("standard output is a terminal")
            .with_hint("send it to a program or a file, or name one with --output")),
        None => to_output(args, format, context),
        Some(path) => to_file(args, format, path, context),
    }
}

/// The kind of archive that is meant.
fn format(args: &ExportArgs) -> Result<Format, Failure> {
    let of_name = args.output.as_ref().map(|path| path.extension().and_then(|name| name.to_str()));
    match (args.format, of_name) {
        (Some(FormatName::Tar), _) | (None, None | Some(Some("tar"))) => Ok(Format::Tar),
        (Some(FormatName::Zip), _) | (None, Some(Some("zip"))) => Ok(Format::Zip),
        (None, Some(_)) => Err(Failure::usage(
            "the name of --output does not tell what kind of archive it is",
        )
        .with_hint("say so with --format; for a compressed one, send standard output through gzip or zstd")),
    }
}

fn to_output(args: &ExportArgs, format: Format, context: &Context) -> Result<Done, Failure> {
    let progress = context.progress_beside_data();
    context.output.widen();
    let done = write(args, format, &mut &context.output, context, progress);
    match done {
        // Whoever read it has seen enough: that is an end and no failure.
        Err(_) if context.output.reader_gone() => Ok(Done::Complete),
        Err(failure) => Err(failure),
        Ok((report, _)) => Ok(tell(&report, progress)),
    }
}

fn to_file(args: &ExportArgs, format: Format, path: &Path, context: &Context) -> Result<Done, Failure> {
    let mut target = Target::open(path)?;
    let (report, snapshot) = write(args, format, target.file(), context, context.progress())?;
    target.finish()?;
    let done = tell(&report, context.progress());
    let document = Document::new(&snapshot, path, &report);
    context.result(&document, || words(path, &report))?;
    Ok(done)
}

fn write(
    args: &ExportArgs,
    format: Format,
    out: &mut dyn io::Write,
    context: &Context,
    monitor: &dyn Monitor,
) -> Result<(Report, Snapshot), Failure> {
    let repository = context.open()?;
    let (snapshot, path) = context.find(&repository, &args.snapshot)?;
    let request = ExportRequest { path, format, libarchive: args.libarchive };
    match export(&repository, &snapshot, &request, out, monitor, &context.cancel) {
        Ok(report) => Ok((report, snapshot)),
        Err(broken) => Err(broken_off(broken, &snapshot.id.to_hex(), args.output.is_none())),
    }
}

/// Why the archive is not whole.
fn broken_off(broken: Broken, id: &str, is_seen: bool) -> Failure {
    let Broken { error, path, written } = broken;
    let failure = Failure::from(*error);
    let failure = match (failure.class(), path) {
        (Class::Damaged, Some(path)) => {
            failure.about(&format!("/{} (snapshot {id})", String::from_utf8_lossy(&path)))
        }
        (Class::Damaged, None) => failure.about(&format!("snapshot {id}")),
        _ => failure,
    };
    match written {
        n if n > 0 && is_seen => {
            failure.which_means(&format!("the archive breaks off after {n} bytes: do not use it"))
        }
        _ => failure,
    }
}

/// Tells what is to be known of an archive that is whole.
fn tell(report: &Report, monitor: &dyn Monitor) -> Done {
    for (note, noted) in &report.notes {
        monitor.note(&note_words(*note, noted));
    }
    match report.notes.contains_key(&Note::Incomplete) {
        true => Done::Incomplete,
        false => Done::Complete,
    }
}

fn note_words(note: Note, noted: &Noted) -> String {
    let n = noted.count;
    let entries = if n == 1 { "1 entry".to_owned() } else { format!("{n} entries") };
    let what = match note {
        Note::Socket => format!("{entries} left out: no archive holds a socket"),
        Note::Unknown => format!("{entries} left out: of a kind that only a later version knows"),
        Note::OtherForm => format!("{entries} left out: made of what stands beside it"),
        Note::Incomplete => format!("{entries} of which the snapshot does not have all"),
        Note::Tablespaces => "pg_tblspc leads to the tablespaces in the archive, but a server goes by \
                              tablespace_map: remove that before it starts"
            .to_owned(),
        Note::NotInZip => format!("{entries} left out: zip holds no devices and named pipes"),
        Note::LongName => format!("{entries} left out: the name is too long for a zip"),
        Note::Copied => format!("{entries} copied: zip has no hard links"),
        Note::Attributes => format!("{entries} without attributes and ACLs, which zip does not hold"),
        Note::Holes => format!("{entries} with zeros for holes, which zip does not know"),
        Note::Renamed => format!("{entries} renamed: what is no UTF-8 in a name is written as %FF"),
    };
    format!("{what} ({}{})", if n == 1 { "" } else { "first: " }, printable_bytes(&noted.first))
}

fn note_name(note: Note) -> &'static str {
    match note {
        Note::Socket => "socket",
        Note::Unknown => "unknown",
        Note::OtherForm => "other_form",
        Note::Incomplete => "incomplete",
        Note::Tablespaces => "tablespaces",
        Note::NotInZip => "not_in_zip",
        Note::LongName => "long_name",
        Note::Copied => "copied",
        Note::Attributes => "attributes",
        Note::Holes => "holes",
        Note::Renamed => "renamed",
    }
}

/// Where the archive goes that is not standard output.
enum Target {
    /// A file that gets its name in the end.
    Whole(NamedTempFile, PathBuf),
    /// What is there and no file: a device, or a pipe.
    There(File),
}

impl Target {
    fn open(path: &Path) -> Result<Self, Failure> {
        let failed = |e: &io::Error| Failure::io(format!("write {}", path.display()), e);
        match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => {
                return Err(
                    Failure::usage(format!("{} is a folder", path.display())).with_hint("name a file in it")
                );
            }
            Ok(there) if !there.is_file() => {
                let file = OpenOptions::new().write(true).open(path).map_err(|e| failed(&e))?;
                return Ok(Target::There(file));
            }
            Ok(_) | Err(_) => {}
        }
        // A link stays one.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = tempfile::Builder::new()
            .prefix(".kamba-export-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder);
        Ok(Target::Whole(made.map_err(|e| failed(&e))?, path.clone()))
    }

    fn file(&mut self) -> &mut File {
        match self {
            Target::Whole(file, _) => file.as_file_mut(),
            Target::There(file) => file,
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let failed = |path: &Path, e: &io::Error| Failure::io(format!("write {}", path.display()), e);
        match self {
            Target::Whole(file, path) => {
                file.as_file().sync_all().map_err(|e| failed(&path, &e))?;
                file.persist(&path).map(drop).map_err(|e| failed(&path, &e.error))
            }
            Target::There(..) => Ok(()),
        }
    }
}

/// What was done, for programs.
#[derive(Serialize)]
struct Document {
    message_type: &'static str,
    snapshot: String,
    output: String,
    entries: u64,
    bytes: u64,
    written: u64,
    /// How many entries each note is about.
    notes: BTreeMap<&'static str, u64>,
}

impl Document {
    fn new(snapshot: &Snapshot, output: &Path, report: &Report) -> Self {
        Document {
            message_type: "summary",
            snapshot: snapshot.id.to_hex(),
            output: output.display().to_string(),
            entries: report.entries,
            bytes: report.bytes,
            written: report.written,
            notes: report.notes.iter().map(|(note, noted)| (note_name(*note), noted.count)).collect(),
        }
    }
}

/// What was done, for people.
fn words(output: &Path, report: &Report) -> String {
    let output = output.display().to_string();
    let entries =
        if report.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", report.entries) };
    format!(
        "exported {entries} with {} of files to {}, which has {}\n",
        units::bytes(report.bytes),
        printable(&output),
        units::bytes(report.written)
    )
}
