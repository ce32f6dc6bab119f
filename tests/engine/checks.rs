//! What `check` finds beyond the damage matrix: objects that cannot be read, packs of another size or at
//! another place, lists and index parts that lie. Whatever it says of a path, reading it must agree.

use std::collections::BTreeSet;
use std::sync::Arc;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::id::{ChunkId, SessionId};
use kamba_vault::base::kind::{ChunkKind, PackKind};
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::index::{IndexPart, PackRecord};
use kamba_vault::format::keyring::{EpochKeys, IdKeys, Keyring, Role};
use kamba_vault::format::list::{ListEntry, encode_entries};
use kamba_vault::format::name::ObjectName;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::pack::{Directory, Stored};
use kamba_vault::format::tree::TreeBuilder;
use kamba_vault::ops::check::{ReadData, Report, check};
use kamba_vault::ops::{self, look};
use kamba_vault::repo::session::Session;
use kamba_vault::repo::{Error, Repository, index, roots};
use kamba_vault::storage::{self, Backend, Effect, ErrorKind, Memory, Op, Record, Rule};
use kamba_vault::vfs::{EntryKind, View};

use crate::support::views::{Model, cat};
use crate::support::{self, Faulty, Streams, Vault, check_all, names, noise, snapshot_streams};

fn structure(repo: &Repository) -> Report {
    check(repo, ReadData::None, &Silent, &Cancel::new()).unwrap()
}

/// Names of the damaged objects.
fn damaged(report: &Report) -> Vec<&str> {
    report.damaged.iter().map(|damage| damage.object.as_str()).collect()
}

fn only_name(memory: &Memory, prefix: &str) -> String {
    let mut names = names(memory, "");
    names.retain(|name| name.starts_with(prefix));
    assert_eq!(names.len(), 1, "{names:?}");
    names.remove(0)
}

fn bytes_of(memory: &Memory, name: &str) -> Vec<u8> {
    memory.get(name, u64::MAX).unwrap()
}

/// `count` streams that share nothing with those of another seed.
fn streams(seed: u64, count: u64) -> Streams {
    (0..count).map(|n| (format!("s{n}"), noise(seed * 100 + n, 60_000))).collect()
}

/// Demands that `report` calls hurt what cannot be read, and nothing else; answers what cannot.
fn assert_exact(repo: &Repository, model: &Model, report: &Report) -> BTreeSet<(SessionId, String)> {
    let mut lost = BTreeSet::new();
    for (id, streams) in model {
        for (name, data) in streams {
            let is_hurt =
                report.hurt.iter().any(|h| h.snapshot == *id && (h.path == *name || h.path.is_empty()));
            match cat(repo, id, name) {
                Ok(read) => assert!(read == *data && !is_hurt, "{id}:{name}: {report:#?}"),
                Err(e) => {
                    assert!(is_hurt, "{id}:{name}: {}: {report:#?}", e.error);
                    lost.insert((*id, name.clone()));
                }
            }
        }
    }
    lost
}

#[test]
fn failures_of_one_object_are_told_from_those_of_the_backend() {
    let error = |kind, action| Error::from(storage::Error::new(kind, action, "data/x", "memory://", "why"));
    for kind in [ErrorKind::NotFound, ErrorKind::Truncated, ErrorKind::TooLarge, ErrorKind::Other] {
        assert!(!error(kind, "read").is_of_backend(), "{kind:?}");
    }
    let others = [
        ErrorKind::Temporary,
        ErrorKind::Permission,
        ErrorKind::Config,
        ErrorKind::Cancelled,
        ErrorKind::Full,
    ];
    for kind in others {
        assert!(error(kind, "read").is_of_backend(), "{kind:?}");
    }
    assert!(error(ErrorKind::Other, "list").is_of_backend(), "a listing is of no object");
    assert!(!Error::damaged("data/x", "why").is_of_backend());
}

/// Three snapshots that share nothing, and the lease of a session that died.
fn three() -> (Arc<Memory>, Model) {
    let vault = Vault::new();
    let mut model = Model::new();
    for seed in 1..=3 {
        let streams = streams(seed, 2);
        model.insert(snapshot_streams(&vault.repo, &streams).unwrap(), streams);
    }
    let session = support::begin(&vault.repo).unwrap();
    let lease = only_name(&vault.memory, "leases/");
    let bytes = bytes_of(&vault.memory, &lease);
    session.abandon();
    vault.memory.overwrite(&lease, &bytes);
    (vault.memory, model)
}

/// The repository in `memory`, opened before every read of `name` began to fail with `kind`.
fn failing(memory: &Arc<Memory>, name: &str, kind: ErrorKind) -> Faulty {
    let faulty = Faulty::of(memory.clone());
    let sick = name.to_owned();
    let reads = move |op, object: &str| matches!(op, Op::Get | Op::GetRange) && object == sick;
    faulty.fault.add(Rule::new(Effect::Fail(kind), reads));
    faulty
}

#[test]
fn an_object_that_cannot_be_read_is_named_and_hides_no_other() {
    let (memory, model) = three();
    for name in names(&*memory, "") {
        let sick = failing(&memory, &name, ErrorKind::Other);
        let report = check_all(&sick.repo);
        let mut expected = vec![name.as_str()];
        if name.starts_with("keys/") {
            expected.insert(0, "keys/");
        }
        assert_eq!(damaged(&report), expected, "{report:#?}");
        let root = ObjectName::parse(&name);
        if let Some(ObjectName::Root(id)) = root {
            let listed = look::snapshots(&sick.repo, &[], None, &Cancel::new()).unwrap();
            assert!(listed.snapshots.len() == 2 && listed.snapshots.iter().all(|s| s.id != id));
            continue;
        }
        let lost = assert_exact(&sick.repo, &model, &report);
        let holds_data = ["data/", "meta/", "index/"].iter().any(|prefix| name.starts_with(prefix));
        let snapshots: BTreeSet<_> = lost.iter().map(|(id, _)| id).collect();
        assert_eq!((lost.len(), snapshots.len()), if holds_data { (2, 1) } else { (0, 0) }, "{name}");
    }
}

#[test]
fn a_backend_that_fails_is_no_damage() {
    let (memory, _) = three();
    for name in names(&*memory, "") {
        for kind in [ErrorKind::Temporary, ErrorKind::Permission] {
            let sick = failing(&memory, &name, kind);
            let failed = check(&sick.repo, ReadData::All, &Silent, &Cancel::new());
            let error = failed.map(|report| format!("{name} {kind:?}: {report:#?}")).unwrap_err();
            let ops::Error::Repo(Error::Storage(error)) = error else { panic!("{name}: {error}") };
            assert_eq!((&error.object, error.kind), (&name, kind));
        }
    }
}

/// Streams of [`one_pack`]: several to a segment, whatever the order of the segments.
const STREAMS: usize = 24;

/// One snapshot of several streams in one data pack of several segments; the pack's name.
fn one_pack() -> (Vault, Model, String) {
    let vault = Vault::new();
    let streams: Streams = (0..STREAMS).map(|n| (format!("s{n}"), noise(700 + n as u64, 50_000))).collect();
    let id = snapshot_streams(&vault.repo, &streams).unwrap();
    let pack = only_name(&vault.memory, "data/");
    (vault, Model::from([(id, streams)]), pack)
}

#[test]
fn of_a_pack_with_another_size_only_what_cannot_be_read_is_hurt() {
    let (vault, model, pack) = one_pack();
    let bytes = bytes_of(&vault.memory, &pack);
    let sizes = [bytes.len() + 1, bytes.len() + 5000, bytes.len() - 1, bytes.len() / 2, 0];
    let mut counts = Vec::new();
    for size in sizes {
        let mut other = bytes.clone();
        other.resize(size, 0x5a);
        vault.memory.overwrite(&pack, &other);
        let mut lost = BTreeSet::new();
        for report in [structure(&vault.repo), check_all(&vault.repo)] {
            assert_eq!(damaged(&report), [&pack], "{size}");
            lost = assert_exact(&vault.repo, &model, &report);
        }
        counts.push(lost.len());
    }
    assert!(matches!(counts[..], [0, 0, 0, some, STREAMS] if some > 0 && some < STREAMS), "{counts:?}");
}

#[test]
fn of_a_damaged_pack_only_the_paths_that_need_the_damage_are_hurt() {
    let (vault, model, pack) = one_pack();
    let bytes = bytes_of(&vault.memory, &pack);
    let mut all = BTreeSet::new();
    for part in 1..8 {
        let mut other = bytes.clone();
        other[bytes.len() * part / 8] ^= 1;
        vault.memory.overwrite(&pack, &other);
        let report = check_all(&vault.repo);
        assert_eq!(damaged(&report), [&pack]);
        let lost = assert_exact(&vault.repo, &model, &report);
        assert!(lost.len() < STREAMS, "{report:#?}");
        all.extend(lost);
    }
    assert!(all.len() > 2, "{all:?}");
}

#[test]
fn a_pack_of_the_wrong_family_is_missing() {
    let (vault, model, pack) = one_pack();
    let bytes = bytes_of(&vault.memory, &pack);
    vault.memory.delete(&pack).unwrap();
    vault.memory.overwrite(&pack.replacen("data/", "meta/", 1), &bytes);
    for report in [structure(&vault.repo), check_all(&vault.repo)] {
        assert_eq!(damaged(&report), [&pack]);
        assert_eq!(report.damaged[0].reason, "it is missing");
        assert_eq!(assert_exact(&vault.repo, &model, &report).len(), STREAMS);
        assert!(report.notes.iter().any(|note| note.contains("in no index part")), "{:?}", report.notes);
    }
}

/// Stores `entries` as a list chunk; answers the entry that tells the truth about it.
fn list(session: &Session, entries: &[ListEntry]) -> (ChunkId, u64) {
    let mut bytes = vec![0];
    encode_entries(entries, &mut bytes);
    let id = session.store(ChunkKind::List, &bytes).unwrap();
    (id, entries.iter().map(ListEntry::content_len).sum())
}

fn listing(session: &Session, nodes: &[Node]) -> Vec<ListEntry> {
    let mut tree = TreeBuilder::new();
    let store = &mut |kind, bytes: &[u8]| session.store(kind, bytes);
    nodes.iter().for_each(|node| tree.push(node, store).unwrap());
    tree.finish(store).unwrap()
}

fn content(session: &Session, bytes: &[u8]) -> Vec<ListEntry> {
    let mut stream = session.stream();
    stream.write(bytes).unwrap();
    stream.finish().unwrap().entries
}

fn folder(name: &str, children: Vec<ListEntry>) -> Node {
    Node::with_children(name, NodeType::Directory, children)
}

fn file(name: &str, content: Vec<ListEntry>) -> Node {
    Node::with_content(name, NodeType::File, content).unwrap()
}

/// Commits a snapshot of `nodes`.
fn commit(repo: &Repository, session: Session, nodes: &[Node]) -> SessionId {
    let children = listing(&session, nodes);
    session.commit(|id, _| Ok(support::root_body(repo, id, children))).unwrap().0
}

fn view(repo: &Repository, id: &SessionId) -> View {
    let listing = roots::list(repo, &Cancel::new()).unwrap();
    let snapshot = listing.snapshots.iter().find(|snapshot| snapshot.id == *id).unwrap();
    look::view(repo, snapshot, &Silent, &Cancel::new()).unwrap()
}

/// Whether all of `name` can be read; what cannot must be damage.
fn is_read(view: &View, name: &str) -> bool {
    let entry = view.find(name.as_bytes()).unwrap().unwrap();
    let read = match entry.kind {
        EntryKind::Directory => look::walk(view, &entry, name, true, &mut |_, _| Ok(())),
        _ => view.write(&entry, &mut Vec::new(), &Silent).map(drop).map_err(Into::into),
    };
    if let Err(e) = &read {
        assert_eq!(e.class(), Class::Damaged, "{name}: {e}");
    }
    read.is_ok()
}

#[test]
fn what_a_list_claims_falsely_is_found_wherever_it_stands() {
    let vault = Vault::new();
    let session = support::begin(&vault.repo).unwrap();
    let nodes = listing(&session, &[Node::new("leaf", NodeType::Fifo)]);
    let [ListEntry::Chunk { id: tree, len: tree_len }] = nodes[..] else { panic!("{nodes:?}") };
    let data = content(&session, b"some data");
    let [ListEntry::Chunk { id: chunk, len: chunk_len }] = data[..] else { panic!("{data:?}") };
    let ((names, names_len), (bytes, bytes_len)) = (list(&session, &nodes), list(&session, &data));
    let later = listing(&session, &[Node::new("z", NodeType::Fifo)]);
    let (later_names, later_len) = list(&session, &later);
    let (torn, torn_len) = list(&session, &[ListEntry::Hole { len: 5 }, nodes[0]]);
    let lists = |id, len, depth| vec![ListEntry::List { id, len, depth }];
    let chunks = |id, len| vec![ListEntry::Chunk { id, len }];
    // What tells the truth comes first, so that it is remembered as whole.
    let nodes = [
        (true, folder("a", lists(names, names_len, 0))),
        (true, file("b", lists(bytes, bytes_len, 0))),
        (true, folder("c", chunks(tree, tree_len))),
        (true, file("d", chunks(chunk, chunk_len))),
        (true, folder("e", later.clone())),
        (true, folder("f", lists(later_names, later_len, 0))),
        (true, folder("g", [&nodes[..], &later].concat())),
        (true, folder("h", [lists(names, names_len, 0), lists(later_names, later_len, 0)].concat())),
        (false, folder("x: order of nodes", [&later[..], &nodes].concat())),
        (false, folder("x: names twice", [&nodes[..], &nodes].concat())),
        (
            false,
            folder(
                "x: order of lists",
                [lists(later_names, later_len, 0), lists(names, names_len, 0)].concat(),
            ),
        ),
        (false, folder("x: another length", lists(names, names_len + 1, 0))),
        (false, folder("x: another depth", lists(names, names_len, 1))),
        (false, folder("x: content as names", lists(bytes, bytes_len, 0))),
        (false, folder("x: data as names", chunks(chunk, chunk_len))),
        (false, folder("x: length of nodes", chunks(tree, tree_len + 1))),
        (false, folder("x: a hole below", lists(torn, torn_len, 0))),
        (false, file("x: length of content", lists(bytes, bytes_len + 1, 0))),
        (false, file("x: depth of content", lists(bytes, bytes_len, 1))),
        (false, file("x: names as content", lists(names, names_len, 0))),
        (false, file("x: nodes as content", chunks(tree, tree_len))),
        (false, file("x: length of data", chunks(chunk, chunk_len + 1))),
        (false, file("x: shorter data", chunks(chunk, chunk_len - 1))),
        (true, file("z", chunks(chunk, chunk_len))),
    ];
    let mut sorted = Vec::from(nodes);
    sorted.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    let nodes: Vec<Node> = sorted.iter().map(|(_, node)| node.clone()).collect();
    let id = commit(&vault.repo, session, &nodes);
    let view = view(&vault.repo, &id);
    for report in [structure(&vault.repo), check_all(&vault.repo)] {
        assert_eq!(report.damaged, []);
        for (sound, node) in &sorted {
            let name = std::str::from_utf8(&node.name).unwrap();
            let is_hurt = report.hurt.iter().any(|hurt| hurt.path == name);
            assert_eq!((is_read(&view, name), is_hurt), (*sound, !sound), "{name}: {report:#?}");
        }
    }
}

/// Adds a keyslot of an auditor, and opens the repository with it.
fn as_auditor(vault: &Vault) -> (Repository, tempfile::TempDir) {
    let admin = vault.repo.keys().ring();
    let epochs = admin.epochs.iter().map(|epoch| EpochKeys { data_private: None, ..epoch.clone() });
    let ring = Keyring {
        role: Role::Auditor,
        id_keys: IdKeys { data: None, ..admin.id_keys.clone() },
        gear: None,
        epochs: epochs.collect(),
        ..admin.clone()
    };
    let cache = support::folder();
    (support::roles::open_as(&vault.memory, &ring, cache.path()), cache)
}

#[test]
fn an_auditor_checks_everything_but_data() {
    let (vault, model, pack) = one_pack();
    let (auditor, _cache) = as_auditor(&vault);
    assert_eq!(auditor.keys().role(), Role::Auditor);
    assert!(structure(&auditor).is_clean());
    let denied = check(&auditor, ReadData::All, &Silent, &Cancel::new()).unwrap_err();
    assert_eq!(denied.class(), Class::Denied);
    // Of what only reading shows it assumes the worst.
    let bytes = bytes_of(&vault.memory, &pack);
    vault.memory.overwrite(&pack, &bytes[..bytes.len() - 1]);
    let paths = model.values().next().unwrap().len();
    let report = structure(&auditor);
    assert_eq!((damaged(&report), report.hurt.len()), (vec![pack.as_str()], paths), "{report:#?}");
    assert!(report.hurt.iter().all(|hurt| hurt.reason.contains("bytes where the index says")));
    vault.memory.delete(&pack).unwrap();
    assert_eq!(structure(&auditor).hurt.len(), paths);
}

#[test]
fn damage_of_what_the_admin_signed_is_named_by_object() {
    let vault = Vault::new();
    for prefix in ["config", "signers/"] {
        let name = only_name(&vault.memory, prefix);
        let bytes = bytes_of(&vault.memory, &name);
        for at in [0, 20, 70, bytes.len() / 2, bytes.len() - 70, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            vault.memory.overwrite(&name, &other);
            let report = structure(&vault.repo);
            assert_eq!(damaged(&report), [&name], "{name} {at}: {report:#?}");
        }
        vault.memory.delete(&name).unwrap();
        assert_eq!(damaged(&structure(&vault.repo)), [prefix]);
        vault.memory.overwrite(&name, &bytes);
    }
    assert!(structure(&vault.repo).is_clean());
}

/// The records of all packs in the index.
pub fn records(vault: &Vault) -> Vec<PackRecord> {
    let mut records = Vec::new();
    for name in names(&*vault.memory, "index/") {
        let Some(ObjectName::Index(id)) = ObjectName::parse(&name) else { panic!("{name}") };
        let plain = index::read_part(&vault.repo, &id).unwrap();
        let part = IndexPart::decode(&plain).unwrap();
        records.extend(part.packs().iter().map(|pack| part.record(pack)));
    }
    records
}

#[test]
fn chunks_that_an_index_part_invents_are_found() {
    let (vault, model, pack) = one_pack();
    let mut record = records(&vault).into_iter().find(|r| pack.ends_with(&r.id.to_hex())).unwrap();
    let honest = std::mem::replace(&mut record.directory, Directory::new(PackKind::Data));
    let mut invented = None;
    for segment in honest.segments() {
        let stored = Stored { len: segment.stored_len, coding: segment.coding, depth: segment.depth };
        let mut chunks = honest.chunks_of(segment).to_vec();
        for chunk in &mut chunks {
            chunk.id.0[0] ^= 1;
            invented.get_or_insert(ListEntry::Chunk { id: chunk.id, len: chunk.len });
        }
        record.directory.push(stored, &[], &chunks).unwrap();
    }
    index::write_part(&vault.repo, &mut vec![record]).unwrap();
    let session = support::begin(&vault.repo).unwrap();
    let own = file("own", content(&session, b"its own data"));
    let id = commit(&vault.repo, session, &[file("invented", vec![invented.unwrap()]), own]);
    let other = vault.elsewhere();
    let report = check_all(&other.repo);
    assert!(!report.damaged.is_empty(), "{report:#?}");
    let hurt: Vec<_> = report.hurt.iter().map(|hurt| (hurt.snapshot, hurt.path.as_str())).collect();
    assert_eq!(hurt, [(id, "invented")], "{report:#?}");
    let view = view(&other.repo, &id);
    assert!(!is_read(&view, "invented") && is_read(&view, "own"));
    assert_eq!(assert_exact(&other.repo, &model, &report).len(), 0);
}

/// A recorded repository of many packs.
fn many_packs() -> (Arc<Record>, Repository, tempfile::TempDir) {
    let vault = Vault::new();
    for seed in 1..=8 {
        snapshot_streams(&vault.repo, &streams(seed, 1)).unwrap();
    }
    let record = Arc::new(Record::new(vault.memory.clone()));
    let (backend, cache) = (record.clone() as Arc<dyn Backend>, support::folder());
    let repo = support::open(&backend, cache.path());
    (record, repo, cache)
}

/// Checks some of the data; answers the names of the data packs that were read.
fn data_read(record: &Record, repo: &Repository, read: ReadData) -> (Vec<String>, Report) {
    record.clear();
    let report = check(repo, read, &Silent, &Cancel::new()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    let calls = record.calls().into_iter().filter(|call| call.op == Op::GetRange);
    let mut names: Vec<String> =
        calls.map(|call| call.name).filter(|name| name.starts_with("data/")).collect();
    names.sort();
    (names, report)
}

#[test]
fn all_parts_together_read_every_pack_once() {
    let (record, repo, _cache) = many_packs();
    let all = names(&*record, "data/");
    assert_eq!(all.len(), 8);
    for of in [1, 2, 3, 7, 100] {
        let (mut read, mut packs, mut total) = (Vec::new(), 0, 0);
        for part in 1..=of {
            let (names, report) = data_read(&record, &repo, ReadData::Part { part, of });
            read.extend(names);
            packs += report.packs_read;
            total = report.packs;
        }
        read.sort();
        assert_eq!((&read, packs), (&all, total), "of {of}");
    }
}

#[test]
fn shares_are_chosen_by_their_seed() {
    let (record, repo, _cache) = many_packs();
    let all = names(&*record, "data/");
    let share = |share, seed| data_read(&record, &repo, ReadData::Share { share, seed }).0;
    assert_eq!(share(1.0, 1), all);
    let samples: BTreeSet<Vec<String>> = (0..64).map(|seed| share(0.5, seed)).collect();
    assert!(samples.len() > 1, "every seed chooses the same");
    assert_eq!(samples.iter().flatten().collect::<BTreeSet<_>>().len(), all.len(), "some are never chosen");
    assert!(samples.iter().any(|sample| sample.len() < all.len()));
    assert_eq!(share(0.5, 5), share(0.5, 5));
}

#[test]
fn foreign_objects_are_named() {
    let vault = Vault::new();
    for name in ["keys/stray", "notes.txt", "parity/later", "data/zz"] {
        vault.memory.overwrite(name, b"x");
    }
    let note = "objects whose names mean nothing to this version: data/zz, keys/stray, notes.txt";
    assert_eq!(structure(&vault.repo).notes, [note]);
    (0..10).for_each(|n| vault.memory.overwrite(&format!("leases/{n}"), b"x"));
    let report = structure(&vault.repo);
    let first = "data/zz, keys/stray, leases/0, leases/1, leases/2 and 8 more";
    assert_eq!(report.notes, [format!("objects whose names mean nothing to this version: {first}")]);
    assert!(report.is_clean());
}
