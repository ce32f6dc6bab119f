//! A writer's session: lease, then index, then packs, then index parts, then the root, which is
//! the commit (I-1). Its random id is the name of the snapshot it will commit, taken by
//! create-if-absent, so a session that was fenced while it slept cannot commit (D-7).

mod lease;
mod pending;
mod pipeline;
mod stream;

pub use pipeline::Added;
pub use stream::{Content, StreamWriter};

use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::id::{ChunkId, SessionId};
use crate::base::kind::ChunkKind;
use crate::base::monitor::Monitor;
use crate::chunker::Chunker;
use crate::codec::Level;
use crate::format::name::MARKS;
use crate::format::root::RootBody;
use crate::repo::session::lease::LeaseKeeper;
use crate::repo::session::pipeline::Pipeline;
use crate::repo::{Error, Repository, index, roots};
use crate::storage::ErrorKind;

/// How a session writes.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// This machine's name, for the lease.
    pub host: String,
    /// What the session is for, for the lease.
    pub purpose: String,
    /// How hard to compress.
    pub level: Level,
    /// Whether packs are read back before they are named. On unless a benchmark turns it off.
    pub verify: bool,
}

/// A session.
pub struct Session {
    repo: Repository,
    id: SessionId,
    chunker: Chunker,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
    lease: LeaseKeeper,
    pipeline: Pipeline,
}

impl Session {
    /// Takes a lease, brings the index up to date and starts the pipeline.
    pub fn begin(
        repo: &Repository,
        options: &SessionOptions,
        monitor: Arc<dyn Monitor>,
        cancel: Cancel,
    ) -> Result<Self, Error> {
        repo.keys().may_write()?;
        let chunker = repo.chunker()?;
        let id = SessionId(repo.random().array().map_err(Error::crypto("a new session"))?);
        // The lease comes before every look: whoever removes packs waits for it, or had published
        // what it would remove before this session looked for marks (D-7).
        let lease = LeaseKeeper::take(repo, id, &options.host, &options.purpose)?;
        let started = refuse_marks(repo)
            .and_then(|()| index::refresh(repo, &*monitor, &cancel))
            .and_then(|()| Pipeline::start(repo, options.level, options.verify, monitor.clone()));
        match started {
            Ok(pipeline) => Ok(Session { repo: repo.clone(), id, chunker, monitor, cancel, lease, pipeline }),
            Err(e) => {
                lease.release();
                Err(e)
            }
        }
    }

    /// The id of this session, and of the snapshot that it will commit.
    pub fn id(&self) -> SessionId {
        self.id
    }

    pub(super) fn chunker(&self) -> &Chunker {
        &self.chunker
    }

    /// Where progress is reported.
    pub fn monitor(&self) -> &dyn Monitor {
        &*self.monitor
    }

    /// Fails if the user asked to stop or a thread of the pipeline failed.
    pub fn check(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        self.pipeline.check()
    }

    /// Begins a stream.
    pub fn stream(&self) -> StreamWriter<'_> {
        StreamWriter::new(self)
    }

    /// Stores one chunk unless it is known; answers its id.
    pub fn store(&self, kind: ChunkKind, plain: &[u8]) -> Result<ChunkId, Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let id = self.repo.keys().chunk_id(kind, plain);
        self.pipeline.store(kind, id, plain)?;
        Ok(id)
    }

    /// Makes everything durable and indexed, asks `root` for the snapshot's description (it is told
    /// what was added) and commits it. The snapshot exists when this returns, and not before.
    pub fn commit(
        self,
        root: impl FnOnce(SessionId, Added) -> Result<RootBody, Error>,
    ) -> Result<(SessionId, Added), Error> {
        let Session { repo, id, lease, pipeline, cancel, .. } = self;
        let committed = pipeline.finish().and_then(|added| {
            if cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            let body = root(id, added)?;
            roots::commit(&repo, &id, body)?;
            Ok((id, added))
        });
        release(lease, committed.as_ref().err());
        committed
    }

    /// Ends without a snapshot. What is durable already goes into the index, for the next run.
    pub fn abandon(self) {
        let Session { lease, pipeline, .. } = self;
        // Failing here loses nothing but reuse; the failure that led here is the one to report.
        let abandoned = pipeline.abandon();
        release(lease, abandoned.as_ref().err());
    }
}

/// Ends a lease, unless a creation of the session may still be carried out: a root or an index part
/// that appeared late must be one that prune waited for (I-5). The lease expires by itself.
fn release(lease: LeaseKeeper, failure: Option<&Error>) {
    match failure {
        Some(Error::Unsure { .. }) => lease.keep(),
        Some(Error::Storage(e)) if matches!(e.kind, ErrorKind::Temporary | ErrorKind::Cancelled) => {
            lease.keep();
        }
        _ => lease.release(),
    }
}

/// A later version's prune says in marks which packs it is about to remove. This version does not
/// understand them, so where there are some it must not write: it could build on what goes (D-7).
fn refuse_marks(repo: &Repository) -> Result<(), Error> {
    let mut found = None;
    repo.backend().list(MARKS, &mut |entry| found = Some(entry.name))?;
    match found {
        None => Ok(()),
        Some(name) => Err(Error::Newer { object: name }),
    }
}
