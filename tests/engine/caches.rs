//! What sessions and readers rely on besides the repository itself, and what happens when it fails
//! them: the local cache, packs that went away, the seconds after an interruption.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::RepositoryId;
use kamba_vault::base::kind::PackKind;
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::index::{IndexPart, PackRecord};
use kamba_vault::format::name::ObjectName;
use kamba_vault::repo::index::Cache;
use kamba_vault::repo::session::Session;
use kamba_vault::repo::{Error, Repository, index, roots};
use kamba_vault::storage::{Backend, Context, Memory, Retry, RetryPolicy};

use crate::checks::records;
use crate::support::{self, Streams, Vault, begin, names, noise, rows, snapshot, views};

fn one(name: &str, data: &[u8]) -> Streams {
    Streams::from([(name.to_owned(), data.to_vec())])
}

fn cache_file(repo: &Repository) -> rusqlite::Connection {
    rusqlite::Connection::open(repo.index().dir().join("index.sqlite")).unwrap()
}

#[test]
fn a_pack_that_went_away_is_made_good_by_the_next_snapshot() {
    let vault = Vault::new();
    let data = rows(1, 400_000);
    let lost = snapshot(&vault.repo, "a", &data).unwrap();
    let data_packs = records(&vault).into_iter().filter(|pack| pack.directory.kind() == PackKind::Data);
    let chunks: usize = data_packs.map(|pack| pack.directory.chunks().len()).sum();
    assert!(chunks > 2 && (chunks as u64) < lost.added.new_chunks, "{chunks} {lost:?}");
    for pack in names(&*vault.backend, "data/") {
        vault.backend.delete(&pack).unwrap();
    }
    // The cache still names the chunks; a listing shows that their pack is gone.
    let made = snapshot(&vault.repo, "a", &data).unwrap();
    assert_eq!(made.added.new_chunks, chunks as u64, "all data, but no list and no tree");
    let other = vault.elsewhere();
    let both = [made.id, lost.id].map(|id| (id, one("a", &data)));
    views::assert_reads(&other.repo, &both.into());
    let report = support::check_all(&other.repo);
    assert!(report.hurt.is_empty() && !report.damaged.is_empty(), "{report:#?}");
}

/// Another place with the same objects.
fn copy_of(memory: &Memory) -> Arc<dyn Backend> {
    let copy = Memory::new();
    for name in names(memory, "") {
        copy.put_new(&name, &memory.get(&name, u64::MAX).unwrap()).unwrap();
    }
    Arc::new(copy)
}

#[test]
fn two_copies_of_a_repository_do_not_take_each_others_chunks_for_their_own() {
    let vault = Vault::new();
    let copy = copy_of(&vault.memory);
    // Both go on by themselves, and both places have one name, so one cache serves them.
    let copied = support::open(&copy, vault.cache.path());
    assert_eq!(copied.index().dir(), vault.repo.index().dir());
    let theirs = rows(2, 400_000);
    snapshot(&copied, "theirs", &theirs).unwrap();
    snapshot(&vault.repo, "ours", &rows(1, 400_000)).unwrap();
    let session = begin(&vault.repo).unwrap();
    index::refresh(&copied, &Silent, &Cancel::new()).unwrap();
    let failed = support::commit_streams(session, &vault.repo, &one("theirs", &theirs)).unwrap_err();
    assert!(matches!(failed, Error::Cache { .. }), "{failed}");
    let id = support::snapshot_streams(&vault.repo, &one("theirs", &theirs)).unwrap();
    views::assert_reads(&vault.elsewhere().repo, &[(id, one("theirs", &theirs))].into());
    support::assert_clean(&vault.elsewhere().repo);
}

#[test]
fn a_garbled_copy_of_a_root_is_fetched_anew() {
    let vault = Vault::new();
    snapshot(&vault.repo, "a", &rows(1, 50_000)).unwrap();
    assert_eq!(cache_file(&vault.repo).execute("UPDATE object SET bytes = x'00'", []).unwrap(), 1);
    let listing = roots::list(&vault.repo, &Cancel::new()).unwrap();
    assert_eq!((listing.snapshots.len(), listing.damaged.len()), (1, 0));
}

#[test]
fn what_another_process_loaded_is_known() {
    let vault = Vault::new();
    let data = rows(1, 400_000);
    snapshot(&vault.repo, "a", &data).unwrap();
    // Two that begin with one empty cache: the second finds it loaded by the first.
    let cache = support::folder();
    let (first, second) =
        (support::open(&vault.backend, cache.path()), support::open(&vault.backend, cache.path()));
    index::refresh(&first, &Silent, &Cancel::new()).unwrap();
    let made = snapshot(&second, "a", &data).unwrap();
    assert_eq!(made.added.new_chunks, 0);
}

#[test]
fn a_cache_that_takes_no_more_costs_no_snapshot() {
    let vault = Vault::new();
    let session = begin(&vault.repo).unwrap();
    let data = one("a", &rows(1, 400_000));
    cache_file(&vault.repo).execute_batch("DROP TABLE part").unwrap();
    let id = support::commit_streams(session, &vault.repo, &data).unwrap();
    views::assert_reads(&vault.elsewhere().repo, &[(id, data)].into());
}

#[test]
fn a_cache_that_somebody_writes_to_is_read_and_not_replaced() {
    let vault = Vault::new();
    let made = snapshot(&vault.repo, "a", &rows(1, 50_000)).unwrap();
    let busy = cache_file(&vault.repo);
    busy.execute_batch("DELETE FROM object; BEGIN IMMEDIATE; DELETE FROM count WHERE what = 'none'").unwrap();
    let repo = support::open(&vault.backend, vault.cache.path());
    let listing = roots::list(&repo, &Cancel::new()).unwrap();
    assert_eq!(listing.snapshots.iter().map(|s| s.id).collect::<Vec<_>>(), [made.id]);
    // The one who was at work is still at work on the same file.
    busy.execute_batch("UPDATE count SET n = 77 WHERE what = 'clears'; COMMIT").unwrap();
    assert_eq!(repo.index().clears().unwrap(), 77);
}

#[test]
fn parts_that_contradict_each_other_hide_nothing_and_are_reported() {
    let vault = Vault::new();
    let data = rows(1, 400_000);
    let made = snapshot(&vault.repo, "a", &data).unwrap();
    for name in names(&*vault.backend, "index/") {
        let Some(ObjectName::Index(id)) = ObjectName::parse(&name) else { panic!("{name}") };
        let plain = index::read_part(&vault.repo, &id).unwrap();
        let part = IndexPart::decode(&plain).unwrap();
        let mut records: Vec<PackRecord> = part.packs().iter().map(|pack| part.record(pack)).collect();
        records.iter_mut().for_each(|record| record.wrapped[40] ^= 1);
        index::write_part(&vault.repo, &mut records).unwrap();
    }
    let other = vault.elsewhere();
    views::assert_reads(&other.repo, &[(made.id, one("a", &data))].into());
    let report = support::check_all(&other.repo);
    let contradicted = report.damaged.iter().filter(|d| d.reason.contains("differently")).count();
    assert_eq!(contradicted, names(&*vault.backend, "data/").len() + names(&*vault.backend, "meta/").len());
    assert!(report.hurt.is_empty(), "{report:#?}");
}

#[test]
fn a_new_cache_may_be_begun_by_many_at_once() {
    for _ in 0..40 {
        let folder = support::folder();
        let start = Barrier::new(8);
        let begin = || {
            start.wait();
            Cache::open(folder.path(), &RepositoryId([7; 16]), "here").map(drop)
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
            all.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
    }
}

#[test]
fn after_an_interruption_the_place_is_left_tidy() {
    let vault = Vault::new();
    let cancel = Cancel::new();
    let context = Context::new(cancel.clone(), Arc::new(Silent));
    // The backend hears of the wish to stop as well, as a remote one does.
    let backend: Arc<dyn Backend> =
        Arc::new(Retry::new(vault.memory.clone(), RetryPolicy::default(), &context));
    let cache = support::folder();
    let repo = support::open(&backend, cache.path());
    let options = support::session_options();
    let session = Session::begin(&repo, &options, Arc::new(Silent), cancel.clone()).unwrap();
    let mut stream = session.stream();
    stream.write(&noise(1, 40_000_000)).unwrap();
    // What is on its way to the backend would fail: only what is there counts.
    while names(&*vault.memory, "data/").is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    cancel.cancel();
    assert!(matches!(stream.write(&noise(2, 4_000_000)), Err(Error::Interrupted)));
    drop(stream);
    session.abandon();
    assert!(cancel.is_cancelled());
    assert_eq!(names(&*vault.memory, "leases/"), [""; 0]);
    assert_eq!(names(&*vault.memory, "index/").len(), 1, "what is durable is found by the next run");
}
