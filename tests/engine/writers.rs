//! Several writers at once, writers that sleep, and what each leaves behind.

use std::sync::Arc;

use kamba_vault::base::clock::{Cancel, Clock, Timestamp};
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::attrs::Unknown;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::root::{RootBody, SnapshotKind, Stats};
use kamba_vault::format::tree::TreeBuilder;
use kamba_vault::ops::check::{ReadData, check};
use kamba_vault::repo::session::{Content, Session};
use kamba_vault::repo::{self, Environment, Repository, roots};
use kamba_vault::storage::{Backend, Local, Memory};

use crate::roundtrip::read_back;
use crate::support;

/// Commits a snapshot with one stream.
fn commit(repo: &Repository, session: Session, content: &Content) -> Result<(), repo::Error> {
    let mut tree = TreeBuilder::new();
    let node = Node::with_content("stream", NodeType::Stream, content.entries.clone())?;
    tree.push(&node, &mut |kind, bytes| session.store(kind, bytes))?;
    let children = tree.finish(&mut |kind, bytes| session.store(kind, bytes))?;
    let now = repo.clock().now();
    session
        .commit(|id, _| {
            Ok(RootBody {
                session: id,
                repository: repo.id(),
                kind: SnapshotKind::Stream,
                sequence: 1,
                previous: None,
                started: now,
                ended: now,
                root: Node::with_children("", NodeType::Directory, children),
                host: Some("test".into()),
                user: None,
                tags: vec![],
                sources: vec!["stream".into()],
                stats: Stats::default(),
                flags: 0,
                program: None,
                parent: None,
                description: None,
                unknown: Unknown::default(),
            })
        })
        .map(drop)
}

fn store(session: &Session, data: &[u8]) -> Content {
    let mut stream = session.stream();
    stream.write(data).unwrap();
    stream.finish().unwrap()
}

fn assert_clean(repo: &Repository) -> u64 {
    let report = check(repo, ReadData::All, &Silent, &Cancel::new()).unwrap();
    assert!(report.is_clean(), "{report:?}");
    report.snapshots
}

fn leases(backend: &Arc<dyn Backend>) -> usize {
    let mut count = 0;
    backend.list("leases/", &mut |_| count += 1).unwrap();
    count
}

fn many_writers(backend: Arc<dyn Backend>, writers: u64) {
    support::init(&backend);
    let contents: Vec<(Vec<u8>, Content)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|n| {
                let backend = backend.clone();
                scope.spawn(move || {
                    let cache = tempfile::tempdir().unwrap();
                    let repo = support::open(&backend, cache.path());
                    // Half of what each stores is the same for all.
                    let data = [support::rows(1, 700_000), support::rows(100 + n, 700_000)].concat();
                    let session = support::begin(&repo).unwrap();
                    let content = store(&session, &data);
                    commit(&repo, session, &content).unwrap();
                    (data, content)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let cache = tempfile::tempdir().unwrap();
    let repo = support::open(&backend, cache.path());
    assert_eq!(assert_clean(&repo), writers);
    repo::index::refresh(&repo, &Silent, &Cancel::new()).unwrap();
    for (data, content) in contents {
        assert!(read_back(&repo, &content) == data);
    }
    assert_eq!(leases(&backend), 0);
}

#[test]
fn two_and_eight_writers_in_memory() {
    many_writers(Arc::new(Memory::new()), 2);
    many_writers(Arc::new(Memory::new()), 8);
}

#[test]
fn eight_writers_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    many_writers(Arc::new(Local::open(folder.path()).unwrap()), 8);
}

#[test]
fn writers_of_one_process_share_a_cache() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    support::init(&backend);
    let cache = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (backend, cache) = (&backend, cache.path());
            scope.spawn(move || {
                let repo = support::open(backend, cache);
                let session = support::begin(&repo).unwrap();
                let content = store(&session, &support::rows(n, 500_000));
                commit(&repo, session, &content).unwrap();
            });
        }
    });
    let repo = support::open(&backend, cache.path());
    assert_eq!(assert_clean(&repo), 4);
}

#[test]
fn a_writer_that_was_fenced_while_it_slept_cannot_commit() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    support::init(&backend);
    let cache = tempfile::tempdir().unwrap();
    let repo = support::open(&backend, cache.path());
    let session = support::begin(&repo).unwrap();
    let content = store(&session, &support::rows(5, 300_000));
    assert_eq!(leases(&backend), 1, "a lease while it works");
    assert!(roots::fence(&repo, &session.id()).unwrap());
    assert!(roots::fence(&repo, &session.id()).unwrap(), "fencing twice is fencing");
    let failed = commit(&repo, session, &content).unwrap_err();
    assert!(matches!(failed, repo::Error::Fenced { .. }), "{failed}");
    assert_eq!(assert_clean(&repo), 0);
    assert_eq!(leases(&backend), 0, "and none afterwards");
    // The next session reuses what that one stored.
    let session = support::begin(&repo).unwrap();
    let again = store(&session, &support::rows(5, 300_000));
    assert_eq!(again, content);
    let id = session.id();
    commit(&repo, session, &again).unwrap();
    assert!(!roots::fence(&repo, &id).unwrap(), "what is committed cannot be fenced");
    assert_eq!(assert_clean(&repo), 1);
}

#[test]
fn an_earlier_snapshot_that_vanishes_is_noticed() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    support::init(&backend);
    let cache = tempfile::tempdir().unwrap();
    let repo = support::open(&backend, cache.path());
    let mut ids = Vec::new();
    for n in 0..3 {
        let session = support::begin(&repo).unwrap();
        ids.push(session.id());
        let content = store(&session, &support::rows(n, 50_000));
        commit(&repo, session, &content).unwrap();
    }
    backend.delete(&format!("roots/{}", ids[1])).unwrap();
    // Another machine sees the gap in the signer's sequence, this one remembers the snapshot too.
    let other = tempfile::tempdir().unwrap();
    for cache in [cache.path(), other.path()] {
        let repo = support::open(&backend, cache);
        let report = check(&repo, ReadData::None, &Silent, &Cancel::new()).unwrap();
        assert!(!report.damaged.is_empty(), "{report:?}");
    }
}

/// A clock that goes back by an hour at every look.
struct Backwards(std::sync::atomic::AtomicI64);

impl Clock for Backwards {
    fn now(&self) -> Timestamp {
        let hour = 3_600_000_000_000;
        Timestamp(self.0.fetch_sub(hour, std::sync::atomic::Ordering::Relaxed))
    }
}

#[test]
fn a_clock_that_goes_backwards_loses_nothing() {
    let backend: Arc<dyn Backend> = Arc::new(Memory::new());
    support::init(&backend);
    let cache = tempfile::tempdir().unwrap();
    let clock = Arc::new(Backwards(1_800_000_000_000_000_000.into()));
    let environment = Environment { clock, ..support::environment(backend.clone(), cache.path()) };
    let repo = Repository::open(environment, &support::credentials()).unwrap();
    for n in 0..3 {
        let session = support::begin(&repo).unwrap();
        let content = store(&session, &support::rows(n, 50_000));
        commit(&repo, session, &content).unwrap();
    }
    let listing = roots::list(&repo, &Cancel::new()).unwrap();
    assert_eq!(listing.snapshots.len(), 3);
    let sequences: Vec<u64> = listing.snapshots.iter().map(|s| s.root.sequence).collect();
    assert_eq!(sequences, [3, 2, 1], "listed by time, numbered by order");
    assert_clean(&repo);
}
