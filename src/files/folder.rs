//! An open folder, and what is asked of its entries by their names.
//!
//! Invariant: an entry is reached by one name, relative to the folder's own descriptor, and never
//! through a link. A folder that is replaced by a link meanwhile is an error, not a way out, and a
//! FIFO or device in the place of a file is not waited for.
//!
//! A `Folder` holds one descriptor open; how many are open at once is up to whoever walks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::error::{Error, ErrorKind};
use super::place::Place;
use super::source::Source;
use super::stat::Stat;
use crate::format::node::NodeType;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Not blocking, lest a FIFO that took a file's place hangs us.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
/// A step of a path too long for one call: nothing is read in it.
const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Longest path that a call takes, with the zero at its end.
const PATH_MAX: usize = 4096;

/// What becomes of a link that is the last name of the path of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LastLink {
    /// It is followed.
    Follow,
    /// It is refused as being no folder. One with a slash behind it is followed, as everywhere.
    #[default]
    Refuse,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    place: Place,
}

impl Folder {
    /// The folder at `path`, which the user named: links on the way there are followed.
    pub fn open(path: &Path, last: LastLink) -> Result<Self, Error> {
        let flags = match last {
            LastLink::Follow => FOLDER,
            LastLink::Refuse => FOLDER | OFlags::NOFOLLOW,
        };
        match open_path(path.as_os_str().as_bytes(), flags) {
            Ok(fd) => Ok(Folder { fd, place: Place::source(path) }),
            Err(errno) => Err(Error::new("open", path.to_owned(), errno)),
        }
    }

    /// The folder at `path`, above a source: links are followed, and no right to list it is needed. It
    /// may so be one in which entries can be reached and nothing be asked of the folder but its stat.
    pub fn open_above(path: &Path) -> Result<Self, Error> {
        match Folder::open(path, LastLink::Follow) {
            Err(error) if error.kind == ErrorKind::Denied => {}
            opened => return opened,
        }
        match open_path(path.as_os_str().as_bytes(), STEP) {
            Ok(fd) => Ok(Folder { fd, place: Place::source(path) }),
            Err(errno) => Err(Error::new("open", path.to_owned(), errno)),
        }
    }

    /// The folder `name` in this one. Anything but a folder is an error, a link to one as well.
    pub fn folder(&self, name: &[u8]) -> Result<Self, Error> {
        let opened =
            check(name).and_then(|()| open_quietly(self.fd.as_fd(), name, FOLDER | OFlags::NOFOLLOW));
        let fd = opened.map_err(|errno| self.error("open", name, errno))?;
        Ok(Folder { fd, place: self.place.child(name) })
    }

    /// What one `statx` says of the entry `name`; of a link, and not of what it points to.
    pub fn stat(&self, name: &[u8]) -> Result<Stat, Error> {
        let stat = check(name).and_then(|()| Stat::at(&self.fd, name));
        stat.map_err(|errno| self.error("stat", name, errno))
    }

    /// What one `statx` says of this folder.
    pub fn stat_self(&self) -> Result<Stat, Error> {
        Stat::of(&self.fd).map_err(|errno| Error::new("stat", self.path(), errno))
    }

    /// What the link `name` points to.
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>, Error> {
        const ACTION: &str = "read the link";
        match check(name).map(|()| rustix::fs::readlinkat(&self.fd, name, Vec::new())) {
            Ok(Ok(target)) => Ok(target.into_bytes()),
            Ok(Err(Errno::INVAL)) => Err(Error::other_type(ACTION, self.path_of(name), "link")),
            Ok(Err(errno)) | Err(errno) => Err(self.error(ACTION, name, errno)),
        }
    }

    /// Opens the regular file `name` for reading. Anything else is an error, and is not waited for.
    pub fn open_file(&self, name: &[u8]) -> Result<Source, Error> {
        open_file(self.fd.as_fd(), name, || self.place.child(name))
    }

    /// The path that the user gave, and the names below it. For messages: it may be too long for a call.
    pub fn path(&self) -> PathBuf {
        self.place.path()
    }

    /// The same of the entry `name`.
    pub fn path_of(&self, name: &[u8]) -> PathBuf {
        self.place.child(name).path()
    }

    /// The path from the source, for patterns; empty for the source itself.
    pub fn below(&self) -> PathBuf {
        self.place.below()
    }

    /// Levels below the source.
    pub fn depth(&self) -> usize {
        self.place.depth()
    }

    fn error(&self, action: &'static str, name: &[u8], errno: Errno) -> Error {
        Error::new(action, self.path_of(name), errno)
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens the regular file `name` of the open folder `at`, which lies at `place`, for reading.
pub(super) fn open_file(at: BorrowedFd<'_>, name: &[u8], place: impl Fn() -> Place) -> Result<Source, Error> {
    const ACTION: &str = "open";
    let opened = check(name).and_then(|()| {
        let fd = open_quietly(at, name, FILE)?;
        let stat = Stat::of(&fd)?;
        Ok((fd, stat))
    });
    match opened {
        Ok((fd, stat)) if stat.kind == NodeType::File => Ok(Source::new(fd, stat, place())),
        Ok(_) => Err(Error::other_type(ACTION, place().path(), "regular file")),
        Err(errno) => Err(Error::new(ACTION, place().path(), errno)),
    }
}

/// Refuses what is not the name of an entry and would lead elsewhere.
fn check(name: &[u8]) -> Result<(), Errno> {
    match name {
        b"" | b"." | b".." => Err(Errno::INVAL),
        name if name.iter().any(|byte| matches!(byte, 0 | b'/')) => Err(Errno::INVAL),
        _ => Ok(()),
    }
}

/// Opens without leaving a time of access behind, where the system lets us: only owners may ask.
fn open_quietly(at: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let open = |flags| rustix::io::retry_on_intr(|| rustix::fs::openat(at, name, flags, Mode::empty()));
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        result => result,
    }
}

/// Opens a path of any length, in steps when it is too long for one call.
fn open_path(path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let (mut rest, mut at) = (path, None::<OwnedFd>);
    while rest.len() >= PATH_MAX {
        let slash = memchr::memrchr(b'/', &rest[..PATH_MAX - 1]).ok_or(Errno::NAMETOOLONG)?;
        let (step, after) = rest.split_at(slash + 1);
        let from = at.as_ref().map_or(CWD, |fd| fd.as_fd());
        at = Some(rustix::fs::openat(from, step, STEP, Mode::empty())?);
        // A second slash would start again from the top.
        let blank = after.iter().take_while(|byte| **byte == b'/').count();
        rest = if blank == after.len() { b"." } else { &after[blank..] };
    }
    open_quietly(at.as_ref().map_or(CWD, |fd| fd.as_fd()), rest, flags)
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
