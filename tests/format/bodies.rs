//! Vectors of the bodies of small sealed objects, with the names of their objects where those follow
//! from them.

use kamba_vault::base::clock::Timestamp;
use kamba_vault::base::id::{ChunkId, ObjectHash, RepositoryId, SessionId, SignerId, hex};
use kamba_vault::format::attrs::Unknown;
use kamba_vault::format::base_backup::{BaseBackup, Tablespace};
use kamba_vault::format::config::{ConfigBody, CreateIfAbsent, Probe};
use kamba_vault::format::header::{Header, Kind};
use kamba_vault::format::lease::LeaseBody;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::name;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::root::{RootBody, SnapshotKind, Stats, Tombstone};
use kamba_vault::format::sealed::{self, SealedObject};
use serde_json::json;

use crate::vectors::Chapter;

const SESSION: SessionId = SessionId([0x5e; 16]);
const REPOSITORY: RepositoryId = RepositoryId([0x4e; 16]);
const STARTED: Timestamp = Timestamp(1_700_000_000_000_000_000);
const ENDED: Timestamp = Timestamp(1_700_000_012_345_678_901);

#[test]
fn configurations() {
    let mut chapter = Chapter::new(
        "config",
        "the body of the configuration. The object is called 'config', its clear part is the repository id",
    );
    let plain = ConfigBody {
        repository: REPOSITORY,
        chunk_avg: 64 << 10,
        chunk_min: 16 << 10,
        chunk_max: 256 << 10,
        delta_depth: 0,
        created: STARTED,
        probe: Probe::default(),
        description: None,
        unknown: Unknown::default(),
    };
    let full = ConfigBody {
        probe: Probe { create_if_absent: Some(CreateIfAbsent::Atomic), list_after_write: Some(true) },
        description: Some("backups of the shop".into()),
        ..plain.clone()
    };
    for (case, config) in [("what must be there", plain.clone()), ("everything", full)] {
        let bytes = config.encode().unwrap();
        assert_eq!(ConfigBody::decode(&bytes).unwrap(), config);
        let input = json!({
            "repository": config.repository.to_hex(), "avg": config.chunk_avg, "min": config.chunk_min,
            "max": config.chunk_max, "delta_depth": config.delta_depth, "created": config.created.0.to_string(),
            "create_if_absent": config.probe.create_if_absent.map(CreateIfAbsent::to_u64),
            "list_after_write": config.probe.list_after_write.map(u64::from),
            "description": config.description,
        });
        chapter.bytes(case, input, &bytes);
    }
    let good = plain.encode().unwrap();
    for (case, at, byte) in [
        ("an average that is no power of two", 20, 0x81u8),
        ("sizes that do not belong together", 25, 0x81),
        ("a depth above the limit", good.len() - 12, 33),
        ("an unknown critical attribute", good.len() - 11, 13),
    ] {
        let mut changed = good.clone();
        changed[at] = byte;
        chapter.refused(case, &changed, ConfigBody::decode(&changed).unwrap_err());
    }
    chapter.finish();
}

fn snapshot() -> RootBody {
    let tree = ListEntry::Chunk { len: 512, id: ChunkId([0x7e; 32]) };
    RootBody {
        session: SESSION,
        repository: REPOSITORY,
        kind: SnapshotKind::Stream,
        sequence: 1,
        previous: None,
        started: STARTED,
        ended: ENDED,
        root: Node::with_children("", NodeType::Directory, vec![tree]),
        host: None,
        user: None,
        tags: vec![],
        sources: vec![],
        stats: Stats::default(),
        flags: 0,
        program: None,
        parent: None,
        description: None,
        base: None,
        unknown: Unknown::default(),
    }
}

fn base_backup() -> BaseBackup {
    let at = |oid, location: &str| Tablespace { oid, location: location.into() };
    BaseBackup {
        system: 7_318_441_297_211_036_417,
        timeline: 3,
        start: 0x16_b000_0028,
        stop: 0x16_b374_d848,
        server_version: 150_010,
        page_size: 8192,
        segment_size: 16 << 20,
        flags: 3,
        tablespaces: vec![at(16_385, "/srv/fast"), at(16_390, "/srv/large")],
        corrupt_pages: 1,
        unknown: Unknown::default(),
    }
}

fn base_in_json(base: &BaseBackup) -> serde_json::Value {
    let tablespaces: Vec<_> =
        base.tablespaces.iter().map(|t| json!([t.oid, String::from_utf8_lossy(&t.location)])).collect();
    json!({
        "system": base.system.to_string(), "timeline": base.timeline, "start": base.start.to_string(),
        "stop": base.stop.to_string(), "server_version": base.server_version, "page_size": base.page_size,
        "segment_size": base.segment_size, "flags": base.flags, "tablespaces": tablespaces,
        "corrupt_pages": base.corrupt_pages,
    })
}

#[test]
fn snapshots() {
    let mut chapter = Chapter::new(
        "root",
        "bodies of snapshots and tombstones, with the names of their objects. Times are nanoseconds as \
         decimal strings; the root node is given by its record",
    );
    let full = RootBody {
        kind: SnapshotKind::Database,
        sequence: 300,
        previous: Some(ObjectHash([0x99; 32])),
        host: Some("db1".into()),
        user: Some("postgres".into()),
        tags: vec!["nightly".into(), "eu".into()],
        sources: vec!["shop".into()],
        stats: Stats {
            source_bytes: 1_240_000_000,
            new_bytes: 6_000_000,
            stored_bytes: 1_500_000,
            chunks: 15_500,
            new_chunks: 75,
            items: 9,
            coded_bytes: 1_450_000,
            delta_bytes: 4_500_000,
            delta_coded_bytes: 90_000,
            base_bytes: 5_000_000,
            unknown: Unknown::default(),
        },
        flags: 3,
        program: Some("kamba-vault 0.1.0".into()),
        parent: Some(SessionId([0x5d; 16])),
        description: Some("before the move".into()),
        ..snapshot()
    };
    let base = RootBody { kind: SnapshotKind::BaseBackup, base: Some(base_backup()), ..snapshot() };
    for (case, body) in [("what must be there", snapshot()), ("everything", full), ("a base backup", base)] {
        let bytes = body.encode().unwrap();
        assert_eq!(RootBody::decode(&bytes).unwrap(), body);
        let mut root = Vec::new();
        body.root.encode(&mut root);
        let stats = &body.stats;
        let input = json!({
            "session": body.session.to_hex(), "repository": body.repository.to_hex(),
            "kind": body.kind.to_u64(), "sequence": body.sequence,
            "previous": body.previous.map(|hash| hash.to_hex()), "started": body.started.0.to_string(),
            "ended": body.ended.0.to_string(), "root": hex(&root), "host": body.host, "user": body.user,
            "tags": body.tags, "sources": body.sources,
            "stats": [
                stats.source_bytes, stats.new_bytes, stats.stored_bytes, stats.chunks, stats.new_chunks, stats.items,
                stats.coded_bytes, stats.delta_bytes, stats.delta_coded_bytes, stats.base_bytes,
            ],
            "flags": body.flags, "program": body.program, "parent": body.parent.map(|id| id.to_hex()),
            "description": body.description, "base": body.base.as_ref().map(base_in_json),
        });
        let output = json!({ "bytes": hex(&bytes), "name": name::root_name(&body.session) });
        chapter.case(case, input, output);
    }
    let tombstone = Tombstone {
        session: SESSION,
        fenced_by: SignerId([0xad; 16]),
        when: ENDED,
        unknown: Unknown::default(),
    };
    let bytes = tombstone.encode();
    assert_eq!(Tombstone::decode(&bytes).unwrap(), tombstone);
    let input = json!({
        "session": SESSION.to_hex(), "fenced_by": tombstone.fenced_by.to_hex(), "when": ENDED.0.to_string(),
    });
    chapter.case("a tombstone", input, json!({ "bytes": hex(&bytes), "name": name::root_name(&SESSION) }));
    let refuse = |chapter: &mut Chapter, case, bytes: &[u8]| {
        chapter.refused(case, bytes, RootBody::decode(bytes).unwrap_err());
    };
    let good = snapshot().encode().unwrap();
    let mut zeroth = good.clone();
    assert_eq!(zeroth[39..42], [7, 1, 1]);
    zeroth[41] = 0;
    refuse(&mut chapter, "the number zero", &zeroth);
    refuse(&mut chapter, "flags that are zero, and should be absent", &[&good[..], &[26, 1, 0]].concat());
    refuse(&mut chapter, "statistics that are empty, and should be absent", &[&good[..], &[24, 0]].concat());
    refuse(&mut chapter, "tags that are empty, and should be absent", &[&good[..], &[20, 0]].concat());
    refuse(&mut chapter, "a host's name that is not UTF-8", &[&good[..], &[16, 1, 0xff]].concat());
    refuse(&mut chapter, "a cluster of a snapshot that is no base backup", &{
        let base = base_backup().encode().unwrap();
        [&good[..], &[40, base.len() as u8], &base].concat()
    });
    let mut root = Vec::new();
    snapshot().root.encode(&mut root);
    // The root node is the last attribute: its tag, its length, and itself.
    let rootless = &good[..good.len() - root.len() - 2];
    refuse(&mut chapter, "without a root node", rootless);
    chapter.finish();
}

#[test]
fn leases() {
    let mut chapter = Chapter::new("lease", "bodies of leases, with the names of their objects");
    for counter in [0u32, 0x1f3] {
        let body = LeaseBody {
            session: SESSION,
            counter,
            host: "db1".into(),
            process: 4711,
            taken: STARTED,
            expires: ENDED,
            purpose: "snapshot db".into(),
            unknown: Unknown::default(),
        };
        let bytes = body.encode().unwrap();
        assert_eq!(LeaseBody::decode(&bytes).unwrap(), body);
        let input = json!({
            "session": SESSION.to_hex(), "counter": counter, "host": body.host, "process": body.process,
            "taken": STARTED.0.to_string(), "expires": ENDED.0.to_string(), "purpose": body.purpose,
        });
        let output = json!({ "bytes": hex(&bytes), "name": name::lease_name(&SESSION, counter) });
        chapter.case(&format!("counter {counter}"), input, output);
    }
    chapter.finish();
}

#[test]
fn small_objects() {
    let mut chapter = Chapter::new(
        "small-object",
        "the outer shape of a small sealed object; sealed part and signature are stand-ins",
    );
    let header = Header::new(Kind::Config, 1, SignerId([0xad; 16]), [0x5a; 32]).encode();
    let mut bytes = sealed::unsigned(&header, &REPOSITORY.0, &[0xee; 20]);
    bytes.extend([0x51; 64]);
    let object = SealedObject::parse(&bytes, &[Kind::Config]).unwrap();
    assert_eq!((object.clear, object.sealed), (&REPOSITORY.0[..], &[0xee; 20][..]));
    let input = json!({
        "header": hex(&header), "clear": hex(object.clear), "sealed": hex(object.sealed),
        "signature": hex(&object.signature),
    });
    chapter.bytes("a configuration's", input, &bytes);
    let mut refuse = |case, bytes: &[u8]| {
        chapter.refused(case, bytes, SealedObject::parse(bytes, &[Kind::Config]).unwrap_err());
    };
    refuse("bytes after the signature", &[&bytes[..], &[0]].concat());
    refuse("cut off in the signature", &bytes[..bytes.len() - 1]);
    let mut long = bytes.clone();
    long[67] = 0xff;
    refuse("a clear part above the limit", &long);
    let mut other = sealed::unsigned(&header, &[0; 15], &[0xee; 20]);
    other.extend([0x51; 64]);
    refuse("a clear part of another length", &other);
    chapter.finish();
}
