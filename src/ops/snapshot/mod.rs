//! Making snapshots: of file trees, of a stream, of a command's output, of databases, of whole clusters. What they share: who made
//! it, the session around it, and that a failure leaves no snapshot but keeps what was stored for
//! the next run (I-3).

mod base;
mod command;
mod db;
mod files;
mod parent;
mod parts;
mod stream;

pub use base::{BaseRequest, PGDATA, TABLESPACES, snapshot_base};
pub use command::{CommandRequest, snapshot_command};
pub use db::{DbRequest, GLOBALS, database_node, snapshot_db};
pub use files::{Counts, Deaf, FilesRequest, MadeFiles, Observer, Why, plan_files, snapshot_files};
pub use stream::{StreamRequest, snapshot_stdin};

use std::sync::Arc;

use crate::base::clock::{Cancel, Timestamp};
use crate::base::id::SessionId;
use crate::base::monitor::Monitor;
use crate::codec::Level;
use crate::format::attrs::Unknown;
use crate::format::base_backup::BaseBackup;
use crate::format::list::ListEntry;
use crate::format::node::{FileMeta, Node, NodeType};
use crate::format::root::{FLAG_END_UNVERIFIED, FLAG_INCOMPLETE, RootBody, SnapshotKind, Stats};
use crate::format::tree::TreeBuilder;
use crate::ops::Error;
use crate::ops::snapshot::parent::Folder;
use crate::repo::roots::{Listing, Snapshot};
use crate::repo::session::{Added, Session, SessionOptions};
use crate::repo::{self, Repository};

/// Characters of a bad name that an error shows.
const NAME_SHOWN: usize = 40;

/// Who makes a snapshot and how.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// This machine's name.
    pub host: String,
    /// The user's name, if known.
    pub user: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// The user's words on it.
    pub description: Option<String>,
    /// The program and its version.
    pub program: String,
    /// How hard to compress.
    pub level: Level,
}

/// A snapshot that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its id.
    pub id: SessionId,
    /// What it is of.
    pub kind: SnapshotKind,
    /// Its sources.
    pub sources: Vec<String>,
    /// When its session began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Bytes read.
    pub source_bytes: u64,
    /// What it added to the repository.
    pub added: Added,
    /// Whether the source's end could not be verified.
    pub end_unverified: bool,
    /// Whether some of the source could not be read.
    pub incomplete: bool,
    /// Tables, streams and other items in it.
    pub items: u64,
    /// The cluster that it is a base backup of.
    pub base: Option<BaseBackup>,
}

impl Made {
    /// The figures that the snapshot carries.
    pub fn stats(&self) -> Stats {
        stats(self.source_bytes, self.items, &self.added)
    }

    /// Bytes by which the repository grew: packs, index parts and the root.
    pub fn added_bytes(&self) -> u64 {
        self.added.stored_bytes + self.added.root_bytes
    }
}

/// What a source became, before the commit.
struct Gathered {
    kind: SnapshotKind,
    sources: Vec<String>,
    children: Vec<ListEntry>,
    /// What a file system knows of the root.
    meta: FileMeta,
    source_bytes: u64,
    items: u64,
    end_unverified: bool,
    incomplete: bool,
    /// The cluster that it is a base backup of.
    base: Option<BaseBackup>,
}

/// Runs `gather` in a session and commits what it made; without one, nothing is committed.
fn in_session(
    repo: &Repository,
    provenance: &Provenance,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
    gather: impl FnOnce(&Session) -> Result<Gathered, Error>,
) -> Result<Made, Error> {
    let started = repo.clock().now();
    in_session_at(started, repo, provenance, monitor, cancel, gather)
}

/// The same for a snapshot whose time is `started`.
fn in_session_at(
    started: Timestamp,
    repo: &Repository,
    provenance: &Provenance,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
    gather: impl FnOnce(&Session) -> Result<Gathered, Error>,
) -> Result<Made, Error> {
    let options = SessionOptions {
        host: provenance.host.clone(),
        purpose: "snapshot".into(),
        level: provenance.level,
        verify: true,
    };
    let session = Session::begin(repo, &options, monitor, cancel.clone())?;
    let gathered = match gather(&session) {
        Ok(gathered) => gathered,
        Err(e) => {
            session.abandon();
            return Err(e);
        }
    };
    let mut made = None;
    let parent = parent_of(session.roots(), provenance, &gathered);
    let committed = session.commit(|id, added| {
        let body = RootBody { parent, ..root_body(repo, provenance, &gathered, id, added, started) };
        made = Some(body.ended);
        Ok(body)
    });
    let (id, added) = committed?;
    Ok(Made {
        id,
        kind: gathered.kind,
        sources: gathered.sources,
        started,
        ended: made.unwrap_or(started),
        source_bytes: gathered.source_bytes,
        added,
        end_unverified: gathered.end_unverified,
        incomplete: gathered.incomplete,
        items: gathered.items,
        base: gathered.base,
    })
}

fn root_body(
    repo: &Repository,
    provenance: &Provenance,
    gathered: &Gathered,
    id: SessionId,
    added: Added,
    started: Timestamp,
) -> RootBody {
    RootBody {
        session: id,
        repository: repo.id(),
        kind: gathered.kind,
        sequence: 1,
        previous: None,
        started,
        ended: repo.clock().now(),
        root: Node {
            meta: gathered.meta.clone(),
            ..Node::with_children(b"".to_vec(), NodeType::Directory, gathered.children.clone())
        },
        host: Some(provenance.host.clone()),
        user: provenance.user.clone(),
        tags: provenance.tags.clone(),
        sources: gathered.sources.clone(),
        stats: stats(gathered.source_bytes, gathered.items, &added),
        flags: flags(gathered),
        program: Some(provenance.program.clone()),
        parent: None,
        description: provenance.description.clone(),
        base: gathered.base.clone(),
        unknown: Unknown::default(),
    }
}

fn stats(source_bytes: u64, items: u64, added: &Added) -> Stats {
    Stats {
        source_bytes,
        new_bytes: added.new_bytes,
        stored_bytes: added.stored_bytes,
        chunks: added.chunks,
        new_chunks: added.new_chunks,
        items,
        coded_bytes: added.coded_bytes,
        delta_bytes: added.delta_bytes,
        delta_coded_bytes: added.delta_coded_bytes,
        base_bytes: added.base_bytes,
        unknown: Unknown::default(),
    }
}

fn flags(gathered: &Gathered) -> u64 {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    flag(gathered.end_unverified, FLAG_END_UNVERIFIED) | flag(gathered.incomplete, FLAG_INCOMPLETE)
}

/// The newest snapshot of the same kind, host and sources.
fn parent_of(there: &Listing, provenance: &Provenance, gathered: &Gathered) -> Option<SessionId> {
    let same = there.snapshots.iter().rev().find(|s| {
        s.root.kind == gathered.kind
            && s.root.host.as_ref() == Some(&provenance.host)
            && s.root.sources == gathered.sources
    });
    same.map(|s| s.id)
}

/// The root folder of the newest snapshot of this kind that has `source`, of this host if it can be:
/// what `source` is coded against. An empty folder if there is none.
fn earlier(session: &Session, provenance: &Provenance, kind: SnapshotKind, source: &str) -> Folder {
    let has = |s: &&Snapshot| s.root.kind == kind && s.root.sources.iter().any(|name| name == source);
    let mut newest = session.roots().snapshots.iter().rev().filter(has);
    let own = newest.clone().find(|s| s.root.host.as_ref() == Some(&provenance.host));
    let found = own.or_else(|| newest.next());
    Folder::open(session, found.map_or_else(Vec::new, |snapshot| snapshot.root.root.children.clone()))
}

/// A directory of `nodes`, in any order; the entries of its listing.
fn directory(session: &Session, mut nodes: Vec<Node>) -> Result<Vec<ListEntry>, repo::Error> {
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let mut builder = TreeBuilder::new();
    for node in &nodes {
        builder.push(node, &mut |kind, bytes| session.store(kind, bytes))?;
    }
    builder.finish(&mut |kind, bytes| session.store(kind, bytes))
}

/// A name that a stream or database may have in a snapshot's tree.
fn node_name(name: &str) -> Result<Vec<u8>, Error> {
    let node = Node::new(name, NodeType::Stream);
    node.check_name().map_err(|_| {
        let shown: String = name.chars().take(NAME_SHOWN).collect();
        let more = if shown.len() < name.len() { "…" } else { "" };
        Error::Usage {
            message: format!("'{shown}{more}' cannot be a name in a snapshot"),
            hint: Some("a name has 1 to 4096 bytes, is not . or .., and has no slash in it"),
        }
    })?;
    Ok(name.as_bytes().to_vec())
}
