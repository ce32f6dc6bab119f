//! Which base backup a recovery begins with, and why. The newest that has come to its end before the target: the
//! less WAL is replayed, the sooner it is over. Orders are by time and position and within one cluster, never
//! by name.

use std::collections::BTreeMap;

use crate::base::class::Class;
use crate::base::clock::Timestamp;
use crate::format::base_backup::BaseBackup;
use crate::ops::Error;
use crate::ops::restore_pitr::target::{Target, TimelineWish};
use crate::ops::restore_pitr::timeline::{Timelines, leads};
use crate::ops::restore_pitr::{refused, when};
use crate::postgres::lsn::Lsn;
use crate::postgres::wal::History;

/// Clocks of two machines may differ by this much without anybody having noticed: five minutes.
const CLOCKS: i64 = 300 * 1_000_000_000;

/// A snapshot that is a base backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id, in hex.
    pub id: String,
    /// When it had ended, by the clock of the machine that made it.
    pub ended: Timestamp,
    /// The machine that made it.
    pub host: Option<String>,
    /// Whether some of the cluster could not be read, or was corrupt.
    pub incomplete: bool,
    /// Whose it is and what WAL it takes.
    pub base: BaseBackup,
}

impl Candidate {
    /// The beginning of its id, as people are shown it.
    pub fn short(&self) -> &str {
        self.id.get(..8).unwrap_or(&self.id)
    }
}

/// The base backup that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// It.
    pub candidate: Candidate,
    /// The timeline that the recovery follows, with where it comes from.
    pub history: History,
    /// Why this one, in words.
    pub why: String,
    /// What there is to think of, in words.
    pub notes: Vec<String>,
}

/// The candidates of one cluster: that of `system`, or the only one.
pub fn of_one_system(all: Vec<Candidate>, system: Option<u64>) -> Result<Vec<Candidate>, Error> {
    let mut systems: BTreeMap<u64, (usize, Timestamp)> = BTreeMap::new();
    for candidate in &all {
        let found = systems.entry(candidate.base.system).or_insert((0, candidate.ended));
        *found = (found.0 + 1, found.1.max(candidate.ended));
    }
    let listed = |systems: &BTreeMap<u64, (usize, Timestamp)>| {
        let one = |(id, (count, newest)): (&u64, &(usize, Timestamp))| {
            format!("{id} ({count}, the newest of {})", when::words(*newest))
        };
        systems.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    match (system, systems.len()) {
        (_, 0) => Err(refused(
            Class::Failed,
            "the repository holds no base backup",
            "make one with `kamba-vault snapshot base`",
        )),
        (Some(system), _) if !systems.contains_key(&system) => Err(refused(
            Class::Usage,
            format!("the repository holds no base backup of cluster {system}, but of {}", listed(&systems)),
            "name one of these with --system-id",
        )),
        (None, 2..) => Err(refused(
            Class::Usage,
            format!("the repository holds base backups of several clusters: {}", listed(&systems)),
            "name the cluster with --system-id, or a base backup with --base",
        )),
        (None, _) => Ok(all),
        (Some(system), _) => Ok(all.into_iter().filter(|c| c.base.system == system).collect()),
    }
}

/// Chooses among the candidates of one cluster. With `named`, they are the one that the user named.
pub fn choose(
    candidates: &[Candidate],
    target: &Target,
    wish: TimelineWish,
    timelines: &Timelines,
    named: bool,
) -> Result<Choice, Error> {
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    // The newest first; on one timeline positions say the same as times, and no clock has a say in them.
    match target {
        Target::Lsn(_) => order.sort_by_key(|c| std::cmp::Reverse((c.base.stop, c.ended, c.id.clone()))),
        _ => order.sort_by_key(|c| std::cmp::Reverse((c.ended, c.base.stop, c.id.clone()))),
    }
    let mut unfit = Vec::new();
    for candidate in order {
        let history = timelines.resolve(wish, candidate.base.timeline)?;
        if let Some(reason) = unfit_for(candidate, target, &history) {
            unfit.push((candidate, reason));
            continue;
        }
        let why = if named { "it was named".to_owned() } else { why(target, &history, unfit.len()) };
        let notes = notes(candidate, target);
        return Ok(Choice { candidate: candidate.clone(), history, why, notes });
    }
    Err(none_fits(&unfit, target))
}

/// Why a recovery to the target cannot begin with this one.
fn unfit_for(candidate: &Candidate, target: &Target, history: &History) -> Option<String> {
    let base = &candidate.base;
    if !leads(history, base) {
        return Some(format!(
            "it ends on timeline {} at {}, which is not on the way to timeline {}",
            base.timeline,
            Lsn(base.stop),
            history.timeline
        ));
    }
    match target {
        Target::Lsn(lsn) if *lsn < Lsn(base.stop) => {
            Some(format!("it is consistent from {} on", Lsn(base.stop)))
        }
        Target::Time(time) if *time < candidate.ended => {
            Some(format!("it ended at {}", when::words(candidate.ended)))
        }
        _ => None,
    }
}

fn why(target: &Target, history: &History, passed: usize) -> String {
    let on_the_way = match passed {
        0 => String::new(),
        _ => format!(" and is on the way to timeline {}", history.timeline),
    };
    match target {
        Target::Lsn(lsn) => format!("the newest that is consistent at {lsn} or before{on_the_way}"),
        Target::Time(_) => format!("the newest that had ended by then{on_the_way}"),
        Target::Immediate => "the newest".to_owned(),
        Target::Latest | Target::Xid(_) | Target::Name(_) => match passed {
            0 => "the newest".to_owned(),
            _ => format!("the newest that is on the way to timeline {}", history.timeline),
        },
    }
}

fn notes(candidate: &Candidate, target: &Target) -> Vec<String> {
    let mut notes = Vec::new();
    if candidate.incomplete {
        notes.push(match candidate.base.corrupt_pages {
            0 => "some of the cluster could not be read when the base backup was made".to_owned(),
            n => format!("{n} pages of the cluster were corrupt already when the base backup was made"),
        });
    }
    if let Target::Time(time) = target {
        let margin = time.0.saturating_sub(candidate.ended.0);
        if margin < CLOCKS {
            notes.push(format!(
                "the base backup had ended {} before that time by the clock of {}, and commits are timed by the server's: if that one was behind, the server refuses to stop before the base backup is consistent",
                when::span(margin),
                candidate.host.as_deref().unwrap_or("the machine that made it"),
            ));
        }
    }
    if let Target::Xid(_) | Target::Name(_) = target {
        notes.push(format!(
            "whether {target} comes after the base backup, replaying the WAL will tell: if it does not come, the server stops with an error"
        ));
    }
    notes
}

fn none_fits(unfit: &[(&Candidate, String)], target: &Target) -> Error {
    let reasons = match unfit {
        [(candidate, reason)] => format!("{}: {reason}", candidate.short()),
        // The oldest is the last that could have fitted.
        [.., (oldest, reason)] => {
            format!("there are {}, and of the oldest, {}: {reason}", unfit.len(), oldest.short())
        }
        [] => "there is none".to_owned(),
    };
    let hint = match target {
        Target::Time(_) | Target::Lsn(_) => {
            "choose a later target; `kamba-vault snapshots --kind base` shows the base backups"
        }
        _ => "name another timeline with --timeline; `kamba-vault wal status` shows them",
    };
    refused(Class::Failed, format!("no base backup leads to {target}: {reasons}"), hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::postgres::wal::history::Switch;

    const MINUTE: i64 = 60 * 1_000_000_000;

    fn candidate(id: &str, minute: i64, timeline: u32, stop: u64) -> Candidate {
        let base = BaseBackup { system: 7, timeline, start: stop - 10, stop, ..BaseBackup::default() };
        let ended = Timestamp(minute * MINUTE);
        Candidate { id: id.into(), ended, host: Some("db1".into()), incomplete: false, base }
    }

    /// 1 was left for 2 at 300; somebody went back, and left 1 for 3 at 250.
    fn timelines() -> Timelines {
        let mut known = Timelines::default();
        for (timeline, at) in [(2, 300), (3, 250)] {
            let before = vec![Switch { timeline: 1, at: Lsn(at), reason: String::new() }];
            known.histories.insert(timeline, History { timeline, before });
        }
        known.seen.extend([1, 2, 3]);
        known
    }

    fn all() -> Vec<Candidate> {
        // Names that sort otherwise than times do.
        vec![
            candidate("d0", 60, 1, 100),
            candidate("c0", 120, 1, 200),
            candidate("b0", 180, 1, 280),
            candidate("a0", 240, 2, 400),
            candidate("e0", 300, 3, 500),
        ]
    }

    fn chosen(target: Target, wish: TimelineWish) -> (String, u32) {
        let choice = choose(&all(), &target, wish, &timelines(), false).unwrap();
        (choice.candidate.id, choice.history.timeline)
    }

    #[test]
    fn the_newest_before_the_target_is_chosen() {
        let latest = TimelineWish::Latest;
        assert_eq!(chosen(Target::Latest, latest), ("e0".into(), 3));
        assert_eq!(chosen(Target::Latest, TimelineWish::Number(2)), ("a0".into(), 2));
        assert_eq!(chosen(Target::Latest, TimelineWish::Number(1)), ("b0".into(), 1));
        assert_eq!(chosen(Target::Latest, TimelineWish::Current), ("e0".into(), 3));
        assert_eq!(chosen(Target::Immediate, TimelineWish::Current), ("e0".into(), 3));
        // b0 ended on timeline 1 behind the place where 3 left it.
        assert_eq!(chosen(Target::Lsn(Lsn(499)), latest), ("c0".into(), 3));
        assert_eq!(chosen(Target::Lsn(Lsn(500)), latest), ("e0".into(), 3));
        assert_eq!(chosen(Target::Lsn(Lsn(280)), TimelineWish::Number(2)), ("b0".into(), 2));
        let at = |minute: i64| Target::Time(Timestamp(minute * MINUTE));
        assert_eq!(chosen(at(300), latest), ("e0".into(), 3));
        assert_eq!(chosen(at(299), latest), ("c0".into(), 3));
        assert_eq!(chosen(at(299), TimelineWish::Number(2)), ("a0".into(), 2));
    }

    #[test]
    fn it_says_why_and_what_to_think_of() {
        let pick = |target| choose(&all(), &target, TimelineWish::Number(2), &timelines(), false).unwrap();
        let choice = pick(Target::Time(Timestamp(241 * MINUTE)));
        assert_eq!(choice.why, "the newest that had ended by then and is on the way to timeline 2");
        assert!(choice.notes[0].contains("60 s before that time by the clock of db1"), "{:?}", choice.notes);
        assert_eq!(pick(Target::Time(Timestamp(250 * MINUTE))).notes, Vec::<String>::new());
        assert!(pick(Target::Name("x".into())).notes[0].contains("restore point \"x\""));
        let mut corrupt = candidate("f0", 1, 1, 20);
        (corrupt.incomplete, corrupt.base.corrupt_pages) = (true, 3);
        let choice = choose(&[corrupt], &Target::Latest, TimelineWish::Current, &timelines(), true).unwrap();
        assert_eq!((choice.why.as_str(), choice.notes.len()), ("it was named", 1));
    }

    #[test]
    fn where_none_fits_the_reason_is_told() {
        let fail = |target, wish| choose(&all(), &target, wish, &timelines(), false).unwrap_err();
        let early = fail(Target::Time(Timestamp(59 * MINUTE)), TimelineWish::Latest);
        let want = "no base backup leads to 1970-01-01 00:59:00+00: there are 5, and of the oldest, d0: it ended at 1970-01-01 01:00:00 UTC";
        assert_eq!(early.to_string(), want);
        let early = fail(Target::Lsn(Lsn(99)), TimelineWish::Latest);
        assert!(early.to_string().ends_with("d0: it is consistent from 0/64 on"), "{early}");
        let lost =
            choose(&all()[4..], &Target::Latest, TimelineWish::Number(2), &timelines(), true).unwrap_err();
        assert!(lost.to_string().contains("which is not on the way to timeline 2"), "{lost}");
    }

    #[test]
    fn clusters_are_not_mixed_up() {
        let mut two = all();
        two[0].base.system = 8;
        let error = of_one_system(two.clone(), None).unwrap_err();
        let want = "several clusters: 7 (4, the newest of 1970-01-01 05:00:00 UTC), 8 (1, the newest of 1970-01-01 01:00:00 UTC)";
        assert!(error.to_string().ends_with(want), "{error}");
        assert_eq!(of_one_system(two.clone(), Some(8)).unwrap(), two[..1]);
        assert_eq!(of_one_system(two, Some(9)).unwrap_err().class(), Class::Usage);
        assert_eq!(of_one_system(all(), None).unwrap().len(), 5);
        assert!(of_one_system(Vec::new(), None).is_err());
    }
}
