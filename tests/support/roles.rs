//! Keyslots of other roles than the admin's.

use std::path::Path;
use std::sync::Arc;

use kamba_vault::base::id::{SignerId, SlotId};
use kamba_vault::base::secret::Secret32;
use kamba_vault::crypto::{self, AeadKey, Domain, Place, SlotSecret};
use kamba_vault::format::header::{Header, Kind};
use kamba_vault::format::keyring::{EpochKeys, Keyring, Role};
use kamba_vault::format::keyslot::{self, Argon, KeySlot, SlotKind};
use kamba_vault::format::name::keyslot_name;
use kamba_vault::repo::{Credentials, Repository};
use kamba_vault::storage::{Backend, Memory};

/// What a writer is given of the admin's keys: it adds snapshots, and cannot read one back.
pub fn writer(admin: &Keyring) -> Keyring {
    let public = |epoch: &EpochKeys| EpochKeys { data_private: None, meta_private: None, ..epoch.clone() };
    Keyring { role: Role::Writer, epochs: admin.epochs.iter().map(public).collect(), ..admin.clone() }
}

/// Adds a keyslot with `ring`, and opens the repository with it.
pub fn open_as(memory: &Arc<Memory>, ring: &Keyring, cache: &Path) -> Repository {
    let key = Secret32([8; 32]);
    let header = Header::new(Kind::KeySlot, 0, SignerId([0; 16]), [9; 32]);
    let (kind, argon) = (SlotKind::KeyFile, Argon::default());
    let clear = keyslot::clear(&header, &ring.repository, kind, argon);
    let keys = SlotSecret::KeyFile(key.clone()).keys(super::CHEAP, &header.salt, &clear).unwrap();
    let tail = [&clear[..], &keys.commitment].concat();
    let place = Place { header: &header.encode(), domain: Domain::Keyring, ordinal: 0, tail: &tail };
    let mut sealed = ring.encode().unwrap().to_vec();
    AeadKey::new(&keys.seal).seal(place, &mut sealed, 0).unwrap();
    let repository = ring.repository;
    let slot = KeySlot { header, repository, kind, argon, commitment: keys.commitment, sealed }.encode();
    let id = SlotId(*crypto::hash(&slot).first_chunk().unwrap());
    memory.overwrite(&keyslot_name(&id), &slot);
    let environment = super::environment(memory.clone() as Arc<dyn Backend>, cache);
    Repository::open(environment, &Credentials { passphrase: None, key_file: Some(key) }).unwrap()
}
