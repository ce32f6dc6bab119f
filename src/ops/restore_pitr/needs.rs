//! Which WAL a recovery reads, and whether it is there: worked out from names alone, before a byte is written.
//!
//! The server reads segment after segment. Where timelines meet in one, it prefers the file of the newer
//! timeline, which begins as a copy of the older one's (`XLogFileReadAnyTLI` in `xlogrecovery.c`).

use crate::base::class::Class;
use crate::ops::Error;
use crate::ops::restore_pitr::refused;
use crate::ops::restore_pitr::target::Target;
use crate::postgres::lsn::Lsn;
use crate::postgres::wal::{History, SegmentName, SegmentSize, WalName};

/// Segments that are looked for beyond the first that is missing: 64 GiB of WAL of the usual size.
const LOOK_AHEAD: u64 = 4096;
/// More segments than any base backup takes: positions that are further apart are no cluster's.
const SEGMENTS_MAX: u64 = 1 << 22;

/// The WAL of a recovery.
#[derive(Clone, Debug)]
pub struct Need<'a> {
    /// The timeline that it follows.
    pub history: &'a History,
    /// The cluster's segment size.
    pub size: SegmentSize,
    /// Where replay begins.
    pub start: Lsn,
    /// Where the base backup is consistent.
    pub stop: Lsn,
    /// Where it is to end.
    pub target: &'a Target,
}

/// WAL that is missing while later WAL is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first segment that is missing.
    pub first: SegmentName,
    /// How many are missing in a row.
    pub count: u64,
    /// The first that is there again.
    pub then: SegmentName,
}

/// What there is of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Segments that are there without a gap, in the order in which they are read.
    pub segments: Vec<SegmentName>,
    /// Where they end: with no target before, the recovery ends there.
    pub end: Lsn,
    /// A gap behind them.
    pub gap: Option<Gap>,
    /// The beginning of a segment behind them.
    pub partial: Option<Partial>,
}

/// The last segment of a timeline as far as it was written: what `wal receive --finish` stores of a server that
/// was lost, and a server of the timeline that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// The segment's name.
    pub name: SegmentName,
    /// Whether the recovery reads it. One of an earlier timeline may hold what the newer one never had.
    pub is_used: bool,
}

/// Looks for all that is needed. `has` says whether the repository has a file.
pub fn look(need: &Need<'_>, has: &dyn Fn(WalName) -> bool) -> Result<Found, Error> {
    let (first, last) =
        (need.number(need.start), need.number(Lsn(need.stop.0.saturating_sub(1)).max(need.start)));
    let end = match need.target {
        Target::Lsn(lsn) => need.number(*lsn).max(last),
        _ => last,
    };
    if end - first > SEGMENTS_MAX {
        let message = format!("{} and {} are further apart than any WAL is long", need.start, need.stop);
        return Err(refused(Class::Failed, message, "check the position that was given"));
    }
    let mut segments = Vec::new();
    let mut missing = Missing::default();
    for number in first..=last {
        missing.look(need, number, has, &mut segments)?;
    }
    missing
        .refuse("the base backup is not consistent without", "the base backup cannot be used without it")?;
    let mut next = end + 1;
    for number in last + 1..=end {
        if number == end && need.reads_partial(number, has) {
            next = end;
            break;
        }
        missing.look(need, number, has, &mut segments)?;
    }
    missing.refuse(
        "the target cannot be reached without",
        "choose a target before it, or push it if a server still has it in pg_wal",
    )?;
    if matches!(need.target, Target::Lsn(_) | Target::Immediate) {
        let partial = if next == end { need.partial_at(next, has) } else { None };
        return Ok(need.found(segments, next, None, partial));
    }
    while (segments.len() as u64) < SEGMENTS_MAX {
        match need.stored(next, has)? {
            Some(name) => segments.push(name),
            None => break,
        }
        next += 1;
    }
    let gap = need.gap_at(next, has)?;
    let partial = need.partial_at(next, has);
    Ok(need.found(segments, next, gap, partial))
}

impl Need<'_> {
    fn number(&self, at: Lsn) -> u64 {
        self.size.number_at(at)
    }

    /// Names under which the server looks for a segment, in its order.
    fn names(&self, number: u64) -> Vec<SegmentName> {
        let mut names = Vec::new();
        for stretch in self.history.stretches().iter().rev() {
            if self.number(stretch.from) <= number {
                let is_over = stretch.to.is_some_and(|to| self.number(to) < number);
                names.extend(SegmentName::new(stretch.timeline, number, self.size).filter(|_| !is_over));
            }
        }
        names
    }

    /// The file of a segment that the recovery can read. One of a timeline that is left within it will do only
    /// if the recovery ends before that: behind it, the file has what the newer timeline does not.
    fn stored(&self, number: u64, has: &dyn Fn(WalName) -> bool) -> Result<Option<SegmentName>, Error> {
        let names = self.names(number);
        let Some(found) = names.iter().copied().find(|name| has(WalName::Segment(*name))) else {
            return Ok(None);
        };
        let wanted = names[0];
        let left = self.history.left_at(found.timeline);
        let ends_before = match (self.target, left) {
            (Target::Lsn(lsn), Some(left)) => *lsn < left,
            (Target::Immediate, Some(left)) => self.stop <= left,
            _ => false,
        };
        if found == wanted || ends_before {
            return Ok(Some(found));
        }
        Err(refused(
            Class::Failed,
            format!(
                "{wanted} is missing, while {found} of the timeline before is there: the server would replay what timeline {} never had",
                wanted.timeline
            ),
            "push it if a server still has it in pg_wal, or follow the older timeline with --timeline",
        ))
    }

    /// The beginning of a segment of which no whole file is there.
    fn partial_at(&self, number: u64, has: &dyn Fn(WalName) -> bool) -> Option<Partial> {
        let names = self.names(number);
        let name = names.iter().copied().find(|name| has(WalName::Partial(*name)))?;
        Some(Partial { name, is_used: names.first() == Some(&name) })
    }

    /// Whether the beginning of this segment is all that there is, and is read.
    fn reads_partial(&self, number: u64, has: &dyn Fn(WalName) -> bool) -> bool {
        let names = self.names(number);
        !names.iter().any(|name| has(WalName::Segment(*name)))
            && self.partial_at(number, has).is_some_and(|partial| partial.is_used)
    }

    /// Whether there is WAL again behind `number`, which is missing.
    fn gap_at(&self, number: u64, has: &dyn Fn(WalName) -> bool) -> Result<Option<Gap>, Error> {
        let there = |number: u64| self.names(number).into_iter().find(|name| has(WalName::Segment(*name)));
        let then = (number + 1..=number.saturating_add(LOOK_AHEAD)).find_map(|n| Some((n, there(n)?)));
        let first = self.names(number).first().copied();
        Ok(then.zip(first).map(|((at, then), first)| Gap { first, count: at - number, then }))
    }

    fn found(
        &self,
        segments: Vec<SegmentName>,
        next: u64,
        gap: Option<Gap>,
        partial: Option<Partial>,
    ) -> Found {
        Found { segments, end: Lsn(next.saturating_mul(self.size.bytes())), gap, partial }
    }
}

/// Segments that are needed and not there.
#[derive(Default)]
struct Missing {
    first: Option<SegmentName>,
    count: u64,
}

impl Missing {
    fn look(
        &mut self,
        need: &Need<'_>,
        number: u64,
        has: &dyn Fn(WalName) -> bool,
        segments: &mut Vec<SegmentName>,
    ) -> Result<(), Error> {
        match need.stored(number, has)? {
            Some(name) => segments.push(name),
            None => {
                self.first = self.first.or_else(|| need.names(number).first().copied());
                self.count += 1;
            }
        }
        Ok(())
    }

    fn refuse(&self, without: &str, hint: &str) -> Result<(), Error> {
        let Some(first) = self.first else { return Ok(()) };
        let missing = match self.count {
            1 => format!("the WAL segment {first} is not in the repository"),
            n => format!("{n} WAL segments are not in the repository, {first} first"),
        };
        let them = if self.count == 1 { "it" } else { "them" };
        Err(refused(Class::Failed, format!("{missing}: {without} {them}"), hint))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::postgres::wal::history::Switch;

    const MIB: u64 = 1 << 20;

    fn name(timeline: u32, number: u64) -> WalName {
        WalName::Segment(SegmentName::new(timeline, number, SegmentSize::new(MIB).unwrap()).unwrap())
    }

    /// Timeline 1 was left for 2 within segment 6.
    fn two() -> History {
        let at = Lsn(6 * MIB + 500);
        History { timeline: 2, before: vec![Switch { timeline: 1, at, reason: String::new() }] }
    }

    /// A base backup from within segment 2 to within segment 4.
    fn survey(history: &History, target: &Target, there: &[WalName]) -> Result<Found, Error> {
        let size = SegmentSize::new(MIB).unwrap();
        let (start, stop) = (Lsn(2 * MIB + 40), Lsn(4 * MIB + 300));
        look(&Need { history, size, start, stop, target }, &|name| there.contains(&name))
    }

    fn shown(found: &Found) -> String {
        let all: Vec<String> = found.segments.iter().map(|s| format!("{}:{}", s.timeline, s.low)).collect();
        all.join(" ")
    }

    fn segments(timeline: u32, numbers: &[u64]) -> Vec<WalName> {
        numbers.iter().map(|n| name(timeline, *n)).collect()
    }

    #[test]
    fn all_that_is_there_in_a_row_is_found() {
        let one = History::of_first(1);
        let there = segments(1, &[1, 2, 3, 4, 5]);
        let found = survey(&one, &Target::Latest, &there).unwrap();
        assert_eq!((shown(&found).as_str(), found.end), ("1:2 1:3 1:4 1:5", Lsn(6 * MIB)));
        assert_eq!((found.gap, found.partial), (None, None));
        let found = survey(&one, &Target::Immediate, &there).unwrap();
        assert_eq!(shown(&found), "1:2 1:3 1:4");
        let found = survey(&one, &Target::Lsn(Lsn(5 * MIB)), &there).unwrap();
        assert_eq!(shown(&found), "1:2 1:3 1:4 1:5");
    }

    #[test]
    fn what_is_missing_is_named_and_counted() {
        let one = History::of_first(1);
        let error = survey(&one, &Target::Immediate, &segments(1, &[4, 5])).unwrap_err().to_string();
        assert_eq!(
            error,
            "2 WAL segments are not in the repository, 000000010000000000000002 first: the base backup is not consistent without them"
        );
        let error = survey(&one, &Target::Latest, &segments(1, &[2, 3])).unwrap_err().to_string();
        assert!(error.starts_with("the WAL segment 000000010000000000000004 is not"), "{error}");
        let lsn = Target::Lsn(Lsn(6 * MIB + 1));
        let error = survey(&one, &lsn, &segments(1, &[2, 3, 4, 6])).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "000000010000000000000005 is not in the repository: the target cannot be reached without it"
            ),
            "{error}"
        );
        let far = Target::Lsn(Lsn(u64::MAX));
        assert!(survey(&one, &far, &[]).unwrap_err().to_string().contains("further apart"));
    }

    #[test]
    fn a_gap_ends_what_is_read_and_the_end_of_the_wal_is_none() {
        let one = History::of_first(1);
        let there = segments(1, &[2, 3, 4, 5, 8, 9]);
        let found = survey(&one, &Target::Latest, &there).unwrap();
        let gap = found.gap.clone().unwrap();
        assert_eq!((gap.first.low, gap.count, gap.then.low), (6, 2, 8));
        assert_eq!((shown(&found).as_str(), found.end), ("1:2 1:3 1:4 1:5", Lsn(6 * MIB)));
        let mut there = segments(1, &[2, 3, 4, 5]);
        let Some(WalName::Segment(six)) = Some(name(1, 6)) else { return };
        there.push(WalName::Partial(six));
        let used = Some(Partial { name: six, is_used: true });
        let found = survey(&one, &Target::Latest, &there).unwrap();
        assert_eq!((found.gap, found.partial), (None, used));
        let found = survey(&one, &Target::Lsn(Lsn(6 * MIB + 9)), &there).unwrap();
        assert_eq!((found.end, found.partial), (Lsn(6 * MIB), used));
        assert!(survey(&one, &Target::Lsn(Lsn(7 * MIB)), &there).is_err());
        assert_eq!(survey(&one, &Target::Lsn(Lsn(5 * MIB)), &there).unwrap().partial, None);
        // What an old timeline wrote last is not read on the way to the next.
        let found = survey(&two(), &Target::Latest, &there).unwrap();
        assert_eq!(found.partial, Some(Partial { name: six, is_used: false }));
    }

    #[test]
    fn where_timelines_meet_the_newer_file_is_read() {
        let two = two();
        let mut there = segments(1, &[2, 3, 4, 5]);
        there.extend(segments(2, &[6, 7]));
        let found = survey(&two, &Target::Latest, &there).unwrap();
        assert_eq!(shown(&found), "1:2 1:3 1:4 1:5 2:6 2:7");
        // The older timeline went on: its segment must not stand in for the newer one's.
        let mut went_on = segments(1, &[2, 3, 4, 5, 6, 7]);
        let error = survey(&two, &Target::Latest, &went_on).unwrap_err().to_string();
        assert!(
            error.starts_with("000000020000000000000006 is missing, while 000000010000000000000006"),
            "{error}"
        );
        let before = Target::Lsn(Lsn(6 * MIB + 499));
        assert_eq!(shown(&survey(&two, &before, &went_on).unwrap()), "1:2 1:3 1:4 1:5 1:6");
        assert!(survey(&two, &Target::Lsn(Lsn(6 * MIB + 500)), &went_on).is_err());
        went_on.extend(segments(2, &[6, 8]));
        let found = survey(&two, &Target::Latest, &went_on).unwrap();
        assert_eq!(shown(&found), "1:2 1:3 1:4 1:5 2:6");
        assert_eq!(found.gap.unwrap().first.to_string(), "000000020000000000000007", "1:7 is not on the way");
    }

    #[test]
    fn a_stop_at_a_segments_end_does_not_need_the_next() {
        let (size, history) = (SegmentSize::new(MIB).unwrap(), History::of_first(1));
        let there = segments(1, &[2]);
        let need = |start, stop| Need {
            history: &history,
            size,
            start: Lsn(start),
            stop: Lsn(stop),
            target: &Target::Immediate,
        };
        let has = |name: WalName| there.contains(&name);
        look(&need(2 * MIB, 3 * MIB), &has).unwrap();
        look(&need(2 * MIB, 2 * MIB), &has).unwrap();
        assert!(look(&need(2 * MIB, 3 * MIB + 1), &has).is_err());
    }
}
