//! One entry held open, so that everything done to it is done to that one and to none that takes its
//! name meanwhile. Files and folders that we opened for writing are used by their descriptor. What
//! must not be opened (fifos, devices, symbolic links, files we may not read) is held by an `O_PATH`
//! descriptor; where the system takes no such descriptor, it is named as `/proc/self/fd/N`, which
//! leads to the held entry itself and to nothing else, even if that is a symbolic link.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, IFlags, Mode, OFlags, Stat, Timestamps, XattrFlags};
use rustix::io::{Errno, Result};
use rustix::process::{Gid, Uid};

use crate::format::node::NodeType;

/// Room that most lists of attributes and most values fit in.
const ATTRIBUTE_ROOM: usize = 512;
/// The longest list, and the longest value, that Linux knows.
const ATTRIBUTE_MAX: usize = 64 << 10;

/// Which inode an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The device of its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        Identity { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// What kind of node an entry would be.
pub(super) fn kind_of(stat: &Stat) -> NodeType {
    kind_of_type(FileType::from_raw_mode(stat.st_mode)).unwrap_or(NodeType::Other(0))
}

/// What kind of node something of that type would be, if the type is known.
pub(super) fn kind_of_type(of: FileType) -> Option<NodeType> {
    match of {
        FileType::Directory => Some(NodeType::Directory),
        FileType::RegularFile => Some(NodeType::File),
        FileType::Symlink => Some(NodeType::Symlink),
        FileType::Fifo => Some(NodeType::Fifo),
        FileType::Socket => Some(NodeType::Socket),
        FileType::CharacterDevice => Some(NodeType::CharDevice),
        FileType::BlockDevice => Some(NodeType::BlockDevice),
        FileType::Unknown => None,
    }
}

/// A held entry.
#[derive(Debug)]
pub(super) struct Handle<'a> {
    fd: BorrowedFd<'a>,
    /// Its name below `/proc`, if the descriptor is an `O_PATH` one.
    path: Option<String>,
}

/// Opens `name` in `folder` without opening what it is, and without following it.
pub(super) fn hold(folder: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

impl<'a> Handle<'a> {
    /// An entry opened for reading or writing.
    pub(super) fn open(fd: BorrowedFd<'a>) -> Self {
        Handle { fd, path: None }
    }

    /// An entry that [`hold`] holds.
    pub(super) fn held(fd: &'a OwnedFd) -> Self {
        Handle { fd: fd.as_fd(), path: Some(format!("/proc/self/fd/{}", fd.as_raw_fd())) }
    }

    pub(super) fn stat(&self) -> Result<Stat> {
        rustix::fs::fstat(self.fd)
    }

    pub(super) fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self.path {
            None => rustix::fs::fchown(self.fd, uid, gid),
            Some(_) => rustix::fs::chownat(self.fd, "", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    pub(super) fn chmod(&self, mode: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match &self.path {
            None => rustix::fs::fchmod(self.fd, mode),
            Some(path) => rustix::fs::chmod(path, mode),
        }
    }

    pub(super) fn set_times(&self, times: &Timestamps) -> Result<()> {
        let Some(path) = &self.path else { return rustix::fs::futimens(self.fd, times) };
        match rustix::fs::utimensat(self.fd, "", times, AtFlags::EMPTY_PATH) {
            // Linux before 5.8.
            Err(Errno::INVAL | Errno::NOENT) => rustix::fs::utimensat(CWD, path, times, AtFlags::empty()),
            done => done,
        }
    }

    /// The names of its extended attributes, each ended by a zero.
    pub(super) fn xattrs(&self) -> Result<Vec<u8>> {
        sized(|room| match &self.path {
            None => rustix::fs::flistxattr(self.fd, room),
            Some(path) => rustix::fs::listxattr(path, room),
        })
    }

    pub(super) fn xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        sized(|room| match &self.path {
            None => rustix::fs::fgetxattr(self.fd, name, room),
            Some(path) => rustix::fs::getxattr(path, name, room),
        })
    }

    pub(super) fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<()> {
        match &self.path {
            None => rustix::fs::fsetxattr(self.fd, name, value, XattrFlags::empty()),
            Some(path) => rustix::fs::setxattr(path, name, value, XattrFlags::empty()),
        }
    }

    pub(super) fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        match &self.path {
            None => rustix::fs::fremovexattr(self.fd, name),
            Some(path) => rustix::fs::removexattr(path, name),
        }
    }

    pub(super) fn flags(&self) -> Result<IFlags> {
        match self.reopened()? {
            None => rustix::fs::ioctl_getflags(self.fd),
            Some(fd) => rustix::fs::ioctl_getflags(fd),
        }
    }

    pub(super) fn set_flags(&self, flags: IFlags) -> Result<()> {
        match self.reopened()? {
            None => rustix::fs::ioctl_setflags(self.fd, flags),
            Some(fd) => rustix::fs::ioctl_setflags(fd, flags),
        }
    }

    /// A real descriptor of a file or folder that is only held. Nothing else is ever opened: a
    /// device may do something when it is.
    fn reopened(&self) -> Result<Option<OwnedFd>> {
        let Some(path) = &self.path else { return Ok(None) };
        if !matches!(kind_of(&self.stat()?), NodeType::File | NodeType::Directory) {
            return Err(Errno::OPNOTSUPP);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(Some)
    }
}

/// What `read` gives, whose length is not known before.
fn sized(read: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut room = vec![0; ATTRIBUTE_ROOM];
    loop {
        match read(&mut room) {
            Ok(len) => {
                room.truncate(len);
                return Ok(room);
            }
            Err(Errno::RANGE) if room.len() < ATTRIBUTE_MAX => room = vec![0; ATTRIBUTE_MAX],
            Err(errno) => return Err(errno),
        }
    }
}
