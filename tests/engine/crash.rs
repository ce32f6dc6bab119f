//! The machine dies at every step of a snapshot: afterwards the repository opens, checks clean
//! (I-10), what was committed is there and nothing else, and the next run succeeds and reuses what
//! reached the index.

use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::repo::roots;
use kamba_vault::storage::{Backend, Call, Effect, ErrorKind, Fault, Memory, Op, Record, Rule};

use crate::support::{self, Vault, copy_of, rows, snapshot};

/// A repository with one snapshot in it.
fn begun() -> Arc<Memory> {
    let vault = Vault::new();
    snapshot(&vault.repo, "before", &rows(1, 200_000)).unwrap();
    vault.memory
}

#[test]
fn dying_at_every_step_leaves_garbage_at_most() {
    let steps = die_at_every_step(&rows(2, 900_000));
    assert!(steps >= 5, "lease, packs, index part, root, lease: {steps} steps");
}

#[test]
fn dying_between_packs_leaves_garbage_at_most() {
    let steps = die_at_every_step(&support::noise(2, 20_000_000));
    assert!(steps >= 7, "lease, two data packs and one more, index part, root, lease: {steps} steps");
}

/// Snapshots `data` and dies at a step, for every step of it. How many there are.
fn die_at_every_step(data: &[u8]) -> u64 {
    let before = begun();
    let mut steps = 0;
    loop {
        let mut died = false;
        for last_has_effect in [false, true] {
            let memory = copy_of(&before);
            let fault = Arc::new(Fault::new(memory.clone()));
            let backend: Arc<dyn Backend> = fault.clone();
            let cache = support::folder();
            let repo = support::open(&backend, cache.path());
            fault.crash_after(steps, last_has_effect);
            let made = snapshot(&repo, "during", data);
            died |= fault.has_crashed();
            drop(repo);
            // Another process, with the cache of the dead one and with a new one.
            let other = support::folder();
            for cache in [cache.path(), other.path()] {
                let backend: Arc<dyn Backend> = memory.clone();
                let repo = support::open(&backend, cache);
                let report = support::check_all(&repo);
                assert!(report.is_clean(), "step {steps}, {last_has_effect}: {report:#?}");
                let listing = roots::list(&repo, &Cancel::new()).unwrap();
                // A reply that got lost with the machine leaves a whole snapshot or none.
                let committed = listing.snapshots.len() - 1;
                assert!(committed <= 1 && (made.is_err() || committed == 1), "step {steps}");
            }
            let backend: Arc<dyn Backend> = memory.clone();
            let repo = support::open(&backend, other.path());
            let indexed = support::names(&*memory, "index/").len() > 1;
            let again = snapshot(&repo, "during", data).unwrap();
            assert!(support::assert_clean(&repo).snapshots >= 2);
            // All is in one index part; whoever finds it there stores nothing again.
            assert_eq!(again.added.new_chunks == 0, indexed, "step {steps}: {:?}", again.added);
        }
        if !died {
            return steps;
        }
        steps += 1;
    }
}

#[test]
fn what_reached_the_index_is_reused_after_a_crash() {
    let memory = begun();
    let data = rows(3, 900_000);
    let fault = Arc::new(Fault::new(memory.clone()));
    let backend: Arc<dyn Backend> = fault.clone();
    let cache = support::folder();
    let repo = support::open(&backend, cache.path());
    // Everything works but the root.
    fault.add(Rule::new(Effect::Fail(ErrorKind::Full), |op, name| {
        op == Op::Put && name.starts_with("roots/")
    }));
    let failed = snapshot(&repo, "during", &data).unwrap_err();
    assert!(failed.to_string().contains("roots/"), "{failed}");
    fault.clear();
    let again = snapshot(&repo, "during", &data).unwrap();
    assert_eq!(again.added.new_chunks, 0, "{again:?}");
    assert_eq!(support::assert_clean(&repo).snapshots, 2);
}

#[test]
fn a_full_disk_in_the_middle_is_a_clear_error_and_the_next_run_goes_on() {
    let memory = begun();
    let data = support::noise(4, 40_000_000);
    let fault = Arc::new(Fault::new(memory.clone()));
    let backend: Arc<dyn Backend> = fault.clone();
    let cache = support::folder();
    let repo = support::open(&backend, cache.path());
    let data_pack = |op, name: &str| op == Op::Put && name.starts_with("data/");
    fault.add(Rule::new(Effect::Fail(ErrorKind::Full), data_pack).after(1));
    let failed = snapshot(&repo, "during", &data).unwrap_err();
    assert!(failed.hint().is_some_and(|hint| hint.contains("space")), "{failed}");
    assert!(support::assert_clean(&repo).snapshots == 1);
    fault.clear();
    let again = snapshot(&repo, "during", &data).unwrap();
    assert!(again.added.new_bytes < 30_000_000, "the pack that was stored is used: {:?}", again.added);
    assert_eq!(support::assert_clean(&repo).snapshots, 2);
}

#[test]
fn an_unchanged_stream_costs_a_lease_and_a_root() {
    let memory = begun();
    let record = Arc::new(Record::new(memory));
    let backend: Arc<dyn Backend> = record.clone();
    let cache = support::folder();
    let repo = support::open(&backend, cache.path());
    record.clear();
    let made = snapshot(&repo, "before", &rows(1, 200_000)).unwrap();
    assert_eq!((made.added.new_chunks, made.added.stored_bytes), (0, 0));
    let puts: Vec<String> = record.calls().into_iter().filter(|c| c.op == Op::Put).map(|c| c.name).collect();
    assert_eq!(puts.len(), 2, "{puts:?}");
    assert!(puts[0].starts_with("leases/") && puts[1].starts_with("roots/"), "{puts:?}");
    let is_read = |call: &Call| call.op == Op::GetRange;
    let read: Vec<String> = record.calls().into_iter().filter(is_read).map(|call| call.name).collect();
    assert!(read.len() <= 1, "{read:?}");
    assert!(read.iter().all(|name| name.starts_with("meta/")), "only the parent's tree is read: {read:?}");
}
