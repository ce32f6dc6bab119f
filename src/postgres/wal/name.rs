//! Names of the files in `pg_wal` and in a WAL archive (`xlog_internal.h`): segments, the last and
//! unfinished segment of a timeline that was left, marks of base backups, histories of timelines.

use std::fmt;

use crate::postgres::lsn::Lsn;

/// Bytes that the middle eight digits of a segment's name count.
const ID_BYTES: u64 = 1 << 32;

/// Bytes of a segment: a power of two from 1 MiB to 1 GiB (`IsValidWalSegSize`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSize(u32);

impl SegmentSize {
    /// What `initdb` takes where nobody says otherwise.
    pub const DEFAULT: SegmentSize = SegmentSize(16 << 20);

    /// `None` for what no cluster has.
    pub fn new(bytes: u64) -> Option<Self> {
        let fits = bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes);
        u32::try_from(bytes).ok().filter(|_| fits).map(SegmentSize)
    }

    /// The number of bytes.
    pub fn bytes(self) -> u64 {
        self.0.into()
    }

    /// Segments that differ in the last eight digits of their names alone.
    fn per_id(self) -> u64 {
        ID_BYTES / self.bytes()
    }

    /// The number of the segment that holds the byte at `at`.
    pub fn number_at(self, at: Lsn) -> u64 {
        at.0 / self.bytes()
    }
}

/// The name of a segment: its timeline and its place. How many bytes the place counts, only the cluster's
/// segment size says, so names of clusters of other sizes look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The timeline, from 1.
    pub timeline: u32,
    /// The middle eight digits: the upper half of the segment's first position.
    pub high: u32,
    /// The last eight digits: which segment of those with this upper half.
    pub low: u32,
}

impl SegmentName {
    /// The segment with this number (`XLogFileName`); `None` for one beyond the last position there is.
    pub fn new(timeline: u32, number: u64, size: SegmentSize) -> Option<Self> {
        let high = u32::try_from(number / size.per_id()).ok()?;
        let low = u32::try_from(number % size.per_id()).ok()?;
        (timeline > 0).then_some(SegmentName { timeline, high, low })
    }

    /// Its number in a cluster with segments of this size; `None` if such a cluster has no such name.
    pub fn number(self, size: SegmentSize) -> Option<u64> {
        let low = u64::from(self.low);
        (low < size.per_id()).then(|| u64::from(self.high) * size.per_id() + low)
    }

    /// The position of its first byte.
    pub fn start(self, size: SegmentSize) -> Option<Lsn> {
        Some(Lsn(self.number(size)? * size.bytes()))
    }

    /// The segment after it on the same timeline.
    pub fn next(self, size: SegmentSize) -> Option<Self> {
        SegmentName::new(self.timeline, self.number(size)? + 1, size)
    }

    /// Takes 24 hexadecimal digits apart.
    pub fn parse(text: &str) -> Option<Self> {
        let (timeline, place) = text.split_at_checked(8)?;
        let (high, low) = place.split_at_checked(8)?;
        let name = SegmentName { timeline: digits(timeline)?, high: digits(high)?, low: digits(low)? };
        (name.timeline > 0).then_some(name)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline, self.high, self.low)
    }
}

/// The name of a file that `archive_command` may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalName {
    /// A whole segment.
    Segment(SegmentName),
    /// The segment in which a timeline ended, as the server that goes on leaves it: `….partial`, of full
    /// length. What stands behind its last record may be anything.
    Partial(SegmentName),
    /// The same as it was received: `….00000000.partial`, zeros behind what was. PostgreSQL has no such name.
    /// How far each receiver came differs, so they are numbered.
    Received(SegmentName, u32),
    /// What a base backup leaves: the segment in which it began, and how many bytes into it.
    Backup(SegmentName, u32),
    /// Where a timeline comes from.
    History(u32),
}

impl WalName {
    /// Takes a file's name apart; `None` for what is none of these, also in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('.') {
            None => SegmentName::parse(text).map(WalName::Segment),
            Some((timeline, "history")) => {
                digits(timeline).filter(|timeline| *timeline > 0).map(WalName::History)
            }
            Some((segment, "partial")) => SegmentName::parse(segment).map(WalName::Partial),
            Some((segment, rest)) => {
                let (number, kind) = rest.split_once('.')?;
                let (segment, number) = (SegmentName::parse(segment)?, digits(number)?);
                match kind {
                    "backup" => Some(WalName::Backup(segment, number)),
                    "partial" => Some(WalName::Received(segment, number)),
                    _ => None,
                }
            }
        }
    }

    /// The timeline that it belongs to.
    pub fn timeline(self) -> u32 {
        match self {
            WalName::Segment(name)
            | WalName::Partial(name)
            | WalName::Received(name, _)
            | WalName::Backup(name, _) => name.timeline,
            WalName::History(timeline) => timeline,
        }
    }
}

impl fmt::Display for WalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalName::Segment(name) => name.fmt(f),
            WalName::Partial(name) => write!(f, "{name}.partial"),
            WalName::Received(name, number) => write!(f, "{name}.{number:08X}.partial"),
            WalName::Backup(name, offset) => write!(f, "{name}.{offset:08X}.backup"),
            WalName::History(timeline) => write!(f, "{timeline:08X}.history"),
        }
    }
}

/// Exactly eight digits, as PostgreSQL writes them.
fn digits(text: &str) -> Option<u32> {
    let own = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    (text.len() == 8 && text.bytes().all(own)).then(|| u32::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn sizes() -> impl Strategy<Value = SegmentSize> {
        (20u32..=30).prop_map(|bits| SegmentSize::new(1 << bits).unwrap())
    }

    proptest! {
        #[test]
        fn segments_follow_each_other_without_a_hole(size in sizes(), timeline in 1u32.., number in 0u64..1 << 34) {
            let number = number.min((u64::MAX / size.bytes()) - 1);
            let name = SegmentName::new(timeline, number, size).unwrap();
            prop_assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
            prop_assert_eq!(name.number(size), Some(number));
            let start = name.start(size).unwrap();
            let next = name.next(size).unwrap();
            prop_assert_eq!(next.start(size).unwrap().0 - start.0, size.bytes());
            prop_assert!(next > name && next.to_string() > name.to_string());
            prop_assert_eq!(size.number_at(start.plus(size.bytes() - 1)), number);
        }

        #[test]
        fn names_have_one_spelling(text in "[0-9A-Fa-f]{8}(|[0-9A-Fa-f]{16}(|\\.partial|\\.[0-9A-Fa-f]{8}\\.(backup|partial))|\\.history)") {
            if let Some(name) = WalName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn names_are_read_as_postgresql_writes_them() {
        let segment = SegmentName { timeline: 1, high: 2, low: 0xAB };
        for (text, name) in [
            ("0000000100000002000000AB", WalName::Segment(segment)),
            ("0000000100000002000000AB.partial", WalName::Partial(segment)),
            ("0000000100000002000000AB.0000000C.partial", WalName::Received(segment, 12)),
            ("0000000100000002000000AB.00000028.backup", WalName::Backup(segment, 0x28)),
            ("0000000A.history", WalName::History(10)),
        ] {
            assert_eq!(WalName::parse(text), Some(name));
            assert_eq!(name.to_string(), text);
        }
        for bad in [
            "",
            "0000000100000002000000A",
            "0000000100000002000000ab",
            "0000000100000002000000AB0",
            "0000000000000002000000AB",
            "00000000.history",
            "0000000100000002000000AB.part",
            "0000000100000002000000AB.28.backup",
            "0000000100000002000000AB.00000028.backup.gz",
            "../0000000100000002000000AB",
            "000000010000000200000+AB",
            "RECOVERYXLOG",
            "ä0000001000000020000000",
        ] {
            assert_eq!(WalName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_name_fits_some_sizes_only() {
        let last = SegmentName::parse("0000000100000000000000FF").unwrap();
        assert_eq!(last.next(SegmentSize::DEFAULT).unwrap().to_string(), "000000010000000100000000");
        let large = SegmentSize::new(1 << 30).unwrap();
        assert_eq!(last.number(large), None, "a gigabyte each: four to an id");
        assert_eq!(SegmentSize::new(3 << 20), None);
        assert_eq!(SegmentSize::new(1 << 31), None);
        let end = SegmentName::parse("00000001FFFFFFFF000000FF").unwrap();
        assert_eq!(end.next(SegmentSize::DEFAULT), None);
    }
}
