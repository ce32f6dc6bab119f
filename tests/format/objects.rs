//! Vectors of whole objects, sealed and signed: what an implementation must be able to open and check.

use std::sync::atomic::AtomicU64;

use kamba_vault::base::clock::Timestamp;
use kamba_vault::base::id::{ObjectHash, RepositoryId, SessionId, SignerId, SlotId, hex};
use kamba_vault::base::kind::{ChunkKind, Coding, PackKind};
use kamba_vault::base::secret::SecretBytes;
use kamba_vault::codec::Decompressor;
use kamba_vault::crypto::{self, AeadKey, ArgonCost, Domain, Place, Random, SlotSecret, Verifier, context};
use kamba_vault::format::attrs::Unknown;
use kamba_vault::format::frames::{self, Framed};
use kamba_vault::format::header::{Header, Kind};
use kamba_vault::format::index;
use kamba_vault::format::keyring::Keyring;
use kamba_vault::format::keyslot::{self, Argon, KeySlot, SlotKind};
use kamba_vault::format::lease::LeaseBody;
use kamba_vault::format::list::{ListEntry, encode_entries};
use kamba_vault::format::name;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::repo::keys::Keys;
use kamba_vault::repo::objects;
use kamba_vault::repo::pack::Built;
use serde_json::{Value, json};

use crate::secrets::{Fixed, admin, pack_of};
use crate::vectors::Chapter;

/// One zstd frame, as another program made it: how a writer compresses is no part of the format.
const FRAME: &str = "28b52ffd0058ad000070726f7720616674657220726f770a010007a14e25";

#[test]
fn whole_objects() {
    let mut chapter = Chapter::new(
        "objects",
        "whole objects under one keyring, which the keyslot holds. Salts, pack keys and ephemeral seeds are \
         XOF('kamba-vault vectors', n as u64), 32 bytes, with n counted from 0 in each object in the order in \
         which the input names them",
    );
    let keys = admin();
    keyslot(&mut chapter, keys.ring());
    small_object(&mut chapter, &keys);
    metadata_pack(&mut chapter, &keys);
    let built = compressed_pack(&mut chapter, &keys);
    index_part(&mut chapter, &keys, built);
    chapter.finish();
}

fn fixed() -> Fixed {
    Fixed(AtomicU64::new(0))
}

fn salt() -> [u8; 32] {
    let random: &dyn Random = &fixed();
    random.array().unwrap()
}

fn keyslot(chapter: &mut Chapter, ring: &Keyring) {
    let cost = ArgonCost { memory_kib: 64, passes: 2, lanes: 2 };
    let argon = Argon { memory_kib: cost.memory_kib, passes: cost.passes, lanes: cost.lanes };
    let header = Header::new(Kind::KeySlot, 0, SignerId([0; 16]), salt());
    let kind = SlotKind::Passphrase;
    let clear = keyslot::clear(&header, &ring.repository, kind, argon);
    let secret = SlotSecret::Passphrase(SecretBytes::new(b"correct horse".to_vec()));
    let keys = secret.keys(cost, &header.salt, &clear).unwrap();
    let plain = ring.encode().unwrap();
    let mut sealed = plain.to_vec();
    let tail = [&clear[..], &keys.commitment].concat();
    let encoded = header.encode();
    let place = Place { header: &encoded, domain: Domain::Keyring, ordinal: 0, tail: &tail };
    let key = AeadKey::new(&keys.seal);
    key.seal(place, &mut sealed, 0).unwrap();
    let (repository, commitment) = (ring.repository, keys.commitment);
    let bytes = KeySlot { header, repository, kind, argon, commitment, sealed }.encode();
    let mut read = KeySlot::decode(&bytes).unwrap();
    assert_eq!(key.open(place, &mut read.sealed).unwrap(), &plain[..]);
    let id = SlotId(*crypto::hash(&bytes).first_chunk().unwrap());
    let input = json!({
        "salt": hex(&salt()), "passphrase": "correct horse", "memory_kib": 64, "passes": 2, "lanes": 2,
        "keyring": hex(&plain),
    });
    let output = json!({ "name": name::keyslot_name(&id), "bytes": hex(&bytes) });
    chapter.case("a keyslot", input, output);
}

fn small_object(chapter: &mut Chapter, keys: &Keys) {
    let session = SessionId([0x5e; 16]);
    let lease = LeaseBody {
        session,
        counter: 0,
        host: "db1".into(),
        process: 4711,
        taken: Timestamp(1_700_000_000_000_000_000),
        expires: Timestamp(1_700_003_600_000_000_000),
        purpose: "snapshot db".into(),
        unknown: Unknown::default(),
    };
    let (name, body) = (name::lease_name(&session, 0), lease.encode().unwrap());
    let bytes = objects::seal(keys, &fixed(), Kind::Lease, &name, b"", &body).unwrap();
    let verifier = Verifier::new(&keys.signer().public()).unwrap();
    let opened = objects::open(keys, &name, &[Kind::Lease], &bytes, |object| {
        verifier.verify(object.signed, &object.signature).unwrap();
        Ok(())
    });
    assert_eq!(opened.unwrap().body, body);
    let input = json!({ "salt": hex(&salt()), "epoch": 1, "body": hex(&body) });
    chapter.case("a lease", input, json!({ "name": name, "bytes": hex(&bytes) }));
}

fn packed(chapter: &mut Chapter, keys: &Keys, case: &str, input: Value, built: &Built) {
    let random: &dyn Random = &fixed();
    let drawn: [[u8; 32]; 3] = std::array::from_fn(|_| random.array().unwrap());
    let record = &built.record;
    let kind = record.directory.kind();
    assert_eq!(keys.open_pack_key(case, kind, &record.header, &record.wrapped).unwrap().0, drawn[1]);
    let mut all = json!({
        "salt": hex(&drawn[0]), "pack key": hex(&drawn[1]), "ephemeral seed": hex(&drawn[2]), "epoch": 1,
    });
    for (name, value) in input.as_object().unwrap() {
        all[name] = value.clone();
    }
    let output = json!({ "name": name::pack_name(kind, &record.id), "bytes": hex(&built.bytes) });
    chapter.case(case, all, output);
}

fn metadata_pack(chapter: &mut Chapter, keys: &Keys) {
    let mut node = Vec::new();
    Node::new("large-objects", NodeType::Directory).encode(&mut node);
    let tree = [&[node.len() as u8], &node[..]].concat();
    let mut list = vec![0];
    encode_entries(&[ListEntry::Hole { len: 5 }], &mut list);
    let plain = [&tree[..], &list].concat();
    let chunks = [(ChunkKind::Tree, &tree[..]), (ChunkKind::List, &list)];
    let built = pack_of(keys, &fixed(), PackKind::Meta, &[(&plain, Coding::Raw, &chunks)]);
    let input = json!({ "tree chunk": hex(&tree), "list chunk": hex(&list) });
    packed(chapter, keys, "a metadata pack of one raw segment", input, &built);
}

fn compressed_pack(chapter: &mut Chapter, keys: &Keys) -> Built {
    let frame: Vec<u8> =
        (0..FRAME.len()).step_by(2).map(|at| u8::from_str_radix(&FRAME[at..at + 2], 16).unwrap()).collect();
    let plain = b"row after row\n".repeat(20);
    let mut decoded = Vec::new();
    Decompressor::default().zstd(&frame, plain.len() as u32, &mut decoded).unwrap();
    assert_eq!(decoded, plain);
    let (first, second) = plain.split_at(14 * 15);
    let chunks = [(ChunkKind::Data, first), (ChunkKind::Data, second)];
    let built = pack_of(
        keys,
        &fixed(),
        PackKind::Data,
        &[(&frame, Coding::Zstd, &chunks), (b"raw", Coding::Raw, &[(ChunkKind::Data, b"raw")])],
    );
    let input = json!({
        "frame": FRAME, "its chunks": [hex(first), hex(second)], "second segment": hex(b"raw"),
    });
    packed(chapter, keys, "a data pack of a compressed and a raw segment", input, &built);
    built
}

fn index_part(chapter: &mut Chapter, keys: &Keys, built: Built) {
    let plain = index::encode(&[], &[built.record]).unwrap();
    let header = Header::new(Kind::Index, 1, keys.signer().id(), salt()).encode();
    let index_key = &keys.ring().epoch(1).unwrap().index_key;
    let key = AeadKey::new(&crypto::derive(context::OBJECT_KEY, &[index_key.bytes(), &header]));
    let mut object = header.to_vec();
    for frame in frames::split(&plain) {
        let mut sealed = frame.plain.to_vec();
        let place = Place { header: &header, domain: Domain::LastFrame, ordinal: frame.ordinal, tail: b"" };
        key.seal(place, &mut sealed, 0).unwrap();
        frames::write_frame(&mut object, &sealed);
    }
    let signature = keys.signer().sign(&object);
    object.extend_from_slice(&signature);
    assert_eq!(Framed::parse(&object).unwrap().frames.len(), 1);
    let name = name::index_name(&ObjectHash(crypto::hash(&object)));
    let input = json!({ "salt": hex(&salt()), "epoch": 1, "body": hex(&plain) });
    chapter.case(
        "an index part that names that data pack",
        input,
        json!({ "name": name, "bytes": hex(&object) }),
    );
    assert_eq!(keys.repository(), RepositoryId([1; 16]));
}
