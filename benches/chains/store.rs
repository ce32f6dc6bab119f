//! Stores dumps under one policy, as a session would: chunks that miss go into segments by the depth and the
//! segment of their bases (`repo::session`), and each segment is coded for real, as a delta or whole.

use kamba_vault::base::id::ChunkId;
use kamba_vault::base::kind::Coding;
use kamba_vault::base::limits::{
    DELTA_PLAIN_AIM, DELTA_PREFIX_MAX, SEGMENT_BASES_MAX, SEGMENT_CHUNKS_MAX, SEGMENT_PLAIN_AIM,
};
use kamba_vault::chunker::{Base, Bases};
use kamba_vault::codec::prefix::Encoder;
use kamba_vault::codec::{Coded, Compressor, Level};
use kamba_vault::crypto::TAG_LEN;

use crate::Result;
use crate::days::{Chunk, Day};
use crate::policy::Policy;
use crate::reader::Reader;
use crate::stored::{Copied, Reach, Segment, SegmentKey, Stored};

/// A delta that is this many times shorter than its plaintext is taken without a look at the whole.
const SURELY_SHORTER: usize = 16;

/// Where a chunk stands, and what it is to be coded against.
struct Place {
    at: Vec<Base>,
    before: Option<Base>,
    after: Option<Base>,
    depth: u8,
    segment: SegmentKey,
    number: u32,
}

/// A chunk in a segment that is being filled.
struct Part {
    id: ChunkId,
    len: usize,
    number: u32,
    at: Vec<Base>,
}

/// A segment that is being filled.
#[derive(Default)]
struct Open {
    plain: Vec<u8>,
    parts: Vec<Part>,
    bases: Vec<Base>,
    depth: u8,
    base_segment: Option<SegmentKey>,
    after: Option<Base>,
}

impl Open {
    fn takes(&self, chunk: &Chunk, place: Option<&Place>, aim: u32) -> bool {
        let has_room =
            self.plain.len() + chunk.plain.len() <= aim as usize && self.parts.len() < SEGMENT_CHUNKS_MAX;
        let takes_bases = |place: &Place| {
            let more = place.at.iter().filter(|base| !self.bases.contains(base)).count();
            self.base_segment == Some(place.segment) && self.bases.len() + more < SEGMENT_BASES_MAX
        };
        self.parts.is_empty() || (has_room && place.is_none_or(takes_bases))
    }

    fn push(&mut self, chunk: &Chunk, place: Option<Place>) {
        self.plain.extend_from_slice(&chunk.plain);
        let (id, len) = (chunk.id, chunk.plain.len());
        let Some(place) = place else {
            return self.parts.push(Part { id, len, number: 0, at: Vec::new() });
        };
        if self.bases.is_empty() {
            self.depth = place.depth;
            self.base_segment = Some(place.segment);
            self.bases.extend(place.before);
        }
        place.at.iter().for_each(|base| add(&mut self.bases, *base));
        self.after = place.after;
        self.parts.push(Part { id, len, number: place.number, at: place.at });
    }
}

fn add(bases: &mut Vec<Base>, base: Base) {
    if !bases.contains(&base) {
        bases.push(base);
    }
}

/// Plaintext that segments aim at.
#[derive(Clone, Copy, Debug)]
pub struct Aims {
    whole: u32,
    delta: u32,
}

impl Aims {
    /// Those of the engine.
    pub const ENGINE: Aims = Aims { whole: SEGMENT_PLAIN_AIM, delta: DELTA_PLAIN_AIM };
    /// Each chunk has a segment of its own.
    pub const SINGLE: Aims = Aims { whole: 1, delta: 1 };
}

/// Stores.
pub struct Store {
    policy: Policy,
    aims: Aims,
    stored: Stored,
    /// By depth; the first is what is stored whole.
    open: Vec<Option<Open>>,
    encoder: Encoder,
    compressor: Compressor,
    /// Of the day, for bases that the dump before lacks.
    reader: Reader,
    prefix: Vec<u8>,
    delta: Vec<u8>,
    whole: Vec<u8>,
    /// Segments of the day so far.
    segments: u32,
    /// Bytes of the day so far.
    bytes: u64,
}

impl Store {
    /// An empty one.
    pub fn new(policy: Policy, aims: Aims) -> Result<Self> {
        Ok(Store {
            policy,
            aims,
            stored: Stored::default(),
            open: Vec::new(),
            encoder: Encoder::new(Level::DEFAULT)?,
            compressor: Compressor::new(Level::DEFAULT)?,
            reader: Reader::default(),
            prefix: Vec::new(),
            delta: Vec::new(),
            whole: Vec::new(),
            segments: 0,
            bytes: 0,
        })
    }

    /// What the last dump needs.
    pub fn stored(&self) -> &Stored {
        &self.stored
    }

    /// Stores a dump. The bytes that it adds, in sealed segments, and what it takes to read it.
    pub fn add(&mut self, day: &Day) -> Result<(u64, Reach)> {
        (self.segments, self.bytes) = (0, 0);
        for chunk in &day.chunks {
            // What is remembered no longer may be needed by a chain, and so be there.
            if let Some(bases) = chunk.missed.as_ref().filter(|_| !self.stored.copies.contains_key(&chunk.id))
            {
                let place = self.place(bases);
                self.push(day, chunk, place)?;
            }
        }
        for open in std::mem::take(&mut self.open).into_iter().flatten() {
            self.seal(day, open)?;
        }
        self.reader = Reader::default();
        Ok((self.bytes, self.stored.note(day)))
    }

    /// What a chunk is to be coded against; nothing if it is to be stored whole.
    fn place(&self, bases: &Bases) -> Option<Place> {
        let number = self.stored.copy(&bases.at().next()?.id).number + 1;
        let highest = self.policy.base_of(number);
        let mut at = Vec::new();
        bases.at().for_each(|base| self.climb_down(base, highest, &mut at));
        let segment = self.stored.copy(&at.first()?.id).segment;
        let depth = 1 + at.iter().map(|base| self.stored.segment_of(&base.id).depth).max()?;
        if depth > self.policy.limit_of(segment) || number > self.policy.last_link(segment) {
            return None;
        }
        let beside = |base: Option<Base>| {
            let mut found = Vec::new();
            self.climb_down(base?, highest, &mut found);
            found.into_iter().find(|base| self.stored.copy(&base.id).segment == segment)
        };
        let (before, after) = (beside(bases.before), beside(bases.after));
        Some(Place { at, before, after, depth, segment, number })
    }

    /// Finds what stands where `base` does in a dump so early that it has at most this number.
    fn climb_down(&self, base: Base, highest: u32, found: &mut Vec<Base>) {
        let copy = self.stored.copy(&base.id);
        if copy.number <= highest {
            return add(found, base);
        }
        copy.at.iter().for_each(|base| self.climb_down(*base, highest, found));
    }

    fn push(&mut self, day: &Day, chunk: &Chunk, place: Option<Place>) -> Result<()> {
        let depth = place.as_ref().map_or(0, |place| usize::from(place.depth));
        let aim = if depth == 0 { self.aims.whole } else { self.aims.delta };
        self.open.resize_with(self.open.len().max(depth + 1), || None);
        let slot = &mut self.open[depth];
        let full = slot.take_if(|open| !open.takes(chunk, place.as_ref(), aim));
        slot.get_or_insert_default().push(chunk, place);
        full.map_or(Ok(()), |full| self.seal(day, full))
    }

    /// Codes a segment and notes where its chunks lie.
    fn seal(&mut self, day: &Day, mut open: Open) -> Result<()> {
        let after = open.after.take();
        after.into_iter().for_each(|after| add(&mut open.bases, after));
        let segment = self.code(day, &open)?;
        let key = (day.number, self.segments);
        self.segments += 1;
        self.bytes += segment.coded.len() as u64 + TAG_LEN as u64;
        let (is_delta, mut start) = (segment.depth > 0, 0);
        for Part { id, len, number, at } in open.parts {
            let (number, at) = if is_delta { (number, at) } else { (0, Vec::new()) };
            self.stored.copies.insert(id, Copied { segment: key, span: start..start + len, number, at });
            start += len;
        }
        self.stored.segments.insert(key, segment);
        Ok(())
    }

    /// A segment as a delta, if that makes it clearly shorter and the policy has it, else whole.
    fn code(&mut self, day: &Day, open: &Open) -> Result<Segment> {
        let plain_len = open.plain.len() as u32;
        let of_plain = |len: usize| len as f64 / open.plain.len() as f64;
        let mut coded_whole = None;
        if let Some(key) = open.base_segment
            && self.gather(day, &open.bases)?
        {
            self.encoder.encode(&self.prefix, &open.plain, &mut self.delta)?;
            let len = self.delta.len();
            let below = &self.stored.segments[&key];
            let (deltas, whole) = (below.deltas + of_plain(len), below.whole);
            let mut pays = deltas <= self.policy.budget_of(key) * whole;
            if pays && len * SURELY_SHORTER > open.plain.len() {
                let coding = self.compressor.compress(&open.plain, &mut self.whole)?;
                let other = if coding == Coded::Raw { open.plain.len() } else { self.whole.len() };
                pays = len + other / 8 < other;
                coded_whole = Some(coding);
            }
            if pays {
                let (coding, coded, bases) = (Coding::Prefix, self.delta.clone(), open.bases.clone());
                return Ok(Segment { coding, coded, bases, plain_len, depth: open.depth, deltas, whole });
            }
        }
        let coded = coded_whole.map_or_else(|| self.compressor.compress(&open.plain, &mut self.whole), Ok)?;
        let (coding, coded) = match coded {
            Coded::Zstd => (Coding::Zstd, self.whole.clone()),
            Coded::Raw => (Coding::Raw, open.plain.clone()),
        };
        let whole = of_plain(coded.len());
        Ok(Segment { coding, coded, bases: Vec::new(), plain_len, depth: 0, deltas: 0.0, whole })
    }

    /// Puts the bases' plaintext one after another; `false` if that is longer than a prefix may be.
    fn gather(&mut self, day: &Day, bases: &[Base]) -> Result<bool> {
        self.prefix.clear();
        for base in bases {
            match day.before.get(&base.id) {
                Some(plain) => self.prefix.extend_from_slice(plain),
                None => self.reader.append(&self.stored, &base.id, &mut self.prefix)?,
            }
        }
        Ok(self.prefix.len() <= DELTA_PREFIX_MAX as usize)
    }
}
