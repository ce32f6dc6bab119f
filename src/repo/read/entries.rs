//! A content list walked in order: interior lists are fetched when they are reached, so only one
//! path from the top to a leaf is in memory, however many chunks the content has.

use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::base::limits::LIST_DEPTH_MAX;
use crate::format::list::{ListEntry, decode_list_chunk};
use crate::repo::Error;
use crate::repo::read::ChunkReader;

/// An iterator over chunks, holes and zeros.
pub struct Entries {
    /// Entries still to come, innermost list last, each list reversed.
    stack: Vec<Vec<ListEntry>>,
    /// Whether holes are passed over.
    data_only: bool,
}

impl Entries {
    /// The content whose top entries these are.
    pub fn new(mut top: Vec<ListEntry>) -> Self {
        top.reverse();
        Entries { stack: vec![top], data_only: false }
    }

    /// The same without its holes.
    pub fn data_only(top: Vec<ListEntry>) -> Self {
        Entries { data_only: true, ..Self::new(top) }
    }

    /// The next entry that is no list.
    pub fn next(&mut self, reader: &ChunkReader) -> Result<Option<ListEntry>, Error> {
        while let Some(entry) = self.peek() {
            match entry {
                ListEntry::List { .. } => self.open(reader)?,
                ListEntry::Hole { .. } if self.data_only => self.skip(),
                _ => {
                    self.skip();
                    return Ok(Some(entry));
                }
            }
        }
        Ok(None)
    }

    /// The next entry, be it a list: two contents that both have it are alike there, unread.
    pub fn peek(&mut self) -> Option<ListEntry> {
        while self.stack.last()?.is_empty() {
            self.stack.pop();
        }
        self.stack.last()?.last().copied()
    }

    /// Passes over the entry that [`Entries::peek`] showed.
    pub fn skip(&mut self) {
        if let Some(top) = self.stack.last_mut() {
            top.pop();
        }
    }

    /// Replaces the entry that [`Entries::peek`] showed by those that it lists, if it is a list.
    pub fn open(&mut self, reader: &ChunkReader) -> Result<(), Error> {
        let Some(ListEntry::List { id, len, depth }) = self.peek() else { return Ok(()) };
        self.skip();
        let mut inner = read_list(reader, &id, len, depth)?;
        inner.reverse();
        self.stack.push(inner);
        if self.stack.len() > usize::from(LIST_DEPTH_MAX) + 2 {
            return Err(bad_list(&id, "it is nested too deep"));
        }
        Ok(())
    }
}

fn bad_list(id: &ChunkId, reason: &str) -> Error {
    Error::damaged(format!("list chunk {id}"), reason)
}

/// A list chunk's entries, its promises checked.
pub fn read_list(reader: &ChunkReader, id: &ChunkId, len: u64, depth: u8) -> Result<Vec<ListEntry>, Error> {
    let bytes = reader.meta_chunk(ChunkKind::List, id)?;
    decode_list_chunk(&bytes, depth, len).map_err(Error::format(&format!("list chunk {id}")))
}
