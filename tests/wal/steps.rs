//! The machine, or the way to the repository, dies at every step of pushing, fetching, and taking a spool over:
//! what was acknowledged is never lost, a recovery is never told that there is no more, and the next run succeeds.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::monitor::Silent;
use kamba_vault::ops::wal::batch::push_batch;
use kamba_vault::ops::wal::fetch::{self, Fetched};
use kamba_vault::ops::wal::receive::finish;
use kamba_vault::postgres::wal::WalName;
use kamba_vault::repo::Unlocked;
use kamba_vault::repo::wal;
use kamba_vault::repo::wal::spool::{FRAME_MAX, Spool, files};
use kamba_vault::storage::{Backend, Effect, ErrorKind, Fault, Memory, Rule};

use crate::segments::{SYSTEM, data_folder, name, segment, write_segment};
use crate::support::{self, Faulty, Vault, credentials, environment, wait_for};

#[test]
fn a_push_that_dies_at_any_step_is_made_good_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    data_folder(folder.path(), SYSTEM);
    // After this one a ledger is written, too.
    let path = write_segment(folder.path(), 1, 63);
    let push = |repo: &Unlocked| push_batch(repo, &path, None, 0, None, &Cancel::new());
    for steps in 0.. {
        let mut died = false;
        for last_has_effect in [false, true] {
            let faulty = Faulty::new();
            faulty.fault.crash_after(steps, last_has_effect);
            let batch = push(&faulty.repo);
            let ended_well = batch.asked.is_ok() && batch.ledger.is_none();
            assert_eq!(ended_well, !faulty.fault.has_crashed(), "step {steps}");
            died |= faulty.fault.has_crashed();
            let next = Vault::of(faulty.memory.clone());
            let there = wal::get(&next.repo, SYSTEM, &name(1, 63).to_string()).unwrap();
            // Who was told that it is durable may rely on that.
            assert!(batch.asked.is_err() || there.is_some(), "step {steps}");
            assert!(
                there.is_none_or(|(_, bytes)| bytes == segment(1, 63)),
                "whole or not at all: step {steps}"
            );
            support::assert_clean(&next.repo);
            let again = push(&next.repo);
            assert!(again.asked.is_ok() && again.ledger.is_none());
            support::assert_clean(&next.repo);
            assert!(wal::get(&next.repo, SYSTEM, &name(1, 63).to_string()).unwrap().is_some());
        }
        if !died {
            assert!(steps >= 2, "the segment and its ledger: {steps} steps");
            return;
        }
    }
}

#[test]
fn a_fetch_that_fails_at_any_step_is_no_end_of_the_wal() {
    let vault = Vault::new();
    let folder = tempfile::tempdir().unwrap();
    data_folder(folder.path(), SYSTEM);
    push_batch(&vault.repo, &write_segment(folder.path(), 1, 3), None, 0, None, &Cancel::new())
        .asked
        .unwrap();
    let target = folder.path().join("pg_wal/RECOVERYXLOG");
    let before = fs::read_dir(folder.path().join("pg_wal")).unwrap().count();
    for (number, least) in [(3, 1), (4, 2)] {
        for kind in [ErrorKind::Temporary, ErrorKind::Permission, ErrorKind::Other] {
            for steps in 0.. {
                let faulty = Faulty::of(vault.memory.clone());
                faulty.fault.add(Rule::new(Effect::Fail(kind), |_, _| true).after(steps));
                let fetched = fetch::fetch(&faulty.repo, SYSTEM, WalName::Segment(name(1, number)), &target);
                let Ok(fetched) = fetched else {
                    let left = fs::read_dir(folder.path().join("pg_wal")).unwrap().count();
                    assert_eq!(left, before, "{number}, step {steps}");
                    continue;
                };
                assert!(steps >= least, "{number} is told of after {steps} steps");
                match number {
                    3 => assert!(matches!(fetched, Fetched::Written(_))),
                    _ => assert_eq!(fetched, Fetched::Absent),
                }
                if number == 3 {
                    assert!(fs::read(&target).unwrap() == segment(1, 3));
                    fs::remove_file(&target).unwrap();
                }
                break;
            }
        }
    }
}

/// Bytes of the segment that the spool's last file has the beginning of.
const BEGUN: usize = 300_000;

/// A spool of two whole segments and the beginning of a third.
fn fill(repo: &Unlocked, dir: &Path) {
    let spool = Spool::open(repo, dir).unwrap();
    for (number, len) in [(5, 1 << 20), (6, 1 << 20), (7, BEGUN)] {
        let mut file = spool.begin(&name(1, number).to_string()).unwrap();
        for piece in segment(1, number)[..len].chunks(FRAME_MAX / 3) {
            file.append(repo.keys(), repo.random(), piece).unwrap();
        }
    }
}

fn unlocked(backend: Arc<dyn Backend>, cache: &Path) -> Arc<Unlocked> {
    Arc::new(Unlocked::open(environment(backend, cache), &credentials()).unwrap())
}

/// What the repository has of the segment, whole or its beginning.
fn stored(repo: &Unlocked, number: u64) -> Option<Vec<u8>> {
    let read = |name| fetch::read(repo, SYSTEM, name).unwrap();
    read(WalName::Segment(name(1, number))).or_else(|| read(WalName::Partial(name(1, number))))
}

#[test]
fn a_spool_that_is_taken_over_loses_nothing_at_any_step() {
    for steps in 0.. {
        let mut died = false;
        for last_has_effect in [false, true] {
            let memory: Arc<Memory> = Vault::new().memory;
            let fault = Arc::new(Fault::new(memory.clone()));
            let (folder, cache) = (tempfile::tempdir().unwrap(), support::folder());
            let dir = folder.path().join(SYSTEM.to_string());
            let repo = unlocked(fault.clone(), cache.path());
            fill(&repo, &dir);
            fault.crash_after(steps, last_has_effect);
            let cancel = Cancel::new();
            // It waits for its repository as long as it lives.
            let ended = std::thread::scope(|scope| {
                let running =
                    scope.spawn(|| finish(repo.clone(), folder.path(), Arc::new(Silent), &cancel).is_ok());
                wait_for("it to die or to end", || fault.has_crashed() || running.is_finished());
                if fault.has_crashed() {
                    cancel.cancel();
                }
                running.join().unwrap()
            });
            assert_eq!(ended, !fault.has_crashed(), "step {steps}");
            died |= fault.has_crashed();
            drop(repo);

            let repo = unlocked(memory.clone(), cache.path());
            let spooled: Vec<String> = files(&dir).unwrap().into_iter().map(|(name, _)| name).collect();
            for number in 5..=7 {
                let waits = spooled.contains(&name(1, number).to_string());
                assert!(waits || stored(&repo, number).is_some(), "{number} is lost at step {steps}");
            }
            finish(repo.clone(), folder.path(), Arc::new(Silent), &Cancel::new()).unwrap();
            assert!(files(&dir).unwrap().is_empty(), "step {steps}");
            let mut begun = segment(1, 7);
            begun[BEGUN..].fill(0);
            for (number, bytes) in [(5, segment(1, 5)), (6, segment(1, 6)), (7, begun)] {
                assert!(stored(&repo, number).unwrap() == bytes, "{number}, step {steps}");
            }
            support::assert_clean(&Vault::of(memory).repo);
        }
        if !died {
            assert!(steps >= 3, "three files: {steps} steps");
            return;
        }
    }
}
