//! What a node keeps of an entry: everything that the system tells of it but its content. What cannot
//! be read is left out and said; that is no reason to lose the rest.
//!
//! The group of a hard link is left to whoever sees the whole tree.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use nix::unistd::{Gid, Group, Uid, User};

use super::error::Error;
use super::folder::Folder;
use super::source::Source;
use super::stat::Stat;
use super::xattrs::{self, Of};
use crate::base::limits;
use crate::format::node::{FileMeta, NodeType};

/// Flags that a user sets: `chattr` knows them, or the kernel passes them on to what is made below.
/// The others say how a file system stores a file and would differ from one to the next:
/// in order SECRM UNRM COMPR SYNC, IMMUTABLE APPEND NODUMP NOATIME, NOCOMP, JOURNAL NOTAIL, DIRSYNC
/// TOPDIR, NOCOW, DAX, PROJINHERIT CASEFOLD.
const SETTABLE_FLAGS: u32 = 0xf | 0xf0 | 0x400 | 0xc000 | 0x3_0000 | 0x80_0000 | 0x200_0000 | 0x6000_0000;

/// An entry's metadata.
#[derive(Debug)]
pub struct Described {
    /// All that could be read.
    pub meta: FileMeta,
    /// What could not.
    pub problems: Vec<Error>,
}

/// Describes entries, and remembers the names of users and groups. Threads can share one.
#[derive(Debug, Default)]
pub struct Describer {
    atime: bool,
    users: RwLock<HashMap<u32, Option<String>>>,
    groups: RwLock<HashMap<u32, Option<String>>>,
}

impl Describer {
    /// One that keeps times of access only when asked to: they would make every folder new every day.
    pub fn new(with_atime: bool) -> Self {
        Describer { atime: with_atime, ..Describer::default() }
    }

    /// The open folder, of which `stat` was said.
    pub fn folder(&self, folder: &Folder, stat: &Stat) -> Described {
        self.open(folder.as_fd(), stat, || folder.path())
    }

    /// The open file, as it was when it was opened.
    pub fn file(&self, source: &Source) -> Described {
        self.open(source.as_fd(), source.stat(), || source.path())
    }

    /// The entry `name`, of which `stat` was said, without opening it: a link, a device, a FIFO, a
    /// socket, or what may not be opened, which then lacks its inode flags. A link whose target
    /// cannot be read is an error: without it there is nothing to keep.
    pub fn entry(&self, folder: &Folder, name: &[u8], stat: &Stat) -> Result<Described, Error> {
        let mut meta = self.meta(stat);
        if stat.kind == NodeType::Symlink {
            meta.link_target = Some(folder.read_link(name)?);
        }
        // Through the folder's descriptor no path is too long and none is replaced.
        let mut path = format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        Ok(with_xattrs(meta, Of::Path(&path), || folder.path_of(name)))
    }

    fn open(&self, fd: BorrowedFd<'_>, stat: &Stat, path: impl Fn() -> PathBuf) -> Described {
        let meta = FileMeta { inode_flags: inode_flags(fd), ..self.meta(stat) };
        with_xattrs(meta, Of::Open(fd), path)
    }

    fn meta(&self, stat: &Stat) -> FileMeta {
        let device = matches!(stat.kind, NodeType::CharDevice | NodeType::BlockDevice);
        FileMeta {
            mode: Some(stat.mode),
            uid: Some(stat.uid),
            gid: Some(stat.gid),
            user: cached(&self.users, stat.uid, user_name),
            group: cached(&self.groups, stat.gid, group_name),
            mtime: Some(stat.mtime),
            atime: self.atime.then_some(stat.atime),
            btime: stat.btime,
            device: device.then_some(stat.rdev),
            ..FileMeta::default()
        }
    }
}

fn with_xattrs(mut meta: FileMeta, of: Of<'_>, path: impl Fn() -> PathBuf) -> Described {
    let (xattrs, missing) = xattrs::read(of, limits::NODE_XATTRS_MAX);
    meta.xattrs = xattrs;
    let problems = missing.into_iter().map(|(action, source)| Error::new(action, path(), source)).collect();
    Described { meta, problems }
}

/// Nothing if none is set, or if the file system has no flags.
fn inode_flags(fd: BorrowedFd<'_>) -> Option<u64> {
    let flags = rustix::fs::ioctl_getflags(fd).ok()?.bits() & SETTABLE_FLAGS;
    (flags != 0).then_some(flags.into())
}

/// Asking the system for a name can mean asking a server, so each number is asked about once.
fn cached(
    known: &RwLock<HashMap<u32, Option<String>>>,
    id: u32,
    ask: impl FnOnce(u32) -> Option<String>,
) -> Option<String> {
    if let Some(name) = known.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
        return name.clone();
    }
    // Names that are no text come with replacement characters, and would be somebody else's.
    let name = ask(id).filter(|name| {
        !name.is_empty() && name.len() <= limits::NAME_MAX && !name.contains(char::REPLACEMENT_CHARACTER)
    });
    known.write().unwrap_or_else(PoisonError::into_inner).insert(id, name.clone());
    name
}

/// A number without a name is common, and the system has many errors for it.
fn user_name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

fn group_name(gid: u32) -> Option<String> {
    Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
