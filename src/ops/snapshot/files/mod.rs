//! `snapshot files`: file trees, everything that Linux keeps of them. What did not change since an
//! earlier snapshot is not read, and costs one `statx` (D-6).
//!
//! `sources` says where to go, `walk` goes there, `entry` makes a node of what is met, `links` knows
//! which names are one file, and `known` is what earlier snapshots knew of it, with `rows` of the file
//! cache. A tree that changes meanwhile, or that may not all be read, makes an incomplete snapshot,
//! which says what is missing, and never none.

mod entry;
mod known;
mod links;
mod rows;
mod sources;
mod walk;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::clock::{Cancel, Timestamp};
use crate::base::id::SessionId;
use crate::base::kind::PackKind;
use crate::base::monitor::{Count, Monitor};
use crate::files::exclude::Exclude;
use crate::files::write::raise_open_files;
use crate::format::root::SnapshotKind;
use crate::ops::Error;
use crate::ops::snapshot::files::entry::Output;
use crate::ops::snapshot::files::known::Known;
use crate::ops::snapshot::files::sources::Trie;
use crate::ops::snapshot::files::walk::Walk;
use crate::ops::snapshot::{Gathered, Made, Provenance, in_session_at};
use crate::repo::index::FileCache;
use crate::repo::read::ChunkReader;
use crate::repo::roots::Snapshot;
use crate::repo::session::Session;
use crate::repo::{self, Repository, index, roots};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct FilesRequest {
    /// Files and folders.
    pub sources: Vec<PathBuf>,
    /// What of them is not wanted.
    pub exclude: Exclude,
    /// Folders that say that they are caches are kept without their content.
    pub exclude_caches: bool,
    /// Other file systems below the sources are kept as empty folders.
    pub one_file_system: bool,
    /// Times of access are kept.
    pub with_atime: bool,
    /// The snapshot's time; now if it is not given.
    pub time: Option<Timestamp>,
}

/// Why something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A pattern says so: the entry, with all below it.
    Pattern,
    /// The folder says that it is a cache: what is in it but for its tag.
    Cache,
    /// The folder lies in another file system: what is in it.
    FileSystem,
}

/// Hears of what is left out.
pub trait Observer: Sync {
    /// The entry at `path`, or what is in it, is left out.
    fn left_out(&self, path: &Path, why: Why) {
        let _ = (path, why);
    }
}

/// Hears of nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deaf;

impl Observer for Deaf {}

/// How much of what a walk met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Regular files in the snapshot.
    pub files: u64,
    /// Folders, those above sources counted.
    pub directories: u64,
    /// Links, devices, FIFOs and sockets.
    pub others: u64,
    /// Entries but folders that were taken over from an earlier snapshot.
    pub unchanged: u64,
    /// Those that no earlier snapshot had.
    pub new: u64,
    /// Those that an earlier snapshot had otherwise.
    pub changed: u64,
    /// Entries that were not wanted, with all below them, and folders of which the content was not.
    pub excluded: u64,
    /// Entries that were gone when they were to be read.
    pub vanished: u64,
    /// What could not be read as it was, what vanished counted: each was named to the monitor.
    pub problems: u64,
    /// Bytes of all files' content.
    pub bytes: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
}

/// A snapshot that was made.
#[derive(Clone, Debug)]
pub struct MadeFiles {
    /// It.
    pub made: Made,
    /// What is in it.
    pub counts: Counts,
}

/// Snapshots files.
pub fn snapshot_files(
    repo: &Repository,
    provenance: &Provenance,
    request: &FilesRequest,
    observer: &dyn Observer,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<MadeFiles, Error> {
    let (trie, paths) = Trie::new(&request.sources)?;
    raise_open_files();
    let sources: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let started = request.time.unwrap_or_else(|| repo.clock().now());
    let (mut counts, mut cache, mut clears) = (Counts::default(), None, None);
    let made = in_session_at(started, repo, provenance, monitor.clone(), cancel, |session| {
        session.monitor().phase("reading", Count::SourceBytes, None);
        // The roots are listed after the lease was taken: what they reach stays (D-6, I-5).
        let listing = roots::list(repo, cancel)?.snapshots;
        let known = known(repo, &listing, &sources, provenance, Some(session), session.monitor());
        let output = Output::Session { session, reader: Box::new(ChunkReader::new(repo)) };
        let walk = Walk::new(repo, request, output, known, observer)?;
        let (walked, mut known) = walk.run(&trie, &|| session.check())?;
        counts = walked.counts;
        if let Some(files) = &mut known.cache
            && files.flush().is_ok()
        {
            (cache, clears) = (known.cache, Some(session.clears()));
        }
        Ok(Gathered {
            kind: SnapshotKind::Files,
            sources,
            children: walked.children,
            meta: walked.meta,
            source_bytes: counts.bytes,
            items: counts.files + counts.directories + counts.others,
            end_unverified: false,
            incomplete: counts.problems > 0,
            base: None,
        })
    })?;
    // Failing to tidy up the cache costs space and time, and not the snapshot.
    let clears = clears.filter(|_| made.added.indexed);
    let _ = cache.map(|cache| cache.sweep(clears));
    Ok(MadeFiles { made, counts })
}

/// Walks as `snapshot_files` would and reads nothing: what would be read and what would not.
pub fn plan_files(
    repo: &Repository,
    provenance: &Provenance,
    request: &FilesRequest,
    observer: &dyn Observer,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Counts, Error> {
    let (trie, paths) = Trie::new(&request.sources)?;
    raise_open_files();
    let sources: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let listing = roots::list(repo, cancel)?.snapshots;
    index::refresh(repo, &*monitor, cancel)?;
    monitor.phase("looking", Count::Items, None);
    let known = known(repo, &listing, &sources, provenance, None, &*monitor);
    let walk = Walk::new(repo, request, Output::Plan, known, observer)?;
    let stop = || if cancel.is_cancelled() { Err(repo::Error::Interrupted) } else { Ok(()) };
    let (walked, _) = walk.run(&trie, &stop)?;
    Ok(walked.counts)
}

/// What the snapshots that are there know of the sources.
fn known<'m>(
    repo: &Repository,
    listing: &[Snapshot],
    sources: &[String],
    provenance: &Provenance,
    session: Option<&Session>,
    monitor: &'m dyn Monitor,
) -> Known<'m> {
    let id = session.map_or(SessionId([0; 16]), Session::id);
    let clears = session.and_then(Session::certain_clears);
    let live: HashSet<SessionId> = listing.iter().map(|snapshot| snapshot.id).collect();
    let opened = FileCache::open(repo.index().dir(), id, live, clears);
    let cache = match opened {
        Ok(cache) => Some(cache),
        Err(e) => {
            monitor.note(&format!("unchanged files are looked for in the parent alone: {e}"));
            None
        }
    };
    let parent =
        parent(listing, sources, provenance).filter(|_| repo.keys().may_read(PackKind::Meta).is_ok());
    let parent = parent.map(|parent| (ChunkReader::new(repo), parent.root.root.children.clone()));
    Known { cache, parent, monitor, keeps: session.is_some() }
}

/// The newest snapshot of the same files, or else of any files of this host.
fn parent<'s>(listing: &'s [Snapshot], sources: &[String], provenance: &Provenance) -> Option<&'s Snapshot> {
    let of_host = |snapshot: &&Snapshot| {
        snapshot.root.kind == SnapshotKind::Files && snapshot.root.host.as_ref() == Some(&provenance.host)
    };
    let mut newest = listing.iter().rev().filter(of_host);
    let same = newest.clone().find(|snapshot| snapshot.root.sources == sources);
    same.or_else(|| newest.next())
}
