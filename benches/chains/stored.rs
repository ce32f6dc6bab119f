//! What a policy has stored: segments, and where in them each chunk lies.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use kamba_vault::base::id::ChunkId;
use kamba_vault::base::idmap::IdMap;
use kamba_vault::base::kind::Coding;
use kamba_vault::chunker::Base;

use crate::days::{Chunk, Day, REMEMBERED};

/// A segment: the day that stored it, and its number among those of the day.
pub type SegmentKey = (u32, u32);

/// A segment.
pub struct Segment {
    pub coding: Coding,
    pub coded: Vec<u8>,
    /// What it is coded against, if it is a delta.
    pub bases: Vec<Base>,
    pub plain_len: u32,
    /// Links of the chain below it.
    pub depth: u8,
    /// Bytes of the deltas of its chain, for each byte of plaintext.
    pub deltas: f64,
    /// Bytes of what the chain begins with, for each byte of plaintext.
    pub whole: f64,
}

/// Where a chunk lies.
pub struct Copied {
    pub segment: SegmentKey,
    /// Where in the segment's plaintext.
    pub span: Range<usize>,
    /// How often what stands at its place was stored as a delta since it was stored whole.
    pub number: u32,
    /// The chunks at its place that it is coded against.
    pub at: Vec<Base>,
}

/// All of it that the dumps need that are remembered.
#[derive(Default)]
pub struct Stored {
    pub segments: HashMap<SegmentKey, Segment>,
    pub copies: IdMap<Copied>,
    /// Chunks of those dumps, the newest first.
    dumps: VecDeque<Vec<ChunkId>>,
}

/// What it takes to read a dump.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// Links below a byte of the dump, in the mean.
    pub mean: f64,
    /// The most of them.
    pub max: u8,
    /// Plaintext that is decoded, each segment once, for each byte of the dump.
    pub decoded: f64,
}

impl Stored {
    /// The copy of a chunk, which is there: else the simulation is wrong.
    pub fn copy(&self, id: &ChunkId) -> &Copied {
        &self.copies[id]
    }

    /// The segment that a chunk lies in.
    pub fn segment_of(&self, id: &ChunkId) -> &Segment {
        &self.segments[&self.copy(id).segment]
    }

    /// Takes note of a dump and drops what neither it nor another that is remembered needs. What it takes to
    /// read it.
    pub fn note(&mut self, day: &Day) -> Reach {
        self.dumps.push_front(day.chunks.iter().map(|chunk| chunk.id).collect());
        self.dumps.truncate(REMEMBERED as usize);
        let mut needed = HashSet::new();
        day.chunks.iter().for_each(|chunk| self.mark(&chunk.id, &mut needed));
        let reach = self.reach(day, &needed);
        self.dumps.iter().flatten().for_each(|id| self.mark(id, &mut needed));
        self.segments.retain(|key, _| needed.contains(key));
        self.copies.retain(|_, copy| needed.contains(&copy.segment));
        reach
    }

    fn reach(&self, day: &Day, needed: &HashSet<SegmentKey>) -> Reach {
        let depth = |chunk: &Chunk| self.segment_of(&chunk.id).depth;
        let links: u64 = day.chunks.iter().map(|c| u64::from(depth(c)) * c.plain.len() as u64).sum();
        let max = day.chunks.iter().map(depth).max().unwrap_or_default();
        let decoded: u64 = needed.iter().map(|key| u64::from(self.segments[key].plain_len)).sum();
        let len = day.len() as f64;
        Reach { mean: links as f64 / len, max, decoded: decoded as f64 / len }
    }

    fn mark(&self, id: &ChunkId, needed: &mut HashSet<SegmentKey>) {
        let key = self.copy(id).segment;
        if needed.insert(key) {
            self.segments[&key].bases.iter().for_each(|base| self.mark(&base.id, needed));
        }
    }
}
