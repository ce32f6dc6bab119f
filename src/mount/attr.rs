//! What `stat` says of things in the mount.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo};

use crate::base::clock::Timestamp;
use crate::format::list::ListEntry;
use crate::format::node::{FileMeta, Node};
use crate::mount::tree::{Stored, Thing};
use crate::vfs::EntryKind;

/// Bytes that programs are told to read at a time.
const BLOCK: u32 = 128 << 10;
/// Mode of folders that no file system gave one.
const FOLDER_MODE: u16 = 0o555;
/// Mode of files that no file system gave one.
const FILE_MODE: u16 = 0o444;

/// Whom things belong to that no file system gave an owner, and when they are from if nothing says so.
#[derive(Clone, Copy, Debug)]
pub struct Fallback {
    /// The user that mounted.
    pub uid: u32,
    /// Their group.
    pub gid: u32,
    /// When it was mounted.
    pub time: Timestamp,
}

/// The attributes of `thing`, whose inode has this number.
pub fn attr(number: u64, thing: &Thing, fallback: &Fallback) -> FileAttr {
    match thing {
        Thing::Spot(_) => plain(number, FileType::Directory, FOLDER_MODE, 0, fallback.time, fallback),
        Thing::Link(target) => {
            plain(number, FileType::Symlink, 0o777, target.len() as u64, fallback.time, fallback)
        }
        Thing::Stored(stored) => of_stored(number, stored, fallback),
    }
}

fn of_stored(number: u64, stored: &Stored, fallback: &Fallback) -> FileAttr {
    let item = &stored.item;
    let kind = file_type(item.kind());
    let mode = if kind == FileType::Directory { FOLDER_MODE } else { FILE_MODE };
    let time = stored.known.time();
    let none = FileMeta::default();
    let meta = item.meta().unwrap_or(&none);
    let size = match item.kind() {
        EntryKind::Symlink => target(stored).map_or(0, |target| target.len() as u64),
        EntryKind::File | EntryKind::Other => item.size().unwrap_or(0),
        _ => 0,
    };
    let mut attr = plain(number, kind, mode, size, time, fallback);
    // A node may lack any of it: a database has none, and what could not be read is absent.
    attr.perm = meta.mode.map_or(attr.perm, |mode| (mode & 0o7777) as u16);
    attr.uid = meta.uid.unwrap_or(attr.uid);
    attr.gid = meta.gid.unwrap_or(attr.gid);
    attr.mtime = meta.mtime.map_or(attr.mtime, system_time);
    attr.atime = meta.atime.map_or(attr.mtime, system_time);
    attr.ctime = meta.ctime.map_or(attr.mtime, system_time);
    attr.crtime = meta.btime.map_or(attr.mtime, system_time);
    // As the kernel codes a device's number in 32 bits, which is what the low half of ours is.
    attr.rdev = meta.device.unwrap_or(0) as u32;
    // That there are more names is known, how many is not.
    attr.nlink = if meta.link_group.is_some() { 2 } else { 1 };
    attr.blocks = item.node().map_or(size, |node| size.saturating_sub(holes(node))).div_ceil(512);
    attr
}

/// Where a symbolic link points.
pub fn target(stored: &Stored) -> Option<&[u8]> {
    stored.item.meta()?.link_target.as_deref()
}

/// Bytes of holes, as far as a node says itself.
fn holes(node: &Node) -> u64 {
    let hole = |entry: &ListEntry| match entry {
        ListEntry::Hole { len } => *len,
        ListEntry::Zeros { .. } | ListEntry::Chunk { .. } | ListEntry::List { .. } => 0,
    };
    node.content.iter().map(hole).fold(0, u64::saturating_add)
}

fn plain(
    number: u64,
    kind: FileType,
    perm: u16,
    size: u64,
    time: Timestamp,
    fallback: &Fallback,
) -> FileAttr {
    let time = system_time(time);
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm,
        // Of folders, 1 says that their subfolders were not counted.
        nlink: 1,
        uid: fallback.uid,
        gid: fallback.gid,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// What the kernel calls a kind of entry. What only a later version knows is shown as a file without bytes.
pub fn file_type(kind: EntryKind) -> FileType {
    match kind {
        EntryKind::Directory => FileType::Directory,
        EntryKind::File | EntryKind::Other => FileType::RegularFile,
        EntryKind::Symlink => FileType::Symlink,
        EntryKind::Fifo => FileType::NamedPipe,
        EntryKind::Socket => FileType::Socket,
        EntryKind::CharDevice => FileType::CharDevice,
        EntryKind::BlockDevice => FileType::BlockDevice,
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let (nanos, since) = (Duration::from_nanos(time.0.unsigned_abs()), UNIX_EPOCH);
    let moved = if time.0 < 0 { since.checked_sub(nanos) } else { since.checked_add(nanos) };
    moved.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_times_too() {
        let after = system_time(Timestamp(1_500_000_000)).duration_since(UNIX_EPOCH);
        assert_eq!(after.ok(), Some(Duration::from_millis(1500)));
        let before = UNIX_EPOCH.duration_since(system_time(Timestamp(-1)));
        assert_eq!(before.ok(), Some(Duration::from_nanos(1)));
    }
}
