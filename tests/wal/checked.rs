//! `check` on WAL: what is whole passes, what is not is named with the file that it holds.

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::limits::WAL_OBJECT_MAX;
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::wal::HEAD_LEN;
use kamba_vault::ops::check::{ReadData, Report, check};
use kamba_vault::ops::wal::record::record;
use kamba_vault::repo::wal::{self, WalFile};
use kamba_vault::storage::Backend;

use crate::segments::{MAGIC, SYSTEM, name, segment, size};
use crate::support::Vault;

/// A repository with so many segments and a ledger that names them; their objects.
fn vault(count: u64) -> (Vault, Vec<String>) {
    let vault = Vault::new();
    let mut objects = Vec::new();
    for number in 0..count {
        let (text, bytes) = (name(1, number).to_string(), segment(1, number));
        let file = WalFile {
            system: SYSTEM,
            name: &text,
            bytes: &bytes,
            magic: Some(MAGIC),
            segment_size: Some(1 << 20),
        };
        wal::put(&vault.repo, &file).unwrap();
        objects.push(wal::object_name(&vault.repo, SYSTEM, &text));
    }
    record(&vault.repo, SYSTEM, 1, size(), 0..=count).unwrap();
    (vault, objects)
}

fn checked(vault: &Vault, read: ReadData) -> Report {
    check(&vault.repo, read, &Silent, &Cancel::new()).unwrap()
}

/// The damage must be this object's, and its reason must name the segment.
#[track_caller]
fn damaged(report: &Report, object: &str, number: u64) {
    let [damage] = &report.damaged[..] else { panic!("{report:?}") };
    assert_eq!(damage.object, object);
    assert!(damage.reason.contains(&name(1, number).to_string()), "{}", damage.reason);
}

#[test]
fn sound_wal_passes_and_is_counted() {
    let (vault, _) = vault(9);
    let report = checked(&vault, ReadData::None);
    assert!(report.is_clean() && report.notes.is_empty(), "{report:?}");
    assert_eq!((report.wal_files, report.wal_files_read, report.bytes_read), (9, 0, 0));
    let report = checked(&vault, ReadData::All);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.wal_files_read, report.bytes_read), (9, 9 << 20));
    let parts = (1..=3).map(|part| checked(&vault, ReadData::Part { part, of: 3 }).wal_files_read);
    assert_eq!(parts.sum::<u64>(), 9);
}

#[test]
fn a_damaged_frame_is_found_by_reading_and_all_else_without() {
    let (vault, objects) = vault(4);
    let good = vault.backend.get(&objects[2], WAL_OBJECT_MAX).unwrap();
    let mut bad = good.clone();
    bad[HEAD_LEN + 5] ^= 1;
    vault.memory.overwrite(&objects[2], &bad);
    assert!(checked(&vault, ReadData::None).is_clean());
    damaged(&checked(&vault, ReadData::All), &objects[2], 2);
    vault.memory.overwrite(&objects[2], &good[..good.len() - 1]);
    let report = checked(&vault, ReadData::None);
    damaged(&report, &objects[2], 2);
    assert!(report.damaged[0].reason.contains("bytes where its head says"), "{report:?}");
    let mut bad = good.clone();
    bad[300] ^= 1;
    vault.memory.overwrite(&objects[2], &bad);
    let report = checked(&vault, ReadData::None);
    let [damage] = &report.damaged[..] else { panic!("it is damaged, not missing too: {report:?}") };
    assert!(damage.object == objects[2] && damage.reason.contains("does not verify"), "{damage:?}");
    // At another's place.
    vault.memory.overwrite(&objects[2], &vault.backend.get(&objects[1], WAL_OBJECT_MAX).unwrap());
    let report = checked(&vault, ReadData::None);
    assert!(report.damaged[0].reason.contains("at another name"), "{report:?}");
}

#[test]
fn a_removed_segment_is_damage_and_a_gap_is_a_note() {
    let (vault, objects) = vault(4);
    vault.memory.delete(&objects[1]).unwrap();
    damaged(&checked(&vault, ReadData::None), &objects[1], 1);
    let ledgers = crate::support::names(&*vault.memory, "wal/ledger/");
    let [ledger] = &ledgers[..] else { panic!("{ledgers:?}") };
    let good = vault.backend.get(ledger, 1 << 20).unwrap();
    vault.memory.delete(ledger).unwrap();
    let report = checked(&vault, ReadData::None);
    assert!(report.is_clean(), "{report:?}");
    assert!(report.notes[0].contains("lacks 1 segments between others"), "{report:?}");
    let mut bad = good;
    bad[100] ^= 1;
    vault.memory.overwrite(ledger, &bad);
    let report = checked(&vault, ReadData::None);
    assert_eq!(report.damaged[0].object, *ledger);
}
