//! Which base backups a rule keeps, and which WAL these need: one rule for both, since WAL without a base backup
//! and a base backup without its WAL are worth nothing. Pure: what is removed, and how, is decided elsewhere.
//!
//! Orders are by time and within one cluster. Names have no say: those of timelines and segments begin anew when
//! a cluster is upgraded, and tools that sorted by them removed the newest. The newest base backup of a
//! cluster is kept whatever the rule says, and so is the newest whole one.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::clock::Timestamp;
use crate::postgres::lsn::Lsn;
use crate::postgres::wal::{History, SegmentName, SegmentSize};

/// A base backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The cluster.
    pub system: u64,
    /// When it had ended.
    pub ended: Timestamp,
    /// The timeline that it ended on.
    pub timeline: u32,
    /// Where replay begins.
    pub start: Lsn,
    /// Where it is consistent.
    pub stop: Lsn,
    /// Whether all of the cluster is in it.
    pub is_whole: bool,
}

/// A timeline of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The cluster.
    pub system: u64,
    /// Where the timeline comes from.
    pub history: History,
    /// When the newest of its WAL was pushed.
    pub newest: Timestamp,
}

/// What is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// So many base backups of each cluster, the newest.
    pub last: usize,
    /// Recovery to any moment from this one on, as far as it is possible now.
    pub since: Option<Timestamp>,
}

/// The places in `bases` of those that the rule keeps.
pub fn keep(bases: &[Base], lines: &[Line], rule: &Rule) -> BTreeSet<usize> {
    let mut clusters: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (place, base) in bases.iter().enumerate() {
        clusters.entry(base.system).or_default().push(place);
    }
    let mut kept = BTreeSet::new();
    for (system, mut places) in clusters {
        places.sort_by_key(|place| std::cmp::Reverse((bases[*place].ended, bases[*place].stop)));
        kept.extend(places.iter().take(rule.last.max(1)));
        kept.extend(places.iter().find(|place| bases[**place].is_whole));
        let Some(since) = rule.since else { continue };
        kept.extend(places.iter().filter(|place| bases[**place].ended > since));
        // Moments at the window's beginning are reached from a base backup before it, on every timeline
        // that still had WAL within the window.
        let own = |line: &&Line| line.system == system && line.newest >= since;
        for line in lines.iter().filter(own) {
            let before = |place: &&usize| {
                let base = &bases[**place];
                base.ended <= since && leads(base, &line.history)
            };
            kept.extend(places.iter().find(before));
            kept.extend(places.iter().filter(before).find(|place| bases[**place].is_whole));
        }
    }
    kept
}

/// Whether any of these base backups needs a segment of a cluster: to be consistent, or to go on from there to
/// any later moment. Of a timeline whose history is not known, all is needed.
pub fn needs<'b>(
    bases: impl IntoIterator<Item = &'b Base>,
    lines: &[Line],
    system: u64,
    segment: SegmentName,
    size: SegmentSize,
) -> bool {
    let Some(end) = segment.start(size).map(|start| start.plus(size.bytes())) else { return true };
    let history =
        lines.iter().find(|line| line.system == system && line.history.timeline == segment.timeline);
    bases.into_iter().filter(|base| base.system == system).any(|base| {
        let on_the_way = base.timeline == segment.timeline
            || history.is_none_or(|line| line.history.left_at(base.timeline).is_some());
        on_the_way && end > base.start
    })
}

/// Whether a recovery along this history can begin with the base backup.
fn leads(base: &Base, history: &History) -> bool {
    match history.left_at(base.timeline) {
        Some(left) => base.stop <= left,
        None => base.timeline == history.timeline,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::wal::history::Switch;

    const MIB: u64 = 1 << 20;

    fn base(system: u64, ended: i64, timeline: u32, segment: u64) -> Base {
        let (start, stop) = (Lsn(segment * MIB + 40), Lsn(segment * MIB + 900));
        Base { system, ended: Timestamp(ended), timeline, start, stop, is_whole: true }
    }

    fn line(timeline: u32, before: &[(u32, u64)], newest: i64) -> Line {
        let switch = |(timeline, at): &(u32, u64)| Switch {
            timeline: *timeline,
            at: Lsn(*at * MIB),
            reason: String::new(),
        };
        let history = History { timeline, before: before.iter().map(switch).collect() };
        Line { system: 1, history, newest: Timestamp(newest) }
    }

    fn kept(bases: &[Base], lines: &[Line], last: usize, since: Option<i64>) -> Vec<usize> {
        keep(bases, lines, &Rule { last, since: since.map(Timestamp) }).into_iter().collect()
    }

    #[test]
    fn the_newest_is_never_dropped_and_the_one_before_the_window_is_kept() {
        let bases = [base(1, 10, 1, 1), base(1, 20, 1, 2), base(1, 30, 1, 3), base(1, 40, 1, 4)];
        let lines = [line(1, &[], 45)];
        assert_eq!(kept(&bases, &lines, 0, None), [3]);
        assert_eq!(kept(&bases, &lines, 2, None), [2, 3]);
        assert_eq!(kept(&bases, &lines, 0, Some(35)), [2, 3], "to reach 36 takes what ended at 30");
        assert_eq!(kept(&bases, &lines, 0, Some(30)), [2, 3]);
        assert_eq!(kept(&bases, &lines, 0, Some(99)), [3], "no WAL within the window");
        assert_eq!(kept(&bases, &lines, 0, Some(5)), [0, 1, 2, 3]);
        let mut torn = bases.clone();
        torn[3].is_whole = false;
        assert_eq!(kept(&torn, &lines, 1, None), [2, 3]);
    }

    #[test]
    fn an_upgraded_cluster_begins_anew_and_hides_nothing() {
        // After the upgrade timelines and segments have lower names, and the time is later.
        let bases = [base(1, 10, 7, 900), base(2, 20, 1, 1)];
        assert_eq!(kept(&bases, &[], 1, None), [0, 1]);
        let bases = [base(1, 20, 1, 1), base(1, 10, 7, 900)];
        assert_eq!(kept(&bases, &[], 1, None), [0]);
    }

    #[test]
    fn each_timeline_with_wal_in_the_window_keeps_its_beginning() {
        // 1 was left for 2 at segment 3; a base backup of 1 from behind that place leads to 1 alone.
        let bases = [base(1, 10, 1, 2), base(1, 20, 1, 4), base(1, 50, 2, 6)];
        let lines = [line(1, &[], 30), line(2, &[(1, 3)], 60)];
        assert_eq!(kept(&bases, &lines, 1, Some(25)), [0, 1, 2]);
        assert_eq!(kept(&bases, &lines, 1, Some(35)), [0, 2], "1 ended before the window");
    }

    #[test]
    fn wal_from_the_oldest_kept_start_on_is_needed() {
        let size = SegmentSize::new(MIB).unwrap();
        let bases = [base(1, 10, 1, 2), base(1, 50, 2, 6)];
        let lines = [line(1, &[], 30), line(2, &[(1, 3)], 60), line(3, &[(1, 1)], 70)];
        let needed = |bases: &[Base], system, timeline, number| {
            let name = SegmentName::new(timeline, number, size).unwrap();
            needs(bases, &lines, system, name, size)
        };
        for (timeline, number, want) in [
            (1, 1, false),
            (1, 2, true),
            (1, 3, true),
            (2, 3, true),
            (2, 9, true),
            (3, 1, false),
            (9, 9, true),
        ] {
            assert_eq!(needed(&bases, 1, timeline, number), want, "{timeline} {number}");
        }
        assert!(!needed(&bases, 2, 1, 2), "another cluster");
        assert!(!needed(&bases[1..], 1, 2, 5) && needed(&bases[1..], 1, 2, 6));
        assert!(!needed(&bases[1..], 1, 1, 9), "2 does not come back to 1");
    }

    proptest! {
        #[test]
        fn what_can_be_reached_in_the_window_stays_within_reach(
            ends in proptest::collection::vec((0i64..50, 1u32..4, 0u64..20), 1..12),
            switches in (1u64..20, 1u64..20),
            newest in [0i64..60, 0..60, 0..60],
            since in 0i64..60,
            last in 0usize..3,
        ) {
            let bases: Vec<Base> = ends.iter().map(|(ended, t, segment)| base(1, *ended, *t, *segment)).collect();
            let lines = [
                line(1, &[], newest[0]),
                line(2, &[(1, switches.0)], newest[1]),
                line(3, &[(1, switches.1)], newest[2]),
            ];
            let rule = Rule { last, since: Some(Timestamp(since)) };
            let kept = keep(&bases, &lines, &rule);
            let most = bases.iter().map(|base| base.ended).max().unwrap();
            prop_assert!(kept.iter().any(|place| bases[*place].ended == most));
            for line in lines.iter().filter(|line| line.newest.0 >= since) {
                for moment in since..=line.newest.0 {
                    let reaches = |base: &Base| base.ended.0 <= moment && leads(base, &line.history);
                    let before = bases.iter().any(reaches);
                    prop_assert_eq!(before, kept.iter().any(|place| reaches(&bases[*place])), "{} {}", moment, line.history.timeline);
                }
            }
        }
    }
}
