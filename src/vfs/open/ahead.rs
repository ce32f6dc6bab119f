//! Reading ahead into the cache: a few threads for all open files, started when the first reader goes
//! through a file in order.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::format::list::ListEntry;
use crate::repo::Error;
use crate::repo::read::{ChunkReader, LoadedPack, Loader};
use crate::vfs::open::ReadCache;
use crate::vfs::open::cache::{Promise, SegmentId};
use crate::vfs::open::content::{Found, Stored};

/// Shortest content that is read ahead.
pub const LEAST: u64 = 512 << 10;
/// Bytes of content that one thread reads at a time, from a local disk.
const STEP_LOCAL: u64 = 1 << 20;
/// The same over a network, where a request costs milliseconds.
const STEP_REMOTE: u64 = 4 << 20;
/// How far ahead of a reader is read, from a local disk.
const REACH_LOCAL: u64 = 6 << 20;
/// The same over a network.
const REACH_REMOTE: u64 = 32 << 20;
/// Jobs that wait; more are not taken.
const QUEUE: usize = 64;
/// Chunks that are looked up at a time.
const CHUNKS: usize = 1024;
/// Sealed bytes of neighbouring segments that are fetched at once.
const FETCH: u64 = 4 << 20;
/// Plaintext of the segments that are read ahead of one that short files lie in.
const NEIGHBOURS: u64 = 3 << 20;

/// Something to be read.
pub enum Job {
    /// A part of a content.
    Content {
        /// The content.
        stored: Weak<Stored>,
        /// The part.
        range: Range<u64>,
        /// Up to where it is of no use any more.
        passed: Arc<AtomicU64>,
    },
    /// The segments of a pack after one.
    Pack {
        /// What reads them.
        reader: Arc<ChunkReader>,
        /// Where they are kept.
        cache: Weak<ReadCache>,
        /// The pack.
        pack: Arc<LoadedPack>,
        /// The segment before them.
        after: u32,
    },
}

/// Those who read ahead.
#[derive(Default)]
pub struct Ahead {
    pool: OnceLock<Pool>,
    /// The segment whose neighbours were asked for last.
    neighbours: Mutex<Option<SegmentId>>,
}

/// The threads. They end with it.
struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Closing the queue ends them.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // It may be one of them that held the cache last.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

impl Ahead {
    /// Whether the threads were started.
    pub fn has_begun(&self) -> bool {
        self.pool.get().is_some()
    }

    /// How far ahead of a reader is read, with a cache of `limit` bytes.
    pub fn reach(&self, is_local: bool, limit: usize) -> u64 {
        let reach = if is_local { REACH_LOCAL } else { REACH_REMOTE };
        reach.min(limit as u64 / 4)
    }

    /// Bytes that one thread reads at a time.
    pub fn step(&self, is_local: bool) -> u64 {
        if is_local { STEP_LOCAL } else { STEP_REMOTE }
    }

    /// Notes that the neighbours of a segment are asked for.
    pub fn ask_neighbours(&self, segment: SegmentId) {
        if let Ok(mut last) = self.neighbours.lock() {
            *last = Some(segment);
        }
    }

    /// Whether somebody asked for neighbours further on in the pack since: then what lies between was passed, and
    /// what follows is for the later job.
    fn is_passed(&self, (pack, segment): SegmentId) -> bool {
        let last = self.neighbours.lock().ok().and_then(|last| *last);
        last.is_some_and(|(last_pack, last)| last_pack == pack && last > segment)
    }

    /// Has something read; `false` if there is too much to do already.
    pub fn push(&self, job: Job, is_local: bool) -> bool {
        let pool = self.pool.get_or_init(|| Pool::start(is_local));
        pool.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }
}

impl Pool {
    fn start(is_local: bool) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let count = if is_local { cores } else { cores * 2 };
        let (jobs, queue) = bounded(QUEUE);
        let spawn = |_| {
            let queue: Receiver<Job> = queue.clone();
            let work = move || {
                // What cannot be read here is met by who asks for it.
                queue.iter().for_each(|job| drop(run(job)));
            };
            std::thread::Builder::new().name("ahead".into()).spawn(work).ok()
        };
        // With fewer threads it only takes longer, and with none a full queue says so.
        let threads = (0..count).filter_map(spawn).collect();
        Pool { jobs: Some(jobs), threads }
    }
}

fn run(job: Job) -> Result<(), Error> {
    match job {
        Job::Content { stored, range, passed } => {
            let Some(stored) = stored.upgrade() else { return Ok(()) };
            if passed.load(Ordering::Relaxed) >= range.end {
                return Ok(());
            }
            let mut loader = stored.cache.loader();
            let done = read_content(&stored, range, &passed, &mut loader);
            stored.cache.give_back(loader);
            done
        }
        Job::Pack { reader, cache, pack, after } => {
            let Some(cache) = cache.upgrade() else { return Ok(()) };
            if cache.ahead().is_passed((pack.info.id, after)) {
                return Ok(());
            }
            let mut loader = cache.loader();
            let done = read_pack(&reader, &cache, &pack, after, &mut loader);
            cache.give_back(loader);
            done
        }
    }
}

/// Reads the segments of a part of a content, and verifies its chunks. What the reader has passed meanwhile is left
/// out: it may have gone from the cache again, and would only take the place of what comes.
fn read_content(
    stored: &Stored,
    range: Range<u64>,
    passed: &AtomicU64,
    loader: &mut Loader,
) -> Result<(), Error> {
    let mut at = range.start;
    let (mut found, mut ends): (Vec<Found>, Vec<u64>) = (Vec::new(), Vec::new());
    while at < range.end {
        let (entry, start) = stored.leaf(at)?;
        at = start.saturating_add(entry.content_len());
        if let ListEntry::Chunk { id, .. } = entry {
            found.push(stored.find(&id, found.last())?);
            ends.push(at);
        }
        if found.len() >= CHUNKS {
            read_found(stored, (&found, &ends), passed, loader)?;
            found.clear();
            ends.clear();
        }
    }
    read_found(stored, (&found, &ends), passed, loader)
}

fn read_found(
    stored: &Stored,
    (found, ends): (&[Found], &[u64]),
    passed: &AtomicU64,
    loader: &mut Loader,
) -> Result<(), Error> {
    let mut rest = found;
    loop {
        let gone = passed.load(Ordering::Relaxed);
        let rest_ends = &ends[ends.len() - rest.len()..];
        rest = &rest[rest_ends.partition_point(|end| *end <= gone)..];
        let Some(first) = rest.first() else { return Ok(()) };
        let (run, chunks) = claim_run(stored, rest)?;
        if run.is_empty() {
            rest = &rest[1..];
            continue;
        }
        let (these, after) = rest.split_at(chunks);
        if stored.reader.is_delta(&first.pack, first.place)? {
            for promise in run {
                let plain = stored.load(first, loader)?;
                promise.keep(plain, false);
            }
        } else {
            open_run(&stored.reader, &stored.cache, &first.pack, first.place.segment, run, loader, false)?;
        }
        for chunk in these {
            let id = (chunk.pack.info.id, chunk.place.segment);
            if let Some(segment) = stored.cache.peek(id) {
                segment.chunk(&stored.reader, &chunk.pack, chunk.place, &chunk.id)?;
            }
        }
        rest = after;
    }
}

/// Claims the segments of the first chunks, as far as they lie one after another and nobody has them.
/// With the number of chunks that lie in them.
fn claim_run<'c>(stored: &'c Stored, found: &[Found]) -> Result<(Vec<Promise<'c>>, usize), Error> {
    let Some(first) = found.first() else { return Ok((Vec::new(), 0)) };
    let start = stored.reader.sealed_range(&first.pack, first.place.segment)?.start;
    let mut run: Vec<Promise<'c>> = Vec::new();
    let mut chunks = 0;
    for chunk in found {
        let next = first.place.segment + run.len() as u32;
        let is_same = chunk.place.pack == first.place.pack;
        if is_same && !run.is_empty() && chunk.place.segment + 1 == next {
            chunks += 1;
            continue;
        }
        let is_next = is_same && chunk.place.segment == next;
        let is_alone = !run.is_empty() && stored.reader.is_delta(&chunk.pack, chunk.place)?;
        let is_far = stored.reader.sealed_range(&chunk.pack, chunk.place.segment)?.end > start + FETCH;
        if !is_next || is_alone || (is_far && !run.is_empty()) {
            break;
        }
        let Some(promise) = stored.cache.claim((chunk.pack.info.id, chunk.place.segment)) else { break };
        run.push(promise);
        chunks += 1;
        if stored.reader.is_delta(&first.pack, first.place)? {
            // Its neighbours are claimed by themselves.
            let same = |next: &&Found| {
                next.place.pack == first.place.pack && next.place.segment == first.place.segment
            };
            return Ok((run, found.iter().take_while(same).count()));
        }
    }
    Ok((run, chunks))
}

/// Fetches and opens segments that lie one after another from `first` on.
fn open_run(
    reader: &ChunkReader,
    cache: &ReadCache,
    pack: &LoadedPack,
    first: u32,
    run: Vec<Promise<'_>>,
    loader: &mut Loader,
    is_ahead: bool,
) -> Result<(), Error> {
    let numbers = first..first + run.len() as u32;
    let mut promises = run.into_iter();
    reader.open_segments(pack, numbers, loader, &mut || cache.buffer(), &mut |_, opened| {
        if let Some(promise) = promises.next()
            && let Ok(plain) = opened
        {
            promise.keep(plain, is_ahead);
        }
    })
}

/// Reads the next segments of a pack.
fn read_pack(
    reader: &ChunkReader,
    cache: &ReadCache,
    pack: &LoadedPack,
    after: u32,
    loader: &mut Loader,
) -> Result<(), Error> {
    let most = NEIGHBOURS.min(cache.limit() as u64 / 4);
    let (mut run, mut plain, mut first) = (Vec::new(), 0, after + 1);
    for number in after + 1.. {
        let Some(segment) = pack.info.segments.get(number as usize).filter(|s| s.depth == 0) else { break };
        plain += u64::from(segment.plain_len);
        if plain > most {
            break;
        }
        match cache.claim((pack.info.id, number)) {
            Some(promise) => run.push(promise),
            None if run.is_empty() => first = number + 1,
            None => break,
        }
    }
    open_run(reader, cache, pack, first, run, loader, true)
}
