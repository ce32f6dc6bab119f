//! A filter in memory in front of the index cache: says "not there" for certain, "maybe there"
//! otherwise, so that new data rarely touches SQLite (D-5). A blocked Bloom filter (Putze, Sanders
//! and Singler 2007): one 64-byte block per key, eight bits in it. Chunk ids are keyed hashes, so
//! their own bytes serve as the hash functions.
//!
//! It is kept in the cache in pages; only pages that changed are written back, in the transaction
//! that adds the chunks they speak for. A wrong "no", from before another process loaded, only
//! costs a second copy of a chunk.

use crate::base::id::ChunkId;

const BLOCK: usize = 64;
/// Bytes of one stored page.
const PAGE: usize = 4096;
/// Bits per key at capacity: about 1 % of false "maybe".
const BITS_PER_KEY: u64 = 12;

/// The filter.
pub struct Filter {
    bits: Vec<u8>,
    dirty: Vec<bool>,
}

impl Filter {
    /// Pages that a filter for `keys` keys needs: a power of two, so that growth is rare.
    pub fn pages_for(keys: u64) -> usize {
        let bytes = (keys.saturating_mul(BITS_PER_KEY) / 8).max(PAGE as u64);
        bytes.div_ceil(PAGE as u64).next_power_of_two() as usize
    }

    /// How many keys `pages` pages are meant for.
    pub fn capacity(pages: usize) -> u64 {
        pages as u64 * PAGE as u64 * 8 / BITS_PER_KEY
    }

    /// An empty filter of `pages` pages.
    pub fn new(pages: usize) -> Self {
        Filter { bits: vec![0; pages * PAGE], dirty: vec![true; pages] }
    }

    /// Pages in all.
    pub fn pages(&self) -> usize {
        self.dirty.len()
    }

    /// Takes over a stored page; `false` if there is no such page or its size is wrong.
    pub fn load(&mut self, page: usize, bytes: &[u8]) -> bool {
        let Some(slot) = self.bits.get_mut(page * PAGE..(page + 1) * PAGE) else { return false };
        if bytes.len() != PAGE {
            return false;
        }
        slot.copy_from_slice(bytes);
        self.dirty[page] = false;
        true
    }

    /// The pages that changed since the last call, which are clean now.
    pub fn take_dirty(&mut self) -> Vec<usize> {
        let changed = self.dirty.iter_mut().enumerate();
        changed.filter_map(|(page, dirty)| std::mem::take(dirty).then_some(page)).collect()
    }

    /// The bytes of a page; none beyond the last.
    pub fn page(&self, page: usize) -> &[u8] {
        self.bits.get(page * PAGE..(page + 1) * PAGE).unwrap_or_default()
    }

    /// Start of the key's block, and the 72 bits that choose inside it.
    fn place(&self, id: &ChunkId) -> (usize, [u8; 9]) {
        let mut head = [0; 8];
        head.copy_from_slice(&id.0[..8]);
        let blocks = (self.bits.len() / BLOCK) as u64;
        let block = (u64::from_le_bytes(head) % blocks) as usize;
        let mut choice = [0; 9];
        choice.copy_from_slice(&id.0[8..17]);
        (block * BLOCK, choice)
    }

    fn bits_of(choice: &[u8; 9]) -> impl Iterator<Item = (usize, u8)> {
        let (low, high) = (choice[..8].iter(), choice[8]);
        low.enumerate().map(move |(i, &byte)| {
            let bit = usize::from(byte) | usize::from(high >> i & 1) << 8;
            (bit / 8, 1 << (bit % 8))
        })
    }

    /// Adds `id`.
    pub fn insert(&mut self, id: &ChunkId) {
        let (start, choice) = self.place(id);
        for (byte, bit) in Self::bits_of(&choice) {
            self.bits[start + byte] |= bit;
        }
        self.dirty[start / PAGE] = true;
    }

    /// `false`: `id` was never added. `true`: perhaps it was.
    pub fn maybe(&self, id: &ChunkId) -> bool {
        let (start, choice) = self.place(id);
        Self::bits_of(&choice).all(|(byte, bit)| self.bits[start + byte] & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> ChunkId {
        ChunkId(crate::crypto::hash(&n.to_le_bytes()))
    }

    #[test]
    fn never_forgets_and_rarely_invents() {
        let mut filter = Filter::new(Filter::pages_for(100_000));
        (0..100_000).for_each(|n| filter.insert(&id(n)));
        assert!((0..100_000).all(|n| filter.maybe(&id(n))));
        let wrong = (100_000..200_000).filter(|&n| filter.maybe(&id(n))).count();
        assert!(wrong < 2_000, "{wrong} of 100,000 unknown ids seem known");
    }

    #[test]
    fn pages_round_trip_and_only_changed_ones_are_written() {
        let mut filter = Filter::new(8);
        filter.insert(&id(1));
        let changed = filter.take_dirty();
        let pages: Vec<_> = changed.into_iter().map(|n| (n, filter.page(n).to_vec())).collect();
        assert_eq!(pages.len(), 8);
        let mut again = Filter::new(8);
        assert!(pages.iter().all(|(n, bytes)| again.load(*n, bytes)));
        assert!(again.maybe(&id(1)) && !again.maybe(&id(2)));
        assert!(!again.load(8, &[0; PAGE]) && !again.load(0, &[0; 3]));
        again.insert(&id(2));
        assert_eq!(again.take_dirty().len(), 1);
        assert!(again.take_dirty().is_empty());
    }
}
