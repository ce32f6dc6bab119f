//! What these tests share: a tree to snapshot, a repository whose clock runs ahead, so that nothing
//! in the tree is of this moment, and the nodes of a snapshot by their paths.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kamba_vault::base::clock::{Cancel, Clock, SystemClock, Timestamp};
use kamba_vault::base::monitor::{Recorder, Silent};
use kamba_vault::files::exclude::Exclude;
use kamba_vault::format::node::Node;
use kamba_vault::ops;
use kamba_vault::ops::snapshot::{Counts, Deaf, FilesRequest, MadeFiles, Provenance, snapshot_files};
use kamba_vault::repo::read::{ChunkReader, ContentReader, Entries};
use kamba_vault::repo::{Environment, Repository, index, roots};
use kamba_vault::storage::{Backend, Memory};
use kamba_vault::vfs::Children;

use crate::support;

/// A clock an hour ahead.
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_seconds(3600)
    }
}

/// A tree and a repository.
pub struct Scene {
    pub dir: tempfile::TempDir,
    pub memory: Arc<Memory>,
    pub cache: tempfile::TempDir,
    pub repo: Repository,
}

pub fn open(backend: Arc<dyn Backend>, cache: &Path) -> Repository {
    let environment = Environment { clock: Arc::new(Ahead), ..support::environment(backend, cache) };
    Repository::open(environment, &support::credentials()).unwrap()
}

impl Scene {
    pub fn new() -> Self {
        let memory = Arc::new(Memory::new());
        support::init_with(&*memory, &support::credentials(), 16 << 10);
        let cache = support::folder();
        let repo = open(memory.clone(), cache.path());
        Scene { dir: tempfile::tempdir().unwrap(), memory, cache, repo }
    }

    /// Forgets what this machine remembers.
    pub fn lose_cache(&mut self) {
        self.cache = support::folder();
        self.repo = open(self.memory.clone(), self.cache.path());
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn request(&self) -> FilesRequest {
        FilesRequest { sources: vec![self.path()], ..FilesRequest::default() }
    }

    pub fn snapshot(&self) -> MadeFiles {
        snapshot(&self.repo, &self.request()).0.unwrap()
    }

    pub fn counts(&self) -> Counts {
        self.snapshot().counts
    }

    /// The nodes below the tree's folder, by their paths in it.
    pub fn nodes(&self, made: &MadeFiles) -> BTreeMap<Vec<u8>, Node> {
        let prefix = [&self.path().as_os_str().as_bytes()[1..], b"/"].concat();
        let all = nodes(&self.repo, made).into_iter();
        all.filter_map(|(path, node)| Some((path.strip_prefix(&prefix[..])?.to_vec(), node))).collect()
    }

    /// The bytes of a file in a snapshot.
    pub fn bytes(&self, made: &MadeFiles, name: &str) -> Vec<u8> {
        let node = self.nodes(made).remove(name.as_bytes()).unwrap();
        bytes(&self.repo, &node)
    }
}

/// Snapshots, and what the monitor was told.
pub fn snapshot(repo: &Repository, request: &FilesRequest) -> (Result<MadeFiles, ops::Error>, Vec<String>) {
    snapshot_as(repo, &support::provenance(), request)
}

pub fn snapshot_as(
    repo: &Repository,
    provenance: &Provenance,
    request: &FilesRequest,
) -> (Result<MadeFiles, ops::Error>, Vec<String>) {
    let recorder = Arc::new(Recorder::default());
    let made = snapshot_files(repo, provenance, request, &Deaf, recorder.clone(), &Cancel::new());
    (made, recorder.lines())
}

pub fn exclude(patterns: &[&str]) -> Exclude {
    Exclude::new(patterns, [] as [&str; 0]).unwrap()
}

/// Every node of a snapshot, by its path from the root.
pub fn nodes(repo: &Repository, made: &MadeFiles) -> BTreeMap<Vec<u8>, Node> {
    let listing = roots::list(repo, &Cancel::new()).unwrap();
    let root = listing.snapshots.iter().find(|s| s.id == made.made.id).unwrap().root.root.clone();
    index::refresh(repo, &Silent, &Cancel::new()).unwrap();
    let reader = ChunkReader::new(repo);
    let (mut found, mut folders) = (BTreeMap::new(), vec![(Vec::new(), root)]);
    while let Some((path, folder)) = folders.pop() {
        let mut children = Children::new(folder.children);
        while let Some(node) = children.next(&reader).unwrap() {
            let path =
                if path.is_empty() { node.name.clone() } else { [&path[..], b"/", &node.name].concat() };
            if !node.children.is_empty() {
                folders.push((path.clone(), node.clone()));
            }
            found.insert(path, node);
        }
    }
    found
}

pub fn bytes(repo: &Repository, node: &Node) -> Vec<u8> {
    let reader = Arc::new(ChunkReader::new(repo));
    let mut reading = ContentReader::new(reader, Entries::new(node.content.clone()), Cancel::new()).unwrap();
    let mut out = Vec::new();
    loop {
        let bytes = reading.next_bytes().unwrap();
        if bytes.is_empty() {
            return out;
        }
        out.extend_from_slice(bytes);
    }
}

/// Sets a file's time of change.
pub fn set_mtime(path: &Path, time: std::time::SystemTime) {
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}
