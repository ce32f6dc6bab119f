//! zip as it can be written to a pipe: what is known only after the data stands behind them, and everything once
//! more in a directory at the end. With zip64, nothing is too large or too much.
//!
//! Data are deflated in blocks that deflate calls stored: as fast as a copy, and unlike data without compression
//! they say where they end, so that a reader of a pipe finds what follows.
//!
//! Sources: PKWARE's APPNOTE 6.3.10; RFC 1951; Info-ZIP's `extrafld.txt` for times and owners.

mod blocks;
mod crc;
mod extra;

use crate::base::clock::Timestamp;

pub use blocks::Blocks;
pub use crc::Crc;

/// Longest name of an entry in bytes.
pub const NAME_MAX: usize = u16::MAX as usize;

/// A number of 32 bits that stands elsewhere, in 64.
const ELSEWHERE: u32 = u32::MAX;
/// A number of entries that does.
const MANY: u64 = u16::MAX as u64;

/// Names are UTF-8.
const FLAG_UTF8: u16 = 1 << 11;
/// Sum and sizes follow the data.
const FLAG_FOLLOWS: u16 = 1 << 3;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Version of the specification that a reader must know, and the one with zip64.
const VERSION: u16 = 20;
const VERSION_64: u16 = 45;
/// Made on Unix: modes are such.
const MADE_BY: u16 = 3 << 8 | VERSION_64;
/// What a folder is called in the attributes of DOS.
const DOS_FOLDER: u32 = 0x10;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder, whose name gets a slash at its end.
    Directory,
    /// A file.
    File,
    /// A symbolic link, whose data are what it points to.
    Symlink,
}

impl Kind {
    /// Its bits of a mode, as Unix has them.
    fn bits(self) -> u32 {
        match self {
            Kind::Directory => 0o040_000,
            Kind::File => 0o100_000,
            Kind::Symlink => 0o120_000,
        }
    }
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name with folders before it, at most [`NAME_MAX`] bytes.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Bytes of its data.
    pub size: u64,
    /// Permission bits, with those for setuid, setgid and sticky.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// When it changed.
    pub mtime: Timestamp,
}

impl Entry {
    /// Bytes that its data take.
    pub fn packed(&self) -> u64 {
        if self.is_deflated() { Blocks::packed(self.size) } else { self.size }
    }

    /// Whether its data are deflated and their sum follows them: of files that have any.
    pub fn is_deflated(&self) -> bool {
        self.kind == Kind::File && self.size > 0
    }

    fn is_large(&self) -> bool {
        self.packed() >= ELSEWHERE.into()
    }

    /// Appends what stands before its data, whose sum `crc` is if they are not deflated.
    pub fn local(&self, crc: u32, out: &mut Vec<u8>) {
        let follows = self.is_deflated();
        let sizes = match (follows, self.is_large()) {
            (false, _) => [crc, self.size as u32, self.size as u32],
            (true, false) => [0; 3],
            (true, true) => [0, ELSEWHERE, ELSEWHERE],
        };
        let mut extra = Vec::new();
        if self.is_large() {
            // Empty, it says that the sizes behind the data have 64 bits.
            extra::sizes(&[0, 0], &mut extra);
        }
        extra::times_and_owner(self, &mut extra);
        put32(0x0403_4b50, out);
        self.common(sizes, &extra, out);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&extra);
    }

    /// Appends what follows data that are deflated.
    pub fn follow(&self, crc: u32, out: &mut Vec<u8>) {
        put32(0x0807_4b50, out);
        put32(crc, out);
        for size in [self.packed(), self.size] {
            match self.is_large() {
                true => put64(size, out),
                false => put32(size as u32, out),
            }
        }
    }

    /// Appends its entry of the directory; its header is at `offset`.
    pub fn listed(&self, crc: u32, offset: u64, out: &mut Vec<u8>) {
        let mut elsewhere = Vec::new();
        let mut short = |number: u64| {
            u32::try_from(number).ok().filter(|short| *short != ELSEWHERE).unwrap_or_else(|| {
                elsewhere.push(number);
                ELSEWHERE
            })
        };
        // In the order in which they stand elsewhere.
        let (size, packed, offset) = (short(self.size), short(self.packed()), short(offset));
        let mut extra = Vec::new();
        if !elsewhere.is_empty() {
            extra::sizes(&elsewhere, &mut extra);
        }
        extra::times_and_owner(self, &mut extra);
        put32(0x0201_4b50, out);
        put16(MADE_BY, out);
        self.common([crc, packed, size], &extra, out);
        // No comment, first disk, no attributes of the data.
        [0; 3].into_iter().for_each(|zero| put16(zero, out));
        let folder = if self.kind == Kind::Directory { DOS_FOLDER } else { 0 };
        put32((self.kind.bits() | self.mode) << 16 | folder, out);
        put32(offset, out);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&extra);
    }

    fn common(&self, sizes: [u32; 3], extra: &[u8], out: &mut Vec<u8>) {
        let (method, follows) = if self.is_deflated() { (DEFLATED, FLAG_FOLLOWS) } else { (STORED, 0) };
        let (date, time) = extra::dos_time(self.mtime);
        let version = if self.is_large() { VERSION_64 } else { VERSION };
        for number in [version, FLAG_UTF8 | follows, method, time, date] {
            put16(number, out);
        }
        sizes.into_iter().for_each(|size| put32(size, out));
        put16(self.name.len() as u16, out);
        put16(extra.len() as u16, out);
    }
}

/// Appends the end of an archive with so many `entries`, whose directory reaches from `start` to `end`.
pub fn finish(entries: u64, start: u64, end: u64, out: &mut Vec<u8>) {
    let len = end - start;
    if entries >= MANY || start >= ELSEWHERE.into() || len >= ELSEWHERE.into() {
        put32(0x0606_4b50, out);
        put64(44, out);
        put16(MADE_BY, out);
        put16(VERSION_64, out);
        put32(0, out);
        put32(0, out);
        for number in [entries, entries, len, start] {
            put64(number, out);
        }
        put32(0x0706_4b50, out);
        put32(0, out);
        put64(end, out);
        put32(1, out);
    }
    let short = |number: u64| u32::try_from(number).unwrap_or(ELSEWHERE);
    put32(0x0605_4b50, out);
    for number in [0, 0, entries.min(MANY) as u16, entries.min(MANY) as u16] {
        put16(number, out);
    }
    put32(short(len), out);
    put32(short(start), out);
    put16(0, out);
}

fn put16(number: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put32(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put64(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests;
