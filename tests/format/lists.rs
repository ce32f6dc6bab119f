//! Vectors of content lists, nodes and directory listings.

use kamba_vault::base::clock::Timestamp;
use kamba_vault::base::id::{ChunkId, hex};
use kamba_vault::base::kind::ChunkKind;
use kamba_vault::format::Error;
use kamba_vault::format::list::{self, ListBuilder, ListEntry};
use kamba_vault::format::node::{FileMeta, Node, NodeType, Xattr};
use kamba_vault::format::tree::{TreeBuilder, TreeReader};
use serde_json::{Value, json};

use crate::vectors::{Chapter, hash};

/// The stand-in for chunk ids in these vectors: H(type || plaintext), without a key.
fn chunk_id(kind: ChunkKind, bytes: &[u8]) -> ChunkId {
    ChunkId(*blake3::Hasher::new().update(&[kind.to_u8()]).update(bytes).finalize().as_bytes())
}

fn describe(entry: &ListEntry) -> Value {
    match entry {
        ListEntry::Chunk { len, id } => json!({ "chunk": len, "id": id.to_hex() }),
        ListEntry::Hole { len } => json!({ "hole": len }),
        ListEntry::Zeros { len } => json!({ "zeros": len }),
        ListEntry::List { len, depth, id } => json!({ "list": len, "depth": depth, "id": id.to_hex() }),
    }
}

fn describe_all(entries: &[ListEntry]) -> Value {
    Value::Array(entries.iter().map(describe).collect())
}

/// The entry number `n` of the long lists.
fn entry(n: u32) -> ListEntry {
    match n % 100 {
        41 => ListEntry::Hole { len: u64::from(n) },
        42 => ListEntry::Zeros { len: u64::from(n) },
        _ => ListEntry::Chunk { len: n + 1, id: ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes()) },
    }
}

#[test]
fn content_lists() {
    let mut chapter = Chapter::new(
        "lists",
        "content lists. Small ones: the bytes of inline entries and of list chunks. Long ones: entry n \
         (from 0) is a hole of n bytes if n mod 100 = 41, zeros of n bytes if it is 42, else a chunk of \
         n + 1 bytes with id H(n as u32); ids of list chunks are H(byte 2 || plaintext) here, without \
         a key; the output has the inline entries and, in the order of storing, each list chunk's \
         depth, number of entries and length, and H of their ids one after another",
    );
    let id = ChunkId([0x77; 32]);
    let entries = [
        ListEntry::Chunk { len: 1, id },
        ListEntry::Chunk { len: 65_536, id },
        ListEntry::Hole { len: 1 << 40 },
        ListEntry::Zeros { len: 300 },
    ];
    let mut bytes = Vec::new();
    list::encode_entries(&entries, &mut bytes);
    chapter.bytes("inline entries", describe_all(&entries), &bytes);
    small_chunks(&mut chapter, &entries, &bytes);
    for count in [16u32, 17, 1000, 60_000] {
        long_list(&mut chapter, count);
    }
    for (case, bytes) in [
        ("a leaf without entries", &[0u8][..]),
        ("a hole of no bytes", &[0, 2, 0]),
        ("an unknown entry", &[0, 5, 1]),
        ("a length that is not minimal", &[0, 2, 0x81, 0]),
        ("a leaf that lists lists", &[&[0, 4, 9, 0][..], &[7; 32]].concat()),
        ("depth 1 that lists content", &[1, 2, 9]),
        ("depth 2 that lists leaves", &[&[2, 4, 9, 0][..], &[7; 32]].concat()),
    ] {
        chapter.refused(case, bytes, list::decode_list_chunk(bytes, bytes[0], 9).unwrap_err());
    }
    chapter.finish();
}

fn small_chunks(chapter: &mut Chapter, entries: &[ListEntry], encoded: &[u8]) {
    let leaf = [&[0], encoded].concat();
    let len = list::content_len(entries).unwrap();
    assert_eq!(list::decode_list_chunk(&leaf, 0, len).unwrap(), entries);
    chapter.bytes("a leaf, depth 0", describe_all(entries), &leaf);
    let lists = [
        ListEntry::List { len, depth: 0, id: ChunkId([1; 32]) },
        ListEntry::List { len: 5, depth: 0, id: ChunkId([2; 32]) },
    ];
    let mut inner = vec![1];
    list::encode_entries(&lists, &mut inner);
    assert_eq!(list::decode_list_chunk(&inner, 1, len + 5).unwrap(), lists);
    chapter.bytes("a list chunk of depth 1", describe_all(&lists), &inner);
}

fn long_list(chapter: &mut Chapter, count: u32) {
    let mut chunks: Vec<Value> = Vec::new();
    let mut ids = Vec::new();
    let mut store = |kind, bytes: &[u8]| -> Result<ChunkId, Error> {
        let len = bytes.len();
        let entries =
            list::decode_entries(kamba_vault::format::wire::Reader::new("list", &bytes[1..]), 2048)?;
        chunks.push(json!([bytes[0], entries.len(), len]));
        let id = chunk_id(kind, bytes);
        ids.extend(id.0);
        Ok(id)
    };
    let mut builder = ListBuilder::new();
    for n in 0..count {
        builder.push(entry(n), &mut store).unwrap();
    }
    let total = builder.content_len();
    let inline = builder.finish(&mut store).unwrap();
    assert_eq!(list::content_len(&inline).unwrap(), total);
    let output = json!({
        "length": total, "inline": describe_all(&inline), "list_chunks": chunks, "ids": hash(&ids),
    });
    chapter.case(&format!("{count} entries"), json!({ "entries": count }), output);
}

fn encoded(node: &Node) -> Vec<u8> {
    let mut bytes = Vec::new();
    node.encode(&mut bytes);
    bytes
}

fn full_meta() -> FileMeta {
    FileMeta {
        mode: Some(0o4755),
        uid: Some(1000),
        gid: Some(0),
        user: Some("ana".into()),
        group: Some("root".into()),
        mtime: Some(Timestamp(1_700_000_000_123_456_789)),
        atime: Some(Timestamp(-1)),
        btime: Some(Timestamp(0)),
        link_target: Some(b"../else\xff".to_vec()),
        device: Some(0x0801),
        xattrs: vec![
            Xattr { name: b"user.a".to_vec(), value: vec![] },
            Xattr { name: b"user.b".to_vec(), value: vec![0, 1, 2] },
        ],
        link_group: Some(b"group".to_vec()),
        inode_flags: Some(16),
        problem: Some("cannot read it".into()),
        ctime: Some(Timestamp(1_700_000_000_987_654_321)),
        inode: Some(1 << 40),
    }
}

fn nodes() -> Vec<(&'static str, Node)> {
    let chunk = ListEntry::Chunk { len: 70_000, id: ChunkId([0xc4; 32]) };
    let full = Node { meta: full_meta(), ..Node::new("every file attribute", NodeType::Symlink) };
    let tree = ListEntry::Chunk { len: 512, id: ChunkId([0x7e; 32]) };
    let cut_short = FileMeta { problem: Some("it shrank while it was read".into()), ..FileMeta::default() };
    let known = FileMeta { ctime: Some(Timestamp(-7)), inode: Some(12), ..FileMeta::default() };
    let file = Node::with_content("log", NodeType::File, vec![chunk]).unwrap();
    vec![
        ("a file that may be taken for unchanged", Node { meta: known, ..file.clone() }),
        ("a file that changed while it was read", Node { meta: cut_short, ..file }),
        ("a stream", Node::with_content("mail", NodeType::Stream, vec![chunk]).unwrap()),
        ("an empty file", Node::with_content("rest", NodeType::File, vec![]).unwrap()),
        (
            "a sparse file",
            Node::with_content("disk", NodeType::File, vec![chunk, ListEntry::Hole { len: 1 << 30 }])
                .unwrap(),
        ),
        ("a database", Node::with_children("shop", NodeType::Database, vec![tree])),
        ("the root of a snapshot", Node::with_children("", NodeType::Directory, vec![tree])),
        ("an empty directory", Node::new("large-objects", NodeType::Directory)),
        ("every file attribute", full),
        ("an unknown type", Node::new("new", NodeType::Other(99))),
    ]
}

fn describe_node(node: &Node) -> Value {
    let meta = &node.meta;
    let text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| hex(bytes));
    let time = |time: Option<Timestamp>| time.map(|time| time.0.to_string());
    let xattrs: Vec<Value> =
        meta.xattrs.iter().map(|xattr| json!([hex(&xattr.name), hex(&xattr.value)])).collect();
    let all = json!({
        "name": hex(&node.name), "type": node.kind.to_u64(), "mode": meta.mode, "uid": meta.uid,
        "gid": meta.gid, "user": meta.user, "group": meta.group, "mtime": time(meta.mtime),
        "atime": time(meta.atime), "btime": time(meta.btime), "link_target": text(&meta.link_target),
        "device": meta.device, "xattrs": xattrs, "link_group": text(&meta.link_group),
        "inode_flags": meta.inode_flags, "problem": meta.problem, "size": node.size,
        "ctime": time(meta.ctime), "content": describe_all(&node.content), "inode": meta.inode,
        "children": describe_all(&node.children),
    });
    let absent = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    Value::Object(all.as_object().unwrap().clone().into_iter().filter(|(_, value)| !absent(value)).collect())
}

#[test]
fn trees() {
    let mut chapter = Chapter::new(
        "trees",
        "nodes; a tree chunk of three of them; and the cutting of a listing of 3000 symbolic links named \
         'entry <n>' and nothing else, where ids are H(type || plaintext) without a key: the lengths of \
         its tree chunks, and the entries that the directory has as children. Names, link targets and \
         the like are in hexadecimal, times in nanoseconds as decimal strings",
    );
    for (case, node) in nodes() {
        let bytes = encoded(&node);
        assert_eq!(Node::decode(&bytes).unwrap(), node);
        chapter.bytes(case, describe_node(&node), &bytes);
    }
    let small = ["a", "b", "c"].map(|name| Node::new(name, NodeType::Symlink));
    let (chunks, _) = listing(&small);
    let read: Result<Vec<Node>, Error> = TreeReader::new().nodes(&chunks[0]).collect();
    assert_eq!(read.unwrap(), small);
    chapter.bytes("a tree chunk", json!(small.each_ref().map(describe_node)), &chunks[0]);
    let mut many: Vec<Node> = (0..3000).map(|n| Node::new(format!("entry {n}"), NodeType::Symlink)).collect();
    many.sort_by(|a, b| a.name.cmp(&b.name));
    let (chunks, entries) = listing(&many);
    let lens: Vec<usize> = chunks.iter().map(Vec::len).collect();
    let output = json!({ "tree_chunks": lens, "children": describe_all(&entries) });
    chapter.case("3000 entries", json!({ "entries": 3000 }), output);
    for (case, bytes) in [
        ("without a type", &[1u8, 1, b'a'][..]),
        ("without a name", &[3, 1, 3]),
        ("a file without a size", &[1, 1, b'a', 3, 1, 2]),
        ("a size that is not that of the content", &[1, 1, b'a', 3, 1, 2, 31, 1, 8, 33, 2, 2, 9]),
        ("a directory with content", &[1, 1, b'a', 3, 1, 1, 31, 1, 9, 33, 2, 2, 9]),
        ("a listing with a hole", &[1, 1, b'a', 3, 1, 1, 35, 2, 2, 9]),
        ("an unknown critical attribute", &[1, 1, b'a', 3, 1, 3, 41, 0]),
        ("a mode of 13 bits", &[1, 1, b'a', 3, 1, 3, 4, 2, 0x80, 0x20]),
        ("an empty list of children", &[1, 1, b'a', 3, 1, 1, 35, 0]),
    ] {
        chapter.refused(case, bytes, Node::decode(bytes).unwrap_err());
    }
    for (case, bytes) in [
        ("a tree chunk without nodes", &[][..]),
        ("names that do not ascend", &[6, 1, 1, b'b', 3, 1, 3, 6, 1, 1, b'a', 3, 1, 3]),
        ("a name with a slash", &[6, 1, 1, b'/', 3, 1, 3]),
        ("a node without a name in a listing", &[5, 1, 0, 3, 1, 3]),
    ] {
        let read: Result<Vec<Node>, Error> = TreeReader::new().nodes(bytes).collect();
        chapter.refused(case, bytes, read.unwrap_err());
    }
    chapter.finish();
}

fn listing(nodes: &[Node]) -> (Vec<Vec<u8>>, Vec<ListEntry>) {
    let mut chunks = Vec::new();
    let mut store = |kind, bytes: &[u8]| -> Result<ChunkId, Error> {
        if kind == ChunkKind::Tree {
            chunks.push(bytes.to_vec());
        }
        Ok(chunk_id(kind, bytes))
    };
    let mut builder = TreeBuilder::new();
    for node in nodes {
        builder.push(node, &mut store).unwrap();
    }
    let entries = builder.finish(&mut store).unwrap();
    (chunks, entries)
}
