//! The chunks of this session that the index cache does not know yet, and the segments that are
//! being filled. One short lock guards both, so two threads never store one chunk twice.
//!
//! Chunks that have bases go into segments of their own, one for each depth: a segment is as deep as
//! its deepest base allows, so a chunk that changes rarely must not share one with chunks that change
//! every day, or it would be stored whole as often as they are.

use crate::base::id::ChunkId;
use crate::base::idmap::IdSet;
use crate::base::kind::{ChunkKind, Coding, PackKind};
use crate::base::limits::{
    DELTA_PLAIN_AIM, SEGMENT_BASES_MAX, SEGMENT_CHUNKS_MAX, SEGMENT_PLAIN_AIM, SHORT_PLAIN_AIM,
};
use crate::chunker::Base;
use crate::format::pack::ChunkEntry;
use crate::repo::pack::ToSeal;
use crate::repo::read::SegmentKey;
use crate::repo::session::follow::Place;

/// What a segment was coded to.
#[derive(Debug)]
pub struct Coded {
    /// How.
    pub coding: Coding,
    /// The frame; nothing if it is the plaintext.
    pub frame: Vec<u8>,
    /// How deep a chain it makes; zero unless it is a delta.
    pub depth: u8,
    /// What it was coded against.
    pub bases: Vec<ChunkId>,
}

impl Default for Coded {
    fn default() -> Self {
        Coded { coding: Coding::Raw, frame: Vec::new(), depth: 0, bases: Vec::new() }
    }
}

/// Chunks that will be compressed and sealed together. Buffers go round between producers and
/// workers.
#[derive(Debug, Default)]
pub struct Segment {
    /// Plaintext, chunk after chunk.
    pub plain: Vec<u8>,
    /// What the chunks are.
    pub chunks: Vec<ChunkEntry>,
    /// What stands at their place in the parent, in its order.
    pub bases: Vec<Base>,
    /// How deep a chain it makes, if it is coded against its bases; zero if it has none.
    pub depth: u8,
    /// The segment that its bases lie in.
    pub base_segment: Option<SegmentKey>,
    /// What it was coded to, once it was.
    pub coded: Coded,
    /// What follows the last base.
    after: Option<Base>,
}

impl Segment {
    fn takes(&self, len: usize, aim: u32) -> bool {
        self.chunks.is_empty()
            || (self.plain.len() + len <= aim as usize && self.chunks.len() < SEGMENT_CHUNKS_MAX)
    }

    /// Whether the bases lie where its own do, and leave room for what follows them. To read a segment, the
    /// segments of its bases are decoded whole, and all that those need: were the borders of segments
    /// not kept from one link to the next, each link would need more than the last.
    fn takes_bases(&self, place: &Place) -> bool {
        if self.base_segment != Some(place.segment) {
            return false;
        }
        let more = place.at().filter(|base| !self.bases.contains(base)).count();
        self.bases.len() + more < SEGMENT_BASES_MAX
    }

    fn push(&mut self, kind: ChunkKind, id: ChunkId, plain: &[u8]) {
        self.plain.extend_from_slice(plain);
        self.chunks.push(ChunkEntry { id, len: plain.len() as u32, kind });
    }

    fn push_bases(&mut self, place: &Place) {
        if self.bases.is_empty() {
            self.depth = place.depth;
            self.base_segment = Some(place.segment);
            self.bases.extend(place.before);
        }
        for base in place.at() {
            if !self.bases.contains(&base) {
                self.bases.push(base);
            }
        }
        self.after = place.after;
    }

    /// Ends the list of bases.
    fn close(mut self) -> Self {
        if let Some(after) = self.after.take()
            && !self.bases.contains(&after)
        {
            self.bases.push(after);
        }
        self
    }

    /// Empties it for its next use.
    pub fn clear(&mut self) {
        self.plain.clear();
        self.chunks.clear();
        self.bases.clear();
        self.after = None;
        self.depth = 0;
        self.base_segment = None;
        self.coded.depth = 0;
        self.coded.frame.clear();
        self.coded.bases.clear();
    }

    /// What goes into a pack, once it was coded.
    pub fn to_seal(&self) -> ToSeal<'_> {
        let Coded { coding, frame, depth, bases } = &self.coded;
        let coded = if *coding == Coding::Raw { &self.plain } else { frame };
        ToSeal { coded, coding: *coding, depth: *depth, bases, chunks: &self.chunks }
    }
}

/// What the lock guards.
#[derive(Debug, Default)]
pub struct Pending {
    ids: IdSet,
    data: Option<Segment>,
    /// Of contents that are short.
    short: Option<Segment>,
    meta: Option<Segment>,
    /// By depth.
    deltas: Vec<Option<Segment>>,
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

    /// Appends a chunk to the segment of its kind, of its place's depth, or of contents that are short. A
    /// segment that is full is given back to be sent off; `spare` provides the next.
    pub fn append<E>(
        &mut self,
        kind: ChunkKind,
        id: ChunkId,
        plain: &[u8],
        place: Option<&Place>,
        is_short: bool,
        spare: impl FnOnce() -> Result<Segment, E>,
    ) -> Result<Option<(PackKind, Segment)>, E> {
        let pack = kind.pack_kind();
        let (slot, aim) = match (pack, place) {
            (PackKind::Data, Some(place)) => {
                let depth = usize::from(place.depth);
                let many = self.deltas.len().max(depth + 1);
                self.deltas.resize_with(many, || None);
                (&mut self.deltas[depth], DELTA_PLAIN_AIM)
            }
            (PackKind::Data, None) if is_short => (&mut self.short, SHORT_PLAIN_AIM),
            (PackKind::Data, None) => (&mut self.data, SEGMENT_PLAIN_AIM),
            (PackKind::Meta, _) => (&mut self.meta, SEGMENT_PLAIN_AIM),
        };
        let full = slot.take_if(|open| {
            !open.takes(plain.len(), aim) || place.is_some_and(|place| !open.takes_bases(place))
        });
        let open = match slot {
            Some(open) => open,
            None => {
                let open = slot.insert(spare()?);
                open.plain.reserve_exact(aim as usize);
                open
            }
        };
        open.push(kind, id, plain);
        if let Some(place) = place {
            open.push_bases(place);
        }
        Ok(full.map(|segment| (pack, segment.close())))
    }

    /// Takes out what is left in the open segments.
    pub fn drain(&mut self) -> Vec<(PackKind, Segment)> {
        let data = self.data.take().into_iter().chain(self.short.take());
        let data = data.chain(self.deltas.iter_mut().filter_map(Option::take));
        let data = data.map(|segment| (PackKind::Data, segment.close()));
        data.chain(self.meta.take().map(|segment| (PackKind::Meta, segment))).collect()
    }
}
