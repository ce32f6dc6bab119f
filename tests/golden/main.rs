//! Golden repositories: one per version of the format, made once and kept for ever. Every build must
//! open, check and read all of them. `KAMBA_BLESS_GOLDEN=1` makes the present version's where it is
//! missing; it never changes one that is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::hex;
use kamba_vault::base::monitor::Silent;
use kamba_vault::repo::{Credentials, Repository, read_key_file, roots};
use kamba_vault::storage::{Backend, Local};
use kamba_vault::vfs::{EntryKind, View};

/// Hash of every file by `SNAPSHOT:PATH`.
type Expected = BTreeMap<String, String>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/repositories")
}

fn versions() -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Opens a copy, so that not even a lease can change the original.
fn open(version: &Path, scratch: &Path) -> Repository {
    copy(&version.join("repository"), &scratch.join("repository"));
    let key = read_key_file(&std::fs::read(version.join("key")).unwrap()).unwrap();
    let credentials = Credentials { passphrase: None, key_file: Some(key) };
    let backend: Arc<dyn Backend> = Arc::new(Local::open(scratch.join("repository")).unwrap());
    Repository::open(support::environment(backend, &scratch.join("cache")), &credentials).unwrap()
}

fn read_everything(repo: &Repository) -> Expected {
    let mut read = Expected::new();
    for snapshot in roots::list(repo, &Cancel::new()).unwrap().snapshots {
        let view = kamba_vault::ops::look::view(repo, &snapshot, &Silent, &Cancel::new()).unwrap();
        walk(&view, &snapshot.id.to_hex(), &mut read);
    }
    read
}

fn walk(view: &View, snapshot: &str, read: &mut Expected) {
    kamba_vault::ops::look::walk(view, &view.root(), "", true, &mut |path, entry| {
        if entry.kind == EntryKind::File {
            let mut bytes = Vec::new();
            view.write(entry, &mut bytes, &Silent)?;
            read.insert(format!("{snapshot}:{path}"), hex(&kamba_vault::crypto::hash(&bytes)));
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn every_golden_repository_opens_checks_and_reads() {
    let versions = versions();
    assert!(!versions.is_empty(), "there is no golden repository");
    for version in versions {
        let scratch = tempfile::tempdir().unwrap();
        let repo = open(&version, scratch.path());
        let report = support::check_all(&repo);
        assert!(report.is_clean() && report.snapshots >= 2, "{version:?}: {report:#?}");
        let expected = std::fs::read(version.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_slice(&expected).unwrap();
        assert_eq!(read_everything(&repo), expected, "{version:?}");
        // And this build can add to it.
        support::snapshot(&repo, "added", b"by a later build").unwrap();
        assert_eq!(support::assert_clean(&repo).snapshots, report.snapshots + 1);
    }
}

/// Makes the repository of the present version: streams of several kinds, one twice, one large
/// enough for list chunks, one that does not compress.
#[test]
fn the_present_version_has_a_golden_repository() {
    let version = folder().join("v1");
    if version.is_dir() {
        return;
    }
    assert!(
        std::env::var_os("KAMBA_BLESS_GOLDEN").is_some(),
        "run with KAMBA_BLESS_GOLDEN=1 to make {version:?}"
    );
    std::fs::create_dir_all(&version).unwrap();
    let key = support::credentials().key_file.unwrap();
    std::fs::write(version.join("key"), kamba_vault::format::keyslot::encode_key_file(&key).as_bytes())
        .unwrap();
    let backend: Arc<dyn Backend> = Arc::new(Local::open(version.join("repository")).unwrap());
    support::init(&backend);
    let cache = tempfile::tempdir().unwrap();
    let repo = support::open(&backend, cache.path());
    let large = support::rows(1, 600_000);
    support::snapshot(&repo, "large", &large).unwrap();
    support::snapshot(&repo, "large", &[&large[..], b"and one line more\n"].concat()).unwrap();
    support::snapshot(&repo, "noise", &support::noise(2, 40_000)).unwrap();
    support::snapshot(&repo, "empty", b"").unwrap();
    let expected = serde_json::to_vec_pretty(&read_everything(&repo)).unwrap();
    std::fs::write(version.join("expected.json"), expected).unwrap();
}
