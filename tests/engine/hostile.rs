//! Snapshots of a writer that holds a key and means ill: they cost time and an error at most.

use std::sync::Arc;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::{ChunkId, SessionId, SlotId};
use kamba_vault::base::kind::{ChunkKind, PackKind};
use kamba_vault::base::limits::{SMALL_OBJECT_MAX, TREE_DEPTH_MAX};
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::index::{IndexPart, PackRecord};
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::name::{INDEX, ObjectName, keyslot_name, root_name};
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::pack::{ChunkEntry, Directory, Stored};
use kamba_vault::format::root::{RootBody, SnapshotKind, Stats};
use kamba_vault::ops::check::{ReadData, check};
use kamba_vault::ops::stats::Brought;
use kamba_vault::ops::{Error, look, stats};
use kamba_vault::repo::session::Session;
use kamba_vault::repo::{Repository, index, roots};
use kamba_vault::storage::Backend;

use crate::support::views::{Model, assert_reads, cat, foretold};
use crate::support::{self, Streams, Vault, check_all, listing, names};

/// `depth` folders in each other, each holding the one below it under all of `names`; `leaf` is in the
/// innermost.
fn nested(session: &Session, depth: usize, names: &[&str], leaf: Node) -> Vec<ListEntry> {
    let mut children = listing(session, &[leaf]).unwrap();
    for _ in 1..depth {
        let folder = |name: &&str| Node::with_children(*name, NodeType::Directory, children.clone());
        let nodes: Vec<Node> = names.iter().map(folder).collect();
        children = listing(session, &nodes).unwrap();
    }
    children
}

/// Commits a snapshot that claims to be of so many bytes.
fn commit(repo: &Repository, session: Session, children: Vec<ListEntry>, source_bytes: u64) {
    commit_claiming(repo, session, children, Stats { source_bytes, ..Stats::default() });
}

/// Commits a snapshot that claims all this of itself.
fn commit_claiming(repo: &Repository, session: Session, children: Vec<ListEntry>, stats: Stats) {
    let committed = session.commit(|id, _| {
        Ok(RootBody { kind: SnapshotKind::Files, stats, ..support::root_body(repo, id, children) })
    });
    committed.unwrap();
}

/// How many entries there are in the only snapshot.
fn entries(repo: &Repository) -> Result<usize, Error> {
    let listing = roots::list(repo, &Cancel::new()).unwrap();
    let view = look::view(repo, &listing.snapshots[0], &Silent, &Cancel::new()).unwrap();
    let mut count = 0;
    let walked = look::walk(&view, &view.root(), "", true, &mut |_, _| {
        count += 1;
        Ok(())
    });
    walked.map(|()| count)
}

#[test]
fn folders_are_walked_to_the_limit_and_no_deeper() {
    for (depth, fits) in [(TREE_DEPTH_MAX, true), (TREE_DEPTH_MAX + 1, false)] {
        let Vault { repo, cache: _cache, .. } = Vault::new();
        let session = support::begin(&repo).unwrap();
        let children = nested(&session, depth, &["a"], Node::new("leaf", NodeType::Fifo));
        commit(&repo, session, children, 1);
        let report = check_all(&repo);
        match entries(&repo) {
            Ok(count) => {
                assert!(fits && report.is_clean());
                assert_eq!(count, depth);
            }
            Err(e) => {
                assert!(!fits && e.class() == Class::Damaged, "{e}");
                assert_eq!(report.hurt.len(), 1);
                assert!(report.hurt[0].reason.contains("nested too deep"));
            }
        }
    }
}

#[test]
fn folders_that_hold_each_other_over_and_over_are_checked_once() {
    let Vault { repo, cache: _cache, .. } = Vault::new();
    let session = support::begin(&repo).unwrap();
    let lost = ListEntry::Chunk { len: 9, id: ChunkId([7; 32]) };
    let leaf = Node::with_content("lost", NodeType::File, vec![lost]).unwrap();
    // There are 2^50 paths to the file.
    let children = nested(&session, 51, &["a", "b"], leaf);
    commit(&repo, session, children, 9);
    let hurt = check_all(&repo).hurt;
    let file = ["a"; 50].join("/") + "/lost";
    assert!(hurt.iter().any(|hurt| hurt.path == file));
    assert!(hurt.iter().any(|hurt| hurt.path == "b" && hurt.reason.contains("that of a,")), "{hurt:?}");
    assert_eq!(hurt.len(), 51);
}

/// All that the index says of packs.
fn records(repo: &Repository) -> Vec<PackRecord> {
    let mut records = Vec::new();
    for name in names(repo.backend(), INDEX) {
        let Some(ObjectName::Index(id)) = ObjectName::parse(&name) else { panic!("{name}") };
        let plain = index::read_part(repo, &id).unwrap();
        let part = IndexPart::decode(&plain).unwrap();
        records.extend(part.packs().iter().map(|pack| part.record(pack)));
    }
    records
}

/// Replaces the index by one that tells of each data pack what `lie` makes of the truth.
fn lie(repo: &Repository, lie: impl Fn(&mut PackRecord)) {
    let mut records = records(repo);
    records.iter_mut().filter(|pack| pack.directory.kind() == PackKind::Data).for_each(lie);
    names(repo.backend(), INDEX).iter().for_each(|name| repo.backend().delete(name).unwrap());
    index::write_part(repo, &mut records).unwrap();
}

/// Its first two chunks trade their lengths.
fn other_lengths(pack: &mut PackRecord) {
    with_chunks(pack, |chunks| {
        assert_ne!(chunks[0].len, chunks[1].len);
        (chunks[0].len, chunks[1].len) = (chunks[1].len, chunks[0].len);
    });
}

#[test]
fn what_an_index_that_lies_makes_unreadable_is_found() {
    let other_key = |pack: &mut PackRecord| pack.wrapped[40] ^= 1;
    for (what, told) in [("lengths", other_lengths as fn(&mut PackRecord)), ("key", other_key)] {
        let Vault { repo, cache, .. } = Vault::new();
        let session = support::begin(&repo).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let content = support::store(&session, bytes).unwrap();
            Node::with_content(name, NodeType::File, content.entries).unwrap()
        };
        // One segment of three chunks: the third begins where it did, the others do not.
        let nodes = [file("a", b"short"), file("b", b"somewhat longer"), file("c", b"untouched")];
        let children = listing(&session, &nodes).unwrap();
        commit(&repo, session, children, 1);
        assert!(check_all(&repo).is_clean());
        lie(&repo, told);
        let fresh = cache.path().join("fresh");
        let repo = repo.with_cache(&fresh).unwrap();
        let report = check_all(&repo);
        assert_eq!(report.damaged.len(), 1, "{what}: {report:?}");
        let snapshots = roots::list(&repo, &Cancel::new()).unwrap().snapshots;
        let view = look::view(&repo, &snapshots[0], &Silent, &Cancel::new()).unwrap();
        for name in ["a", "b", "c"] {
            let entry = view.find(name.as_bytes()).unwrap().unwrap();
            let is_read = view.write(&entry, &mut Vec::new(), &Silent).is_ok();
            let is_hurt = report.hurt.iter().any(|hurt| hurt.path == name);
            assert_eq!(is_read, !is_hurt, "{what}: {name} in {report:?}");
            assert_eq!(is_read, what == "lengths" && name == "c");
        }
        // Without reading data too, a key that is wrong is no reason to stop.
        check(&repo, ReadData::None, &Silent, &Cancel::new()).unwrap();
    }
}

/// One snapshot of three streams of one length, which share a segment.
fn three_alike() -> (Vault, SessionId, Streams) {
    let vault = Vault::new();
    let streams = ["alpha", "gamma", "kappa"].map(|name| (name.to_owned(), name.as_bytes().to_vec()));
    let streams = Streams::from(streams);
    let id = support::snapshot_streams(&vault.repo, &streams).unwrap();
    (vault, id, streams)
}

/// The same pack, but for what `change` does to its chunks.
fn with_chunks(pack: &mut PackRecord, change: impl Fn(&mut [ChunkEntry])) {
    let honest = pack.directory.clone();
    pack.directory = Directory::new(honest.kind());
    for segment in honest.segments() {
        let stored = Stored { len: segment.stored_len, coding: segment.coding, depth: segment.depth };
        let mut chunks = honest.chunks_of(segment).to_vec();
        change(&mut chunks);
        pack.directory.push(stored, &[], &chunks).unwrap();
    }
}

#[test]
fn an_id_that_the_index_claims_for_other_bytes_is_found_and_not_believed() {
    let (vault, id, _) = three_alike();
    // All is plausible but which chunk is which.
    lie(&vault.repo, |pack| {
        with_chunks(pack, |chunks| {
            let first = chunks[0].id;
            chunks[0].id = chunks[1].id;
            chunks[1].id = first;
        })
    });
    let other = vault.elsewhere();
    let report = check_all(&other.repo);
    assert_eq!(report.damaged.len(), 1, "{report:#?}");
    assert!(report.damaged[0].object.starts_with("data/"), "{report:#?}");
    for name in ["alpha", "gamma", "kappa"] {
        match cat(&other.repo, &id, name) {
            Ok(read) => assert!(read == name.as_bytes() && !foretold(&report, &id, name)),
            Err(lost) => {
                assert!(lost.given.is_empty() && lost.error.class() == Class::Damaged, "{lost:?}");
                assert!(foretold(&report, &id, name), "{name}: {report:#?}");
            }
        }
    }
    assert_eq!(report.hurt.len(), 2, "{report:#?}");
}

#[test]
fn a_false_claim_beside_the_true_one_harms_nobody_but_those_who_trusted_it() {
    let (vault, id, streams) = three_alike();
    // A second part tells of the same pack, and that "omega", which nobody stored, is in it.
    let omega = vault.repo.keys().chunk_id(ChunkKind::Data, b"omega");
    let mut records = records(&vault.repo);
    records.retain(|pack| pack.directory.kind() == PackKind::Data);
    with_chunks(&mut records[0], |chunks| chunks[0].id = omega);
    index::write_part(&vault.repo, &mut records).unwrap();
    // A writer cannot open packs, so it must believe; what it stores is not whole.
    let writer = vault.elsewhere();
    let deceived = support::snapshot(&writer.repo, "omega", b"omega").unwrap();
    assert_eq!(deceived.added.new_chunks, 1, "the tree alone is new");
    let repo = &vault.elsewhere().repo;
    let lost = cat(repo, &deceived.id, "omega").unwrap_err();
    assert!(lost.given.is_empty() && lost.error.class() == Class::Damaged, "{lost:?}");
    assert_reads(repo, &Model::from([(id, streams)]));
    let report = check_all(repo);
    assert!(!report.damaged.is_empty(), "{report:#?}");
    let hurt: Vec<_> = report.hurt.iter().map(|hurt| (hurt.snapshot, hurt.path.as_str())).collect();
    assert_eq!(hurt, [(deceived.id, "omega")], "{report:#?}");
}

#[test]
fn an_object_that_is_too_large_hides_no_other() {
    let Vault { repo, memory, cache, .. } = Vault::new();
    let session = support::begin(&repo).unwrap();
    commit(&repo, session, Vec::new(), 1);
    let bytes = vec![0; SMALL_OBJECT_MAX as usize + 1];
    let name = root_name(&SessionId([1; 16]));
    memory.overwrite(&name, &bytes);
    memory.overwrite(&keyslot_name(&SlotId([0; 16])), &bytes);
    let backend: Arc<dyn Backend> = memory;
    let repo = support::open(&backend, &cache.path().join("fresh"));
    let listing = roots::list(&repo, &Cancel::new()).unwrap();
    assert_eq!((listing.snapshots.len(), &listing.damaged[0].0), (1, &name));
    assert_eq!(check_all(&repo).damaged.len(), 2);
}

#[test]
fn sizes_that_snapshots_claim_do_not_overflow() {
    let Vault { repo, cache: _cache, .. } = Vault::new();
    let most = Stats {
        source_bytes: u64::MAX,
        new_bytes: u64::MAX,
        stored_bytes: u64::MAX,
        coded_bytes: u64::MAX,
        delta_bytes: u64::MAX,
        delta_coded_bytes: u64::MAX,
        base_bytes: u64::MAX,
        ..Stats::default()
    };
    // More of a part than of the whole.
    let upside_down =
        Stats { delta_bytes: 7, delta_coded_bytes: 9, new_bytes: 3, coded_bytes: 2, ..Stats::default() };
    for claims in [&most, &most, &upside_down] {
        let session = support::begin(&repo).unwrap();
        commit_claiming(&repo, session, Vec::new(), claims.clone());
    }
    let stats = stats::stats(&repo, &Silent, &Cancel::new()).unwrap();
    assert_eq!((stats.snapshots.len(), stats.source_bytes), (3, u64::MAX));
    let all = Brought::by_all(&stats.snapshots);
    assert_eq!((all.added_bytes, all.coded_bytes), (u64::MAX, u64::MAX));
    assert_eq!(
        (all.dedupe_ratio(), all.delta_ratio(), all.compression_ratio()),
        (Some(1.0), Some(1.0), None)
    );
    let last = Brought::by(&stats.snapshots[2]);
    assert_eq!((last.dedupe_ratio(), last.compression_ratio()), (None, None));
}
