//! A keyring: the keys of one role, as they stand sealed in a keyslot. Everything secret is wiped when
//! dropped and never printed. What a role can do follows from the keys it holds, so a keyring whose
//! keys do not fit its role is refused.

use zeroize::Zeroizing;

use crate::base::clock::Timestamp;
use crate::base::id::RepositoryId;
use crate::base::secret::Secret32;
use crate::format::attrs::{RecordReader, RecordWriter, Text, Unknown, check_items};
use crate::format::error::{Error, Reason};
use crate::format::wire::{Reader, Writer, varint_len};

const WHAT: &str = "keyring";
const FLAG_DATA_PRIVATE: u8 = 1;
const FLAG_META_PRIVATE: u8 = 2;
/// Bytes of an epoch with all its keys.
const EPOCH_MAX: usize = 4 + 4 * 32 + 1 + 2 * 32;

/// Which keys a keyring carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// Adds snapshots, and cannot read one back.
    Writer = 1,
    /// Reads everything.
    Reader = 2,
    /// Reads what there is, and none of what is in it.
    Auditor = 3,
    /// Everything.
    Admin = 4,
}

impl Role {
    fn from_u64(number: u64) -> Option<Self> {
        Some(match number {
            1 => Role::Writer,
            2 => Role::Reader,
            3 => Role::Auditor,
            4 => Role::Admin,
            _ => return None,
        })
    }

    /// Whether the role decrypts file and stream data.
    pub fn reads_data(self) -> bool {
        matches!(self, Role::Reader | Role::Admin)
    }

    /// Whether the role decrypts trees and lists.
    pub fn reads_meta(self) -> bool {
        self != Role::Writer
    }

    /// Whether the role can tell the ids and cut points of data.
    pub fn knows_data_ids(self) -> bool {
        self != Role::Auditor
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Writer => "writer",
            Role::Reader => "reader",
            Role::Auditor => "auditor",
            Role::Admin => "admin",
        }
    }
}

/// The keys from which chunk ids are made, one for each kind of chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdKeys {
    /// Of data chunks; an auditor has none.
    pub data: Option<Secret32>,
    /// Of list chunks.
    pub list: Secret32,
    /// Of tree chunks.
    pub tree: Secret32,
}

/// One generation of the keys that seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochKeys {
    /// Its number, from 1.
    pub epoch: u32,
    /// Seals index parts and small objects.
    pub index_key: Secret32,
    /// Goes into every wrapped pack key.
    pub psk: Secret32,
    /// Data packs' keys are wrapped to it.
    pub data_public: [u8; 32],
    /// Metadata packs' keys are wrapped to it.
    pub meta_public: [u8; 32],
    /// Unwraps the keys of data packs.
    pub data_private: Option<Secret32>,
    /// Unwraps the keys of metadata packs.
    pub meta_private: Option<Secret32>,
}

/// The keys of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    /// The role.
    pub role: Role,
    /// The repository they are for.
    pub repository: RepositoryId,
    /// What the keyring is called.
    pub label: String,
    /// Its own signing key (an RFC 8032 private key).
    pub signing_seed: Secret32,
    /// The key that signer lists and the configuration are verified with.
    pub admin_public: [u8; 32],
    /// What chunk ids are made from.
    pub id_keys: IdKeys,
    /// What cut points are made from; an auditor has none.
    pub gear: Option<Secret32>,
    /// All epochs, ascending; at least one.
    pub epochs: Vec<EpochKeys>,
    /// When it was made.
    pub created: Timestamp,
    /// Attributes that this version does not know.
    pub unknown: Unknown,
}

impl Keyring {
    /// The keys of an epoch.
    pub fn epoch(&self, epoch: u32) -> Option<&EpochKeys> {
        self.epochs.iter().find(|keys| keys.epoch == epoch)
    }

    /// The keys that new objects are sealed with; there in every keyring that was decoded.
    pub fn newest(&self) -> Option<&EpochKeys> {
        self.epochs.last()
    }

    /// The record, to be sealed at once.
    pub fn encode(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.check()?;
        // All space is taken at once: where a vector grows, it leaves a copy behind.
        let mut ids = Zeroizing::new(Vec::with_capacity(96));
        Writer::new(&mut ids)
            .bytes(self.id_keys.data.as_ref().map_or(&[0; 32], |key| key.bytes()))
            .bytes(self.id_keys.list.bytes())
            .bytes(self.id_keys.tree.bytes());
        let mut epochs = Zeroizing::new(Vec::with_capacity(self.epochs.len() * (EPOCH_MAX + 2)));
        for epoch in &self.epochs {
            epoch.write(&mut Writer::new(&mut epochs));
        }
        let kept: usize = self.unknown.iter().map(|(_, value)| value.len() + 20).sum();
        let len = 512 + self.label.len() + epochs.len() + kept;
        let mut out = Zeroizing::new(Vec::with_capacity(len));
        RecordWriter::new(&mut out, &self.unknown)
            .u64(1, self.role as u64)
            .bytes(3, &self.repository.0)
            .bytes(5, self.label.as_bytes())
            .bytes(7, self.signing_seed.bytes())
            .bytes(9, &self.admin_public)
            .bytes(11, &ids)
            .opt_bytes(13, self.gear.as_ref().map(|gear| &gear.bytes()[..]))
            .bytes(15, &epochs)
            .i64(17, self.created.0)
            .finish();
        debug_assert!(out.len() <= len, "the keyring outgrew its space");
        Ok(out)
    }

    /// Reads the record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut record = RecordReader::new(WHAT, bytes);
        let (mut role, mut repository, mut label, mut signing_seed) = (None, None, None, None);
        let (mut admin_public, mut id_keys, mut gear, mut created) = (None, None, None, None);
        let (mut epochs, mut unknown) = (Vec::new(), Unknown::default());
        while let Some(attribute) = record.next_attribute()? {
            match attribute.tag {
                1 => match Role::from_u64(attribute.u64()?) {
                    Some(known) => role = Some(known),
                    None => return Err(attribute.inconsistent("its role is unknown")),
                },
                3 => repository = Some(RepositoryId(attribute.array()?)),
                5 => label = Some(attribute.text(Text::LABEL)?),
                7 => signing_seed = Some(Secret32(attribute.array()?)),
                9 => admin_public = Some(attribute.array()?),
                11 => {
                    let mut reader = attribute.reader();
                    id_keys = Some(IdKeys::read(&mut reader)?);
                    reader.finish()?;
                }
                13 => gear = Some(Secret32(attribute.array()?)),
                15 => epochs = attribute.list(EpochKeys::read)?,
                17 => created = Some(Timestamp(attribute.i64()?)),
                _ => unknown.keep(&attribute)?,
            }
        }
        let keyring = Keyring {
            role: record.need(role, "role")?,
            repository: record.need(repository, "repository id")?,
            label: record.need(label, "label")?,
            signing_seed: record.need(signing_seed, "signing key")?,
            admin_public: record.need(admin_public, "admin's public key")?,
            id_keys: record.need(id_keys, "id keys")?,
            gear,
            epochs,
            created: record.need(created, "time of creation")?,
            unknown,
        };
        keyring.check()?;
        Ok(keyring)
    }

    /// Checks that the keys are those of the role, and what else must hold.
    fn check(&self) -> Result<(), Error> {
        Text::LABEL.check(WHAT, &self.label)?;
        check_items(WHAT, self.epochs.len())?;
        let wrong = |what| Err(Error::new(WHAT, Reason::Inconsistent(what)));
        let role = self.role;
        if self.epochs.is_empty() {
            return wrong("it has no epoch");
        }
        if self.epochs.iter().any(|keys| keys.epoch == 0) {
            return wrong("an epoch is zero");
        }
        if !self.epochs.is_sorted_by(|a, b| a.epoch < b.epoch) {
            return wrong("its epochs do not ascend");
        }
        let fits = |keys: &EpochKeys| {
            keys.data_private.is_some() == role.reads_data()
                && keys.meta_private.is_some() == role.reads_meta()
        };
        let known = role.knows_data_ids();
        if !self.epochs.iter().all(fits)
            || self.gear.is_some() != known
            || self.id_keys.data.is_some() != known
        {
            return wrong("its keys are not those of its role");
        }
        Ok(())
    }
}

impl IdKeys {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let data = Secret32(reader.array()?);
        let absent = *data.bytes() == [0; 32];
        let data = if absent { None } else { Some(data) };
        Ok(IdKeys { data, list: Secret32(reader.array()?), tree: Secret32(reader.array()?) })
    }
}

impl EpochKeys {
    /// Writes the item of a list: its length, and what it is.
    fn write(&self, writer: &mut Writer<'_>) {
        let mut flags = 0;
        let mut len = EPOCH_MAX - 64;
        for (key, flag) in [(&self.data_private, FLAG_DATA_PRIVATE), (&self.meta_private, FLAG_META_PRIVATE)]
        {
            if key.is_some() {
                flags |= flag;
                len += 32;
            }
        }
        debug_assert!(varint_len(len as u64) == 2, "space is taken for two bytes of length");
        writer
            .varint(len as u64)
            .u32(self.epoch)
            .bytes(self.index_key.bytes())
            .bytes(self.psk.bytes())
            .bytes(&self.data_public)
            .bytes(&self.meta_public)
            .u8(flags);
        for key in [&self.data_private, &self.meta_private].into_iter().flatten() {
            writer.bytes(key.bytes());
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let epoch = reader.u32()?;
        let (index_key, psk) = (Secret32(reader.array()?), Secret32(reader.array()?));
        let (data_public, meta_public) = (reader.array()?, reader.array()?);
        let flags = reader.u8()?;
        if flags & !(FLAG_DATA_PRIVATE | FLAG_META_PRIVATE) != 0 {
            return Err(reader.inconsistent("an epoch has unknown flags"));
        }
        let mut private = |flag| match flags & flag {
            0 => Ok(None),
            _ => reader.array().map(|key| Some(Secret32(key))),
        };
        let (data_private, meta_private) = (private(FLAG_DATA_PRIVATE)?, private(FLAG_META_PRIVATE)?);
        Ok(EpochKeys { epoch, index_key, psk, data_public, meta_public, data_private, meta_private })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::limits;
    use crate::format::testing;
    use proptest::prelude::*;

    const ROLES: [Role; 4] = [Role::Writer, Role::Reader, Role::Auditor, Role::Admin];

    fn keyring(role: Role, epochs: u32, label: &str) -> Keyring {
        let secret = |n: u32| Secret32([n as u8 + 1; 32]);
        let epoch = |epoch| EpochKeys {
            epoch,
            index_key: secret(epoch),
            psk: secret(epoch + 1),
            data_public: [1; 32],
            meta_public: [2; 32],
            data_private: role.reads_data().then(|| secret(epoch + 2)),
            meta_private: role.reads_meta().then(|| secret(epoch + 3)),
        };
        Keyring {
            role,
            repository: RepositoryId([3; 16]),
            label: label.to_owned(),
            signing_seed: secret(100),
            admin_public: [4; 32],
            id_keys: IdKeys {
                data: role.knows_data_ids().then(|| secret(101)),
                list: secret(102),
                tree: secret(103),
            },
            gear: role.knows_data_ids().then(|| secret(104)),
            epochs: (1..=epochs).map(epoch).collect(),
            created: Timestamp(-5),
            unknown: Unknown::default(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn keyrings_round_trip_in_one_form(role in 0usize..4, epochs in 1u32..4, label in ".{0,20}") {
            let keyring = keyring(ROLES[role], epochs, &label);
            let bytes = keyring.encode().unwrap();
            prop_assert_eq!(&Keyring::decode(&bytes).unwrap(), &keyring);
            testing::canonical(&bytes, Keyring::decode, |keyring| keyring.encode().unwrap().to_vec());
        }
    }

    #[test]
    fn many_epochs_fit_their_space() {
        let keyring = keyring(Role::Admin, 200, "much rotated");
        assert_eq!(Keyring::decode(&keyring.encode().unwrap()).unwrap(), keyring);
        assert_eq!(keyring.newest().unwrap().epoch, 200);
        assert!(keyring.epoch(7).is_some() && keyring.epoch(0).is_none());
    }

    #[test]
    fn keys_that_do_not_fit_the_role_are_refused() {
        for role in ROLES {
            for other in ROLES {
                let bent = Keyring { role: other, ..keyring(role, 1, "x") };
                assert_eq!(bent.encode().is_err(), role != other && !same_keys(role, other));
            }
        }
        assert!(keyring(Role::Admin, 0, "x").encode().is_err());
        let mut bent = keyring(Role::Admin, 2, "x");
        bent.epochs.swap(0, 1);
        assert!(bent.encode().is_err());
        bent.epochs.swap(0, 1);
        bent.epochs[0].epoch = 0;
        assert!(bent.encode().is_err());
    }

    #[test]
    fn what_is_written_can_be_read() {
        let label = |over| keyring(Role::Admin, 1, &"x".repeat(limits::NAME_MAX + over));
        assert_eq!(Keyring::decode(&label(0).encode().unwrap()).unwrap(), label(0));
        assert!(label(1).encode().is_err());
    }

    fn same_keys(a: Role, b: Role) -> bool {
        // A reader and an admin differ in the rights of their signers only.
        let both = [Role::Reader, Role::Admin];
        both.contains(&a) && both.contains(&b)
    }

    #[test]
    fn nothing_secret_is_printed() {
        let printed = format!("{:?}", keyring(Role::Admin, 1, "x"));
        assert!(printed.contains("Secret32") && !printed.contains("102, 102"), "{printed}");
    }
}
