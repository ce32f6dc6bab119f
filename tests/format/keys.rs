//! Vectors of signer lists, keyrings, keyslots and key files: their bytes, without the cryptography.

use kamba_vault::base::clock::Timestamp;
use kamba_vault::base::id::{RepositoryId, SignerId, hex};
use kamba_vault::base::secret::Secret32;
use kamba_vault::format::attrs::Unknown;
use kamba_vault::format::header::{Header, Kind};
use kamba_vault::format::keyring::{EpochKeys, IdKeys, Keyring, Role};
use kamba_vault::format::keyslot::{self, Argon, KeySlot, SlotKind};
use kamba_vault::format::name;
use kamba_vault::format::signers::{SignerEntry, SignerState, SignersBody};
use serde_json::{Value, json};

use crate::vectors::Chapter;

const REPOSITORY: RepositoryId = RepositoryId([0x4e; 16]);

#[test]
fn signer_lists() {
    let mut chapter = Chapter::new("signers", "bodies of signer lists, with the names of their objects");
    let entries = vec![
        SignerEntry::new([1; 32], 15, "admin"),
        SignerEntry { state: SignerState::Revoked, ..SignerEntry::new([2; 32], 3, "old web server") },
        SignerEntry::new([3; 32], 0, ""),
    ];
    for (generation, entries) in [(1u32, entries[..1].to_vec()), (2, entries)] {
        let body = SignersBody { generation, repository: REPOSITORY, entries, unknown: Unknown::default() };
        let bytes = body.encode().unwrap();
        assert_eq!(SignersBody::decode(&bytes).unwrap(), body);
        let entry = |entry: &SignerEntry| {
            let state = if entry.state == SignerState::Active { 1 } else { 2 };
            json!({
                "id": entry.id.to_hex(), "public": hex(&entry.public), "rights": entry.rights,
                "state": state, "label": entry.label,
            })
        };
        let input = json!({
            "generation": generation, "repository": REPOSITORY.to_hex(),
            "entries": body.entries.iter().map(entry).collect::<Vec<Value>>(),
        });
        let output = json!({ "bytes": hex(&bytes), "name": name::signers_name(&REPOSITORY, generation) });
        chapter.case(&format!("generation {generation}"), input, output);
        if generation == 1 {
            // Tag 1: 3 bytes, tag 3: 18, tag 5: its tag, its length, the item's length; then the item.
            for (case, at, byte) in [
                ("a signer under another's id", 24, body.entries[0].id.0[0] ^ 1),
                ("unknown rights", 24 + 48, 16),
                ("an unknown state", 24 + 49, 3),
                ("the generation zero", 2, 0),
            ] {
                let mut changed = bytes.clone();
                changed[at] = byte;
                chapter.refused(case, &changed, SignersBody::decode(&changed).unwrap_err());
            }
        }
    }
    chapter.finish();
}

fn secret(n: u8) -> Secret32 {
    Secret32([n; 32])
}

fn keyring(role: Role, epochs: u32) -> Keyring {
    let epoch = |epoch: u32| EpochKeys {
        epoch,
        index_key: secret(0x10 + epoch as u8),
        psk: secret(0x20 + epoch as u8),
        data_public: [0x30 + epoch as u8; 32],
        meta_public: [0x40 + epoch as u8; 32],
        data_private: role.reads_data().then(|| secret(0x50 + epoch as u8)),
        meta_private: role.reads_meta().then(|| secret(0x60 + epoch as u8)),
    };
    let data = role.knows_data_ids();
    Keyring {
        role,
        repository: REPOSITORY,
        label: format!("the {}", role.name()),
        signing_seed: secret(1),
        admin_public: [2; 32],
        id_keys: IdKeys { data: data.then(|| secret(3)), list: secret(4), tree: secret(5) },
        gear: data.then(|| secret(6)),
        epochs: (1..=epochs).map(epoch).collect(),
        created: Timestamp(1_700_000_000_000_000_000),
        unknown: Unknown::default(),
    }
}

fn describe(keyring: &Keyring) -> Value {
    let bytes = |secret: &Secret32| hex(secret.bytes());
    let epoch = |keys: &EpochKeys| {
        json!({
            "epoch": keys.epoch, "index_key": bytes(&keys.index_key), "psk": bytes(&keys.psk),
            "data_public": hex(&keys.data_public), "meta_public": hex(&keys.meta_public),
            "data_private": keys.data_private.as_ref().map(bytes),
            "meta_private": keys.meta_private.as_ref().map(bytes),
        })
    };
    json!({
        "role": keyring.role as u8, "repository": keyring.repository.to_hex(), "label": keyring.label,
        "signing_seed": bytes(&keyring.signing_seed), "admin_public": hex(&keyring.admin_public),
        "data_id_key": keyring.id_keys.data.as_ref().map(bytes), "list_id_key": bytes(&keyring.id_keys.list),
        "tree_id_key": bytes(&keyring.id_keys.tree), "gear": keyring.gear.as_ref().map(bytes),
        "epochs": keyring.epochs.iter().map(epoch).collect::<Vec<_>>(),
        "created": keyring.created.0.to_string(),
    })
}

#[test]
fn keyrings() {
    let mut chapter = Chapter::new("keyring", "the plaintext of keyrings, one of each role");
    let roles = [(Role::Writer, 1), (Role::Reader, 1), (Role::Auditor, 1), (Role::Admin, 2)];
    for (role, epochs) in roles {
        let keyring = keyring(role, epochs);
        let bytes = keyring.encode().unwrap();
        assert_eq!(Keyring::decode(&bytes).unwrap(), keyring);
        chapter.bytes(role.name(), describe(&keyring), &bytes);
        let other: u8 = if role == Role::Writer { 3 } else { 1 };
        let mut bent = bytes.to_vec();
        bent[2] = other;
        let case = format!("the keys of the {} in the role {other}", role.name());
        chapter.refused(&case, &bent, Keyring::decode(&bent).unwrap_err());
    }
    chapter.finish();
}

#[test]
fn keyslots() {
    let mut chapter = Chapter::new(
        "keyslot",
        "the layout of keyslots (commitment and sealed keyring are stand-ins), and a key file as text",
    );
    let cost = Argon { memory_kib: 128 << 10, passes: 3, lanes: 2 };
    let cases = [(SlotKind::Passphrase, cost), (SlotKind::Both, cost), (SlotKind::KeyFile, Argon::default())];
    for (kind, argon) in cases {
        let slot = KeySlot {
            header: Header::new(Kind::KeySlot, 0, SignerId([0; 16]), [0x5a; 32]),
            repository: REPOSITORY,
            kind,
            argon,
            commitment: [0xc0; 32],
            sealed: vec![0xee; 20],
        };
        let bytes = slot.encode();
        assert_eq!(KeySlot::decode(&bytes).unwrap(), slot);
        let input = json!({
            "header": hex(&slot.header.encode()), "repository": REPOSITORY.to_hex(), "kind": kind as u8,
            "memory_kib": argon.memory_kib, "passes": argon.passes, "lanes": argon.lanes,
            "commitment": hex(&slot.commitment), "sealed": hex(&slot.sealed),
        });
        let output = json!({ "bytes": hex(&bytes), "clear": hex(&slot.clear()) });
        chapter.case(&format!("{kind:?}"), input, output);
        for (case, at, value) in [
            ("too much memory", 81, (1u32 << 20) + 1),
            ("too many passes", 85, 17),
            ("too many lanes", 89, 17),
            ("no passes, with memory", 85, 0),
        ] {
            let mut changed = bytes.clone();
            changed[81..85].copy_from_slice(&4096u32.to_le_bytes());
            changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
            chapter.refused(&format!("{kind:?}: {case}"), &changed, KeySlot::decode(&changed).unwrap_err());
        }
    }
    let key = secret(0x6b);
    let text = keyslot::encode_key_file(&key);
    assert_eq!(keyslot::decode_key_file(text.as_bytes()).unwrap(), key);
    chapter.case("a key file", json!({ "key": hex(key.bytes()) }), json!({ "text": text.as_str() }));
    let mistyped = text.replacen("6b", "6c", 1);
    let error = keyslot::decode_key_file(mistyped.as_bytes()).unwrap_err();
    chapter.refused("a key file, mistyped", mistyped.as_bytes(), error);
    chapter.finish();
}
