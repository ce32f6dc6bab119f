//! Time and cancellation, handed in. No module below the command line reads a clock of its own,
//! so a test can turn time back or stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Nanoseconds since 1970-01-01T00:00:00Z; negative before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This instant plus `seconds`, saturating.
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Timestamp(self.0.saturating_add(seconds.saturating_mul(1_000_000_000)))
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The present time. May go backwards: nothing's safety may rest on it.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now();
        let nanos = match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
        };
        Timestamp(nanos)
    }
}

/// A flag that asks everything that works on its behalf to stop soon. Cloning shares the flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    raised: Arc<AtomicBool>,
    spared: Arc<AtomicBool>,
}

impl Cancel {
    /// A flag that nobody has raised yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A cancel that shares `flag`, for signal handlers that can only store to an atomic.
    pub fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Cancel { raised: flag, spared: Arc::default() }
    }

    /// Ask to stop. Idempotent.
    pub fn cancel(&self) {
        self.raised.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.raised.load(Ordering::Relaxed) && !self.spared.load(Ordering::Relaxed)
    }

    /// Whether somebody asked to stop since this was asked last, also if it is spared; then the wish is
    /// thereby heard, and the flag down.
    pub fn take(&self) -> bool {
        self.raised.swap(false, Ordering::SeqCst)
    }

    /// With `true`, the wish to stop is not heard until this is called with `false`: for the few
    /// requests that leave a place tidy, when everything else has stopped.
    pub fn spare(&self, spared: bool) {
        self.spared.store(spared, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_is_not_heard_while_it_is_spared() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        other.spare(true);
        other.cancel();
        assert!(!cancel.is_cancelled());
        other.spare(false);
        assert!(cancel.is_cancelled());
    }

    #[test]
    fn a_wish_to_stop_is_taken_once() {
        let cancel = Cancel::new();
        cancel.spare(true);
        assert!(!cancel.take());
        cancel.clone().cancel();
        assert!(cancel.take() && !cancel.take());
    }
}
