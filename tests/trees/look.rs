//! An independent look at a tree: its own walk by descriptors, so that no path is too long for it, and
//! every field as the kernel tells it; and the comparison of two looks.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, SeekFrom, StatxFlags};
use rustix::io::Errno;

/// Everything below a folder and the folder itself, as the empty path.
pub type Look = BTreeMap<Vec<u8>, Seen>;

/// What there is to see of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub kind: FileType,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// Of everything but folders.
    pub size: u64,
    pub mtime: (i64, u32),
    pub ctime: (i64, u32),
    pub inode: u64,
    pub names: u32,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub device: (u32, u32),
    pub target: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub content: Option<blake3::Hash>,
    /// Where the holes of a file begin, and how long they are.
    pub holes: Vec<(u64, u64)>,
}

/// The names in a folder, in order.
pub fn names(folder: impl AsFd) -> Vec<Vec<u8>> {
    let entries = rustix::fs::Dir::read_from(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().to_bytes().to_vec()).collect();
    names.retain(|name| name != b"." && name != b"..");
    names.sort();
    names
}

/// A path to an entry of an open folder that every call takes, however deep the folder lies.
pub fn within(folder: &OwnedFd, name: &[u8]) -> PathBuf {
    Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())).join(OsStr::from_bytes(name))
}

pub fn open_folder(at: impl AsFd, name: &[u8]) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, OsStr::from_bytes(name), flags, Mode::empty()).unwrap()
}

/// Looks at everything.
pub fn look(top: &Path) -> Look {
    let mut found = Look::new();
    let folder = open_folder(CWD, top.as_os_str().as_bytes());
    found.insert(Vec::new(), see(&folder, b"."));
    look_below(&folder, b"", &mut found);
    found
}

fn look_below(folder: &OwnedFd, above: &[u8], found: &mut Look) {
    for name in names(folder) {
        let path = if above.is_empty() { name.clone() } else { [above, b"/", &name].concat() };
        let seen = see(folder, &name);
        if seen.kind == FileType::Directory {
            look_below(&open_folder(folder, &name), &path, found);
        }
        found.insert(path, seen);
    }
}

fn see(folder: &OwnedFd, name: &[u8]) -> Seen {
    let all = StatxFlags::BASIC_STATS;
    let stat = rustix::fs::statx(folder, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW, all).unwrap();
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    let mut seen = Seen {
        kind,
        mode: stat.stx_mode & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        size: if kind == FileType::Directory { 0 } else { stat.stx_size },
        mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        inode: stat.stx_ino,
        names: if kind == FileType::Directory { 1 } else { stat.stx_nlink },
        blocks: stat.stx_blocks,
        device: (stat.stx_rdev_major, stat.stx_rdev_minor),
        target: Vec::new(),
        xattrs: xattrs(&within(folder, name)),
        content: None,
        holes: Vec::new(),
    };
    if kind == FileType::Symlink {
        seen.target = rustix::fs::readlinkat(folder, OsStr::from_bytes(name), []).unwrap().into_bytes();
    }
    if kind == FileType::RegularFile {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, OsStr::from_bytes(name), flags, Mode::empty()).unwrap();
        seen.content = Some(content(&file));
        seen.holes = holes(&file, stat.stx_size);
    }
    seen
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 65_536];
    let len = match rustix::fs::llistxattr(path, list.as_mut_slice()) {
        Err(Errno::NOTSUP) => 0,
        len => len.unwrap(),
    };
    let mut found = BTreeMap::new();
    for name in list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice()).unwrap();
        value.truncate(len);
        found.insert(name.to_vec(), value);
    }
    found
}

fn content(file: &OwnedFd) -> blake3::Hash {
    let (mut hasher, mut at, mut bytes) = (blake3::Hasher::new(), 0, vec![0; 1 << 20]);
    loop {
        let len = rustix::io::pread(file, bytes.as_mut_slice(), at).unwrap();
        if len == 0 {
            return hasher.finalize();
        }
        hasher.update(&bytes[..len]);
        at += len as u64;
    }
}

fn holes(file: &OwnedFd, size: u64) -> Vec<(u64, u64)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < size {
        let hole = rustix::fs::seek(file, SeekFrom::Hole(at)).unwrap();
        if hole >= size {
            break;
        }
        at = match rustix::fs::seek(file, SeekFrom::Data(hole)) {
            Err(Errno::NXIO) => size,
            data => data.unwrap(),
        };
        found.push((hole, at - hole));
    }
    found
}

/// All names of each entry that has more than one.
fn groups(look: &Look) -> Vec<Vec<&Vec<u8>>> {
    let mut groups: BTreeMap<u64, Vec<&Vec<u8>>> = BTreeMap::new();
    for (path, seen) in look.iter().filter(|(_, seen)| seen.names > 1) {
        groups.entry(seen.inode).or_default().push(path);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort();
    groups
}

/// What differs, a line each; of two trees of which one was made from the other.
pub fn differences(should: &Look, is: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    let mut tell = |path: &[u8], what: String| {
        let end = path.len().saturating_sub(80);
        lines.push(format!("{}: {what}", path[end..].escape_ascii()));
    };
    for (path, was) in should {
        match is.get(path) {
            None => tell(path, "missing".into()),
            Some(now) => fields(was, now).into_iter().for_each(|what| tell(path, what)),
        }
    }
    for path in is.keys().filter(|path| !should.contains_key(*path)) {
        tell(path, "too much".into());
    }
    let (were, are) = (groups(should), groups(is));
    for group in were.iter().filter(|group| !are.contains(group)) {
        tell(group[0], format!("no longer one entry with {} names", group.len()));
    }
    for group in are.iter().filter(|group| !were.contains(group)) {
        tell(group[0], format!("now one entry with {} names", group.len()));
    }
    lines
}

fn fields(was: &Seen, now: &Seen) -> Vec<String> {
    let mut differ = Vec::new();
    let mut field = |name: &str, same: bool, values: String| {
        if !same {
            differ.push(format!("{name}: {values}"));
        }
    };
    macro_rules! same {
        ($($name:ident),*) => {
            $(field(stringify!($name), was.$name == now.$name, format!("{:?}, {:?}", was.$name, now.$name));)*
        };
    }
    same!(kind, mode, uid, gid, size, mtime, names, device, target, xattrs, content, holes);
    // Where the blocks lie is up to the file system; how a file is written may cost it a little.
    field("blocks", now.blocks <= was.blocks + 64, format!("{}, {}", was.blocks, now.blocks));
    differ
}

/// Demands that two trees are the same but for the folders that hold them.
#[track_caller]
pub fn assert_same(should: &Look, is: &Look) {
    let (mut should, mut is) = (should.clone(), is.clone());
    should.remove(&b""[..]);
    is.remove(&b""[..]);
    let lines = differences(&should, &is);
    assert!(lines.is_empty(), "{} of {} differ:\n{}", lines.len(), should.len(), lines.join("\n"));
}
