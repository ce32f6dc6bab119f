//! Which timeline a recovery follows, by the history files that there are. The server finds the newest by
//! asking for one history after another, and stops at the first that is not there: a lost file would silently
//! end a recovery on an older timeline (`findNewestTimeLine` in `timeline.c`). Here it is refused instead.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::class::Class;
use crate::format::base_backup::BaseBackup;
use crate::ops::Error;
use crate::ops::restore_pitr::refused;
use crate::ops::restore_pitr::target::TimelineWish;
use crate::postgres::lsn::Lsn;
use crate::postgres::wal::{History, WalName};

/// What is known of a cluster's timelines.
#[derive(Clone, Debug, Default)]
pub struct Timelines {
    /// Histories that could be read.
    pub histories: BTreeMap<u32, History>,
    /// Histories that are there and cannot be read, with what is wrong.
    pub damaged: BTreeMap<u32, String>,
    /// Timelines of which anything is there.
    pub seen: BTreeSet<u32>,
}

impl Timelines {
    /// The history of the timeline that `wish` means for a base backup on `base`.
    pub fn resolve(&self, wish: TimelineWish, base: u32) -> Result<History, Error> {
        match wish {
            TimelineWish::Current => self.own(base),
            TimelineWish::Number(number) if number == base => self.own(base),
            TimelineWish::Number(number) => self.stored(number),
            TimelineWish::Latest => {
                let newest = self.seen.last().copied().unwrap_or(base).max(base);
                if newest == base {
                    return self.own(base);
                }
                self.refuse_holes(base, newest)?;
                self.stored(newest)
            }
        }
    }

    /// The history of a base backup's own timeline: of what came before it, nothing is replayed.
    fn own(&self, base: u32) -> Result<History, Error> {
        match self.histories.get(&base) {
            Some(history) => Ok(history.clone()),
            None => Ok(History::of_first(base)),
        }
    }

    /// The history of another timeline, which takes its file.
    fn stored(&self, timeline: u32) -> Result<History, Error> {
        if let Some(history) = self.histories.get(&timeline) {
            return Ok(history.clone());
        }
        if timeline == 1 {
            return Ok(History::of_first(1));
        }
        let file = WalName::History(timeline);
        Err(match self.damaged.get(&timeline) {
            Some(reason) => refused(
                Class::Damaged,
                format!("{file} cannot be read: {reason}"),
                "`kamba-vault check --read-data` shows what else is damaged; --timeline names another timeline",
            ),
            None => refused(
                Class::Failed,
                format!("{file} is missing: without it nobody knows how timeline {timeline} came about"),
                "push it with `kamba-vault wal push` from a server that has it in pg_wal, or name another timeline with --timeline",
            ),
        })
    }

    /// Fails if a history above `base` and up to `newest` is missing.
    fn refuse_holes(&self, base: u32, newest: u32) -> Result<(), Error> {
        let missing: Vec<u32> = (base + 1..=newest)
            .filter(|t| !self.histories.contains_key(t) && !self.damaged.contains_key(t))
            .collect();
        let Some(first) = missing.first() else { return Ok(()) };
        let more = match missing.len() {
            1 => String::new(),
            n => format!(", and {} further such files", n - 1),
        };
        Err(refused(
            Class::Failed,
            format!(
                "{} is missing{more}, while there is WAL of timeline {newest}: the server would end on an older timeline and say nothing",
                WalName::History(*first)
            ),
            "push it with `kamba-vault wal push` from a server that has it in pg_wal, or name the timeline with --timeline",
        ))
    }
}

/// Whether a recovery that follows `history` can begin with this base backup: it lies on the way, and its end
/// comes before its timeline was left.
pub fn leads(history: &History, base: &BaseBackup) -> bool {
    let came = history.before.last().map_or(Lsn(0), |switch| switch.at);
    match history.left_at(base.timeline) {
        Some(left) => Lsn(base.stop) <= left,
        None => base.timeline == history.timeline && Lsn(base.stop) >= came,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::postgres::wal::history::Switch;

    fn history(timeline: u32, before: &[(u32, u64)]) -> History {
        let switch =
            |(timeline, at): &(u32, u64)| Switch { timeline: *timeline, at: Lsn(*at), reason: String::new() };
        History { timeline, before: before.iter().map(switch).collect() }
    }

    fn known(histories: &[History], seen: &[u32]) -> Timelines {
        let mut known = Timelines { seen: seen.iter().copied().collect(), ..Timelines::default() };
        for history in histories {
            known.seen.insert(history.timeline);
            known.histories.insert(history.timeline, history.clone());
        }
        known
    }

    fn base(timeline: u32, start: u64, stop: u64) -> BaseBackup {
        BaseBackup { timeline, start, stop, ..BaseBackup::default() }
    }

    #[test]
    fn the_newest_timeline_is_followed_and_holes_are_named() {
        let (two, three) = (history(2, &[(1, 100)]), history(3, &[(1, 100), (2, 200)]));
        let all = known(&[two.clone(), three.clone()], &[1]);
        assert_eq!(all.resolve(TimelineWish::Latest, 1).unwrap(), three);
        assert_eq!(all.resolve(TimelineWish::Current, 1).unwrap(), History::of_first(1));
        assert_eq!(all.resolve(TimelineWish::Current, 2).unwrap(), two);
        assert_eq!(all.resolve(TimelineWish::Number(2), 1).unwrap(), two);
        assert_eq!(all.resolve(TimelineWish::Number(1), 2).unwrap(), History::of_first(1));
        assert_eq!(known(&[], &[1]).resolve(TimelineWish::Latest, 1).unwrap(), History::of_first(1));

        let hole = known(std::slice::from_ref(&three), &[1]);
        let error = hole.resolve(TimelineWish::Latest, 1).unwrap_err();
        assert!(error.to_string().starts_with("00000002.history is missing, while"), "{error}");
        assert_eq!(hole.resolve(TimelineWish::Latest, 2).unwrap(), three, "2 is where it begins");
        assert_eq!(hole.resolve(TimelineWish::Number(3), 1).unwrap(), three, "the user knows");

        // Segments of a timeline without its history: the last file is lost.
        let lost = known(&[two], &[1, 3, 4]);
        let error = lost.resolve(TimelineWish::Latest, 1).unwrap_err();
        assert!(
            error.to_string().contains("00000003.history is missing, and 1 further such files"),
            "{error}"
        );
        let error = lost.resolve(TimelineWish::Number(9), 1).unwrap_err();
        assert!(error.to_string().starts_with("00000009.history is missing"), "{error}");

        let mut broken = known(&[], &[1, 2]);
        broken.damaged.insert(2, "garbled".into());
        let error = broken.resolve(TimelineWish::Latest, 1).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.class()),
            ("00000002.history cannot be read: garbled", Class::Damaged)
        );
    }

    #[test]
    fn only_a_base_on_the_way_leads_to_a_timeline() {
        let three = history(3, &[(1, 100), (2, 200)]);
        for (base, want) in [
            (base(1, 10, 100), true),
            (base(1, 90, 101), false),
            (base(2, 110, 150), true),
            (base(2, 190, 201), false),
            (base(3, 200, 250), true),
            (base(4, 210, 220), false),
        ] {
            assert_eq!(leads(&three, &base), want, "{base:?}");
        }
        // 3 branched off from 1: what happened on 2 is not on its way.
        assert!(!leads(&history(3, &[(1, 100)]), &base(2, 110, 150)));
    }
}
