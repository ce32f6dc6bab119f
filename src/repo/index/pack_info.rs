//! What the index cache keeps of a pack: all that reading one of its chunks needs, in one row,
//! without the ids (they are the other table's keys).

use std::ops::Range;

use crate::base::id::{ChunkId, PackId};
use crate::base::kind::{Coding, PackKind};
use crate::format::header::HEADER_LEN;
use crate::format::index::PackRecord;
use crate::format::pack::{SEGMENTS_START, Segment, WRAPPED_LEN, directory_range};

/// A pack as the index describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackInfo {
    /// Its name.
    pub id: PackId,
    /// File data or metadata.
    pub kind: PackKind,
    /// Stored size in bytes.
    pub size: u64,
    /// Its encoded header, needed to open anything in it.
    pub header: [u8; HEADER_LEN],
    /// Its wrapped key.
    pub wrapped: [u8; WRAPPED_LEN],
    /// Its segments in order.
    pub segments: Vec<Segment>,
    /// The bases of all segments in order.
    pub bases: Vec<ChunkId>,
    /// Length of every chunk in order.
    pub lens: Vec<u32>,
}

impl PackInfo {
    /// Start of chunk `ordinal` in the plaintext of `segment`, and its length.
    pub fn chunk_span(&self, segment: u32, ordinal: u16) -> Option<(usize, usize)> {
        let segment = self.segments.get(segment as usize)?;
        if ordinal >= segment.chunk_count {
            return None;
        }
        let first = segment.first_chunk as usize;
        let lens = self.lens.get(first..first + usize::from(segment.chunk_count))?;
        let before: u64 = lens[..usize::from(ordinal)].iter().map(|&n| u64::from(n)).sum();
        Some((usize::try_from(before).ok()?, lens[usize::from(ordinal)] as usize))
    }

    /// The bases of one of its segments.
    pub fn bases_of(&self, segment: &Segment) -> &[ChunkId] {
        let first = segment.first_base as usize;
        self.bases.get(first..first + usize::from(segment.base_count)).unwrap_or_default()
    }

    /// Where its sealed directory lies; `None` if the pack has no room for one.
    pub fn directory(&self) -> Option<Range<u64>> {
        directory_range(self.size, self.segments.len(), self.bases.len(), self.lens.len())
    }

    /// Plaintext bytes in the whole pack.
    pub fn plain_len(&self) -> u64 {
        self.segments.iter().map(|s| u64::from(s.plain_len)).sum()
    }

    /// The view of the pack that `record` describes.
    pub fn new(record: &PackRecord) -> Self {
        let directory = &record.directory;
        PackInfo {
            id: record.id,
            kind: directory.kind(),
            size: record.size,
            header: record.header,
            wrapped: record.wrapped,
            segments: directory.segments().to_vec(),
            bases: directory.bases().to_vec(),
            lens: directory.chunks().iter().map(|c| c.len).collect(),
        }
    }

    /// The row's bytes. Private to this machine's cache: no part of the repository format.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(176 + self.segments.len() * 13 + self.lens.len() * 4);
        out.push(self.kind.to_u8());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.header);
        out.extend_from_slice(&self.wrapped);
        out.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        for s in &self.segments {
            out.extend_from_slice(&s.stored_len.to_le_bytes());
            out.extend_from_slice(&s.plain_len.to_le_bytes());
            out.extend_from_slice(&[s.coding.to_u8(), s.depth, s.base_count]);
            out.extend_from_slice(&s.chunk_count.to_le_bytes());
        }
        self.bases.iter().for_each(|base| out.extend_from_slice(&base.0));
        self.lens.iter().for_each(|len| out.extend_from_slice(&len.to_le_bytes()));
        out
    }

    /// The reverse of `encode`; `None` if the bytes are not such a row.
    pub fn decode(id: PackId, bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [kind] = take(&mut rest)?;
        let kind = PackKind::from_u8(kind)?;
        let size = u64::from_le_bytes(take(&mut rest)?);
        let (header, wrapped) = (take(&mut rest)?, take(&mut rest)?);
        let count = u32::from_le_bytes(take(&mut rest)?) as usize;
        let mut segments = Vec::with_capacity(count.min(rest.len() / 13));
        let (mut offset, mut first_base, mut first_chunk) = (SEGMENTS_START, 0u32, 0u32);
        for _ in 0..count {
            let stored_len = u32::from_le_bytes(take(&mut rest)?);
            let plain_len = u32::from_le_bytes(take(&mut rest)?);
            let [coding, depth, base_count] = take(&mut rest)?;
            let chunk_count = u16::from_le_bytes(take(&mut rest)?);
            let coding = Coding::from_u8(coding)?;
            segments.push(Segment {
                offset,
                stored_len,
                plain_len,
                coding,
                depth,
                first_base,
                base_count,
                first_chunk,
                chunk_count,
            });
            offset += u64::from(stored_len);
            first_base = first_base.checked_add(base_count.into())?;
            first_chunk = first_chunk.checked_add(chunk_count.into())?;
        }
        if rest.len() != first_base as usize * 32 + first_chunk as usize * 4 {
            return None;
        }
        let bases = (0..first_base).map(|_| take(&mut rest).map(ChunkId)).collect::<Option<_>>()?;
        let lens =
            (0..first_chunk).map(|_| take(&mut rest).map(u32::from_le_bytes)).collect::<Option<_>>()?;
        Some(PackInfo { id, kind, size, header, wrapped, segments, bases, lens })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}
