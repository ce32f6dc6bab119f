//! Trees to be stored, written down by hand; and an independent look at what a folder holds.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kamba_vault::base::clock::{Cancel, Timestamp};
use kamba_vault::base::id::SessionId;
use kamba_vault::base::kind::ChunkKind;
use kamba_vault::base::monitor::Silent;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{FileMeta, Node, NodeType, Xattr};
use kamba_vault::format::root::SnapshotKind;
use kamba_vault::ops;
use kamba_vault::ops::restore_files::{Action, FilesRequest, Observer, Report, Trouble, restore_files};
use kamba_vault::repo::Repository;
use kamba_vault::repo::roots;
use kamba_vault::repo::session::Session;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::support;

/// Some instant, with nanoseconds.
pub const THEN: i64 = 1_234_567_890_123_456_789;

/// A folder's entries, as they are to be stored.
#[derive(Default)]
pub struct Tree(pub BTreeMap<Vec<u8>, Item>);

/// An entry.
pub enum Item {
    Folder(FileMeta, Tree),
    File(FileMeta, Vec<u8>),
    /// Stored as it is, but for its name.
    Node(Node),
}

/// Metadata of something that belongs to whoever runs the tests.
pub fn meta(mode: u32) -> FileMeta {
    FileMeta {
        mode: Some(mode),
        uid: Some(rustix::process::geteuid().as_raw()),
        gid: Some(rustix::process::getegid().as_raw()),
        mtime: Some(Timestamp(THEN)),
        ..FileMeta::default()
    }
}

pub fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: name.as_bytes().to_vec(), value: value.to_vec() }
}

pub fn special(kind: NodeType, meta: FileMeta) -> Item {
    Item::Node(Node { meta, ..Node::new("", kind) })
}

pub fn symlink(to: impl AsRef<[u8]>) -> Item {
    special(NodeType::Symlink, FileMeta { link_target: Some(to.as_ref().to_vec()), ..meta(0o777) })
}

pub fn file(bytes: impl AsRef<[u8]>) -> Item {
    Item::File(meta(0o644), bytes.as_ref().to_vec())
}

pub fn linked(group: &str, bytes: impl AsRef<[u8]>) -> Item {
    let meta = FileMeta { link_group: Some(group.as_bytes().to_vec()), ..meta(0o640) };
    Item::File(meta, bytes.as_ref().to_vec())
}

impl Tree {
    /// Puts an item at a path; folders on the way are made.
    pub fn put(&mut self, path: impl AsRef<[u8]>, item: Item) -> &mut Self {
        let path = path.as_ref();
        match path.iter().position(|byte| *byte == b'/') {
            None => {
                self.0.insert(path.to_vec(), item);
            }
            Some(at) => {
                let new = || Item::Folder(meta(0o755), Tree::default());
                let Item::Folder(_, below) = self.0.entry(path[..at].to_vec()).or_insert_with(new) else {
                    panic!("not a folder")
                };
                below.put(&path[at + 1..], item);
            }
        }
        self
    }

    /// Stores it; the children of what holds it.
    fn store(&self, session: &Session) -> Vec<ListEntry> {
        let node = |(name, item): (&Vec<u8>, &Item)| match item {
            Item::Folder(meta, below) => {
                let node = Node::with_children(name.clone(), NodeType::Directory, below.store(session));
                Node { meta: meta.clone(), ..node }
            }
            Item::File(meta, bytes) => {
                let content = support::store(session, bytes).unwrap().entries;
                let node = Node::with_content(name.clone(), NodeType::File, content).unwrap();
                Node { meta: meta.clone(), ..node }
            }
            Item::Node(node) => Node { name: name.clone(), ..node.clone() },
        };
        support::listing(session, &self.0.iter().map(node).collect::<Vec<_>>()).unwrap()
    }

    /// Commits it as a snapshot of the folder `source`.
    pub fn commit(&self, repo: &Repository, source: &str) -> SessionId {
        let session = support::begin(repo).unwrap();
        let children = self.store(&session);
        commit(repo, session, children, source)
    }
}

/// Commits these children of the root.
pub fn commit(repo: &Repository, session: Session, children: Vec<ListEntry>, source: &str) -> SessionId {
    let (id, _) = session
        .commit(|id, _| {
            let mut body = support::root_body(repo, id, children);
            (body.kind, body.sources) = (SnapshotKind::Files, vec![source.to_owned()]);
            Ok(body)
        })
        .unwrap();
    id
}

/// A chunk of data that is stored.
pub fn chunk(session: &Session, bytes: &[u8]) -> ListEntry {
    ListEntry::Chunk { len: bytes.len() as u32, id: session.store(ChunkKind::Data, bytes).unwrap() }
}

/// Remembers everything it hears.
#[derive(Default)]
pub struct Heard {
    pub actions: Mutex<Vec<(Action, String)>>,
    pub troubles: Mutex<Vec<Trouble>>,
}

impl Observer for Heard {
    fn action(&self, action: Action, path: &[u8]) {
        self.actions.lock().unwrap().push((action, String::from_utf8_lossy(path).into_owned()));
    }
    fn trouble(&self, trouble: &Trouble) {
        self.troubles.lock().unwrap().push(trouble.clone());
    }
}

impl Heard {
    /// Paths that this was done to, sorted.
    pub fn paths(&self, action: Action) -> Vec<String> {
        let actions = self.actions.lock().unwrap();
        let mut paths: Vec<_> =
            actions.iter().filter(|(a, _)| *a == action).map(|(_, p)| p.clone()).collect();
        paths.sort();
        paths
    }
}

/// A request to restore to `target`.
pub fn to(target: &Path) -> FilesRequest {
    FilesRequest { target: target.to_owned(), numeric_ids: true, ..FilesRequest::default() }
}

pub fn try_restore(
    repo: &Repository,
    id: &SessionId,
    request: &FilesRequest,
    heard: &Heard,
) -> Result<Report, ops::Error> {
    let cancel = Cancel::new();
    let listing = roots::list(repo, &cancel).unwrap();
    let snapshot = listing.snapshots.iter().find(|snapshot| snapshot.id == *id).unwrap();
    restore_files(repo, snapshot, request, heard, &Silent, &cancel)
}

/// Restores without trouble.
#[track_caller]
pub fn restore(repo: &Repository, id: &SessionId, request: &FilesRequest) -> Report {
    let report = try_restore(repo, id, request, &Heard::default()).unwrap();
    assert!(report.troubles.is_empty(), "{report:#?}");
    report
}

/// Every path below a folder with all that `lstat` says of it and what it holds.
pub fn look(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    look_below(folder, folder, &mut found);
    found
}

fn look_below(top: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stat = path.symlink_metadata().unwrap();
        let holds = if stat.is_symlink() {
            std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
        } else if stat.is_file() {
            std::fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let text = format!(
            "{:o} {}:{} {} {} {} {} {} {} {}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.ino(),
            stat.nlink(),
            if stat.is_dir() { 0 } else { stat.size() },
            stat.mtime(),
            stat.mtime_nsec(),
            stat.ctime_nsec(),
            blake3::hash(&holds),
        );
        found.insert(path.strip_prefix(top).unwrap().to_owned(), text);
        if stat.is_dir() {
            look_below(top, &path, found);
        }
    }
}

/// Sets when a file was changed.
pub fn set_mtime(path: &Path, nanos: i64) {
    let time = Timespec { tv_sec: nanos.div_euclid(1_000_000_000), tv_nsec: nanos.rem_euclid(1_000_000_000) };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// The path of a name of any bytes.
pub fn at(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}
