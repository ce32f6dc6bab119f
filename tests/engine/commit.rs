//! The moments around a commit: replies that get lost, names that are taken, caches that fail. What
//! the user is told is true, and a session that cannot know leaves its lease.

use std::sync::Arc;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::SessionId;
use kamba_vault::base::monitor::Silent;
use kamba_vault::ops;
use kamba_vault::ops::snapshot::{StreamRequest, snapshot_stdin};
use kamba_vault::repo::{Error, roots};
use kamba_vault::storage::{Backend, Effect, ErrorKind, Gate, Op, Record, Rule};

use crate::support::{self, Faulty, Vault, begin, names, rows, snapshot};

fn on(op: Op, prefix: &'static str, effect: Effect) -> Rule {
    Rule::new(effect, move |called, name| called == op && name.starts_with(prefix))
}

fn snapshots(vault: &Faulty) -> usize {
    let other = Vault::of(vault.memory.clone());
    support::assert_clean(&other.repo).snapshots as usize
}

fn leases(vault: &Faulty) -> usize {
    names(&*vault.memory, "leases/").len()
}

#[test]
fn a_lost_reply_to_the_root_is_resolved_by_reading_back() {
    let vault = Faulty::new();
    vault.fault.add(on(Op::Put, "roots/", Effect::LoseReply));
    let made = snapshot(&vault.repo, "stream", &rows(1, 50_000)).unwrap();
    assert_eq!(snapshots(&vault), 1);
    assert_eq!(names(&*vault.memory, "roots/"), [format!("roots/{}", made.id)]);
    assert_eq!(leases(&vault), 0);
}

#[test]
fn who_cannot_know_whether_he_committed_says_so_and_leaves_his_lease() {
    // The creation had its effect, or is still on its way; nobody can be asked.
    for (effect, there) in [(Effect::LoseReply, 1), (Effect::Fail(ErrorKind::Temporary), 0)] {
        let vault = Faulty::new();
        vault.fault.add(on(Op::Put, "roots/", effect));
        vault.fault.add(on(Op::Get, "roots/", Effect::Fail(ErrorKind::Temporary)));
        let failed = snapshot(&vault.repo, "stream", &rows(1, 50_000)).unwrap_err();
        assert_eq!(failed.class(), Class::Failed);
        assert!(failed.to_string().contains("is not known"), "{failed}");
        assert_eq!((snapshots(&vault), leases(&vault)), (there, 1));
    }
}

#[test]
fn a_creation_that_may_yet_arrive_keeps_the_lease_although_nothing_is_there_now() {
    let vault = Faulty::new();
    vault.fault.add(on(Op::Put, "roots/", Effect::Fail(ErrorKind::Temporary)));
    let failed = snapshot(&vault.repo, "stream", &rows(1, 50_000)).unwrap_err();
    assert!(failed.to_string().contains("is not known"), "{failed}");
    assert_eq!((snapshots(&vault), leases(&vault)), (0, 1));
}

#[test]
fn a_refused_creation_is_a_plain_failure() {
    for kind in [ErrorKind::Full, ErrorKind::Permission] {
        let vault = Faulty::new();
        vault.fault.add(on(Op::Put, "roots/", Effect::Fail(kind)));
        let failed = snapshot(&vault.repo, "stream", &rows(1, 50_000)).unwrap_err();
        assert!(matches!(&failed, ops::Error::Repo(Error::Storage(e)) if e.kind == kind), "{failed}");
        assert_eq!((snapshots(&vault), leases(&vault)), (0, 0));
    }
}

#[test]
fn a_commit_does_not_depend_on_what_comes_after_it() {
    // The backend creates atomically: once the creation succeeded nothing is left to ask.
    let vault = Faulty::new();
    vault.fault.add(on(Op::Get, "roots/", Effect::Fail(ErrorKind::Temporary)));
    snapshot(&vault.repo, "stream", &rows(1, 50_000)).unwrap();
    assert_eq!((snapshots(&vault), leases(&vault)), (1, 0));
    // Nor does it need a cache that works.
    let vault = Faulty::new();
    let gate = Gate::new();
    vault.fault.add(on(Op::Put, "roots/", Effect::Wait(gate.clone())));
    std::thread::scope(|scope| {
        let made = scope.spawn(|| snapshot(&vault.repo, "stream", &rows(1, 50_000)).map(drop));
        gate.wait_until_reached();
        break_cache(&vault);
        gate.open();
        made.join().unwrap().unwrap();
    });
    assert_eq!((snapshots(&vault), leases(&vault)), (1, 0));
}

/// Takes a table out of the cache's file.
fn break_cache(vault: &Faulty) {
    let cache = rusqlite::Connection::open(vault.repo.index().dir().join("index.sqlite")).unwrap();
    cache.execute_batch("DROP TABLE object").unwrap();
}

#[test]
fn a_name_that_is_taken_by_no_tombstone_is_reported_as_what_it_is() {
    let vault = Faulty::new();
    let session = begin(&vault.repo).unwrap();
    vault.memory.overwrite(&format!("roots/{}", session.id()), b"somebody was here first");
    let streams = support::Streams::from([("stream".to_owned(), rows(1, 50_000))]);
    let failed = support::commit_streams(session, &vault.repo, &streams).unwrap_err();
    assert_eq!(failed.class(), Class::Damaged, "{failed}");
    assert_eq!(leases(&vault), 0);
}

#[test]
fn a_description_that_cannot_be_made_leaves_no_snapshot_but_what_was_stored() {
    let vault = Faulty::new();
    let session = begin(&vault.repo).unwrap();
    let mut stream = session.stream();
    stream.write(&rows(1, 300_000)).unwrap();
    stream.finish().unwrap();
    let refused = session.commit(|_, _| Err(Error::Usage("no".into()))).unwrap_err();
    assert_eq!(refused.to_string(), "no");
    assert_eq!((snapshots(&vault), leases(&vault)), (0, 0));
    let made = snapshot(&vault.repo, "stream", &rows(1, 300_000)).unwrap();
    // The tree alone is new.
    assert_eq!(made.added.new_chunks, 1, "{:?}", made.added);
}

#[test]
fn a_snapshot_whose_session_was_interrupted_is_none() {
    let vault = Faulty::new();
    let gate = Gate::new();
    vault.fault.add(on(Op::Put, "data/", Effect::Wait(gate.clone())));
    let (cancel, request) = (Cancel::new(), StreamRequest { name: "stream".into(), allow_empty: false });
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let source = support::source(&rows(1, 300_000));
            let provenance = support::provenance();
            snapshot_stdin(&vault.repo, &provenance, &request, source, Arc::new(Silent), &cancel)
        });
        gate.wait_until_reached();
        cancel.cancel();
        gate.open();
        assert_eq!(made.join().unwrap().unwrap_err().class(), Class::Interrupted);
    });
    assert_eq!((snapshots(&vault), leases(&vault)), (0, 0));
}

#[test]
fn an_interruption_while_the_source_is_silent_is_an_interruption() {
    let vault = Faulty::new();
    let (silent, _writer) = std::io::pipe().unwrap();
    let (cancel, request) = (Cancel::new(), StreamRequest { name: "stream".into(), allow_empty: false });
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let provenance = support::provenance();
            snapshot_stdin(&vault.repo, &provenance, &request, silent, Arc::new(Silent), &cancel)
        });
        support::wait_for("the lease", || leases(&vault) > 0);
        cancel.cancel();
        assert_eq!(made.join().unwrap().unwrap_err().class(), Class::Interrupted);
    });
    assert_eq!(leases(&vault), 0);
}

#[test]
fn the_lease_comes_before_the_look_and_goes_after_the_root() {
    let vault = Vault::new();
    let record = Arc::new(Record::new(vault.memory.clone()));
    let backend: Arc<dyn Backend> = record.clone();
    let cache = support::folder();
    let repo = support::open(&backend, cache.path());
    record.clear();
    snapshot(&repo, "stream", &rows(1, 50_000)).unwrap();
    let calls = record.calls();
    let at = |op, prefix: &str| {
        let found = calls.iter().position(|call| call.op == op && call.name.starts_with(prefix));
        found.unwrap_or_else(|| panic!("no {op:?} of {prefix} in {calls:?}"))
    };
    // Marks are looked for while roots and index are: both after the lease, both before any data.
    for look in [[at(Op::List, "marks/"); 2], [at(Op::List, "roots/"), at(Op::List, "index/")]] {
        let order = [
            at(Op::Put, "leases/"),
            look[0],
            look[1],
            at(Op::Put, "data/"),
            at(Op::Put, "index/"),
            at(Op::Put, "roots/"),
            at(Op::Delete, "leases/"),
        ];
        assert!(order.is_sorted(), "{order:?}: {calls:?}");
    }
}

#[test]
fn where_a_later_version_prunes_this_one_does_not_write() {
    let vault = Vault::new();
    vault.memory.overwrite(&format!("marks/{}", "0".repeat(64)), b"of a later version");
    let refused = begin(&vault.repo).err().unwrap();
    assert!(matches!(refused, Error::Newer { .. }), "{refused}");
    assert!(names(&*vault.memory, "leases/").is_empty());
    // Reading is not writing.
    support::assert_clean(&vault.repo);
}

#[test]
fn two_sessions_of_one_signer_at_once_leave_no_gap() {
    let vault = Vault::new();
    let commit = |session, seed| {
        let streams = support::Streams::from([("stream".to_owned(), rows(seed, 30_000))]);
        support::commit_streams(session, &vault.repo, &streams).unwrap()
    };
    for round in 0..3 {
        let (one, two) = (begin(&vault.repo).unwrap(), begin(&vault.repo).unwrap());
        // Whichever began first ends last: both name the same predecessor, or one the other.
        commit(two, round * 2);
        commit(one, round * 2 + 1);
    }
    let other = vault.elsewhere();
    for repo in [&vault.repo, &other.repo] {
        assert_eq!(support::assert_clean(repo).snapshots, 6);
        assert!(roots::list(repo, &Cancel::new()).unwrap().gaps().is_empty());
    }
}

#[test]
fn sessions_that_commit_at_the_same_moment_leave_no_gap() {
    let vault = Faulty::new();
    snapshot(&vault.repo, "first", &rows(1, 30_000)).unwrap();
    let gate = Gate::new();
    // Both have looked for their predecessor; neither has created its root.
    vault.fault.add(on(Op::Put, "roots/", Effect::Wait(gate.clone())).times(2));
    std::thread::scope(|scope| {
        let commit = |seed| snapshot(&vault.repo, "stream", &rows(seed, 30_000)).unwrap().id;
        let ids: Vec<_> = [2, 3].map(|seed| scope.spawn(move || commit(seed))).into();
        gate.wait_until_reached_by(2);
        gate.open();
        let ids: Vec<SessionId> = ids.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_ne!(ids[0], ids[1]);
    });
    snapshot(&vault.repo, "last", &rows(4, 30_000)).unwrap();
    assert_eq!(snapshots(&vault), 4);
}

#[test]
fn an_unreachable_backend_is_not_a_damaged_repository() {
    let vault = Faulty::new();
    let made = snapshot(&vault.repo, "stream", &rows(1, 300_000)).unwrap();
    for prefix in ["data/", "meta/"] {
        vault.fault.clear();
        vault.fault.add(on(Op::GetRange, prefix, Effect::Fail(ErrorKind::Temporary)));
        let lost = support::views::cat(&vault.repo, &made.id, "stream").unwrap_err();
        assert_eq!(lost.error.class(), Class::Failed, "{prefix}: {}", lost.error);
        let checked =
            ops::check::check(&vault.repo, ops::check::ReadData::All, &Silent, &Cancel::new()).unwrap_err();
        assert_eq!(checked.class(), Class::Failed, "{prefix}: {checked}");
    }
    vault.fault.clear();
    assert!(support::views::cat(&vault.repo, &made.id, "stream").unwrap() == rows(1, 300_000));
}
