//! The body of the configuration: what every writer of a repository must do alike, and what `init`
//! found out about the backend.

use crate::base::clock::Timestamp;
use crate::base::id::RepositoryId;
use crate::base::limits;
use crate::format::attrs::{RecordReader, RecordWriter, Text, Unknown};
use crate::format::error::{Error, Reason};

const WHAT: &str = "configuration";

/// What a backend did when `init` created one name twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CreateIfAbsent {
    /// The second creation failed, whoever raced: sessions can be fenced.
    Atomic,
    /// It looks first and then creates: two at once may both succeed.
    LookFirst,
    /// The second creation replaced the first.
    Ignored,
    /// Something that a later version knows; to be treated as [`CreateIfAbsent::Ignored`].
    Other(u64),
}

impl CreateIfAbsent {
    /// The number that stands for it.
    pub fn to_u64(self) -> u64 {
        match self {
            CreateIfAbsent::Atomic => 1,
            CreateIfAbsent::LookFirst => 2,
            CreateIfAbsent::Ignored => 3,
            CreateIfAbsent::Other(number) => number,
        }
    }

    /// The reverse of `to_u64`.
    pub fn from_u64(number: u64) -> Self {
        match number {
            1 => CreateIfAbsent::Atomic,
            2 => CreateIfAbsent::LookFirst,
            3 => CreateIfAbsent::Ignored,
            other => CreateIfAbsent::Other(other),
        }
    }
}

/// What `init` found out about the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Whether creation is exclusive; `None`: not tried.
    pub create_if_absent: Option<CreateIfAbsent>,
    /// Whether a new object was in the next listing; `None`: not tried.
    pub list_after_write: Option<bool>,
}

/// The body of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigBody {
    /// The repository's identity; the same stands in the clear part.
    pub repository: RepositoryId,
    /// Average chunk size in bytes.
    pub chunk_avg: u32,
    /// Smallest chunk size in bytes: a quarter of the average.
    pub chunk_min: u32,
    /// Largest chunk size in bytes: four times the average.
    pub chunk_max: u32,
    /// Longest chain of deltas; zero: none are written.
    pub delta_depth: u8,
    /// When the repository was made.
    pub created: Timestamp,
    /// What the backend does.
    pub probe: Probe,
    /// What the user called it.
    pub description: Option<String>,
    /// Attributes that this version does not know, or leaves to later ones.
    pub unknown: Unknown,
}

impl ConfigBody {
    /// Checks that the chunk sizes belong together, and what else must hold.
    pub fn check(&self) -> Result<(), Error> {
        Text::DESCRIPTION.check_some(WHAT, self.description.as_ref())?;
        let avg = u64::from(self.chunk_avg);
        let possible = self.chunk_avg.is_power_of_two()
            && (limits::CHUNK_AVG_MIN..=limits::CHUNK_AVG_MAX).contains(&self.chunk_avg)
            && u64::from(self.chunk_min) * 4 == avg
            && u64::from(self.chunk_max) == avg * 4;
        if !possible {
            return Err(Error::new(WHAT, Reason::Inconsistent("its chunk sizes are not possible")));
        }
        if self.delta_depth > limits::DELTA_DEPTH_MAX {
            let (len, max) = (self.delta_depth.into(), limits::DELTA_DEPTH_MAX.into());
            return Err(Error::new(WHAT, Reason::TooLarge { what: "the depth of deltas", len, max }));
        }
        Ok(())
    }

    /// The record.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let mut out = Vec::new();
        RecordWriter::new(&mut out, &self.unknown)
            .bytes(1, &self.repository.0)
            .u64(3, self.chunk_avg.into())
            .u64(5, self.chunk_min.into())
            .u64(7, self.chunk_max.into())
            .u64(9, self.delta_depth.into())
            .i64(11, self.created.0)
            .opt_u64(12, self.probe.create_if_absent.map(CreateIfAbsent::to_u64))
            .opt_u64(14, self.probe.list_after_write.map(u64::from))
            .opt_bytes(16, self.description.as_deref().map(str::as_bytes))
            .finish();
        Ok(out)
    }

    /// Reads the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut record = RecordReader::new(WHAT, bytes);
        let (mut repository, mut avg, mut min, mut max) = (None, None, None, None);
        let (mut depth, mut created, mut description) = (None, None, None);
        let (mut probe, mut unknown) = (Probe::default(), Unknown::default());
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                1 => repository = Some(RepositoryId(attribute.array()?)),
                3 => avg = Some(attribute.u32()?),
                5 => min = Some(attribute.u32()?),
                7 => max = Some(attribute.u32()?),
                9 => depth = Some(attribute.u32()?),
                11 => created = Some(Timestamp(attribute.i64()?)),
                12 => probe.create_if_absent = Some(CreateIfAbsent::from_u64(attribute.u64()?)),
                14 => match attribute.u64()? {
                    seen @ 0..=1 => probe.list_after_write = Some(seen == 1),
                    _ => return Err(attribute.inconsistent("a flag is neither 0 nor 1")),
                },
                16 => description = Some(attribute.text(Text::DESCRIPTION)?),
                _ => unknown.keep(&attribute)?,
            }
        }
        let config = ConfigBody {
            repository: record.need(repository, "repository id")?,
            chunk_avg: record.need(avg, "average chunk size")?,
            chunk_min: record.need(min, "smallest chunk size")?,
            chunk_max: record.need(max, "largest chunk size")?,
            delta_depth: u8::try_from(record.need(depth, "depth of deltas")?).unwrap_or(u8::MAX),
            created: record.need(created, "time of creation")?,
            probe,
            description,
            unknown,
        };
        config.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::testing;
    use proptest::prelude::*;

    fn configs() -> impl Strategy<Value = ConfigBody> {
        let probe = (proptest::option::of(1u64..6), any::<Option<bool>>());
        (any::<[u8; 16]>(), 0u32..9, 0u8..=32, any::<i64>(), probe, proptest::option::of(".{0,9}")).prop_map(
            |(repository, shift, delta_depth, created, (create, list), description)| ConfigBody {
                repository: RepositoryId(repository),
                chunk_avg: (16 << 10) << shift,
                chunk_min: (4 << 10) << shift,
                chunk_max: (64 << 10) << shift,
                delta_depth,
                created: Timestamp(created),
                probe: Probe {
                    create_if_absent: create.map(CreateIfAbsent::from_u64),
                    list_after_write: list,
                },
                description,
                unknown: Unknown::default(),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn configurations_round_trip_in_one_form(config in configs()) {
            let bytes = config.encode().unwrap();
            prop_assert_eq!(&ConfigBody::decode(&bytes).unwrap(), &config);
            testing::canonical(&bytes, ConfigBody::decode, |config| config.encode().unwrap());
        }

        #[test]
        fn impossible_sizes_are_refused(config in configs(), at in 0usize..4, by in 1u32..100) {
            let mut config = config;
            match at {
                0 => config.chunk_avg += by,
                1 => config.chunk_min += by,
                2 => config.chunk_max -= by,
                _ => config.delta_depth = limits::DELTA_DEPTH_MAX + 1,
            }
            prop_assert!(config.encode().is_err());
        }
    }

    #[test]
    fn a_depth_beyond_a_byte_is_refused() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut config = proptest::strategy::Strategy::new_tree(&configs(), &mut runner)
            .map(|tree| proptest::strategy::ValueTree::current(&tree))
            .unwrap();
        config.delta_depth = 9;
        let mut bytes = config.encode().unwrap();
        let at = bytes.windows(3).position(|window| window == [9, 1, 9]).unwrap();
        bytes.splice(at..at + 3, [9, 2, 0x89, 2]);
        assert!(ConfigBody::decode(&bytes).is_err());
    }
}
