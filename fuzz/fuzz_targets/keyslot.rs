//! Keyslots, the keyrings in them, key files.
#![no_main]

use kamba_vault::crypto::{AeadKey, ArgonCost, Domain, Place, SlotSecret};
use kamba_vault::format::header::HEADER_LEN;
use kamba_vault::format::keyring::Keyring;
use kamba_vault::format::keyslot::{KeySlot, SlotKind, decode_key_file, encode_key_file};
use kamba_vault_fuzz::property::canonical;
use kamba_vault_fuzz::vault::{VAULT, credentials};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    canonical(data, Keyring::decode(data), |ring| ring.encode().unwrap().to_vec());
    canonical(data, decode_key_file(data), |key| encode_key_file(key).as_bytes().to_vec());
    if let Some(slot) = canonical(data, KeySlot::decode(data), KeySlot::encode)
        && slot.kind == SlotKind::KeyFile
    {
        open(&slot, data);
    }
});

/// The key file opens the slot that was made for it, and no other.
fn open(slot: &KeySlot, data: &[u8]) {
    let secret = SlotSecret::KeyFile(credentials().key_file.unwrap());
    let cost = ArgonCost { memory_kib: 0, passes: 0, lanes: 0 };
    let clear = slot.clear();
    let keys = secret.keys(cost, &slot.header.salt, &clear).unwrap();
    let tail = [&clear[..], &slot.commitment].concat();
    let header: &[u8; HEADER_LEN] = clear.first_chunk().unwrap();
    let place = Place { header, domain: Domain::Keyring, ordinal: 0, tail: &tail };
    let opens = AeadKey::new(&keys.seal).open(place, &mut slot.sealed.clone()).is_ok();
    let genuine = VAULT.objects.values().any(|object| object == data);
    assert_eq!(opens, genuine);
    assert!(!genuine || keys.commits_to(&slot.commitment));
}
