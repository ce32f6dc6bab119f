//! Vectors of what needs keys: ids, sealing, derivations, signatures, and one whole pack.

use std::sync::atomic::{AtomicU64, Ordering};

use kamba_vault::base::clock::Timestamp;
use kamba_vault::base::id::{ChunkId, RepositoryId, hex};
use kamba_vault::base::kind::{ChunkKind, Coding, PackKind};
use kamba_vault::base::secret::{Secret32, SecretBytes};
use kamba_vault::crypto::{self, AeadKey, ArgonCost, Domain, KeyPair, Place, Random, SlotSecret, context};
use kamba_vault::format::attrs::Unknown;
use kamba_vault::format::header::{Header, Kind};
use kamba_vault::format::keyring::{EpochKeys, IdKeys, Keyring, Role};
use kamba_vault::format::pack::ChunkEntry;
use kamba_vault::repo::keys::Keys;
use kamba_vault::repo::pack::{Built, OpenPack, PackBuilder, Scratch, ToSeal};
use serde_json::json;

use crate::vectors::{Chapter, hash};

fn secret(n: u8) -> Secret32 {
    Secret32([n; 32])
}

/// Bytes that look random and are the same in every run.
pub struct Fixed(pub AtomicU64);

impl Random for Fixed {
    fn fill(&self, out: &mut [u8]) -> Result<(), crypto::Error> {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        out.copy_from_slice(&crate::vectors::xof("kamba-vault vectors", &n.to_le_bytes(), out.len()));
        Ok(())
    }
}

fn header(kind: Kind) -> Header {
    Header::new(kind, 1, kamba_vault::base::id::SignerId([5; 16]), [6; 32])
}

#[test]
fn ids() {
    let mut chapter =
        Chapter::new("ids", "Chunk ids: keyed BLAKE3 of the plaintext, and the table of the chunker.");
    for (key, plain) in [(1, &b""[..]), (1, b"abc"), (2, b"abc"), (2, &[7; 2000])] {
        let id = crypto::keyed_id(&secret(key), plain);
        let input = json!({ "key": hex(&[key; 32]), "plaintext": hex(plain) });
        chapter.case("id", input, json!({ "id": hex(&id) }));
    }
    let mut table = vec![0; 2048];
    crypto::expand(context::GEAR, &secret(3), &mut table);
    let output = json!({ "first": hex(&table[..16]), "hash": hash(&table) });
    chapter.case("gear table", json!({ "gear secret": hex(&[3; 32]) }), output);
    chapter.finish();
}

#[test]
fn sealing() {
    let mut chapter =
        Chapter::new("sealing", "Keys of objects, AES-256-GCM at a place, signatures, a pack's padding.");
    let header = header(Kind::Root).encode();
    let key = crypto::derive(context::OBJECT_KEY, &[&[1; 32], &header]);
    let input = json!({ "index key": hex(&[1; 32]), "header": hex(&header) });
    chapter.case("object key", input, json!({ "key": hex(key.bytes()) }));
    let aead = AeadKey::new(&key);
    for (domain, ordinal, tail) in [
        (Domain::Body, 0, &b""[..]),
        (Domain::Body, 0, b"clear"),
        (Domain::Segment, 258, b""),
        (Domain::LastFrame, 1, b""),
    ] {
        let mut sealed = b"a plaintext".to_vec();
        aead.seal(Place { header: &header, domain, ordinal, tail }, &mut sealed, 0).unwrap();
        let input = json!({
            "key": hex(key.bytes()), "header": hex(&header), "domain": domain as u32, "ordinal": ordinal,
            "tail": hex(tail), "plaintext": hex(b"a plaintext"),
        });
        chapter.case("seal", input, json!({ "sealed": hex(&sealed) }));
    }
    let signer = crypto::Signer::new(&secret(9));
    let output = json!({
        "public": hex(&signer.public()), "signer": signer.id().to_hex(), "signature": hex(&signer.sign(b"an object")),
    });
    chapter.case("signature", json!({ "seed": hex(&[9; 32]), "bytes": hex(b"an object") }), output);
    let mut padding = [0; 40];
    crypto::expand(context::PADDING, &secret(4), &mut padding);
    chapter.case(
        "padding",
        json!({ "pack key": hex(&[4; 32]), "length": 40 }),
        json!({ "bytes": hex(&padding) }),
    );
    chapter.finish();
}

#[test]
fn keyslot_derivation() {
    let mut chapter = Chapter::new(
        "keyslot-derivation",
        "From what unlocks a keyslot to the key that seals its keyring and the commitment.",
    );
    let cost = ArgonCost { memory_kib: 64, passes: 2, lanes: 2 };
    let pass = || SecretBytes::new(b"correct horse".to_vec());
    let secrets = [
        ("passphrase", SlotSecret::Passphrase(pass())),
        ("both", SlotSecret::Both(pass(), secret(8))),
        ("key file", SlotSecret::KeyFile(secret(8))),
    ];
    for (kind, slot) in secrets {
        let keys = slot.keys(cost, &[6; 32], b"the clear part").unwrap();
        let input = json!({
            "kind": kind, "passphrase": "correct horse", "key in the key file": hex(&[8; 32]),
            "memory": 64, "passes": 2, "lanes": 2, "salt": hex(&[6; 32]), "clear": hex(b"the clear part"),
        });
        let output = json!({ "seal key": hex(keys.seal.bytes()), "commitment": hex(&keys.commitment) });
        chapter.case(kind, input, output);
    }
    chapter.finish();
}

/// The keys of an admin, whose secrets are plain to see.
pub fn admin() -> Keys {
    let (data, meta) = (KeyPair::from_seed(&secret(21)), KeyPair::from_seed(&secret(22)));
    let ring = Keyring {
        role: Role::Admin,
        repository: RepositoryId([1; 16]),
        label: "vectors".into(),
        admin_public: crypto::Signer::new(&secret(9)).public(),
        signing_seed: secret(9),
        id_keys: IdKeys { data: Some(secret(11)), list: secret(12), tree: secret(13) },
        gear: Some(secret(14)),
        epochs: vec![EpochKeys {
            epoch: 1,
            index_key: secret(15),
            psk: secret(16),
            data_public: data.public,
            meta_public: meta.public,
            data_private: Some(data.private),
            meta_private: Some(meta.private),
        }],
        created: Timestamp(0),
        unknown: Unknown::default(),
    };
    Keys::new(ring).unwrap()
}

/// A segment of a pack: its coded bytes, its coding, its chunks.
pub type Segment<'s> = (&'s [u8], Coding, &'s [(ChunkKind, &'s [u8])]);

/// A pack of these segments, which opens and gives its chunks back.
pub fn pack_of(keys: &Keys, random: &Fixed, kind: PackKind, segments: &[Segment<'_>]) -> Built {
    let mut builder = PackBuilder::new(kind, keys, random, Vec::new()).unwrap();
    for (coded, coding, chunks) in segments {
        let entry = |(kind, plain): &(ChunkKind, &[u8])| ChunkEntry {
            id: keys.chunk_id(*kind, plain),
            len: plain.len() as u32,
            kind: *kind,
        };
        let chunks: Vec<ChunkEntry> = chunks.iter().map(entry).collect();
        let (coding, chunks) = (*coding, &chunks[..]);
        builder.append(&ToSeal { coded, coding, depth: 0, bases: &[], chunks }).unwrap();
    }
    let built = builder.finish().unwrap();
    let opened = OpenPack::new("pack", kind, &built.bytes, keys).unwrap();
    let mut read = Vec::new();
    opened.read_all(
        keys,
        &mut Scratch::default(),
        &mut |_, _, _| Ok(()),
        &mut |_, chunk| read.push(chunk.to_vec()),
        &mut |_, _, reason| panic!("{reason}"),
    );
    let chunks: Vec<&[u8]> =
        segments.iter().flat_map(|segment| segment.2.iter().map(|chunk| chunk.1)).collect();
    assert_eq!(read, chunks);
    built
}

#[test]
fn pack() {
    let mut chapter =
        Chapter::new("pack", "A whole data pack of two raw chunks in one segment, and how it opens.");
    let (keys, random) = (admin(), Fixed(AtomicU64::new(0)));
    let (first, second) = (b"first chunk".to_vec(), vec![7; 100]);
    let plain = [&first[..], &second].concat();
    let chunks = [(ChunkKind::Data, &first[..]), (ChunkKind::Data, &second)];
    let built = pack_of(&keys, &random, PackKind::Data, &[(&plain, Coding::Raw, &chunks)]);
    let secret =
        keys.open_pack_key("pack", PackKind::Data, &built.record.header, &built.record.wrapped).unwrap();
    let ids: Vec<ChunkId> = built.record.directory.chunks().iter().map(|c| c.id).collect();
    let random: &dyn Random = &Fixed(AtomicU64::new(0));
    let drawn: [[u8; 32]; 3] = std::array::from_fn(|_| random.array().unwrap());
    assert_eq!(drawn[1], secret.0);
    let input = json!({
        "salt": hex(&drawn[0]), "pack key": hex(&drawn[1]), "ephemeral seed": hex(&drawn[2]),
        "signing seed": hex(&[9; 32]), "repository": hex(&[1; 16]), "epoch": 1, "psk": hex(&[16; 32]), "data id key": hex(&[11; 32]),
        "data private key seed": hex(&[21; 32]), "segment": hex(&plain), "chunk lengths": [first.len(), second.len()],
    });
    let output = json!({
        "name": built.record.id.to_hex(),
        "ids": ids.iter().map(ChunkId::to_hex).collect::<Vec<_>>(), "bytes": hex(&built.bytes),
    });
    chapter.case("pack", input, output);
    chapter.finish();
}
