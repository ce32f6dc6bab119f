//! Content lists: which chunks, holes and runs of zeros a file, a stream or a directory's listing is
//! made of. Short ones stand in their node; longer ones are cut into list chunks, by content, and
//! those again, so that a change costs as much as it touches and no list has to fit in memory.
//!
//! Storing and fetching list chunks is left to the caller.

use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::base::limits;
use crate::format::error::{Error, Reason};
use crate::format::wire::{Reader, Writer};

const WHAT: &str = "content list";
const TAG_CHUNK: u8 = 1;
const TAG_HOLE: u8 = 2;
const TAG_ZEROS: u8 = 3;
const TAG_LIST: u8 = 4;
/// A list chunk ends after an entry of which these bits of the id are zero...
const CUT_MASK: u16 = 0x1ff;
/// ...once it has so many entries.
const CUT_MIN: usize = 64;

/// A span of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListEntry {
    /// A chunk of content. Its kind is known from where the list stands.
    Chunk {
        /// Its length in bytes, at least one.
        len: u32,
        /// Its id.
        id: ChunkId,
    },
    /// Nothing is stored there: reads as zeros, and takes no space when restored.
    Hole {
        /// Its length in bytes, at least one.
        len: u64,
    },
    /// Zeros that take space in the source.
    Zeros {
        /// Its length in bytes, at least one.
        len: u64,
    },
    /// What another list chunk lists.
    List {
        /// The length in bytes of all that it lists.
        len: u64,
        /// Its depth: zero if it lists content, else one more than that of the lists it lists.
        depth: u8,
        /// The list chunk's id.
        id: ChunkId,
    },
}

impl ListEntry {
    /// Bytes of content that it stands for.
    pub fn content_len(&self) -> u64 {
        match *self {
            ListEntry::Chunk { len, .. } => len.into(),
            ListEntry::Hole { len } | ListEntry::Zeros { len } | ListEntry::List { len, .. } => len,
        }
    }

    /// The depth of a list that it may stand in.
    fn level(&self) -> u8 {
        match self {
            ListEntry::List { depth, .. } => depth.saturating_add(1),
            _ => 0,
        }
    }

    /// Whether a list chunk may end after it.
    fn ends_list(&self) -> bool {
        match self {
            ListEntry::Chunk { id, .. } | ListEntry::List { id, .. } => {
                u16::from_le_bytes([id.0[0], id.0[1]]) & CUT_MASK == 0
            }
            ListEntry::Hole { .. } | ListEntry::Zeros { .. } => false,
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        match *self {
            ListEntry::Chunk { len, id } => writer.u8(TAG_CHUNK).varint(len.into()).bytes(&id.0),
            ListEntry::Hole { len } => writer.u8(TAG_HOLE).varint(len),
            ListEntry::Zeros { len } => writer.u8(TAG_ZEROS).varint(len),
            ListEntry::List { len, depth, id } => writer.u8(TAG_LIST).varint(len).u8(depth).bytes(&id.0),
        };
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let before = reader.clone();
        let tag = reader.u8()?;
        let len = reader.varint()?;
        if len == 0 {
            return Err(before.inconsistent("an entry of a content list is empty"));
        }
        match tag {
            TAG_CHUNK => {
                before.limit("a chunk", len, limits::CHUNK_LEN_MAX.into())?;
                Ok(ListEntry::Chunk { len: len as u32, id: ChunkId(reader.array()?) })
            }
            TAG_HOLE => Ok(ListEntry::Hole { len }),
            TAG_ZEROS => Ok(ListEntry::Zeros { len }),
            TAG_LIST => {
                let depth = reader.u8()?;
                before.limit("the depth of a list", depth.into(), u64::from(limits::LIST_DEPTH_MAX) - 1)?;
                Ok(ListEntry::List { len, depth, id: ChunkId(reader.array()?) })
            }
            _ => Err(before.inconsistent("an entry of a content list is of an unknown kind")),
        }
    }
}

/// The length in bytes of all that `entries` stand for.
pub fn content_len(entries: &[ListEntry]) -> Result<u64, Error> {
    let total = entries.iter().try_fold(0u64, |total, entry| total.checked_add(entry.content_len()));
    total.ok_or_else(|| Error::new(WHAT, Reason::Inconsistent("its length exceeds 64 bits")))
}

/// Demands that `entries` stand for chunks and nothing else, as those of a directory's listing must.
pub fn only_chunks(entries: &[ListEntry]) -> Result<(), Error> {
    let holes = |entry: &ListEntry| matches!(entry, ListEntry::Hole { .. } | ListEntry::Zeros { .. });
    match entries.iter().any(holes) {
        true => Err(Error::new(WHAT, Reason::Inconsistent("a directory's listing has holes"))),
        false => Ok(()),
    }
}

/// Appends the encoding of `entries` to `out`.
pub fn encode_entries(entries: &[ListEntry], out: &mut Vec<u8>) {
    let mut writer = Writer::new(out);
    for entry in entries {
        entry.write(&mut writer);
    }
}

/// Reads the entries that are all of `reader`: at least one, at most `max`, all of one level.
pub fn decode_entries(mut reader: Reader<'_>, max: usize) -> Result<Vec<ListEntry>, Error> {
    let mut entries: Vec<ListEntry> = Vec::new();
    while reader.remaining() > 0 {
        reader.limit("the number of entries of a list", entries.len() as u64 + 1, max as u64)?;
        let entry = ListEntry::read(&mut reader)?;
        if entries.first().is_some_and(|first| first.level() != entry.level()) {
            return Err(reader.inconsistent("a list holds entries of different levels"));
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        return Err(reader.inconsistent("a list is empty"));
    }
    content_len(&entries).map_err(|error| reader.error(error.reason))?;
    Ok(entries)
}

/// Reads the plaintext of the list chunk that `depth` and `len` of its [`ListEntry::List`] announce.
pub fn decode_list_chunk(bytes: &[u8], depth: u8, len: u64) -> Result<Vec<ListEntry>, Error> {
    let mut reader = Reader::new(WHAT, bytes);
    if reader.u8()? != depth {
        return Err(reader.inconsistent("a list chunk has another depth than was announced"));
    }
    let base = reader.offset();
    let entries = decode_entries(Reader::nested(WHAT, reader.rest(), base), limits::LIST_ENTRIES_MAX)?;
    // Depth falls by exactly one with each level, so lists cannot run in circles.
    if entries.first().map(ListEntry::level) != Some(depth) {
        return Err(reader.inconsistent("a list chunk lists entries of another level"));
    }
    if content_len(&entries)? != len {
        return Err(reader.inconsistent("a list chunk has another length than was announced"));
    }
    Ok(entries)
}

/// Stores a chunk and answers its id: for builders of lists and trees.
pub type Store<'s, E> = &'s mut dyn FnMut(ChunkKind, &[u8]) -> Result<ChunkId, E>;

/// Makes a content list of any length, in memory that does not grow with it.
#[derive(Debug, Default)]
pub struct ListBuilder {
    levels: Vec<Level>,
    total: u64,
}

/// The list chunk of one depth that is being filled.
#[derive(Debug, Default)]
struct Level {
    entries: Vec<ListEntry>,
    len: u64,
}

impl ListBuilder {
    /// A builder of an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of content so far.
    pub fn content_len(&self) -> u64 {
        self.total
    }

    /// Appends a span of content. List chunks that it completes are stored.
    pub fn push<E: From<Error>>(&mut self, entry: ListEntry, store: Store<'_, E>) -> Result<(), E> {
        let fail = |reason| E::from(Error::new(WHAT, Reason::Inconsistent(reason)));
        if entry.content_len() == 0 {
            return Err(fail("an entry of a content list is empty"));
        }
        if entry.level() != 0 {
            return Err(fail("a list is built from content"));
        }
        let total = self.total.checked_add(entry.content_len());
        self.total = total.ok_or_else(|| fail("its length exceeds 64 bits"))?;
        let (mut entry, mut at) = (entry, 0);
        loop {
            if self.levels.len() == at {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(at) else { return Ok(()) };
            level.entries.push(entry);
            level.len += entry.content_len();
            let count = level.entries.len();
            if count < limits::LIST_ENTRIES_MAX && !(count >= CUT_MIN && entry.ends_list()) {
                return Ok(());
            }
            entry = level.flush(at, store)?;
            at += 1;
        }
    }

    /// Ends the list: its entries, at most [`limits::LIST_INLINE_MAX`], all of one level. None at all
    /// for an empty list.
    pub fn finish<E: From<Error>>(mut self, store: Store<'_, E>) -> Result<Vec<ListEntry>, E> {
        let mut at = 0;
        loop {
            let top = at + 1 >= self.levels.len();
            let Some(level) = self.levels.get_mut(at) else { return Ok(Vec::new()) };
            if top && level.entries.len() <= limits::LIST_INLINE_MAX {
                return Ok(std::mem::take(&mut level.entries));
            }
            if !level.entries.is_empty() {
                let entry = level.flush(at, store)?;
                if top {
                    self.levels.push(Level::default());
                }
                if let Some(above) = self.levels.get_mut(at + 1) {
                    above.entries.push(entry);
                    above.len += entry.content_len();
                }
            }
            at += 1;
        }
    }
}

impl Level {
    /// Stores what was gathered as a list chunk of this depth; answers the entry that stands for it.
    fn flush<E: From<Error>>(&mut self, depth: usize, store: Store<'_, E>) -> Result<ListEntry, E> {
        if depth >= usize::from(limits::LIST_DEPTH_MAX) {
            let (len, max) = (depth as u64 + 1, u64::from(limits::LIST_DEPTH_MAX));
            let reason = Reason::TooLarge { what: "the depth of a list", len, max };
            return Err(E::from(Error::new(WHAT, reason)));
        }
        let depth = depth as u8;
        let mut bytes = vec![depth];
        encode_entries(&self.entries, &mut bytes);
        let entry = ListEntry::List { len: self.len, depth, id: store(ChunkKind::List, &bytes)? };
        self.entries.clear();
        self.len = 0;
        Ok(entry)
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
pub(in crate::format) mod tests;
