//! Create-if-absent for services that have no such operation: look first, then write. Two creators
//! of one name at the same instant may both succeed, and the later one's bytes stay; the layers
//! above know that by [`CreateIfAbsent::LookFirst`] and behave accordingly.

use std::fmt::Debug;
use std::ops::{Deref, Range};
use std::sync::Arc;

use super::error::Error;
use super::{Backend, CreateIfAbsent, Entry};
use crate::base::clock::Timestamp;

/// A backend, owned or borrowed, that looks whether a name is free before it writes to it.
#[derive(Debug)]
pub struct LookFirst<B = Arc<dyn Backend>> {
    inner: B,
}

impl<B> LookFirst<B> {
    /// `inner`, whose `put_new` may overwrite.
    pub fn new(inner: B) -> Self {
        LookFirst { inner }
    }
}

impl<B: Deref<Target: Backend> + Send + Sync + Debug> Backend for LookFirst<B> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create_if_absent(&self) -> CreateIfAbsent {
        CreateIfAbsent::LookFirst
    }

    fn is_local(&self) -> bool {
        self.inner.is_local()
    }

    fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        self.inner.get(name, max)
    }

    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        self.inner.get_range(name, range, into)
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let size = bytes.len() as u64;
        match self.inner.stat(name).map_err(|error| Error { action: "create", ..error })? {
            None => self.inner.put_new(name, bytes),
            Some(there) if there == size && self.inner.get(name, size)? == bytes => Ok(()),
            Some(_) => Err(Error::exists(name, self.location())),
        }
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
