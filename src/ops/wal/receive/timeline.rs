//! What becomes of receiving when the server is on another timeline: after a standby was promoted, or the
//! cluster recovered to a point in its past.

use crate::ops::Error;
use crate::ops::wal::receive::Receiver;
use crate::ops::wal::receive::start::{Position, history};
use crate::ops::wal::refused;
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::{Identity, Replication};

impl Receiver<'_> {
    /// Where to go on, when everything up to `at` is there, on a server that may be on a later timeline.
    pub(super) fn go_on(
        &mut self,
        replication: &mut Replication,
        server: &Identity,
        at: Position,
    ) -> Result<Position, Error> {
        if at.timeline == server.timeline {
            return Ok(at);
        }
        if at.timeline > server.timeline {
            let message = format!(
                "the server is on timeline {}, and WAL of timeline {} was received",
                server.timeline, at.timeline
            );
            return Err(refused(message, Some("is it a server that was failed over from?")));
        }
        let history = history(replication, server.timeline)?;
        match history.left_at(at.timeline) {
            // The rest of the old timeline comes first.
            Some(switch) if at.lsn <= switch => Ok(at),
            // The server never had the end of what was received.
            Some(switch) => self.turn(history.timeline_at(switch), switch),
            None => {
                let message = format!(
                    "timeline {} of the server does not come from timeline {}, whose WAL was received",
                    server.timeline, at.timeline
                );
                Err(refused(
                    message,
                    Some("a base backup of the server begins anew: use another --spool and --slot"),
                ))
            }
        }
    }

    /// Leaves the timeline for the one that begins at `switch`. Its first segment is received from its start:
    /// it has what the old timeline has up to there.
    pub(super) fn turn(&mut self, timeline: u32, switch: Lsn) -> Result<Position, Error> {
        if let Some(open) = self.open.take() {
            drop(open.file);
            self.uploader.partial(open.name);
        }
        self.monitor.note(&format!("the server went over to timeline {timeline} at {switch}"));
        Ok(Position { timeline, lsn: self.segment_start(switch) })
    }
}
