//! The body of a WAL ledger: a signed statement that segments of a timeline were durable, or that they were
//! missed. A segment that a ledger names as durable and that is not there was lost; one that none names was
//! perhaps never there; of one that was missed, nobody had it any more when somebody was to receive it.

use std::ops::RangeInclusive;

use crate::base::clock::Timestamp;
use crate::base::limits;
use crate::format::attrs::{RecordReader, RecordWriter, Unknown, check_items};
use crate::format::error::{Error, Reason};
use crate::format::wire::{Reader, Writer};

const WHAT: &str = "WAL ledger";

/// The body of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerBody {
    /// The cluster's system identifier.
    pub system: u64,
    /// The timeline.
    pub timeline: u32,
    /// The cluster's segment size, in bytes: what the numbers count.
    pub segment_size: u32,
    /// Numbers of segments that were durable, ascending, with a hole between any two ranges.
    pub ranges: Vec<RangeInclusive<u64>>,
    /// Numbers of segments that neither the repository nor the server had, in the same order.
    pub missed: Vec<RangeInclusive<u64>>,
    /// When that was.
    pub when: Timestamp,
    /// Attributes that this version does not know.
    pub unknown: Unknown,
}

impl LedgerBody {
    /// The ranges that hold exactly these numbers, which ascend.
    pub fn ranges_of(numbers: impl IntoIterator<Item = u64>) -> Vec<RangeInclusive<u64>> {
        let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some(last) if last.end().checked_add(1) == Some(number) => *last = *last.start()..=number,
                _ => ranges.push(number..=number),
            }
        }
        ranges
    }

    /// The record; refused if nobody could read it.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let item = |range: &RangeInclusive<u64>| {
            let mut item = Vec::new();
            Writer::new(&mut item).varint(*range.start()).varint(range.end() - range.start());
            item
        };
        let mut out = Vec::new();
        RecordWriter::new(&mut out, &self.unknown)
            .u64(1, self.system)
            .u64(3, self.timeline.into())
            .u64(5, self.segment_size.into())
            .list(7, self.ranges.iter().map(item))
            .i64(9, self.when.0)
            .list(11, self.missed.iter().map(item))
            .finish();
        Ok(out)
    }

    /// Reads the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut record = RecordReader::new(WHAT, bytes);
        let (mut system, mut timeline, mut segment_size, mut when) = (None, None, None, None);
        let (mut ranges, mut missed, mut unknown) = (Vec::new(), Vec::new(), Unknown::default());
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                1 => system = Some(attribute.u64()?),
                3 => timeline = Some(attribute.u32()?),
                5 => segment_size = Some(attribute.u32()?),
                7 => ranges = attribute.list(read_range)?,
                9 => when = Some(Timestamp(attribute.i64()?)),
                11 => missed = attribute.list(read_range)?,
                _ => unknown.keep(&attribute)?,
            }
        }
        let body = LedgerBody {
            system: record.need(system, "system identifier")?,
            timeline: record.need(timeline, "timeline")?,
            segment_size: record.need(segment_size, "segment size")?,
            ranges,
            missed,
            when: record.need(when, "time")?,
            unknown,
        };
        body.check()?;
        Ok(body)
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |what| Err(Error::new(WHAT, Reason::Inconsistent(what)));
        let size = self.segment_size;
        if !size.is_power_of_two() || !limits::WAL_SEGMENT_SIZES.contains(&size) {
            return wrong("its segment size is none");
        }
        if self.timeline == 0 {
            return wrong("its timeline is zero");
        }
        if self.ranges.is_empty() && self.missed.is_empty() {
            return wrong("it names no segment");
        }
        // The last segment there can be, so that numbers have positions.
        let last = u64::MAX / u64::from(size);
        for ranges in [&self.ranges, &self.missed] {
            check_items(WHAT, ranges.len())?;
            if ranges.iter().any(|range| range.is_empty() || *range.end() > last) {
                return wrong("a range is empty or beyond the last position there is");
            }
            let apart = |pair: &[RangeInclusive<u64>]| pair[0].end().saturating_add(1) < *pair[1].start();
            if !ranges.windows(2).all(apart) {
                return wrong("its ranges do not ascend with holes between them");
            }
        }
        Ok(())
    }
}

fn read_range(reader: &mut Reader<'_>) -> Result<RangeInclusive<u64>, Error> {
    let (first, more) = (reader.varint()?, reader.varint()?);
    let last = first.checked_add(more).ok_or_else(|| reader.inconsistent("a range is too long"))?;
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::testing;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ledgers_round_trip_in_one_form(
            system: u64,
            timeline in 1u32..,
            numbers in proptest::collection::btree_set(0u64..500, 1..60),
            missed in proptest::collection::btree_set(0u64..500, 0..60),
        ) {
            let ranges = LedgerBody::ranges_of(numbers.iter().copied());
            let named: Vec<u64> = ranges.iter().cloned().flatten().collect();
            prop_assert_eq!(named, numbers.into_iter().collect::<Vec<_>>());
            let missed = LedgerBody::ranges_of(missed);
            let (when, unknown) = (Timestamp(-7), Unknown::default());
            let ledger = LedgerBody { system, timeline, segment_size: 16 << 20, ranges, missed, when, unknown };
            let bytes = ledger.encode().unwrap();
            prop_assert_eq!(&LedgerBody::decode(&bytes).unwrap(), &ledger);
            testing::canonical(&bytes, LedgerBody::decode, |ledger| ledger.encode().unwrap());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let ledger = |segment_size, ranges| LedgerBody {
            system: 1,
            timeline: 1,
            segment_size,
            ranges,
            missed: Vec::new(),
            when: Timestamp(0),
            unknown: Unknown::default(),
        };
        let end = u64::MAX / (16 << 20);
        ledger(16 << 20, vec![0..=3, 5..=5, end..=end]).encode().unwrap();
        assert!(ledger(3 << 20, vec![0..=3]).encode().is_err());
        assert!(ledger(16 << 20, vec![]).encode().is_err());
        assert!(ledger(16 << 20, vec![0..=3, 4..=5]).encode().is_err(), "one range in two");
        assert!(ledger(16 << 20, vec![5..=5, 0..=3]).encode().is_err());
        assert!(ledger(16 << 20, vec![0..=end + 1]).encode().is_err());
        LedgerBody { missed: vec![2..=2, 4..=5], ..ledger(16 << 20, vec![]) }.encode().unwrap();
        assert!(LedgerBody { missed: vec![2..=2, 3..=5], ..ledger(16 << 20, vec![0..=3]) }.encode().is_err());
        assert!(LedgerBody { timeline: 0, ..ledger(16 << 20, vec![0..=3]) }.encode().is_err());
    }
}
