//! An export at work: entries come from the walk, wait in a window while their contents are read, and go out.

use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::monitor::{Count, Monitor};
use crate::ops::Error;
use crate::ops::export::Archive;
use crate::ops::export::content::{Content, Contents};
use crate::ops::export::report::{Broken, Ledger, Note, Report};
use crate::ops::export::sink::Sink;
use crate::ops::export::window::{Item, Window};
use crate::ops::look::{LINKS, joined, tablespace_links};
use crate::ops::snapshot::PGDATA;
use crate::repo;
use crate::repo::index::Spill;
use crate::repo::read::ChunkReader;
use crate::repo::roots::Snapshot;
use crate::vfs::{Entry, EntryKind, View};

/// What an export works with.
pub(super) struct Job<'a> {
    view: &'a View,
    snapshot: &'a Snapshot,
    archive: Box<dyn Archive>,
    sink: Sink<'a>,
    monitor: &'a dyn Monitor,
    ledger: Ledger,
    /// First names of files that have several.
    names: Spill,
    window: Window,
    /// Entries whose contents are being read.
    begun: Vec<Item>,
    contents: Contents,
    /// What is being written, by its path in the archive.
    writing: Option<Vec<u8>>,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        view: &'a View,
        reader: Arc<ChunkReader>,
        snapshot: &'a Snapshot,
        archive: Box<dyn Archive>,
        sink: Sink<'a>,
        monitor: &'a dyn Monitor,
        cancel: &'a Cancel,
    ) -> Result<Self, repo::Error> {
        let (ledger, window, names) = (Ledger::default(), Window::default(), Spill::new()?);
        let (begun, writing) = (Vec::new(), None);
        let contents = Contents::new(reader, archive.holes(), cancel)?;
        Ok(Job { view, snapshot, archive, sink, monitor, ledger, names, window, begun, contents, writing })
    }

    /// Whether an entry is being written, which any error is then about.
    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Takes an entry that is at `path` below `base`, which is exported.
    pub(super) fn meet(&mut self, base: &[u8], path: &[u8], entry: &Entry) -> Result<(), Error> {
        let left_out = match entry.is_other_form() {
            true => Some(Note::OtherForm),
            false => self.archive.leaves_out(path, entry),
        };
        if let Some(note) = left_out {
            self.ledger.note(note, path);
            return Ok(());
        }
        if entry.meta.problem.is_some() {
            self.ledger.note(Note::Incomplete, path);
        }
        self.add(path, entry.clone())?;
        match entry.kind {
            EntryKind::Directory => self.links(&joined(base, path), path),
            _ => Ok(()),
        }
    }

    /// Adds the links to tablespaces, if `full` is the path in the snapshot of their folder, whose path in the
    /// archive is `path`.
    pub(super) fn links(&mut self, full: &[u8], path: &[u8]) -> Result<(), Error> {
        if self.snapshot.root.base.is_none() || full != [PGDATA, LINKS].join("/").as_bytes() {
            return Ok(());
        }
        for link in tablespace_links(self.snapshot) {
            let path = joined(path, &link.name);
            self.ledger.note(Note::Tablespaces, &path);
            self.add(&path, self.view.entry(link)?)?;
        }
        Ok(())
    }

    fn add(&mut self, path: &[u8], entry: Entry) -> Result<(), Error> {
        let first = match &entry.meta.link_group {
            Some(group) => self.first_name(group, path)?,
            None => None,
        };
        self.window.add(Item { path: path.to_vec(), entry, first });
        if self.window.is_full() { self.turn() } else { Ok(()) }
    }

    /// The first name of a file that has several, of which `path` is one; nothing if that is itself the first, or
    /// the archive cannot say so.
    fn first_name(&mut self, group: &[u8], path: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let Some(first) = self.names.get(group)? else {
            self.names.put(group, path)?;
            return Ok(None);
        };
        if !self.archive.links() {
            self.ledger.note(Note::Copied, path);
            return Ok(None);
        }
        Ok(Some(first))
    }

    /// Begins to read what waits, and writes what was read before it.
    fn turn(&mut self) -> Result<(), Error> {
        let (items, lists) = self.window.take();
        self.contents.expect(lists);
        let begun = std::mem::replace(&mut self.begun, items);
        self.write(begun)
    }

    /// Writes all that waits.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.turn()?;
        self.turn()
    }

    fn write(&mut self, items: Vec<Item>) -> Result<(), Error> {
        for item in items {
            self.view.check()?;
            self.monitor.item(&String::from_utf8_lossy(&item.path));
            let mut content = Content::new(&mut self.contents, self.view, &item.entry, self.monitor);
            let added = self.archive.add(&item, &mut content, &mut self.sink, &mut self.ledger);
            if let Err(error) = added {
                self.writing = Some(item.path);
                return Err(error);
            }
            self.monitor.add(Count::Items, 1);
            self.ledger.report.entries += 1;
            if item.is_file() {
                self.ledger.report.bytes += item.entry.size.unwrap_or(0);
            }
        }
        Ok(())
    }

    /// Writes what is left and the end.
    pub(super) fn finish(mut self) -> Result<Report, Broken> {
        let ended = self.flush().and_then(|()| self.archive.finish(&mut self.sink));
        match ended.and_then(|()| self.sink.finish()) {
            Ok(()) => Ok(Report { written: self.sink.written(), ..self.ledger.report }),
            Err(error) => Err(self.broken(error, None)),
        }
    }

    /// Ends it for the reason that `error` says, which is about `path` of the archive or about what is being
    /// written.
    pub(super) fn broken(mut self, error: Error, path: Option<Vec<u8>>) -> Broken {
        let path = path.or(self.writing.take());
        // If that cannot be written either, nobody reads it.
        if !matches!(error, Error::Output { .. }) && self.sink.position() > 0 {
            let _ = self.archive.break_off(&mut self.sink).and_then(|()| self.sink.finish());
        }
        Broken { error: Box::new(error), path, written: self.sink.written() }
    }
}
