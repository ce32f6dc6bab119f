//! Metadata put on an entry that is held open. What this user may not do is a problem, told in a
//! list, and never stops the rest.
//!
//! The order matters. The owner comes first, since changing it clears setuid and capabilities; then
//! attributes that have to go, lest an old ACL opens what the mode is about to open; then ordinary
//! attributes, which a file's owner can set only while it is writable; then the mode, the ACL, the
//! capabilities and the flags; the times last, since all of that may move them. Flags that forbid
//! changes come when the whole tree is there, by [`seal`].
//!
//! No file becomes setuid, setgid or capable for somebody else than the snapshot says: these are
//! given only when owner and group are right.

use rustix::fs::{IFlags, Stat, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::base::clock::Timestamp;
use crate::files::write::error::{Problem, What};
use crate::files::write::handle::Handle;
use crate::files::write::{Shared, xattrs};
use crate::format::node::{FileMeta, NodeType};

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const MODE: u32 = 0o7777;
const NANOS: i64 = 1_000_000_000;

/// Flags that change neither what a file holds nor who may change it. Not here: those that a file
/// system only takes for empty files (no copy on write, compression).
const SAFE: IFlags =
    IFlags::SYNC.union(IFlags::DIRSYNC).union(IFlags::NODUMP).union(IFlags::NOATIME).union(IFlags::NOTAIL);
/// Flags that forbid changes.
const SEALS: IFlags = IFlags::IMMUTABLE.union(IFlags::APPEND);

/// What an entry had before metadata are put on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// It was just made, in a folder that gives nothing on: there is nothing to remove.
    Blank,
    /// It may have attributes and flags of its own.
    Attributes,
}

/// Puts `meta` on an entry of type `kind`.
pub(super) fn apply(
    shared: &Shared,
    handle: &Handle<'_>,
    kind: NodeType,
    meta: &FileMeta,
    before: Before,
) -> Vec<Problem> {
    let stat = match handle.stat() {
        Ok(stat) => stat,
        Err(errno) => return vec![Problem::system(What::Mode, errno)],
    };
    let mut work =
        Work { handle, kind, meta, before, stat, user: false, group: false, moved: false, problems: vec![] };
    work.own(shared.users.uid(meta), shared.users.gid(meta));
    work.clear_attributes();
    work.set_attributes(xattrs::is_plain);
    work.mode();
    work.set_attributes(xattrs::is_acl);
    work.capabilities();
    work.flags();
    work.times();
    work.problems
}

/// Whether an entry has flags that forbid changes.
pub fn is_sealed(meta: &FileMeta) -> bool {
    wanted_flags(meta).intersects(SEALS)
}

/// Sets the flags that forbid changes.
pub(super) fn seal(handle: &Handle<'_>, meta: &FileMeta) -> Option<Problem> {
    let wanted = wanted_flags(meta) & SEALS;
    let set = handle.flags().and_then(|now| match now.contains(wanted) {
        true => Ok(()),
        false => handle.set_flags(now | wanted),
    });
    set.err().map(|errno| Problem::system(What::Flags, errno))
}

/// Metadata of an entry that differ from `meta`.
pub(super) fn differences(
    shared: &Shared,
    handle: &Handle<'_>,
    kind: NodeType,
    meta: &FileMeta,
    stat: &Stat,
) -> Vec<What> {
    let mut found = Vec::new();
    let mut note = |differs: bool, what: What| {
        if differs {
            found.push(what);
        }
    };
    note(shared.users.uid(meta).is_some_and(|uid| uid != stat.st_uid), What::Owner);
    note(shared.users.gid(meta).is_some_and(|gid| gid != stat.st_gid), What::Group);
    let mode = meta.mode.filter(|_| kind != NodeType::Symlink);
    note(mode.is_some_and(|mode| (mode ^ stat.st_mode) & MODE != 0), What::Mode);
    note(!times_match(meta, stat), What::Times);
    let mask = SAFE | SEALS;
    let flags = wanted_flags(meta) & mask;
    // Looked at only if some are wanted: it takes three calls, and hardly any file has them. Where
    // they cannot be read, they cannot be mended either.
    let lacking = !flags.is_empty() && handle.flags().is_ok_and(|now| now & mask != flags);
    note(lacking, What::Flags);
    found.extend(xattrs::differences(handle, meta));
    found
}

/// Whether an entry's times are those of `meta`, as far as it says any.
fn times_match(meta: &FileMeta, stat: &Stat) -> bool {
    meta.mtime.is_none_or(|time| is_mtime(stat, time))
        && meta.atime.is_none_or(|time| is_time(stat.st_atime, stat.st_atime_nsec.into(), time))
}

/// Whether an entry's content was changed at that time.
pub(super) fn is_mtime(stat: &Stat, time: Timestamp) -> bool {
    is_time(stat.st_mtime, stat.st_mtime_nsec.into(), time)
}

/// Whether anything about an entry was changed last at that time.
pub(super) fn is_ctime(stat: &Stat, time: Timestamp) -> bool {
    is_time(stat.st_ctime, stat.st_ctime_nsec.into(), time)
}

fn is_time(seconds: i64, nanos: i128, time: Timestamp) -> bool {
    i128::from(seconds) * i128::from(NANOS) + nanos == i128::from(time.0)
}

fn timespec(time: Option<Timestamp>) -> Timespec {
    match time {
        // Before 1970 the seconds go down and the nanoseconds still up.
        Some(Timestamp(nanos)) => {
            Timespec { tv_sec: nanos.div_euclid(NANOS), tv_nsec: nanos.rem_euclid(NANOS) }
        }
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    }
}

fn wanted_flags(meta: &FileMeta) -> IFlags {
    // The flags that we set all lie in the lower half.
    IFlags::from_bits_retain(meta.inode_flags.unwrap_or(0) as u32)
}

/// One entry on its way to its metadata.
struct Work<'a> {
    handle: &'a Handle<'a>,
    kind: NodeType,
    meta: &'a FileMeta,
    before: Before,
    /// The entry as it was found.
    stat: Stat,
    /// Whether the owner is the one that the snapshot says.
    user: bool,
    /// Whether the group is.
    group: bool,
    /// Whether the mode may no longer be that of `stat`.
    moved: bool,
    problems: Vec<Problem>,
}

impl Work<'_> {
    fn note(&mut self, what: What, result: rustix::io::Result<()>) {
        self.problems.extend(result.err().map(|errno| Problem::system(what, errno)));
    }

    fn own(&mut self, uid: Option<u32>, gid: Option<u32>) {
        let (now_uid, now_gid) = (self.stat.st_uid, self.stat.st_gid);
        (self.user, self.group) = (uid == Some(now_uid), gid == Some(now_gid));
        let (uid, gid) = (uid.filter(|uid| *uid != now_uid), gid.filter(|gid| *gid != now_gid));
        if uid.is_none() && gid.is_none() {
            return;
        }
        self.moved = true;
        if self.handle.chown(uid, gid).is_ok() {
            (self.user, self.group) = (self.user || uid.is_some(), self.group || gid.is_some());
            return;
        }
        // Perhaps one of the two is allowed: an owner may give a file to another of their groups.
        if uid.is_some() {
            let done = self.handle.chown(uid, None);
            self.user = done.is_ok();
            self.note(What::Owner, done);
        }
        if gid.is_some() {
            let done = self.handle.chown(None, gid);
            self.group = done.is_ok();
            self.note(What::Group, done);
        }
    }

    /// Removes attributes that the snapshot does not have, of those that are ours to remove.
    fn clear_attributes(&mut self) {
        if self.before == Before::Blank {
            return;
        }
        for name in xattrs::superfluous(self.handle, self.meta) {
            let done = self.writable(|handle| handle.remove_xattr(&name));
            self.note(xattrs::what(&name), done);
        }
    }

    fn set_attributes(&mut self, wanted: impl Fn(&[u8]) -> bool) {
        let meta = self.meta;
        for xattr in meta.xattrs.iter().filter(|xattr| wanted(&xattr.name)) {
            let there = self.before == Before::Attributes
                && self.handle.xattr(&xattr.name).is_ok_and(|value| value == xattr.value);
            if !there {
                let done = self.writable(|handle| handle.set_xattr(&xattr.name, &xattr.value));
                self.note(xattrs::what(&xattr.name), done);
            }
        }
    }

    /// Does it, with the file made writable by its owner for the time being if it takes that.
    fn writable(&mut self, act: impl Fn(&Handle<'_>) -> rustix::io::Result<()>) -> rustix::io::Result<()> {
        let writable = matches!(self.kind, NodeType::File | NodeType::Directory);
        match act(self.handle) {
            Err(Errno::ACCESS) if writable && self.stat.st_mode & 0o200 == 0 => {
                self.handle.chmod(self.stat.st_mode & 0o777 | 0o200)?;
                self.moved = true;
                act(self.handle)
            }
            done => done,
        }
    }

    fn mode(&mut self) {
        let now = self.stat.st_mode & MODE;
        if self.kind == NodeType::Symlink {
            return;
        }
        let wanted = match self.meta.mode {
            Some(mode) => mode & MODE,
            // Nothing is known: what was there stays, but for what a new owner must not have.
            None if self.moved => now & !(SETUID | SETGID),
            None => return,
        };
        let mut mode = wanted;
        if !self.user {
            mode &= !SETUID;
        }
        if !self.group {
            mode &= !SETGID;
        }
        if mode != wanted {
            self.problems.push(Problem::own(What::SetId, "it does not belong to whom it belonged"));
        }
        if self.moved || mode != now {
            let done = self.handle.chmod(mode);
            let ok = done.is_ok();
            self.note(What::Mode, done);
            // Setgid goes silently where the user is not in the group.
            let kept = |stat: Stat| stat.st_mode & (SETUID | SETGID) == mode & (SETUID | SETGID);
            if ok && mode & (SETUID | SETGID) != 0 && !self.handle.stat().is_ok_and(kept) {
                self.problems.push(Problem::own(What::SetId, "Operation not permitted"));
            }
        }
    }

    fn capabilities(&mut self) {
        if self.user && self.group {
            self.set_attributes(xattrs::is_capability);
        } else if self.meta.xattrs.iter().any(|xattr| xattrs::is_capability(&xattr.name)) {
            self.problems.push(Problem::own(What::Capability, "it does not belong to whom it belonged"));
        }
    }

    fn flags(&mut self) {
        let wanted = wanted_flags(self.meta) & SAFE;
        let known =
            self.meta.inode_flags.is_some() && matches!(self.kind, NodeType::File | NodeType::Directory);
        if !known || self.before == Before::Blank && wanted.is_empty() {
            return;
        }
        let done = match self.handle.flags() {
            Ok(now) if now & SAFE == wanted => Ok(()),
            Ok(now) => self.handle.set_flags((now - SAFE) | wanted),
            // A file system without flags: nothing is lost if none are wanted.
            Err(_) if wanted.is_empty() => Ok(()),
            Err(errno) => Err(errno),
        };
        self.note(What::Flags, done);
    }

    fn times(&mut self) {
        // Setting what is there already would only move the time of change, which tells the next
        // snapshot to read the file again. Attributes do not move the others.
        let fresh = self.before == Before::Blank;
        if self.meta.mtime.is_none() && self.meta.atime.is_none()
            || !fresh && times_match(self.meta, &self.stat)
        {
            return;
        }
        let times = Timestamps {
            last_access: timespec(self.meta.atime),
            last_modification: timespec(self.meta.mtime),
        };
        let done = self.handle.set_times(&times);
        self.note(What::Times, done);
    }
}
