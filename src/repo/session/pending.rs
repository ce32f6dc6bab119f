//! The chunks of this session that the index cache does not know yet, and the segments that are
//! being filled. One short lock guards both, so two threads never store one chunk twice.

use crate::base::id::ChunkId;
use crate::base::idmap::IdSet;
use crate::base::kind::{ChunkKind, PackKind};
use crate::base::limits::{SEGMENT_CHUNKS_MAX, SEGMENT_PLAIN_AIM};
use crate::format::pack::ChunkEntry;

/// Chunks that will be compressed and sealed together. Buffers go round between producers and
/// workers.
#[derive(Debug, Default)]
pub struct Segment {
    /// Plaintext, chunk after chunk.
    pub plain: Vec<u8>,
    /// What the chunks are.
    pub chunks: Vec<ChunkEntry>,
}

impl Segment {
    fn takes(&self, len: usize) -> bool {
        self.chunks.is_empty()
            || (self.plain.len() + len <= SEGMENT_PLAIN_AIM as usize
                && self.chunks.len() < SEGMENT_CHUNKS_MAX)
    }

    /// Empties it for its next use.
    pub fn clear(&mut self) {
        self.plain.clear();
        self.chunks.clear();
    }
}

/// What the lock guards.
#[derive(Debug, Default)]
pub struct Pending {
    ids: IdSet,
    data: Option<Segment>,
    meta: Option<Segment>,
}

impl Pending {
    /// Notes `id` as stored by this session; `false` if it was noted before.
    pub fn note(&mut self, id: ChunkId) -> bool {
        self.ids.insert(id)
    }

    /// Whether `id` was noted.
    pub fn has(&self, id: &ChunkId) -> bool {
        self.ids.contains(id)
    }

    /// The index cache knows these now.
    pub fn forget(&mut self, ids: impl Iterator<Item = ChunkId>) {
        ids.for_each(|id| {
            self.ids.remove(&id);
        });
    }

    /// Appends a chunk to the segment of its kind. A segment that is full is given back to be
    /// sent off; `spare` provides the next.
    pub fn append<E>(
        &mut self,
        kind: ChunkKind,
        id: ChunkId,
        plain: &[u8],
        spare: impl FnOnce() -> Result<Segment, E>,
    ) -> Result<Option<(PackKind, Segment)>, E> {
        let pack = kind.pack_kind();
        let slot = match pack {
            PackKind::Data => &mut self.data,
            PackKind::Meta => &mut self.meta,
        };
        let full = slot.take_if(|open| !open.takes(plain.len()));
        let open = match slot {
            Some(open) => open,
            None => slot.insert(spare()?),
        };
        open.plain.extend_from_slice(plain);
        open.chunks.push(ChunkEntry { id, len: plain.len() as u32, kind });
        Ok(full.map(|segment| (pack, segment)))
    }

    /// Takes out what is left in the open segments.
    pub fn drain(&mut self) -> Vec<(PackKind, Segment)> {
        let data = self.data.take().map(|s| (PackKind::Data, s));
        let meta = self.meta.take().map(|s| (PackKind::Meta, s));
        data.into_iter().chain(meta).collect()
    }
}
