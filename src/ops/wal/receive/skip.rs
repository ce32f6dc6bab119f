//! What becomes of receiving when the server has removed what comes next: its slot was lost or invalidated, or
//! was made on another server only after a failover. Receiving goes on behind the hole, and a ledger says what
//! was missed: nobody sees that otherwise where the hole begins a timeline.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::ops::Error;
use crate::ops::wal::receive::Receiver;
use crate::ops::wal::receive::start::{Position, history};
use crate::postgres;
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::stream::Event;
use crate::postgres::replication::{Identity, Replication};
use crate::postgres::wal::History;

/// How long one wait for the first bytes of a stream is.
const WAIT: Duration = Duration::from_millis(200);

/// Whether the server says that it has removed the WAL that was asked for.
pub(super) fn is_removed(error: &Error) -> bool {
    // undefined_file: "requested WAL segment … has already been removed".
    matches!(error, Error::Postgres(postgres::error::Error::Refused { code, .. }) if code == "58P01")
}

impl Receiver<'_> {
    /// Where to go on, when the server does not have what follows the last position: at the first segment that
    /// it has.
    pub(super) fn skip(
        &mut self,
        replication: &mut Replication,
        server: &Identity,
    ) -> Result<Position, Error> {
        let Some(at) = self.at else { return Err(crate::repo::Error::Worker.into()) };
        self.buffer.clear();
        let path = history(replication, server.timeline)?;
        let from = self.size.number_at(at.lsn);
        let first = self.first_kept(replication, &path, from)?;
        for (timeline, numbers) in missed(&path, self.size.bytes(), from..=first.saturating_sub(1)) {
            self.uploader.missed(timeline, self.size, numbers);
        }
        if let Some(open) = self.open.take() {
            drop(open.file);
            self.uploader.partial(open.name);
        }
        // Who recovers over several switches asks for every history on the way. A server need not have them.
        for switch in path.before.iter().filter(|switch| switch.timeline > at.timeline) {
            if let Ok(history) = replication.timeline_history(switch.timeline) {
                self.uploader.history(history.name, history.content);
            }
        }
        let lsn = Lsn(first * self.size.bytes());
        self.monitor.warn(&format!(
            "the WAL from {} to {lsn} is neither in the repository nor on the server any more: make a base backup now",
            at.lsn
        ));
        Ok(Position { timeline: self.timeline_of(&path, first), lsn })
    }

    /// The first segment after `from` that the server has. It removes the oldest first, so what it has goes on
    /// without a hole to what it writes.
    fn first_kept(&self, replication: &mut Replication, path: &History, from: u64) -> Result<u64, Error> {
        let newest = self.size.number_at(replication.identify()?.position);
        let (mut removed, mut kept) = (from, newest.max(from + 1));
        while kept - removed > 1 {
            let middle = removed + (kept - removed) / 2;
            let lsn = Lsn(middle * self.size.bytes());
            let place = Position { timeline: self.timeline_of(path, middle), lsn };
            match self.has(replication, place)? {
                true => kept = middle,
                false => removed = middle,
            }
        }
        Ok(kept)
    }

    /// Whether the server has WAL from there on, which it has written. The slot is not asked to keep it.
    fn has(&self, replication: &mut Replication, from: Position) -> Result<bool, Error> {
        let mut begin = || -> Result<(), Error> {
            let mut stream = replication.stream(None, from.lsn, from.timeline)?;
            loop {
                // The end of a stream is only answered to before its first byte is looked for.
                match stream.next_event(WAIT)? {
                    Event::Data { .. } => return Ok(stream.stop()?),
                    Event::EndOfTimeline(_) | Event::Stopped => return Ok(()),
                    Event::Keepalive { .. } | Event::Idle => {}
                }
            }
        };
        match begin() {
            Ok(()) => Ok(true),
            Err(error) if is_removed(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The segments `numbers`, by the timelines whose files hold them on the way that `path` describes.
fn missed(path: &History, size: u64, numbers: RangeInclusive<u64>) -> Vec<(u32, RangeInclusive<u64>)> {
    let of_stretch = |stretch: &postgres::wal::history::Stretch| {
        // The segment in which a timeline was left is the first of the next one.
        let first = (stretch.from.0 / size).max(*numbers.start());
        let end = stretch.to.map_or(numbers.end() + 1, |to| (to.0 / size).min(numbers.end() + 1));
        (first < end).then(|| (stretch.timeline, first..=end - 1))
    };
    path.stretches().iter().filter_map(of_stretch).collect()
}

#[cfg(test)]
mod tests {
    use super::missed;
    use crate::postgres::lsn::Lsn;
    use crate::postgres::wal::History;
    use crate::postgres::wal::history::Switch;

    #[test]
    fn what_was_missed_is_of_the_timeline_whose_file_holds_it() {
        let switch = |timeline, at| Switch { timeline, at: Lsn(at), reason: String::new() };
        // Left within segment 6, and at the end of segment 7.
        let path = History { timeline: 4, before: vec![switch(1, 650), switch(3, 800)] };
        assert_eq!(missed(&path, 100, 2..=4), [(1, 2..=4)]);
        assert_eq!(missed(&path, 100, 4..=9), [(1, 4..=5), (3, 6..=7), (4, 8..=9)]);
        assert_eq!(missed(&path, 100, 6..=7), [(3, 6..=7)]);
        assert_eq!(missed(&path, 100, 8..=8), [(4, 8..=8)]);
        assert_eq!(missed(&History::of_first(1), 100, 0..=0), [(1, 0..=0)]);
    }
}
