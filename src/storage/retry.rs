//! Tries again what failed for a passing reason, with growing pauses, until a deadline.
//!
//! Only [`ErrorKind::Temporary`] is tried again: a full disk, a refusal or a missing object stays
//! what it is. A creation that was tried again may meet its own object, which the backend below
//! answers by comparing (I-4); one whose last reply was lost is looked for before it counts as failed.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Error, ErrorKind};
use super::{Backend, Context, CreateIfAbsent, Entry};
use crate::base::clock::Timestamp;

/// How long and how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Pause before the second attempt; doubled for each further one.
    pub delay_first: Duration,
    /// Longest pause.
    pub delay_max: Duration,
    /// No attempt begins this long after the operation did, but for the first few.
    pub deadline: Duration,
    /// Attempts that are made whatever the time: on a slow link one may take as long as the deadline.
    pub attempts_min: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            delay_first: Duration::from_millis(250),
            delay_max: Duration::from_secs(20),
            deadline: Duration::from_secs(300),
            attempts_min: 3,
        }
    }
}

/// A backend whose temporary failures are tried again.
#[derive(Debug)]
pub struct Retry {
    inner: Arc<dyn Backend>,
    policy: RetryPolicy,
    context: Context,
}

impl Retry {
    /// `inner`, tried again by `policy`.
    pub fn new(inner: Arc<dyn Backend>, policy: RetryPolicy, context: &Context) -> Self {
        Retry { inner, policy, context: context.clone() }
    }

    fn run<T>(
        &self,
        action: &'static str,
        object: &str,
        mut attempt: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let began = self.context.timer.elapsed();
        let mut made = 0;
        loop {
            self.context.check(action, object, &*self.inner)?;
            let mut error = match attempt() {
                Err(error) if error.kind == ErrorKind::Temporary => error,
                result => return result,
            };
            made += 1;
            let pause = self.pause(made);
            let past = self.context.timer.elapsed().saturating_sub(began) + pause;
            if made >= self.policy.attempts_min && past > self.policy.deadline {
                error.reason = format!("{} (tried {made} times)", error.reason);
                return Err(error);
            }
            self.context.monitor.note(&format!("trying again in {:.1} s: {error}", pause.as_secs_f64()));
            self.context.timer.sleep(pause, &self.context.cancel);
        }
    }

    /// The pause after the `made`th attempt: between half and all of the exponential one, so that
    /// many clients do not come back together.
    fn pause(&self, made: u32) -> Duration {
        let full = self.policy.delay_first.saturating_mul(1 << (made - 1).min(16)).min(self.policy.delay_max);
        let mut random = [0u8; 2];
        // Without randomness the pause is merely not spread.
        let _ = getrandom::fill(&mut random);
        full / 2 + (full / 2).mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
    }

    /// Whether `name` holds `bytes` after all.
    fn is_there(&self, name: &str, bytes: &[u8]) -> bool {
        let size = bytes.len() as u64;
        matches!(self.inner.get(name, size), Ok(there) if there == bytes)
    }
}

impl Backend for Retry {
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
        self.run("read", name, || self.inner.get(name, max))
    }

    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        let start = into.len();
        self.run("read", name, || {
            into.truncate(start);
            self.inner.get_range(name, range.clone(), into)
        })
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        match self.run("create", name, || self.inner.put_new(name, bytes)) {
            Err(error) if error.kind == ErrorKind::Temporary && self.is_there(name, bytes) => Ok(()),
            result => result,
        }
    }

    fn prepare(&self, name: &str) -> Result<(), Error> {
        // Tried again by `put_new`.
        self.inner.prepare(name)
    }

    fn make_durable(&self, name: &str) -> Result<(), Error> {
        self.run("sync", name, || self.inner.make_durable(name))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        // Handed on only when complete, as a second attempt begins from the start.
        let mut entries = Vec::new();
        self.run("list", prefix, || {
            entries.clear();
            self.inner.list(prefix, &mut |entry| entries.push(entry))
        })?;
        entries.into_iter().for_each(each);
        Ok(())
    }

    fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
        self.run("stat", name, || self.inner.stat(name))
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        self.run("delete", name, || self.inner.delete(name))
    }

    fn sweep_temporary(&self, before: Timestamp) -> Result<u64, Error> {
        self.run("list", "", || self.inner.sweep_temporary(before))
    }
}
