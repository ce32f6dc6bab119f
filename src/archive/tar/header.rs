//! The block that every entry has. Numbers and names that do not fit into it stand in the extended header
//! before it, and here is what comes nearest.

use super::{BLOCK, Entry, Kind};

/// Where a field lies.
type Field = std::ops::Range<usize>;

const NAME: Field = 0..100;
const MODE: Field = 100..108;
const UID: Field = 108..116;
const GID: Field = 116..124;
const SIZE: Field = 124..136;
const MTIME: Field = 136..148;
const CHECKSUM: Field = 148..156;
const TYPE: usize = 156;
const LINK: Field = 157..257;
const MAGIC: Field = 257..265;
const USER: Field = 265..297;
const GROUP: Field = 297..329;
const MAJOR: Field = 329..337;
const MINOR: Field = 337..345;

/// Largest number of a field of eight bytes, of which the last is a zero.
pub(super) const SHORT_MAX: u64 = 0o777_7777;
/// Largest number of a field of twelve bytes.
pub(super) const LONG_MAX: u64 = 0o777_7777_7777;
/// Longest path and longest target of a link: they need no zero at their end.
pub(super) const NAME_MAX: usize = 100;
/// Longest name of a user or group.
pub(super) const OWNER_MAX: usize = 31;

/// Appends the header of an entry.
pub(super) fn entry(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let mut block = [0; BLOCK as usize];
    match (entry.kind, entry.packed) {
        (Kind::Directory, _) => text(&mut block[NAME], &[entry.path, b"/"].concat()),
        // Who does not know of holes shall not take the map for the file.
        (_, Some(_)) => text(&mut block[NAME], &[b"GNUSparseFile.0/", last_part(entry.path)].concat()),
        _ => text(&mut block[NAME], entry.path),
    }
    text(&mut block[LINK], entry.link);
    text(&mut block[USER], &entry.user.unwrap_or_default().as_bytes()[..owner_len(entry.user)]);
    text(&mut block[GROUP], &entry.group.unwrap_or_default().as_bytes()[..owner_len(entry.group)]);
    octal(&mut block[MODE], entry.mode.into());
    octal(&mut block[UID], entry.uid.into());
    octal(&mut block[GID], entry.gid.into());
    octal(&mut block[SIZE], entry.stored());
    octal(&mut block[MTIME], u64::try_from(entry.mtime.0.div_euclid(1_000_000_000)).unwrap_or(0));
    let (kind, major, minor) = match entry.kind {
        Kind::File => (b'0', 0, 0),
        Kind::HardLink => (b'1', 0, 0),
        Kind::Symlink => (b'2', 0, 0),
        Kind::CharDevice(major, minor) => (b'3', major, minor),
        Kind::BlockDevice(major, minor) => (b'4', major, minor),
        Kind::Directory => (b'5', 0, 0),
        Kind::Fifo => (b'6', 0, 0),
    };
    octal(&mut block[MAJOR], major.into());
    octal(&mut block[MINOR], minor.into());
    finish(block, kind, out);
}

/// Appends the header of the extended header of an entry, which has `len` bytes.
pub(super) fn extended(entry: &Entry<'_>, len: u64, out: &mut Vec<u8>) {
    let mut block = [0; BLOCK as usize];
    text(&mut block[NAME], &[b"PaxHeaders/", last_part(entry.path)].concat());
    octal(&mut block[MODE], 0o644);
    octal(&mut block[SIZE], len);
    for field in [UID, GID, MTIME, MAJOR, MINOR] {
        octal(&mut block[field], 0);
    }
    finish(block, b'x', out);
}

fn finish(mut block: [u8; BLOCK as usize], kind: u8, out: &mut Vec<u8>) {
    block[TYPE] = kind;
    block[MAGIC].copy_from_slice(b"ustar\x0000");
    block[CHECKSUM].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    // Six digits, a zero and the blank that is there.
    octal(&mut block[CHECKSUM.start..CHECKSUM.end - 1], sum);
    out.extend_from_slice(&block);
}

/// How much of an owner's name the header takes.
fn owner_len(name: Option<&str>) -> usize {
    name.filter(|name| name.len() <= OWNER_MAX).map_or(0, str::len)
}

fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// As much of a text as there is room for, in ASCII.
fn text(field: &mut [u8], value: &[u8]) {
    for (to, from) in field.iter_mut().zip(value) {
        *to = if from.is_ascii() { *from } else { b'_' };
    }
}

/// A number; zero if it does not fit, as GNU tar does.
fn octal(field: &mut [u8], value: u64) {
    let Some((end, digits)) = field.split_last_mut() else { return };
    *end = 0;
    let fits = value >> (3 * digits.len()) == 0;
    let mut left = if fits { value } else { 0 };
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left & 7) as u8;
        left >>= 3;
    }
}
