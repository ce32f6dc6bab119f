//! What an export tells: what it wrote, and what it left out or could not say.

use std::collections::BTreeMap;

use crate::ops::Error;
use crate::repo;

/// Why something is not in the archive as it is in the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Note {
    /// A socket was left out: no archive has a place for it.
    Socket,
    /// What a later version of this program stored was left out.
    Unknown,
    /// A file was left out that holds only what another one beside it holds.
    OtherForm,
    /// The snapshot does not have all of it.
    Incomplete,
    /// A server that starts on the exported cluster would look for its tablespaces where they were.
    Tablespaces,
    /// A device or a named pipe was left out of a zip.
    NotInZip,
    /// A name that is longer than a zip may have was left out with all that has it.
    LongName,
    /// A further name of a file is a file of its own.
    Copied,
    /// Attributes and access lists are missing.
    Attributes,
    /// Holes are zeros.
    Holes,
    /// What is no text in a name is written as `%FF`.
    Renamed,
}

/// How often a note was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Of how many entries.
    pub count: u64,
    /// The path in the archive of the first of them.
    pub first: Vec<u8>,
}

/// What an export did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of the files in it.
    pub bytes: u64,
    /// Bytes of the archive.
    pub written: u64,
    /// What is to be known of it.
    pub notes: BTreeMap<Note, Noted>,
}

/// An export that came to no end.
#[derive(Debug)]
pub struct Broken {
    /// Why.
    pub error: Box<Error>,
    /// At what path of the snapshot, if it is about one.
    pub path: Option<Vec<u8>>,
    /// Bytes that were written before.
    pub written: u64,
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Broken { error: Box::new(error), path: None, written: 0 }
    }
}

impl From<repo::Error> for Broken {
    fn from(error: repo::Error) -> Self {
        Error::from(error).into()
    }
}

/// A report in the making.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) report: Report,
}

impl Ledger {
    /// Takes a note of the entry at `path`.
    pub(super) fn note(&mut self, note: Note, path: &[u8]) {
        let noted = self.report.notes.entry(note).or_default();
        if noted.count == 0 {
            noted.first = path.to_vec();
        }
        noted.count += 1;
    }
}
