//! Objects in memory: for tests, fuzzing and benchmarks. Gone with the process, so it promises
//! everything of [`Backend`] but durability.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::{Error, ErrorKind};
use super::name;
use super::{Backend, CreateIfAbsent, Entry};

/// A backend that holds its objects in memory.
#[derive(Default)]
pub struct Memory {
    name: String,
    objects: Mutex<BTreeMap<String, Arc<[u8]>>>,
}

/// Every memory backend that was opened by name in this process, so that it can be opened again.
static NAMED: Mutex<BTreeMap<String, Arc<Memory>>> = Mutex::new(BTreeMap::new());

impl Memory {
    /// An empty backend that nobody else has.
    pub fn new() -> Self {
        Self::default()
    }

    /// The backend of this process that is called `name`, made if it is new. The empty name always
    /// makes a new one.
    pub fn named(name: &str) -> Arc<Self> {
        let make = || Arc::new(Memory { name: name.to_owned(), ..Memory::default() });
        if name.is_empty() {
            return make();
        }
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(named.entry(name.to_owned()).or_insert_with(make))
    }

    /// Replaces or adds an object whatever stands there: what damages a repository in a test.
    pub fn overwrite(&self, name: &str, bytes: &[u8]) {
        self.lock().insert(name.to_owned(), bytes.into());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<[u8]>>> {
        // Each critical section is one call on the map, so a poisoned lock guards a sound map.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Result<Arc<[u8]>, Error> {
        name::check("read", name, &self.location())?;
        let found = self.lock().get(name).cloned();
        found.ok_or_else(|| self.error(ErrorKind::NotFound, "read", name, "there is no such object"))
    }

    fn error(&self, kind: ErrorKind, action: &'static str, name: &str, reason: &str) -> Error {
        Error::new(kind, action, name, self.location(), reason)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("name", &self.name).field("objects", &self.lock().len()).finish()
    }
}

impl Backend for Memory {
    fn location(&self) -> String {
        format!("memory://{}", self.name)
    }

    fn create_if_absent(&self) -> CreateIfAbsent {
        CreateIfAbsent::Atomic
    }

    fn is_local(&self) -> bool {
        true
    }

    fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        let bytes = self.find(name)?;
        if bytes.len() as u64 > max {
            let reason = format!("it has {} bytes where at most {max} are allowed", bytes.len());
            return Err(self.error(ErrorKind::TooLarge, "read", name, &reason));
        }
        Ok(bytes.to_vec())
    }

    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        let bytes = self.find(name)?;
        let span = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let part = span.and_then(|(start, end)| bytes.get(start..end)).ok_or_else(|| {
            let reason = format!("it ends at {}, before {}", bytes.len(), range.end);
            self.error(ErrorKind::Truncated, "read", name, &reason)
        })?;
        into.extend_from_slice(part);
        Ok(())
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        name::check("create", name, &self.location())?;
        let mut objects = self.lock();
        match objects.get(name) {
            None => {
                objects.insert(name.to_owned(), bytes.into());
                Ok(())
            }
            Some(there) if **there == *bytes => Ok(()),
            Some(_) => Err(Error::exists(name, self.location())),
        }
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        name::check_prefix(prefix, &self.location())?;
        let entries: Vec<Entry> = self
            .lock()
            .range(prefix.to_owned()..)
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, bytes)| Entry { name: name.clone(), size: bytes.len() as u64 })
            .collect();
        // The lock is free again: `each` may call this backend.
        entries.into_iter().for_each(each);
        Ok(())
    }

    fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
        name::check("stat", name, &self.location())?;
        Ok(self.lock().get(name).map(|bytes| bytes.len() as u64))
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        name::check("delete", name, &self.location())?;
        self.lock().remove(name);
        Ok(())
    }
}
