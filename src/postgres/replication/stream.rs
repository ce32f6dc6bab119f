//! The WAL of one timeline as the server sends it (`walsender.c`; `receivelog.c` is PostgreSQL's own
//! receiver). Both sides copy: the server WAL and keepalives, we how far we are.

use std::ops::Deref;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::postgres::error::Error;
use crate::postgres::libpq::{Answer, Connection, Copied, CopyStep, Rows};
use crate::postgres::lsn::Lsn;

const WHAT: &str = "START_REPLICATION";

/// Bytes before the WAL in a message `w`: itself, start, end, time.
const DATA_HEADER: usize = 1 + 8 + 8 + 8;
/// Bytes of a keepalive: itself, end, time, whether to answer.
const KEEPALIVE: usize = 1 + 8 + 8 + 1;

/// Microseconds from 1970 to 2000, where PostgreSQL's time begins.
const EPOCH: i64 = 946_684_800_000_000;

/// The timeline that follows one that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Its number.
    pub timeline: u32,
    /// Where it begins: the first byte that is not the old one's.
    pub switch: Lsn,
}

/// What the server sends.
pub enum Event {
    /// WAL.
    Data {
        /// The position of its first byte.
        start: Lsn,
        /// The bytes, as long as the server likes; they may begin and end anywhere.
        bytes: Wal,
    },
    /// A sign of life.
    Keepalive {
        /// The end of the server's WAL.
        end: Lsn,
        /// Whether a status is expected now; without one the server soon gives up.
        reply_now: bool,
    },
    /// Nothing, so long as was to be waited.
    Idle,
    /// The timeline has ended, and all of it was sent. The connection is free for other commands.
    EndOfTimeline(Next),
    /// The server ends the stream, and the connection with it: it is being stopped.
    Stopped,
}

/// WAL in the library's own buffer.
pub struct Wal(Copied);

impl Deref for Wal {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.get(DATA_HEADER..).unwrap_or_default()
    }
}

/// A running stream. After an end of it, or an error, it gives nothing more.
pub struct Stream<'a> {
    connection: &'a mut Connection,
    ended: Option<Next>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(connection: &'a mut Connection) -> Self {
        Stream { connection, ended: None }
    }

    /// A stream that had nothing to send.
    pub(super) fn ended(connection: &'a mut Connection, next: Next) -> Self {
        Stream { connection, ended: Some(next) }
    }

    /// The next event; `Idle` after `wait` without one.
    pub fn next_event(&mut self, wait: Duration) -> Result<Event, Error> {
        if let Some(next) = self.ended {
            return Ok(Event::EndOfTimeline(next));
        }
        match self.connection.copied(wait)? {
            CopyStep::Idle => Ok(Event::Idle),
            CopyStep::Piece(piece) => message(piece),
            CopyStep::End => self.end(),
        }
    }

    /// Says how far we are: `written` to a file, `flushed` so that no crash can lose it (what the server
    /// may forget, and what a synchronous commit waits for), `applied` by a standby. Each is the position
    /// after the last byte. With `reply` the server answers with a keepalive.
    pub fn send_status(
        &mut self,
        written: Lsn,
        flushed: Lsn,
        applied: Lsn,
        now: Timestamp,
        reply: bool,
    ) -> Result<(), Error> {
        if self.ended.is_some() {
            return Ok(());
        }
        self.connection.put(&status(written, flushed, applied, now, reply))
    }

    /// Ends the stream politely: what the server still sends is not looked at. The connection is free
    /// for other commands afterwards.
    pub fn stop(mut self) -> Result<(), Error> {
        if self.ended.is_some() {
            return Ok(());
        }
        self.connection.put_end()?;
        loop {
            match self.connection.copied(Duration::from_secs(1))? {
                CopyStep::End => break,
                CopyStep::Idle | CopyStep::Piece(_) => {}
            }
        }
        while let Some(answer) = self.connection.answer(WHAT)? {
            // A timeline that ended just now has rows to show.
            if !matches!(answer, Answer::Done | Answer::Rows(_)) {
                return Err(Error::Answer("the end of its WAL"));
            }
        }
        // So that nothing is expected of it any more.
        self.ended = Some(Next { timeline: 0, switch: Lsn(0) });
        Ok(())
    }

    /// The server has ended its copy: a timeline's end, or its own.
    fn end(&mut self) -> Result<Event, Error> {
        let (mut next, mut done) = (None, false);
        loop {
            match self.connection.answer(WHAT) {
                // It waits for the end of ours.
                Ok(Some(Answer::CopyIn | Answer::CopyBoth)) => self.connection.put_end()?,
                Ok(Some(Answer::Rows(rows))) => next = Some(next_timeline(&rows)?),
                Ok(Some(Answer::Done)) => done = true,
                Ok(Some(Answer::CopyOut)) => return Err(Error::Answer("the end of its WAL")),
                Ok(None) => break,
                // A server that is being stopped says that all is sent, and goes (`WalSndDone`).
                Err(Error::Lost { .. }) if done && next.is_none() => break,
                Err(error) => return Err(error),
            }
        }
        self.ended = next;
        Ok(next.map_or(Event::Stopped, Event::EndOfTimeline))
    }
}

/// Reads the row that says which timeline follows (`next_tli`, `next_tli_startpos`).
pub(super) fn next_timeline(rows: &Rows) -> Result<Next, Error> {
    const WHAT: &str = "the next timeline";
    if rows.len() != 1 {
        return Err(Error::Answer(WHAT));
    }
    Ok(Next { timeline: rows.parse(0, 0, WHAT)?, switch: rows.parse(0, 1, WHAT)? })
}

fn message(piece: Copied) -> Result<Event, Error> {
    let number =
        |at: usize| -> Option<u64> { Some(u64::from_be_bytes(piece.get(at..at + 8)?.try_into().ok()?)) };
    match (piece.first(), number(1)) {
        (Some(b'w'), Some(start)) if piece.len() >= DATA_HEADER => {
            Ok(Event::Data { start: Lsn(start), bytes: Wal(piece) })
        }
        (Some(b'k'), Some(end)) if piece.len() == KEEPALIVE => {
            Ok(Event::Keepalive { end: Lsn(end), reply_now: piece.last() != Some(&0) })
        }
        _ => Err(Error::Answer("its WAL: a message of another kind")),
    }
}

/// A status (`r`), as `sendFeedback` in `receivelog.c` writes it.
fn status(written: Lsn, flushed: Lsn, applied: Lsn, now: Timestamp, reply: bool) -> [u8; 34] {
    let micros = (now.0 / 1000).saturating_sub(EPOCH);
    let mut message = [0; 34];
    message[0] = b'r';
    message[1..9].copy_from_slice(&written.0.to_be_bytes());
    message[9..17].copy_from_slice(&flushed.0.to_be_bytes());
    message[17..25].copy_from_slice(&applied.0.to_be_bytes());
    message[25..33].copy_from_slice(&micros.to_be_bytes());
    message[33] = u8::from(reply);
    message
}

#[cfg(test)]
mod tests {
    use super::{Lsn, Timestamp, status};

    #[test]
    fn a_status_is_what_the_server_reads() {
        // A second after PostgreSQL's time began.
        let now = Timestamp(946_684_801_000_000_000);
        let message = status(Lsn(0x0102), Lsn(0x03), Lsn(0), now, true);
        let want = [
            &b"r\0\0\0\0\0\0\x01\x02"[..],
            b"\0\0\0\0\0\0\0\x03",
            b"\0\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\x0f\x42\x40",
            b"\x01",
        ];
        assert_eq!(message[..], want.concat());
        let long_ago = status(Lsn(0), Lsn(0), Lsn(0), Timestamp(i64::MIN), false);
        assert_eq!((long_ago[25], long_ago[33]), (0xFF, 0));
    }
}
