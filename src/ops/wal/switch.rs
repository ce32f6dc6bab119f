//! The switch timer: ends the present segment of a server's WAL when what is in it has waited long enough, so
//! that `archive_command` gets it. A server's own `archive_timeout` does the same, but not before its
//! checkpointer has woken once: after a clean restart that takes as long as `checkpoint_timeout`.
//!
//! An idle server must not switch for ever. Every switch is followed by records of the server's own (a list of
//! running transactions, a checkpoint), and nobody but the server knows which records are such. So what
//! counts is whether a transaction ended or was prepared since the segment began, or whether there is more than
//! an idle server writes. What no transaction wrote and is short, such as a restore point, waits for company.

use std::time::Duration;

use crate::base::clock::{Cancel, Clock, Timestamp};
use crate::base::monitor::Monitor;
use crate::ops::Error;
use crate::ops::wal::receive::{PAUSE, sleep};
use crate::ops::wal::refused;
use crate::postgres::connect::Settings;
use crate::postgres::error::Error as PostgresError;
use crate::postgres::health::timer_name;
use crate::postgres::libpq::{Connection, Library};
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::OLDEST;
use crate::postgres::session;
use crate::postgres::tools::Tools;
use crate::postgres::wal::SegmentSize;

/// Looks at the server in the time that WAL may wait.
const LOOKS: u32 = 10;
/// The shortest and the longest time between two looks.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Bytes that a segment begins with, at most, before its first record (`SizeOfXLogLongPHD`).
const HEADER: u64 = 40;
/// Bytes that an idle server writes after a switch, and far more: three lists of running transactions and a
/// checkpoint take some 350 (`LogStandbySnapshot` and `CreateCheckPoint`).
const IDLE_MAX: u64 = 4096;
/// The server's code for a role that lacks a right.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct SwitchRequest {
    /// How to reach the server.
    pub settings: Settings,
    /// Where PostgreSQL's programs are; its library may lie beside them.
    pub tools: Tools,
    /// How long WAL waits in a segment that is not full.
    pub after: Duration,
}

/// Switches in time until somebody stops it. A server that goes away is tried again.
pub fn keep_switching(
    request: &SwitchRequest,
    clock: &dyn Clock,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<(), Error> {
    let library = Library::open(&request.tools)?;
    let mut timer = Timer::new(request.after);
    // Whoever cannot be reached at first is most likely named wrongly.
    let name = timer_name(request.after.as_secs());
    let mut connected = Some(session::connect(&library, &request.settings, &name, cancel)?);
    let mut pause = PAUSE.0;
    while !cancel.is_cancelled() {
        let connection = match connected.take() {
            Some(connection) => Ok(connection),
            None => session::connect(&library, &request.settings, &name, cancel),
        };
        let mut looked = false;
        let mut switcher =
            Switcher { request, clock, monitor, cancel, timer: &mut timer, looked: &mut looked };
        let ended = connection.map_err(Error::from).and_then(|connection| switcher.session(connection));
        match ended {
            _ if cancel.is_cancelled() => break,
            Ok(()) => {}
            Err(error) if is_passing(&error) => {
                if pause == PAUSE.0 {
                    monitor.warn(&format!("{error}; it is tried again"));
                }
            }
            Err(error) => return Err(error),
        }
        pause = if looked { PAUSE.0 } else { (pause * 2).min(PAUSE.1) };
        sleep(pause, cancel);
    }
    Ok(())
}

/// Whether a failure passes by itself: a server that is away, restarts, or is busy.
fn is_passing(error: &Error) -> bool {
    use PostgresError::{Connect, Lost, Refused};
    match error {
        Error::Postgres(Connect { .. } | Lost { .. }) => true,
        Error::Postgres(Refused { code, .. }) => code != INSUFFICIENT_PRIVILEGE,
        _ => false,
    }
}

/// What a look at the server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// The end of its WAL.
    at: Lsn,
    /// Which transactions run and which are prepared: it changes whenever one ends or is prepared. Read
    /// before `at`, so it is never newer.
    transactions: String,
}

/// Decides when to switch.
#[derive(Clone, Debug)]
struct Timer {
    /// How long WAL may wait.
    after: Duration,
    /// The last look, and when it was.
    last: Option<(Timestamp, Seen)>,
    /// The transactions when the present segment began, or earlier; `None` if nobody looked.
    begun: Option<String>,
    /// When nothing waited, most lately.
    quiet: Timestamp,
}

impl Timer {
    fn new(after: Duration) -> Self {
        Timer { after, last: None, begun: None, quiet: Timestamp::default() }
    }

    /// Takes in what a look showed; answers whether it is time to switch.
    fn look(&mut self, now: Timestamp, seen: Seen, size: SegmentSize) -> bool {
        match &self.last {
            Some((when, last)) if size.number_at(last.at) < size.number_at(seen.at) => {
                // What was there at the last look is in a segment that ended.
                (self.begun, self.quiet) = (Some(last.transactions.clone()), *when);
            }
            Some((_, last)) if last.at <= seen.at => {}
            // The first look, or another server than before.
            _ => (self.begun, self.quiet) = (None, now),
        }
        let waits = self.waits(&seen, size);
        if !waits {
            self.quiet = now;
            // A segment that is empty, or holds nothing of a transaction's, begins as it is.
            self.begun.get_or_insert_with(|| seen.transactions.clone());
        }
        self.last = Some((now, seen));
        waits && self.is_over(now)
    }

    /// Whether the present segment holds what should not wait long.
    fn waits(&self, seen: &Seen, size: SegmentSize) -> bool {
        let bytes = seen.at.0 % size.bytes();
        match &self.begun {
            None => bytes > HEADER,
            Some(begun) => bytes > HEADER && (bytes > IDLE_MAX || *begun != seen.transactions),
        }
    }

    /// Whether the time is over, which a clock that was set back says as well.
    fn is_over(&self, now: Timestamp) -> bool {
        let after = i64::try_from(self.after.as_nanos()).unwrap_or(i64::MAX);
        now.0.checked_sub(self.quiet.0).is_none_or(|waited| !(0..after).contains(&waited))
    }

    /// Takes in that the segment was ended right after the last look.
    fn switched(&mut self, now: Timestamp) {
        let seen = self.last.take().map(|(_, seen)| seen);
        self.begun = seen.as_ref().map(|seen| seen.transactions.clone());
        self.quiet = now;
        self.last = seen.map(|seen| (now, seen));
    }

    /// How long to wait before the next look.
    fn pause(&self) -> Duration {
        (self.after / LOOKS).clamp(LOOK_EVERY.0, LOOK_EVERY.1)
    }
}

/// One connection's part of it.
struct Switcher<'s> {
    request: &'s SwitchRequest,
    clock: &'s dyn Clock,
    monitor: &'s dyn Monitor,
    cancel: &'s Cancel,
    timer: &'s mut Timer,
    /// Whether the server was looked at.
    looked: &'s mut bool,
}

impl Switcher<'_> {
    /// Looks and switches until the connection ends.
    fn session(&mut self, mut connection: Connection) -> Result<(), Error> {
        let size = self.begin(&mut connection)?;
        let mut was_standby = false;
        while !self.cancel.is_cancelled() {
            match look(&mut connection)? {
                Some(seen) => {
                    was_standby = false;
                    if self.timer.look(self.clock.now(), seen, size) {
                        self.switch(&mut connection)?;
                    }
                }
                None if !was_standby => {
                    was_standby = true;
                    let server = connection.server();
                    self.monitor.warn(&format!(
                        "{server} is a standby, which cannot switch: waiting for its promotion"
                    ));
                }
                None => {}
            }
            *self.looked = true;
            sleep(self.timer.pause(), self.cancel);
        }
        Ok(())
    }

    /// Makes sure that this server can be asked to switch; answers the size of its segments.
    fn begin(&self, connection: &mut Connection) -> Result<SegmentSize, Error> {
        const WHAT: &str = "whether segments can be switched";
        if connection.version() < OLDEST {
            let (what, found) = ("switching segments", connection.version());
            return Err(PostgresError::OldServer { what, found, needed: OLDEST }.into());
        }
        let rows = connection.rows(
            "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_switch_wal()', 'EXECUTE'), \
             pg_catalog.quote_ident(current_user), pg_catalog.current_database(), \
             pg_catalog.current_setting('archive_mode'), \
             (SELECT setting FROM pg_catalog.pg_settings WHERE name = 'wal_segment_size')",
        )?;
        let text = |column| rows.text(0, column).ok_or(PostgresError::Answer(WHAT));
        if text(0)? != "t" {
            let (role, database) = (text(1)?, text(2)?);
            return Err(refused(
                format!(
                    "the role may not switch segments: as a superuser, in the database {database}, \
                     GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO {role}"
                ),
                None,
            ));
        }
        if text(3)? == "off" {
            self.monitor
                .warn("archive_mode is off: the server archives no segment, whether it is full or not");
        }
        let size = SegmentSize::new(rows.parse(0, 4, WHAT)?).ok_or(PostgresError::Answer(WHAT))?;
        let after = self.request.after.as_secs();
        self.monitor
            .note(&format!("WAL waits in a segment of {} for {after} s at most", connection.server()));
        Ok(size)
    }

    fn switch(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let rows = connection.rows("SELECT pg_catalog.pg_switch_wal()")?;
        let at: Lsn = rows.parse(0, 0, "the end of a segment")?;
        self.timer.switched(self.clock.now());
        self.monitor.item(&format!("ended the segment at {at}"));
        Ok(())
    }
}

/// Looks at the server; `None` if it is a standby. The transactions are read first, as the question's own
/// snapshot: one that ends meanwhile shows at the next look.
fn look(connection: &mut Connection) -> Result<Option<Seen>, Error> {
    const WHAT: &str = "the end of its WAL";
    let rows = connection.rows(
        "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_current_wal_insert_lsn() END, \
         pg_catalog.concat(pg_catalog.pg_current_snapshot(), ' ', (SELECT pg_catalog.string_agg(\
         transaction::text, ' ' ORDER BY transaction::text) FROM pg_catalog.pg_prepared_xacts))",
    )?;
    if rows.value(0, 0).is_none() {
        return Ok(None);
    }
    let transactions = rows.text(0, 1).ok_or(PostgresError::Answer(WHAT))?.to_owned();
    Ok(Some(Seen { at: rows.parse(0, 0, WHAT)?, transactions }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SIZE: u64 = 1 << 20;

    /// A timer of ten seconds, and a server that is looked at every second.
    struct Watch {
        timer: Timer,
        now: i64,
    }

    impl Watch {
        fn new() -> Self {
            Watch { timer: Timer::new(Duration::from_secs(10)), now: 1000 }
        }

        fn look(&mut self, at: u64, transactions: &str) -> bool {
            self.now += 1;
            let seen = Seen { at: Lsn(at), transactions: transactions.to_owned() };
            let now = Timestamp::default().plus_seconds(self.now);
            let switch = self.timer.look(now, seen, SegmentSize::new(SIZE).unwrap());
            if switch {
                self.timer.switched(now);
            }
            switch
        }

        /// How many looks it takes until it switches, of a hundred.
        fn looks(&mut self, at: u64, transactions: &str) -> Option<u32> {
            (1..=100).find(|_| self.look(at, transactions))
        }
    }

    #[test]
    fn what_was_there_at_first_is_archived_once() {
        let mut watch = Watch::new();
        assert_eq!(watch.looks(SIZE + 100, "5:5:"), Some(11));
        // What the server writes after a switch is no reason for another.
        assert_eq!(watch.looks(2 * SIZE + HEADER, "5:5:"), None);
        assert_eq!(watch.looks(2 * SIZE + 350, "5:5:"), None);
    }

    #[test]
    fn an_empty_segment_is_left_alone() {
        let mut watch = Watch::new();
        assert_eq!(watch.looks(SIZE + HEADER, "5:5:"), None);
        assert_eq!(watch.looks(SIZE, "5:5:"), None);
    }

    #[test]
    fn a_commit_waits_as_long_as_it_may_since_the_look_before_it() {
        let mut watch = Watch::new();
        assert_eq!(watch.looks(SIZE + HEADER, "5:5:"), None);
        assert_eq!(watch.looks(SIZE + 200, "6:6:"), Some(10));
        assert_eq!(watch.looks(2 * SIZE + 96, "6:6:"), None);
        // One that ran for long, and did not move the newest.
        assert_eq!(watch.looks(2 * SIZE + 200, "6:8:6"), Some(10));
        assert_eq!(watch.looks(3 * SIZE + 200, "8:8:"), Some(10));
        assert_eq!(watch.looks(4 * SIZE + 200, "8:8: 8"), Some(10));
    }

    #[test]
    fn a_commit_after_the_look_and_before_the_switch_is_seen_again() {
        let mut watch = Watch::new();
        assert_eq!(watch.looks(SIZE + 100, "5:5:"), Some(11));
        // Nobody can tell whether its record was before the switch or after.
        assert_eq!(watch.looks(2 * SIZE + 100, "6:6:"), Some(10));
        assert_eq!(watch.looks(3 * SIZE + 100, "6:6:"), None);
    }

    #[test]
    fn a_segment_that_fills_by_itself_takes_what_waits_with_it() {
        let mut watch = Watch::new();
        assert_eq!(watch.looks(SIZE + HEADER, "5:5:"), None);
        for number in 0..50 {
            assert!(!watch.look((2 + number) * SIZE + 9000, &format!("{number}:{number}:")));
        }
        assert_eq!(watch.looks(52 * SIZE + 9000, "99:99:"), Some(10));
    }

    #[test]
    fn much_that_is_no_transactions_is_archived_too() {
        let mut watch = Watch::new();
        assert_eq!(watch.looks(SIZE + HEADER, "5:5:"), None);
        assert_eq!(watch.looks(SIZE + IDLE_MAX + 1, "5:5:"), Some(10));
        assert_eq!(watch.looks(2 * SIZE + 96, "5:5:"), None);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_wait() {
        let mut watch = Watch::new();
        assert_eq!(watch.looks(SIZE + HEADER, "5:5:"), None);
        assert!(!watch.look(SIZE + 200, "6:6:"));
        watch.now -= 1000;
        assert!(watch.look(SIZE + 200, "6:6:"));
    }

    #[test]
    fn a_server_with_less_wal_than_before_is_another() {
        let mut watch = Watch::new();
        assert_eq!(watch.looks(9 * SIZE + HEADER, "5:5:"), None);
        assert_eq!(watch.looks(2 * SIZE + 300, "5:5:"), Some(11));
    }
}
