//! `wal receive`: WAL by streaming replication, into the spool and from there into the repository.
//!
//! What is acknowledged to the server is durable: in the spool, sealed and synced. A thread behind stores whole
//! segments in the repository and takes them out of the spool; while the repository is away they stay, and
//! when the spool is full nothing more is taken, so that the server keeps the rest in its slot. Nothing here gives
//! up on a server or a repository that was there once: both are tried again until somebody stops it.
//!
//! A segment that `wal push` stored as well is the same object, and stored once.

mod skip;
mod start;
mod timeline;
mod upload;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{Cancel, Timestamp};
use crate::base::monitor::{Count, Monitor};
use crate::ops::Error;
use crate::ops::wal::receive::start::{Position, begin_at};
use crate::ops::wal::receive::upload::{Uploader, is_away};
use crate::ops::wal::refused;
use crate::postgres;
use crate::postgres::connect::Settings;
use crate::postgres::libpq::Library;
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::Replication;
use crate::postgres::replication::stream::{Event, Stream};
use crate::postgres::tools::Tools;
use crate::postgres::wal::{SegmentHeader, SegmentName, SegmentSize};
use crate::repo::wal::spool::{FRAME_MAX, Spool, SpoolFile};
use crate::repo::{self, Unlocked};

/// How long a pause between two attempts is, at least and at most.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How often the server hears how far we are when nothing happens: it gives up after a minute of silence.
const STATUS_EVERY: i64 = 10_000_000_000;
/// How long one wait for the server is.
const WAIT: Duration = Duration::from_millis(200);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ReceiveRequest {
    /// How to reach the server.
    pub settings: Settings,
    /// Where PostgreSQL's programs are; its library may lie beside them.
    pub tools: Tools,
    /// The replication slot; made if it is not there.
    pub slot: String,
    /// Where the spool is; a folder for each cluster below it.
    pub spool: PathBuf,
    /// Bytes that the spool may take.
    pub spool_limit: u64,
}

/// Receives until somebody stops it: what is in the spool then, the next run takes up.
pub fn receive(
    repo: Arc<Unlocked>,
    request: &ReceiveRequest,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<(), Error> {
    let library = Library::open(&request.tools)?;
    // Whoever cannot be reached at first is most likely named wrongly.
    let mut replication = Replication::connect(&library, &request.settings, cancel)?;
    let identity = replication.identify()?;
    let size = segment_size(&mut replication)?;
    let dir = request.spool.join(identity.system.to_string());
    let spool = Arc::new(Spool::open(&repo, &dir)?);
    let uploader = Uploader::start(repo.clone(), spool.clone(), identity.system, monitor.clone(), cancel)?;
    let mut receiver = Receiver {
        repo: &repo,
        request,
        monitor: &*monitor,
        cancel,
        system: identity.system,
        size,
        spool: &spool,
        uploader: &uploader,
        at: None,
        open: None,
        buffer: Vec::with_capacity(FRAME_MAX),
        acknowledged: Timestamp(i64::MIN),
        told: None,
    };
    receiver.take_up_spool()?;
    let mut connected = Some(replication);
    let mut pause = PAUSE.0;
    let received = loop {
        if cancel.is_cancelled() {
            break Ok(());
        }
        let before = receiver.at;
        let session = match connected.take() {
            Some(replication) => Ok(replication),
            None => Replication::connect(&library, &request.settings, cancel).map_err(Error::from),
        };
        match session.and_then(|mut replication| receiver.session(&mut replication)) {
            Ok(()) => {}
            Err(_) if cancel.is_cancelled() => break Ok(()),
            Err(error) if is_passing(&error) => {
                if pause == PAUSE.0 {
                    monitor.warn(&format!("{error}; it is tried again"));
                }
            }
            Err(error) => break Err(error),
        }
        pause = if receiver.at == before { (pause * 2).min(PAUSE.1) } else { PAUSE.0 };
        sleep(pause, cancel);
    };
    uploader.finish(false).and(received)
}

/// Stores all that a spool holds, without a server: one that is gone for good. The last segment of each
/// cluster goes in as far as it was received. Answers the files' names.
pub fn finish(
    repo: Arc<Unlocked>,
    spool: &Path,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Vec<String>, Error> {
    let mut stored = Vec::new();
    for (system, dir) in clusters(spool)? {
        let spool = Arc::new(Spool::open(&repo, &dir)?);
        let uploader = Uploader::start(repo.clone(), spool.clone(), system, monitor.clone(), cancel)?;
        for name in start::segments(&spool, &*monitor)? {
            let bytes = spool.read(&repo, &name.to_string())?;
            let header = SegmentHeader::read(&bytes).ok();
            match header.is_some_and(|header| header.size.bytes() == bytes.len() as u64) {
                true => uploader.whole(name),
                false => uploader.partial(name),
            }
            stored.push(name.to_string());
        }
        uploader.finish(true)?;
    }
    if cancel.is_cancelled() { Err(repo::Error::Interrupted.into()) } else { Ok(stored) }
}

/// The folders of clusters in a spool, with their system identifiers.
pub fn clusters(spool: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let fail = |source| Error::Input { path: spool.display().to_string(), source };
    let entries = match fs::read_dir(spool) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut clusters = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        let system = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        clusters.extend(system.map(|system| (system, path)));
    }
    clusters.sort();
    Ok(clusters)
}

/// Sleeps, unless somebody wants to stop.
pub(super) fn sleep(pause: Duration, cancel: &Cancel) {
    let tick = Duration::from_millis(50);
    let mut left = pause;
    while !left.is_zero() && !cancel.is_cancelled() {
        std::thread::sleep(left.min(tick));
        left = left.saturating_sub(tick);
    }
}

/// Whether a failure passes by itself: a server or a repository that is away, restarts, or is busy.
fn is_passing(error: &Error) -> bool {
    use postgres::error::Error::{Connect, Lost, Refused, Replication};
    is_away(error)
        || matches!(
            error,
            Error::Postgres(Connect { .. } | Lost { .. } | Refused { .. } | Replication { .. })
        )
}

fn segment_size(replication: &mut Replication) -> Result<SegmentSize, Error> {
    let bytes = replication.wal_segment_size()?;
    SegmentSize::new(bytes.into()).ok_or_else(|| refused(format!("segments of {bytes} bytes are none"), None))
}

/// A segment that is being received.
struct Open {
    name: SegmentName,
    file: SpoolFile,
}

/// Receives.
struct Receiver<'r> {
    repo: &'r Unlocked,
    request: &'r ReceiveRequest,
    monitor: &'r dyn Monitor,
    cancel: &'r Cancel,
    system: u64,
    size: SegmentSize,
    spool: &'r Spool,
    uploader: &'r Uploader,
    /// The end of what is durable in the spool, once that is known.
    at: Option<Position>,
    open: Option<Open>,
    /// What was received and is not in the spool yet: it begins at `at`.
    buffer: Vec<u8>,
    /// When the server last heard from us.
    acknowledged: Timestamp,
    /// What it heard on this connection.
    told: Option<Lsn>,
}

impl Receiver<'_> {
    /// One connection, until it ends.
    fn session(&mut self, replication: &mut Replication) -> Result<(), Error> {
        self.buffer.clear();
        self.told = None;
        let identity = replication.identify()?;
        self.check(&identity, replication)?;
        self.make_slot(replication)?;
        let mut at = begin_at(self, replication, &identity)?;
        loop {
            self.store_history(replication, at.timeline)?;
            self.at = Some(at);
            self.tell(at);
            self.monitor.phase("receiving WAL", Count::SourceBytes, None);
            let streamed = match replication.stream(Some(&self.request.slot), at.lsn, at.timeline) {
                Ok(mut stream) => match self.stream(&mut stream) {
                    Ok(Ended::Cancelled) => return Ok(stream.stop()?),
                    other => other,
                },
                Err(error) => Err(error.into()),
            };
            at = match streamed {
                Ok(Ended::Timeline(next)) => self.turn(next.timeline, next.switch)?,
                Ok(Ended::Server | Ended::Cancelled) => return Ok(()),
                Err(error) if skip::is_removed(&error) => self.skip(replication, &identity)?,
                Err(error) => return Err(error),
            };
        }
    }

    /// Takes what comes until the stream ends.
    fn stream(&mut self, stream: &mut Stream<'_>) -> Result<Ended, Error> {
        loop {
            self.uploader.check()?;
            if self.cancel.is_cancelled() {
                self.flush(Some(stream))?;
                return Ok(Ended::Cancelled);
            }
            // Looked at before a segment is begun, and not for every message: what is open may end.
            if self.open.is_none() && self.buffer.is_empty() && self.is_full()? {
                self.say_where(stream)?;
                sleep(WAIT, self.cancel);
                continue;
            }
            let wait = if self.buffer.is_empty() && self.has_told() { WAIT } else { Duration::ZERO };
            match stream.next_event(wait)? {
                Event::Data { start, bytes } => {
                    self.take(start, &bytes)?;
                    if self.buffer.len() + bytes.len() > FRAME_MAX {
                        self.flush(Some(stream))?;
                    }
                }
                Event::Keepalive { reply_now, .. } => {
                    self.flush(Some(stream))?;
                    if reply_now {
                        self.acknowledge(stream)?;
                    }
                }
                Event::Idle => {
                    self.flush(Some(stream))?;
                    self.say_where(stream)?;
                }
                Event::EndOfTimeline(next) => {
                    self.flush(None)?;
                    return Ok(Ended::Timeline(next));
                }
                Event::Stopped => {
                    self.flush(None)?;
                    return Ok(Ended::Server);
                }
            }
        }
    }

    /// Whether the spool has no room for what may come.
    fn is_full(&self) -> Result<bool, Error> {
        if self.uploader.waiting() == 0 {
            return Ok(false);
        }
        Ok(self.spool.bytes()?.saturating_add(self.size.bytes()) > self.request.spool_limit)
    }

    /// Takes bytes of WAL, which must go on where the last ended.
    fn take(&mut self, start: Lsn, mut bytes: &[u8]) -> Result<(), Error> {
        let Some(at) = self.at else { return Ok(()) };
        let expected = at.lsn.plus(self.buffer.len() as u64);
        if start != expected {
            return Err(refused(
                format!("the server sent WAL from {start} on where {expected} comes next"),
                None,
            ));
        }
        self.monitor.add(Count::SourceBytes, bytes.len() as u64);
        while !bytes.is_empty() {
            // A frame is of one segment.
            let at = self.at.map_or(0, |at| at.lsn.0) + self.buffer.len() as u64;
            let left = self.size.bytes() - at % self.size.bytes();
            let room = FRAME_MAX - self.buffer.len();
            let n = bytes.len().min(room).min(usize::try_from(left).unwrap_or(usize::MAX));
            self.buffer.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if n as u64 == left || n == room {
                self.flush(None)?;
            }
        }
        Ok(())
    }

    /// Makes durable what was received, and says so.
    fn flush(&mut self, stream: Option<&mut Stream<'_>>) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            self.keep()?;
        }
        match stream {
            // What ended with a frame or a segment was made durable without being said.
            Some(stream) if !self.has_told() => self.acknowledge(stream),
            _ => Ok(()),
        }
    }

    /// Whether the server knows how far everything is durable.
    fn has_told(&self) -> bool {
        self.told == self.at.map(|at| at.lsn)
    }

    /// Makes durable what was received.
    fn keep(&mut self) -> Result<(), Error> {
        let Some(at) = self.at else { return Ok(()) };
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(at)?,
        };
        open.file.append(self.repo.keys(), self.repo.random(), &self.buffer)?;
        self.at = Some(Position { lsn: at.lsn.plus(self.buffer.len() as u64), ..at });
        self.buffer.clear();
        if open.file.len() == self.size.bytes() {
            self.uploader.whole(open.name);
        } else {
            self.open = Some(open);
        }
        Ok(())
    }

    /// Begins the segment that `at` is the start of.
    fn begin(&self, at: Position) -> Result<Open, Error> {
        let number = self.size.number_at(at.lsn);
        let name = SegmentName::new(at.timeline, number, self.size)
            .filter(|name| name.start(self.size) == Some(at.lsn));
        let name = name.ok_or_else(|| refused(format!("no segment begins at {}", at.lsn), None))?;
        Ok(Open { name, file: self.spool.begin(&name.to_string())? })
    }

    /// Says how far everything is durable.
    fn acknowledge(&mut self, stream: &mut Stream<'_>) -> Result<(), Error> {
        let Some(at) = self.at else { return Ok(()) };
        let now = self.repo.clock().now();
        (self.acknowledged, self.told) = (now, Some(at.lsn));
        Ok(stream.send_status(at.lsn, at.lsn, Lsn(0), now, false)?)
    }

    /// The same, if it was a while ago.
    fn say_where(&mut self, stream: &mut Stream<'_>) -> Result<(), Error> {
        let now = self.repo.clock().now();
        let is_due =
            now.0.checked_sub(self.acknowledged.0).is_none_or(|ago| !(0..STATUS_EVERY).contains(&ago));
        if is_due { self.acknowledge(stream) } else { Ok(()) }
    }

    fn tell(&self, at: Position) {
        self.monitor.note(&format!(
            "receiving WAL of cluster {} on timeline {} from {} on, by the slot {}",
            self.system, at.timeline, at.lsn, self.request.slot
        ));
    }
}

/// Why a stream ended.
enum Ended {
    Timeline(postgres::replication::stream::Next),
    Server,
    Cancelled,
}
