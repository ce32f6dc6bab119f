//! WAL objects in memory: what is put comes back, nothing is replaced, nothing damaged passes.

use std::sync::Arc;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::limits::WAL_OBJECT_MAX;
use kamba_vault::format::keyring::Role;
use kamba_vault::format::wal::{HEAD_LEN, WalBody};
use kamba_vault::ops::wal::record::{self, record};
use kamba_vault::ops::wal::status::status;
use kamba_vault::ops::wal::{fetch, push};
use kamba_vault::postgres::wal::WalName;
use kamba_vault::postgres::wal::owner::Owner;
use kamba_vault::repo::wal::{self, Put, WalFile};
use kamba_vault::repo::{Error, Unlocked};
use kamba_vault::storage::{Backend, Effect, ErrorKind, Fault, Op, Record, Rule};

use crate::segments::{MAGIC, SYSTEM, name, segment, segment_of, size};
use crate::support::{self, Faulty, Vault, roles};

fn file<'a>(name: &'a str, bytes: &'a [u8]) -> WalFile<'a> {
    WalFile { system: SYSTEM, name, bytes, magic: Some(MAGIC), segment_size: Some(1 << 20) }
}

/// Puts a segment whose number is `number`; its object's name.
fn put_segment(repo: &Unlocked, timeline: u32, number: u64) -> String {
    let text = name(timeline, number).to_string();
    let put = wal::put(repo, &file(&text, &segment(timeline, number))).unwrap();
    assert!(matches!(put, Put::New { .. }), "{put:?}");
    wal::object_name(repo, SYSTEM, &text)
}

/// A file as it is handed out piece by piece.
fn in_pieces(repo: &Unlocked, name: &str) -> Result<Option<(WalBody, Vec<u8>)>, Error> {
    let mut read = Vec::new();
    let body = wal::get_in_pieces(repo, SYSTEM, name, &mut |piece| -> Result<(), Error> {
        read.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(body.map(|body| (body, read)))
}

/// A segment of which `len` bytes were written, and `behind` stands behind them.
fn begun(len: usize, behind: u8) -> Vec<u8> {
    let mut bytes = segment(1, 3);
    bytes[len..].fill(behind);
    bytes
}

#[test]
fn beginnings_of_a_segment_stand_beside_each_other_and_the_longest_is_read() {
    let vault = Vault::new();
    let (partial, owner) = (WalName::Partial(name(1, 3)), Owner { system: Some(SYSTEM), version: None });
    let read = || fetch::read(&vault.repo, SYSTEM, partial).unwrap();
    let receive =
        |bytes: &[u8]| push::store_received(&vault.repo, name(1, 3), owner, bytes.to_vec()).unwrap();
    assert_eq!(read(), None);
    // What the server left goes less far, with other bytes behind it: each kind of receiver still stores.
    let left = begun(5000, 7);
    push::store(&vault.repo, &push::check(partial, owner, left.clone()).unwrap()).unwrap();
    assert!(read().unwrap() == left);
    for (number, len) in [(0, 9000), (1, 8000), (2, 200_000)] {
        let pushed = receive(&begun(len, 0));
        assert_eq!((pushed.name, pushed.stored.is_some()), (WalName::Received(name(1, 3), number), true));
    }
    let again = receive(&begun(8000, 0));
    assert_eq!((again.name, again.stored), (WalName::Received(name(1, 3), 1), None));
    assert!(read().unwrap() == begun(200_000, 0));
    let status = status(&vault.repo, &Cancel::new()).unwrap();
    assert!(status.clusters[0].timelines[0].partial);

    // The server's goes further than all that was received, or ends where that does.
    for (len, behind) in [(200_001, 7), (200_000, 0)] {
        let vault = Vault::new();
        push::store_received(&vault.repo, name(1, 3), owner, begun(200_000, 0)).unwrap();
        let left = begun(len, behind);
        push::store(&vault.repo, &push::check(partial, owner, left.clone()).unwrap()).unwrap();
        assert!(fetch::read(&vault.repo, SYSTEM, partial).unwrap().unwrap() == left);
    }
}

#[test]
fn what_is_put_comes_back_and_is_never_replaced() {
    let vault = Vault::new();
    let long: Vec<u8> = segment_of(SYSTEM, 1, 0, 1 << 20).repeat(5);
    let mut zeros = long.clone();
    zeros[1 << 20..].fill(0);
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("short", b"x"),
        ("nothing", &[0; 5000]),
        ("frames", &long),
        ("cut", &long[..(3 << 20) + 17]),
        ("zeros", &zeros),
        ("00000002.history", b"1\t0/30000D8\tno recovery target specified\n"),
    ] {
        let Put::New { stored } = wal::put(&vault.repo, &file(name, bytes)).unwrap() else {
            panic!("{name}")
        };
        let object = wal::object_name(&vault.repo, SYSTEM, name);
        assert_eq!(vault.backend.stat(&object).unwrap(), Some(stored));
        let elsewhere = vault.elsewhere();
        let (body, read) = wal::get(&elsewhere.repo, SYSTEM, name).unwrap().unwrap();
        assert!(read == bytes, "{name}");
        let (same, read) = in_pieces(&elsewhere.repo, name).unwrap().unwrap();
        assert!(read == bytes && same == body, "{name}");
        assert_eq!((body.file.as_str(), body.len, body.object_len()), (name, bytes.len() as u64, stored));
        assert_eq!(wal::describe(&elsewhere.repo, SYSTEM, name).unwrap(), Some(body.clone()));
        assert_eq!(wal::put(&elsewhere.repo, &file(name, bytes)).unwrap(), Put::Same, "{name}");
        let mut other = bytes.to_vec();
        other.push(1);
        assert_eq!(wal::put(&elsewhere.repo, &file(name, &other)).unwrap(), Put::Different(Box::new(body)));
        assert!(wal::get(&vault.repo, SYSTEM, name).unwrap().unwrap().1 == bytes, "{name}");
    }
    let Put::New { stored } = wal::put(&vault.repo, &file("z", &vec![0; 16 << 20])).unwrap() else {
        panic!()
    };
    assert_eq!(stored, HEAD_LEN as u64, "zeros cost nothing");
}

#[test]
fn a_file_is_another_in_another_cluster() {
    let vault = Vault::new();
    let there = file("000000010000000000000001", b"one");
    wal::put(&vault.repo, &there).unwrap();
    assert!(matches!(wal::put(&vault.repo, &WalFile { system: 1, ..there }).unwrap(), Put::New { .. }));
    assert!(wal::exists(&vault.repo, SYSTEM, there.name).unwrap());
    assert!(!wal::exists(&vault.repo, 2, there.name).unwrap());
    assert!(wal::get(&vault.repo, 2, there.name).unwrap().is_none());
    assert!(wal::describe(&vault.repo, SYSTEM, "000000010000000000000002").unwrap().is_none());
}

#[test]
fn no_byte_of_an_object_can_change_unseen() {
    let vault = Vault::new();
    let object = put_segment(&vault.repo, 1, 3);
    let text = name(1, 3).to_string();
    let good = vault.backend.get(&object, WAL_OBJECT_MAX).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        vault.memory.overwrite(&object, bytes);
        let error = wal::get(&vault.repo, SYSTEM, &text).expect_err(what);
        let class = error.class();
        assert!(matches!(class, Class::Damaged | Class::Failed | Class::WrongKey), "{what}: {error}");
        assert!(error.to_string().contains(&object), "{what}: {error}");
        assert_eq!(in_pieces(&vault.repo, &text).expect_err(what).class(), class, "{what}, in pieces");
    };
    // Every byte of the head, and of the frames as many as there is time for.
    for at in (0..HEAD_LEN).chain((HEAD_LEN..good.len()).step_by(4099)).chain([good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        refused(&bad, &format!("byte {at}"));
    }
    for len in [0, 1, 63, 64, HEAD_LEN - 1, HEAD_LEN, good.len() - 1] {
        refused(&good[..len], &format!("cut to {len}"));
    }
    refused(&[&good[..], &[0]].concat(), "longer");
    let other = put_segment(&vault.repo, 1, 4);
    refused(&vault.backend.get(&other, WAL_OBJECT_MAX).unwrap(), "another segment's object");
    // The head of one with the frames of the other.
    let swapped =
        [&good[..HEAD_LEN], &vault.backend.get(&other, WAL_OBJECT_MAX).unwrap()[HEAD_LEN..]].concat();
    refused(&swapped, "swapped");
    vault.memory.overwrite(&object, &good);
    wal::get(&vault.repo, SYSTEM, &text).unwrap().unwrap();
}

#[test]
fn damage_names_the_wal_file_and_is_no_other_file() {
    let vault = Vault::new();
    let object = put_segment(&vault.repo, 1, 3);
    let mut bytes = vault.backend.get(&object, WAL_OBJECT_MAX).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    vault.memory.overwrite(&object, &bytes);
    let text = name(1, 3).to_string();
    let error = wal::get(&vault.repo, SYSTEM, &text).unwrap_err().to_string();
    assert!(error.contains(&text) && error.contains(&object), "{error}");
    // With a sound head the segment is known to be there, and the same.
    assert_eq!(wal::put(&vault.repo, &file(&text, &segment(1, 3))).unwrap(), Put::Same);
    bytes[700] ^= 1;
    vault.memory.overwrite(&object, &bytes);
    let error = wal::put(&vault.repo, &file(&text, &segment(1, 3))).unwrap_err();
    assert_eq!(error.class(), Class::Damaged, "{error}");
}

#[test]
fn a_writer_pushes_and_tells_the_same_again_but_cannot_read() {
    let vault = Vault::new();
    let cache = support::folder();
    let ring = roles::writer(vault.repo.keys().ring());
    let writer = roles::open_as(&vault.memory, &ring, cache.path());
    assert_eq!(writer.keys().role(), Role::Writer);
    put_segment(&writer, 1, 3);
    let text = name(1, 3).to_string();
    assert_eq!(wal::put(&writer, &file(&text, &segment(1, 3))).unwrap(), Put::Same);
    assert!(matches!(wal::put(&writer, &file(&text, b"other")).unwrap(), Put::Different(_)));
    assert_eq!(wal::get(&writer, SYSTEM, &text).unwrap_err().class(), Class::Denied);
    assert!(wal::get(&vault.repo, SYSTEM, &text).unwrap().unwrap().1 == segment(1, 3));
    // What differs is said as far as the key allows.
    let other = segment_of(SYSTEM, 1, 3, 600_100);
    let push = |repo: &Unlocked| {
        let loaded = push::check(WalName::Segment(name(1, 3)), Owner::default(), other.clone()).unwrap();
        push::store(repo, &loaded).unwrap_err().to_string()
    };
    assert!(push(&writer).contains("with other content"), "{}", push(&writer));
    assert!(push(&vault.repo).contains("the first difference is at byte"), "{}", push(&vault.repo));
}

#[test]
fn a_push_is_one_request_and_a_fetch_is_one() {
    let vault = Vault::new();
    let record = Arc::new(Record::new(vault.memory.clone()));
    let backend = record.clone() as Arc<dyn Backend>;
    let cache = support::folder();
    let repo = Unlocked::open(support::environment(backend, cache.path()), &support::credentials()).unwrap();
    let all = |record: &Record| record.calls().into_iter().map(|call| call.op).collect::<Vec<_>>();
    let mut open = all(&record);
    open.sort();
    assert_eq!(open, [Op::Get, Op::Get, Op::Get, Op::List, Op::List], "configuration, keyslot, signers");
    assert!(std::fs::read_dir(cache.path()).unwrap().next().is_none(), "no index cache is made");
    record.clear();
    put_segment(&repo, 1, 3);
    // Asked first, since that costs nothing here.
    assert_eq!(all(&record), [Op::GetRange, Op::Put]);
    record.clear();
    wal::get(&repo, SYSTEM, &name(1, 3).to_string()).unwrap().unwrap();
    assert_eq!(all(&record), [Op::Get]);
    record.clear();
    let text = name(1, 3).to_string();
    wal::put(&repo, &file(&text, &segment(1, 3))).unwrap();
    assert_eq!(all(&record), [Op::GetRange, Op::MakeDurable], "what is there is described by its head");
    assert_eq!(record.total(Op::GetRange).amount, HEAD_LEN as u64);
    record.clear();
    assert!(wal::get(&repo, SYSTEM, "000000010000000000000009").unwrap().is_none());
    assert_eq!(all(&record), [Op::Get, Op::Stat], "absent, in a repository that is there");
}

#[test]
fn a_place_that_fails_is_not_one_without_the_file() {
    let faulty = Faulty::new();
    let text = name(1, 3).to_string();
    for kind in [ErrorKind::Temporary, ErrorKind::Permission, ErrorKind::Other] {
        faulty.fault.clear();
        faulty.fault.add(Rule::new(Effect::Fail(kind), |_, name| name.starts_with("wal/")));
        assert!(wal::get(&faulty.repo, SYSTEM, &text).is_err(), "{kind:?}");
        assert!(wal::describe(&faulty.repo, SYSTEM, &text).is_err(), "{kind:?}");
        assert!(wal::exists(&faulty.repo, SYSTEM, &text).is_err(), "{kind:?}");
    }
    faulty.fault.clear();
    // A disk that is no longer mounted has no configuration either.
    faulty.memory.delete("config").unwrap();
    for error in [
        wal::get(&faulty.repo, SYSTEM, &text).map(drop).unwrap_err(),
        wal::describe(&faulty.repo, SYSTEM, &text).map(drop).unwrap_err(),
        wal::exists(&faulty.repo, SYSTEM, &text).map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, Error::NoRepository { .. }), "{error}");
    }
}

#[test]
fn a_push_that_loses_its_reply_or_dies_leaves_all_or_nothing() {
    for has_effect in [false, true] {
        let vault = Vault::new();
        let fault = Arc::new(Fault::new(vault.memory.clone()));
        let cache = support::folder();
        let repo = support::open(&(fault.clone() as Arc<dyn Backend>), cache.path());
        fault.crash_after(0, has_effect);
        let text = name(1, 3).to_string();
        wal::put(&repo, &file(&text, &segment(1, 3))).unwrap_err();
        let again = wal::put(&vault.repo, &file(&text, &segment(1, 3))).unwrap();
        assert_eq!(again == Put::Same, has_effect);
        assert!(wal::get(&vault.repo, SYSTEM, &text).unwrap().unwrap().1 == segment(1, 3));
    }
}

#[test]
fn what_is_missing_is_a_gap_and_what_a_ledger_names_is_lost() {
    let vault = Vault::new();
    for number in [2, 3, 4, 5, 7, 8] {
        put_segment(&vault.repo, 1, number);
    }
    put_segment(&vault.repo, 2, 8);
    let history = b"1\t0/800000\tswitched\n";
    let history = WalFile { magic: None, segment_size: None, ..file("00000002.history", history) };
    wal::put(&vault.repo, &history).unwrap();
    record(&vault.repo, SYSTEM, 1, size(), 0..=63).unwrap();
    let found = status(&vault.repo, &Cancel::new()).unwrap();
    assert_eq!(found.damaged, []);
    let [cluster] = &found.clusters[..] else { panic!("{found:?}") };
    assert_eq!((cluster.system, &cluster.histories[..]), (SYSTEM, &[2][..]));
    let [first, second] = &cluster.timelines[..] else { panic!("{cluster:?}") };
    assert_eq!((first.count(), &first.present[..]), (6, &[2..=5, 7..=8][..]));
    assert_eq!((&first.gaps[..], first.lost.len()), (&[6..=6][..], 0));
    assert_eq!(first.ends().unwrap(), (name(1, 2), name(1, 8)));
    assert_eq!((second.timeline, second.count()), (2, 1));
    // Those that go now were there when the ledger was written.
    for number in [2, 4, 8] {
        vault.memory.delete(&wal::object_name(&vault.repo, SYSTEM, &name(1, number).to_string())).unwrap();
    }
    for seen_by in [&vault, &vault.elsewhere()] {
        let found = status(&seen_by.repo, &Cancel::new()).unwrap();
        let first = &found.clusters[0].timelines[0];
        assert_eq!(first.lost, [2..=2, 4..=4, 8..=8]);
        assert_eq!(first.gaps, [6..=6]);
    }
}

#[test]
fn the_last_segment_of_sixty_four_is_due_a_ledger() {
    let vault = Vault::new();
    let due = |number| {
        let name = WalName::Segment(name(1, number));
        let loaded = push::check(name, Owner::default(), segment(1, number)).unwrap();
        record::due(&push::store(&vault.repo, &loaded).unwrap())
    };
    assert_eq!(due(62), None);
    assert_eq!(due(63), Some((1, size(), 0..=63)));
    assert_eq!(due(127), Some((1, size(), 64..=127)));
}

#[test]
fn heads_are_read_once_and_damage_hides_no_other() {
    let vault = Vault::new();
    let objects: Vec<String> = (0..20).map(|number| put_segment(&vault.repo, 1, number)).collect();
    let record = Arc::new(Record::new(vault.memory.clone()));
    let cache = support::folder();
    let repo = support::open(&(record.clone() as Arc<dyn Backend>), cache.path());
    record.clear();
    assert_eq!(status(&repo, &Cancel::new()).unwrap().clusters[0].timelines[0].count(), 20);
    assert_eq!((record.total(Op::List).calls, record.total(Op::GetRange).calls), (3, 20));
    record.clear();
    assert_eq!(status(&repo, &Cancel::new()).unwrap().clusters[0].timelines[0].count(), 20);
    assert_eq!((record.total(Op::List).calls, record.total(Op::GetRange).calls), (3, 0));
    let mut bad = vault.backend.get(&objects[7], WAL_OBJECT_MAX).unwrap();
    bad.pop();
    vault.memory.overwrite(&objects[7], &bad);
    let found = status(&vault.repo, &Cancel::new()).unwrap();
    assert_eq!(found.clusters[0].timelines[0].gaps, [7..=7]);
    let [(object, reason)] = &found.damaged[..] else { panic!("{found:?}") };
    assert!(*object == objects[7] && reason.contains(&name(1, 7).to_string()), "{reason}");
}

#[test]
fn a_segment_is_what_its_name_says_before_postgresql_sees_it() {
    let vault = Vault::new();
    let folder = support::folder();
    let to = folder.path().join("RECOVERYXLOG");
    // Whoever can push can push nonsense past the checks of `wal push`.
    for (number, bytes) in [(3, segment(1, 4)), (4, segment_of(5, 1, 4, 1000)), (5, b"short".to_vec())] {
        let text = name(1, number).to_string();
        wal::put(&vault.repo, &file(&text, &bytes)).unwrap();
        let refused = fetch::fetch(&vault.repo, SYSTEM, WalName::Segment(name(1, number)), &to);
        assert!(refused.unwrap_err().to_string().contains(&text));
        assert!(!to.exists());
    }
}
