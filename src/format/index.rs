//! The plaintext of an index part: which packs there are, and a row for each chunk in them, sorted by
//! id. It repeats the directories of its packs, so that a pack whose own directory is damaged can be
//! read all the same. Sealing it frame by frame is described in `frames`.
//!
//! Everything in a part is checked once, when it is decoded: the rows are a permutation of the chunks
//! of its packs. Whoever walks over them afterwards can rely on that, and nothing is allocated a row.

use std::ops::Range;

use crate::base::id::{ChunkId, ObjectHash, PackId};
use crate::base::kind::{ChunkKind, PackKind};
use crate::base::limits;
use crate::format::error::{Error, Reason};
use crate::format::header::{HEADER_LEN, Header};
use crate::format::pack::{self, ChunkEntry, Directory, Segment, WRAPPED_LEN};
use crate::format::wire::{Reader, Writer};

const WHAT: &str = "index part";
const PACK_ROW: usize = 196;
const CHUNK_ROW: usize = 47;

/// All that an index part says about a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRecord {
    /// Its name.
    pub id: PackId,
    /// Bytes of the object.
    pub size: u64,
    /// Its header.
    pub header: [u8; HEADER_LEN],
    /// Its wrapped key.
    pub wrapped: [u8; WRAPPED_LEN],
    /// What lies where in it.
    pub directory: Directory,
}

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRow {
    /// The chunk's id.
    pub id: ChunkId,
    /// The pack, as its number in this part.
    pub pack: u32,
    /// The segment, as its number in the pack.
    pub segment: u32,
    /// The chunk's number in the segment.
    pub ordinal: u16,
    /// Its plaintext length in bytes.
    pub len: u32,
    /// What it holds.
    pub kind: ChunkKind,
}

impl ChunkRow {
    fn key(&self) -> (&[u8; 32], u32, u32, u16) {
        (&self.id.0, self.pack, self.segment, self.ordinal)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer
            .bytes(&self.id.0)
            .u32(self.pack)
            .u32(self.segment)
            .u16(self.ordinal)
            .u32(self.len)
            .u8(self.kind.to_u8());
    }

    /// Fails only for an unknown kind.
    fn read(row: &[u8; CHUNK_ROW]) -> Option<Self> {
        let (id, rest) = row.split_first_chunk::<32>()?;
        let (pack, rest) = rest.split_first_chunk::<4>()?;
        let (segment, rest) = rest.split_first_chunk::<4>()?;
        let (ordinal, rest) = rest.split_first_chunk::<2>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        Some(ChunkRow {
            id: ChunkId(*id),
            pack: u32::from_le_bytes(*pack),
            segment: u32::from_le_bytes(*segment),
            ordinal: u16::from_le_bytes(*ordinal),
            len: u32::from_le_bytes(*len),
            kind: ChunkKind::from_u8(*rest.first()?)?,
        })
    }
}

/// The plaintext of a part that names `packs` and replaces the parts it `supersedes`. Both are put in
/// order here; naming one twice is an error.
pub fn encode(supersedes: &[ObjectHash], packs: &[PackRecord]) -> Result<Vec<u8>, Error> {
    let mut supersedes = supersedes.to_vec();
    supersedes.sort_unstable();
    let mut packs: Vec<&PackRecord> = packs.iter().collect();
    packs.sort_unstable_by_key(|pack| pack.id);
    let chunks = packs.iter().map(|pack| pack.directory.chunks().len()).sum();
    check_counts(supersedes.len(), packs.len(), chunks).map_err(|reason| Error::new(WHAT, reason))?;
    let mut out = Vec::with_capacity(12 + packs.len() * PACK_ROW + chunks * (CHUNK_ROW + 4));
    let mut writer = Writer::new(&mut out);
    writer.u32(supersedes.len() as u32);
    for id in &supersedes {
        writer.bytes(&id.0);
    }
    writer.u32(packs.len() as u32).u32(chunks as u32);
    for pack in &packs {
        write_pack(&mut writer, pack);
    }
    for segment in packs.iter().flat_map(|pack| pack.directory.segments()) {
        segment.write_row(&mut writer);
    }
    for base in packs.iter().flat_map(|pack| pack.directory.bases()) {
        writer.bytes(&base.0);
    }
    for row in sorted_rows(&packs, chunks) {
        row.write(&mut writer);
    }
    ascending(supersedes.iter())
        .and_then(|()| ascending(packs.iter().map(|pack| &pack.id)))
        .map_err(|reason| Error::new(WHAT, reason))?;
    Ok(out)
}

fn write_pack(writer: &mut Writer<'_>, pack: &PackRecord) {
    writer
        .bytes(&pack.id.0)
        .u8(pack.directory.kind().to_u8())
        .zeros(3)
        .u64(pack.size)
        .bytes(&pack.header)
        .bytes(&pack.wrapped)
        .u32(pack.directory.segments().len() as u32)
        .u32(pack.directory.bases().len() as u32);
}

fn sorted_rows(packs: &[&PackRecord], chunks: usize) -> Vec<ChunkRow> {
    let mut rows = Vec::with_capacity(chunks);
    for (pack, record) in (0u32..).zip(packs) {
        for (segment, at) in (0u32..).zip(record.directory.segments()) {
            let chunks = record.directory.chunks_of(at);
            rows.extend((0u16..).zip(chunks).map(|(ordinal, chunk)| ChunkRow {
                id: chunk.id,
                pack,
                segment,
                ordinal,
                len: chunk.len,
                kind: chunk.kind,
            }));
        }
    }
    rows.sort_unstable_by(|a, b| a.key().cmp(&b.key()));
    rows
}

/// A pack as a decoded part knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRow {
    /// Its name.
    pub id: PackId,
    /// Its family.
    pub kind: PackKind,
    /// Bytes of the object.
    pub size: u64,
    /// Its header.
    pub header: [u8; HEADER_LEN],
    /// Its wrapped key.
    pub wrapped: [u8; WRAPPED_LEN],
    segments: Range<usize>,
    bases: Range<usize>,
    chunks: Range<usize>,
}

/// A decoded index part. It borrows the plaintext.
#[derive(Clone, Debug)]
pub struct IndexPart<'a> {
    supersedes: Vec<ObjectHash>,
    packs: Vec<PackRow>,
    segments: Vec<Segment>,
    bases: &'a [[u8; 32]],
    rows: &'a [[u8; CHUNK_ROW]],
    /// For each chunk in the order of the packs, the number of its row.
    row_of: Vec<u32>,
}

impl<'a> IndexPart<'a> {
    /// Reads and checks a part's plaintext.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(WHAT, bytes);
        let count = reader.length_u32("the number of superseded parts", limits::INDEX_SUPERSEDES_MAX)?;
        let (supersedes, _) = reader.bytes(count * ObjectHash::LEN)?.as_chunks();
        let supersedes: Vec<ObjectHash> = supersedes.iter().map(|id| ObjectHash(*id)).collect();
        ascending(supersedes.iter()).map_err(|reason| reader.error(reason))?;
        let pack_count =
            reader.length_u32("the number of packs in an index part", limits::INDEX_PART_PACKS_MAX)?;
        let chunk_count =
            reader.length_u32("the number of chunks in an index part", limits::INDEX_PART_CHUNKS_MAX)?;
        let mut packs = read_packs(&mut reader, pack_count, chunk_count)?;
        ascending(packs.iter().map(|pack| &pack.id)).map_err(|reason| reader.error(reason))?;
        let segments = read_segments(&mut reader, &mut packs, chunk_count)?;
        let base_count = packs.last().map_or(0, |pack| pack.bases.end);
        let (bases, _) = reader.bytes(base_count * ChunkId::LEN)?.as_chunks();
        let start = reader.offset();
        let (rows, _) = reader.bytes(chunk_count * CHUNK_ROW)?.as_chunks();
        reader.finish()?;
        let mut part = IndexPart { supersedes, packs, segments, bases, rows, row_of: Vec::new() };
        part.check_rows().map_err(|(row, reason)| Error {
            what: WHAT,
            offset: start + (row * CHUNK_ROW) as u64,
            reason,
        })?;
        Ok(part)
    }

    /// The parts that this one replaces, ascending.
    pub fn supersedes(&self) -> &[ObjectHash] {
        &self.supersedes
    }

    /// The packs, ascending by name. A row's `pack` is a number in this list.
    pub fn packs(&self) -> &[PackRow] {
        &self.packs
    }

    /// The segments of a pack of this part. A row's `segment` is a number in this list.
    pub fn segments(&self, pack: &PackRow) -> &[Segment] {
        self.segments.get(pack.segments.clone()).unwrap_or_default()
    }

    /// How many chunk rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no chunk rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The chunk rows, ascending by id.
    pub fn rows(&self) -> impl Iterator<Item = ChunkRow> + '_ {
        // Every row was read once already, so none is lost here.
        self.rows.iter().filter_map(ChunkRow::read)
    }

    /// The directory of a pack of this part, as the pack itself has it.
    pub fn directory(&self, pack: &PackRow) -> Directory {
        let bases = self.bases.get(pack.bases.clone()).unwrap_or_default();
        let rows = self.row_of.get(pack.chunks.clone()).unwrap_or_default();
        let chunks = rows.iter().filter_map(|row| self.entry(*row));
        Directory::from_parts(
            pack.kind,
            self.segments(pack).to_vec(),
            bases.iter().map(|id| ChunkId(*id)).collect(),
            chunks.collect(),
        )
    }

    /// All that this part says about a pack, for writing it into another part.
    pub fn record(&self, pack: &PackRow) -> PackRecord {
        PackRecord {
            id: pack.id,
            size: pack.size,
            header: pack.header,
            wrapped: pack.wrapped,
            directory: self.directory(pack),
        }
    }

    /// A chunk's number in the order of the packs.
    fn slot(&self, row: &ChunkRow) -> Option<usize> {
        let pack = self.packs.get(row.pack as usize)?;
        let segment = self.segments(pack).get(row.segment as usize)?;
        if row.ordinal >= segment.chunk_count {
            return None;
        }
        Some(pack.chunks.start + segment.first_chunk as usize + usize::from(row.ordinal))
    }

    /// Checks that the rows ascend and are a permutation of the packs' chunks.
    fn check_rows(&mut self) -> Result<(), (usize, Reason)> {
        const UNSEEN: u32 = u32::MAX;
        let mut row_of = vec![UNSEEN; self.rows.len()];
        let mut previous: Option<ChunkRow> = None;
        for (number, row) in self.rows.iter().enumerate() {
            let fail = |reason| (number, Reason::Inconsistent(reason));
            let row = ChunkRow::read(row).ok_or(fail("a chunk is of an unknown kind"))?;
            if previous.is_some_and(|previous| previous.key() >= row.key()) {
                return Err((number, Reason::NotCanonical("the order of chunks")));
            }
            let slot = self.slot(&row).and_then(|slot| row_of.get_mut(slot));
            let slot = slot.ok_or(fail("a chunk lies outside of its pack"))?;
            if *slot != UNSEEN {
                return Err(fail("two chunks lie at the same place"));
            }
            *slot = number as u32;
            previous = Some(row);
        }
        self.row_of = row_of;
        self.check_segments()
    }

    /// Checks the chunks of each segment as those in a pack's directory.
    fn check_segments(&self) -> Result<(), (usize, Reason)> {
        let mut chunks = Vec::new();
        for pack in &self.packs {
            for segment in self.segments(pack) {
                let first = pack.chunks.start + segment.first_chunk as usize;
                let slots = first..first + usize::from(segment.chunk_count);
                let rows = self.row_of.get(slots).unwrap_or_default();
                chunks.clear();
                chunks.extend(rows.iter().filter_map(|row| self.entry(*row)));
                let row = rows.first().map_or(0, |row| *row as usize);
                pack::check_chunks(pack.kind, segment, &chunks).map_err(|reason| (row, reason))?;
            }
        }
        Ok(())
    }

    /// What the row with this number says of its chunk.
    fn entry(&self, row: u32) -> Option<ChunkEntry> {
        let row = ChunkRow::read(self.rows.get(row as usize)?)?;
        Some(ChunkEntry { id: row.id, len: row.len, kind: row.kind })
    }
}

/// Reads the rows of the packs. Which chunks are theirs is known only from their segments.
fn read_packs(reader: &mut Reader<'_>, count: usize, chunks: usize) -> Result<Vec<PackRow>, Error> {
    let start = reader.offset();
    let mut rows = Reader::nested(WHAT, reader.bytes(count * PACK_ROW)?, start);
    let mut packs: Vec<PackRow> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = PackId(rows.array()?);
        let Some(kind) = PackKind::from_u8(rows.u8()?) else {
            return Err(rows.inconsistent("a pack is of an unknown family"));
        };
        if rows.array()? != [0; 3] {
            return Err(rows.error(Reason::NotCanonical("a reserved field")));
        }
        let (size, header, wrapped) = (rows.u64()?, rows.array()?, rows.array()?);
        Header::decode(&header, kind.into())?;
        let segment_count = rows.length_u32("the number of segments in a pack", limits::PACK_SEGMENTS_MAX)?;
        let max = limits::PACK_SEGMENTS_MAX * limits::SEGMENT_BASES_MAX;
        let base_count = rows.length_u32("the number of bases in a pack", max)?;
        let (segments, bases) = packs.last().map_or((0, 0), |last| (last.segments.end, last.bases.end));
        let segments = segments..segments + segment_count;
        // A segment holds a chunk at least, so this bounds the memory that segments take (I-9).
        rows.limit("the number of segments in an index part", segments.end as u64, chunks as u64)?;
        let bases = bases..bases + base_count;
        packs.push(PackRow { id, kind, size, header, wrapped, segments, bases, chunks: 0..0 });
    }
    Ok(packs)
}

/// Reads the rows of all segments, and checks each pack against its own.
fn read_segments(
    reader: &mut Reader<'_>,
    packs: &mut [PackRow],
    chunk_count: usize,
) -> Result<Vec<Segment>, Error> {
    let count = packs.last().map_or(0, |pack| pack.segments.end);
    let start = reader.offset();
    let mut rows = Reader::nested(WHAT, reader.bytes(count * pack::SEGMENT_ROW)?, start);
    let mut segments: Vec<Segment> = Vec::with_capacity(count);
    let mut chunk_end = 0;
    for pack in packs {
        for _ in pack.segments.clone() {
            let previous = segments.get(pack.segments.start..).and_then(<[Segment]>::last);
            segments.push(Segment::read_row(&mut rows, previous)?);
        }
        let own = segments.get(pack.segments.clone()).unwrap_or_default();
        let (bases, chunks, end) = pack::sums(own);
        pack::check_pack(own.len(), bases, chunks, end).map_err(|reason| rows.error(reason))?;
        if bases != pack.bases.len() {
            return Err(rows.inconsistent("a pack's segments do not add up to its number of bases"));
        }
        if pack::object_len(end, pack::encoded_len(own.len(), bases, chunks)) != pack.size {
            return Err(rows.inconsistent("a pack's size is not that of its content"));
        }
        pack.chunks = chunk_end..chunk_end + chunks;
        chunk_end += chunks;
    }
    if chunk_end != chunk_count {
        return Err(rows.inconsistent("its packs do not add up to its number of chunks"));
    }
    Ok(segments)
}

fn check_counts(supersedes: usize, packs: usize, chunks: usize) -> Result<(), Reason> {
    for (what, len, max) in [
        ("the number of superseded parts", supersedes, limits::INDEX_SUPERSEDES_MAX),
        ("the number of packs in an index part", packs, limits::INDEX_PART_PACKS_MAX),
        ("the number of chunks in an index part", chunks, limits::INDEX_PART_CHUNKS_MAX),
    ] {
        if len > max {
            return Err(Reason::TooLarge { what, len: len as u64, max: max as u64 });
        }
    }
    Ok(())
}

fn ascending<'i, T: Ord + 'i>(mut ids: impl Iterator<Item = &'i T>) -> Result<(), Reason> {
    match ids.by_ref().is_sorted_by(|a, b| a < b) {
        true => Ok(()),
        false => Err(Reason::NotCanonical("the order of its names")),
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
