//! Vectors of WAL objects and WAL ledgers.

use std::sync::atomic::AtomicU64;

use kamba_vault::base::clock::Timestamp;
use kamba_vault::base::id::{ChunkId, LedgerId, ObjectHash, hex};
use kamba_vault::base::kind::{ChunkKind, Coding};
use kamba_vault::crypto::{AeadKey, Domain, Place, Random, context, derive};
use kamba_vault::format::attrs::Unknown;
use kamba_vault::format::header::Kind;
use kamba_vault::format::ledger::LedgerBody;
use kamba_vault::format::name::{ledger_name, wal_name};
use kamba_vault::format::sealed::SealedObject;
use kamba_vault::format::wal::{HEAD_LEN, WalBody, WalFrame};
use kamba_vault::repo::objects;
use kamba_vault::repo::wal::{WalFile, build};
use serde_json::json;

use crate::secrets::{Fixed, admin};
use crate::vectors::{Chapter, hash, xof};

const SYSTEM: u64 = 7_293_847_561_029_384_756;

#[test]
fn wal() {
    let mut chapter = Chapter::new(
        "wal",
        "WAL objects and ledgers under the keyring of objects.json. Of a whole object, salt, key and ephemeral seed are \
         XOF('kamba-vault vectors', n as u64), 32 bytes, with n from 0 in this order",
    );
    names(&mut chapter);
    descriptions(&mut chapter);
    whole(&mut chapter);
    ledgers(&mut chapter);
    chapter.finish();
}

fn names(chapter: &mut Chapter) {
    let keys = admin();
    let list_key = keys.ring().id_keys.list.clone();
    let name_key = derive(context::WAL_NAME, &[list_key.bytes()]);
    for file in ["0000000100000002000000AB", "00000002.history"] {
        let input =
            json!({ "list id key": hex(list_key.bytes()), "system": SYSTEM.to_string(), "file": file });
        let name = wal_name(&keys.wal_id(SYSTEM, file));
        chapter.case("name", input, json!({ "name key": hex(name_key.bytes()), "name": name }));
    }
}

fn description() -> WalBody {
    WalBody {
        system: SYSTEM,
        file: "0000000100000002000000AB".into(),
        len: 16 << 20,
        id: ChunkId([1; 32]),
        frame_len: 1 << 20,
        frames: vec![
            WalFrame { stored_len: (1 << 20) + 16, coding: Coding::Raw },
            WalFrame { stored_len: 300_000, coding: Coding::Zstd },
        ],
        zeros: (14 << 20) + 5,
        stored_hash: ObjectHash([2; 32]),
        pushed: Timestamp(1_700_000_000_000_000_000),
        magic: Some(0xD110),
        segment_size: Some(16 << 20),
        unknown: Unknown::default(),
    }
}

fn descriptions(chapter: &mut Chapter) {
    let full = description();
    let input = json!({
        "system": SYSTEM.to_string(), "file": full.file, "length": full.len, "id": hex(&full.id.0),
        "frame length": full.frame_len, "frames": [[1_048_592, "raw"], [300_000, "zstd"]], "zeros": full.zeros,
        "hash": hex(&full.stored_hash.0), "made": full.pushed.0, "magic": 0xD110, "segment size": 16 << 20,
    });
    let bytes = full.encode().unwrap();
    assert_eq!(WalBody::decode(&bytes).unwrap(), full);
    chapter.bytes("description", input, &bytes);
    let mut refused = |case: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bent = bytes.clone();
        change(&mut bent);
        chapter.refused(case, &bent, WalBody::decode(&bent).unwrap_err());
    };
    refused("shorter than every body", &|bytes| bytes.truncate(bytes.len() - 1));
    refused("a byte after the description", &|bytes| *bytes.last_mut().unwrap() = 1);
    // The record begins with tag, length and nine bytes of the system identifier.
    refused("a file name with a slash", &|bytes| bytes[16] = b'/');
    let at = bytes.windows(4).position(|four| four == 1_048_592u32.to_le_bytes()).unwrap();
    refused("a raw frame of another length", &|bytes| bytes[at] ^= 1);
    refused("an unknown coding", &|bytes| bytes[at + 4] = 9);
}

fn whole(chapter: &mut Chapter) {
    let keys = admin();
    let random = Fixed(AtomicU64::new(0));
    let mut plain = xof("kamba-vault vectors", b"wal", 100);
    plain.resize(150, 0);
    let file =
        WalFile { system: SYSTEM, name: "00000002.history", bytes: &plain, magic: None, segment_size: None };
    let id = keys.chunk_id(ChunkKind::Data, &plain);
    let object = build(&keys, &random, Timestamp(1_700_000_000_000_000_000), &file, id).unwrap();
    let head = SealedObject::parse(&object[..HEAD_LEN], &[Kind::Wal]).unwrap();
    let wrapped: &[u8; 80] = head.clear.try_into().unwrap();
    let secret = keys.open_wal_key("it", head.header_bytes, wrapped).unwrap();
    let again = Fixed(AtomicU64::new(0));
    let again: &dyn Random = &again;
    let drawn: [[u8; 32]; 3] = std::array::from_fn(|_| again.array().unwrap());
    assert_eq!((head.header.salt, secret.0), (drawn[0], drawn[1]));
    // The bytes as another program would open them.
    let mut frame = [0; 100];
    let place = Place { header: head.header_bytes, domain: Domain::WalFrame, ordinal: 0, tail: b"" };
    AeadKey::new(&secret).open_into(place, &object[HEAD_LEN..], &mut frame).unwrap();
    assert_eq!(frame, plain[..100]);
    let input = json!({
        "salt": hex(&drawn[0]), "key": hex(&drawn[1]), "ephemeral seed": hex(&drawn[2]), "epoch": 1,
        "system": SYSTEM.to_string(), "file": file.name, "made": 1_700_000_000_000_000_000_i64,
        "content": "XOF('kamba-vault vectors', 'wal') of 100 bytes, and 50 zeros", "content hash": hash(&plain),
    });
    let name = wal_name(&keys.wal_id(SYSTEM, file.name));
    chapter.case("whole object", input, json!({ "name": name, "id": hex(&id.0), "bytes": hex(&object) }));
}

fn ledgers(chapter: &mut Chapter) {
    let ledger = LedgerBody {
        system: SYSTEM,
        timeline: 3,
        segment_size: 16 << 20,
        ranges: vec![64..=70, 72..=72, 74..=127],
        missed: Vec::new(),
        when: Timestamp(1_700_000_000_000_000_000),
        unknown: Unknown::default(),
    };
    let bytes = ledger.encode().unwrap();
    assert_eq!(LedgerBody::decode(&bytes).unwrap(), ledger);
    let input = json!({
        "system": SYSTEM.to_string(), "timeline": 3, "segment size": 16 << 20,
        "ranges": [[64, 70], [72, 72], [74, 127]], "when": ledger.when.0,
    });
    chapter.bytes("ledger", input, &bytes);
    let gap = LedgerBody { ranges: Vec::new(), missed: vec![128..=130, 132..=132], ..ledger.clone() };
    let gap_bytes = gap.encode().unwrap();
    assert_eq!(LedgerBody::decode(&gap_bytes).unwrap(), gap);
    let input = json!({
        "system": SYSTEM.to_string(), "timeline": 3, "segment size": 16 << 20,
        "missed": [[128, 130], [132, 132]], "when": gap.when.0,
    });
    chapter.bytes("ledger of what was missed", input, &gap_bytes);
    for (case, from, to) in
        [("ranges that touch", &[72u8, 0][..], &[71, 0][..]), ("ranges that go back", &[72, 0], &[60, 0])]
    {
        let at = bytes.windows(from.len()).position(|two| two == from).unwrap();
        let mut bent = bytes.clone();
        bent[at..at + to.len()].copy_from_slice(to);
        chapter.refused(case, &bent, LedgerBody::decode(&bent).unwrap_err());
    }
    let (keys, name) = (admin(), ledger_name(&LedgerId([0x5e; 16])));
    let random = Fixed(AtomicU64::new(0));
    let object = objects::seal(&keys, &random, Kind::WalLedger, &name, b"", &bytes).unwrap();
    let salt = xof("kamba-vault vectors", &0u64.to_le_bytes(), 32);
    let input = json!({ "salt": hex(&salt), "epoch": 1, "body": hex(&bytes) });
    chapter.case("whole ledger", input, json!({ "name": name, "bytes": hex(&object) }));
}
