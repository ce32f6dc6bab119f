//! Snapshots a dump that was made long ago, without the server that it was made of: `shop.dump` beside
//! this file is what `pg_dump -Fc -Z0` of PostgreSQL 15 wrote of a small database with a large object, an
//! empty table, NULLs, and a table with an odd name.

use kamba_vault::base::id::hex;
use kamba_vault::base::kind::ChunkKind;
use kamba_vault::crypto::hash;
use kamba_vault::format::database::DatabaseInfo;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::root::{RootBody, SnapshotKind};
use kamba_vault::format::tree::TreeBuilder;
use kamba_vault::postgres::archive::name::table_file;
use kamba_vault::postgres::archive::split::{ObjectEnd, ObjectKey, Sink, Splitter, Summary, TableRows};
use kamba_vault::repo::session::Session;
use kamba_vault::repo::{Error, Repository};
use serde_json::json;

use crate::support;

/// The parts of a dump.
#[derive(Default)]
struct Parts {
    objects: Vec<(String, Vec<u8>)>,
    recipe: Vec<u8>,
}

impl Sink for Parts {
    type Error = Error;

    fn object_begin(&mut self, key: &ObjectKey) -> Result<(), Error> {
        let path = match key {
            ObjectKey::Head => "head".to_owned(),
            ObjectKey::Rest => "rest".to_owned(),
            ObjectKey::Table { schema, name } => format!("tables/{}", table_file(schema, name)),
            ObjectKey::LargeObject { oid } => format!("large-objects/{oid}"),
        };
        self.objects.push((path, Vec::new()));
        Ok(())
    }

    fn object_bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.objects.last_mut().unwrap().1.extend_from_slice(bytes);
        Ok(())
    }

    fn object_end(&mut self, _end: &ObjectEnd) -> Result<(), Error> {
        Ok(())
    }

    fn recipe(&mut self, operations: &[u8]) -> Result<(), Error> {
        self.recipe.extend_from_slice(operations);
        Ok(())
    }
}

/// One snapshot of the database `shop` whose dump this is.
pub fn snapshot(repo: &Repository, dump: &[u8]) {
    let (mut parts, mut splitter) = (Parts::default(), Splitter::new());
    splitter.push(dump, &mut parts).unwrap();
    let summary = splitter.finish(&mut parts).map_err(|_| "the dump ends early").unwrap();
    assert_eq!((summary.fallback.as_deref(), summary.large_objects, summary.tables.len()), (None, 1, 4));
    let session = support::begin(repo).unwrap();
    let info = describe(dump, &parts, &summary).encode().unwrap();
    let database = database(&session, &parts, &info);
    let children = listing(&session, vec![database]);
    let root =
        |id, _| Ok(RootBody { kind: SnapshotKind::Database, ..support::root_body(repo, id, children) });
    session.commit(root).unwrap();
}

fn file(session: &Session, name: &str, bytes: &[u8]) -> Node {
    let mut stream = session.stream();
    stream.write(bytes).unwrap();
    Node::with_content(name, NodeType::File, stream.finish().unwrap().entries).unwrap()
}

fn listing(session: &Session, mut nodes: Vec<Node>) -> Vec<ListEntry> {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let store = &mut |kind: ChunkKind, bytes: &[u8]| session.store(kind, bytes);
    let mut tree = TreeBuilder::new();
    nodes.iter().for_each(|node| tree.push(node, store).unwrap());
    tree.finish(store).unwrap()
}

fn database(session: &Session, parts: &Parts, info: &[u8]) -> Node {
    let mut top = vec![file(session, "recipe", &parts.recipe), file(session, "info", info)];
    let (mut tables, mut large_objects) = (Vec::new(), Vec::new());
    for (path, bytes) in &parts.objects {
        match path.split_once('/') {
            Some(("tables", name)) => tables.push(file(session, name, bytes)),
            Some((_, name)) => large_objects.push(file(session, name, bytes)),
            None => top.push(file(session, path, bytes)),
        }
    }
    for (name, nodes) in [("tables", tables), ("large-objects", large_objects)] {
        top.push(Node::with_children(name, NodeType::Directory, listing(session, nodes)));
    }
    Node::with_children("shop", NodeType::Database, listing(session, top))
}

fn describe(dump: &[u8], parts: &Parts, summary: &Summary) -> DatabaseInfo {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let table = |table: &TableRows| {
        json!({
            "schema": text(&table.schema), "name": text(&table.name),
            "node": table_file(&table.schema, &table.name), "rows": table.rows, "bytes": table.bytes,
        })
    };
    let info = json!({
        "database": "shop", "encoding": "UTF8", "collate": "C.UTF-8", "ctype": "C.UTF-8", "size": 8_000_000,
        "server_version": "15.0", "dump_version": "15.0", "archive_version": "1.14",
        "dump_arguments": [], "started": 1_700_000_000_000_000_000i64, "ended": 1_700_000_001_000_000_000i64,
        "exit_status": 0, "dump_bytes": dump.len(), "dump_hash": hex(&hash(dump)), "split": true,
        "objects": parts.objects.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        "tables": summary.tables.iter().map(table).collect::<Vec<_>>(),
        "blocks": summary.blocks.iter()
            .map(|block| json!({ "dump_id": block.dump_id, "offset": block.offset })).collect::<Vec<_>>(),
    });
    DatabaseInfo::decode(&serde_json::to_vec(&info).unwrap()).unwrap()
}
