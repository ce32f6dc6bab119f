//! tar as POSIX has it (pax interchange format): a header that every tar understands, before it an extended
//! header for all that does not fit into one, in the keywords of POSIX, GNU tar and star.
//!
//! Sources: POSIX.1-2017 "pax"; GNU tar's manual, "Sparse Formats"; star(5) for `SCHILY.*`.

mod acl;
mod header;
mod pax;
mod sparse;

use crate::base::clock::Timestamp;

pub use sparse::Map;

/// What a tar is made of, in bytes.
pub const BLOCK: u64 = 512;
/// Tars end at a multiple of this, as they did on tapes: some readers ask for so much at once.
const RECORD: u64 = 20 * BLOCK;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its data follow.
    File,
    /// A further name of what came before under the name that its link is.
    HardLink,
    /// Points to its link.
    Symlink,
    /// A device, major and minor number.
    CharDevice(u32, u32),
    /// Likewise.
    BlockDevice(u32, u32),
    /// A folder.
    Directory,
    /// A named pipe.
    Fifo,
}

/// An extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its name, with its namespace.
    pub name: &'a [u8],
    /// Its value as the system keeps it.
    pub value: &'a [u8],
}

/// An entry. All but its path, kind and times may be left as they are by default.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Its path from the top, any bytes without a slash at either end.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind,
    /// What a link points to, or the first name of a file with several.
    pub link: &'a [u8],
    /// Bytes of a file as it is read.
    pub size: u64,
    /// Bytes that follow the header, if the file has holes: its map and its data.
    pub packed: Option<u64>,
    /// Permission bits, with those for setuid, setgid and sticky.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The owner's name.
    pub user: Option<&'a str>,
    /// The group's name.
    pub group: Option<&'a str>,
    /// When the content changed.
    pub mtime: Timestamp,
    /// When it was read.
    pub atime: Option<Timestamp>,
    /// When it was made.
    pub btime: Option<Timestamp>,
    /// The file system's flags, as Linux counts them.
    pub flags: u64,
    /// Extended attributes.
    pub attributes: Vec<Attribute<'a>>,
}

impl<'a> Entry<'a> {
    /// An entry that belongs to root and that everybody may read.
    pub fn new(path: &'a [u8], kind: Kind, mtime: Timestamp) -> Self {
        Entry {
            path,
            kind,
            link: b"",
            size: 0,
            packed: None,
            mode: 0o644,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            mtime,
            atime: None,
            btime: None,
            flags: 0,
            attributes: Vec::new(),
        }
    }

    /// Bytes that follow its header, without the padding after them.
    pub fn stored(&self) -> u64 {
        match self.kind {
            Kind::File => self.packed.unwrap_or(self.size),
            _ => 0,
        }
    }

    /// Appends all that comes before its data to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let records = pax::records(self);
        if !records.is_empty() {
            header::extended(self, records.len() as u64, out);
            out.extend_from_slice(&records);
            pad(records.len() as u64, out);
        }
        header::entry(self, out);
    }
}

/// Appends what fills the last block of `len` bytes.
pub fn pad(len: u64, out: &mut Vec<u8>) {
    out.resize(out.len() + (len.next_multiple_of(BLOCK) - len) as usize, 0);
}

/// Appends the end of an archive that has `written` bytes so far.
pub fn finish(written: u64, out: &mut Vec<u8>) {
    let end = (written + 2 * BLOCK).next_multiple_of(RECORD);
    out.resize(out.len() + (end - written) as usize, 0);
}

/// Appends to an archive that cannot go on what makes every reader see that. An archive that merely stops between
/// two entries passes for whole with many.
pub fn break_off(out: &mut Vec<u8>) {
    let entry = Entry::new(b"", Kind::File, Timestamp(0));
    header::extended(&entry, BLOCK, out);
}

#[cfg(test)]
mod tests;
