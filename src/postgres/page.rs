//! Pages of relation files and their checksums (PostgreSQL's `checksum_impl.h` and `bufpage.h`).
//!
//! Files are read while the server writes them, so a page can be half old and half new. Such a page was
//! written after the base backup's start, and its WAL repairs it. So a page that carries a position after
//! the start is not called corrupt; see [`Verdict::AfterStart`] for what is left to say of it.

use crate::postgres::lsn::Lsn;

/// Bytes of a page, unless the server was compiled with another size.
pub const PAGE: usize = 8192;

/// Pages of one file of a relation, unless compiled otherwise: a gibibyte (`RELSEG_SIZE`).
pub const PAGES_PER_FILE: u32 = 131_072;

/// Bytes of a page's header (`SizeOfPageHeaderData`).
const HEADER: usize = 24;

/// Sums that are computed side by side.
const LANES: usize = 32;
/// Bytes of one value for each lane.
const ROW: usize = LANES * 4;

const FNV_PRIME: u32 = 16_777_619;

/// What each lane begins with (`checksumBaseOffsets`).
const OFFSETS: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

/// What there is to say of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its checksum is right.
    Fine,
    /// It is all zeros: nothing was ever written to it.
    New,
    /// Its checksum is wrong, but it was written after the start, and is replayed from the WAL. A
    /// position that is after the base backup's end, too, is none: then the page is corrupt.
    AfterStart(Lsn),
    /// Its checksum is wrong. A page that was being written while it was read looks the same if the
    /// half that holds the position is the old one: only who reads it again can tell, and the server
    /// does ([`crate::postgres::base_backup::End::corrupt`]).
    Corrupt {
        /// What its bytes come to.
        expected: u16,
        /// What it carries.
        found: u16,
    },
    /// Its header says that nothing was written to it, and yet it is not all zeros.
    NotZero,
    /// There is less than a page, or not so much that pages are made of.
    Short,
}

impl Verdict {
    /// Whether it is corrupt for sure, or as sure as one reading makes it; `stop` is where the base backup
    /// ended.
    pub fn is_corrupt(self, stop: Lsn) -> bool {
        match self {
            Verdict::Fine | Verdict::New => false,
            Verdict::AfterStart(position) => position > stop,
            Verdict::Corrupt { .. } | Verdict::NotZero | Verdict::Short => true,
        }
    }
}

/// Looks at the page that is `block` of its relation, in a base backup that began at `start`. `page` has the
/// server's page size.
pub fn verify(page: &[u8], block: u32, start: Lsn) -> Verdict {
    let Some(header) = page.first_chunk::<HEADER>().filter(|_| page.len().is_multiple_of(ROW)) else {
        return Verdict::Short;
    };
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    // pd_upper: where the free space ends; no page that was initialised has it at 0.
    if half(14) == 0 {
        return if is_zero(page) { Verdict::New } else { Verdict::NotZero };
    }
    let (expected, found) = (checksum(page, block), half(8));
    if expected == found {
        return Verdict::Fine;
    }
    let position = position(header);
    if position >= start { Verdict::AfterStart(position) } else { Verdict::Corrupt { expected, found } }
}

/// The checksum of a page that is not new; `block` counts from the relation's begin, over all its files.
/// Bytes past the last whole row do not count, and a page has none.
pub fn checksum(page: &[u8], block: u32) -> u16 {
    let mut sums = OFFSETS;
    let (rows, _) = page.as_chunks::<ROW>();
    let mut rows = rows.iter();
    if let Some(first) = rows.next() {
        let mut first = *first;
        // The checksum's own place counts as zero (pd_checksum).
        first[8..10].fill(0);
        mix(&mut sums, &first);
    }
    rows.for_each(|row| mix(&mut sums, row));
    mix(&mut sums, &[0; ROW]);
    mix(&mut sums, &[0; ROW]);
    let sum = sums.iter().fold(0, |all, sum| all ^ sum) ^ block;
    // At most 65535, and never 0.
    (sum % 65_535) as u16 + 1
}

/// One round for every lane. Fixed bounds, so that it becomes vector instructions.
fn mix(sums: &mut [u32; LANES], row: &[u8; ROW]) {
    let (values, _) = row.as_chunks::<4>();
    for (sum, value) in sums.iter_mut().zip(values) {
        let mixed = *sum ^ u32::from_le_bytes(*value);
        *sum = mixed.wrapping_mul(FNV_PRIME) ^ (mixed >> 17);
    }
}

/// pd_lsn: two halves, each in the server's byte order, the high one first.
fn position(header: &[u8; HEADER]) -> Lsn {
    let half = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Lsn(u64::from(half(0)) << 32 | u64::from(half(4)))
}

fn is_zero(page: &[u8]) -> bool {
    page.iter().fold(0, |all, b| all | b) == 0
}

/// The parts of a relation (`ForkNumber`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// Its rows, or an index's entries.
    Main,
    /// Where there is room.
    FreeSpace,
    /// What everybody sees.
    Visibility,
    /// What an unlogged relation is begun anew with.
    Init,
}

/// A file whose pages have checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationFile {
    /// The OID of its database; 0 for what all of them share.
    pub database: u32,
    /// Its number there (relfilenode).
    pub number: u32,
    /// Which part of the relation it holds.
    pub fork: Fork,
    /// Its place among the files of the part.
    pub segment: u32,
}

impl RelationFile {
    /// Reads a path below the data folder (`base/5/1259`, `global/1260_fsm`, `pg_tblspc/16384/PG_15_…/5/16385.1`)
    /// or below a tablespace's (`PG_15_…/5/16385.1`). `None` for everything else: those have no pages with
    /// checksums (`isRelationFile` and `parse_filename_for_nontemp_relation` in PostgreSQL's `basebackup.c` and
    /// `reinit.c`).
    pub fn parse(path: &[u8]) -> Option<Self> {
        let path = std::str::from_utf8(path).ok()?;
        let parts: Vec<&str> = path.splitn(6, '/').collect();
        let (database, name) = match parts[..] {
            ["global", name] => (0, name),
            ["base", database, name] => (oid(database)?, name),
            [version, database, name] if version.starts_with("PG_") => (oid(database)?, name),
            ["pg_tblspc", space, version, database, name] if version.starts_with("PG_") => {
                oid(space)?;
                (oid(database)?, name)
            }
            _ => return None,
        };
        let (stem, segment) = match name.split_once('.') {
            // The first file of a relation has no number.
            Some((stem, segment)) => (stem, oid(segment)?),
            None => (name, 0),
        };
        let (number, fork) = match stem.split_once('_') {
            None => (stem, Fork::Main),
            Some((number, "fsm")) => (number, Fork::FreeSpace),
            Some((number, "vm")) => (number, Fork::Visibility),
            Some((number, "init")) => (number, Fork::Init),
            Some(_) => return None,
        };
        Some(RelationFile { database, number: oid(number)?, fork, segment })
    }

    /// The block that its first page is, for a server with so many pages per file ([`PAGES_PER_FILE`]).
    pub fn first_block(self, pages_per_file: u32) -> u32 {
        self.segment.wrapping_mul(pages_per_file)
    }
}

/// A number as PostgreSQL writes it into a name: not 0, and without leading zeros.
fn oid(text: &str) -> Option<u32> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests;
