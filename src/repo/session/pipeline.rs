//! The writing pipeline: segments go to workers that compress, seal and append them to the open
//! pack of their kind; full packs are verified as a reader would read them and go to uploaders;
//! durable packs go into index parts. Every buffer is taken from a fixed set and goes back to it,
//! so memory is bounded and a slow backend slows the source.
//!
//! Keeps I-1: a pack's record reaches an index part only after `put_new` returned for the pack;
//! metadata packs, which name data chunks, wait until the end, when all data packs are durable.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::base::id::ChunkId;
use crate::base::kind::{ChunkKind, Coding, PackKind};
use crate::base::limits::{PACK_SIZE_AIM, UPLOAD_BUFFERS};
use crate::base::monitor::{Count, Monitor};
use crate::base::secret::Secret32;
use crate::codec::{self, Compressor, Level};
use crate::format::index::PackRecord;
use crate::format::name::pack_name;
use crate::repo::copies::Copies;
use crate::repo::index::write_part;
use crate::repo::pack::{Built, PackBuilder, Scratch, verify};
use crate::repo::read::ChunkReader;
use crate::repo::session::delta::Deltas;
use crate::repo::session::follow::Following;
use crate::repo::session::may_still_happen;
use crate::repo::session::order::OpenPack;
use crate::repo::session::pending::{Coded, Pending, Segment};
use crate::repo::session::tally::{Added, Tally};
use crate::repo::{Error, Repository};

/// Durable data that is put into an index part before the session ends: what a crash can cost.
const PART_AFTER_BYTES: u64 = 8 * PACK_SIZE_AIM;

/// A delta that is this many times shorter than its plaintext is taken without a look at how short the
/// segment would be by itself: most are hundreds of times shorter.
const SURELY_SHORTER: usize = 16;

/// How the pipeline works.
pub(super) struct Ways {
    /// How hard to compress.
    pub level: Level,
    /// Whether packs are read back.
    pub verify: bool,
    /// Packs that the index names and the repository lacks, by their numbers in the cache: what lies in
    /// them counts as not known.
    pub absent: HashSet<u32>,
    /// Where bases are read, if they may and can be.
    pub bases: Option<Arc<ChunkReader>>,
    /// Where copies of packs are kept, for the next session's bases.
    pub copies: Option<Arc<Copies>>,
}

/// What all threads of a session share.
pub(super) struct Shared {
    repo: Repository,
    ways: Ways,
    monitor: Arc<dyn Monitor>,
    pending: Mutex<Pending>,
    /// Chunks that went into index parts, to be forgotten by whoever next holds `pending`. An
    /// uploader must not wait for that lock itself: a producer holds it while it waits for a buffer
    /// that, in the end, only uploaders give back.
    indexed: Mutex<Vec<ChunkId>>,
    data: Mutex<OpenPack>,
    meta: Mutex<OpenPack>,
    durable: Mutex<Durable>,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    /// An index part's creation failed in a way that leaves open whether it is still to come.
    unsure: AtomicBool,
    /// Every index part went into the local cache as well.
    indexes_all: AtomicBool,
    tally: Tally,
}

/// Packs that are durable and in no index part yet.
#[derive(Default)]
struct Durable {
    data: Vec<PackRecord>,
    data_bytes: u64,
    meta: Vec<PackRecord>,
}

/// A segment to be coded.
struct Job {
    kind: PackKind,
    /// Its place among those of its kind.
    number: u64,
    segment: Segment,
}

/// The running pipeline.
pub(super) struct Pipeline {
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    /// Segments of data and of metadata so far.
    numbers: [AtomicU64; 2],
    spare: Receiver<Segment>,
    /// Segments that may still be made: no more than are needed at once take memory.
    unmade: AtomicUsize,
    uploads: Option<Sender<Built>>,
    spare_packs: Receiver<Vec<u8>>,
    workers: Vec<JoinHandle<()>>,
    uploaders: Vec<JoinHandle<()>>,
}

/// A lock whose holder panicked is an internal failure, reported as such.
fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>, Error> {
    mutex.lock().map_err(|_| Error::Worker)
}

impl Pipeline {
    /// Starts the threads.
    pub fn start(repo: &Repository, ways: Ways, monitor: Arc<dyn Monitor>) -> Result<Self, Error> {
        // One that is being filled for each depth, and those that workers have.
        let open = if ways.bases.is_some() { usize::from(repo.config().delta_depth) } else { 0 };
        let shared = Arc::new(Shared {
            repo: repo.clone(),
            ways,
            monitor,
            pending: Mutex::default(),
            indexed: Mutex::default(),
            data: Mutex::default(),
            meta: Mutex::default(),
            durable: Mutex::default(),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
            unsure: AtomicBool::new(false),
            indexes_all: AtomicBool::new(true),
            tally: Tally::default(),
        });
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        // Those that threads have, one that waits for its turn, and what is queued: more only take memory.
        let segments = cores + 3;
        let (jobs, jobs_in) = bounded(segments);
        let (spare_out, spare) = bounded(segments + open);
        let packs = UPLOAD_BUFFERS + 2;
        let (uploads, uploads_in) = bounded(packs);
        let (spare_packs_out, spare_packs) = bounded(packs);
        for _ in 0..packs {
            spare_packs_out.send(Vec::new()).map_err(|_| Error::Worker)?;
        }
        let mut pipeline = Pipeline {
            shared,
            jobs: Some(jobs),
            numbers: Default::default(),
            spare,
            unmade: AtomicUsize::new(segments + open),
            uploads: Some(uploads.clone()),
            spare_packs: spare_packs.clone(),
            workers: Vec::new(),
            uploaders: Vec::new(),
        };
        for _ in 0..cores {
            let worker = Worker {
                shared: pipeline.shared.clone(),
                jobs: jobs_in.clone(),
                spare: spare_out.clone(),
                uploads: uploads.clone(),
                spare_packs: spare_packs.clone(),
            };
            pipeline.workers.push(spawn("compress", move || worker.run())?);
        }
        // If a thread cannot be started, the others must find their queue closed.
        drop(uploads);
        for _ in 0..UPLOAD_BUFFERS.min(3) {
            let (shared, incoming, back) =
                (pipeline.shared.clone(), uploads_in.clone(), spare_packs_out.clone());
            pipeline.uploaders.push(spawn("upload", move || upload(&shared, &incoming, &back))?);
        }
        Ok(pipeline)
    }

    /// The first failure of any thread.
    pub fn check(&self) -> Result<(), Error> {
        if !self.shared.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(lock(&self.shared.failure)?.take().unwrap_or(Error::Worker))
    }

    /// Stores a chunk unless this session or the index has it, against what stands at its place in the
    /// content that is followed; with those of other short contents if its own is. Returns whether it was new.
    pub fn store(
        &self,
        kind: ChunkKind,
        id: ChunkId,
        plain: &[u8],
        following: Option<&mut Following>,
        is_short: bool,
    ) -> Result<bool, Error> {
        self.check()?;
        self.shared.tally.chunks(1);
        let is_known = self.shared.is_known(&id)? || !self.note(id)?;
        let place = match following {
            Some(following) if is_known => {
                following.known(&id, plain.len() as u32);
                None
            }
            Some(following) => following.missed(plain.len() as u32),
            None => None,
        };
        if is_known {
            return Ok(false);
        }
        let full =
            lock(&self.shared.pending)?.append(kind, id, plain, place.as_ref(), is_short, || self.spare())?;
        self.shared.tally.new_chunk(plain.len());
        self.shared.monitor.add(Count::NewBytes, plain.len() as u64);
        if let Some(job) = full {
            self.submit(job)?;
        }
        Ok(true)
    }

    /// An empty segment: one that came back, a new one, or the next that comes back.
    fn spare(&self) -> Result<Segment, Error> {
        if let Ok(segment) = self.spare.try_recv() {
            return Ok(segment);
        }
        let may_make = self.unmade.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if may_make.is_ok() { Ok(Segment::default()) } else { self.spare.recv().map_err(|_| Error::Worker) }
    }

    /// Notes a chunk as stored by this session; `false` if it was noted before.
    fn note(&self, id: ChunkId) -> Result<bool, Error> {
        let mut pending = lock(&self.shared.pending)?;
        pending.forget(lock(&self.shared.indexed)?.drain(..));
        Ok(pending.note(id))
    }

    /// Whether every pack that the index names was there when the session began.
    pub fn misses_nothing(&self) -> bool {
        self.shared.ways.absent.is_empty()
    }

    /// Whether a chunk is known to the index or to this session.
    pub fn knows(&self, id: &ChunkId) -> Result<bool, Error> {
        let known = self.shared.is_known(id)? || lock(&self.shared.pending)?.has(id);
        self.shared.tally.chunks(known.into());
        Ok(known)
    }

    /// Counts chunks that the session came across and knows without asking.
    pub fn pass(&self, chunks: u64) {
        self.shared.tally.chunks(chunks);
    }

    fn submit(&self, (kind, segment): (PackKind, Segment)) -> Result<(), Error> {
        let [data, meta] = &self.numbers;
        let numbers = if kind == PackKind::Data { data } else { meta };
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        match &self.jobs {
            Some(jobs) => jobs.send(Job { kind, number, segment }).map_err(|_| Error::Worker),
            None => Err(Error::Worker),
        }
    }

    /// Ends all threads after all that was stored is durable and indexed. After a failure, `abandon`
    /// is to follow.
    pub fn finish(&mut self) -> Result<Added, Error> {
        let rest = lock(&self.shared.pending)?.drain();
        for job in rest {
            self.submit(job)?;
        }
        self.stop_workers()?;
        for kind in [PackKind::Data, PackKind::Meta] {
            self.close_open_pack(kind)?;
        }
        self.stop_uploaders()?;
        self.check()?;
        self.shared.write_parts(true)?;
        let indexed = self.shared.indexes_all.load(Ordering::Relaxed);
        let fetched = self.shared.ways.bases.as_ref().map_or(0, |reader| reader.fetched());
        Ok(self.shared.tally.added(indexed, fetched))
    }

    /// Ends all threads and puts what is durable into the index, so that the next run reuses it.
    /// `true` if an index part may appear later than this returns.
    pub fn abandon(mut self) -> bool {
        self.shared.failed.store(true, Ordering::Relaxed);
        let ended = self.stop_workers().and_then(|()| self.stop_uploaders());
        let _ = ended.and_then(|()| self.shared.write_parts(false));
        self.shared.unsure.load(Ordering::Relaxed)
    }

    fn stop_workers(&mut self) -> Result<(), Error> {
        drop(self.jobs.take());
        join(&mut self.workers)
    }

    fn stop_uploaders(&mut self) -> Result<(), Error> {
        drop(self.uploads.take());
        join(&mut self.uploaders)
    }

    fn close_open_pack(&self, kind: PackKind) -> Result<(), Error> {
        let open = lock(self.shared.open_pack(kind))?.pack.take();
        if let (Some(pack), Some(uploads)) = (open, &self.uploads) {
            let built = self.shared.close(pack, &mut Scratch::default())?;
            uploads.send(built).map_err(|_| Error::Worker)?;
        }
        Ok(())
    }
}

impl Drop for Pipeline {
    /// Threads end with the pipeline, whatever happened: a failure elsewhere must not leave them
    /// working for nobody. `finish` and `abandon` have joined them already.
    fn drop(&mut self) {
        self.shared.failed.store(true, Ordering::Relaxed);
        drop(self.jobs.take());
        drop(self.uploads.take());
        let _ = join(&mut self.workers);
        let _ = join(&mut self.uploaders);
        while self.spare_packs.try_recv().is_ok() {}
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|source| Error::Source { what: "a new thread's start".into(), source })
}

fn join(threads: &mut Vec<JoinHandle<()>>) -> Result<(), Error> {
    let ended = threads.drain(..).map(|t| t.join()).filter(Result::is_err).count();
    if ended == 0 { Ok(()) } else { Err(Error::Worker) }
}

impl Shared {
    fn fail(&self, error: Error) {
        if let Ok(mut failure) = self.failure.lock() {
            failure.get_or_insert(error);
        }
        self.failed.store(true, Ordering::Relaxed);
    }

    fn open_pack(&self, kind: PackKind) -> &Mutex<OpenPack> {
        match kind {
            PackKind::Data => &self.data,
            PackKind::Meta => &self.meta,
        }
    }

    /// Finishes a pack and, before it gets its name, reads it back as a reader would.
    fn close(&self, pack: PackBuilder, scratch: &mut Scratch) -> Result<Built, Error> {
        let built = pack.finish()?;
        if self.ways.verify {
            verify(&built, self.repo.keys(), scratch).map_err(|reason| Error::SelfCheck { reason })?;
        }
        Ok(built)
    }

    /// Writes durable packs into index parts: data packs only, or everything at the end. What could
    /// not be written is kept for the next attempt.
    fn write_parts(&self, all: bool) -> Result<(), Error> {
        let mut records = {
            let mut durable = lock(&self.durable)?;
            durable.data_bytes = 0;
            let mut records = std::mem::take(&mut durable.data);
            if all {
                records.append(&mut durable.meta);
            }
            records
        };
        while !records.is_empty() {
            match write_part(&self.repo, &mut records) {
                Ok(written) => {
                    self.tally.stored(written.size);
                    self.monitor.add(Count::StoredBytes, written.size);
                    self.indexes_all.fetch_and(!written.ids.is_empty(), Ordering::Relaxed);
                    lock(&self.indexed)?.extend(written.ids);
                }
                Err(e) => {
                    if may_still_happen(&e) {
                        self.unsure.store(true, Ordering::Relaxed);
                    }
                    let (meta, data) =
                        records.into_iter().partition(|r| r.directory.kind() == PackKind::Meta);
                    let mut durable = lock(&self.durable)?;
                    durable.meta.extend::<Vec<_>>(meta);
                    durable.data.extend::<Vec<_>>(data);
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Whether a chunk can be read back, as far as this session knows: the index has it, in packs that
    /// were there when the session began.
    fn is_known(&self, id: &ChunkId) -> Result<bool, Error> {
        let index = self.repo.index();
        Ok(index.contains(id)? && (self.ways.absent.is_empty() || self.is_there(id, u8::MAX)?))
    }

    /// Whether a chunk has a copy less deep than `below` that is there with all its chain (I-8).
    fn is_there(&self, id: &ChunkId, below: u8) -> Result<bool, Error> {
        for place in self.repo.index().places(id)? {
            if self.ways.absent.contains(&place.pack) {
                continue;
            }
            let pack = self.repo.index().pack(place.pack)?.ok_or(Error::Worker)?;
            let Some(segment) = pack.segments.get(place.segment as usize) else { continue };
            let mut whole = segment.depth < below;
            for base in pack.bases_of(segment) {
                whole = whole && self.is_there(base, segment.depth)?;
            }
            if whole {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What one compressing thread works with.
struct Tools {
    scratch: Scratch,
    compressor: Compressor,
    deltas: Option<Deltas>,
}

impl Tools {
    fn new(ways: &Ways) -> Result<Self, Error> {
        Ok(Tools {
            scratch: Scratch::default(),
            compressor: Compressor::new(ways.level).map_err(|e| Error::Codec(e.to_string()))?,
            deltas: ways.bases.clone().map(|reader| Deltas::new(reader, ways.level)).transpose()?,
        })
    }

    /// Codes a segment: against its bases if that makes it clearly shorter, else by itself.
    fn code(&mut self, segment: &mut Segment, shared: &Shared) -> Result<(), Error> {
        let mut by_itself = None;
        let mut pays = false;
        if let Some(deltas) = self.deltas.as_mut().filter(|_| segment.depth > 0)
            && let Some(len) = deltas.code(segment)?
        {
            shared.tally.bases(deltas.base_bytes());
            pays = len * SURELY_SHORTER <= segment.plain.len();
            if !pays {
                by_itself = Some(code_whole(&mut self.compressor, segment)?);
                let other = segment.to_seal().coded.len();
                pays = len + other / 8 < other;
            }
            if pays && shared.ways.verify {
                deltas.verify(segment)?;
            }
        }
        if let Some(deltas) = self.deltas.as_mut().filter(|_| pays) {
            deltas.hand_over(segment);
        } else if by_itself.is_none() {
            code_whole(&mut self.compressor, segment)?;
        }
        Ok(())
    }
}

/// Codes a segment by itself.
fn code_whole(compressor: &mut Compressor, segment: &mut Segment) -> Result<(), Error> {
    let Segment { plain, coded: Coded { coding, frame, .. }, .. } = segment;
    *coding = match compressor.compress(plain, frame).map_err(|e| Error::Codec(e.to_string()))? {
        codec::Coded::Zstd => Coding::Zstd,
        codec::Coded::Raw => Coding::Raw,
    };
    Ok(())
}

/// One compressing thread.
struct Worker {
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    spare: Sender<Segment>,
    uploads: Sender<Built>,
    spare_packs: Receiver<Vec<u8>>,
}

impl Worker {
    fn run(&self) {
        let mut tools = Tools::new(&self.shared.ways);
        for Job { kind, number, segment } in &self.jobs {
            // After a failure the queue is still emptied, so that no producer waits for ever.
            if self.shared.failed.load(Ordering::Relaxed) {
                self.give_back(segment);
                self.give_up(kind);
                continue;
            }
            let done = match &mut tools {
                Ok(tools) => self.pack(kind, number, segment, tools),
                Err(_) => Err(Error::Codec("no compressor could be made".into())),
            };
            if let Err(e) = done {
                self.shared.fail(e);
                self.give_up(kind);
            }
        }
    }

    fn pack(
        &self,
        kind: PackKind,
        number: u64,
        mut segment: Segment,
        tools: &mut Tools,
    ) -> Result<(), Error> {
        if let Err(e) = tools.code(&mut segment, &self.shared) {
            self.give_back(segment);
            return Err(e);
        }
        let mut full = Vec::new();
        {
            let mut open = lock(self.shared.open_pack(kind))?;
            open.take(number, segment);
            while let Some(segment) = open.turn() {
                let appended = self.append(kind, &mut open.pack, &segment, &mut full);
                self.give_back(segment);
                appended?;
            }
            // Whoever failed may have looked for those that wait before this one came.
            if self.shared.failed.load(Ordering::Relaxed) {
                open.give_up().for_each(|segment| self.give_back(segment));
            }
        }
        for pack in full {
            let built = self.shared.close(pack, &mut tools.scratch)?;
            self.uploads.send(built).map_err(|_| Error::Worker)?;
        }
        Ok(())
    }

    /// Appends a segment to the open pack; one that is full goes to `full`, and another is begun.
    fn append(
        &self,
        kind: PackKind,
        open: &mut Option<PackBuilder>,
        segment: &Segment,
        full: &mut Vec<PackBuilder>,
    ) -> Result<(), Error> {
        let coded = segment.to_seal();
        full.extend(open.take_if(|pack| !pack.fits(&coded)));
        let pack = match open {
            Some(pack) => pack,
            None => open.insert(self.new_pack(kind)?),
        };
        pack.append(&coded)?;
        self.shared.tally.segment(coded.coding, segment.plain.len(), coded.coded.len());
        Ok(())
    }

    /// Gives a segment's buffers to whoever needs them next. Where nobody does any more, they go.
    fn give_back(&self, mut segment: Segment) {
        segment.clear();
        let _ = self.spare.send(segment);
    }

    /// Gives back what waits for a turn that will not come.
    fn give_up(&self, kind: PackKind) {
        let mut open = self.shared.open_pack(kind).lock().unwrap_or_else(PoisonError::into_inner);
        open.give_up().for_each(|segment| self.give_back(segment));
    }

    fn new_pack(&self, kind: PackKind) -> Result<PackBuilder, Error> {
        // Buffers come back from uploaders; one that a failure swallowed never does.
        let buffer = loop {
            match self.spare_packs.recv_timeout(Duration::from_millis(100)) {
                Ok(buffer) => break buffer,
                Err(RecvTimeoutError::Timeout) if !self.shared.failed.load(Ordering::Relaxed) => {}
                Err(_) => return Err(Error::Worker),
            }
        };
        PackBuilder::new(kind, self.shared.repo.keys(), self.shared.repo.random(), buffer)
    }
}

/// One uploading thread.
fn upload(shared: &Shared, incoming: &Receiver<Built>, back: &Sender<Vec<u8>>) {
    for built in incoming {
        let Built { bytes, record, secret, .. } = built;
        if !shared.failed.load(Ordering::Relaxed)
            && let Err(e) = store_pack(shared, &bytes, &secret, record)
        {
            shared.fail(e);
        }
        if back.send(bytes).is_err() {
            return;
        }
    }
}

fn store_pack(shared: &Shared, bytes: &[u8], secret: &Secret32, record: PackRecord) -> Result<(), Error> {
    let kind = record.directory.kind();
    shared.repo.backend().put_new(&pack_name(kind, &record.id), bytes)?;
    if let Some(copies) = &shared.ways.copies {
        // One that is not kept costs space when what is in it changes, not the snapshot.
        if let Ok(sealed) = shared.repo.keys().seal_own_key(&record.header, secret) {
            let _ = copies.keep(&record.id, &sealed, bytes);
        }
    }
    shared.tally.stored(bytes.len() as u64);
    shared.monitor.add(Count::StoredBytes, bytes.len() as u64);
    let due = {
        let mut durable = lock(&shared.durable)?;
        match kind {
            PackKind::Data => {
                durable.data_bytes += bytes.len() as u64;
                durable.data.push(record);
            }
            PackKind::Meta => durable.meta.push(record),
        }
        durable.data_bytes >= PART_AFTER_BYTES
    };
    if due { shared.write_parts(false) } else { Ok(()) }
}
