//! How a segment begins: the long header of its first page (`XLogLongPageHeaderData` in
//! `xlog_internal.h`), which says whose segment it is. Clusters of machines with the other byte order are
//! not read: their magic is none.

use crate::postgres::lsn::Lsn;
use crate::postgres::version::Version;
use crate::postgres::wal::name::{SegmentName, SegmentSize};

/// Bytes of the header.
pub const LONG_HEADER_LEN: usize = 40;
/// `XLP_LONG_HEADER`: the flag that the longer form is there.
const LONG_HEADER: u16 = 2;

/// The magics of the servers whose WAL is taken (`XLOG_PAGE_MAGIC`), with their versions.
const MAGICS: [(u16, u32); 6] =
    [(0xD106, 13), (0xD10D, 14), (0xD110, 15), (0xD113, 16), (0xD116, 17), (0xD118, 18)];

/// What is wrong with a segment's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Too few bytes.
    #[error("it is too short for a WAL segment")]
    Short,
    /// Not the magic of a version that is known.
    #[error("it does not begin as WAL of PostgreSQL 13 to 18 does (magic {0:04X})")]
    Magic(u16),
    /// A page that begins no segment.
    #[error("its first page has no long header")]
    NotLong,
    /// A segment size that no cluster has.
    #[error("it states a segment size of {0} bytes, which no cluster has")]
    Size(u32),
    /// Another place than the name says.
    #[error("its first page is at {found}, where its name means {want}")]
    Place {
        /// Where the name says it should be.
        want: Lsn,
        /// What stands in the page.
        found: Lsn,
    },
    /// Another timeline than the name says, and no earlier one.
    #[error("its first page is of timeline {found}, which its name's timeline {want} cannot come from")]
    Timeline {
        /// The name's.
        want: u32,
        /// The page's.
        found: u32,
    },
    /// A name that clusters with such segments do not have.
    #[error("a cluster with segments of {0} bytes has no file of this name")]
    Name(u64),
}

/// The first page's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The magic: the server's version.
    pub magic: u16,
    /// The timeline of the page: where the segment is the first of a new timeline, still the old one.
    pub timeline: u32,
    /// The position of the page.
    pub address: Lsn,
    /// The cluster's system identifier.
    pub system: u64,
    /// The cluster's segment size.
    pub size: SegmentSize,
}

impl SegmentHeader {
    /// Reads the header at the beginning of `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header: &[u8; LONG_HEADER_LEN] = bytes.first_chunk().ok_or(HeaderError::Short)?;
        let (magic, info) = (u16_at(header, 0), u16_at(header, 2));
        if major(magic).is_none() {
            return Err(HeaderError::Magic(magic));
        }
        if info & LONG_HEADER == 0 {
            return Err(HeaderError::NotLong);
        }
        let size = u32_at(header, 32);
        Ok(SegmentHeader {
            magic,
            timeline: u32_at(header, 4),
            address: Lsn(u64_at(header, 8)),
            system: u64_at(header, 24),
            size: SegmentSize::new(size.into()).ok_or(HeaderError::Size(size))?,
        })
    }

    /// Fails unless a segment with this header may be called `name`.
    pub fn belongs_to(&self, name: SegmentName) -> Result<(), HeaderError> {
        let want = name.start(self.size).ok_or(HeaderError::Name(self.size.bytes()))?;
        if self.address != want {
            return Err(HeaderError::Place { want, found: self.address });
        }
        // The first segment of a timeline begins as a copy of the last one of the timeline before.
        if self.timeline == 0 || self.timeline > name.timeline {
            return Err(HeaderError::Timeline { want: name.timeline, found: self.timeline });
        }
        Ok(())
    }

    /// The major version of the server that wrote it.
    pub fn version(&self) -> Option<Version> {
        major(self.magic).map(|major| Version(major * 10_000))
    }
}

/// The major version with this magic.
fn major(magic: u16) -> Option<u32> {
    MAGICS.iter().find(|(known, _)| *known == magic).map(|(_, major)| *major)
}

fn u16_at(bytes: &[u8; LONG_HEADER_LEN], at: usize) -> u16 {
    u16::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u32_at(bytes: &[u8; LONG_HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8; LONG_HEADER_LEN], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A header as PostgreSQL lays it out.
    fn page(magic: u16, info: u16, timeline: u32, address: u64, system: u64, size: u32) -> Vec<u8> {
        let mut page = Vec::new();
        page.extend(magic.to_le_bytes());
        page.extend(info.to_le_bytes());
        page.extend(timeline.to_le_bytes());
        page.extend(address.to_le_bytes());
        // Bytes of a record that goes on from the page before, and padding.
        page.extend([7, 0, 0, 0, 0, 0, 0, 0]);
        page.extend(system.to_le_bytes());
        page.extend(size.to_le_bytes());
        page.extend(8192u32.to_le_bytes());
        page
    }

    #[test]
    fn a_header_is_read_and_held_against_the_name() {
        let bytes = page(0xD110, 7, 2, 0x1_0300_0000, 0x1234_5678_9ABC_DEF0, 16 << 20);
        let header = SegmentHeader::read(&bytes).unwrap();
        assert_eq!(header.system, 0x1234_5678_9ABC_DEF0);
        assert_eq!(header.version(), Some(Version(150_000)));
        let name = |text| SegmentName::parse(text).unwrap();
        header.belongs_to(name("000000020000000100000003")).unwrap();
        header.belongs_to(name("000000030000000100000003")).unwrap();
        let place = HeaderError::Place { want: Lsn(0x1_0400_0000), found: Lsn(0x1_0300_0000) };
        assert_eq!(header.belongs_to(name("000000020000000100000004")), Err(place));
        let timeline = HeaderError::Timeline { want: 1, found: 2 };
        assert_eq!(header.belongs_to(name("000000010000000100000003")), Err(timeline));
        let other = HeaderError::Name(16 << 20);
        assert_eq!(header.belongs_to(name("000000020000000100000100")), Err(other));
    }

    #[test]
    fn what_begins_no_segment_is_refused() {
        let good = page(0xD118, 2, 1, 0, 1, 1 << 20);
        SegmentHeader::read(&good).unwrap();
        assert_eq!(SegmentHeader::read(&good[..39]), Err(HeaderError::Short));
        let refused = |bytes: Vec<u8>| SegmentHeader::read(&bytes).unwrap_err();
        assert_eq!(refused(page(0xD101, 2, 1, 0, 1, 1 << 20)), HeaderError::Magic(0xD101));
        assert_eq!(refused(page(0x10D1, 2, 1, 0, 1, 1 << 20)), HeaderError::Magic(0x10D1));
        assert_eq!(refused(page(0xD110, 5, 1, 0, 1, 1 << 20)), HeaderError::NotLong);
        assert_eq!(refused(page(0xD110, 2, 1, 0, 1, 12345)), HeaderError::Size(12345));
    }
}
