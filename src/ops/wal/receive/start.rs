//! Where receiving begins: where the spool ends; without one, where the repository ends, as far as the
//! server still has what follows; without either, at the slot.

use std::collections::HashSet;

use crate::base::id::WalId;
use crate::base::monitor::Monitor;
use crate::ops::Error;
use crate::ops::wal::receive::{Open, Receiver};
use crate::ops::wal::refused;
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::{Identity, Replication};
use crate::postgres::wal::{History, SegmentName, WalName};
use crate::repo::wal;
use crate::repo::wal::spool::Spool;

/// Segments that are looked for in the repository before the slot's: what was received and never stored is
/// no more than a spool holds.
const LOOK_BACK: u64 = 1024;

/// A place in the WAL of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The timeline.
    pub timeline: u32,
    /// The first byte that is not there.
    pub lsn: Lsn,
}

impl Receiver<'_> {
    /// Hands what an earlier run left in the spool to the repository, and goes on where it ends.
    pub(super) fn take_up_spool(&mut self) -> Result<(), Error> {
        let names = segments(self.spool, self.monitor)?;
        let last = names.last().copied();
        for name in names {
            let file = self.spool.resume(self.repo, &name.to_string())?;
            let Some(start) = name.start(self.size) else { continue };
            if file.len() >= self.size.bytes() {
                self.uploader.whole(name);
            } else if Some(name) != last {
                // Its timeline was left: the next one's file was begun after it.
                self.uploader.partial(name);
            } else {
                let lsn = start.plus(file.len());
                self.open = Some(Open { name, file });
                self.at = Some(Position { timeline: name.timeline, lsn });
                return Ok(());
            }
            self.at = Some(Position { timeline: name.timeline, lsn: start.plus(self.size.bytes()) });
        }
        Ok(())
    }

    /// Makes sure that this is the cluster whose WAL the spool has.
    pub(super) fn check(&self, identity: &Identity, replication: &mut Replication) -> Result<(), Error> {
        if identity.system != self.system {
            let message = format!(
                "the server is of cluster {} now, and WAL of cluster {} was being received",
                identity.system, self.system
            );
            return Err(refused(message, Some("start it anew if that is what you want")));
        }
        if super::segment_size(replication)? != self.size {
            return Err(refused("the server's segments have another size now", None));
        }
        Ok(())
    }

    /// Makes the slot if there is none.
    pub(super) fn make_slot(&self, replication: &mut Replication) -> Result<(), Error> {
        if replication.read_slot(&self.request.slot)?.is_none() {
            replication.create_slot(&self.request.slot, false)?;
            self.monitor.note(&format!("the replication slot {} was made", self.request.slot));
        }
        Ok(())
    }

    /// Stores the history of a timeline, which the first has none of.
    pub(super) fn store_history(&self, replication: &mut Replication, timeline: u32) -> Result<(), Error> {
        if timeline <= 1 {
            return Ok(());
        }
        let history = replication.timeline_history(timeline)?;
        self.uploader.history(history.name, history.content);
        Ok(())
    }

    /// The segment that `lsn` lies in begins there.
    pub(super) fn segment_start(&self, lsn: Lsn) -> Lsn {
        Lsn(lsn.0 - lsn.0 % self.size.bytes())
    }

    /// The timeline whose file holds segment `number`, on the way that `path` describes: of a segment in which a
    /// timeline was left, the next one.
    pub(super) fn timeline_of(&self, path: &History, number: u64) -> u32 {
        path.timeline_at(Lsn(number.saturating_add(1).saturating_mul(self.size.bytes()) - 1))
    }

    /// The first segment of those right before `number` that the repository does not have, with one before
    /// them that it has; `number` itself if it has the one before, or none that is near.
    fn first_missing(&self, path: &History, number: u64) -> Result<u64, Error> {
        // One listing, however many there are.
        let there: HashSet<WalId> = wal::list(self.repo)?.objects.into_iter().map(|(id, _)| id).collect();
        let has = |number: &u64| {
            let name = SegmentName::new(self.timeline_of(path, *number), *number, self.size);
            name.is_some_and(|name| there.contains(&self.repo.keys().wal_id(self.system, &name.to_string())))
        };
        let near = (number.saturating_sub(LOOK_BACK)..number).rev();
        Ok(near.into_iter().find(has).map_or(number, |last| last + 1))
    }
}

/// The segments in a spool, in order: within a timeline, their names are.
pub(super) fn segments(spool: &Spool, monitor: &dyn Monitor) -> Result<Vec<SegmentName>, Error> {
    let mut names = Vec::new();
    for text in spool.names()? {
        match WalName::parse(&text) {
            Some(WalName::Segment(name)) => names.push(name),
            _ => monitor.warn(&format!("{text} in the spool is no segment, and is left alone")),
        }
    }
    Ok(names)
}

/// Where receiving begins.
pub(super) fn begin_at(
    receiver: &mut Receiver<'_>,
    replication: &mut Replication,
    server: &Identity,
) -> Result<Position, Error> {
    if let Some(at) = receiver.at {
        return receiver.go_on(replication, server, at);
    }
    let slot = replication.read_slot(&receiver.request.slot)?;
    let kept = slot.and_then(|slot| Some((slot.restart?, slot.timeline?)));
    let (lsn, timeline) = kept.unwrap_or((server.position, server.timeline));
    let first = receiver.size.number_at(lsn);
    // What was acknowledged and is in no spool any more, or was written before a failover: the server may
    // still have it. If not, that shows when it is asked for.
    let path = history(replication, server.timeline)?;
    let missing = receiver.first_missing(&path, first)?;
    Ok(if missing < first {
        let timeline = receiver.timeline_of(&path, missing);
        Position { timeline, lsn: Lsn(missing * receiver.size.bytes()) }
    } else {
        Position { timeline, lsn: Lsn(first * receiver.size.bytes()) }
    })
}

/// The history of a timeline, as the server has it. The first has none.
pub(super) fn history(replication: &mut Replication, timeline: u32) -> Result<History, Error> {
    if timeline <= 1 {
        return Ok(History::of_first(timeline));
    }
    let file = replication.timeline_history(timeline)?;
    History::parse(timeline, &file.content).map_err(|e| refused(format!("{}: {e}", file.name), None))
}
