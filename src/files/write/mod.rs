//! Writing a tree back: folders, files, links, special files and their metadata, below one open
//! folder, the [`Target`].
//!
//! # Why nothing is written outside
//!
//! The path of the target itself is resolved once, as the user meant it. Below it the kernel is
//! only ever given a descriptor of an open folder and one name: a single component that is not `.`
//! or `..` (`name`), never to be followed if it is a symbolic link (`O_NOFOLLOW`,
//! `AT_SYMLINK_NOFOLLOW`, or a call that does not follow by itself). So a step leads from a folder to
//! an entry of that folder, whatever a snapshot calls its entries and whatever somebody puts there
//! while we work. A folder that is swapped for a link after it was opened stays the folder that was
//! opened; one that is swapped before is not a folder, and is replaced or refused. Metadata go to
//! the open entry, not to a name. The one other path is `/proc/self/fd/N` (`handle`). Since no
//! call sees more than one name, the length of a path does not matter.
//!
//! # What an interruption leaves
//!
//! A file gets its final name when content and metadata are complete; until then it has a temporary
//! one, which the next run removes. Folders are private until their metadata come, which is after
//! their children; the target itself has a mark in it until then. Nothing is synced file by file: a restore can be run again and leaves alone what
//! it finds right, while a journal commit for every file would make it many times slower.
//! [`Target::sync`] at the end makes everything durable at once. After a power failure in between, a
//! file may have its name, size and times and lack content; the caller that was not told of success
//! must restore again, and compare the contents of what is there.
//!
//! Not here: which files are wanted and what they hold, threads, and what the user is told.
//! Everything may be used from several threads.

mod entry;
mod error;
mod file;
mod folder;
mod handle;
mod matches;
mod meta;
mod name;
mod remove;
mod users;
mod xattrs;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use crate::base::limits;

pub use entry::Made;
pub use error::{Error, ErrorKind, Problem, What};
pub use file::NewFile;
pub use folder::{Entries, Entry, Folder};
pub use handle::Identity;
pub use matches::{Difference, Match};
pub use meta::is_sealed;
pub use name::{is_leftover, is_temporary};

/// How a target treats what it finds and what it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Owners by number, even where their names exist here.
    pub numeric_ids: bool,
    /// Whether something of another type, or another content, may be replaced.
    pub replace: bool,
}

/// What all folders of a target share.
#[derive(Debug)]
struct Shared {
    options: Options,
    users: users::Users,
    temporaries: name::Temporaries,
    /// Who we are to the file system.
    user: u32,
    /// A folder on each file system that was met, to sync them.
    disks: Mutex<HashMap<u64, OwnedFd>>,
}

impl Shared {
    /// Remembers the file system of a folder.
    fn met(&self, device: u64, folder: BorrowedFd<'_>) -> std::io::Result<()> {
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        if let std::collections::hash_map::Entry::Vacant(free) = disks.entry(device) {
            free.insert(folder.try_clone_to_owned()?);
        }
        Ok(())
    }
}

/// A folder, held open, below which everything is written.
#[derive(Debug)]
pub struct Target {
    shared: Arc<Shared>,
    root: Folder,
}

impl Target {
    /// The folder at `path`, made with its parents if it is not there.
    pub fn open(path: &Path, options: Options) -> Result<Self, Error> {
        let error = |reason| Error::system("create", path.to_owned(), reason);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(error)?;
        let error = |reason: Errno| Error::system("open", path.to_owned(), reason.into());
        let fd = rustix::fs::open(path, folder::ROOT_FLAGS, Mode::empty()).map_err(error)?;
        raise_open_files();
        let shared = Self::shared(options);
        let root = Folder::root(&shared, path, fd, true)?;
        Ok(Target { shared, root })
    }

    /// The folder at `path` if there is one, to look at only: nothing is changed by opening it.
    pub fn existing(path: &Path, options: Options) -> Result<Option<Self>, Error> {
        let fd = match rustix::fs::open(path, folder::ROOT_FLAGS, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::system("open", path.to_owned(), errno.into())),
        };
        raise_open_files();
        let shared = Self::shared(options);
        let root = Folder::root(&shared, path, fd, false)?;
        Ok(Some(Target { shared, root }))
    }

    fn shared(options: Options) -> Arc<Shared> {
        Arc::new(Shared {
            options,
            users: users::Users::new(options.numeric_ids),
            temporaries: name::Temporaries::default(),
            user: rustix::process::geteuid().as_raw(),
            disks: Mutex::default(),
        })
    }

    /// Whether a run that began to give it the metadata of a snapshot's folder never came to that.
    pub fn is_unfinished(&self) -> bool {
        let stat = rustix::fs::statat(self.root.fd(), name::UNFINISHED, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }

    /// Marks it as unfinished, until its root folder gets metadata.
    pub fn mark(&self) -> Result<(), Error> {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let made = rustix::fs::openat(self.root.fd(), name::UNFINISHED, flags, mode);
        made.map(drop).map_err(self.root.failed("create", name::UNFINISHED))
    }

    /// The folder itself.
    pub fn root(&self) -> &Folder {
        &self.root
    }

    /// The folder at `path` below the target, names parted by slashes, if there is one: for what is
    /// done later, when the folders on the way are no longer held. Nothing is made or changed.
    pub fn find(&self, path: &[u8]) -> Result<Option<Folder>, Error> {
        let mut folder = self.root.clone();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match folder.existing(name)? {
                Some(child) => folder = child,
                None => return Ok(None),
            }
        }
        Ok(Some(folder))
    }

    /// Makes everything that was written durable, on every file system that was met. Failed writes
    /// that nobody has seen yet come to light here.
    pub fn sync(&self) -> Result<(), Error> {
        let disks = self.shared.disks.lock().unwrap_or_else(PoisonError::into_inner);
        for folder in disks.values() {
            rustix::fs::syncfs(folder).map_err(self.root.failed("sync", b""))?;
        }
        Ok(())
    }
}

/// A deep tree takes an open folder for every level, and many systems allow a thousand by default.
/// Where more is not to be had, trees of that depth fail with the system's error.
pub fn raise_open_files() {
    let wanted = 2 * limits::TREE_DEPTH_MAX as u64;
    let now = rustix::process::getrlimit(Resource::Nofile);
    let wanted = now.maximum.map_or(wanted, |most| most.min(wanted));
    if now.current.is_some_and(|current| current < wanted) {
        let _ = rustix::process::setrlimit(
            Resource::Nofile,
            Rlimit { current: Some(wanted), maximum: now.maximum },
        );
    }
}
