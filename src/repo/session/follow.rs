//! The parent's content beside a stream that is being cut: which of its chunks the stream's new ones
//! are coded against, and how deep that makes them (D-2, I-8).
//!
//! Nothing here can fail a snapshot: what of the parent cannot be read is not followed, and a chunk
//! without bases is stored whole.

use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::base::idmap::IdMap;
use crate::chunker::{Base, Bases, Follow};
use crate::format::list::ListEntry;
use crate::repo::read::{ChunkReader, Copied, Entries, SegmentKey};

/// Bases whose copies are remembered: neighbours are asked for again and again.
const COPIES_KEPT: usize = 4096;

/// Where a chunk stands in the parent, each base at hand.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    bases: Bases,
    /// What comes before.
    pub before: Option<Base>,
    /// What comes after.
    pub after: Option<Base>,
    /// How deep a chain a delta against them makes.
    pub depth: u8,
    /// The segment that the first base lies in.
    pub segment: SegmentKey,
}

impl Place {
    /// The chunks at the place, in order.
    pub fn at(&self) -> impl Iterator<Item = Base> {
        self.bases.at()
    }
}

/// Chains end up to this share of the limit before it.
const SPREAD: u8 = 4;

/// Follows one content of the parent.
pub struct Following {
    reader: Arc<ChunkReader>,
    limit: u8,
    /// What of it is still to be read.
    entries: Option<Entries>,
    follow: Follow,
    copies: IdMap<Option<Copied>>,
}

impl Following {
    /// Follows the content whose top entries these are; chains may be `limit` deep.
    pub fn new(reader: Arc<ChunkReader>, limit: u8, entries: Vec<ListEntry>) -> Self {
        let entries = Some(Entries::new(entries));
        Following { reader, limit, entries, follow: Follow::default(), copies: IdMap::default() }
    }

    /// Passes over a chunk that is known.
    pub fn known(&mut self, id: &ChunkId, len: u32) {
        self.feed();
        self.follow.known(id, len);
    }

    /// Passes over a hole.
    pub fn hole(&mut self, len: u64) {
        self.follow.gap(len);
    }

    /// Passes over a chunk that is not known; the place to code it against, if there is one.
    pub fn missed(&mut self, len: u32) -> Option<Place> {
        self.feed();
        let bases = self.follow.missed(len);
        let (mut first, mut deepest) = (None, 0);
        for base in bases.at() {
            // One that is nowhere at hand leaves the others of no use: they are what it is not.
            let copy = self.copy_of(&base.id)?;
            first.get_or_insert(copy.segment);
            deepest = deepest.max(copy.depth);
        }
        let (segment, depth) = (first?, deepest + 1);
        if depth > self.limit_of(segment) {
            return None;
        }
        let mut beside = |base: Option<Base>| {
            base.filter(|base| self.copy_of(&base.id).is_some_and(|copy| copy.segment == segment))
        };
        let (before, after) = (beside(bases.before), beside(bases.after));
        Some(Place { bases, before, after, depth, segment })
    }

    /// How deep what is coded against `segment` may be. What was stored whole on one day is not to come to
    /// its limit on one day again: that day would cost as much as the first.
    fn limit_of(&self, (pack, segment): SegmentKey) -> u8 {
        let spread = u32::from(self.limit / SPREAD) + 1;
        self.limit - (pack.wrapping_mul(31).wrapping_add(segment) % spread) as u8
    }

    fn copy_of(&mut self, id: &ChunkId) -> Option<Copied> {
        if let Some(known) = self.copies.get(id) {
            return *known;
        }
        let copy = self.reader.least_deep(id).unwrap_or_default();
        if self.copies.len() >= COPIES_KEPT {
            self.copies.clear();
        }
        self.copies.insert(*id, copy);
        copy
    }

    /// Hands over as much of the parent's list as is asked for.
    fn feed(&mut self) {
        while let Some(entries) = self.entries.as_mut().filter(|_| self.follow.wants_more()) {
            let Some(entry) = entries.peek() else {
                self.entries = None;
                return;
            };
            if let ListEntry::List { len, .. } = entry {
                // What a list that is not at hand names is passed over: later ones may be.
                if entries.open(&self.reader).is_err() {
                    self.follow.push_gap(len);
                }
                continue;
            }
            entries.skip();
            match entry {
                ListEntry::Chunk { id, len } => self.follow.push(Base { id, len }),
                ListEntry::Hole { len } | ListEntry::Zeros { len } | ListEntry::List { len, .. } => {
                    self.follow.push_gap(len);
                }
            }
        }
    }
}
