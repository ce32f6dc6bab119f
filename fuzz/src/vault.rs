//! A small repository that has one of everything: streams, folders, long lists, holes, a dump in
//! parts, packs that hold the same chunk, a tombstone, a lease. Its bytes are the same in every
//! process, so that an input that damages byte 17 of an object always damages the same one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use kamba_vault::base::clock::Timestamp;
use kamba_vault::base::id::{ObjectHash, SessionId};
use kamba_vault::base::kind::PackKind;
use kamba_vault::base::secret::Secret32;
use kamba_vault::crypto;
use kamba_vault::format::attrs::Unknown;
use kamba_vault::format::header::Kind;
use kamba_vault::format::index;
use kamba_vault::format::lease::LeaseBody;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::name::{PROBE, lease_name, root_name};
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::root::{RootBody, SnapshotKind, Stats, Tombstone};
use kamba_vault::repo::keys::Keys;
use kamba_vault::repo::{self, Credentials, Environment, InitOptions, Repository};
use kamba_vault::storage::{Backend, Memory};

use crate::archive::{Parts, Style, Table, dump};
use crate::forge::{Counter, Forge, Object, Still, stored};
use crate::maker::{Maker, describe, object_path, split};

/// Objects by name.
pub type Objects = BTreeMap<String, Vec<u8>>;
/// What every file of a snapshot holds, by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The repository as it should be.
pub struct Vault {
    /// Its objects.
    pub objects: Objects,
    /// The keys of its admin.
    pub keys: Keys,
    /// The plaintext of its index parts.
    pub parts: Vec<Vec<u8>>,
    /// Its snapshots: the hash of each one's object, and what was put into it.
    pub snapshots: BTreeMap<SessionId, (ObjectHash, Files)>,
    /// The parts of the dump in it.
    pub dump: Parts,
    /// The description of the dump.
    pub info: Vec<u8>,
}

/// The repository, made at first use.
pub static VAULT: LazyLock<Vault> = LazyLock::new(build);

/// The session that was fenced.
pub const FENCED: SessionId = SessionId([0xfe; 16]);
/// A file that is a single chunk.
pub const ONE_CHUNK: &[u8] = b"before the hole";
/// When everything happened.
const THEN: i64 = 1_764_000_000_000_000_000;

/// What unlocks it.
pub fn credentials() -> Credentials {
    Credentials { passphrase: None, key_file: Some(Secret32([7; 32])) }
}

/// The world around a repository in `backend` with its cache below `cache`.
pub fn environment(backend: Arc<dyn Backend>, cache: &Path) -> Environment {
    let cache_dir = cache.to_owned();
    Environment {
        backend,
        cache_dir,
        clock: Arc::new(Still),
        random: Arc::new(Counter::new(2)),
        copies_limit: 0,
    }
}

/// A folder for an index cache, in memory where the machine has such a place.
pub fn cache_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a folder for the index cache")
}

/// A backend with these objects.
pub fn backend(objects: &Objects) -> Arc<dyn Backend> {
    let memory = Memory::new();
    objects.iter().for_each(|(name, bytes)| memory.overwrite(name, bytes));
    Arc::new(memory)
}

fn build() -> Vault {
    let (mut objects, keys) = empty();
    let mut maker = Maker::new(&keys);
    let (dump, parts, info) = shop();
    let mut made = vec![stream(&mut maker), folders(&mut maker)];
    let first = maker.take_chunks();
    made.push(database(&mut maker, &dump, &parts, &info));
    // Both parts of the index name some chunks.
    stream(&mut maker);
    let second = maker.take_chunks();

    let forge = Forge::new(&keys, 1);
    let mut indexed = Vec::new();
    for chunks in [first, second] {
        let kinds = [PackKind::Data, PackKind::Meta];
        let packs: Vec<_> = kinds.into_iter().filter_map(|kind| forge.pack(kind, &chunks)).collect();
        objects.extend(packs.iter().map(stored));
        let records: Vec<_> = packs.into_iter().map(|pack| pack.record).collect();
        let plain = index::encode(&[], &records).unwrap();
        objects.extend([forge.part(&plain)]);
        indexed.push(plain);
    }
    let (mut snapshots, mut previous) = (BTreeMap::new(), None);
    for (n, (kind, children, files)) in (1..).zip(made) {
        let session = SessionId([n; 16]);
        let mut body = root(&keys, session, kind, children);
        (body.sequence, body.previous) = (n.into(), previous);
        let (name, bytes) = small(&forge, Kind::Root, root_name(&session), &body.encode().unwrap());
        let hash = ObjectHash(crypto::hash(&bytes));
        previous = Some(hash);
        snapshots.insert(session, (hash, files));
        objects.insert(name, bytes);
    }
    objects.extend([
        small(&forge, Kind::Tombstone, root_name(&FENCED), &tombstone(&keys).encode()),
        small(&forge, Kind::Lease, lease_name(&FENCED, 0), &lease().encode().unwrap()),
    ]);
    Vault { objects, keys, parts: indexed, snapshots, dump: parts, info }
}

/// A repository as `init` leaves it, and its keys.
fn empty() -> (Objects, Keys) {
    let memory: Arc<dyn Backend> = Arc::new(Memory::new());
    let options = InitOptions { chunk_avg: 16 << 10, ..InitOptions::default() };
    repo::init(&*memory, &credentials(), &options, &Still, &Counter::new(0)).unwrap();
    let cache = cache_folder();
    let repo = Repository::open(environment(memory.clone(), cache.path()), &credentials()).unwrap();
    let keys = Keys::new(repo.keys().ring().clone()).unwrap();
    let mut names = Vec::new();
    memory.list("", &mut |entry| names.push(entry.name)).unwrap();
    names.retain(|name| !name.starts_with(PROBE));
    let read = |name: String| memory.get(&name, 1 << 20).map(|bytes| (name, bytes)).unwrap();
    (names.into_iter().map(read).collect(), keys)
}

fn small(forge: &Forge<'_>, kind: Kind, name: String, body: &[u8]) -> Object {
    let bytes = forge.small(kind, &name, b"", body).unwrap();
    (name, bytes)
}

/// The body of a snapshot with these children.
pub fn root(keys: &Keys, session: SessionId, kind: SnapshotKind, children: Vec<ListEntry>) -> RootBody {
    let text = |text: &str| Some(text.to_owned());
    RootBody {
        session,
        repository: keys.repository(),
        kind,
        sequence: 1,
        previous: None,
        started: Timestamp(THEN + i64::from(session.0[0])),
        ended: Timestamp(THEN + 500_000_000),
        root: Node::with_children([], NodeType::Directory, children),
        host: text("fuzz"),
        user: text("nobody"),
        tags: vec!["daily".into(), "kept".into()],
        sources: vec!["shop".into()],
        stats: Stats { source_bytes: 12_345, items: 3, ..Stats::default() },
        flags: 1,
        program: text("kamba-vault 1"),
        parent: None,
        description: None,
        base: None,
        unknown: Unknown::default(),
    }
}

/// The body of the tombstone.
pub fn tombstone(keys: &Keys) -> Tombstone {
    let fenced_by = keys.signer().id();
    Tombstone { session: FENCED, fenced_by, when: Timestamp(THEN), unknown: Unknown::default() }
}

/// The body of the lease.
pub fn lease() -> LeaseBody {
    LeaseBody {
        session: FENCED,
        counter: 0,
        host: "fuzz".into(),
        process: 4711,
        taken: Timestamp(THEN - 3_600_000_000_000),
        expires: Timestamp(THEN),
        purpose: "snapshot".into(),
        unknown: Unknown::default(),
    }
}

type Snapshot = (SnapshotKind, Vec<ListEntry>, Files);

fn stream(maker: &mut Maker<'_>) -> Snapshot {
    let bytes = b"what goes in comes out\n".repeat(9);
    let node = maker.file("stdin", NodeType::Stream, &bytes, 70, 0);
    (SnapshotKind::Stream, maker.listing(vec![node]), Files::from([("stdin".into(), bytes)]))
}

fn folders(maker: &mut Maker<'_>) -> Snapshot {
    let long: Vec<u8> = (0u32..700).flat_map(u32::to_le_bytes).collect();
    let mut sparse = ONE_CHUNK.to_vec();
    let mut link = Node::new("link", NodeType::Symlink);
    link.meta.link_target = Some(b"long".to_vec());
    let mut later = Node::new("later", NodeType::Other(99));
    later.meta.mode = Some(0o644);
    let inner = vec![
        maker.file("empty", NodeType::File, b"", 1, 0),
        maker.file("sparse", NodeType::File, &sparse, 99, 5000),
    ];
    sparse.resize(sparse.len() + 10_000, 0);
    let mut nodes = vec![link, later, maker.folder("inner", inner)];
    // Enough names that a listing is cut into several chunks, and pieces that a list is.
    nodes.extend((0..150).map(|n| Node::new(format!("pipe number {n} of many"), NodeType::Fifo)));
    nodes.push(maker.file("long", NodeType::File, &long, 16, 0));
    let outer = maker.folder("outer", nodes);
    let files = [("outer/inner/empty", Vec::new()), ("outer/inner/sparse", sparse), ("outer/long", long)];
    let files = files.map(|(path, bytes)| (path.to_owned(), bytes)).into();
    (SnapshotKind::Files, maker.listing(vec![outer]), files)
}

/// A dump of a shop: its bytes, its parts, its description.
fn shop() -> (Vec<u8>, Parts, Vec<u8>) {
    let rows: Vec<String> = (0..40).map(|n| format!("{n}\tcustomer {}\t{}", n * 7, n * n)).collect();
    let rows: Vec<&[u8]> = rows.iter().map(String::as_bytes).collect();
    let tables = [
        Table { name: "customers", is_copy: true, rows: &rows },
        Table { name: "empty", is_copy: true, rows: &[] },
        Table { name: "statements", is_copy: false, rows: &[b"INSERT INTO statements VALUES (1);\n"] },
    ];
    let style = Style { minor: 14, int_size: 4, frame: 0 };
    let bytes = dump(style, &tables, &[(16_401, b"a large object, in pieces of sixteen bytes")]);
    let (parts, summary) = split(&bytes);
    let info = describe(&bytes, &parts, &summary).encode().unwrap();
    (bytes, parts, info)
}

fn database(maker: &mut Maker<'_>, dump: &[u8], parts: &Parts, info: &[u8]) -> Snapshot {
    let node = maker.database("shop", parts, info);
    let mut files =
        Files::from([("shop/database.dump".into(), dump.to_vec()), ("shop/info.json".into(), info.to_vec())]);
    for (key, object) in &parts.objects {
        files.insert(format!("shop/{}", object_path(key)), object.clone());
    }
    // The head is there, and not shown.
    files.remove("shop/head");
    (SnapshotKind::Database, maker.listing(vec![node]), files)
}
