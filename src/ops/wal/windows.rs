//! What can be recovered: from where to where, on which timeline, starting from which base backup. A base and
//! all WAL from its start on, without a hole, lead to any moment between its stop and the WAL's end.

use crate::base::clock::Timestamp;
use crate::base::id::SessionId;
use crate::ops::wal::ranges::Ranges;
use crate::ops::wal::status::{Cluster, Timeline};
use crate::postgres::lsn::Lsn;
use crate::postgres::wal::History;

/// A base backup, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The snapshot.
    pub id: SessionId,
    /// The cluster's system identifier.
    pub system: u64,
    /// Its timeline.
    pub timeline: u32,
    /// Where replay begins.
    pub start: Lsn,
    /// Where it may end at the earliest.
    pub stop: Lsn,
    /// When it was at that position.
    pub ended: Timestamp,
}

/// A stretch of WAL to any point of which the cluster can be brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The timeline that recovery goes to.
    pub timeline: u32,
    /// The earliest base backup from which all of it can be reached.
    pub base: SessionId,
    /// Its first position, and when that was.
    pub from: (Lsn, Timestamp),
    /// Its end. The time is when the last segment was pushed: what is in it is no younger.
    pub to: (Lsn, Timestamp),
}

/// What can be recovered of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recoverable {
    /// By timeline and position.
    pub windows: Vec<Window>,
    /// Base backups from which nothing can be: WAL that they need is not there.
    pub useless: Vec<SessionId>,
}

/// What can be recovered of a cluster from these base backups, as far as these histories lead.
pub fn windows(cluster: &Cluster, bases: &[Base], histories: &[History]) -> Recoverable {
    let mut bases: Vec<&Base> = bases.iter().filter(|base| base.system == cluster.system).collect();
    bases.sort_by_key(|base| (base.stop, base.id));
    let (mut windows, mut useless) = (Vec::<Window>::new(), Vec::new());
    for base in bases {
        let mut reaches = false;
        for history in paths(base, histories) {
            let Some(to) = reached(cluster, base, &history) else { continue };
            reaches = true;
            let is_same = |window: &Window| window.timeline == history.timeline && window.to.0 == to.0;
            if !windows.iter().any(is_same) {
                let (from, timeline) = ((base.stop, base.ended), history.timeline);
                windows.push(Window { timeline, base: base.id, from, to });
            }
        }
        if !reaches {
            useless.push(base.id);
        }
    }
    windows.sort_by_key(|window| (window.timeline, window.from.0));
    Recoverable { windows, useless }
}

/// The ways that lead on from a base: its own timeline, and those that left it after the base's stop.
fn paths(base: &Base, histories: &[History]) -> Vec<History> {
    let own = histories.iter().find(|history| history.timeline == base.timeline);
    let mut paths = vec![own.cloned().unwrap_or_else(|| History::of_first(base.timeline))];
    let after = |history: &&History| history.left_at(base.timeline).is_some_and(|at| at >= base.stop);
    paths.extend(histories.iter().filter(after).cloned());
    paths
}

/// How far WAL without a hole leads from the base on the way to the history's timeline, and when the last
/// segment of it was pushed; `None` if it does not lead to that timeline, or not to the base's stop.
fn reached(cluster: &Cluster, base: &Base, history: &History) -> Option<(Lsn, Timestamp)> {
    let size = cluster.timelines.iter().find(|line| line.timeline == base.timeline)?.size;
    let mut next = size.number_at(base.start);
    let mut end = None;
    let stretches = history.stretches();
    let first = stretches.iter().position(|stretch| stretch.timeline == base.timeline)?;
    for stretch in stretches.iter().skip(first) {
        let line =
            cluster.timelines.iter().find(|line| line.timeline == stretch.timeline && line.size == size)?;
        // The segment in which a timeline was left is the first of the next one.
        let until = stretch.to.map(|to| size.number_at(to));
        match until {
            Some(until) if until <= next => continue,
            _ => {}
        }
        let last = last_of_run(&line.present, next)?;
        match until {
            Some(until) if last + 1 < until => return None,
            Some(until) => next = until,
            None => end = Some((last, line)),
        }
    }
    let (last, line): (u64, &Timeline) = end?;
    let to = Lsn(last.saturating_add(1).saturating_mul(size.bytes()));
    // A base that stops just at a segment's end needs no more than that segment.
    (to >= base.stop).then_some((to, line.newest))
}

/// The last number of the range that holds `first`.
fn last_of_run(present: &Ranges, first: u64) -> Option<u64> {
    let at = present.partition_point(|range| *range.end() < first);
    present.get(at).filter(|range| range.contains(&first)).map(|range| *range.end())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::postgres::wal::SegmentSize;

    const MIB: u64 = 1 << 20;

    fn line(timeline: u32, present: Ranges) -> Timeline {
        Timeline {
            timeline,
            size: SegmentSize::new(MIB).unwrap(),
            present,
            damaged: Ranges::new(),
            lost: Ranges::new(),
            gaps: Ranges::new(),
            partial: false,
            stored_bytes: 0,
            newest: Timestamp(1000 + i64::from(timeline)),
        }
    }

    fn base(n: u8, timeline: u32, start: u64, stop: u64) -> Base {
        let (start, stop) = (Lsn(start), Lsn(stop));
        Base { id: SessionId([n; 16]), system: 1, timeline, start, stop, ended: Timestamp(n.into()) }
    }

    fn of(lines: Vec<Timeline>, bases: &[Base], histories: &[History]) -> (Vec<(u32, u8, u64, u64)>, usize) {
        let cluster = Cluster { system: 1, timelines: lines, histories: Vec::new() };
        let Recoverable { windows, useless } = windows(&cluster, bases, histories);
        let short = |w: &Window| (w.timeline, w.base.0[0], w.from.0.0, w.to.0.0 / MIB);
        (windows.iter().map(short).collect(), useless.len())
    }

    #[test]
    fn a_base_and_wal_without_a_hole_make_a_window() {
        let early = base(1, 1, 2 * MIB + 40, 3 * MIB + 7);
        assert_eq!(of(vec![line(1, vec![2..=9])], &[early], &[]), (vec![(1, 1, 3 * MIB + 7, 10)], 0));
        // Two bases in one stretch are one window, from the earlier on; a hole makes two.
        let late = base(2, 1, 6 * MIB, 6 * MIB + 9);
        let (both, one) = ([late, early], vec![(1, 1, 3 * MIB + 7, 10)]);
        assert_eq!(of(vec![line(1, vec![2..=9])], &both, &[]), (one, 0));
        let two = vec![(1, 1, 3 * MIB + 7, 5), (1, 2, 6 * MIB + 9, 10)];
        assert_eq!(of(vec![line(1, vec![2..=4, 6..=9])], &both, &[]), (two, 0));
        // Without the segments of the base itself there is nothing, whatever follows.
        assert_eq!(of(vec![line(1, vec![3..=9])], &[early], &[]), (vec![], 1));
        assert_eq!(of(vec![line(1, vec![2..=2, 4..=9])], &[early], &[]), (vec![], 1));
        assert_eq!(of(vec![], &[early], &[]), (vec![], 1));
        // Another cluster's base is no business of this one.
        assert_eq!(of(vec![line(1, vec![2..=9])], &[Base { system: 2, ..early }], &[]), (vec![], 0));
    }

    #[test]
    fn a_window_goes_on_over_a_timelines_end() {
        let early = base(1, 1, 2 * MIB, 3 * MIB);
        let history = History::parse(2, b"1\t0/580000\tfailover\n").unwrap();
        let lines = |first, second| vec![line(1, first), line(2, second)];
        let both = vec![(1, 1, 3 * MIB, 8), (2, 1, 3 * MIB, 9)];
        assert_eq!(of(lines(vec![2..=7], vec![5..=8]), &[early], std::slice::from_ref(&history)), (both, 0));
        // The segment in which it was left is the new timeline's to have.
        let both = vec![(1, 1, 3 * MIB, 5), (2, 1, 3 * MIB, 9)];
        assert_eq!(of(lines(vec![2..=4], vec![5..=8]), &[early], std::slice::from_ref(&history)), (both, 0));
        let old = vec![(1, 1, 3 * MIB, 8)];
        assert_eq!(
            of(lines(vec![2..=7], vec![6..=8]), &[early], std::slice::from_ref(&history)),
            (old.clone(), 0)
        );
        assert_eq!(of(lines(vec![2..=7], vec![5..=8]), &[early], &[]), (old, 0), "no history, no way");
        // A base from after the switch leads nowhere on the new timeline.
        let late = base(2, 1, 6 * MIB, 6 * MIB + 1);
        let old = vec![(1, 2, 6 * MIB + 1, 8)];
        assert_eq!(of(lines(vec![6..=7], vec![5..=8]), &[late], &[history]), (old, 0));
    }
}
