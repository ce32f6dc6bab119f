//! Entries of a snapshot as entries of a tar.

use crate::archive::tar::{self, Attribute, Entry, Kind, Map};
use crate::base::clock::Timestamp;
use crate::format::node::FileMeta;
use crate::ops::Error;
use crate::ops::export::content::{Content, Holes};
use crate::ops::export::holes::{self, Part, Parts};
use crate::ops::export::report::{Ledger, Note};
use crate::ops::export::sink::Sink;
use crate::ops::export::window::Item;
use crate::ops::export::{Archive, mode};
use crate::vfs::{self, EntryKind};

/// Writes a tar.
pub(super) struct Tar {
    /// When things are from of which nobody says so.
    time: Timestamp,
    /// Whether times of birth and flags are written, of which GNU tar says that it does not know them.
    libarchive: bool,
    /// Whether the bytes of a file are to come, of which the header is written.
    owes: bool,
}

impl Tar {
    pub(super) fn new(time: Timestamp, libarchive: bool) -> Self {
        Tar { time, libarchive, owes: false }
    }

    /// What the header says of an entry.
    fn entry<'i>(&self, item: &'i Item) -> Option<Entry<'i>> {
        let meta = &item.entry.meta;
        let kind = if item.first.is_some() { Kind::HardLink } else { kind(item.entry.kind, meta)? };
        let link = item.first.as_deref().or(meta.link_target.as_deref()).unwrap_or_default();
        let attribute =
            |xattr: &'i crate::format::node::Xattr| Attribute { name: &xattr.name, value: &xattr.value };
        Some(Entry {
            link,
            size: item.entry.size.unwrap_or(0),
            mode: mode(&item.entry),
            uid: meta.uid.unwrap_or(0),
            gid: meta.gid.unwrap_or(0),
            user: meta.user.as_deref(),
            group: meta.group.as_deref(),
            atime: meta.atime,
            btime: meta.btime.filter(|_| self.libarchive),
            flags: meta.inode_flags.filter(|_| self.libarchive).unwrap_or(0),
            attributes: meta.xattrs.iter().map(attribute).collect(),
            ..Entry::new(&item.path, kind, meta.mtime.unwrap_or(self.time))
        })
    }
}

impl Archive for Tar {
    fn links(&self) -> bool {
        true
    }

    fn holes(&self) -> Holes {
        Holes::Skip
    }

    fn leaves_out(&self, _: &[u8], entry: &vfs::Entry) -> Option<Note> {
        match entry.kind {
            EntryKind::Socket => Some(Note::Socket),
            EntryKind::Other => Some(Note::Unknown),
            _ => None,
        }
    }

    fn add(
        &mut self,
        item: &Item,
        content: &mut Content<'_>,
        sink: &mut Sink<'_>,
        _: &mut Ledger,
    ) -> Result<(), Error> {
        let Some(mut entry) = self.entry(item) else { return Ok(()) };
        if entry.kind != Kind::File {
            entry.write(sink.head());
            return sink.settle();
        }
        entry.size = content.size()?;
        let map = match item.entry.node() {
            Some(node) => holes::map(&content.reader(), node)?,
            None => None,
        };
        entry.packed = map.map(|map| map.packed());
        entry.write(sink.head());
        let stored = entry.stored();
        self.owes = stored > 0;
        match map {
            Some(map) => packed(&map, item, content, sink)?,
            None => content.all(&mut |bytes| sink.bytes(bytes))?,
        }
        tar::pad(stored, sink.head());
        self.owes = false;
        sink.settle()
    }

    fn finish(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        tar::finish(sink.position(), sink.head());
        Ok(())
    }

    fn break_off(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        // Who waits for the bytes of a file sees that they are missing, and would take anything for them.
        if !self.owes {
            tar::break_off(sink.head());
        }
        Ok(())
    }
}

/// Writes the map of a file with holes, and its data.
fn packed(map: &Map, item: &Item, content: &mut Content<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
    let Some(node) = item.entry.node() else { return Ok(()) };
    let reader = content.reader();
    map.begin(sink.head());
    let mut done = Ok(());
    holes::spans(&reader, node, &mut |offset, len| {
        Map::span(offset, len, sink.head());
        if done.is_ok() {
            done = sink.settle();
        }
    })?;
    done?;
    tar::pad(map.len(), sink.head());
    let mut parts = Parts::new(&reader, node);
    while let Some(part) = parts.next()? {
        match part {
            Part::Data(len) => content.take(len, &mut |bytes| sink.bytes(bytes))?,
            Part::Zeros(len) => sink.zeros(len)?,
            Part::Gap(_) => {}
        }
    }
    Ok(())
}

/// What tar calls a kind of entry; nothing if it has no place for it.
fn kind(kind: EntryKind, meta: &FileMeta) -> Option<Kind> {
    let device = meta.device.unwrap_or(0);
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    match kind {
        EntryKind::Directory => Some(Kind::Directory),
        EntryKind::File => Some(Kind::File),
        EntryKind::Symlink => Some(Kind::Symlink),
        EntryKind::Fifo => Some(Kind::Fifo),
        EntryKind::CharDevice => Some(Kind::CharDevice(major, minor)),
        EntryKind::BlockDevice => Some(Kind::BlockDevice(major, minor)),
        EntryKind::Socket | EntryKind::Other => None,
    }
}
