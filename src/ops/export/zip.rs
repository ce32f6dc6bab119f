//! Entries of a snapshot as entries of a zip.

use std::io::{self, Read, Seek, Write};

use tempfile::SpooledTempFile;

use crate::archive::zip::{self, Blocks, Crc, Entry, Kind, NAME_MAX};
use crate::base::clock::Timestamp;
use crate::format::list::ListEntry;
use crate::ops::Error;
use crate::ops::export::content::{Content, Holes};
use crate::ops::export::report::{Ledger, Note};
use crate::ops::export::sink::Sink;
use crate::ops::export::window::Item;
use crate::ops::export::{Archive, mode};
use crate::vfs::EntryKind;

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

    /// The entry of an item; nothing if zip has no place for it.
    fn entry(&self, item: &Item, ledger: &mut Ledger) -> Option<Entry> {
        let meta = &item.entry.meta;
        let (kind, size) = match item.entry.kind {
            EntryKind::Directory => (Kind::Directory, 0),
            EntryKind::File => (Kind::File, item.entry.size.unwrap_or(0)),
            EntryKind::Symlink => (Kind::Symlink, meta.link_target.as_ref().map_or(0, Vec::len) as u64),
            _ => {
                ledger.note(Note::NotInZip, &item.path);
                return None;
            }
        };
        let mut name = self.name(item, ledger);
        if kind == Kind::Directory {
            name.push('/');
        }
        if name.len() > NAME_MAX {
            ledger.note(Note::LongName, &item.path);
            return None;
        }
        let mtime = meta.mtime.unwrap_or(self.time);
        let (uid, gid) = (meta.uid.unwrap_or(0), meta.gid.unwrap_or(0));
        Some(Entry { name, kind, size, mode: mode(&item.entry), uid, gid, mtime })
    }

    /// Its name, which has to be text.
    fn name(&self, item: &Item, ledger: &mut Ledger) -> String {
        if let Ok(name) = std::str::from_utf8(&item.path) {
            return name.to_owned();
        }
        ledger.note(Note::Renamed, &item.path);
        let mut name = String::new();
        for part in item.path.utf8_chunks() {
            name.push_str(part.valid());
            part.invalid().iter().for_each(|byte| name.push_str(&format!("%{byte:02X}")));
        }
        name
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

    fn add(
        &mut self,
        item: &Item,
        content: &mut Content<'_>,
        sink: &mut Sink<'_>,
        ledger: &mut Ledger,
    ) -> Result<bool, Error> {
        let Some(mut entry) = self.entry(item, ledger) else { return Ok(false) };
        if !item.entry.meta.xattrs.is_empty() {
            ledger.note(Note::Attributes, &item.path);
        }
        if let Some(node) = item.entry.node()
            && node.content.iter().any(|entry| matches!(entry, ListEntry::Hole { .. }))
        {
            ledger.note(Note::Holes, &item.path);
        }
        let offset = sink.position();
        if entry.kind == Kind::File {
            entry.size = content.size()?;
        }
        let target = match entry.kind {
            Kind::Symlink => item.entry.meta.link_target.as_deref().unwrap_or_default(),
            Kind::Directory | Kind::File => b"",
        };
        let mut crc = Crc::of(target);
        entry.local(crc, sink.head());
        sink.bytes(target)?;
        if entry.is_deflated() {
            crc = deflated(&entry, content, sink)?;
            entry.follow(crc, sink.head());
        }
        sink.settle()?;
        self.list(&entry, crc, offset)?;
        Ok(true)
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

/// Writes the data of a file; their sum.
fn deflated(entry: &Entry, content: &mut Content<'_>, sink: &mut Sink<'_>) -> Result<u32, Error> {
    let (mut blocks, mut crc) = (Blocks::new(entry.size), Crc::default());
    content.all(&mut |mut bytes| {
        crc.add(bytes);
        while !bytes.is_empty() {
            let (head, room) = blocks.next();
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
