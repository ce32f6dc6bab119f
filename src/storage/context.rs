//! What a backend is given from outside: the wish to stop, somebody to tell, and time for waiting.
//! Handed in, so that tests of retries and limits neither wait nor depend on the machine's speed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Backend;
use super::error::{Error, ErrorKind};
use crate::base::clock::Cancel;
use crate::base::monitor::{Monitor, Silent};

/// What a backend is given from outside. Cloning shares it.
#[derive(Clone)]
pub struct Context {
    /// Raised when everything is to stop.
    pub cancel: Cancel,
    /// Told about retries.
    pub monitor: Arc<dyn Monitor>,
    /// Time for pauses, deadlines and limits.
    pub timer: Arc<dyn Timer>,
}

impl Context {
    /// The operating system's time.
    pub fn new(cancel: Cancel, monitor: Arc<dyn Monitor>) -> Self {
        Context { cancel, monitor, timer: Arc::new(SystemTimer::new()) }
    }

    /// Nobody cancels, nobody listens, and time passes only by sleeping: for tests.
    pub fn simulated() -> Self {
        Context { cancel: Cancel::new(), monitor: Arc::new(Silent), timer: Arc::new(SimulatedTimer::new()) }
    }

    /// Fails if the work was cancelled.
    pub(super) fn check(
        &self,
        action: &'static str,
        object: &str,
        backend: &dyn Backend,
    ) -> Result<(), Error> {
        match self.cancel.is_cancelled() {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Cancelled, action, object, backend.location(), "interrupted")),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("cancel", &self.cancel).field("timer", &self.timer).finish()
    }
}

/// Measures and passes time.
pub trait Timer: Send + Sync + fmt::Debug {
    /// Time since some fixed moment; never goes back.
    fn elapsed(&self) -> Duration;

    /// Returns after `time`, or soon after `cancel` was raised.
    fn sleep(&self, time: Duration, cancel: &Cancel);
}

/// The operating system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemTimer(Instant);

impl SystemTimer {
    /// A timer that begins now.
    pub fn new() -> Self {
        SystemTimer(Instant::now())
    }
}

impl Default for SystemTimer {
    fn default() -> Self {
        Self::new()
    }
}

impl Timer for SystemTimer {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration, cancel: &Cancel) {
        // A cancel is a plain flag, stored by a signal handler: nothing can wait for it.
        const SLICE: Duration = Duration::from_millis(20);
        let end = Instant::now() + time;
        while !cancel.is_cancelled() {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return;
            }
            std::thread::sleep(rest.min(SLICE));
        }
    }
}

/// A timer whose time passes only by sleeping, at once.
#[derive(Debug, Default)]
pub struct SimulatedTimer(AtomicU64);

impl SimulatedTimer {
    /// A timer at zero.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Timer for SimulatedTimer {
    fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, time: Duration, cancel: &Cancel) {
        if !cancel.is_cancelled() {
            let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.0.fetch_add(nanos, Ordering::SeqCst);
        }
    }
}
