//! A writer's session: lease, then index, then packs, then index parts, then the root, which is
//! the commit (I-1). Its random id is the name of the snapshot it will commit, taken by
//! create-if-absent, so a session that was fenced while it slept cannot commit (D-7).

mod delta;
mod follow;
mod lease;
mod order;
mod pending;
mod pipeline;
mod stream;
mod tally;

pub use follow::Contents;
pub use stream::{Content, StreamWriter};
pub use tally::Added;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::base::clock::Cancel;
use crate::base::id::{ChunkId, PackId, SessionId};
use crate::base::kind::{ChunkKind, PackKind};
use crate::base::monitor::Monitor;
use crate::chunker::{Chunker, Window};
use crate::codec::Level;
use crate::format::config::CreateIfAbsent;
use crate::format::list::ListEntry;
use crate::format::name::{DATA, MARKS, META, ObjectName};
use crate::format::root::RootBody;
use crate::repo::copies::Copies;
use crate::repo::read::{ChunkReader, read_list};
use crate::repo::roots::Listing;
use crate::repo::session::follow::Following;
use crate::repo::session::lease::LeaseKeeper;
use crate::repo::session::pipeline::{Pipeline, Ways};
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
    /// How often the index cache had been emptied when this session loaded it.
    clears: i64,
    roots: Listing,
    pipeline: Pipeline,
    /// Where bases are read, if they may and can be.
    bases: Option<Arc<ChunkReader>>,
    /// Windows that no stream uses now: a tree of small files must not cost one for each.
    windows: Mutex<Vec<Window>>,
}

impl Session {
    /// Takes a lease, brings the index up to date and starts the pipeline.
    pub fn begin(
        repo: &Repository,
        options: &SessionOptions,
        monitor: Arc<dyn Monitor>,
        cancel: Cancel,
    ) -> Result<Self, Error> {
        repo.may_write()?;
        repo.signers().may_sign(&repo.keys().signer().id())?;
        let chunker = repo.chunker()?;
        let id = SessionId(repo.random().array().map_err(Error::crypto("a new session"))?);
        // The lease comes before every look: whoever removes packs waits for it, or had published
        // what it would remove before this session looked for marks (D-7).
        let lease = LeaseKeeper::take(repo, id, &options.host, &options.purpose)?;
        let started = look(repo, &*monitor, &cancel).and_then(|seen| {
            sweep(repo);
            let SessionOptions { level, verify, .. } = *options;
            let (bases, copies) = bases(repo, level, &seen.absent);
            let ways = Ways { level, verify, absent: seen.absent, bases: bases.clone(), copies };
            let pipeline = Pipeline::start(repo, ways, monitor.clone())?;
            Ok((seen.clears, seen.roots, pipeline, bases))
        });
        match started {
            Ok((clears, roots, pipeline, bases)) => {
                let (repo, windows) = (repo.clone(), Mutex::default());
                Ok(Session {
                    repo,
                    id,
                    chunker,
                    monitor,
                    cancel,
                    lease,
                    clears,
                    roots,
                    pipeline,
                    bases,
                    windows,
                })
            }
            Err(e) => {
                tidily(&cancel, || lease.release());
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

    /// The snapshots that were there when the session began.
    pub fn roots(&self) -> &Listing {
        &self.roots
    }

    /// A window for a stream, which is to give it back.
    pub(super) fn window(&self) -> Window {
        let kept = self.windows.lock().ok().and_then(|mut kept| kept.pop());
        kept.unwrap_or_else(|| Window::new(&self.chunker))
    }

    pub(super) fn give_back(&self, mut window: Window) {
        window.clear();
        if let Ok(mut kept) = self.windows.lock() {
            kept.push(window);
        }
    }

    /// The repository that it writes to.
    pub fn repository(&self) -> &Repository {
        &self.repo
    }

    /// Whether every chunk of `content` is known, so that a snapshot may name it without its source
    /// being read. Lists are read with `reader`; what cannot be read counts as not known.
    pub fn knows(&self, content: &[ListEntry], reader: &ChunkReader) -> Result<bool, Error> {
        let mut lists = Vec::new();
        let mut entries = content.to_vec();
        loop {
            for entry in &entries {
                match *entry {
                    ListEntry::Hole { .. } | ListEntry::Zeros { .. } => {}
                    ListEntry::Chunk { id, .. } if self.pipeline.knows(&id)? => {}
                    ListEntry::List { len, depth, id } if self.pipeline.knows(&id)? => {
                        lists.push((id, len, depth));
                    }
                    ListEntry::Chunk { .. } | ListEntry::List { .. } => return Ok(false),
                }
            }
            let Some((id, len, depth)) = lists.pop() else { return Ok(true) };
            entries = match read_list(reader, &id, len, depth) {
                Ok(entries) => entries,
                // A writer that may not read: the snapshot that names the list keeps what it lists (I-5).
                Err(Error::Denied { .. }) if self.pipeline.misses_nothing() => Vec::new(),
                Err(e) if e.is_of_backend() => return Err(e),
                Err(_) => return Ok(false),
            };
        }
    }

    /// The index cache's `clears` when the session began, which it commits only if they stayed.
    pub fn clears(&self) -> i64 {
        self.clears
    }

    /// The same unless packs are missing. All that was in the index while they were these is known.
    pub fn certain_clears(&self) -> Option<i64> {
        self.pipeline.misses_nothing().then_some(self.clears)
    }

    /// Counts chunks that are known without having been asked for.
    pub fn pass(&self, chunks: usize) {
        self.pipeline.pass(chunks as u64);
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
        StreamWriter::new(self, None)
    }

    /// Begins a stream whose chunks are coded against those of the parent's content `entries`; against
    /// what it is found to be like, if there are none.
    pub fn stream_after(&self, entries: Vec<ListEntry>) -> StreamWriter<'_> {
        if entries.is_empty() {
            return self.stream_like(None);
        }
        self.following(|reader, limit| Following::new(reader, limit, entries))
    }

    /// Begins a stream whose chunks are coded against those of what it is found to be like: one of
    /// `contents`, or else whatever has the same chunks.
    pub fn stream_like(&self, contents: Option<Arc<dyn Contents>>) -> StreamWriter<'_> {
        self.following(|reader, limit| Following::searching(reader, limit, contents))
    }

    /// Begins a stream that is cut every `len` bytes, each range of which is coded against what stands at
    /// the same offset of `entries`: for what changes in place, as the pages of a relation do.
    pub fn ranges_after(&self, entries: Vec<ListEntry>, len: u32) -> StreamWriter<'_> {
        let len = len.clamp(1, self.chunker.settings().max());
        self.following(|reader, limit| Following::fixed(reader, limit, entries)).in_ranges(len)
    }

    fn following(&self, new: impl FnOnce(Arc<ChunkReader>, u8) -> Following) -> StreamWriter<'_> {
        let limit = self.repo.config().delta_depth;
        let following = self.bases.as_ref().map(|reader| Box::new(new(reader.clone(), limit)));
        StreamWriter::new(self, following)
    }

    /// Reads what chunks may be coded against, if any may.
    pub fn bases(&self) -> Option<&Arc<ChunkReader>> {
        self.bases.as_ref()
    }

    /// Stores one chunk unless it is known; answers its id.
    pub fn store(&self, kind: ChunkKind, plain: &[u8]) -> Result<ChunkId, Error> {
        self.store_after(kind, plain, None, false)
    }

    /// The same for a chunk of a content that may follow another, and may be short.
    fn store_after(
        &self,
        kind: ChunkKind,
        plain: &[u8],
        following: Option<&mut Following>,
        is_short: bool,
    ) -> Result<ChunkId, Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let id = self.repo.keys().chunk_id(kind, plain);
        self.pipeline.store(kind, id, plain, following, is_short)?;
        Ok(id)
    }

    /// Makes everything durable and indexed, asks `root` for the snapshot's description (it is told
    /// what was added) and commits it. The snapshot exists when this returns, and not before.
    pub fn commit(
        self,
        root: impl FnOnce(SessionId, Added) -> Result<RootBody, Error>,
    ) -> Result<(SessionId, Added), Error> {
        let Session { repo, id, lease, clears, mut pipeline, cancel, .. } = self;
        let committed = finish_and_list(&repo, &mut pipeline).and_then(|(mut added, listing)| {
            if cancel.is_cancelled() {
                return Err(Error::Interrupted);
            }
            same_cache(&repo, clears)?;
            let body = root(id, added)?;
            added.root_bytes = roots::commit(&repo, &listing, &id, body)?;
            Ok((id, added))
        });
        match &committed {
            Ok(_) => tidily(&cancel, || lease.release()),
            Err(failure) => leave(pipeline, lease, &cancel, Some(failure)),
        }
        committed
    }

    /// Ends without a snapshot. What is durable already goes into the index, for the next run.
    pub fn abandon(self) {
        leave(self.pipeline, self.lease, &self.cancel, None);
    }
}

/// Where bases are read, and where copies of packs are kept for them. Nowhere if the repository wants no
/// deltas. Where it is far away or may not be read, from copies alone: over a network a base and the chain
/// below it cost more than a delta saves. `absent` are packs that it lacks.
fn bases(
    repo: &Repository,
    level: Level,
    absent: &HashSet<u32>,
) -> (Option<Arc<ChunkReader>>, Option<Arc<Copies>>) {
    if repo.config().delta_depth == 0 || level == Level::Store {
        return (None, None);
    }
    let keys = repo.keys();
    let may_read = keys.may_read(PackKind::Data).is_ok() && keys.may_read(PackKind::Meta).is_ok();
    if may_read && repo.backend().is_local() {
        return (Some(Arc::new(ChunkReader::new(repo))), None);
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(repo.clock().now().0.max(0) as u64);
    // Without a place for copies all is stored whole.
    let copies = (repo.copies_limit() > 0)
        .then(|| Copies::open(repo.index().dir(), repo.copies_limit(), now))
        .and_then(|opened| opened.ok().map(Arc::new));
    let of_copies =
        |copies: &Arc<Copies>| Arc::new(ChunkReader::of_copies(repo, copies.clone(), absent.clone()));
    (copies.as_ref().map(of_copies), copies)
}

/// How long tidying up may take after the user asked to stop.
const TIDYING: Duration = Duration::from_secs(10);

/// Does the few last things that should be done even when the user asked to stop, and not for long.
fn tidily(cancel: &Cancel, work: impl FnOnce()) {
    let (done, waiting) = bounded::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(TIDYING) == Err(RecvTimeoutError::Timeout) {
                cancel.spare(false);
            }
        });
        cancel.spare(true);
        work();
        drop(done);
    });
    cancel.spare(false);
}

/// Ends a session that committed nothing: what is durable goes into the index, the lease goes.
fn leave(pipeline: Pipeline, lease: LeaseKeeper, cancel: &Cancel, failure: Option<&Error>) {
    tidily(cancel, || {
        // Failing here loses nothing but reuse; the failure that led here is the one to report.
        let unsure = pipeline.abandon();
        // A root or an index part that may still appear must be one that prune waited for (I-5):
        // the lease is left to expire by itself.
        if unsure || failure.is_some_and(may_still_happen) { lease.keep() } else { lease.release() }
    });
}

/// Whether something that the session wanted to create may appear after it has ended.
fn may_still_happen(failure: &Error) -> bool {
    match failure {
        Error::Unsure { .. } => true,
        Error::Storage(e) => matches!(e.kind, ErrorKind::Temporary | ErrorKind::Cancelled),
        _ => false,
    }
}

/// Fails if somebody emptied the index cache since this session loaded it: what it took for known
/// then may not be so in this repository (two copies of one share what names they have).
fn same_cache(repo: &Repository, clears: i64) -> Result<(), Error> {
    if repo.index().clears()? == clears {
        return Ok(());
    }
    Err(Error::Cache {
        path: repo.index().dir().display().to_string(),
        reason: "another process emptied it meanwhile; run the same command again".into(),
    })
}

/// Removes what writers that died left half-written a day ago or longer. Failing costs only space.
fn sweep(repo: &Repository) {
    const DAY_SECONDS: i64 = 86_400;
    let _ = repo.backend().sweep_temporary(repo.clock().now().plus_seconds(-DAY_SECONDS));
}

/// What a session sees when it begins.
struct Seen {
    /// How often the index cache had been emptied.
    clears: i64,
    /// The snapshots.
    roots: Listing,
    /// Packs that the index names and that are not there, by their numbers in the cache.
    absent: HashSet<u32>,
}

/// Looks at marks, roots, packs and the index, at once where that is allowed: over a network each is
/// a round trip. Roots come before the index (I-2); a pack that appears between two listings counts
/// as absent at worst, and what it holds is stored twice.
fn look(repo: &Repository, monitor: &dyn Monitor, cancel: &Cancel) -> Result<Seen, Error> {
    let (marks, roots, packs) = std::thread::scope(|scope| {
        let marks = scope.spawn(|| refuse_marks(repo));
        let packs = scope.spawn(|| packs_there(repo));
        let roots =
            roots::list(repo, cancel).and_then(|roots| index::refresh(repo, monitor, cancel).map(|()| roots));
        let ended = (marks.join(), packs.join());
        (ended.0.unwrap_or(Err(Error::Worker)), roots, ended.1.unwrap_or(Err(Error::Worker)))
    });
    marks?;
    let (roots, packs) = (roots?, packs?);
    Ok(Seen { clears: repo.index().clears()?, roots, absent: absent_packs(repo, &packs, monitor)? })
}

/// Name and size of every pack that is there.
fn packs_there(repo: &Repository) -> Result<HashMap<PackId, u64>, Error> {
    let mut there = HashMap::new();
    for prefix in [DATA, META] {
        repo.backend().list(prefix, &mut |entry| {
            if let Some(ObjectName::Pack(_, id)) = ObjectName::parse(&entry.name) {
                there.insert(id, entry.size);
            }
        })?;
    }
    Ok(there)
}

/// Packs that the index names and that are not there, or not whole, by their numbers in the cache.
/// What lies in them must be stored again: so a snapshot heals what was lost (D-5).
fn absent_packs(
    repo: &Repository,
    there: &HashMap<PackId, u64>,
    monitor: &dyn Monitor,
) -> Result<HashSet<u32>, Error> {
    let mut absent = HashSet::new();
    repo.index().each_pack_size(&mut |number, id, size| {
        if there.get(&id) != Some(&size) {
            absent.insert(number);
        }
    })?;
    if !absent.is_empty() {
        monitor.warn(&format!(
            "{} packs of the index are missing or not whole: what they held is stored again; \
             `kamba-vault check` names what is hurt",
            absent.len()
        ));
    }
    Ok(absent)
}

/// Makes everything durable, and lists the roots meanwhile: the commit needs its signer's last.
/// Where creation is not exclusive the listing comes last, for it shows the tombstone, too.
fn finish_and_list(repo: &Repository, pipeline: &mut Pipeline) -> Result<(Added, Listing), Error> {
    let list = || roots::list(repo, &Cancel::new());
    if repo.config().probe.create_if_absent != Some(CreateIfAbsent::Atomic) {
        let added = pipeline.finish()?;
        return Ok((added, list()?));
    }
    std::thread::scope(|scope| {
        let listing = scope.spawn(list);
        let added = pipeline.finish();
        let listing = listing.join().unwrap_or(Err(Error::Worker));
        Ok((added?, listing?))
    })
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
