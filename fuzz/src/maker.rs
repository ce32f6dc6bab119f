//! Makes contents out of chunks: files, folders and databases as an honest writer stores them, in
//! pieces as small as a test likes.

use std::collections::BTreeMap;

use kamba_vault::base::id::{ChunkId, hex};
use kamba_vault::base::kind::ChunkKind;
use kamba_vault::crypto;
use kamba_vault::format::database::{BlockInfo, DatabaseInfo, TableInfo};
use kamba_vault::format::list::{ListBuilder, ListEntry};
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::tree::TreeBuilder;
use kamba_vault::postgres::archive::name::table_file;
use kamba_vault::postgres::archive::split::{ObjectKey, Splitter, Summary, TableRows};
use kamba_vault::repo::keys::Keys;

use crate::archive::Parts;
use crate::forge::Chunks;

/// Bytes of a piece of a database's files.
const PIECE: usize = 200;

/// Collects the chunks of what it makes.
pub struct Maker<'k> {
    keys: &'k Keys,
    chunks: Chunks,
}

impl<'k> Maker<'k> {
    /// A maker without chunks yet.
    pub fn new(keys: &'k Keys) -> Self {
        Maker { keys, chunks: Chunks::default() }
    }

    /// The chunks so far; the next ones are collected anew.
    pub fn take_chunks(&mut self) -> Chunks {
        std::mem::take(&mut self.chunks)
    }

    /// One chunk, whatever is in it.
    pub fn chunk(&mut self, kind: ChunkKind, plain: &[u8]) -> ChunkId {
        self.chunks.add(self.keys, kind, plain)
    }

    fn store(&mut self) -> impl FnMut(ChunkKind, &[u8]) -> Result<ChunkId, kamba_vault::format::Error> {
        |kind, plain| Ok(self.chunk(kind, plain))
    }

    /// A file in pieces of `len` bytes that ends in a hole and in zeros, each as long as the `gap`.
    pub fn file(&mut self, name: &str, kind: NodeType, bytes: &[u8], len: usize, gap: u64) -> Node {
        let mut list = ListBuilder::new();
        let store = &mut self.store();
        for piece in bytes.chunks(len) {
            let id = store(ChunkKind::Data, piece).unwrap();
            list.push(ListEntry::Chunk { len: piece.len() as u32, id }, store).unwrap();
        }
        if gap > 0 {
            list.push(ListEntry::Hole { len: gap }, store).unwrap();
            list.push(ListEntry::Zeros { len: gap }, store).unwrap();
        }
        let entries = list.finish(store).unwrap();
        Node::with_content(name, kind, entries).unwrap()
    }

    /// The listing of a directory of `nodes`, in any order.
    pub fn listing(&mut self, mut nodes: Vec<Node>) -> Vec<ListEntry> {
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let mut tree = TreeBuilder::new();
        let store = &mut self.store();
        nodes.iter().for_each(|node| tree.push(node, store).unwrap());
        tree.finish(store).unwrap()
    }

    /// A directory.
    pub fn folder(&mut self, name: &str, nodes: Vec<Node>) -> Node {
        Node::with_children(name, NodeType::Directory, self.listing(nodes))
    }

    /// A database of these parts and description.
    pub fn database(&mut self, name: &str, parts: &Parts, info: &[u8]) -> Node {
        let mut folders = BTreeMap::<&str, Vec<Node>>::new();
        let mut nodes = vec![
            self.file("recipe", NodeType::File, &parts.recipe, PIECE, 0),
            self.file("info", NodeType::File, info, PIECE, 0),
        ];
        for (key, object) in &parts.objects {
            let path = object_path(key);
            let (folder, name) = path.split_once('/').unwrap_or(("", &path));
            let node = self.file(name, NodeType::File, object, PIECE, 0);
            match folder {
                "" => nodes.push(node),
                "tables" => folders.entry("tables").or_default().push(node),
                _ => folders.entry("large-objects").or_default().push(node),
            }
        }
        for (name, inner) in folders {
            nodes.push(self.folder(name, inner));
        }
        Node::with_children(name, NodeType::Database, self.listing(nodes))
    }
}

/// Where an object lies below its database.
pub fn object_path(key: &ObjectKey) -> String {
    match key {
        ObjectKey::Head => "head".into(),
        ObjectKey::Rest => "rest".into(),
        ObjectKey::Table { schema, name } => format!("tables/{}", table_file(schema, name)),
        ObjectKey::LargeObject { oid } => format!("large-objects/{oid}"),
    }
}

/// Takes a dump apart.
pub fn split(dump: &[u8]) -> (Parts, Summary) {
    let (mut parts, mut splitter) = (Parts::default(), Splitter::new());
    let Ok(()) = splitter.push(dump, &mut parts);
    let summary = splitter.finish(&mut parts).unwrap();
    (parts, summary)
}

/// The description of a dump that was taken apart.
pub fn describe(dump: &[u8], parts: &Parts, summary: &Summary) -> DatabaseInfo {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let table = |table: &TableRows| TableInfo {
        schema: text(&table.schema),
        name: text(&table.name),
        node: table_file(&table.schema, &table.name),
        rows: table.rows,
        bytes: table.bytes,
    };
    DatabaseInfo {
        database: "shop".into(),
        encoding: "UTF8".into(),
        collate: Some("C.UTF-8".into()),
        ctype: Some("C.UTF-8".into()),
        locale_provider: None,
        locale: None,
        icu_rules: None,
        size: 8_192,
        server_version: "15.18".into(),
        dump_version: "15.18".into(),
        archive_version: Some("1.14".into()),
        dump_arguments: vec!["--verbose".into()],
        started: 1,
        ended: 2,
        exit_status: 0,
        dump_bytes: dump.len() as u64,
        dump_hash: hex(&crypto::hash(dump)),
        split: true,
        objects: parts.objects.iter().map(|(key, _)| object_path(key)).collect(),
        tables: summary.tables.iter().map(table).collect(),
        blocks: summary.blocks.iter().map(|b| BlockInfo { dump_id: b.dump_id, offset: b.offset }).collect(),
    }
}
