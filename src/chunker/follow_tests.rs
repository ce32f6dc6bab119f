//! Following an earlier content: by what both have, by ends of chunks, over what came and went.

#![allow(clippy::unwrap_used)]
use super::*;

fn base(n: u64, len: u32) -> Base {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    Base { id: ChunkId(id), len }
}

/// Lengths between 20,000 and 120,000, the same for the same number.
fn len(n: u64) -> u32 {
    let mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) as u32 % 100_000 + 20_000
}

/// An earlier content of `count` chunks, handed over as it is asked for.
struct Source {
    follow: Follow,
    next: u64,
    count: u64,
}

impl Source {
    fn new(count: u64) -> Self {
        Source { follow: Follow::default(), next: 0, count }
    }

    fn feed(&mut self) -> &mut Follow {
        while self.follow.wants_more() && self.next < self.count {
            self.follow.push(base(self.next, len(self.next)));
            self.next += 1;
        }
        &mut self.follow
    }

    fn known(&mut self, n: u64) {
        self.feed().known(&base(n, 0).id, len(n));
    }

    fn missed(&mut self, len: u32) -> Vec<Base> {
        self.feed().missed(len).at().collect()
    }
}

#[test]
fn after_a_chunk_that_both_have_comes_what_followed_it() {
    let mut source = Source::new(50);
    source.known(20);
    assert_eq!(source.missed(len(21)), [base(21, len(21))]);
    source.known(22);
    let bases = source.feed().missed(len(23) + 300);
    assert_eq!(bases.at().collect::<Vec<_>>(), [base(23, len(23))]);
    assert_eq!(bases.before, Some(base(22, len(22))));
    assert_eq!(bases.after, Some(base(24, len(24))));
}

#[test]
fn the_place_is_kept_when_every_chunk_changed_and_every_length_with_it() {
    let mut source = Source::new(5_000);
    let mut wrong = 0;
    for n in 0..5_000 {
        // Each chunk has grown: without fixing the place, all would be lost after some fifty of them.
        let bases = source.missed(len(n) + 400);
        wrong += usize::from(bases.first() != Some(&base(n, len(n))));
    }
    assert!(wrong < 10, "{wrong} chunks of 5,000 found another base");
}

#[test]
fn cuts_that_came_and_went_do_not_lose_the_place() {
    let mut source = Source::new(100);
    for n in 0..10 {
        source.missed(len(n));
    }
    let both = source.missed(len(10) + len(11));
    assert_eq!(both, [base(10, len(10)), base(11, len(11))]);
    let part = len(12) / 3;
    assert_eq!(source.missed(part), [base(12, len(12))]);
    assert_eq!(source.missed(len(12) - part), [base(12, len(12))]);
    assert_eq!(source.missed(len(13)), [base(13, len(13))]);
}

#[test]
fn what_was_put_in_or_taken_out_is_passed_over() {
    let mut source = Source::new(20_000);
    source.known(0);
    for n in 0..1_000 {
        source.missed(len(n * 7 + 3));
    }
    source.known(1);
    assert_eq!(source.missed(len(2)), [base(2, len(2))]);
    source.known(900);
    assert_eq!(source.missed(len(901)), [base(901, len(901))]);
    // Further than the window reaches: the place is found again after some chunks, and kept.
    for n in 15_000..15_200 {
        source.known(n);
    }
    assert_eq!(source.missed(len(15_200)), [base(15_200, len(15_200))]);
}

#[test]
fn a_lost_place_is_found_by_the_lengths_of_chunks() {
    let mut source = Source::new(3_000);
    source.known(1_000);
    // A table has grown at its end by rows of any length, and every chunk of the next one changed.
    for n in 0..25 {
        source.missed(len(n * 11 + 5_000));
    }
    let changed = |n: u64| len(n) - len(n) / 50;
    let found = (1_001..1_100).map(|n| source.missed(changed(n)).contains(&base(n, len(n))));
    let wrong = found.skip(PATTERN).filter(|right| !right).count();
    assert!(wrong < 5, "{wrong} chunks found another base");
}

#[test]
fn there_is_nothing_beyond_the_end() {
    let mut source = Source::new(3);
    for n in 0..3 {
        source.known(n);
    }
    assert!(source.missed(50_000).is_empty());
    assert!(Source::new(0).missed(50_000).is_empty());
    let mut small = Source::new(1);
    assert_eq!(small.missed(len(0) / 2), [base(0, len(0))]);
}

#[test]
fn gaps_count_as_far_as_they_reach() {
    let mut follow = Follow::default();
    follow.push(base(0, 1000));
    follow.push_gap(1 << 40);
    follow.push(base(1, 1000));
    assert_eq!(follow.missed(1000).at().next(), Some(base(0, 1000)));
    follow.gap(1 << 40);
    assert_eq!(follow.missed(1000).at().next(), Some(base(1, 1000)));
    follow.push_gap(u64::MAX);
    follow.gap(u64::MAX);
    assert!(follow.missed(1000).is_empty());
}

#[test]
fn memory_is_bounded_and_repeated_chunks_do_no_harm() {
    let mut follow = Follow::default();
    for n in 0..100_000u64 {
        while follow.wants_more() {
            follow.push(base(n % 3, 30_000));
        }
        follow.missed(30_000);
        follow.known(&base(n % 3, 0).id, 30_000);
    }
    assert!(follow.window.len() as u64 <= BEHIND + AHEAD + 2);
    assert!(follow.numbers.len() <= follow.window.len());
}

#[test]
fn where_nothing_moves_the_offset_alone_counts() {
    let mut source = Source { follow: Follow::fixed(), ..Source::new(5000) };
    let mut same = Source { follow: Follow::fixed(), ..Source::new(5000) };
    for n in 0..4000 {
        let want = base(n, len(n));
        if n % 3 == 0 {
            // The same bytes stand elsewhere too, and that says nothing.
            source.feed().known(&base(n + 40, 0).id, len(n));
        } else {
            let bases = source.feed().missed(len(n));
            assert_eq!(bases.at().collect::<Vec<_>>(), [want], "{n}");
            assert!(bases.before.is_none() && bases.after.is_none());
        }
        assert_eq!(same.missed(len(n)), [want]);
    }
    let mut shorter = Source { follow: Follow::fixed(), ..Source::new(2) };
    assert_eq!(shorter.missed(len(0)).len(), 1);
    assert_eq!(shorter.missed(len(1)).len(), 1);
    assert!(shorter.missed(len(2)).is_empty(), "what was appended has nothing at its place");
}
