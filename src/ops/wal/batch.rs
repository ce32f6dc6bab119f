//! Several segments at once: PostgreSQL's archiver hands them over one by one, and most of the time that one
//! takes is the way to the repository and back. So a push also takes the segments that wait after it, and
//! leaves a note for each, so that the call that asks for it ends at once.
//!
//! A note says that this very file is stored under that name. It counts only while the file is the one that was
//! read, and while the repository has an object of that name, which is asked each time: nothing is believed
//! that was true earlier.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::base::clock::Cancel;
use crate::base::id::hex;
use crate::ops::Error;
use crate::ops::wal::name_of;
use crate::ops::wal::push::{Pushed, push};
use crate::ops::wal::record;
use crate::postgres::wal::WalName;
use crate::repo::{Unlocked, wal};
use crate::storage::Backend;

/// Bytes of segments that are on their way at once: each takes some three times its length in memory.
const AT_ONCE: u64 = 48 << 20;
/// Segments that are on their way at once, however small.
const AT_ONCE_MAX: u64 = 3;
/// The folder beside the files in which the server says which of them wait.
const STATUS: &str = "archive_status";
/// Ends the names of what waits.
const READY: &str = ".ready";

/// What a batch came to.
pub struct Batch {
    /// The file that was asked for.
    pub asked: Result<Pushed, Error>,
    /// Why a ledger that was due was not written.
    pub ledger: Option<Error>,
}

/// Pushes the file at `path`, and up to `more` of the segments that wait after it. What becomes of those is
/// told by notes alone: the server asks for each again.
pub fn push_batch(
    repo: &Unlocked,
    path: &Path,
    system: Option<u64>,
    more: usize,
    notes: Option<&Notes>,
    cancel: &Cancel,
) -> Batch {
    let waiting = match notes {
        Some(notes) => {
            let all = waiting(path);
            notes.sweep(&all);
            let first = path.file_name().unwrap_or_default();
            let after = all.into_iter().filter(|other| other.file_name().unwrap_or_default() > first);
            after.take(more).collect()
        }
        None => Vec::new(),
    };
    let threads = (AT_ONCE / fs::metadata(path).map_or(1, |meta| meta.len().max(1))).clamp(1, AT_ONCE_MAX);
    let queue = Mutex::new(waiting.into_iter());
    let pushed = Mutex::new(Vec::new());
    let work = || {
        let next = || queue.lock().ok().and_then(|mut queue| queue.next());
        while let Some(path) = next().filter(|_| !cancel.is_cancelled()) {
            let file = Identity::of(&path);
            let Ok(done) = push(repo, &path, system) else { continue };
            if let (Some(notes), Some(file)) = (notes, file) {
                notes.leave(repo, &done, &path, file);
            }
            if let Ok(mut pushed) = pushed.lock() {
                pushed.push(done);
            }
        }
    };
    let asked = std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        let asked = push(repo, path, system);
        work();
        asked
    });
    let all = pushed.into_inner().unwrap_or_default();
    let due = all
        .iter()
        .chain(asked.as_ref().ok())
        .filter_map(|pushed| Some((pushed.system, record::due(pushed)?)));
    let mut ledger = None;
    for (system, (timeline, size, numbers)) in due {
        // A segment is durable with a ledger or without it.
        if let Err(error) = record::record(repo, system, timeline, size, numbers) {
            ledger = Some(error);
        }
    }
    Batch { asked, ledger }
}

/// The segments that wait beside `path`, in order, if it is one itself.
fn waiting(path: &Path) -> Vec<PathBuf> {
    let Ok(WalName::Segment(_)) = name_of(path) else { return Vec::new() };
    let folder = path.parent().unwrap_or(Path::new(""));
    let entries = fs::read_dir(folder.join(STATUS)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(READY)?.to_owned()));
    let segments = names.filter(|name| matches!(WalName::parse(name), Some(WalName::Segment(_))));
    let mut names: Vec<String> = segments.collect();
    names.sort_unstable();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// What tells one state of one file from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity([i128; 7]);

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Identity([
            meta.dev().into(),
            meta.ino().into(),
            meta.len().into(),
            meta.mtime().into(),
            meta.mtime_nsec().into(),
            meta.ctime().into(),
            meta.ctime_nsec().into(),
        ]))
    }

    fn text(self) -> String {
        self.0.map(|number| number.to_string()).join(" ")
    }
}

/// Notes on segments that were pushed before they were asked for, in a private folder of this machine.
#[derive(Clone, Debug)]
pub struct Notes {
    folder: PathBuf,
}

impl Notes {
    /// Notes below `cache_dir` on segments in the folder of `path` and the repository at `location`.
    pub fn new(cache_dir: &Path, location: &str, path: &Path) -> Option<Self> {
        let folder = fs::canonicalize(path.parent().filter(|folder| !folder.as_os_str().is_empty())?).ok()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(location.as_bytes()).update(&[0]).update(folder.as_os_str().as_encoded_bytes());
        Some(Notes { folder: cache_dir.join("wal-pushed").join(hex(&hasher.finalize().as_bytes()[..8])) })
    }

    fn file(&self, path: &Path) -> Option<PathBuf> {
        Some(self.folder.join(path.file_name()?))
    }

    /// Whether the file at `path` was pushed and is in the repository. Its note is used up.
    pub fn take(&self, backend: &dyn Backend, path: &Path) -> bool {
        let Some(note) = self.file(path) else { return false };
        let Ok(text) = fs::read_to_string(&note) else { return false };
        let _ = fs::remove_file(&note);
        let Some((object, identity)) = text.trim_end().split_once('\n') else { return false };
        let is_same = Identity::of(path).is_some_and(|now| now.text() == identity);
        is_same && matches!(backend.stat(object), Ok(Some(_)))
    }

    /// Leaves a note on a file that was `before` when it began to be read. That it cannot be left costs
    /// time only.
    fn leave(&self, repo: &Unlocked, pushed: &Pushed, path: &Path, before: Identity) {
        let Some(note) = self.file(path).filter(|_| Identity::of(path) == Some(before)) else { return };
        let object = wal::object_name(repo, pushed.system, &pushed.name.to_string());
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        let is_private = |meta: fs::Metadata| meta.is_dir() && meta.permissions().mode() & 0o077 == 0;
        if made.is_err() || !fs::symlink_metadata(&self.folder).is_ok_and(is_private) {
            return;
        }
        let Ok(mut file) = tempfile::NamedTempFile::new_in(&self.folder) else { return };
        if file.write_all(format!("{object}\n{}\n", before.text()).as_bytes()).is_ok() {
            let _: Result<File, _> = file.persist(note);
        }
    }

    /// Removes notes on files that do not wait any more.
    fn sweep(&self, waiting: &[PathBuf]) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if !waiting.iter().any(|path| path.file_name() == Some(&entry.file_name())) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
