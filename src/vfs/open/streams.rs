//! Recognises who goes through a file in order. A kernel sends the requests of one reader from several
//! threads, slightly out of order, and several readers may share an open file.

use std::ops::Range;

/// Readers of one open file that are told apart.
const STREAMS: usize = 4;
/// How far from where a reader was expected his next request may be.
const TOLERANCE: u64 = 2 << 20;
/// Bytes that a reader must have read in order before others read ahead of him.
const SEEN_LEAST: u64 = 256 << 10;

/// The readers of an open file.
#[derive(Default)]
pub struct Streams {
    /// The one that read last is the last.
    streams: Vec<Stream>,
}

/// Somebody who reads in order.
pub struct Stream {
    /// Where he began.
    began: u64,
    /// Behind the last byte that he asked for.
    front: u64,
    /// Bytes that he asked for.
    seen: u64,
    /// Up to where others read for him, or were told to.
    planned: u64,
    /// Up to where they should.
    target: u64,
}

impl Streams {
    /// Takes note of a request. The reader it is of, if others should read ahead of him, at most `reach`
    /// bytes.
    pub fn next(&mut self, range: &Range<u64>, reach: u64) -> Option<&mut Stream> {
        let is_near = |stream: &Stream| range.start.abs_diff(stream.front) <= TOLERANCE;
        let mut stream = match self.streams.iter().rposition(is_near) {
            Some(number) => self.streams.remove(number),
            None => {
                if self.streams.len() >= STREAMS {
                    self.streams.remove(0);
                }
                let at = range.start;
                Stream { began: at, front: at, seen: 0, planned: at, target: at }
            }
        };
        stream.seen = stream.seen.saturating_add(range.end - range.start);
        stream.began = stream.began.min(range.start);
        stream.front = stream.front.max(range.end);
        stream.planned = stream.planned.max(stream.front);
        // Who jumps about near one place reads little of what he passes.
        let is_dense = stream.seen >= (stream.front - stream.began) / 2;
        let wants = stream.seen >= SEEN_LEAST && is_dense;
        if wants {
            stream.target = stream.front.saturating_add(reach.min(stream.seen.saturating_mul(2)));
        }
        self.streams.push(stream);
        self.streams.last_mut().filter(|_| wants)
    }
}

impl Stream {
    /// What should be read next of a file of `size` bytes: up to a multiple of `step`.
    pub fn next_step(&self, step: u64, size: u64) -> Option<Range<u64>> {
        let end = (self.planned / step + 1).saturating_mul(step).min(size);
        (self.planned < end && (end <= self.target || end == size)).then_some(self.planned..end)
    }

    /// Notes that it is read up to `end`.
    pub fn pushed(&mut self, end: u64) {
        self.planned = end;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Stream, Streams};

    const KIB: u64 = 1 << 10;
    const STEP: u64 = 1 << 20;
    const SIZE: u64 = 1 << 30;

    fn take(stream: &mut Stream) -> Vec<u64> {
        let mut ends = Vec::new();
        while let Some(next) = stream.next_step(STEP, SIZE) {
            stream.pushed(next.end);
            ends.push(next.end);
        }
        ends
    }

    #[test]
    fn a_reader_in_order_is_recognised_though_requests_overtake_each_other() {
        let mut streams = Streams::default();
        let mut planned = Vec::new();
        for number in [0, 2, 1, 3, 5, 4, 7, 6, 8, 9, 11, 10_u64] {
            let at = number * 128 * KIB;
            if let Some(stream) = streams.next(&(at..at + 128 * KIB), 4 * STEP) {
                planned.extend(take(stream));
            }
        }
        assert_eq!(planned, [STEP, 2 * STEP, 3 * STEP, 4 * STEP], "each step once");
    }

    #[test]
    fn two_readers_of_one_file_are_told_apart() {
        let mut streams = Streams::default();
        let far = 500 * STEP;
        let mut planned = [Vec::new(), Vec::new()];
        for number in 0..8 {
            for (which, base) in [0, far].into_iter().enumerate() {
                let at = base + number * 128 * KIB;
                if let Some(stream) = streams.next(&(at..at + 128 * KIB), STEP) {
                    planned[which].extend(take(stream));
                }
            }
        }
        assert_eq!(planned[0], [STEP, 2 * STEP]);
        assert_eq!(planned[1], [far + STEP, far + 2 * STEP]);
    }

    #[test]
    fn nobody_reads_ahead_of_who_jumps_about() {
        let mut streams = Streams::default();
        for number in 0..10_000_u64 {
            let at = (number * 7_919_191) % (SIZE / (4 * KIB)) * 4 * KIB;
            assert!(streams.next(&(at..at + 4 * KIB), 4 * STEP).is_none(), "{number}");
        }
        let mut streams = Streams::default();
        for number in 0..1000 {
            let at = number * 64 * KIB;
            assert!(streams.next(&(at..at + 4 * KIB), 4 * STEP).is_none(), "in order, with wide gaps");
        }
    }
}
