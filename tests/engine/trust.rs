//! What a repository is opened by: keyslots, the list of signers, the configuration; and what whoever can
//! add objects may and may not do with them.

use std::sync::Arc;

use kamba_vault::base::class::Class;
use kamba_vault::base::id::SlotId;
use kamba_vault::base::kind::ChunkKind;
use kamba_vault::crypto::{self, SystemRandom};
use kamba_vault::format::header::Kind;
use kamba_vault::format::keyslot::KeySlot;
use kamba_vault::format::list::{ListEntry, encode_entries};
use kamba_vault::format::name::{keyslot_name, signers_name};
use kamba_vault::format::signers::{SignerState, SignersBody};
use kamba_vault::repo::{self, Repository, objects};
use kamba_vault::storage::{Backend, Memory};

use crate::support::{self, Vault, names};

/// A repository with this passphrase.
fn with_passphrase(text: &str) -> (Arc<Memory>, Arc<dyn Backend>) {
    let memory = Arc::new(Memory::new());
    support::init_with(&*memory, &support::passphrase(text), 16 << 10);
    (memory.clone(), memory)
}

fn open(backend: &Arc<dyn Backend>, passphrase: &str) -> Result<Repository, repo::Error> {
    let cache = support::folder();
    let environment = support::environment(backend.clone(), cache.path());
    Repository::open(environment, &support::passphrase(passphrase))
}

/// Adds `count` keyslots that differ from the first in what `change` makes of its copies.
fn add_slots(memory: &Memory, count: u32, change: impl Fn(&mut KeySlot, u32)) {
    let name = names(memory, "keys/").remove(0);
    let slot = KeySlot::decode(&memory.get(&name, 1 << 20).unwrap()).unwrap();
    for n in 0..count {
        let mut other = slot.clone();
        change(&mut other, n);
        let bytes = other.encode();
        let id = SlotId(*crypto::hash(&bytes).first_chunk().unwrap());
        memory.put_new(&keyslot_name(&id), &bytes).unwrap();
    }
}

#[test]
fn slots_of_others_lock_nobody_out() {
    let (memory, backend) = with_passphrase("correct");
    add_slots(&memory, 300, |slot, n| slot.repository.0[..4].copy_from_slice(&n.to_le_bytes()));
    for n in 0..300u32 {
        let bytes = [&[0x5a; 200][..], &n.to_le_bytes()].concat();
        let id = SlotId(*crypto::hash(&bytes).first_chunk().unwrap());
        memory.put_new(&keyslot_name(&id), &bytes).unwrap();
    }
    open(&backend, "correct").unwrap();
}

#[test]
fn slots_that_were_not_tried_are_said() {
    let (memory, backend) = with_passphrase("correct");
    add_slots(&memory, 300, |slot, n| slot.commitment[..4].copy_from_slice(&n.to_le_bytes()));
    let error = open(&backend, "wrong").map(drop).unwrap_err();
    assert_eq!(error.class(), Class::WrongKey);
    assert!(error.to_string().ends_with("; 45 more were not tried"), "{error}");
}

/// The vault's list of signers after `change`, signed by its admin.
fn sign_list(vault: &Vault, change: impl FnOnce(&mut SignersBody)) -> (String, Vec<u8>) {
    let mut body = vault.repo.signers().body().clone();
    body.generation += 1;
    change(&mut body);
    let name = signers_name(&body.repository, body.generation);
    let body = body.encode().unwrap();
    let keys = vault.repo.keys();
    let bytes = objects::seal(keys, &SystemRandom, Kind::Signers, &name, b"", &body).unwrap();
    (name, bytes)
}

#[test]
fn the_newest_list_of_signers_is_in_force_or_nobody_opens() {
    let vault = Vault::new();
    let (name, bytes) = sign_list(&vault, |body| body.entries[0].label = "renamed".into());
    vault.memory.put_new(&name, &bytes).unwrap();
    assert_eq!(vault.elsewhere().repo.signers().body().entries[0].label, "renamed");
    // The signer's id among others: whoever flips it must not bring the older list back.
    for at in [8, 16, 40, 100, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        vault.memory.overwrite(&name, &changed);
        let error = support::try_open(&vault.backend, support::folder().path()).map(drop).unwrap_err();
        assert_eq!(error.class(), Class::Damaged, "{at}: {error}");
        assert!(error.to_string().contains(&name), "{at}: {error}");
    }
}

#[test]
fn what_a_failed_init_left_is_in_nobodys_way() {
    let (remains, _) = with_passphrase("another");
    let memory = Arc::new(Memory::new());
    for name in names(&*remains, "").into_iter().filter(|name| name != "config") {
        memory.put_new(&name, &remains.get(&name, 1 << 20).unwrap()).unwrap();
    }
    support::init(&(memory.clone() as Arc<dyn Backend>));
    // One that loses a race is as far as this when the other's configuration appears.
    let (late, _) = with_passphrase("a third");
    for name in names(&*late, "").into_iter().filter(|name| name != "config") {
        memory.put_new(&name, &late.get(&name, 1 << 20).unwrap()).unwrap();
    }
    let vault = Vault::of(memory);
    support::snapshot(&vault.repo, "a", b"stored").unwrap();
    let notes = support::assert_clean(&vault.repo).notes;
    for prefix in ["keys/", "signers/"] {
        let named = |note: &&String| note.starts_with(prefix) && note.contains("another repository");
        assert_eq!(notes.iter().filter(named).count(), 2, "{prefix}: {notes:#?}");
    }
}

#[test]
fn a_revoked_signer_begins_no_session_and_is_read_no_more() {
    let vault = Vault::new();
    support::snapshot(&vault.repo, "a", b"stored before").unwrap();
    let (name, bytes) = sign_list(&vault, |body| body.entries[0].state = SignerState::Revoked);
    vault.memory.put_new(&name, &bytes).unwrap();
    let later = vault.elsewhere();
    let error = support::begin(&later.repo).map(drop).unwrap_err();
    assert_eq!(error.class(), Class::Denied, "{error}");
    let report = support::check_all(&later.repo);
    assert_eq!(report.snapshots, 0);
    let revoked = |prefix: &str| {
        report.damaged.iter().any(|d| d.object.starts_with(prefix) && d.reason.contains("was revoked"))
    };
    assert!(revoked("roots/") && revoked("index/"), "{report:#?}");
}

#[test]
fn a_hole_in_a_listing_is_found_wherever_it_stands() {
    let vault = Vault::new();
    let session = support::begin(&vault.repo).unwrap();
    let mut leaf = vec![0];
    encode_entries(&[ListEntry::Hole { len: 5 }], &mut leaf);
    let list = ListEntry::List { len: 5, depth: 0, id: session.store(ChunkKind::List, &leaf).unwrap() };
    session.commit(|id, _| Ok(support::root_body(&vault.repo, id, vec![list]))).unwrap();
    let report = support::check_all(&vault.repo);
    let found = report.hurt.iter().any(|hurt| hurt.reason.contains("listing has holes"));
    assert!(found, "{report:#?}");
}
