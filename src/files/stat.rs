//! What one `statx` says of an entry. It is enough to tell that nothing changed (D-6), so that an
//! unchanged file costs this one call.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

use crate::base::clock::Timestamp;
use crate::format::node::NodeType;

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME).union(StatxFlags::MNT_ID);
/// Looking must not mount anything.
const LOOK: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::NO_AUTOMOUNT);

/// What the system knows of an entry without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is; `Other` for a type that Linux did not have when this was written.
    pub kind: NodeType,
    /// Permission bits with setuid, setgid and sticky: 12 bits.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Bytes of content; of a link, of its target.
    pub size: u64,
    /// Units of 512 bytes that the content takes on disk.
    pub blocks: u64,
    /// When the content changed, as far as anybody says: it can be set.
    pub mtime: Timestamp,
    /// When content or metadata changed: it cannot be set.
    pub ctime: Timestamp,
    /// When it was read.
    pub atime: Timestamp,
    /// When it was made, if the file system knows.
    pub btime: Option<Timestamp>,
    /// Its number in its file system.
    pub inode: u64,
    /// The file system's device number.
    pub device: u64,
    /// The mount it was reached through, if the kernel tells.
    pub mount: Option<u64>,
    /// Its number of names.
    pub links: u32,
    /// A device's own number, coded as in [`device_number`].
    pub rdev: u64,
}

impl Stat {
    /// The entry `name` of `folder`; a link itself and not what it points to.
    pub(super) fn at(folder: impl AsFd, name: &[u8]) -> Result<Self, Errno> {
        Ok(Stat::from(&rustix::fs::statx(folder, name, LOOK, WANTED)?))
    }

    /// What `fd` is open on.
    pub(super) fn of(fd: impl AsFd) -> Result<Self, Errno> {
        Ok(Stat::from(&rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, WANTED)?))
    }

    /// Whether this folder lies in the same file system as `source`. When not, it is a mount point,
    /// or a subvolume: with one file system wanted, the folder is kept and nothing in it. As with tar
    /// and rsync the device decides, so what is bound from another place of the same file system
    /// counts as part of it, and entries other than folders are not asked.
    pub fn same_file_system(&self, source: &Stat) -> bool {
        self.device == source.device
    }

    /// Whether less is stored than the size says, so that asking for holes is worth it.
    pub fn may_have_holes(&self) -> bool {
        self.blocks.saturating_mul(512) < self.size
    }
}

/// A device's number in one word, as Linux codes it for programs: from the lowest bit up, 8 bits of
/// the minor number, 12 of the major, the other 24 of the minor, the other 20 of the major.
pub fn device_number(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}

impl From<&Statx> for Stat {
    fn from(stat: &Statx) -> Self {
        let known = StatxFlags::from_bits_retain(stat.stx_mask);
        Stat {
            kind: kind(stat.stx_mode),
            mode: u32::from(stat.stx_mode & 0o7777),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            mtime: timestamp(&stat.stx_mtime),
            ctime: timestamp(&stat.stx_ctime),
            atime: timestamp(&stat.stx_atime),
            btime: known.contains(StatxFlags::BTIME).then(|| timestamp(&stat.stx_btime)),
            inode: stat.stx_ino,
            device: device_number(stat.stx_dev_major, stat.stx_dev_minor),
            mount: known.contains(StatxFlags::MNT_ID).then_some(stat.stx_mnt_id),
            links: stat.stx_nlink,
            rdev: device_number(stat.stx_rdev_major, stat.stx_rdev_minor),
        }
    }
}

fn kind(mode: u16) -> NodeType {
    match FileType::from_raw_mode(mode.into()) {
        FileType::Directory => NodeType::Directory,
        FileType::RegularFile => NodeType::File,
        FileType::Symlink => NodeType::Symlink,
        FileType::Fifo => NodeType::Fifo,
        FileType::Socket => NodeType::Socket,
        FileType::CharacterDevice => NodeType::CharDevice,
        FileType::BlockDevice => NodeType::BlockDevice,
        FileType::Unknown => NodeType::Other(0),
    }
}

fn timestamp(time: &StatxTimestamp) -> Timestamp {
    nanoseconds(time.tv_sec, time.tv_nsec)
}

/// Exact from 1677 to 2262; beyond, the nearest instant that a snapshot can hold.
fn nanoseconds(seconds: i64, nanos: u32) -> Timestamp {
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Timestamp(nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::files::testing::{Tree, set_mtime};

    #[test]
    fn instants_are_exact_or_the_nearest() {
        assert_eq!(nanoseconds(0, 1), Timestamp(1));
        assert_eq!(nanoseconds(-1, 999_999_999), Timestamp(-1));
        assert_eq!(nanoseconds(9_223_372_036, 854_775_807), Timestamp(i64::MAX));
        assert_eq!(nanoseconds(9_223_372_036, 854_775_808), Timestamp(i64::MAX));
        assert_eq!(nanoseconds(i64::MAX, 999_999_999), Timestamp(i64::MAX));
        assert_eq!(nanoseconds(i64::MIN, 0), Timestamp(i64::MIN));
    }

    #[test]
    fn times_before_1970_and_after_2038_are_exact() {
        let tree = Tree::new();
        tree.file("f", b"");
        for nanos in [-1, -1_500_000_001, -2_000_000_000_000_000_007, 4_102_444_800_000_000_003, 0] {
            set_mtime(&tree.at("f"), Timestamp(nanos));
            assert_eq!(tree.folder().stat(b"f").unwrap().mtime, Timestamp(nanos));
        }
    }

    #[test]
    fn everything_is_as_the_standard_library_says() {
        let tree = Tree::new();
        tree.file("file", &[1; 10_000]);
        tree.link("link", "file");
        tree.link("dangling", "nowhere/at/all");
        std::fs::create_dir(tree.at("folder")).unwrap();
        std::fs::hard_link(tree.at("file"), tree.at("other name")).unwrap();
        tree.fifo("fifo");
        tree.socket("socket");
        let kinds = [
            ("file", NodeType::File),
            ("link", NodeType::Symlink),
            ("dangling", NodeType::Symlink),
            ("folder", NodeType::Directory),
            ("other name", NodeType::File),
            ("fifo", NodeType::Fifo),
            ("socket", NodeType::Socket),
        ];
        let folder = tree.folder();
        for (name, kind) in kinds {
            let (stat, meta) =
                (folder.stat(name.as_bytes()).unwrap(), std::fs::symlink_metadata(tree.at(name)).unwrap());
            assert_eq!(stat.kind, kind, "{name}");
            assert_eq!(stat.mode, meta.mode() & 0o7777);
            assert_eq!((stat.uid, stat.gid), (meta.uid(), meta.gid()));
            assert_eq!((stat.size, stat.blocks), (meta.size(), meta.blocks()));
            assert_eq!(stat.mtime, nanoseconds(meta.mtime(), meta.mtime_nsec() as u32));
            assert_eq!(stat.ctime, nanoseconds(meta.ctime(), meta.ctime_nsec() as u32));
            assert_eq!(stat.atime, nanoseconds(meta.atime(), meta.atime_nsec() as u32));
            assert_eq!((stat.inode, stat.device, stat.rdev), (meta.ino(), meta.dev(), meta.rdev()));
            assert_eq!(u64::from(stat.links), meta.nlink());
        }
    }

    #[test]
    fn devices_and_mounts_are_told_apart() {
        let dev = crate::files::folder::Folder::open("/dev".as_ref(), Default::default()).unwrap();
        let null = dev.stat(b"null").unwrap();
        assert_eq!((null.kind, null.rdev), (NodeType::CharDevice, device_number(1, 3)));
        let (major, minor) = (0xabcd_ef12_u32, 0x3456_789a_u32);
        let (high, low) = (u64::from(major), u64::from(minor));
        let coded = (low & 0xff) | (high & 0xfff) << 8 | (low >> 8) << 20 | (high >> 12) << 44;
        assert_eq!(device_number(major, minor), coded);
        let root = crate::files::folder::Folder::open("/".as_ref(), Default::default()).unwrap();
        let (root, proc) = (root.stat_self().unwrap(), root.stat(b"proc").unwrap());
        assert!(root.same_file_system(&root) && !proc.same_file_system(&root));
        assert!(root.mount.is_some() && root.mount != proc.mount);
    }
}
