//! What integration tests share: a repository in memory or in a folder, random sources, data, and
//! snapshots of several streams with their bytes known.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

pub mod install;
pub mod roles;
pub mod views;

use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use kamba_vault::base::clock::{Cancel, Clock, SystemClock, Timestamp};
use kamba_vault::base::id::SessionId;
use kamba_vault::base::monitor::Silent;
use kamba_vault::base::secret::{Secret32, SecretBytes};
use kamba_vault::codec::Level;
use kamba_vault::crypto::{ArgonCost, Random, SystemRandom};
use kamba_vault::format::attrs::Unknown;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::format::root::{RootBody, SnapshotKind, Stats};
use kamba_vault::format::tree::TreeBuilder;
use kamba_vault::ops::snapshot::{Made, Provenance, StreamRequest, snapshot_stdin};
use kamba_vault::ops::{self, check};
use kamba_vault::repo::session::{Content, Session, SessionOptions};
use kamba_vault::repo::{self, Credentials, Environment, InitOptions, Repository};
use kamba_vault::storage::{Backend, Fault, Memory};

/// The least that Argon2 takes: tests derive keys many times.
pub const CHEAP: ArgonCost = ArgonCost { memory_kib: 64, passes: 1, lanes: 1 };

/// Long enough for a busy machine; what needs it never comes.
pub const WAIT_MAX: Duration = Duration::from_secs(120);

pub fn credentials() -> Credentials {
    Credentials { passphrase: None, key_file: Some(Secret32([7; 32])) }
}

pub fn passphrase(text: &str) -> Credentials {
    Credentials { passphrase: Some(SecretBytes::new(text.into())), key_file: None }
}

pub fn environment(backend: Arc<dyn Backend>, cache: &Path) -> Environment {
    Environment {
        backend,
        cache_dir: cache.to_owned(),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        copies_limit: 1 << 30,
    }
}

/// A new repository with 16 KiB chunks, so that little data makes many.
pub fn init(backend: &Arc<dyn Backend>) {
    init_with(&**backend, &credentials(), 16 << 10);
}

/// A new repository with chunks of `chunk_avg` bytes, unlocked by `credentials`.
pub fn init_with(backend: &dyn Backend, credentials: &Credentials, chunk_avg: u32) {
    let options = InitOptions { chunk_avg, cost: CHEAP, ..InitOptions::default() };
    repo::init(backend, credentials, &options, &SystemClock, &SystemRandom).unwrap();
}

pub fn open(backend: &Arc<dyn Backend>, cache: &Path) -> Repository {
    try_open(backend, cache).unwrap()
}

pub fn try_open(backend: &Arc<dyn Backend>, cache: &Path) -> Result<Repository, repo::Error> {
    Repository::open(environment(backend.clone(), cache), &credentials())
}

/// A temporary folder that nothing is synced to: caches, which tests make by the hundred.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// A repository in memory with a cache folder of its own.
pub struct Vault {
    pub memory: Arc<Memory>,
    pub backend: Arc<dyn Backend>,
    pub cache: tempfile::TempDir,
    pub repo: Repository,
}

impl Vault {
    /// A new repository.
    pub fn new() -> Self {
        Vault::with_chunks(16 << 10)
    }

    /// A new repository with chunks of `chunk_avg` bytes.
    pub fn with_chunks(chunk_avg: u32) -> Self {
        let memory = Arc::new(Memory::new());
        init_with(&*memory, &credentials(), chunk_avg);
        Vault::of(memory)
    }

    /// The repository in `memory`, seen by a machine that never saw it before.
    pub fn of(memory: Arc<Memory>) -> Self {
        let (backend, cache) = (memory.clone() as Arc<dyn Backend>, folder());
        let repo = open(&backend, cache.path());
        Vault { memory, backend, cache, repo }
    }

    /// The repository seen by another machine.
    pub fn elsewhere(&self) -> Self {
        Vault::of(self.memory.clone())
    }
}

/// A repository in memory behind a backend that misbehaves as it is told.
pub struct Faulty {
    pub memory: Arc<Memory>,
    pub fault: Arc<Fault>,
    pub cache: tempfile::TempDir,
    pub repo: Repository,
}

impl Faulty {
    /// A new repository.
    pub fn new() -> Self {
        Faulty::of(Vault::new().memory)
    }

    /// The repository in `memory`.
    pub fn of(memory: Arc<Memory>) -> Self {
        let fault = Arc::new(Fault::new(memory.clone()));
        let (backend, cache) = (fault.clone() as Arc<dyn Backend>, folder());
        let repo = open(&backend, cache.path());
        Faulty { memory, fault, cache, repo }
    }
}

pub fn session_options() -> SessionOptions {
    SessionOptions { host: "test".into(), purpose: "test".into(), level: Level::DEFAULT, verify: true }
}

pub fn begin(repo: &Repository) -> Result<Session, repo::Error> {
    Session::begin(repo, &session_options(), Arc::new(Silent), Cancel::new())
}

pub fn provenance() -> Provenance {
    Provenance {
        host: "test".into(),
        user: None,
        tags: Vec::new(),
        description: None,
        program: "tests".into(),
        level: Level::DEFAULT,
    }
}

/// A file that holds `data` and is at its beginning: a source that can be polled.
pub fn source(data: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(data).unwrap();
    file.rewind().unwrap();
    file
}

/// Snapshots one stream as the command does.
pub fn snapshot(repo: &Repository, name: &str, data: &[u8]) -> Result<Made, ops::Error> {
    let request = StreamRequest { name: name.into(), allow_empty: true };
    snapshot_stdin(repo, &provenance(), &request, source(data), Arc::new(Silent), &Cancel::new())
}

/// Streams by name.
pub type Streams = std::collections::BTreeMap<String, Vec<u8>>;

/// Stores `data` as one stream.
pub fn store(session: &Session, data: &[u8]) -> Result<Content, repo::Error> {
    let mut stream = session.stream();
    stream.write(data)?;
    stream.finish()
}

/// Stores a listing of `nodes`, which are in order.
pub fn listing(session: &Session, nodes: &[Node]) -> Result<Vec<ListEntry>, repo::Error> {
    let mut tree = TreeBuilder::new();
    for node in nodes {
        tree.push(node, &mut |kind, bytes| session.store(kind, bytes))?;
    }
    tree.finish(&mut |kind, bytes| session.store(kind, bytes))
}

/// Commits a snapshot of these children.
pub fn commit_children(
    session: Session,
    repo: &Repository,
    children: Vec<ListEntry>,
) -> Result<SessionId, repo::Error> {
    let (id, _) = session.commit(|id, _| Ok(root_body(repo, id, children)))?;
    Ok(id)
}

/// Commits a snapshot of streams that are stored already, in order of their names.
pub fn commit_contents<'a>(
    session: Session,
    repo: &Repository,
    contents: impl IntoIterator<Item = (&'a str, &'a Content)>,
) -> Result<SessionId, repo::Error> {
    let node = |(name, content): (&str, &Content)| {
        Node::with_content(name, NodeType::Stream, content.entries.clone()).unwrap()
    };
    let nodes: Vec<Node> = contents.into_iter().map(node).collect();
    let children = listing(&session, &nodes)?;
    commit_children(session, repo, children)
}

/// Writes `streams` in `session` and commits them as one snapshot.
pub fn commit_streams(
    session: Session,
    repo: &Repository,
    streams: &Streams,
) -> Result<SessionId, repo::Error> {
    let stored = streams.iter().map(|(name, data)| Ok((name.as_str(), store(&session, data)?)));
    let stored = stored.collect::<Result<Vec<_>, repo::Error>>()?;
    commit_contents(session, repo, stored.iter().map(|(name, content)| (*name, content)))
}

/// One snapshot of several streams.
pub fn snapshot_streams(repo: &Repository, streams: &Streams) -> Result<SessionId, repo::Error> {
    commit_streams(begin(repo)?, repo, streams)
}

/// What a snapshot says of itself when all that matters is its tree.
pub fn root_body(repo: &Repository, session: SessionId, children: Vec<ListEntry>) -> RootBody {
    let now = repo.clock().now();
    RootBody {
        session,
        repository: repo.id(),
        kind: SnapshotKind::Stream,
        sequence: 1,
        previous: None,
        started: now,
        ended: now,
        root: Node::with_children("", NodeType::Directory, children),
        host: None,
        user: None,
        tags: Vec::new(),
        sources: Vec::new(),
        stats: Stats::default(),
        flags: 0,
        program: None,
        parent: None,
        description: None,
        base: None,
        unknown: Unknown::default(),
    }
}

/// Checks every byte.
pub fn check_all(repo: &Repository) -> check::Report {
    check::check(repo, check::ReadData::All, &Silent, &Cancel::new()).unwrap()
}

/// Demands that a check of every byte finds nothing.
pub fn assert_clean(repo: &Repository) -> check::Report {
    let report = check_all(repo);
    assert!(report.is_clean(), "{report:#?}");
    report
}

/// The names below `prefix`, sorted.
pub fn names(backend: &dyn Backend, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    backend.list(prefix, &mut |entry| names.push(entry.name)).unwrap();
    names.sort();
    names
}

/// Another backend in memory with the objects of `memory`.
pub fn copy_of(memory: &Memory) -> Arc<Memory> {
    let copy = Memory::new();
    objects(memory).iter().for_each(|(name, bytes)| copy.overwrite(name, bytes));
    Arc::new(copy)
}

/// Every object, by name.
pub fn objects(memory: &Memory) -> std::collections::BTreeMap<String, Vec<u8>> {
    let get = |name: String| (memory.get(&name, u64::MAX).unwrap(), name);
    names(memory, "").into_iter().map(get).map(|(bytes, name)| (name, bytes)).collect()
}

/// Copies the content of a folder into another.
pub fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Waits until `done`; a test that waits for what never comes fails instead of hanging.
#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < WAIT_MAX, "{what} did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A clock that stands where it is put.
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn at(nanos: i64) -> Arc<Self> {
        Arc::new(TestClock(AtomicI64::new(nanos)))
    }

    /// Moves it, forwards or back.
    pub fn pass(&self, nanos: i64) {
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Bytes that are the same in every run: BLAKE3's extendable output over a seed.
pub struct SeededRandom(std::sync::Mutex<blake3::OutputReader>);

impl SeededRandom {
    pub fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("kamba-vault tests: random bytes");
        hasher.update(&seed.to_le_bytes());
        SeededRandom(std::sync::Mutex::new(hasher.finalize_xof()))
    }
}

impl Random for SeededRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), kamba_vault::crypto::Error> {
        self.0.lock().unwrap().fill(out);
        Ok(())
    }
}

/// `len` bytes that look like rows of a table: compressible, different for every seed.
pub fn rows(seed: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 100);
    let mut n = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while out.len() < len {
        n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let (a, b) = (n >> 33, n >> 41);
        out.extend_from_slice(format!("{a}\tcustomer {b}\t{}\t2026-11-{:02}\n", a ^ b, b % 30).as_bytes());
    }
    out.truncate(len);
    out
}

/// `len` bytes that do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}
