//! The spool of received WAL: what was appended is there, whatever a crash left of the next frame, and damage of
//! it is told.

use std::fs;
use std::path::{Path, PathBuf};

use kamba_vault::repo::Error;
use kamba_vault::repo::wal::spool::{Spool, files};

use crate::support::Vault;

/// Bytes that a file begins with.
const BEGIN: usize = 8;

/// A file of three frames, and the offsets where they end.
fn file(vault: &Vault, dir: &Path) -> (PathBuf, Vec<u64>) {
    let spool = Spool::open(&vault.repo, dir).unwrap();
    let mut file = spool.begin("A").unwrap();
    let mut ends = Vec::new();
    for plain in [&b"one"[..], &[2; 5000], b"three"] {
        file.append(vault.repo.keys(), vault.repo.random(), plain).unwrap();
        ends.push(fs::metadata(dir.join("A")).unwrap().len());
    }
    assert_eq!(file.len(), 5008);
    (dir.join("A"), ends)
}

#[test]
fn what_was_appended_comes_back_and_a_torn_end_is_cut_off() {
    let (vault, dir) = (Vault::new(), tempfile::tempdir().unwrap());
    let (path, ends) = file(&vault, dir.path());
    let all = fs::read(&path).unwrap();
    let spool = Spool::open(&vault.repo, dir.path()).unwrap();
    let read = |name: &str| spool.read(&vault.repo, name).unwrap();
    let plain = read("A");
    assert_eq!(plain.len(), 5008);
    assert!(plain.starts_with(b"one\x02") && plain.ends_with(b"\x02three"));
    let cuts = (0..all.len()).filter(|cut| *cut < 300 || *cut > 4900);
    for cut in cuts {
        fs::write(&path, &all[..cut]).unwrap();
        let whole = ends.iter().filter(|end| **end <= cut as u64).count();
        assert_eq!(read("A").len(), [0, 3, 5003, 5008][whole], "{cut}");
        // It goes on where it was cut.
        let mut file = spool.resume(&vault.repo, "A").unwrap();
        file.append(vault.repo.keys(), vault.repo.random(), b"more").unwrap();
        assert!(read("A").ends_with(b"more") && read("A").len() as u64 == file.len(), "{cut}");
    }
    // What the disk had no time for is zeros at times.
    for zeroed in ends[1] as usize..all.len() {
        let mut torn = all.clone();
        torn[zeroed..].fill(0);
        fs::write(&path, &torn).unwrap();
        assert_eq!(read("A").len(), if torn == all { 5008 } else { 5003 });
    }
    fs::write(dir.path().join("B"), &all).unwrap();
    assert_eq!(read("B").len(), 0, "it is of the segment that it is called after");
}

#[test]
fn damage_of_what_was_acknowledged_is_no_torn_end() {
    let (vault, dir) = (Vault::new(), tempfile::tempdir().unwrap());
    let (path, ends) = file(&vault, dir.path());
    let all = fs::read(&path).unwrap();
    let spool = Spool::open(&vault.repo, dir.path()).unwrap();
    for at in (BEGIN..ends[1] as usize).filter(|at| *at < 200 || *at > 4900) {
        let mut bad = all.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let read = spool.read(&vault.repo, "A");
        // A length that was hit hides where the next frame is.
        let of_length = [BEGIN, ends[0] as usize].iter().any(|begin| (*begin..begin + 4).contains(&at));
        assert!(read.is_err() || of_length, "byte {at}: {read:?}");
        assert_eq!(spool.resume(&vault.repo, "A").is_err(), read.is_err());
    }
}

#[test]
fn another_key_reads_nothing() {
    let (vault, other, dir) = (Vault::new(), Vault::new(), tempfile::tempdir().unwrap());
    file(&vault, dir.path());
    let refused = Spool::open(&other.repo, dir.path()).unwrap_err();
    assert!(refused.to_string().contains("another key"), "{refused}");
    let spool = Spool::open(&vault.repo, dir.path()).unwrap();
    assert_eq!(spool.read(&other.repo, "A").unwrap(), b"");
}

#[test]
fn a_spool_has_one_writer() {
    let (vault, dir) = (Vault::new(), tempfile::tempdir().unwrap());
    let first = Spool::open(&vault.repo, dir.path()).unwrap();
    assert!(matches!(Spool::open(&vault.repo, dir.path()), Err(Error::InUse { .. })));
    let names = || first.names().unwrap();
    assert_eq!(names(), Vec::<String>::new());
    first.begin("B").unwrap();
    first.begin("A").unwrap();
    assert!(first.begin("A").is_err());
    assert_eq!(names(), ["A", "B"]);
    assert_eq!(first.bytes().unwrap(), 2 * BEGIN as u64);
    first.remove("B").unwrap();
    assert_eq!(names(), ["A"]);
    assert_eq!(files(&dir.path().join("none")).unwrap(), []);
}
