//! Keeps transfers under a number of bytes per second, up and down apart.
//!
//! [`Limiter`] does the arithmetic and the waiting. Backends that send in small pieces ask it piece
//! by piece; [`Limit`] asks it call by call for those that do not.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::error::Error;
use super::{Backend, Context, CreateIfAbsent, Entry};
use crate::base::clock::Timestamp;

/// Time that may be made up after a pause in sending.
const BURST: Duration = Duration::from_millis(200);

/// A rate in one direction, shared by everything that transfers.
#[derive(Debug)]
pub(super) struct Bucket {
    bytes_per_second: u64,
    burst: Duration,
    /// When everything that was asked for so far will have been sent at the rate.
    sent_at: Mutex<Duration>,
}

impl Bucket {
    /// A rate at which a pause of up to `burst` may be made up.
    pub(super) fn new(bytes_per_second: u64, burst: Duration) -> Self {
        Bucket { bytes_per_second: bytes_per_second.max(1), burst, sent_at: Mutex::default() }
    }

    /// Books `bytes` at the time `now` and returns how long the transfer has to take.
    pub(super) fn book(&self, now: Duration, bytes: u64) -> Duration {
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut sent_at = self.sent_at.lock().unwrap_or_else(PoisonError::into_inner);
        *sent_at = (*sent_at).max(now.saturating_sub(self.burst)) + takes;
        sent_at.saturating_sub(now)
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the backend.
    Up,
    /// From the backend.
    Down,
}

/// The limits of one process, shared by its backends.
#[derive(Debug)]
pub struct Limiter {
    up: Option<Bucket>,
    down: Option<Bucket>,
    context: Context,
}

impl Limiter {
    /// Limits in bytes per second; none where there is no number.
    pub fn new(up: Option<u64>, down: Option<u64>, context: &Context) -> Self {
        let bucket = |rate| Bucket::new(rate, BURST);
        Limiter { up: up.map(bucket), down: down.map(bucket), context: context.clone() }
    }

    /// Whether it limits anything.
    pub fn is_limiting(&self) -> bool {
        self.up.is_some() || self.down.is_some()
    }

    /// Books `bytes` and returns how long their transfer has to take.
    pub fn book(&self, direction: Direction, bytes: u64) -> Duration {
        let bucket = match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        bucket.as_ref().map_or(Duration::ZERO, |bucket| bucket.book(self.context.timer.elapsed(), bytes))
    }

    /// Books `bytes` and waits as long as their transfer has to take, or until it is cancelled.
    pub fn wait(&self, direction: Direction, bytes: u64) {
        let time = self.book(direction, bytes);
        if !time.is_zero() {
            self.context.timer.sleep(time, &self.context.cancel);
        }
    }
}

/// A backend whose calls keep to a limiter.
#[derive(Debug)]
pub struct Limit {
    inner: Arc<dyn Backend>,
    limiter: Arc<Limiter>,
}

impl Limit {
    /// `inner`, held back by `limiter`.
    pub fn new(inner: Arc<dyn Backend>, limiter: Arc<Limiter>) -> Self {
        Limit { inner, limiter }
    }

    fn wait(&self, action: &'static str, name: &str, way: Direction, bytes: usize) -> Result<(), Error> {
        self.limiter.wait(way, bytes as u64);
        self.limiter.context.check(action, name, &*self.inner)
    }
}

impl Backend for Limit {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create_if_absent(&self) -> CreateIfAbsent {
        self.inner.create_if_absent()
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        let bytes = self.inner.get(name, max)?;
        self.wait("read", name, Direction::Down, bytes.len())?;
        Ok(bytes)
    }

    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        let start = into.len();
        self.inner.get_range(name, range, into)?;
        self.wait("read", name, Direction::Down, into.len() - start)
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.wait("create", name, Direction::Up, bytes.len())?;
        self.inner.put_new(name, bytes)
    }

    fn prepare(&self, name: &str) -> Result<(), Error> {
        self.inner.prepare(name)
    }

    fn make_durable(&self, name: &str) -> Result<(), Error> {
        self.inner.make_durable(name)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        self.inner.list(prefix, each)
    }

    fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
        self.inner.stat(name)
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        self.inner.delete(name)
    }

    fn sweep_temporary(&self, before: Timestamp) -> Result<u64, Error> {
        self.inner.sweep_temporary(before)
    }
}
