//! `export`: a snapshot, or a part of it, as an archive that any tar or unzip reads, written from its start to its
//! end, as to a pipe. The tree is walked in order, a window of entries at a time; while the contents of one window
//! are written, those of the next are read with all cores. Memory does not grow with the tree.
//!
//! What cannot be read ends the archive there, in a way that no reader takes for its end: an archive of which
//! something is missing unsaid is worse than none.

mod content;
mod holes;
mod job;
mod report;
mod sink;
mod tar;
mod window;
mod zip;

pub use report::{Broken, Note, Noted, Report};

use std::io::Write;

use crate::base::class::Class;
use crate::base::clock::{Cancel, Timestamp};
use crate::base::monitor::{Count, Monitor};
use crate::format::root::SnapshotKind;
use crate::ops::export::content::{Content, Holes};
use crate::ops::export::job::Job;
use crate::ops::export::sink::Sink;
use crate::ops::export::tar::Tar;
use crate::ops::export::window::Item;
use crate::ops::export::zip::Zip;
use crate::ops::look::{self, trimmed};
use crate::ops::{Error, export::report::Ledger};
use crate::repo::Repository;
use crate::repo::roots::Snapshot;
use crate::vfs::{Entry, EntryKind};

/// What kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// pax, with all that a file system knows.
    Tar,
    /// zip, with what that can hold.
    Zip,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ExportRequest {
    /// What of the snapshot; all of it if absent.
    pub path: Option<Vec<u8>>,
    /// What kind of archive.
    pub format: Format,
    /// Write what only readers that build on libarchive know, too.
    pub libarchive: bool,
}

/// Writes entries in the way of one kind of archive.
trait Archive {
    /// Whether it can say that a file has another name already.
    fn links(&self) -> bool;

    /// What becomes of holes in files.
    fn holes(&self) -> Holes;

    /// Why it has no place for an entry that is to have this path; nothing if it has.
    fn leaves_out(&self, path: &[u8], entry: &Entry) -> Option<Note>;

    /// Writes an entry with its content.
    fn add(
        &mut self,
        item: &Item,
        content: &mut Content<'_>,
        sink: &mut Sink<'_>,
        ledger: &mut Ledger,
    ) -> Result<(), Error>;

    /// Writes the end.
    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<(), Error>;

    /// Sees to it that what was written is not taken for whole.
    fn break_off(&mut self, sink: &mut Sink<'_>) -> Result<(), Error>;
}

/// Writes what `request` asks for to `out`.
pub fn export(
    repo: &Repository,
    snapshot: &Snapshot,
    request: &ExportRequest,
    out: &mut dyn Write,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Report, Broken> {
    let path = trimmed(request.path.as_deref().unwrap_or_default());
    let reader = look::reader(repo, monitor, cancel)?;
    let view = look::view_with(&reader, snapshot, cancel);
    let top = look::entry(&view, snapshot, path)?;
    // A database shows more than it has, and nobody knows how much of the whole a part is.
    let is_whole = path.is_empty() && snapshot.root.kind != SnapshotKind::Database;
    monitor.phase("exporting", Count::DoneBytes, is_whole.then_some(snapshot.root.stats.source_bytes));
    let time: Timestamp = snapshot.root.started;
    let archive: Box<dyn Archive> = match request.format {
        Format::Tar => Box::new(Tar::new(time, request.libarchive)),
        Format::Zip => Box::new(Zip::new(time)),
    };
    let mut job = Job::new(&view, reader.clone(), snapshot, archive, Sink::new(out), monitor, cancel)?;
    let mut at = Vec::new();
    let walked = match top.kind {
        EntryKind::Directory => job.links(path, b"").and_then(|()| {
            look::walk_from(&view, &top, &mut at, true, &mut |below, entry| job.meet(path, below, entry))
        }),
        _ => job.meet(path, &top.name, &top),
    };
    let ended = match walked {
        Ok(()) => job.finish(),
        // What comes before the damage is right.
        Err(error) if error.class() == Class::Damaged && !job.is_writing() => match job.flush() {
            Ok(()) => Err(job.broken(error, Some(at))),
            Err(earlier) => Err(job.broken(earlier, None)),
        },
        Err(error) => Err(job.broken(error, None)),
    };
    let in_snapshot = |below: Vec<u8>| match top.kind {
        EntryKind::Directory => look::joined(path, &below),
        _ => path.to_vec(),
    };
    ended.map_err(|broken| Broken { path: broken.path.map(in_snapshot), ..broken })
}

/// Permission bits of an entry. What no file system gave any, a dump or a stream, is for its owner alone.
fn mode(entry: &Entry) -> u32 {
    let usual = if entry.kind == EntryKind::Directory { 0o755 } else { 0o600 };
    entry.meta.mode.unwrap_or(usual)
}
