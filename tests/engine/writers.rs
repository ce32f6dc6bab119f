//! Several writers at once, writers that sleep, and what each leaves behind.

use std::sync::Arc;

use kamba_vault::base::clock::{Cancel, Clock, Timestamp};
use kamba_vault::base::monitor::Silent;
use kamba_vault::ops::check::{ReadData, check};
use kamba_vault::repo::session::{Content, Session};
use kamba_vault::repo::{self, Environment, Repository, roots};
use kamba_vault::storage::{Backend, Local, Memory};

use crate::program::Sandbox;
use crate::roundtrip::read_back;
use crate::support::{self, names};

/// Commits a snapshot with one stream.
fn commit(repo: &Repository, session: Session, content: &Content) -> Result<(), repo::Error> {
    support::commit_contents(session, repo, [("stream", content)]).map(drop)
}

fn store(session: &Session, data: &[u8]) -> Content {
    support::store(session, data).unwrap()
}

fn assert_clean(repo: &Repository) -> u64 {
    support::assert_clean(repo).snapshots
}

fn leases(backend: &Arc<dyn Backend>) -> usize {
    names(&**backend, "leases/").len()
}

/// So many writers at once, each with its own connection and cache: all that they stored is there.
pub fn many_writers(connect: &(dyn Fn() -> Arc<dyn Backend> + Sync), writers: u64) {
    support::init(&connect());
    let contents: Vec<(Vec<u8>, Content)> = std::thread::scope(|scope| {
        let write = |n| {
            let cache = support::folder();
            let repo = support::open(&connect(), cache.path());
            // Half of what each stores is the same for all.
            let data = [support::rows(1, 700_000), support::rows(100 + n, 700_000)].concat();
            let session = support::begin(&repo).unwrap();
            let content = store(&session, &data);
            commit(&repo, session, &content).unwrap();
            (data, content)
        };
        let threads: Vec<_> = (0..writers).map(|n| scope.spawn(move || write(n))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let cache = support::folder();
    let repo = support::open(&connect(), cache.path());
    assert_eq!(assert_clean(&repo), writers);
    repo::index::refresh(&repo, &Silent, &Cancel::new()).unwrap();
    for (data, content) in contents {
        assert!(read_back(&repo, &content) == data);
    }
    assert_eq!(leases(&connect()), 0);
}

#[test]
fn two_and_eight_writers_in_memory() {
    for writers in [2, 8] {
        let memory = Arc::new(Memory::new());
        many_writers(&|| memory.clone(), writers);
    }
}

#[test]
fn two_and_eight_writers_on_disk() {
    for writers in [2, 8] {
        let folder = tempfile::tempdir().unwrap();
        many_writers(&|| Arc::new(Local::open(folder.path()).unwrap()), writers);
    }
}

#[test]
fn two_and_eight_processes_on_disk() {
    for writers in [2, 8] {
        let sandbox = Sandbox::new();
        let data = |n: u64| [support::rows(1, 700_000), support::rows(100 + n, 700_000)].concat();
        let start = |n: u64| {
            let name = format!("stream-{n}");
            std::fs::write(sandbox.path(&name), data(n)).unwrap();
            let mut command = sandbox.program();
            // Some share a cache, others have their own.
            if n % 2 == 1 {
                command.env("KAMBA_CACHE_DIR", sandbox.path(&format!("cache-{n}")));
            }
            command.args(["-q", "snapshot", "stdin", "--name", &name]);
            let stream = std::fs::File::open(sandbox.path(&name)).unwrap();
            command.stdin(stream).stdout(std::process::Stdio::null()).spawn().unwrap()
        };
        let processes: Vec<_> = (0..writers).map(start).collect();
        for mut process in processes {
            assert!(process.wait().unwrap().success());
        }
        sandbox.run(&["-q", "check", "--read-data"]).text();
        let snapshots = sandbox.snapshots();
        assert_eq!(snapshots.len() as u64, writers);
        for snapshot in snapshots {
            let (id, name) = (snapshot["id"].as_str().unwrap(), snapshot["sources"][0].as_str().unwrap());
            let read = sandbox.run(&["cat", &format!("{id}:{name}")]);
            let stored = std::fs::read(sandbox.path(name)).unwrap();
            assert!(read.status == 0 && read.stdout == stored, "{name}: {}", read.stderr);
        }
        let leases = crate::program::files(&sandbox.path("repository")).into_iter();
        assert_eq!(leases.filter(|path| path.to_str().unwrap().contains("/leases/")).count(), 0);
    }
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
