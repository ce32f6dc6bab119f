//! The documents that `--json` prints: types with names of their own, so that what programs read
//! stays the same while the library moves. A field is never renamed or removed; new ones may come.

use serde::Serialize;

use crate::cli::time;
use crate::format::base_backup::{BaseBackup, Tablespace};
use crate::format::root::{SnapshotKind, Stats};
use crate::postgres::lsn::Lsn;
use crate::repo::roots::Snapshot;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SnapshotDocument {
    /// Its full id.
    pub id: String,
    /// When its source began to be read, RFC 3339 in UTC.
    pub time: String,
    /// When it was done, likewise.
    pub ended: String,
    /// `files`, `db`, `stream` or `base`.
    pub kind: String,
    /// The machine it was made on.
    pub host: Option<String>,
    /// The user who made it.
    pub user: Option<String>,
    /// Tags that the user gave it.
    pub tags: Vec<String>,
    /// Paths, databases, or the stream's name.
    pub sources: Vec<String>,
    /// The user's words on it.
    pub description: Option<String>,
    /// The snapshot it was compared with.
    pub parent: Option<String>,
    /// The program that made it, with its version.
    pub program: Option<String>,
    /// Whether the end of the source could not be verified.
    pub end_unverified: bool,
    /// Whether some of the source could not be read.
    pub incomplete: bool,
    /// What it holds and what it cost.
    pub stats: StatsDocument,
    /// The cluster, if it is a base backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseDocument>,
}

/// The cluster that a base backup is of. Positions in the WAL are as PostgreSQL writes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BaseDocument {
    /// Its system identifier: a text, since it is too large a number for many programs.
    pub system: String,
    /// The timeline that it was on.
    pub timeline: u32,
    /// Where replay begins.
    pub start_lsn: String,
    /// Where the copy is consistent.
    pub stop_lsn: String,
    /// The server's version as a number: 150010 is 15.10.
    pub server_version: u32,
    /// Bytes of a WAL segment.
    pub wal_segment_size: u32,
    /// Whether it was read from a standby.
    pub from_standby: bool,
    /// Whether checksums of pages were verified.
    pub checksums: bool,
    /// Pages whose checksum was wrong.
    pub corrupt_pages: u64,
    /// Its tablespaces.
    pub tablespaces: Vec<TablespaceDocument>,
}

/// A tablespace of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TablespaceDocument {
    /// Its oid.
    pub oid: u32,
    /// Where it lay.
    pub location: String,
}

impl From<&BaseBackup> for BaseDocument {
    fn from(base: &BaseBackup) -> Self {
        let tablespace = |tablespace: &Tablespace| TablespaceDocument {
            oid: tablespace.oid,
            location: String::from_utf8_lossy(&tablespace.location).into_owned(),
        };
        BaseDocument {
            system: base.system.to_string(),
            timeline: base.timeline,
            start_lsn: Lsn(base.start).to_string(),
            stop_lsn: Lsn(base.stop).to_string(),
            server_version: base.server_version,
            wal_segment_size: base.segment_size,
            from_standby: base.is_from_standby(),
            checksums: base.has_checksums(),
            corrupt_pages: base.corrupt_pages,
            tablespaces: base.tablespaces.iter().map(tablespace).collect(),
        }
    }
}

/// What a snapshot holds and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StatsDocument {
    /// Bytes of the source.
    pub source_bytes: u64,
    /// Of these, bytes that the repository did not have.
    pub new_bytes: u64,
    /// Bytes that were written to the backend for them.
    pub stored_bytes: u64,
    /// Chunks of the source.
    pub chunks: u64,
    /// Of these, chunks that the repository did not have.
    pub new_chunks: u64,
    /// Files, tables, streams.
    pub items: u64,
    /// Bytes by which the repository grew: `stored_bytes` and the snapshot's own object.
    pub added_bytes: u64,
    /// What `new_bytes` were coded in, before seals and padding; this and what follows is nothing
    /// where the program that made the snapshot did not record it.
    pub coded_bytes: Option<u64>,
    /// Of `new_bytes`, those stored as differences to what was there.
    pub delta_bytes: Option<u64>,
    /// Of `coded_bytes`, those of the differences.
    pub delta_coded_bytes: Option<u64>,
    /// Bytes that were read back for them.
    pub base_bytes: Option<u64>,
}

impl From<&Snapshot> for SnapshotDocument {
    fn from(snapshot: &Snapshot) -> Self {
        let root = &snapshot.root;
        SnapshotDocument {
            id: root.session.to_hex(),
            time: time::rfc3339(root.started),
            ended: time::rfc3339(root.ended),
            kind: root.kind.to_string(),
            host: root.host.clone(),
            user: root.user.clone(),
            tags: root.tags.clone(),
            sources: root.sources.clone(),
            description: root.description.clone(),
            parent: root.parent.map(|parent| parent.to_hex()),
            program: root.program.clone(),
            end_unverified: root.end_unverified(),
            incomplete: root.incomplete(),
            stats: StatsDocument::new(&root.stats, snapshot.added_bytes()),
            base: root.base.as_ref().map(BaseDocument::from),
        }
    }
}

impl StatsDocument {
    /// What a snapshot says of itself, and by how much the repository grew for it.
    pub fn new(stats: &Stats, added_bytes: u64) -> Self {
        let recorded = |bytes| stats.says_coding().then_some(bytes);
        StatsDocument {
            source_bytes: stats.source_bytes,
            new_bytes: stats.new_bytes,
            stored_bytes: stats.stored_bytes,
            chunks: stats.chunks,
            new_chunks: stats.new_chunks,
            items: stats.items,
            added_bytes,
            coded_bytes: recorded(stats.coded_bytes),
            delta_bytes: recorded(stats.delta_bytes),
            delta_coded_bytes: recorded(stats.delta_coded_bytes),
            base_bytes: recorded(stats.base_bytes),
        }
    }
}

/// A document on a line of its own.
pub fn line<T: Serialize>(document: &T) -> String {
    // These types have no maps with odd keys and no fallible parts: they always encode.
    serde_json::to_string(document).unwrap_or_default() + "\n"
}

/// The kind of this name.
pub fn kind_of_name(name: &str) -> Option<SnapshotKind> {
    (1..=4).map(SnapshotKind::from_u64).find(|kind| kind.to_string() == name)
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::id::{ObjectHash, RepositoryId, SessionId, SignerId};
    use crate::format::attrs::Unknown;
    use crate::format::node::{Node, NodeType};
    use crate::format::root::{FLAG_END_UNVERIFIED, RootBody};

    /// A snapshot with something in every field.
    pub fn snapshot() -> Snapshot {
        let root = root();
        Snapshot { id: root.session, signer: SignerId([2; 16]), hash: ObjectHash([3; 32]), size: 500, root }
    }

    fn root() -> RootBody {
        RootBody {
            session: SessionId([0x3f; 16]),
            repository: RepositoryId([1; 16]),
            kind: SnapshotKind::Stream,
            sequence: 2,
            previous: None,
            started: Timestamp(1_795_312_820_500_000_000),
            ended: Timestamp(1_795_312_823_000_000_000),
            root: Node::with_children(b"".to_vec(), NodeType::Directory, Vec::new()),
            host: Some("web1".into()),
            user: Some("backup".into()),
            tags: vec!["nightly".into(), "eu".into()],
            sources: vec!["vercel.json".into()],
            stats: Stats {
                source_bytes: 1_300_000,
                new_bytes: 70_000,
                stored_bytes: 30_000,
                chunks: 20,
                new_chunks: 1,
                items: 1,
                coded_bytes: 29_000,
                delta_bytes: 40_000,
                delta_coded_bytes: 1_000,
                base_bytes: 50_000,
                unknown: Unknown::default(),
            },
            flags: FLAG_END_UNVERIFIED,
            program: Some("kamba-vault 0.1.0".into()),
            parent: Some(SessionId([0x2a; 16])),
            description: None,
            base: None,
            unknown: Unknown::default(),
        }
    }

    #[test]
    fn a_snapshots_document_is_stable() {
        let document = serde_json::to_string(&SnapshotDocument::from(&snapshot())).unwrap();
        insta::assert_snapshot!(document.replace(',', ",\n"), @r#"
        {"id":"3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f",
        "time":"2026-11-22T02:00:20.5Z",
        "ended":"2026-11-22T02:00:23Z",
        "kind":"stream",
        "host":"web1",
        "user":"backup",
        "tags":["nightly",
        "eu"],
        "sources":["vercel.json"],
        "description":null,
        "parent":"2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a",
        "program":"kamba-vault 0.1.0",
        "end_unverified":true,
        "incomplete":false,
        "stats":{"source_bytes":1300000,
        "new_bytes":70000,
        "stored_bytes":30000,
        "chunks":20,
        "new_chunks":1,
        "items":1,
        "added_bytes":30500,
        "coded_bytes":29000,
        "delta_bytes":40000,
        "delta_coded_bytes":1000,
        "base_bytes":50000}}
        "#);
        let mut old = snapshot();
        old.root.stats = Stats { new_bytes: 70_000, stored_bytes: 30_000, ..Stats::default() };
        let document = SnapshotDocument::from(&old).stats;
        assert_eq!((document.added_bytes, document.coded_bytes, document.delta_bytes), (30_500, None, None));
    }

    #[test]
    fn kinds_are_found_by_the_names_they_print() {
        for number in 1..=4 {
            let kind = SnapshotKind::from_u64(number);
            assert_eq!(kind_of_name(&kind.to_string()), Some(kind));
        }
        assert_eq!(kind_of_name("database"), None);
        assert_eq!(kind_of_name("kind-9"), None);
    }
}
