//! Finds out what a backend really does, for `init`: some services accept the header that makes a
//! creation exclusive and ignore it, so no claim is believed.
//!
//! Works through [`Backend`] alone, on objects below `probe/` that it removes again.

use std::sync::Barrier;
use std::thread;

use super::error::{Error, ErrorKind};
use super::{Backend, CreateIfAbsent};
use crate::base::id::hex;

/// How creation of a name that is taken turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Refused, and of several creators at once exactly one succeeded.
    Atomic,
    /// Refused when the object was there before; creators at the same instant may both succeed.
    LookFirst,
    /// Not refused: the earlier object was overwritten.
    Ignored,
}

/// What a backend was seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What became of a second creation of one name.
    pub create_if_absent: Probed,
    /// Whether a listing showed an object just created, with its size.
    pub list_after_write: bool,
    /// Whether an object just created was read back whole and in part.
    pub read_back: bool,
    /// Whether a deleted object was gone at once. False too where deleting is not allowed.
    pub delete: bool,
}

/// Rounds of creators at once: one alone may pass by luck.
const ROUNDS: usize = 3;
const CREATORS: usize = 4;

/// Probes `backend`. Fails only if the backend does: what it lacks is in the answer.
pub fn probe(backend: &dyn Backend) -> Result<Probe, Error> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|error| {
        Error::new(ErrorKind::Other, "open", "", backend.location(), format!("no randomness: {error}"))
    })?;
    let place = format!("probe/{}", hex(&random));
    let found = Prober { backend, place }.run();
    if found.is_err() {
        // What is left of it: best effort, the first error is what matters.
        let mut left = Vec::new();
        let _ = backend.list("probe/", &mut |entry| left.push(entry.name));
        for name in left.iter().filter(|name| name.contains(&hex(&random))) {
            let _ = backend.delete(name);
        }
    }
    found
}

struct Prober<'a> {
    backend: &'a dyn Backend,
    place: String,
}

impl Prober<'_> {
    fn run(&self) -> Result<Probe, Error> {
        let name = format!("{}-a", self.place);
        let (first, second) =
            (b"the first of two objects".as_slice(), b"another of the same name".as_slice());
        self.backend.put_new(&name, first)?;
        let listed = self.lists(&name, first.len() as u64)?;
        let refused = match self.backend.put_new(&name, second) {
            Ok(()) => false,
            Err(error) if error.kind == ErrorKind::Exists => true,
            Err(error) => return Err(error),
        };
        let read_back = self.reads(&name, if refused { first } else { second })?;
        let create_if_absent = match refused {
            false => Probed::Ignored,
            // A race that went well proves nothing about a backend that says itself that it looks first.
            true if self.backend.create_if_absent() == CreateIfAbsent::LookFirst => Probed::LookFirst,
            true if self.races()? => Probed::Atomic,
            true => Probed::LookFirst,
        };
        let delete = self.deletes(&name)?;
        Ok(Probe { create_if_absent, list_after_write: listed, read_back, delete })
    }

    fn lists(&self, name: &str, size: u64) -> Result<bool, Error> {
        let mut found = false;
        self.backend.list("probe/", &mut |entry| found |= entry.name == name && entry.size == size)?;
        Ok(found)
    }

    fn reads(&self, name: &str, bytes: &[u8]) -> Result<bool, Error> {
        let mut part = Vec::new();
        let answers = || {
            let whole = self.backend.get(name, bytes.len() as u64)?;
            self.backend.get_range(name, 4..9, &mut part)?;
            Ok((whole, self.backend.stat(name)?))
        };
        let answers: Result<_, Error> = { answers }();
        match answers {
            Ok((whole, size)) => {
                Ok(whole == bytes && part == bytes[4..9] && size == Some(bytes.len() as u64))
            }
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Truncated) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether in every round exactly one of several creators at once succeeded and its bytes stayed.
    fn races(&self) -> Result<bool, Error> {
        for round in 0..ROUNDS {
            let name = format!("{}-race{round}", self.place);
            let won = self.race(&name)?;
            let winners: Vec<usize> = (0..CREATORS).filter(|creator| won[*creator]).collect();
            let exclusive = match winners.as_slice() {
                [winner] => self.backend.get(&name, 1024)? == racing_bytes(*winner),
                _ => false,
            };
            self.deletes(&name)?;
            if !exclusive {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn race(&self, name: &str) -> Result<Vec<bool>, Error> {
        let start = Barrier::new(CREATORS);
        let create = |creator| {
            start.wait();
            match self.backend.put_new(name, &racing_bytes(creator)) {
                Ok(()) => Ok(true),
                Err(error) if error.kind == ErrorKind::Exists => Ok(false),
                Err(error) => Err(error),
            }
        };
        let ended: Vec<Result<bool, Error>> = thread::scope(|scope| {
            let create = &create;
            let threads: Vec<_> = (0..CREATORS).map(|n| scope.spawn(move || create(n))).collect();
            let panicked = |_| Err(self.error("create", name, "a thread panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        });
        ended.into_iter().collect()
    }

    fn error(&self, action: &'static str, name: &str, reason: &str) -> Error {
        Error::new(ErrorKind::Other, action, name, self.backend.location(), reason)
    }

    fn deletes(&self, name: &str) -> Result<bool, Error> {
        match self.backend.delete(name) {
            Ok(()) => {}
            // An append-only place refuses, and is none the worse for it.
            Err(error) if matches!(error.kind, ErrorKind::Permission | ErrorKind::Other) => return Ok(false),
            Err(error) => return Err(error),
        }
        let mut listed = false;
        self.backend.list("probe/", &mut |entry| listed |= entry.name == name)?;
        Ok(!listed && self.backend.stat(name)?.is_none())
    }
}

fn racing_bytes(creator: usize) -> Vec<u8> {
    // Of one length, so that a backend that compares only sizes is found out too.
    format!("creator {creator:03}").into_bytes()
}
