//! Where the chunks of a content stand in an earlier one: the choice of a delta's bases (D-2).
//!
//! Chunks that both contents have fix the place. After one, the next is expected where the earlier
//! content goes on. A chunk that only the new content has is taken to stand at the same distance from
//! the last fixed place; its bases are the earlier chunks there. Cut points depend on the bytes near
//! them alone, so most outlive a change elsewhere in their chunk: where a new chunk ends close to an
//! earlier one, the two ends are taken for the same, and the place is fixed again. So the place is kept
//! even when every chunk changed and every row moved. It is a guess: a wrong one costs a larger delta,
//! or none, and never a byte.
//!
//! Only a window of the earlier content is in memory, however long it is.

use std::collections::VecDeque;

use crate::base::id::ChunkId;
use crate::base::idmap::IdMap;

/// Chunks of the earlier content that are kept after the place has passed them: what was put in
/// between them may be long.
const BEHIND: u64 = 2048;
/// Chunks that are looked at ahead of the place: what was taken out may be long, too.
const AHEAD: u64 = 1024;
/// Ends of chunks that differ by at most this share of the chunk are the same end.
const NEAR: i64 = 16;
/// Bases of one chunk, its neighbours' not counted.
pub const BASES_MAX: usize = 4;
/// So many chunks in a row that are known, and not from the window, show that the place was lost.
const LOST: u32 = 8;
/// New chunks in a row whose lengths are looked for among the earlier ones when the place was lost.
const PATTERN: usize = 8;
/// How many of them must be there. Lengths scatter so widely that by chance one window in ten thousand
/// has such a place.
const PATTERN_FOUND: usize = 7;
/// Lengths that differ by at most this share are alike.
const ALIKE: u32 = 24;
/// The place counts as lost when fewer of the last `PATTERN` chunks ended near an earlier end.
const SETTLED: u32 = 4;

/// A chunk of the earlier content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// Its id.
    pub id: ChunkId,
    /// Its length.
    pub len: u32,
}

/// What stands in the earlier content where a new chunk stands in this one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bases {
    at: [Option<Base>; BASES_MAX],
    /// What comes before, for what the place was guessed too late.
    pub before: Option<Base>,
    /// What comes after.
    pub after: Option<Base>,
}

impl Bases {
    /// The chunks at the place, in order.
    pub fn at(&self) -> impl Iterator<Item = Base> {
        self.at.iter().flatten().copied()
    }

    /// Whether nothing stands there.
    pub fn is_empty(&self) -> bool {
        self.at[0].is_none()
    }

    fn push(&mut self, base: Base) {
        if let Some(free) = self.at.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(base);
        }
    }
}

/// A chunk in the window.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    base: Base,
    /// Where it ends in the earlier content.
    end: i64,
}

impl Earlier {
    fn start(&self) -> i64 {
        self.end.saturating_sub(self.base.len.into())
    }
}

/// Follows an earlier content while a new one is cut.
#[derive(Debug, Default)]
pub struct Follow {
    window: VecDeque<Earlier>,
    /// Number, in the earlier content, of the first chunk in the window.
    first: u64,
    /// Numbers of the chunks in the window; of one that comes often, the last.
    numbers: IdMap<u64>,
    /// Number of the chunk that is expected next.
    next: u64,
    /// Bytes of the earlier content so far.
    end: i64,
    /// Bytes of the new content so far.
    position: i64,
    /// Whether bytes never move: both contents are cut at the same places.
    is_fixed: bool,
    /// How much further on the new content is than the earlier one at the same place.
    drift: i64,
    /// Chunks in a row that were known from elsewhere.
    strange: u32,
    /// Lengths of the last new chunks in a row, the latest last.
    lens: [u32; PATTERN],
    /// Which of them ended near an earlier end: a bit each, the latest lowest.
    settled: u8,
}

impl Follow {
    /// Follows a content whose bytes stay where they are, such as the pages of a relation: what stands at
    /// the same offset is at the same place, whatever else has the same bytes.
    pub fn fixed() -> Self {
        Follow { is_fixed: true, ..Follow::default() }
    }

    /// Whether more of the earlier content should be pushed before the next step.
    pub fn wants_more(&self) -> bool {
        self.first + self.window.len() as u64 <= self.next + AHEAD
    }

    /// Takes the next chunk of the earlier content.
    pub fn push(&mut self, base: Base) {
        self.end = self.end.saturating_add(base.len.into());
        self.numbers.insert(base.id, self.first + self.window.len() as u64);
        self.window.push_back(Earlier { base, end: self.end });
        while self.next.saturating_sub(self.first) > BEHIND {
            self.forget_first();
        }
    }

    /// Passes over a stretch of the earlier content that has no chunks.
    pub fn push_gap(&mut self, len: u64) {
        self.end = self.end.saturating_add_unsigned(len);
    }

    /// Passes over a stretch of the new content that has none.
    pub fn gap(&mut self, len: u64) {
        self.position = self.position.saturating_add_unsigned(len);
    }

    /// Passes over a chunk of the new content that was known already; whether the earlier content has it
    /// somewhere near.
    pub fn known(&mut self, id: &ChunkId, len: u32) -> bool {
        if self.is_fixed {
            self.position = self.position.saturating_add(len.into());
            self.go_to(self.position);
            return true;
        }
        let found = self.find(id);
        match found {
            Some((number, start)) => {
                self.drift = self.position.saturating_sub(start);
                self.next = number + 1;
                self.strange = 0;
                self.lens = [0; PATTERN];
                self.settled = u8::MAX;
            }
            None => {
                self.strange += 1;
                // What is known and not here may stand further on: the window moves there.
                if self.strange.is_multiple_of(LOST) {
                    self.next = self.first + self.window.len() as u64;
                }
            }
        }
        self.position = self.position.saturating_add(len.into());
        found.is_some()
    }

    /// Whether the place is lost: of the last new chunks too few ended near an earlier end.
    pub fn is_lost(&self) -> bool {
        self.settled.count_ones() < SETTLED
    }

    /// Number and start of an earlier chunk: the one that is expected, if it is that.
    fn find(&self, id: &ChunkId) -> Option<(u64, i64)> {
        let at = |number: u64| self.window.get(usize::try_from(number.checked_sub(self.first)?).ok()?);
        let expected = at(self.next).filter(|chunk| chunk.base.id == *id).map(|_| self.next);
        let number = expected.or_else(|| self.numbers.get(id).copied())?;
        Some((number, at(number)?.start()))
    }

    /// Passes over a chunk of the new content that was not known, and answers what stands at its place.
    pub fn missed(&mut self, len: u32) -> Bases {
        self.lens.rotate_left(1);
        self.lens[PATTERN - 1] = len;
        if !self.is_fixed {
            self.seek(len);
        }
        let (start, len) = (self.position.saturating_sub(self.drift), i64::from(len));
        let (end, near) = (start.saturating_add(len), len / NEAR);
        self.position = self.position.saturating_add(len);
        self.strange = 0;
        let mut bases = Bases::default();
        let from = self.window.partition_point(|chunk| chunk.end <= start);
        let mut taken = from..from;
        for (at, chunk) in self.window.iter().enumerate().skip(from) {
            if chunk.start() >= end {
                break;
            }
            let overlap = chunk.end.min(end).saturating_sub(chunk.start().max(start));
            if overlap > near || overlap * 2 > i64::from(chunk.base.len) {
                if taken.is_empty() {
                    taken.start = at;
                }
                taken.end = at + 1;
                bases.push(chunk.base);
            }
        }
        if self.is_fixed {
            self.go_to(end);
            return bases;
        }
        if !taken.is_empty() {
            bases.before = taken.start.checked_sub(1).map(|at| self.window[at].base);
            bases.after = self.window.get(taken.end).map(|chunk| chunk.base);
        }
        self.settle(end, near);
        bases
    }

    /// Moves the place to the earlier chunk that ends behind `offset`.
    fn go_to(&mut self, offset: i64) {
        let passed = self.window.partition_point(|chunk| chunk.end <= offset);
        self.next = self.next.max(self.first + passed as u64);
    }

    /// Fixes the place if an earlier chunk ends near `end`.
    fn settle(&mut self, end: i64, near: i64) {
        let after = self.window.partition_point(|chunk| chunk.end < end);
        let distance = |at: usize| Some(self.window.get(at)?.end.saturating_sub(end).saturating_abs());
        let candidates = [after.checked_sub(1), Some(after)].into_iter().flatten();
        let nearest = candidates.filter_map(|at| Some((distance(at)?, at))).min();
        self.settled <<= 1;
        match nearest {
            Some((distance, at)) if distance <= near => {
                self.settled |= 1;
                self.drift = self.position.saturating_sub(self.window[at].end);
                self.next = self.first + at as u64 + 1;
            }
            _ => self.next = self.next.max(self.first + after as u64),
        }
    }

    /// If the place was lost, looks in the window for the lengths of the last chunks, and fixes the place
    /// where nearly all of them follow each other. The last one has `len` bytes and is still to come.
    fn seek(&mut self, len: u32) {
        if !self.is_lost() || self.lens[0] == 0 || self.window.len() < PATTERN {
            return;
        }
        let alike = |earlier: &Earlier, len: u32| earlier.base.len.abs_diff(len) <= len / ALIKE;
        let found = |at: &usize| {
            let earlier = self.window.range(*at..at + PATTERN);
            earlier.zip(self.lens).filter(|(earlier, len)| alike(earlier, *len)).count() >= PATTERN_FOUND
        };
        if let Some(at) = (0..=self.window.len() - PATTERN).find(found) {
            let last = &self.window[at + PATTERN - 1];
            // Its end is fixed by the one before; both ends may have moved, but not far.
            self.drift = self.position.saturating_add(len.into()).saturating_sub(last.end);
            self.settled = u8::MAX;
        }
    }

    fn forget_first(&mut self) {
        let Some(gone) = self.window.pop_front() else { return };
        if self.numbers.get(&gone.base.id) == Some(&self.first) {
            self.numbers.remove(&gone.base.id);
        }
        self.first += 1;
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
