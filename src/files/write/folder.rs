//! Folders below a target: made or opened by their parent and one name, held by a descriptor, given
//! their metadata when everything in them is done.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, IFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::files::write::error::{Error, ErrorKind, Problem};
use crate::files::write::handle::{Handle, Identity, hold, kind_of, kind_of_type};
use crate::files::write::meta::{self, Before};
use crate::files::write::{Shared, name};
use crate::format::node::{FileMeta, NodeType};

/// How the target itself is opened: links on the way to it are what the user meant.
pub(super) const ROOT_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How every folder below it is opened.
pub(super) const FLAGS: OFlags = ROOT_FLAGS.union(OFlags::NOFOLLOW);
const PRIVATE: Mode = Mode::from_raw_mode(0o700);
/// What an owner needs to work in a folder.
const USABLE: u32 = 0o700;
/// Flags that a folder gives on to what is made in it.
const INHERITED: IFlags = IFlags::SYNC
    .union(IFlags::DIRSYNC)
    .union(IFlags::NODUMP)
    .union(IFlags::NOATIME)
    .union(IFlags::NOTAIL)
    .union(IFlags::APPEND);
/// How often an entry that changes under our hands is tried again.
pub(super) const TRIES: usize = 16;

/// An open folder below a target, or the target itself. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Held>);

#[derive(Debug)]
struct Held {
    shared: Arc<Shared>,
    parent: Option<Folder>,
    /// Its name in its parent; the path of the target in the root.
    name: Vec<u8>,
    fd: OwnedFd,
    identity: Identity,
    /// Whether this run made it.
    created: bool,
    /// Whether what is made in it gets attributes or flags from it.
    gives_on: bool,
    /// The mode it had, if it was made usable for the time being.
    mode: Option<u32>,
}

/// How a folder came to be opened.
struct Opened {
    fd: OwnedFd,
    created: bool,
    /// The mode it had before it could be opened.
    mode: Option<u32>,
    /// Whether it is going to be written to.
    work: bool,
}

impl Folder {
    pub(super) fn root(shared: &Arc<Shared>, path: &Path, fd: OwnedFd, work: bool) -> Result<Self, Error> {
        let opened = Opened { fd, created: false, mode: None, work };
        let fail = |reason| Error::system("open", path.to_owned(), reason);
        Self::adopt(shared, None, path.as_os_str().as_bytes(), opened).map_err(fail)
    }

    /// The folder `name` in this one, made if it is not there. Until [`Folder::finish`] a new one is
    /// private, and one that its owner could not write to is writable.
    pub fn folder(&self, name: &[u8]) -> Result<Folder, Error> {
        self.check("create", name)?;
        let fail = |errno: Errno| self.failed("create", name)(errno);
        let make = || match rustix::fs::mkdirat(self.fd(), name, PRIVATE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(fail(errno)),
        };
        // Nothing is there yet in a folder that was just made.
        let mut created = self.0.created && make()?;
        let mut mode = None;
        for _ in 0..TRIES {
            match rustix::fs::openat(self.fd(), name, FLAGS, Mode::empty()) {
                Ok(fd) => {
                    let opened = Opened { fd, created, mode, work: true };
                    let adopted = Self::adopt(&self.0.shared, Some(self), name, opened);
                    return adopted.map_err(|reason| Error::system("create", self.path_of(name), reason));
                }
                Err(Errno::NOENT) => created = make()?,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    self.may_replace("create", name)?;
                    self.remove(name)?;
                }
                Err(Errno::ACCESS) if mode.is_none() => {
                    mode = Some(open_up(self.fd(), name, self.0.shared.user).map_err(fail)?);
                }
                Err(errno) => return Err(fail(errno)),
            }
        }
        Err(self.changed("create", name))
    }

    /// The folder `name` in this one, if there is one. Nothing is made or changed.
    pub fn existing(&self, name: &[u8]) -> Result<Option<Folder>, Error> {
        self.check("open", name)?;
        match rustix::fs::openat(self.fd(), name, FLAGS, Mode::empty()) {
            Ok(fd) => {
                let opened = Opened { fd, created: false, mode: None, work: false };
                let adopted = Self::adopt(&self.0.shared, Some(self), name, opened);
                adopted.map(Some).map_err(|reason| Error::system("open", self.path_of(name), reason))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(self.failed("open", name)(errno)),
        }
    }

    fn adopt(
        shared: &Arc<Shared>,
        parent: Option<&Folder>,
        name: &[u8],
        opened: Opened,
    ) -> std::io::Result<Self> {
        let Opened { fd, created, mut mode, work } = opened;
        let stat = rustix::fs::fstat(&fd)?;
        // It is the one that we made only if it looks so: another may have taken its place.
        let created = created && stat.st_uid == shared.user && stat.st_mode & 0o077 == 0;
        shared.met(stat.st_dev, fd.as_fd())?;
        let blank = created && parent.is_some_and(|parent| !parent.0.gives_on);
        if work && !created {
            let usable = stat.st_mode & USABLE == USABLE;
            if shared.user != 0 && shared.user == stat.st_uid && !usable {
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(stat.st_mode & 0o7777 | USABLE))?;
                mode = mode.or(Some(stat.st_mode & 0o7777));
            }
            sweep(fd.as_fd())?;
        }
        Ok(Folder(Arc::new(Held {
            shared: Arc::clone(shared),
            parent: parent.cloned(),
            name: name.to_vec(),
            identity: Identity::of(&stat),
            created,
            gives_on: !blank && gives_on(fd.as_fd()),
            mode,
            fd,
        })))
    }

    /// Gives the folder its metadata, when everything in it is done. An existing folder that had to
    /// be made usable gets the mode of `meta`, or else the one it had.
    pub fn finish(&self, meta: &FileMeta) -> Vec<Problem> {
        let held = &self.0;
        let handle = Handle::open(self.fd());
        let blank = held.created && held.parent.as_ref().is_some_and(|parent| !parent.0.gives_on);
        let before = if blank { Before::Blank } else { Before::Attributes };
        let with_mode;
        let meta = match (meta.mode, held.mode) {
            (None, Some(mode)) => {
                with_mode = FileMeta { mode: Some(mode), ..meta.clone() };
                &with_mode
            }
            _ => meta,
        };
        let problems = meta::apply(&held.shared, &handle, NodeType::Directory, meta, before);
        // Only now, so that a run which ends before is known to have left its target unfinished. The
        // target's time has changed by that.
        if held.parent.is_none()
            && rustix::fs::unlinkat(self.fd(), name::UNFINISHED, AtFlags::empty()).is_ok()
        {
            return meta::apply(&held.shared, &handle, NodeType::Directory, meta, before);
        }
        problems
    }

    /// Every entry of the folder, in no order, but for files that are being written and a target's mark.
    pub fn entries(&self) -> Result<Entries, Error> {
        let dir = Dir::read_from(self.fd()).map_err(self.failed("read", b""))?;
        Ok(Entries { folder: self.clone(), dir })
    }

    /// Which folder it is.
    pub fn identity(&self) -> Identity {
        self.0.identity
    }

    /// Whether it was made, and not found.
    pub fn is_new(&self) -> bool {
        self.0.created
    }

    /// Its path, for messages.
    pub fn path(&self) -> PathBuf {
        self.path_of(b"")
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// What something that is made here has already.
    pub(super) fn before(&self) -> Before {
        if self.0.gives_on { Before::Attributes } else { Before::Blank }
    }

    /// The path of an entry, or with an empty name its own.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        let mut names = Vec::new();
        let mut at = Some(self);
        while let Some(folder) = at {
            names.push(folder.0.name.as_slice());
            at = folder.0.parent.as_ref();
        }
        // A name that is none, such as `/etc`, must show as it is and not replace the path.
        let mut path = names.iter().rev().copied().collect::<Vec<&[u8]>>().join(&b'/');
        if !name.is_empty() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        PathBuf::from(OsStr::from_bytes(&path))
    }

    /// Refuses what is not the name of an entry.
    pub(super) fn check(&self, action: &'static str, name: &[u8]) -> Result<(), Error> {
        if name::is_entry(name) {
            return Ok(());
        }
        let says = "an entry of a folder cannot have that name";
        Err(Error::own(ErrorKind::Name, action, self.path_of(name), says))
    }

    /// Refuses to touch what is there, unless that is allowed.
    pub(super) fn may_replace(&self, action: &'static str, name: &[u8]) -> Result<(), Error> {
        if self.shared().options.replace {
            return Ok(());
        }
        let says = "something else has that name";
        Err(Error::own(ErrorKind::Exists, action, self.path_of(name), says))
    }

    pub(super) fn changed(&self, action: &'static str, name: &[u8]) -> Error {
        let says = "somebody else changes it at the same time";
        Error::own(ErrorKind::Changed, action, self.path_of(name), says)
    }

    /// An error of the system about an entry.
    pub(super) fn failed(&self, action: &'static str, name: &[u8]) -> impl Fn(Errno) -> Error {
        move |errno| Error::system(action, self.path_of(name), errno.into())
    }
}

/// An entry as a folder lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeType,
}

/// What is left of a folder's entries.
#[derive(Debug)]
pub struct Entries {
    folder: Folder,
    dir: Dir,
}

impl Iterator for Entries {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.dir.read()? {
                Ok(entry) => entry,
                Err(errno) => return Some(Err(self.folder.failed("read", b"")(errno))),
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match kind_of_type(entry.file_type()) {
                Some(kind) => kind,
                // Not every file system says it in its listing.
                None => match rustix::fs::statat(self.folder.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => kind_of(&stat),
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Some(Err(self.folder.failed("read", name)(errno))),
                },
            };
            if kind == NodeType::File && name::is_leftover(name) {
                continue;
            }
            return Some(Ok(Entry { name: name.to_vec(), kind }));
        }
    }
}

/// Whether what is made in a folder gets attributes or flags from it.
fn gives_on(folder: BorrowedFd<'_>) -> bool {
    rustix::fs::fgetxattr_query(folder, "system.posix_acl_default").is_ok()
        || rustix::fs::ioctl_getflags(folder).is_ok_and(|flags| flags.intersects(INHERITED))
}

/// Makes a folder of our own that we cannot open usable. Returns the mode it had.
pub(super) fn open_up(parent: BorrowedFd<'_>, name: &[u8], user: u32) -> Result<u32, Errno> {
    let fd = hold(parent, name)?;
    let handle = Handle::held(&fd);
    let stat = handle.stat()?;
    if kind_of(&stat) != NodeType::Directory || stat.st_uid != user {
        return Err(Errno::ACCESS);
    }
    let mode = stat.st_mode & 0o7777;
    handle.chmod(mode | USABLE)?;
    Ok(mode)
}

/// Removes files that interrupted runs left in a folder. One that is being written right now is
/// locked, be it by us or by another run; one that cannot be opened is left alone.
fn sweep(folder: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut dir = Dir::read_from(folder)?;
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name::is_temporary(name) && matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown)
        {
            sweep_one(folder, name)?;
        }
    }
    Ok(())
}

fn sweep_one(folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::openat(folder, name, flags, Mode::empty()) else { return Ok(()) };
    let is_file = kind_of(&rustix::fs::fstat(&fd)?) == NodeType::File;
    if !is_file || rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        // Flags or rights that keep it: then it stays, and is in nobody's way.
        Ok(()) | Err(Errno::NOENT | Errno::PERM | Errno::ACCESS) => Ok(()),
        Err(errno) => Err(errno),
    }
}
