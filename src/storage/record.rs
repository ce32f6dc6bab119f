//! Writes down every call on a backend, so that tests and benchmarks can count the work that was
//! done and not only look at its result.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::{Error, ErrorKind};
use super::{Backend, CreateIfAbsent, Entry};
use crate::base::clock::Timestamp;

/// An operation of [`Backend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// [`Backend::get`].
    Get,
    /// [`Backend::get_range`].
    GetRange,
    /// [`Backend::put_new`].
    Put,
    /// [`Backend::make_durable`].
    MakeDurable,
    /// [`Backend::list`].
    List,
    /// [`Backend::stat`].
    Stat,
    /// [`Backend::delete`].
    Delete,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was called.
    pub op: Op,
    /// On which object, or below which prefix.
    pub name: String,
    /// Bytes read or written; entries for a listing.
    pub amount: u64,
    /// How it failed, if it did.
    pub failed: Option<ErrorKind>,
}

/// Calls of one kind added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Calls, failed ones too.
    pub calls: u64,
    /// Bytes read or written; entries for listings.
    pub amount: u64,
}

#[derive(Debug, Default)]
struct Log {
    calls: Vec<Call>,
    totals: BTreeMap<Op, Total>,
}

/// A backend that writes down its calls.
#[derive(Debug)]
pub struct Record {
    inner: Arc<dyn Backend>,
    keeps_calls: bool,
    log: Mutex<Log>,
}

impl Record {
    /// `inner`, with every call kept.
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        Record { inner, keeps_calls: true, log: Mutex::default() }
    }

    /// `inner`, with totals only: for runs of millions of calls.
    pub fn totals_only(inner: Arc<dyn Backend>) -> Self {
        Record { inner, keeps_calls: false, log: Mutex::default() }
    }

    /// The calls since the last [`Record::clear`], in the order in which they ended.
    pub fn calls(&self) -> Vec<Call> {
        self.log().calls.clone()
    }

    /// The total of one operation since the last [`Record::clear`].
    pub fn total(&self, op: Op) -> Total {
        self.log().totals.get(&op).copied().unwrap_or_default()
    }

    /// Bytes read by [`Op::Get`] and [`Op::GetRange`] since the last [`Record::clear`].
    pub fn bytes_read(&self) -> u64 {
        self.total(Op::Get).amount + self.total(Op::GetRange).amount
    }

    /// Forgets the calls so far.
    pub fn clear(&self) {
        *self.log() = Log::default();
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note<T>(
        &self,
        op: Op,
        name: &str,
        result: Result<T, Error>,
        amount: impl FnOnce(&T) -> u64,
    ) -> Result<T, Error> {
        let amount = result.as_ref().map_or(0, amount);
        let mut log = self.log();
        let total = log.totals.entry(op).or_default();
        total.calls += 1;
        total.amount += amount;
        if self.keeps_calls {
            let failed = result.as_ref().err().map(|error| error.kind);
            log.calls.push(Call { op, name: name.to_owned(), amount, failed });
        }
        result
    }
}

impl Backend for Record {
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
        self.note(Op::Get, name, self.inner.get(name, max), |bytes| bytes.len() as u64)
    }

    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        let size = range.end.saturating_sub(range.start);
        self.note(Op::GetRange, name, self.inner.get_range(name, range, into), |()| size)
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.note(Op::Put, name, self.inner.put_new(name, bytes), |()| bytes.len() as u64)
    }

    fn prepare(&self, name: &str) -> Result<(), Error> {
        self.inner.prepare(name)
    }

    fn make_durable(&self, name: &str) -> Result<(), Error> {
        self.note(Op::MakeDurable, name, self.inner.make_durable(name), |()| 0)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        let mut entries = 0;
        let result = self.inner.list(prefix, &mut |entry| {
            entries += 1;
            each(entry);
        });
        self.note(Op::List, prefix, result, |()| entries)
    }

    fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
        self.note(Op::Stat, name, self.inner.stat(name), |_| 0)
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        self.note(Op::Delete, name, self.inner.delete(name), |()| 0)
    }

    fn sweep_temporary(&self, before: Timestamp) -> Result<u64, Error> {
        self.inner.sweep_temporary(before)
    }
}
