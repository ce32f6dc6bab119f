//! Golden repositories: four per version of the format, one of streams and a database, one of a file
//! tree, one of deltas and one of a cluster with its WAL, made once and kept for ever. Every build must open, check and read all of them.
//! `KAMBA_BLESS_GOLDEN=1` makes the present version's where they are missing; it never changes one that
//! is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod cluster;
mod dump;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::{SignerId, SlotId, hex};
use kamba_vault::base::monitor::Silent;
use kamba_vault::crypto::{AeadKey, Domain, Place, SlotSecret};
use kamba_vault::format::header::{Header, Kind, VERSION};
use kamba_vault::format::keyring::Keyring;
use kamba_vault::format::keyslot::{self, Argon, KeySlot, SlotKind};
use kamba_vault::format::name::keyslot_name;
use kamba_vault::format::root::SnapshotKind;
use kamba_vault::ops::restore_files::{Deaf, FilesRequest, Severity, restore_files};
use kamba_vault::repo::roots::Snapshot;
use kamba_vault::repo::{Credentials, Environment, Repository, index, read_key_file, roots};
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

/// Opens a copy, so that not even a lease can change the original; by passphrase, then by key file.
fn open(version: &Path, scratch: &Path) -> Repository {
    copy(&version.join("repository"), &scratch.join("repository"));
    let backend: Arc<dyn Backend> = Arc::new(Local::open(scratch.join("repository")).unwrap());
    let open = |credentials: &Credentials| {
        Repository::open(support::environment(backend.clone(), &scratch.join("cache")), credentials).unwrap()
    };
    let passphrase = std::fs::read_to_string(version.join("passphrase")).unwrap();
    let by_passphrase = open(&support::passphrase(&passphrase));
    let key = read_key_file(&std::fs::read(version.join("key")).unwrap()).unwrap();
    let repo = open(&Credentials { passphrase: None, key_file: Some(key) });
    assert_eq!(by_passphrase.keys().ring(), repo.keys().ring());
    repo
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
        // What is made of the head for people may be made better, and of the rows in other formats too.
        let path = path.escape_ascii().to_string();
        let is_made = path.ends_with("/schema.sql") || path.ends_with(".csv");
        if entry.kind == EntryKind::File && !is_made {
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
        let expired = |note: &String| note.starts_with("leases/") && note.contains("has expired");
        assert!(report.notes.iter().any(expired), "{version:?}: {report:#?}");
        assert_eq!(roots::list(&repo, &Cancel::new()).unwrap().tombstones.len(), 1, "{version:?}");
        let expected = std::fs::read(version.join("expected.json")).unwrap();
        let expected: Expected = serde_json::from_slice(&expected).unwrap();
        assert_eq!(read_everything(&repo), expected, "{version:?}");
        // And this build can add to it.
        support::snapshot(&repo, "added", b"by a later build").unwrap();
        assert_eq!(support::assert_clean(&repo).snapshots, report.snapshots + 1);
    }
}

#[test]
fn every_golden_tree_has_its_nodes_and_is_restored() {
    let is_tree = |version: &PathBuf| version.to_string_lossy().ends_with(TREE);
    let trees: Vec<_> = versions().into_iter().filter(is_tree).collect();
    assert!(!trees.is_empty(), "there is no golden tree");
    for version in trees {
        let scratch = tempfile::tempdir().unwrap();
        let repo = open(&version, scratch.path());
        let snapshot = tree_in(&repo);
        let expected = std::fs::read(version.join("nodes.json")).unwrap();
        let expected: tree::Nodes = serde_json::from_slice(&expected).unwrap();
        let nodes = tree::nodes(&repo, &snapshot);
        for (path, node) in &expected {
            assert_eq!(nodes.get(path), Some(node), "{version:?}: {path}");
        }
        assert_eq!(nodes.len(), expected.len(), "{version:?}");
        let target = scratch.path().join("target");
        let request = FilesRequest { target, verify: true, numeric_ids: true, ..FilesRequest::default() };
        let cancel = Cancel::new();
        let report = restore_files(&repo, &snapshot, &request, &Deaf, &Silent, &cancel).unwrap();
        let count = |severity| report.count(severity);
        // What a later version knows, and without root's rights the devices.
        let failed = if rustix::process::geteuid().is_root() { 1 } else { 3 };
        assert_eq!((count(Severity::Damaged), count(Severity::Failed)), (0, failed), "{report:#?}");
        let content =
            |((of, what), _): &((Severity, String), u64)| *of == Severity::Differs && what == "content";
        assert_eq!(report.troubles.clone().into_iter().find(content), None);
    }
}

/// The snapshot of a file tree.
fn tree_in(repo: &Repository) -> Snapshot {
    let listing = roots::list(repo, &Cancel::new()).unwrap();
    listing.snapshots.into_iter().find(|snapshot| snapshot.root.kind == SnapshotKind::Files).unwrap()
}

/// How the name of a repository with a file tree ends.
const TREE: &str = "-files";

/// Makes the repository of the present version, if it is not there: streams of several kinds, one twice,
/// one large enough for list chunks, one that does not compress; a database; a second keyslot with a
/// passphrase; a session that died, whose lease has expired, and that was fenced.
#[test]
fn the_present_version_has_a_golden_repository() {
    let Some((version, backend)) = missing(&format!("v{VERSION}")) else { return };
    let cache = tempfile::tempdir().unwrap();
    let repo = support::open(&backend, cache.path());
    let large = support::rows(1, 600_000);
    support::snapshot(&repo, "large", &large).unwrap();
    support::snapshot(&repo, "large", &[&large[..], b"and one line more\n"].concat()).unwrap();
    support::snapshot(&repo, "noise", &support::noise(2, 40_000)).unwrap();
    support::snapshot(&repo, "empty", b"").unwrap();
    let dump = std::fs::read(folder().with_file_name("shop.dump")).unwrap();
    dump::snapshot(&repo, &dump);
    die_and_be_fenced(&backend);
    let read = read_everything(&repo);
    let whole = read.iter().find(|(path, _)| path.ends_with("shop/database.dump")).unwrap().1;
    assert_eq!(*whole, hex(&kamba_vault::crypto::hash(&dump)));
    std::fs::write(version.join("expected.json"), serde_json::to_vec_pretty(&read).unwrap()).unwrap();
}

/// The same for a file tree with everything in it, and a stream.
#[test]
fn the_present_version_has_a_golden_tree() {
    let Some((version, backend)) = missing(&format!("v{VERSION}{TREE}")) else { return };
    let cache = tempfile::tempdir().unwrap();
    let repo = support::open(&backend, cache.path());
    support::snapshot(&repo, "beside", b"a stream").unwrap();
    tree::snapshot(&repo);
    die_and_be_fenced(&backend);
    let (read, nodes) = (read_everything(&repo), tree::nodes(&repo, &tree_in(&repo)));
    std::fs::write(version.join("expected.json"), serde_json::to_vec_pretty(&read).unwrap()).unwrap();
    std::fs::write(version.join("nodes.json"), serde_json::to_vec_pretty(&nodes).unwrap()).unwrap();
}

/// How the name of a repository with deltas ends.
const DELTAS: &str = "-deltas";

/// The same for a stream that changes a little from day to day.
#[test]
fn the_present_version_has_golden_deltas() {
    let Some((version, backend)) = missing(&format!("v{VERSION}{DELTAS}")) else { return };
    let cache = tempfile::tempdir().unwrap();
    let repo = support::open(&backend, cache.path());
    let mut data = support::rows(3, 150_000);
    for day in 0..5 {
        support::snapshot(&repo, "rows", &data).unwrap();
        data.splice(40_000 + 100 * day..40_020 + 100 * day, support::noise(day as u64, 50));
    }
    die_and_be_fenced(&backend);
    let read = read_everything(&repo);
    std::fs::write(version.join("expected.json"), serde_json::to_vec_pretty(&read).unwrap()).unwrap();
}

/// How the name of a repository with base backups and WAL ends.
const CLUSTER: &str = "-cluster";

/// The same for two base backups and WAL.
#[test]
fn the_present_version_has_a_golden_cluster() {
    let Some((version, backend)) = missing(&format!("v{VERSION}{CLUSTER}")) else { return };
    let cache = tempfile::tempdir().unwrap();
    let repo = support::open(&backend, cache.path());
    let first = cluster::snapshot(&repo, 0, Vec::new());
    cluster::snapshot(&repo, 1, first);
    cluster::store_wal(&repo);
    die_and_be_fenced(&backend);
    let (read, wal) = (read_everything(&repo), cluster::read_wal(&repo));
    std::fs::write(version.join("expected.json"), serde_json::to_vec_pretty(&read).unwrap()).unwrap();
    std::fs::write(version.join("wal.json"), serde_json::to_vec_pretty(&wal).unwrap()).unwrap();
}

#[test]
fn every_golden_cluster_has_its_wal() {
    let is_cluster = |version: &PathBuf| version.to_string_lossy().ends_with(CLUSTER);
    let clusters: Vec<_> = versions().into_iter().filter(is_cluster).collect();
    assert!(!clusters.is_empty(), "there is no golden cluster");
    for version in clusters {
        let scratch = tempfile::tempdir().unwrap();
        let repo = open(&version, scratch.path());
        assert_eq!(cluster::bases(&repo), [cluster::base(0), cluster::base(1)], "{version:?}");
        let expected = std::fs::read(version.join("wal.json")).unwrap();
        let expected: BTreeMap<String, String> = serde_json::from_slice(&expected).unwrap();
        assert_eq!(cluster::read_wal(&repo), expected, "{version:?}");
    }
}

#[test]
fn every_golden_chain_has_its_links() {
    let is_chain = |version: &PathBuf| version.to_string_lossy().ends_with(DELTAS);
    let chains: Vec<_> = versions().into_iter().filter(is_chain).collect();
    assert!(!chains.is_empty(), "there are no golden deltas");
    for version in chains {
        let scratch = tempfile::tempdir().unwrap();
        let repo = open(&version, scratch.path());
        index::refresh(&repo, &Silent, &Cancel::new()).unwrap();
        let mut depths = std::collections::BTreeSet::new();
        let each = &mut |_, pack: index::PackInfo| {
            depths.extend(pack.segments.iter().map(|segment| segment.depth));
            Ok(())
        };
        repo.index().each_pack(each).unwrap();
        assert_eq!(depths.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4], "{version:?}");
    }
}

/// A new repository with two keyslots in that golden folder, unless there is one.
fn missing(name: &str) -> Option<(PathBuf, Arc<dyn Backend>)> {
    let version = folder().join(name);
    if version.is_dir() {
        return None;
    }
    assert!(
        std::env::var_os("KAMBA_BLESS_GOLDEN").is_some(),
        "run with KAMBA_BLESS_GOLDEN=1 to make {version:?}"
    );
    std::fs::create_dir_all(&version).unwrap();
    let key = support::credentials().key_file.unwrap();
    std::fs::write(version.join("key"), keyslot::encode_key_file(&key).as_bytes()).unwrap();
    std::fs::write(version.join("passphrase"), PASSPHRASE).unwrap();
    let backend: Arc<dyn Backend> = Arc::new(Local::open(version.join("repository")).unwrap());
    support::init(&backend);
    let cache = tempfile::tempdir().unwrap();
    let (name, slot) = passphrase_slot(support::open(&backend, cache.path()).keys().ring());
    backend.put_new(&name, &slot).unwrap();
    Some((version, backend))
}

const PASSPHRASE: &str = "correct horse battery staple";

/// A keyslot of `ring` for the passphrase, at a cost that a test can pay.
fn passphrase_slot(ring: &Keyring) -> (String, Vec<u8>) {
    let cost = support::CHEAP;
    let header = Header::new(Kind::KeySlot, 0, SignerId([0; 16]), [0x5a; 32]);
    let argon = Argon { memory_kib: cost.memory_kib, passes: cost.passes, lanes: cost.lanes };
    let clear = keyslot::clear(&header, &ring.repository, SlotKind::Passphrase, argon);
    let secret = SlotSecret::Passphrase(support::passphrase(PASSPHRASE).passphrase.unwrap());
    let keys = secret.keys(cost, &header.salt, &clear).unwrap();
    let mut sealed = ring.encode().unwrap().to_vec();
    let tail = [&clear[..], &keys.commitment].concat();
    let place = Place { header: &header.encode(), domain: Domain::Keyring, ordinal: 0, tail: &tail };
    AeadKey::new(&keys.seal).seal(place, &mut sealed, 0).unwrap();
    let (repository, commitment) = (ring.repository, keys.commitment);
    let slot = KeySlot { header, repository, kind: SlotKind::Passphrase, argon, commitment, sealed };
    let bytes = slot.encode();
    let id = SlotId(*kamba_vault::crypto::hash(&bytes).first_chunk().unwrap());
    (keyslot_name(&id), bytes)
}

/// A session that began long ago and was never heard of again.
fn die_and_be_fenced(backend: &Arc<dyn Backend>) {
    let cache = tempfile::tempdir().unwrap();
    let clock = support::TestClock::at(1_700_000_000_000_000_000);
    let then = Environment { clock, ..support::environment(backend.clone(), cache.path()) };
    let repo = Repository::open(then, &support::credentials()).unwrap();
    let session = support::begin(&repo).unwrap();
    let id = session.id();
    drop(session);
    assert!(roots::fence(&repo, &id).unwrap());
}
