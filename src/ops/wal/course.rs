//! How far segments are fetched ahead: always a certain number beyond the one that recovery asked for last.
//! Several threads take their next segment from here; one looks after recovery and tells how far it came.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::postgres::wal::{SegmentName, SegmentSize};

/// The course of one timeline.
pub(super) struct Course {
    timeline: u32,
    size: SegmentSize,
    /// Segments that are fetched beyond the last that was asked for.
    count: u64,
    position: Mutex<Position>,
    moved: Condvar,
}

/// Numbers of segments.
struct Position {
    /// Asked for last.
    asked: u64,
    /// To be fetched next.
    next: u64,
    is_over: bool,
}

impl Course {
    /// Begins after `asked`; `None` if a cluster with segments of this size has no such name.
    pub(super) fn new(asked: SegmentName, size: SegmentSize, count: usize) -> Option<Self> {
        let number = asked.number(size)?;
        let position = Position { asked: number, next: number.saturating_add(1), is_over: false };
        Some(Course {
            timeline: asked.timeline,
            size,
            count: count as u64,
            position: Mutex::new(position),
            moved: Condvar::new(),
        })
    }

    /// The next segment to fetch, after a wait until it is wanted; `None` when nothing more is.
    pub(super) fn next(&self) -> Option<SegmentName> {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        while !position.is_over && !position.wants(self.count) {
            position = self.moved.wait(position).unwrap_or_else(PoisonError::into_inner);
        }
        if position.is_over {
            return None;
        }
        let name = SegmentName::new(self.timeline, position.next, self.size);
        position.next += 1;
        name
    }

    /// Recovery asked for `asked`; `false` if that is no further on this course.
    pub(super) fn follow(&self, asked: SegmentName) -> bool {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let number = asked.number(self.size).filter(|number| *number >= position.asked);
        let Some(number) = number.filter(|_| asked.timeline == self.timeline) else { return false };
        position.asked = number;
        position.next = position.next.max(number.saturating_add(1));
        drop(position);
        self.moved.notify_all();
        true
    }

    /// Whether all that is wanted was fetched, or is being.
    pub(super) fn is_idle(&self) -> bool {
        !self.position.lock().unwrap_or_else(PoisonError::into_inner).wants(self.count)
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).is_over
    }

    /// Ends it: nothing more is wanted, or can be had.
    pub(super) fn end(&self) {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
        self.moved.notify_all();
    }
}

impl Position {
    fn wants(&self, count: u64) -> bool {
        self.next <= self.asked.saturating_add(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_keeps_ahead_of_recovery_and_never_goes_back() {
        let size = SegmentSize::DEFAULT;
        let name = |timeline, number| SegmentName::new(timeline, number, size).unwrap();
        let course = Course::new(name(1, 255), size, 2).unwrap();
        assert_eq!([course.next(), course.next()], [Some(name(1, 256)), Some(name(1, 257))]);
        assert!(course.is_idle());
        assert!(course.follow(name(1, 256)) && !course.is_idle());
        assert_eq!(course.next(), Some(name(1, 258)));
        // Recovery got others elsewhere.
        assert!(course.follow(name(1, 300)));
        assert_eq!(course.next(), Some(name(1, 301)));
        for elsewhere in [name(1, 299), name(2, 301)] {
            assert!(!course.follow(elsewhere));
        }
        assert!(!course.is_over());
        course.end();
        assert!(course.is_over());
        assert_eq!(course.next(), None);
    }

    #[test]
    fn who_waits_is_told() {
        let size = SegmentSize::DEFAULT;
        let name = |number| SegmentName::new(1, number, size).unwrap();
        let course = Course::new(name(1), size, 1).unwrap();
        assert_eq!(course.next(), Some(name(2)));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| [course.next(), course.next()]);
            course.follow(name(2));
            while !course.is_idle() {
                std::thread::yield_now();
            }
            course.end();
            assert_eq!(waits.join().unwrap(), [Some(name(3)), None]);
        });
    }
}
