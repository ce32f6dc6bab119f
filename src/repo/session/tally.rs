//! What a session adds, counted by all its threads.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::kind::Coding;

/// What a session added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Plaintext bytes of chunks that were not known.
    pub new_bytes: u64,
    /// Number of such chunks.
    pub new_chunks: u64,
    /// Chunks of all kinds that the session came across, known or not.
    pub chunks: u64,
    /// What `new_bytes` were coded in, before seals and padding.
    pub coded_bytes: u64,
    /// Of `new_bytes`, those that became deltas.
    pub delta_bytes: u64,
    /// Of `coded_bytes`, those of deltas.
    pub delta_coded_bytes: u64,
    /// Plaintext bytes of bases that were read, whether or not a delta came of it.
    pub base_bytes: u64,
    /// Bytes of packs that were read from the repository to have bases, chains below them and the lists that
    /// name them. Nothing is where copies are kept on this machine.
    pub base_fetched_bytes: u64,
    /// Bytes of packs and index parts written.
    pub stored_bytes: u64,
    /// Bytes of the root, once it is committed.
    pub root_bytes: u64,
    /// Whether this machine's index knows all of it.
    pub indexed: bool,
}

/// The counts of a session that is at work.
#[derive(Debug, Default)]
pub(super) struct Tally {
    new_bytes: AtomicU64,
    new_chunks: AtomicU64,
    chunks: AtomicU64,
    coded_bytes: AtomicU64,
    delta_bytes: AtomicU64,
    delta_coded_bytes: AtomicU64,
    base_bytes: AtomicU64,
    stored_bytes: AtomicU64,
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Tally {
    /// Chunks were come across.
    pub fn chunks(&self, more: u64) {
        count(&self.chunks, more);
    }

    /// One of them, of so many bytes, is new.
    pub fn new_chunk(&self, plain: usize) {
        count(&self.new_bytes, plain as u64);
        count(&self.new_chunks, 1);
    }

    /// Bases of so many bytes were read.
    pub fn bases(&self, plain: usize) {
        count(&self.base_bytes, plain as u64);
    }

    /// A segment of new chunks went into a pack.
    pub fn segment(&self, coding: Coding, plain: usize, coded: usize) {
        count(&self.coded_bytes, coded as u64);
        if coding == Coding::Prefix {
            count(&self.delta_bytes, plain as u64);
            count(&self.delta_coded_bytes, coded as u64);
        }
    }

    /// A pack or an index part is durable.
    pub fn stored(&self, bytes: u64) {
        count(&self.stored_bytes, bytes);
    }

    /// The sums, of which this machine's index knows all if `indexed`. For bases, `fetched` bytes were read
    /// from the repository.
    pub fn added(&self, indexed: bool, fetched: u64) -> Added {
        let sum = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Added {
            new_bytes: sum(&self.new_bytes),
            new_chunks: sum(&self.new_chunks),
            chunks: sum(&self.chunks),
            coded_bytes: sum(&self.coded_bytes),
            delta_bytes: sum(&self.delta_bytes),
            delta_coded_bytes: sum(&self.delta_coded_bytes),
            base_bytes: sum(&self.base_bytes),
            base_fetched_bytes: fetched,
            stored_bytes: sum(&self.stored_bytes),
            root_bytes: 0,
            indexed,
        }
    }
}
