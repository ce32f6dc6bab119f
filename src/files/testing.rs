//! For the tests of this module: a tree to look at, and the eyes of a user without rights.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};
use rustix::thread::{Gid, Uid};

use super::folder::{Folder, LastLink};
use crate::base::clock::Timestamp;

/// A folder of its own, readable by all, removed in the end.
pub struct Tree(tempfile::TempDir);

impl Tree {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Tree(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of something in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn folder(&self) -> Folder {
        Folder::open(self.path(), LastLink::Refuse).unwrap()
    }

    /// A file that all may read.
    pub fn file(&self, name: &str, bytes: &[u8]) {
        fs::write(self.at(name), bytes).unwrap();
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(0o644)).unwrap();
    }

    pub fn link(&self, name: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.at(name)).unwrap();
    }

    pub fn fifo(&self, name: &str) {
        let mode = Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(CWD, self.at(name), FileType::Fifo, mode, 0).unwrap();
    }

    pub fn socket(&self, name: &str) {
        UnixListener::bind(self.at(name)).unwrap();
    }
}

/// Sets the time of change of what `path` names, a link itself; the time of access is left alone.
pub fn set_mtime(path: &Path, time: Timestamp) {
    let last_modification =
        Timespec { tv_sec: time.0.div_euclid(1_000_000_000), tv_nsec: time.0.rem_euclid(1_000_000_000) };
    let last_access = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let times = Timestamps { last_access, last_modification };
    rustix::fs::utimensat(CWD, path.as_os_str().as_bytes(), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs `look` without root's rights: in a thread that gives them up, for itself alone.
pub fn as_nobody(look: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            if is_root() {
                let (user, group) = (Some(Uid::from_raw(65534)), Some(Gid::from_raw(65534)));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            }
            look();
        });
        looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
