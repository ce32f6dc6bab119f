//! Packs: what lies where in one, and the directory that says so. Sealing, and the padding's bytes,
//! are left to the layers that hold keys.
//!
//! A pack is header 64, wrapped key 80, segments, padding, sealed directory, and a trailer of 160
//! bytes: wrapped key and header again, the length of the sealed directory, four zeros, a magic. The
//! whole has a Padmé size, so that its length says little about what is in it.

use std::ops::Range;

use crate::base::id::ChunkId;
use crate::base::kind::{ChunkKind, Coding, PackKind};
use crate::base::limits;
use crate::format::error::{Error, Reason};
use crate::format::header::{HEADER_LEN, Header};
use crate::format::wire::{Reader, Writer};

/// Bytes of a wrapped pack key: an HPKE encapsulation and the sealed key.
pub const WRAPPED_LEN: usize = 80;
/// Where the first segment begins.
pub const SEGMENTS_START: u64 = (HEADER_LEN + WRAPPED_LEN) as u64;
/// Bytes after the sealed directory.
pub const TRAILER_LEN: usize = 160;
/// What a seal adds to a plaintext.
pub const TAG_LEN: u32 = 16;
/// The last bytes of every pack.
pub const TRAILER_MAGIC: [u8; 8] = *b"KVPACKND";

/// Bytes of a segment's row, in a directory and in an index part.
pub(super) const SEGMENT_ROW: usize = 13;
/// Bytes of a chunk's row in a directory.
const CHUNK_ROW: usize = 37;
const WHAT: &str = "pack directory";

/// The next size that a Padmé-padded thing of `len` bytes has: at most 12 % more, and then with only
/// as many significant bits as its magnitude has ("Reducing Metadata Leakage from Encrypted Files and
/// Communication with PURBs", Nikitin et al., 2019). For lengths up to 2^62.
pub fn padme(len: u64) -> u64 {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let mask = (1u64 << (exponent - (exponent.ilog2() + 1))) - 1;
    len.saturating_add(mask) & !mask
}

/// One chunk of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Its id.
    pub id: ChunkId,
    /// Its plaintext length in bytes, at least one.
    pub len: u32,
    /// What it holds.
    pub kind: ChunkKind,
}

/// How a segment is stored, given to [`Directory::push`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Bytes in the pack, with the seal.
    pub len: u32,
    /// How the plaintext was coded.
    pub coding: Coding,
    /// Links of the chain of deltas below it; zero unless it is a delta (I-8).
    pub depth: u8,
}

/// One segment of a pack, with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the pack.
    pub offset: u64,
    /// Bytes in the pack, with the seal.
    pub stored_len: u32,
    /// Bytes of its plaintext.
    pub plain_len: u32,
    /// How the plaintext was coded.
    pub coding: Coding,
    /// Links of the chain of deltas below it; zero unless it is a delta.
    pub depth: u8,
    /// Its first base among the pack's.
    pub first_base: u32,
    /// How many bases it has.
    pub base_count: u8,
    /// Its first chunk among the pack's.
    pub first_chunk: u32,
    /// How many chunks it has.
    pub chunk_count: u16,
}

impl Segment {
    /// The bytes of the pack that it takes.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.stored_len)
    }

    pub(super) fn write_row(&self, writer: &mut Writer<'_>) {
        writer
            .u32(self.stored_len)
            .u32(self.plain_len)
            .u8(self.coding.to_u8())
            .u8(self.depth)
            .u8(self.base_count)
            .u16(self.chunk_count);
    }

    /// Reads a row; the segment follows `previous` of the same pack.
    pub(super) fn read_row(reader: &mut Reader<'_>, previous: Option<&Segment>) -> Result<Self, Error> {
        let stored_len = reader.length_u32("a sealed segment", limits::SEGMENT_STORED_MAX as usize)? as u32;
        let plain_len = reader.length_u32("a segment", limits::SEGMENT_PLAIN_MAX as usize)? as u32;
        let Some(coding) = Coding::from_u8(reader.u8()?) else {
            return Err(reader.inconsistent("a segment has an unknown coding"));
        };
        let (depth, base_count, chunk_count) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let mut segment = Segment::first(stored_len, plain_len, coding, depth, base_count, chunk_count);
        if let Some(previous) = previous {
            segment.offset = previous.range().end;
            segment.first_base = previous.first_base + u32::from(previous.base_count);
            segment.first_chunk = previous.first_chunk + u32::from(previous.chunk_count);
        }
        segment.check().map_err(|reason| reader.error(reason))?;
        Ok(segment)
    }

    fn first(stored_len: u32, plain_len: u32, coding: Coding, depth: u8, bases: u8, chunks: u16) -> Self {
        Segment {
            offset: SEGMENTS_START,
            stored_len,
            plain_len,
            coding,
            depth,
            first_base: 0,
            base_count: bases,
            first_chunk: 0,
            chunk_count: chunks,
        }
    }

    /// What can be said about a segment without its chunks.
    fn check(&self) -> Result<(), Reason> {
        let limit = |what, len: usize, max: usize| match len > max {
            true => Err(Reason::TooLarge { what, len: len as u64, max: max as u64 }),
            false => Ok(()),
        };
        limit("the number of chunks in a segment", self.chunk_count.into(), limits::SEGMENT_CHUNKS_MAX)?;
        limit("the number of bases of a segment", self.base_count.into(), limits::SEGMENT_BASES_MAX)?;
        limit("the depth of a delta", self.depth.into(), limits::DELTA_DEPTH_MAX.into())?;
        limit("a segment", self.plain_len as usize, limits::SEGMENT_PLAIN_MAX as usize)?;
        limit("a sealed segment", self.stored_len as usize, limits::SEGMENT_STORED_MAX as usize)?;
        if self.chunk_count == 0 {
            return Err(Reason::Inconsistent("a segment holds no chunk"));
        }
        if self.stored_len <= TAG_LEN {
            return Err(Reason::Inconsistent("a segment is shorter than its seal"));
        }
        let fits = match self.coding {
            Coding::Raw => {
                self.stored_len - TAG_LEN == self.plain_len && self.depth == 0 && self.base_count == 0
            }
            Coding::Zstd => self.depth == 0 && self.base_count == 0,
            Coding::Prefix => self.depth > 0 && self.base_count > 0,
            Coding::Dictionary => self.depth == 0 && self.base_count == 1,
        };
        if fits { Ok(()) } else { Err(Reason::Inconsistent("a segment's coding contradicts its row")) }
    }
}

/// A pack's directory: its segments, and the chunks in them, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    kind: PackKind,
    segments: Vec<Segment>,
    bases: Vec<ChunkId>,
    chunks: Vec<ChunkEntry>,
}

impl Directory {
    /// The directory of a pack of this kind without segments yet.
    pub fn new(kind: PackKind) -> Self {
        Directory { kind, segments: Vec::new(), bases: Vec::new(), chunks: Vec::new() }
    }

    /// Appends a segment that holds `chunks`, coded against `bases`; answers its number.
    pub fn push(&mut self, stored: Stored, bases: &[ChunkId], chunks: &[ChunkEntry]) -> Result<u32, Error> {
        let fail = |reason| Error::new(WHAT, reason);
        let too_many = |what, len| fail(Reason::TooLarge { what, len, max: u64::from(u16::MAX) });
        let base_count = u8::try_from(bases.len())
            .map_err(|_| too_many("the number of bases of a segment", bases.len() as u64))?;
        let chunk_count = u16::try_from(chunks.len())
            .map_err(|_| too_many("the number of chunks in a segment", chunks.len() as u64))?;
        let plain_len = u32::try_from(chunks.iter().map(|chunk| u64::from(chunk.len)).sum::<u64>())
            .map_err(|_| too_many("a segment", u64::MAX))?;
        let mut segment =
            Segment::first(stored.len, plain_len, stored.coding, stored.depth, base_count, chunk_count);
        segment.offset = self.data_end();
        segment.first_base = self.bases.len() as u32;
        segment.first_chunk = self.chunks.len() as u32;
        segment.check().map_err(fail)?;
        check_chunks(self.kind, &segment, chunks).map_err(fail)?;
        let (bases_then, chunks_then) = (self.bases.len() + bases.len(), self.chunks.len() + chunks.len());
        check_pack(self.segments.len() + 1, bases_then, chunks_then, segment.range().end).map_err(fail)?;
        self.segments.push(segment);
        self.bases.extend_from_slice(bases);
        self.chunks.extend_from_slice(chunks);
        Ok(self.segments.len() as u32 - 1)
    }

    /// Puts together what an index part says about a pack.
    pub(super) fn from_parts(
        kind: PackKind,
        segments: Vec<Segment>,
        bases: Vec<ChunkId>,
        chunks: Vec<ChunkEntry>,
    ) -> Self {
        Directory { kind, segments, bases, chunks }
    }

    /// The pack's family.
    pub fn kind(&self) -> PackKind {
        self.kind
    }

    /// The segments in their order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The chunks of all segments in their order.
    pub fn chunks(&self) -> &[ChunkEntry] {
        &self.chunks
    }

    /// The bases of all segments in their order.
    pub fn bases(&self) -> &[ChunkId] {
        &self.bases
    }

    /// The chunks of one segment of this directory.
    pub fn chunks_of(&self, segment: &Segment) -> &[ChunkEntry] {
        let first = segment.first_chunk as usize;
        self.chunks.get(first..first + usize::from(segment.chunk_count)).unwrap_or_default()
    }

    /// The bases of one segment of this directory.
    pub fn bases_of(&self, segment: &Segment) -> &[ChunkId] {
        let first = segment.first_base as usize;
        self.bases.get(first..first + usize::from(segment.base_count)).unwrap_or_default()
    }

    /// Where the last segment ends and the padding begins.
    pub fn data_end(&self) -> u64 {
        self.segments.last().map_or(SEGMENTS_START, |segment| segment.range().end)
    }

    /// Bytes of the encoded directory, before it is sealed.
    pub fn encoded_len(&self) -> u64 {
        encoded_len(self.segments.len(), self.bases.len(), self.chunks.len())
    }

    /// Bytes of the whole pack with this directory.
    pub fn object_len(&self) -> u64 {
        object_len(self.data_end(), self.encoded_len())
    }

    /// Bytes of the whole pack if a segment of `stored_len` sealed bytes with so many bases and chunks
    /// came too.
    pub fn object_len_with(&self, stored_len: usize, bases: usize, chunks: usize) -> u64 {
        let (bases, chunks) = (self.bases.len() + bases, self.chunks.len() + chunks);
        let directory = encoded_len(self.segments.len() + 1, bases, chunks);
        object_len(self.data_end() + stored_len as u64, directory)
    }

    /// Bytes of padding between the last segment and the sealed directory.
    pub fn padding_len(&self) -> u64 {
        let sealed = self.encoded_len() + u64::from(TAG_LEN);
        self.object_len() - self.data_end() - sealed - TRAILER_LEN as u64
    }

    /// The plaintext of the directory.
    pub fn encode(&self) -> Vec<u8> {
        let len = self.encoded_len() as usize;
        let mut out = Vec::with_capacity(len + TAG_LEN as usize);
        let mut writer = Writer::new(&mut out);
        writer.u32(self.segments.len() as u32).u32(self.chunks.len() as u32);
        for segment in &self.segments {
            segment.write_row(&mut writer);
        }
        for base in &self.bases {
            writer.bytes(&base.0);
        }
        for chunk in &self.chunks {
            writer.bytes(&chunk.id.0).u32(chunk.len).u8(chunk.kind.to_u8());
        }
        out.resize(len, 0);
        out
    }

    /// Reads the plaintext of the directory of a pack of this kind.
    pub fn decode(kind: PackKind, bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(WHAT, bytes);
        let segment_count =
            reader.length_u32("the number of segments in a pack", limits::PACK_SEGMENTS_MAX)?;
        let chunk_count = reader.length_u32("the number of chunks in a pack", limits::PACK_CHUNKS_MAX)?;
        let mut rows = Reader::nested(WHAT, reader.bytes(segment_count * SEGMENT_ROW)?, 8);
        let mut segments: Vec<Segment> = Vec::with_capacity(segment_count);
        for _ in 0..segment_count {
            segments.push(Segment::read_row(&mut rows, segments.last())?);
        }
        let (base_count, chunks_in_rows, end) = sums(&segments);
        if chunks_in_rows != chunk_count {
            return Err(rows.inconsistent("its segments do not add up to its number of chunks"));
        }
        check_pack(segment_count, base_count, chunk_count, end).map_err(|reason| rows.error(reason))?;
        let (bases, _) = reader.bytes(base_count * ChunkId::LEN)?.as_chunks();
        let bases = bases.iter().map(|id| ChunkId(*id)).collect();
        let start = reader.offset();
        let mut rows = Reader::nested(WHAT, reader.bytes(chunk_count * CHUNK_ROW)?, start);
        let mut chunks = Vec::with_capacity(chunk_count);
        for segment in &segments {
            for _ in 0..segment.chunk_count {
                chunks.push(read_chunk(&mut rows)?);
            }
            check_chunks(kind, segment, &chunks[segment.first_chunk as usize..])
                .map_err(|reason| rows.error(reason))?;
        }
        let core = reader.offset();
        let padding = reader.rest();
        if padme(core) != bytes.len() as u64 || padding.iter().any(|byte| *byte != 0) {
            return Err(Error { what: WHAT, offset: core, reason: Reason::NotCanonical("the padding") });
        }
        Ok(Directory { kind, segments, bases, chunks })
    }
}

/// How many bases and chunks the segments have, and where they end.
pub(super) fn sums(segments: &[Segment]) -> (usize, usize, u64) {
    segments.last().map_or((0, 0, SEGMENTS_START), |last| {
        let bases = last.first_base + u32::from(last.base_count);
        let chunks = last.first_chunk + u32::from(last.chunk_count);
        (bases as usize, chunks as usize, last.range().end)
    })
}

/// Bytes of an encoded directory with so many segments, bases and chunks, before it is sealed.
pub(super) fn encoded_len(segments: usize, bases: usize, chunks: usize) -> u64 {
    padme((8 + segments * SEGMENT_ROW + bases * ChunkId::LEN + chunks * CHUNK_ROW) as u64)
}

/// Where the sealed directory lies in a pack of `size` bytes with so many segments, bases and chunks.
pub fn directory_range(size: u64, segments: usize, bases: usize, chunks: usize) -> Option<Range<u64>> {
    let end = size.checked_sub(TRAILER_LEN as u64)?;
    Some(end.checked_sub(encoded_len(segments, bases, chunks) + u64::from(TAG_LEN))?..end)
}

/// Bytes of a pack whose segments end at `data_end`, with an encoded directory of `directory` bytes.
pub(super) fn object_len(data_end: u64, directory: u64) -> u64 {
    padme(data_end + directory + u64::from(TAG_LEN) + TRAILER_LEN as u64)
}

/// What must hold between a segment and its chunks.
pub(super) fn check_chunks(kind: PackKind, segment: &Segment, chunks: &[ChunkEntry]) -> Result<(), Reason> {
    let mut plain = 0u64;
    for chunk in chunks {
        if chunk.len == 0 || chunk.len > limits::CHUNK_LEN_MAX {
            return Err(Reason::Inconsistent("a chunk's length is out of bounds"));
        }
        if chunk.kind.pack_kind() != kind {
            return Err(Reason::Inconsistent("a chunk lies in a pack of the wrong family"));
        }
        plain += u64::from(chunk.len);
    }
    if plain != u64::from(segment.plain_len) {
        return Err(Reason::Inconsistent("a segment's chunks do not add up to its length"));
    }
    Ok(())
}

/// What must hold for a pack as a whole, whose segments end at `end`.
pub(super) fn check_pack(segments: usize, bases: usize, chunks: usize, end: u64) -> Result<(), Reason> {
    if segments == 0 {
        return Err(Reason::Inconsistent("a pack holds no segment"));
    }
    let directory = encoded_len(segments, bases, chunks);
    for (what, len, max) in [
        ("the number of segments in a pack", segments as u64, limits::PACK_SEGMENTS_MAX as u64),
        ("the number of chunks in a pack", chunks as u64, limits::PACK_CHUNKS_MAX as u64),
        ("a pack directory", directory + u64::from(TAG_LEN), limits::PACK_DIRECTORY_MAX.into()),
        ("a pack", object_len(end, directory), limits::PACK_SIZE_MAX),
    ] {
        if len > max {
            return Err(Reason::TooLarge { what, len, max });
        }
    }
    Ok(())
}

fn read_chunk(reader: &mut Reader<'_>) -> Result<ChunkEntry, Error> {
    let (id, len) = (ChunkId(reader.array()?), reader.u32()?);
    match ChunkKind::from_u8(reader.u8()?) {
        Some(kind) => Ok(ChunkEntry { id, len, kind }),
        None => Err(reader.inconsistent("a chunk is of an unknown kind")),
    }
}

/// The last bytes of a pack: its beginning once more, and where its directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// The wrapped key as it stands after the header.
    pub wrapped: [u8; WRAPPED_LEN],
    /// The header as it stands at the beginning.
    pub header: [u8; HEADER_LEN],
    /// Bytes of the sealed directory, which ends where the trailer begins.
    pub directory_len: u32,
}

impl Trailer {
    /// The bytes on disk.
    pub fn encode(&self) -> [u8; TRAILER_LEN] {
        let mut out = Vec::with_capacity(TRAILER_LEN);
        Writer::new(&mut out)
            .bytes(&self.wrapped)
            .bytes(&self.header)
            .u32(self.directory_len)
            .u32(0)
            .bytes(&TRAILER_MAGIC);
        let mut trailer = [0; TRAILER_LEN];
        trailer.copy_from_slice(&out);
        trailer
    }

    /// Reads the last bytes of a pack of this kind.
    pub fn decode(kind: PackKind, bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new("pack trailer", bytes);
        let (wrapped, header) = (reader.array()?, reader.array()?);
        let directory_len =
            reader.length_u32("a pack directory", limits::PACK_DIRECTORY_MAX as usize)? as u32;
        let zero = reader.u32()?;
        if reader.array()? != TRAILER_MAGIC {
            return Err(reader.error(Reason::BadMagic));
        }
        if zero != 0 {
            return Err(reader.error(Reason::NotCanonical("a reserved field")));
        }
        if directory_len <= TAG_LEN {
            return Err(reader.inconsistent("the directory is shorter than its seal"));
        }
        reader.finish()?;
        Header::decode(&header, kind.into())?;
        Ok(Trailer { wrapped, header, directory_len })
    }
}

#[cfg(test)]
#[path = "pack_tests.rs"]
pub(in crate::format) mod tests;
