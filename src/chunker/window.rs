//! The buffer between a source and the chunker: bytes are read straight into it and chunks are
//! handed out as slices of it. What is left over when the buffer is full (less than one largest
//! chunk) moves to its front; nothing else is copied and nothing is allocated after `new`.

use crate::chunker::Chunker;

/// Free space offered to one read: enough that moving the rest costs an eighth of a copy or less.
const READ_AIM: usize = 2 << 20;

/// A window over a stream.
#[derive(Debug, Default)]
pub struct Window {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    max: usize,
}

impl Window {
    /// An empty window for chunks of `chunker`'s sizes.
    pub fn new(chunker: &Chunker) -> Self {
        let max = chunker.settings().max() as usize;
        Window { buffer: vec![0; READ_AIM.max(max) + max], start: 0, end: 0, max }
    }

    /// Forgets what it holds, for its next stream.
    pub fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Free space to fill; never empty once `next` has returned `None`.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < self.max {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.buffer[self.end..]
    }

    /// Says that `n` bytes of `space` were filled.
    pub fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.buffer.len());
    }

    /// Copies as much of `bytes` as fits; returns how much that was.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let n = bytes.len().min(space.len());
        space[..n].copy_from_slice(&bytes[..n]);
        self.filled(n);
        n
    }

    /// The next `len` bytes, or fewer at the end of the stream; `None` as `next`. `len` is at most the
    /// largest chunk's.
    pub fn next_range(&mut self, len: usize, last: bool) -> Option<&[u8]> {
        let left = self.end - self.start;
        if left == 0 || (left < len && !last) {
            return None;
        }
        let from = self.start;
        self.start += len.min(left);
        Some(&self.buffer[from..self.start])
    }

    /// The next chunk; `None` when more bytes are needed or, with `last`, when all is handed out.
    pub fn next(&mut self, chunker: &Chunker, last: bool) -> Option<&[u8]> {
        let left = self.end - self.start;
        if left == 0 || (left < self.max && !last) {
            return None;
        }
        let from = self.start;
        self.start += chunker.cut(&self.buffer[from..self.end]);
        Some(&self.buffer[from..self.start])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::chunker::{GEAR_BYTES, Settings};
    use proptest::prelude::*;

    fn cut_all(chunker: &Chunker, data: &[u8], mut piece: impl FnMut(usize) -> usize) -> Vec<usize> {
        let (mut window, mut cuts, mut at) = (Window::new(chunker), Vec::new(), 0);
        let mut seen = Vec::new();
        loop {
            let last = at == data.len();
            while let Some(chunk) = window.next(chunker, last) {
                cuts.push(chunk.len());
                seen.extend_from_slice(chunk);
            }
            if last {
                assert!(seen == data, "the chunks are the stream");
                return cuts;
            }
            let n = piece(at).clamp(1, data.len() - at);
            at += window.push(&data[at..at + n]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn cuts_do_not_depend_on_how_the_bytes_arrive(len in 0usize..6_000_000, seed in 0u8..9, step in 1usize..300_000) {
            let mut table = [0; GEAR_BYTES];
            blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut table);
            let chunker = Chunker::new(Settings::new(16 << 10).unwrap(), &table);
            let mut data = vec![0; len];
            blake3::Hasher::new().update(b"d").update(&[seed]).finalize_xof().fill(&mut data);
            let whole = cut_all(&chunker, &data, |_| usize::MAX);
            let pieces = cut_all(&chunker, &data, |at| (at * 7 + step) % 300_000);
            prop_assert_eq!(whole, pieces);
        }
    }
}
