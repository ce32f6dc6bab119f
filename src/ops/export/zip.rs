//! Entries of a snapshot as entries of a zip.

use std::io::{self, Read, Seek, Write};

use tempfile::SpooledTempFile;

use crate::archive::zip::{self, Blocks, Crc, Entry, Kind, NAME_MAX};
use crate::base::clock::Timestamp;
use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::ops::Error;
use crate::ops::export::content::{Content, Holes};
use crate::ops::export::report::{Ledger, Note};
use crate::ops::export::sink::Sink;
use crate::ops::export::window::Item;
use crate::ops::export::{Archive, mode};
use crate::vfs::{self, EntryKind};

/// What of the directory stays in memory; the rest waits in a file that has no name.
const LISTED: usize = 4 << 20;
/// Bytes of it that are copied at a time.
const STEP: usize = 64 << 10;

/// Writes a zip.
pub(super) struct Zip {
    /// When things are from of which nobody says so.
    time: Timestamp,
    /// The directory, which comes at the end.
    listed: SpooledTempFile,
    entries: u64,
}

impl Zip {
    pub(super) fn new(time: Timestamp) -> Self {
        Zip { time, listed: SpooledTempFile::new(LISTED), entries: 0 }
    }

    /// The entry of an item.
    fn entry(&self, item: &Item, size: u64) -> Entry {
        let meta = &item.entry.meta;
        let kind = match item.entry.kind {
            EntryKind::Directory => Kind::Directory,
            EntryKind::Symlink => Kind::Symlink,
            _ => Kind::File,
        };
        let mtime = meta.mtime.unwrap_or(self.time);
        let (uid, gid) = (meta.uid.unwrap_or(0), meta.gid.unwrap_or(0));
        Entry { name: name(&item.path, kind), kind, size, mode: mode(&item.entry), uid, gid, mtime }
    }

    /// Takes note of what it cannot say of an entry.
    fn note(item: &Item, ledger: &mut Ledger) {
        let has_hole = |node: &Node| node.content.iter().any(|entry| matches!(entry, ListEntry::Hole { .. }));
        for (note, is_true) in [
            (Note::Renamed, std::str::from_utf8(&item.path).is_err()),
            (Note::Attributes, !item.entry.meta.xattrs.is_empty()),
            (Note::Holes, item.entry.node().is_some_and(has_hole)),
        ] {
            if is_true {
                ledger.note(note, &item.path);
            }
        }
    }

    fn list(&mut self, entry: &Entry, crc: u32, offset: u64) -> Result<(), Error> {
        let mut record = Vec::new();
        entry.listed(crc, offset, &mut record);
        self.entries += 1;
        self.listed.write_all(&record).map_err(unlisted)
    }
}

impl Archive for Zip {
    fn links(&self) -> bool {
        false
    }

    fn holes(&self) -> Holes {
        Holes::Zeros
    }

    fn leaves_out(&self, path: &[u8], entry: &vfs::Entry) -> Option<Note> {
        let kind = match entry.kind {
            EntryKind::Directory => Kind::Directory,
            EntryKind::File => Kind::File,
            EntryKind::Symlink => Kind::Symlink,
            EntryKind::Socket => return Some(Note::Socket),
            EntryKind::Other => return Some(Note::Unknown),
            EntryKind::Fifo | EntryKind::CharDevice | EntryKind::BlockDevice => return Some(Note::NotInZip),
        };
        (name(path, kind).len() > NAME_MAX).then_some(Note::LongName)
    }

    fn add(
        &mut self,
        item: &Item,
        content: &mut Content<'_>,
        sink: &mut Sink<'_>,
        ledger: &mut Ledger,
    ) -> Result<(), Error> {
        Self::note(item, ledger);
        let target = item.entry.meta.link_target.as_deref().filter(|_| item.entry.kind == EntryKind::Symlink);
        let target = target.unwrap_or_default();
        let size = if item.is_file() { content.size()? } else { target.len() as u64 };
        let (entry, offset) = (self.entry(item, size), sink.position());
        let mut crc = Crc::of(target);
        entry.local(crc, sink.head());
        sink.bytes(target)?;
        if entry.is_deflated() {
            crc = deflated(&entry, content, sink)?;
            entry.follow(crc, sink.head());
        }
        sink.settle()?;
        self.list(&entry, crc, offset)
    }

    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let start = sink.position();
        self.listed.rewind().map_err(unlisted)?;
        let mut step = vec![0; STEP];
        loop {
            match self.listed.read(&mut step).map_err(unlisted)? {
                0 => break,
                len => sink.bytes(&step[..len])?,
            }
        }
        zip::finish(self.entries, start, sink.position(), sink.head());
        Ok(())
    }

    /// Without its directory, a zip is not taken for whole.
    fn break_off(&mut self, _: &mut Sink<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// The name of an entry, which has to be text.
fn name(path: &[u8], kind: Kind) -> String {
    let mut name = String::new();
    for part in path.utf8_chunks() {
        name.push_str(part.valid());
        part.invalid().iter().for_each(|byte| name.push_str(&format!("%{byte:02X}")));
    }
    if kind == Kind::Directory {
        name.push('/');
    }
    name
}

/// Writes the data of a file; their sum.
fn deflated(entry: &Entry, content: &mut Content<'_>, sink: &mut Sink<'_>) -> Result<u32, Error> {
    let (mut blocks, mut crc) = (Blocks::new(entry.size), Crc::default());
    content.all(&mut |mut bytes| {
        crc.add(bytes);
        while !bytes.is_empty() {
            let (head, room) = blocks.begin();
            if let Some(head) = head {
                sink.head().extend_from_slice(&head);
            }
            let (part, rest) = bytes.split_at(bytes.len().min(room as usize));
            sink.bytes(part)?;
            blocks.passed(part.len() as u64);
            bytes = rest;
        }
        Ok(())
    })?;
    Ok(crc.finish())
}

fn unlisted(source: io::Error) -> Error {
    Error::Output { what: "the archive's directory to a temporary file".into(), source }
}
