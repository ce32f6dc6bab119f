//! Makes trees with every kind of entry and name: the same for the same seed.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::look::{names, open_folder, within};

/// Numbers that are the same in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }

    /// Half of it text, half of it noise.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let noise = self.roll(2) == 0;
        (0..len).map(|_| if noise { self.roll(256) as u8 } else { b'a' + self.roll(4) as u8 }).collect()
    }

    /// A name of any bytes.
    fn name(&mut self) -> Vec<u8> {
        let len = 6 + self.roll(30) as usize;
        (0..len)
            .map(|_| self.roll(255) as u8 + 1)
            .map(|byte| if byte == b'/' { b'_' } else { byte })
            .collect()
    }
}

/// Who the tree belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Whoever runs the tests. Root's has what root alone may restore.
    Runner,
    /// Nobody, whom only root can be.
    Nobody,
}

/// The number of the user and the group that may do nothing.
pub const NOBODY: u32 = 65_534;

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Sets an extended attribute; `false` if the file system knows none of this kind.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) -> bool {
    match rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()) {
        Err(Errno::NOTSUP) => false,
        set => {
            set.unwrap();
            true
        }
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// An access list that gives one more user and one more group rights, as the kernel keeps it.
fn access_list(user: u32) -> Vec<u8> {
    let mut out = 2_u32.to_le_bytes().to_vec();
    let none = u32::MAX;
    for (tag, rights, id) in
        [(1_u16, 7_u16, none), (2, 4, user), (4, 4, none), (8, 6, user + 1), (16, 6, none), (32, 0, none)]
    {
        out.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        out.extend(id.to_le_bytes());
    }
    out
}

/// A file capability: to bind low ports.
fn capability() -> Vec<u8> {
    [0x0200_0001_u32, 1 << 10, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Makes the tree `top`.
pub fn make(top: &Path, seed: u64, owner: Owner) {
    let mut dice = Dice(seed);
    fs::create_dir(top).unwrap();
    contents(top, &mut dice);
    links(top);
    odd_names(top, &mut dice);
    deep(top);
    bulk(top, &mut dice);
    if owner == Owner::Nobody {
        let nobody = Some(rustix::fs::Uid::from_raw(NOBODY));
        each(top, &mut |path, _| {
            let mode = path.symlink_metadata().unwrap().mode();
            let group = nobody.map(|uid| rustix::fs::Gid::from_raw(uid.as_raw()));
            rustix::fs::chownat(CWD, path, nobody, group, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            if FileType::from_raw_mode(mode) != FileType::Symlink {
                set_mode(path, mode & 0o7777);
            }
        });
    } else if is_root() {
        of_root(top);
    }
    rights(top);
    each(top, &mut |path, dice: &mut Dice| stamp(path, dice));
}

/// Does something to everything in a tree, to what is in a folder before the folder.
fn each(top: &Path, work: &mut dyn FnMut(&Path, &mut Dice)) {
    let folder = open_folder(CWD, top.as_os_str().as_bytes());
    let mut dice = Dice(4711);
    each_below(&folder, &mut dice, work);
    work(top, &mut dice);
}

fn each_below(folder: &OwnedFd, dice: &mut Dice, work: &mut dyn FnMut(&Path, &mut Dice)) {
    for name in names(folder) {
        let path = within(folder, &name);
        if path.symlink_metadata().unwrap().is_dir() {
            each_below(&open_folder(folder, &name), dice, work);
        }
        work(&path, dice);
    }
}

/// Some time between 1910 and 2100, with nanoseconds.
fn stamp(path: &Path, dice: &mut Dice) {
    let seconds = dice.roll(6_000_000_000) as i64 - 1_890_000_000;
    set_mtime(path, seconds, dice.roll(1_000_000_000) as i64);
}

pub fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn contents(top: &Path, dice: &mut Dice) {
    fs::write(top.join("empty"), "").unwrap();
    for (name, len) in [("one", 1), ("page", 4096), ("edited", 5000), ("cut", 70_000), ("longer", 9000)] {
        fs::write(top.join(name), dice.bytes(len)).unwrap();
    }
    for name in ["gone", "moved", "private", "noted", "linked anew", "to a link", "to a folder"] {
        fs::write(top.join(name), dice.bytes(2000)).unwrap();
    }
    fs::write(top.join("large"), dice.bytes(3_000_000)).unwrap();
    const MIB: u64 = 1 << 20;
    let data = dice.bytes(65_536);
    let sparse = |name: &str, size: u64, at: &[u64]| {
        let file = fs::File::create(top.join(name)).unwrap();
        file.set_len(size).unwrap();
        at.iter().for_each(|at| file.write_all_at(&data, *at).unwrap());
    };
    sparse("hole at the start", 2 * MIB + 65_536, &[2 * MIB]);
    sparse("hole in the middle", 3 * MIB, &[0, 3 * MIB - 65_536]);
    sparse("hole at the end", 5 * MIB + 17, &[0]);
    sparse("holes", 40 * MIB, &[MIB, 3 * MIB, 20 * MIB]);
    sparse("nothing but a hole", 64 * MIB, &[]);
    fs::write(top.join("zeros"), vec![0; MIB as usize]).unwrap();
}

fn node(path: &Path, kind: FileType, mode: u32, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(mode), device).unwrap();
    set_mode(path, mode);
}

fn links(top: &Path) {
    symlink("no/where", top.join("dangling")).unwrap();
    symlink(OsStr::from_bytes(&[b'x'; 4095]), top.join("long link")).unwrap();
    symlink(OsStr::from_bytes(b"to \xff\n"), top.join("odd link")).unwrap();
    symlink("/etc", top.join("link to a folder")).unwrap();
    node(&top.join("fifo"), FileType::Fifo, 0o622, 0);
    node(&top.join("socket"), FileType::Socket, 0o755, 0);
    fs::create_dir(top.join("names")).unwrap();
    for name in ["page", "dangling", "fifo", "socket", "holes"] {
        fs::hard_link(top.join(name), top.join("names").join(name)).unwrap();
        fs::hard_link(top.join(name), top.join("names").join(format!("{name} again"))).unwrap();
    }
}

fn odd_names(top: &Path, dice: &mut Dice) {
    let folder = top.join("odd names");
    fs::create_dir(&folder).unwrap();
    let all: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let longest = "ä".repeat(127) + "x";
    let fixed: [&[u8]; 9] =
        [b"-rf", b"new\nline", b"\xff\xfe", b"\xc3", b" ", b"...", b"\\", &all[..], longest.as_bytes()];
    for name in fixed {
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    for _ in 0..20 {
        let name = dice.name();
        fs::write(folder.join(OsStr::from_bytes(&name)), &name).unwrap();
    }
}

/// Folders one in the other, deeper than a path can say, with a file in the last.
fn deep(top: &Path) {
    let mut folder = open_folder(CWD, top.as_os_str().as_bytes());
    for level in 0..25 {
        let name = format!("{level:0>200}").into_bytes();
        fs::create_dir(within(&folder, &name)).unwrap();
        folder = open_folder(&folder, &name);
    }
    fs::write(within(&folder, b"at the end"), "of the world").unwrap();
    symlink("at the end", within(&folder, b"a link")).unwrap();
}

fn bulk(top: &Path, dice: &mut Dice) {
    fs::create_dir_all(top.join("empty folder/and another")).unwrap();
    for folder in ["flips", "read only", "place", "below/it/all"] {
        fs::create_dir_all(top.join(folder)).unwrap();
        fs::write(top.join(folder).join("file"), folder).unwrap();
    }
    for n in 0..8 {
        let folder = top.join(format!("bulk {n}"));
        fs::create_dir(&folder).unwrap();
        for _ in 0..25 {
            let path = folder.join(OsStr::from_bytes(&dice.name()));
            let len = 1 << dice.roll(15);
            fs::write(&path, dice.bytes(len)).unwrap();
            set_mode(&path, 0o400 | dice.roll(0o1000) as u32);
        }
    }
}

/// What only root may make.
fn of_root(top: &Path) {
    node(&top.join("null"), FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3));
    node(&top.join("disk"), FileType::BlockDevice, 0o660, rustix::fs::makedev(259, 70_000));
    fs::hard_link(top.join("null"), top.join("names/null")).unwrap();
    fs::write(top.join("capable"), "capable").unwrap();
    set_mode(&top.join("capable"), 0o755);
    set_xattr(&top.join("capable"), "security.capability", &capability());
    for (n, name) in ["one", "empty folder", "odd link", "socket"].iter().enumerate() {
        let (uid, gid) =
            (rustix::fs::Uid::from_raw(12_345), rustix::fs::Gid::from_raw(4_000_000_000 + n as u32));
        rustix::fs::chownat(CWD, top.join(name), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    set_xattr(&top.join("dangling"), "trusted.note", b"on a link");
}

/// Modes, attributes and access lists.
fn rights(top: &Path) {
    for (name, mode) in
        [("one", 0o4711), ("large", 0o2755), ("zeros", 0o1644), ("place", 0o3777), ("longer", 0)]
    {
        // Nobody but root could read it.
        let mode = if mode == 0 { 0o600 } else { mode };
        set_mode(&top.join(name), mode);
    }
    set_xattr(&top.join("noted"), "user.note", b"first");
    set_xattr(&top.join("noted"), "user.empty", b"");
    set_xattr(&top.join("place"), "user.é", &[0, 255, 10]);
    set_xattr(&top.join("large"), "user.long", &[7; 2000]);
    set_xattr(&top.join("page"), "system.posix_acl_access", &access_list(1000));
    set_xattr(&top.join("below"), "system.posix_acl_access", &access_list(2000));
    set_xattr(&top.join("below/it"), "system.posix_acl_default", &access_list(3000));
    set_mode(&top.join("read only"), 0o555);
}
