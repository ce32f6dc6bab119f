//! The body of a signer list: who may sign what. An admin signs it.

use std::collections::BTreeSet;

use crate::base::id::{RepositoryId, SignerId};
use crate::format::attrs::{RecordReader, RecordWriter, Text, Unknown, check_items};
use crate::format::error::{Error, Reason};
use crate::format::wire::{Reader, Writer};

const WHAT: &str = "signer list";

/// May sign snapshots and leases.
pub const RIGHT_SNAPSHOT: u8 = 1;
/// May sign index parts.
pub const RIGHT_INDEX: u8 = 2;
/// May sign tombstones and marks.
pub const RIGHT_CONDEMN: u8 = 4;
/// May sign the configuration and signer lists.
pub const RIGHT_ADMIN: u8 = 8;
/// The generation of a repository's first list.
pub const FIRST_GENERATION: u32 = 1;
const RIGHTS: u8 = RIGHT_SNAPSHOT | RIGHT_INDEX | RIGHT_CONDEMN | RIGHT_ADMIN;

/// Whether a signer is still trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignerState {
    /// It is.
    Active,
    /// It is not: its snapshots are shown as such, its index parts are quarantined.
    Revoked,
}

/// One signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignerEntry {
    /// The first bytes of the hash of its public key.
    pub id: SignerId,
    /// Its Ed25519 public key.
    pub public: [u8; 32],
    /// `RIGHT_` bits.
    pub rights: u8,
    /// Whether it is trusted.
    pub state: SignerState,
    /// What it is called.
    pub label: String,
}

impl SignerEntry {
    /// An active signer with this key.
    pub fn new(public: [u8; 32], rights: u8, label: impl Into<String>) -> Self {
        SignerEntry {
            id: SignerId::of_key(&public),
            public,
            rights,
            state: SignerState::Active,
            label: label.into(),
        }
    }

    /// Whether it may sign what needs `right`, and is trusted to.
    pub fn may(&self, right: u8) -> bool {
        self.state == SignerState::Active && self.rights & right == right
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(50 + self.label.len());
        let state = match self.state {
            SignerState::Active => 1,
            SignerState::Revoked => 2,
        };
        Writer::new(&mut out)
            .bytes(&self.id.0)
            .bytes(&self.public)
            .u8(self.rights)
            .u8(state)
            .bytes(self.label.as_bytes());
        out
    }

    fn read(item: &mut Reader<'_>) -> Result<Self, Error> {
        let (id, public) = (SignerId(item.array()?), item.array()?);
        if id != SignerId::of_key(&public) {
            return Err(item.inconsistent("a signer's id is not that of its key"));
        }
        let rights = item.u8()?;
        if rights & !RIGHTS != 0 {
            return Err(item.inconsistent("a signer has unknown rights"));
        }
        let state = match item.u8()? {
            1 => SignerState::Active,
            2 => SignerState::Revoked,
            _ => return Err(item.inconsistent("a signer is in an unknown state")),
        };
        Ok(SignerEntry { id, public, rights, state, label: Text::LABEL.read(item)? })
    }
}

/// The body of a signer list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignersBody {
    /// Which list it is: the highest is in force.
    pub generation: u32,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// The signers, each once.
    pub entries: Vec<SignerEntry>,
    /// Attributes that this version does not know.
    pub unknown: Unknown,
}

impl SignersBody {
    /// The signer with this id.
    pub fn get(&self, id: &SignerId) -> Option<&SignerEntry> {
        self.entries.iter().find(|entry| entry.id == *id)
    }

    /// The record.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let mut out = Vec::new();
        RecordWriter::new(&mut out, &self.unknown)
            .u64(1, self.generation.into())
            .bytes(3, &self.repository.0)
            .list(5, self.entries.iter().map(SignerEntry::encode))
            .finish();
        Ok(out)
    }

    /// Reads the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut record = RecordReader::new(WHAT, bytes);
        let (mut generation, mut repository, mut entries) = (None, None, Vec::new());
        let mut unknown = Unknown::default();
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                1 => generation = Some(attribute.u32()?),
                3 => repository = Some(RepositoryId(attribute.array()?)),
                5 => entries = attribute.list(SignerEntry::read)?,
                _ => unknown.keep(&attribute)?,
            }
        }
        let body = SignersBody {
            generation: record.need(generation, "generation")?,
            repository: record.need(repository, "repository id")?,
            entries,
            unknown,
        };
        body.check()?;
        Ok(body)
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |what| Err(Error::new(WHAT, Reason::Inconsistent(what)));
        if self.generation < FIRST_GENERATION {
            return wrong("its generation is zero");
        }
        check_items(WHAT, self.entries.len())?;
        let mut seen = BTreeSet::new();
        for entry in &self.entries {
            Text::LABEL.check(WHAT, &entry.label)?;
            if !seen.insert(entry.id) {
                return wrong("a signer is named twice");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::limits;
    use crate::format::testing;
    use proptest::prelude::*;

    fn body(keys: &[[u8; 32]]) -> SignersBody {
        let states = [SignerState::Active, SignerState::Revoked];
        let entry = |(n, key): (usize, &[u8; 32])| SignerEntry {
            state: states[n % 2],
            ..SignerEntry::new(*key, n as u8 % 16, format!("signer {n}"))
        };
        SignersBody {
            generation: 3,
            repository: RepositoryId([8; 16]),
            entries: keys.iter().enumerate().map(entry).collect(),
            unknown: Unknown::default(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn signer_lists_round_trip_in_one_form(keys in proptest::collection::btree_set(any::<[u8; 32]>(), 0..5)) {
            let keys: Vec<_> = keys.into_iter().collect();
            let body = body(&keys);
            let bytes = body.encode().unwrap();
            prop_assert_eq!(&SignersBody::decode(&bytes).unwrap(), &body);
            testing::canonical(&bytes, SignersBody::decode, |body| body.encode().unwrap());
            for entry in &body.entries {
                prop_assert_eq!(body.get(&entry.id), Some(entry));
            }
        }
    }

    #[test]
    fn rights_count_only_while_trusted() {
        let mut entry = SignerEntry::new([1; 32], RIGHT_SNAPSHOT | RIGHT_INDEX, "web");
        assert!(entry.may(RIGHT_SNAPSHOT) && entry.may(RIGHT_INDEX | RIGHT_SNAPSHOT));
        assert!(!entry.may(RIGHT_CONDEMN) && !entry.may(RIGHT_SNAPSHOT | RIGHT_ADMIN));
        entry.state = SignerState::Revoked;
        assert!(!entry.may(RIGHT_SNAPSHOT));
    }

    #[test]
    fn labels_have_a_limit_and_generations_count_from_one() {
        let mut long = body(&[[1; 32]]);
        long.entries[0].label = "x".repeat(limits::NAME_MAX);
        assert_eq!(SignersBody::decode(&long.encode().unwrap()).unwrap(), long);
        long.entries[0].label.push('x');
        assert!(long.encode().is_err());
        assert!(SignersBody { generation: 0, ..body(&[]) }.encode().is_err());
    }

    #[test]
    fn a_signer_under_a_false_id_or_named_twice_is_refused() {
        let mut false_id = body(&[[1; 32]]);
        false_id.entries[0].id = SignerId([1; 16]);
        let bytes = false_id.encode().unwrap();
        assert!(SignersBody::decode(&bytes).is_err());
        assert!(body(&[[1; 32], [1; 32]]).encode().is_err());
    }
}
