//! Backends that do not create atomically: those that look before they write, and those that ignore
//! the condition and overwrite. Commits work on both, and a session that was fenced does not commit.

use std::ops::Range;
use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::format::config;
use kamba_vault::repo::{self, roots};
use kamba_vault::storage::{Backend, CreateIfAbsent, Entry, Error, LookFirst, Memory};

use crate::support::views::{Model, assert_reads};
use crate::support::{self, Streams, names, rows};

/// Claims to create atomically, and overwrites: S3 servers that do not know If-None-Match.
#[derive(Debug, Default)]
struct Overwrites(Memory);

impl Backend for Overwrites {
    fn location(&self) -> String {
        "overwrites".to_owned()
    }
    fn create_if_absent(&self) -> CreateIfAbsent {
        CreateIfAbsent::Atomic
    }
    fn is_local(&self) -> bool {
        false
    }
    fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        self.0.get(name, max)
    }
    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        self.0.get_range(name, range, into)
    }
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.0.overwrite(name, bytes);
        Ok(())
    }
    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        self.0.list(prefix, each)
    }
    fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
        self.0.stat(name)
    }
    fn delete(&self, name: &str) -> Result<(), Error> {
        self.0.delete(name)
    }
}

/// Commits, and fences before and after a commit.
fn commits_and_fences(backend: Arc<dyn Backend>, found: config::CreateIfAbsent) {
    support::init(&backend);
    let cache = support::folder();
    let repo = support::open(&backend, cache.path());
    assert_eq!(repo.config().probe.create_if_absent, Some(found));
    let streams = Streams::from([("stream".to_owned(), rows(1, 200_000))]);
    let id = support::snapshot_streams(&repo, &streams).unwrap();
    assert_reads(&repo, &Model::from([(id, streams.clone())]));
    // What is committed cannot be fenced, and is not lost by the attempt.
    assert!(!roots::fence(&repo, &id).unwrap());
    let other = support::folder();
    let elsewhere = support::open(&backend, other.path());
    assert_reads(&elsewhere, &Model::from([(id, streams.clone())]));
    // Whoever was fenced while he slept does not commit.
    let session = support::begin(&repo).unwrap();
    let fenced = session.id();
    assert!(roots::fence(&elsewhere, &fenced).unwrap());
    let refused = support::commit_streams(session, &repo, &streams).unwrap_err();
    assert!(matches!(refused, repo::Error::Fenced { .. }), "{refused}");
    let listing = roots::list(&elsewhere, &Cancel::new()).unwrap();
    assert_eq!(listing.snapshots.iter().map(|snapshot| snapshot.id).collect::<Vec<_>>(), [id]);
    assert_eq!(listing.tombstones, [format!("roots/{fenced}")]);
    assert_eq!(support::assert_clean(&elsewhere).snapshots, 1);
    assert!(names(&*backend, "leases/").is_empty());
}

#[test]
fn where_a_creator_looks_first() {
    commits_and_fences(Arc::new(LookFirst::new(Arc::new(Memory::new()))), config::CreateIfAbsent::LookFirst);
}

#[test]
fn where_a_creator_overwrites() {
    commits_and_fences(Arc::new(Overwrites::default()), config::CreateIfAbsent::Ignored);
}
