//! The parent's content beside a stream that is being cut: which of its chunks the stream's new ones
//! are coded against, and how deep that makes them (D-2, I-8).
//!
//! A stream that the parent has nothing by the name of finds what to follow by its content: by a chunk
//! that is known, right before one that is not. So nothing is looked for in a stream that is all new, or
//! all known.
//!
//! Nothing here can fail a snapshot: what of the parent cannot be read is not followed, and a chunk
//! without bases is stored whole.

use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::base::idmap::IdMap;
use crate::chunker::{Base, Bases, Follow};
use crate::format::list::ListEntry;
use crate::repo::read::{ChunkReader, Copied, Entries, Packed, SegmentKey};

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

/// Contents of the parent, found by what is in them.
pub trait Contents: Send + Sync {
    /// The top entries of a content that has the chunk `id` near its beginning.
    fn beginning_with(&self, id: &ChunkId) -> Option<Vec<ListEntry>>;
}

/// Follows one content of the parent.
pub struct Following {
    reader: Arc<ChunkReader>,
    limit: u8,
    /// What of it is still to be read.
    rest: Rest,
    follow: Follow,
    /// How it is found, as long as it is not known which it is.
    search: Option<Search>,
    copies: IdMap<Option<Copied>>,
}

/// The rest of what is followed.
enum Rest {
    Nothing,
    Content(Entries),
    /// What lies in a pack beside a chunk that is known.
    Packed(Packed),
}

/// The search for something to follow.
struct Search {
    contents: Option<Arc<dyn Contents>>,
    /// The last chunk, if it is known and not from what is followed.
    last: Option<Base>,
}

impl Following {
    /// Follows the content whose top entries these are; chains may be `limit` deep.
    pub fn new(reader: Arc<ChunkReader>, limit: u8, entries: Vec<ListEntry>) -> Self {
        let rest = Rest::Content(Entries::new(entries));
        Following { reader, limit, rest, follow: Follow::default(), search: None, copies: IdMap::default() }
    }

    /// The same for a content whose bytes stay where they are.
    pub fn fixed(reader: Arc<ChunkReader>, limit: u8, entries: Vec<ListEntry>) -> Self {
        Following { follow: Follow::fixed(), ..Following::new(reader, limit, entries) }
    }

    /// Follows what has the same chunks: one of `contents`, or else what lies beside them in a pack.
    pub fn searching(reader: Arc<ChunkReader>, limit: u8, contents: Option<Arc<dyn Contents>>) -> Self {
        let search = Some(Search { contents, last: None });
        Following { search, rest: Rest::Nothing, ..Following::new(reader, limit, Vec::new()) }
    }

    /// Passes over a chunk that is known.
    pub fn known(&mut self, id: &ChunkId, len: u32) {
        self.feed();
        let is_followed = self.follow.known(id, len);
        if let Some(search) = &mut self.search {
            search.last = (!is_followed).then_some(Base { id: *id, len });
        }
    }

    /// Passes over a hole.
    pub fn hole(&mut self, len: u64) {
        // Packs have none.
        if self.search.is_none() {
            self.follow.gap(len);
        }
    }

    /// Passes over a chunk that is not known; the place to code it against, if there is one.
    pub fn missed(&mut self, len: u32) -> Option<Place> {
        if let Some(last) = self.search.as_mut().and_then(|search| search.last.take()) {
            self.follow_from(last);
        }
        self.feed();
        let bases = self.follow.missed(len);
        // What was only guessed to be followed, and does not look alike, costs more time than it saves.
        if self.search.is_some() && self.follow.is_lost() {
            return None;
        }
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

    /// Follows what the chunk `last` is found in, or else what was followed before.
    fn follow_from(&mut self, last: Base) {
        let Some(search) = &self.search else { return };
        let content = search.contents.as_ref().and_then(|contents| contents.beginning_with(&last.id));
        if let Some(entries) = content {
            self.follow = Follow::default();
            self.rest = Rest::Content(Entries::new(entries));
            self.search = None;
            self.feed();
        } else if let Ok(Some(packed)) = self.reader.packed(&last.id) {
            self.follow = Follow::default();
            self.rest = Rest::Packed(packed);
            self.feed();
        } else {
            return;
        }
        self.follow.known(&last.id, last.len);
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

    /// Hands over as much of the content that is followed as is asked for.
    fn feed(&mut self) {
        while let Rest::Packed(packed) = &mut self.rest
            && self.follow.wants_more()
        {
            match packed.next() {
                Some(chunk) => self.follow.push(chunk),
                None => self.rest = Rest::Nothing,
            }
        }
        while let Rest::Content(entries) = &mut self.rest
            && self.follow.wants_more()
        {
            let Some(entry) = entries.peek() else {
                self.rest = Rest::Nothing;
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
