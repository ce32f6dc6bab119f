//! The history of a timeline (`readTimeLineHistory` in `timeline.c`): which timelines it comes from, and
//! at which positions one left the other.

use crate::postgres::lsn::Lsn;

/// Longest history that is read: timelines are left by hand or by a failover, and each line is short.
pub const HISTORY_MAX: usize = 1 << 20;

/// One line: a timeline that was left, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// The timeline that was left.
    pub timeline: u32,
    /// The position from which on the next timeline counts.
    pub at: Lsn,
    /// Why, in the server's words; perhaps empty.
    pub reason: String,
}

/// Where a timeline comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The timeline itself.
    pub timeline: u32,
    /// The timelines before it, the oldest first.
    pub before: Vec<Switch>,
}

/// Why a file is no history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the history of timeline {timeline} {reason}")]
pub struct HistoryError {
    /// The timeline whose history it should be.
    pub timeline: u32,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A stretch of WAL that one timeline holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The timeline.
    pub timeline: u32,
    /// Its first position.
    pub from: Lsn,
    /// Its end; `None` for the last timeline, which goes on.
    pub to: Option<Lsn>,
}

impl History {
    /// The history of a timeline that comes from none, as the first does. There is no file of it.
    pub fn of_first(timeline: u32) -> Self {
        History { timeline, before: Vec::new() }
    }

    /// Reads the file of `timeline`'s history.
    pub fn parse(timeline: u32, file: &[u8]) -> Result<Self, HistoryError> {
        let fail = |line, reason| HistoryError { timeline, line, reason };
        if file.len() > HISTORY_MAX {
            return Err(fail(1, "begins a file that is too long"));
        }
        let mut before: Vec<Switch> = Vec::new();
        for (number, line) in (1..).zip(file.split(|byte| *byte == b'\n')) {
            let line = String::from_utf8_lossy(line);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let switch = Switch::parse(line).map_err(|reason| fail(number, reason))?;
            if before.last().is_some_and(|last| last.timeline >= switch.timeline) {
                return Err(fail(number, "names a timeline that is not above the one before"));
            }
            if before.last().is_some_and(|last| last.at > switch.at) {
                return Err(fail(number, "goes back in the WAL"));
            }
            if switch.timeline >= timeline {
                return Err(fail(number, "names a timeline that is not below its own"));
            }
            before.push(switch);
        }
        Ok(History { timeline, before })
    }

    /// The stretches of WAL that lead to this timeline and through it, in their order.
    pub fn stretches(&self) -> Vec<Stretch> {
        let mut from = Lsn(0);
        let mut all = Vec::with_capacity(self.before.len() + 1);
        for switch in &self.before {
            all.push(Stretch { timeline: switch.timeline, from, to: Some(switch.at) });
            from = switch.at;
        }
        all.push(Stretch { timeline: self.timeline, from, to: None });
        all
    }

    /// The timeline that holds the byte at `at`, for whoever goes to this timeline.
    pub fn timeline_at(&self, at: Lsn) -> u32 {
        self.before.iter().find(|switch| at < switch.at).map_or(self.timeline, |switch| switch.timeline)
    }

    /// Where `timeline` was left on the way to this one; `None` for this one itself, and for one that is
    /// no ancestor.
    pub fn left_at(&self, timeline: u32) -> Option<Lsn> {
        self.before.iter().find(|switch| switch.timeline == timeline).map(|switch| switch.at)
    }
}

impl Switch {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let mut parts = line.splitn(3, char::is_whitespace);
        let timeline = parts.next().and_then(|digits| digits.parse().ok()).filter(|timeline| *timeline > 0);
        let timeline = timeline.ok_or("does not begin with a timeline")?;
        let at = parts.next().and_then(|position| position.parse().ok());
        let at = at.ok_or("does not say where the timeline was left")?;
        Ok(Switch { timeline, at, reason: parts.next().unwrap_or_default().trim().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const FILE: &[u8] = b"1\t0/30000D8\tno recovery target specified\n\n# by hand\n 2\t0/5000000\n";

    #[test]
    fn a_history_is_read_as_the_server_writes_it() {
        let history = History::parse(4, FILE).unwrap();
        assert_eq!(history.before.len(), 2);
        assert_eq!(history.before[0].reason, "no recovery target specified");
        assert_eq!(history.left_at(2), Some(Lsn(0x500_0000)));
        assert_eq!((history.left_at(3), history.left_at(4)), (None, None));
        let timelines =
            [0, 0x300_00D7, 0x300_00D8, 0x4FF_FFFF, 0x500_0000].map(|at| history.timeline_at(Lsn(at)));
        assert_eq!(timelines, [1, 1, 2, 2, 4]);
        let stretches = history.stretches();
        assert_eq!(stretches[1], Stretch { timeline: 2, from: Lsn(0x300_00D8), to: Some(Lsn(0x500_0000)) });
        assert_eq!(stretches[2], Stretch { timeline: 4, from: Lsn(0x500_0000), to: None });
        assert_eq!(History::of_first(1).stretches().len(), 1);
    }

    #[test]
    fn what_is_no_history_is_refused_with_its_line() {
        for (timeline, file, line) in [
            (3, &b"x\t0/1\n"[..], 1),
            (3, b"1\n", 1),
            (3, b"1\t0-1\n", 1),
            (3, b"0\t0/1\n", 1),
            (3, b"#\n\n2\t0/1\n1\t0/2\n", 4),
            (3, b"1\t0/2\n1\t0/3\n", 2),
            (3, b"1\t0/2\n2\t0/1\n", 2),
            (2, b"2\t0/1\n", 1),
            (2, b"\xff\xfe", 1),
        ] {
            assert_eq!(History::parse(timeline, file).unwrap_err().line, line, "{file:?}");
        }
        assert!(History::parse(2, &vec![b'\n'; HISTORY_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(timeline: u32, file: Vec<u8>) {
            if let Ok(history) = History::parse(timeline, &file) {
                prop_assert!(history.before.iter().all(|switch| switch.timeline < timeline));
            }
        }
    }
}
