//! What a snapshot says of the PostgreSQL cluster that it is a base backup of: all that is needed to choose
//! one, and to know which WAL it takes, without reading its tree.

use crate::base::limits;
use crate::format::attrs::{Attribute, RecordReader, RecordWriter, Unknown, check_items};
use crate::format::error::{Error, Reason};
use crate::format::wire::{Reader, Writer};

const WHAT: &str = "base backup";

/// It was read from a standby.
pub const FLAG_FROM_STANDBY: u64 = 1;
/// The cluster's pages have checksums, which were verified.
pub const FLAG_CHECKSUMS: u64 = 2;

/// A tablespace other than the two that every cluster has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablespace {
    /// Its oid, which is its name below `pg_tblspc`.
    pub oid: u32,
    /// Where it lay.
    pub location: Vec<u8>,
}

/// A base backup of a cluster. Positions in the WAL are bytes of its timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseBackup {
    /// The cluster's system identifier.
    pub system: u64,
    /// The timeline that it was on.
    pub timeline: u32,
    /// Where replay begins.
    pub start: u64,
    /// Where replay may end at the earliest: before, the copy is not consistent.
    pub stop: u64,
    /// The server's version as a number, such as 150010.
    pub server_version: u32,
    /// Bytes of a page.
    pub page_size: u32,
    /// Bytes of a WAL segment.
    pub segment_size: u32,
    /// `FLAG_` bits.
    pub flags: u64,
    /// Tablespaces, by ascending oids.
    pub tablespaces: Vec<Tablespace>,
    /// Pages whose checksums were wrong.
    pub corrupt_pages: u64,
    /// Attributes that this version does not know.
    pub unknown: Unknown,
}

impl BaseBackup {
    /// Whether it was read from a standby.
    pub fn is_from_standby(&self) -> bool {
        self.flags & FLAG_FROM_STANDBY != 0
    }

    /// Whether checksums of pages were verified.
    pub fn has_checksums(&self) -> bool {
        self.flags & FLAG_CHECKSUMS != 0
    }

    /// What must hold, for who writes it and who reads it.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what| Err(Error::new(WHAT, Reason::Inconsistent(what)));
        let is_size =
            |size: u32, least: u32, most: u32| size.is_power_of_two() && (least..=most).contains(&size);
        if self.timeline == 0 {
            return wrong("its timeline is zero");
        }
        if self.stop < self.start {
            return wrong("it stops before it starts");
        }
        if !is_size(self.page_size, 1 << 10, 32 << 10) {
            return wrong("no PostgreSQL has pages of this size");
        }
        if !is_size(self.segment_size, 1 << 20, 1 << 30) {
            return wrong("no PostgreSQL has WAL segments of this size");
        }
        if !self.tablespaces.is_sorted_by(|a, b| a.oid < b.oid) {
            return wrong("its tablespaces do not ascend");
        }
        if self.tablespaces.iter().any(|tablespace| tablespace.location.len() > limits::NAME_MAX) {
            return wrong("the location of a tablespace is too long");
        }
        check_items(WHAT, self.tablespaces.len())
    }

    /// The record.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let mut out = Vec::new();
        RecordWriter::new(&mut out, &self.unknown)
            .u64(1, self.system)
            .u64(3, self.timeline.into())
            .u64(5, self.start)
            .u64(7, self.stop)
            .u64(9, self.server_version.into())
            .u64(11, self.page_size.into())
            .u64(13, self.segment_size.into())
            .nonzero(14, self.flags)
            .list(16, self.tablespaces.iter().map(encode_tablespace))
            .nonzero(18, self.corrupt_pages)
            .finish();
        Ok(out)
    }

    /// Reads the record that is an attribute's value.
    pub fn read(attribute: &Attribute<'_>) -> Result<Self, Error> {
        Self::from_reader(attribute.reader())
    }

    /// Reads the record that is the rest of `reader`.
    pub fn from_reader(reader: Reader<'_>) -> Result<Self, Error> {
        let mut record = RecordReader::from_reader(reader);
        let (mut system, mut timeline, mut start, mut stop) = (None, None, None, None);
        let (mut version, mut page, mut segment) = (None, None, None);
        let mut base = BaseBackup::default();
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                1 => system = Some(attribute.u64()?),
                3 => timeline = Some(attribute.u32()?),
                5 => start = Some(attribute.u64()?),
                7 => stop = Some(attribute.u64()?),
                9 => version = Some(attribute.u32()?),
                11 => page = Some(attribute.u32()?),
                13 => segment = Some(attribute.u32()?),
                14 => base.flags = attribute.nonzero()?,
                16 => base.tablespaces = attribute.list(read_tablespace)?,
                18 => base.corrupt_pages = attribute.nonzero()?,
                _ => base.unknown.keep(&attribute)?,
            }
        }
        base.system = record.need(system, "system identifier")?;
        base.timeline = record.need(timeline, "timeline")?;
        base.start = record.need(start, "start")?;
        base.stop = record.need(stop, "stop")?;
        base.server_version = record.need(version, "server's version")?;
        base.page_size = record.need(page, "page size")?;
        base.segment_size = record.need(segment, "size of WAL segments")?;
        base.check()?;
        Ok(base)
    }
}

/// A tablespace is an item: its oid as a varint, its location.
fn encode_tablespace(tablespace: &Tablespace) -> Vec<u8> {
    let mut item = Vec::with_capacity(tablespace.location.len() + 5);
    Writer::new(&mut item).varint(tablespace.oid.into()).bytes(&tablespace.location);
    item
}

fn read_tablespace(item: &mut Reader<'_>) -> Result<Tablespace, Error> {
    let oid = item.length("an oid", u32::MAX as usize)? as u32;
    Ok(Tablespace { oid, location: item.rest().to_vec() })
}

#[cfg(test)]
pub(in crate::format) mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::format::testing;

    /// Any that may be.
    pub fn bases() -> impl Strategy<Value = BaseBackup> {
        let numbers = (any::<u64>(), 1..=u32::MAX, any::<[u64; 2]>(), any::<u32>());
        let sizes = (10u32..=15, 20u32..=30);
        let tablespaces = proptest::collection::btree_map(any::<u32>(), any::<Vec<u8>>(), 0..3);
        (numbers, sizes, 0u64..4, tablespaces, 0u64..3).prop_map(
            |((system, timeline, positions, server_version), sizes, flags, tablespaces, corrupt_pages)| {
                BaseBackup {
                    system,
                    timeline,
                    start: positions[0].min(positions[1]),
                    stop: positions[0].max(positions[1]),
                    server_version,
                    page_size: 1 << sizes.0,
                    segment_size: 1 << sizes.1,
                    flags,
                    tablespaces: tablespaces
                        .into_iter()
                        .map(|(oid, location)| Tablespace { oid, location })
                        .collect(),
                    corrupt_pages,
                    unknown: Unknown::default(),
                }
            },
        )
    }

    fn decode(bytes: &[u8]) -> Result<BaseBackup, Error> {
        BaseBackup::from_reader(Reader::new(WHAT, bytes))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn base_backups_round_trip_in_one_form(base in bases()) {
            let bytes = base.encode().unwrap();
            prop_assert_eq!(&decode(&bytes).unwrap(), &base);
            testing::canonical(&bytes, decode, |base| base.encode().unwrap());
        }
    }

    #[test]
    fn what_no_cluster_is_like_is_refused() {
        let good = BaseBackup {
            timeline: 1,
            start: 5,
            stop: 5,
            page_size: 8192,
            segment_size: 16 << 20,
            ..BaseBackup::default()
        };
        good.check().unwrap();
        let at = |oid| Tablespace { oid, location: Vec::new() };
        for bad in [
            BaseBackup { timeline: 0, ..good.clone() },
            BaseBackup { stop: 4, ..good.clone() },
            BaseBackup { page_size: 8191, ..good.clone() },
            BaseBackup { page_size: 64 << 10, ..good.clone() },
            BaseBackup { segment_size: 0, ..good.clone() },
            BaseBackup { segment_size: 512 << 10, ..good.clone() },
            BaseBackup { tablespaces: vec![at(2), at(2)], ..good.clone() },
            BaseBackup {
                tablespaces: vec![Tablespace { oid: 1, location: vec![b'x'; limits::NAME_MAX + 1] }],
                ..good
            },
        ] {
            assert!(bad.check().is_err() && bad.encode().is_err(), "{bad:?}");
        }
    }
}
