//! The open pack of a kind, and coded segments that wait for their turn. Several threads code segments,
//! and short work overtakes long; in the pack they lie in the order in which their plaintext came. So
//! what stands together in the source stands together in a pack, for readers that fetch neighbours at
//! once and for contents that are found by what lies beside a chunk.

use std::collections::VecDeque;

use crate::repo::pack::PackBuilder;
use crate::repo::session::pending::Segment;

/// A pack that grows, and what comes next for it.
#[derive(Default)]
pub struct OpenPack {
    /// The pack.
    pub pack: Option<PackBuilder>,
    /// The number of the first segment that has not come.
    next: u64,
    /// Those that came early, by how much.
    early: VecDeque<Option<Segment>>,
}

impl OpenPack {
    /// Takes the segment with this number, coded. Each number comes once.
    pub fn take(&mut self, number: u64, segment: Segment) {
        let early = usize::try_from(number.saturating_sub(self.next)).unwrap_or(usize::MAX);
        while self.early.len() <= early {
            self.early.push_back(None);
        }
        self.early[early] = Some(segment);
    }

    /// The segment whose turn it is, if it has come.
    pub fn turn(&mut self) -> Option<Segment> {
        let segment = self.early.front_mut()?.take()?;
        self.early.pop_front();
        self.next += 1;
        Some(segment)
    }

    /// Gives back all that wait.
    pub fn give_up(&mut self) -> impl Iterator<Item = Segment> + '_ {
        self.early.iter_mut().filter_map(Option::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_leave_in_the_order_of_their_numbers() {
        let (mut open, mut left) = (OpenPack::default(), Vec::new());
        for (number, gone) in [(2, 0), (0, 1), (1, 3), (4, 3), (5, 3), (3, 6), (6, 7)] {
            let mut segment = Segment::default();
            segment.depth = number as u8;
            open.take(number, segment);
            left.extend(std::iter::from_fn(|| open.turn()).map(|segment| segment.depth));
            assert_eq!(left.len(), gone);
        }
        assert_eq!(left, [0, 1, 2, 3, 4, 5, 6]);
        open.take(9, Segment::default());
        open.take(8, Segment::default());
        assert!(open.turn().is_none());
        assert_eq!(open.give_up().count(), 2);
        assert_eq!(open.give_up().count(), 0);
    }
}
