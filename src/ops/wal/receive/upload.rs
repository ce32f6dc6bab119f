//! The thread that takes segments from the spool to the repository. A repository that is away is tried again
//! until it is there; one that has another segment under the same name ends the receiving, since somebody has
//! to look at that.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::base::clock::Cancel;
use crate::base::monitor::{Count, Monitor};
use crate::ops::Error;
use crate::ops::wal::push::{check, store, store_received};
use crate::ops::wal::receive::{PAUSE, sleep};
use crate::ops::wal::record;
use crate::postgres::wal::owner::Owner;
use crate::postgres::wal::{SegmentHeader, SegmentName, SegmentSize, WalName};
use crate::repo::wal::spool::Spool;
use crate::repo::{self, Unlocked};

/// What is to be stored.
enum Job {
    /// A segment of the spool that is whole.
    Whole(SegmentName),
    /// The last one of a timeline that was left.
    Partial(SegmentName),
    /// A timeline's history.
    History(String, Vec<u8>),
    /// Segments of a timeline that nobody has: a note of that.
    Missed(u32, SegmentSize, RangeInclusive<u64>),
}

/// What both sides share.
struct Shared {
    repo: Arc<Unlocked>,
    spool: Arc<Spool>,
    system: u64,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
    /// Jobs that were sent and are not done.
    waiting: AtomicUsize,
    /// The repository refused something, or nobody waits any more: the spool keeps what is left.
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// Stores segments behind the receiving.
pub struct Uploader {
    shared: Arc<Shared>,
    jobs: Mutex<Option<Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Uploader {
    /// Starts the thread.
    pub fn start(
        repo: Arc<Unlocked>,
        spool: Arc<Spool>,
        system: u64,
        monitor: Arc<dyn Monitor>,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let (jobs, queue) = unbounded();
        let shared = Arc::new(Shared {
            repo,
            spool,
            system,
            monitor,
            cancel: cancel.clone(),
            waiting: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
        });
        let work = shared.clone();
        let thread = std::thread::Builder::new().name("store WAL".into()).spawn(move || work.run(&queue));
        let thread =
            thread.map_err(|source| repo::Error::Source { what: "a new thread's start".into(), source })?;
        Ok(Uploader { shared, jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// A segment is whole.
    pub fn whole(&self, name: SegmentName) {
        self.send(Job::Whole(name));
    }

    /// A segment will not become whole: its timeline was left.
    pub fn partial(&self, name: SegmentName) {
        self.send(Job::Partial(name));
    }

    /// A timeline's history file.
    pub fn history(&self, name: String, content: Vec<u8>) {
        self.send(Job::History(name, content));
    }

    /// These segments of a timeline are neither in the repository nor on the server. What is sent after it is
    /// stored after it.
    pub fn missed(&self, timeline: u32, size: SegmentSize, numbers: RangeInclusive<u64>) {
        self.send(Job::Missed(timeline, size, numbers));
    }

    /// Files that wait for the repository.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Fails if the repository refused something.
    pub fn check(&self) -> Result<(), Error> {
        if !self.shared.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let failure = self.shared.failure.lock().ok().and_then(|mut failure| failure.take());
        Err(failure.unwrap_or(repo::Error::Worker.into()))
    }

    /// Ends the thread: after everything is stored, or as soon as can be; the spool has the rest.
    pub fn finish(&self, all: bool) -> Result<(), Error> {
        if !all {
            self.shared.failed.store(true, Ordering::Relaxed);
        }
        if let Ok(mut jobs) = self.jobs.lock() {
            jobs.take();
        }
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if thread.is_some_and(|thread| thread.join().is_err()) {
            return Err(repo::Error::Worker.into());
        }
        let failure = self.shared.failure.lock().ok().and_then(|mut failure| failure.take());
        failure.map_or(Ok(()), Err)
    }

    fn send(&self, job: Job) {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        if let Ok(jobs) = self.jobs.lock()
            && let Some(jobs) = &*jobs
        {
            // The queue is closed only after the last send.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        let _ = self.finish(false);
    }
}

impl Shared {
    fn run(&self, queue: &Receiver<Job>) {
        for job in queue {
            if let Err(error) = self.store_at_last(&job) {
                if let Ok(mut failure) = self.failure.lock() {
                    failure.get_or_insert(error);
                }
                self.failed.store(true, Ordering::Relaxed);
            }
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Stores a file, however long the repository is away.
    fn store_at_last(&self, job: &Job) -> Result<(), Error> {
        let mut pause = PAUSE.0;
        loop {
            // What is in the spool stays there, for the next run.
            if self.failed.load(Ordering::Relaxed) || self.cancel.is_cancelled() {
                return Ok(());
            }
            match self.store(job) {
                Ok(()) => {
                    if pause > PAUSE.0 {
                        self.monitor.note("the repository takes WAL again");
                    }
                    return Ok(());
                }
                Err(error) if is_away(&error) => {
                    if pause == PAUSE.0 {
                        self.monitor
                            .warn(&format!("{error}; WAL stays in the spool until the repository takes it"));
                    }
                    pause = (pause * 2).min(PAUSE.1);
                    sleep(pause, &self.cancel);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn store(&self, job: &Job) -> Result<(), Error> {
        let owner = Owner { system: Some(self.system), version: None };
        let (name, bytes, spooled) = match job {
            Job::Partial(name) => return self.store_received(*name, owner),
            Job::Whole(name) => {
                let text = name.to_string();
                (WalName::Segment(*name), self.spool.read(&self.repo, &text)?, Some(text))
            }
            Job::History(name, content) => match WalName::parse(name) {
                Some(name) => (name, content.clone(), None),
                None => return Ok(()),
            },
            Job::Missed(timeline, size, numbers) => {
                return record::record_missed(&self.repo, self.system, *timeline, *size, numbers.clone());
            }
        };
        let pushed = store(&self.repo, &check(name, owner, bytes)?)?;
        self.monitor.add(Count::StoredBytes, pushed.stored.unwrap_or(0));
        if let Some(text) = spooled {
            self.spool.remove(&text)?;
        }
        if let Some((timeline, size, numbers)) = record::due(&pushed)
            && let Err(error) = record::record(&self.repo, self.system, timeline, size, numbers)
        {
            self.monitor.warn(&format!("{name} is stored, but the ledger was not written: {error}"));
        }
        Ok(())
    }

    /// Stores the segment in which a timeline was left, which need not be what the server that goes on archives
    /// of it: that one may have had less of it, or more.
    fn store_received(&self, name: SegmentName, owner: Owner) -> Result<(), Error> {
        let text = name.to_string();
        let mut bytes = self.spool.read(&self.repo, &text)?;
        if !bytes.is_empty() {
            // As long as a segment is.
            let size = SegmentHeader::read(&bytes).map(|header| header.size.bytes());
            bytes.resize(size.map_or(bytes.len(), |size| size as usize), 0);
            let pushed = store_received(&self.repo, name, owner, bytes)?;
            self.monitor.add(Count::StoredBytes, pushed.stored.unwrap_or(0));
        }
        Ok(self.spool.remove(&text)?)
    }
}

/// Whether the repository may take it later.
pub(super) fn is_away(error: &Error) -> bool {
    matches!(error, Error::Repo(repo::Error::NoRepository { .. } | repo::Error::Storage(_)))
}
