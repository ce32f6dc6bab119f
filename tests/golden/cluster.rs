//! Two base backups of one cluster, made by hand, and WAL beside them.

use std::collections::BTreeMap;

use kamba_vault::base::clock::{Cancel, Timestamp};
use kamba_vault::base::id::{SessionId, hex};
use kamba_vault::format::attrs::Unknown;
use kamba_vault::format::base_backup::{BaseBackup, Tablespace};
use kamba_vault::format::ledger::LedgerBody;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::root::{RootBody, SnapshotKind};
use kamba_vault::repo::wal::{self, Put, WalFile, ledger};
use kamba_vault::repo::{Repository, roots};

use crate::support;

const SYSTEM: u64 = 7_318_441_297_211_036_417;
/// The smallest segments that there can be.
const SEGMENT: usize = 1 << 20;

/// The cluster on a day: one page of each fifty is another.
pub fn base(day: u64) -> BaseBackup {
    let start = (day + 1) * SEGMENT as u64 + 40;
    BaseBackup {
        system: SYSTEM,
        timeline: 1,
        start,
        stop: start + 300,
        server_version: 150_010,
        page_size: 8192,
        segment_size: SEGMENT as u32,
        flags: 2 + day,
        tablespaces: vec![Tablespace { oid: 16_385, location: b"/srv/fast".to_vec() }],
        corrupt_pages: day,
        unknown: Unknown::default(),
    }
}

/// Commits a base backup beside the one before it, whose relation has the list `earlier`; this one's list.
pub fn snapshot(repo: &Repository, day: u64, earlier: Vec<ListEntry>) -> Vec<ListEntry> {
    let session = support::begin(repo).unwrap();
    let mut pages = support::rows(5, 400_000);
    pages.resize(409_600, 0);
    (0..day).for_each(|day| {
        pages[100_000 + 8192 * day as usize..][..50].copy_from_slice(&support::noise(day, 50))
    });
    let mut stream = session.ranges_after(earlier, 64 << 10);
    stream.write(&pages).unwrap();
    let content = stream.finish().unwrap().entries;
    let file = |name: &str, entries| Node::with_content(name, NodeType::File, entries).unwrap();
    let folder = |name: &str, nodes: &[Node]| {
        Node::with_children(name, NodeType::Directory, support::listing(&session, nodes).unwrap())
    };
    let label = support::store(&session, format!("LABEL: day {day}\n").as_bytes()).unwrap().entries;
    let database = folder("5", &[file("16384", content.clone())]);
    let pgdata = [file("backup_label", label), folder("base", &[database]), folder("pg_wal", &[])];
    let space = folder("16385", &[folder("PG_15_202209061", &[])]);
    let children = [folder("pgdata", &pgdata), folder("tablespaces", &[space])];
    let children = support::listing(&session, &children).unwrap();
    let root = |id: SessionId, _| {
        let body = support::root_body(repo, id, children);
        let sources = vec![SYSTEM.to_string()];
        Ok(RootBody { kind: SnapshotKind::BaseBackup, base: Some(base(day)), sources, ..body })
    };
    session.commit(root).unwrap();
    content
}

/// Files of WAL: two segments, the second one not full, and a timeline's history.
pub fn store_wal(repo: &Repository) {
    let full = support::rows(6, SEGMENT);
    let mut switched = support::rows(7, 9_000);
    switched.resize(SEGMENT, 0);
    let history = b"1\t0/300000\tno recovery target specified\n".to_vec();
    for (name, bytes, is_segment) in [
        ("000000010000000000000001", full, true),
        ("000000010000000000000002", switched, true),
        ("00000002.history", history, false),
    ] {
        let (magic, size) = (is_segment.then_some(0xd110), is_segment.then_some(SEGMENT as u32));
        let file = WalFile { system: SYSTEM, name, bytes: &bytes, magic, segment_size: size };
        assert!(matches!(wal::put(repo, &file).unwrap(), Put::New { .. }));
    }
    let when = Timestamp(1_700_000_000_000_000_000);
    let (ranges, missed, unknown) = (vec![1..=2], Vec::new(), Unknown::default());
    let body = LedgerBody {
        system: SYSTEM,
        timeline: 1,
        segment_size: SEGMENT as u32,
        ranges,
        missed,
        when,
        unknown,
    };
    ledger::write(repo, &body).unwrap();
}

/// Hashes of all files of WAL by their names, and the ledgers' ranges.
pub fn read_wal(repo: &Repository) -> BTreeMap<String, String> {
    let listing = wal::list(repo).unwrap();
    let catalogue = wal::read_all(repo, &listing, &Cancel::new()).unwrap();
    assert!(catalogue.damaged.is_empty());
    let read = |stored: &wal::Stored| {
        let (body, bytes) = wal::get(repo, SYSTEM, &stored.body.file).unwrap().unwrap();
        (body.file, hex(&kamba_vault::crypto::hash(&bytes)))
    };
    let mut found: BTreeMap<String, String> = catalogue.files.iter().map(read).collect();
    let (ledgers, damaged) = ledger::read_all(repo, &ledger::list(repo).unwrap()).unwrap();
    assert!(damaged.is_empty());
    found.extend(ledgers.iter().map(|ledger| ("ledger".to_owned(), format!("{:?}", ledger.ranges))));
    found
}

/// What the snapshots say of their cluster.
pub fn bases(repo: &Repository) -> Vec<BaseBackup> {
    let listed = roots::list(repo, &Cancel::new()).unwrap().snapshots;
    listed.into_iter().filter_map(|snapshot| snapshot.root.base).collect()
}
