//! The bytes of files, in the order in which the archive has them.

use std::io::{self, Write};
use std::sync::Arc;

use crate::base::class::Class;
use crate::base::clock::Cancel;
use crate::base::monitor::{Count, Monitor, Silent};
use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::ops::Error;
use crate::repo;
use crate::repo::read::{ChunkReader, ContentReader, Entries};
use crate::vfs::{Entry, View};

/// What becomes of holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holes {
    /// They are passed over.
    Skip,
    /// They are read as zeros.
    Zeros,
}

/// Takes bytes.
pub(super) type Take<'t> = &'t mut dyn FnMut(&[u8]) -> Result<(), Error>;

/// The contents of all files.
pub(super) struct Contents {
    reader: Arc<ChunkReader>,
    holes: Holes,
    cancel: Cancel,
    /// Reads them in a row; absent once it met damage.
    row: Option<ContentReader>,
}

impl Contents {
    pub(super) fn new(reader: Arc<ChunkReader>, holes: Holes, cancel: &Cancel) -> Result<Self, repo::Error> {
        let row = Some(ContentReader::endless(reader.clone(), cancel.clone())?);
        Ok(Contents { reader, holes, cancel: cancel.clone(), row })
    }

    /// Has what is in `lists` read after all that was told before.
    pub(super) fn expect(&mut self, lists: Vec<ListEntry>) {
        let entries = self.entries(lists);
        if let Some(row) = &mut self.row {
            // If it has ended, whoever comes there is told why.
            let _ = row.add(entries);
        }
    }

    /// Reads one content by itself.
    fn alone(&self, list: Vec<ListEntry>) -> Result<ContentReader, repo::Error> {
        ContentReader::new(self.reader.clone(), self.entries(list), self.cancel.clone())
    }

    fn entries(&self, lists: Vec<ListEntry>) -> Entries {
        match self.holes {
            Holes::Skip => Entries::data_only(lists),
            Holes::Zeros => Entries::new(lists),
        }
    }
}

/// The bytes of one file.
pub(super) struct Content<'c> {
    contents: &'c mut Contents,
    /// Reads this file by itself.
    alone: Option<ContentReader>,
    view: &'c View,
    entry: &'c Entry,
    monitor: &'c dyn Monitor,
    /// Bytes that were taken.
    taken: u64,
}

impl<'c> Content<'c> {
    pub(super) fn new(
        contents: &'c mut Contents,
        view: &'c View,
        entry: &'c Entry,
        monitor: &'c dyn Monitor,
    ) -> Self {
        Content { contents, alone: None, view, entry, monitor, taken: 0 }
    }

    /// What reads lists.
    pub(super) fn reader(&self) -> Arc<ChunkReader> {
        self.contents.reader.clone()
    }

    /// All of a file that is taken as it is.
    pub(super) fn all(&mut self, each: Take<'_>) -> Result<(), Error> {
        let size = self.size()?;
        match self.entry.node() {
            Some(_) => self.take(size, each),
            None => self.make(size, each),
        }
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> Result<u64, repo::Error> {
        let unknown = || repo::Error::damaged(self.name(), "its length cannot be found out");
        self.entry.size.ok_or_else(unknown)
    }

    fn name(&self) -> String {
        String::from_utf8_lossy(&self.entry.name).into_owned()
    }

    /// The next `len` bytes of what is stored.
    pub(super) fn take(&mut self, len: u64, each: Take<'_>) -> Result<(), Error> {
        let mut left = len;
        while left > 0 {
            if self.alone.is_none() && self.contents.row.is_none() {
                self.go_alone()?;
            }
            let is_alone = self.alone.is_some();
            let read = match (&mut self.alone, &mut self.contents.row) {
                (Some(reader), _) | (None, Some(reader)) => reader.next_at_most(left),
                (None, None) => Err(repo::Error::Worker),
            };
            match read {
                Ok([]) => return Err(repo::Error::damaged(self.name(), "its content ends early").into()),
                Ok(bytes) => {
                    each(bytes)?;
                    let len = bytes.len() as u64;
                    (left, self.taken) = (left - len, self.taken + len);
                    self.monitor.add(Count::DoneBytes, len);
                }
                // The damage may be that of a file to come.
                Err(error) if !is_alone && error.class() == Class::Damaged => self.contents.row = None,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads this file by itself from where it is.
    fn go_alone(&mut self) -> Result<(), Error> {
        let content = self.entry.node().map(|node: &Node| node.content.clone()).unwrap_or_default();
        let mut alone = self.contents.alone(content)?;
        let mut left = self.taken;
        while left > 0 {
            match alone.next_at_most(left)?.len() as u64 {
                0 => return Err(repo::Error::Worker.into()),
                len => left -= len,
            }
        }
        self.alone = Some(alone);
        Ok(())
    }

    /// A file that is made while it is read.
    fn make(&mut self, size: u64, each: Take<'_>) -> Result<(), Error> {
        let mut out = Exactly { each, left: size, failed: None, monitor: self.monitor };
        let made = self.view.write(self.entry, &mut out, &Silent);
        let (left, failed) = (out.left, out.failed);
        match (failed, made) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(_)) if left == 0 => Ok(()),
            (None, Ok(_)) => {
                let reason = format!("it ends {left} bytes before the length that the snapshot says");
                Err(repo::Error::damaged(self.name(), reason).into())
            }
        }
    }
}

/// Passes on as many bytes as were announced.
struct Exactly<'a> {
    each: Take<'a>,
    left: u64,
    failed: Option<Error>,
    monitor: &'a dyn Monitor,
}

impl Write for Exactly<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len() as u64;
        let passed = match self.left.checked_sub(len) {
            Some(left) => {
                self.left = left;
                (self.each)(bytes)
            }
            None => {
                let reason = "it is longer than the snapshot says";
                Err(repo::Error::damaged("what is made of the snapshot", reason).into())
            }
        };
        passed.map_err(|error| {
            self.failed = Some(error);
            io::Error::other("not passed on")
        })?;
        self.monitor.add(Count::DoneBytes, len);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
