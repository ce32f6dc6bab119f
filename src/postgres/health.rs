//! What a server says of its set-up for backups: settings, archiver, slots, who streams from it, and what our
//! role may do. Reading only; what it means is for others to judge.

use std::collections::BTreeMap;

use crate::postgres::error::Error;
use crate::postgres::libpq::{Connection, Rows};
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::OLDEST;
use crate::postgres::version::Version;

/// The settings that are read, in SQL.
const SETTINGS: &str = "'wal_level', 'archive_mode', 'archive_command', 'archive_library', 'archive_timeout', \
    'checkpoint_timeout', 'max_wal_senders', 'max_replication_slots', 'max_slot_wal_keep_size', 'summarize_wal', \
    'data_checksums', 'full_page_writes', 'fsync', 'wal_segment_size'";

/// The end of the WAL, of a standby too, in SQL.
const POSITION: &str = "CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
    ELSE pg_catalog.pg_current_wal_lsn() END";

/// Most slots, connections and timers that are looked at.
const ROWS_MAX: usize = 1000;

/// What a server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its version, as PostgreSQL numbers it.
    pub version: u32,
    /// Settings by name, as `pg_settings` has them: times in seconds, sizes in its units.
    pub settings: BTreeMap<String, Setting>,
    /// Whether it is a standby.
    pub is_standby: bool,
    /// The end of its WAL.
    pub position: Option<Lsn>,
    /// Its system identifier, if our role may know it.
    pub system: Option<u64>,
    /// Its timeline, likewise.
    pub timeline: Option<u32>,
    /// Our role.
    pub role: Role,
    /// The address that we come from, as the server sees it; `None` through a socket.
    pub client: Option<String>,
    /// What the archiver did.
    pub archiver: Archiver,
    /// Replication slots.
    pub slots: Vec<Slot>,
    /// Who streams from it.
    pub receivers: Vec<Receiver>,
    /// Seconds of the switch timers that are connected, as their names say.
    pub timers: Vec<u64>,
}

/// A setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// Its value.
    pub value: String,
    /// Whether another value waits for a restart.
    pub is_pending: bool,
}

/// Our role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Its name, quoted if SQL needs that.
    pub name: String,
    /// Whether it may do everything.
    pub is_superuser: bool,
    /// Whether it may make replication connections.
    pub replicates: bool,
    /// Whether it may call `pg_switch_wal`.
    pub switches: bool,
    /// Whether it sees what others do (`pg_monitor` or `pg_read_all_stats`).
    pub monitors: bool,
}

/// What `pg_stat_archiver` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archiver {
    /// The file that was archived last.
    pub last: Option<String>,
    /// Seconds since then.
    pub last_ago: Option<u64>,
    /// Failures since the statistics began.
    pub failures: u64,
    /// The file that failed last.
    pub failed: Option<String>,
    /// Seconds since then.
    pub failed_ago: Option<u64>,
    /// Whether the last attempt failed.
    pub is_failing: bool,
}

/// A replication slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether somebody uses it.
    pub is_active: bool,
    /// `reserved`, `extended`, `unreserved`, `lost`; `None` if it keeps nothing yet.
    pub status: Option<String>,
    /// Bytes of WAL since the first that it keeps.
    pub retained: Option<u64>,
}

/// Who streams from the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receiver {
    /// The name it gave.
    pub application: String,
    /// `streaming`, `catchup`, `backup`; `None` if our role may not see it.
    pub state: Option<String>,
    /// Bytes of WAL that it has not made durable.
    pub lag_bytes: Option<u64>,
    /// Milliseconds from writing WAL until it was durable there; `None` if nothing was written lately.
    pub lag_millis: Option<u64>,
}

impl Health {
    /// Reads all of it; of a server that is older than [`OLDEST`], its version and settings.
    pub fn read(connection: &mut Connection) -> Result<Self, Error> {
        let mut health = Health { version: connection.version().0, ..Health::default() };
        health.read_settings(connection)?;
        if health.version() < OLDEST {
            return Ok(health);
        }
        health.read_itself(connection)?;
        // Some services do not let everybody ask this; the replication protocol answers as well.
        let control = "SELECT s.system_identifier, c.timeline_id FROM pg_catalog.pg_control_system() s, \
                       pg_catalog.pg_control_checkpoint() c";
        match connection.rows(control) {
            // Kept as a signed number there.
            Ok(rows) => {
                health.system = rows.parse::<i64>(0, 0, "its identity").ok().map(i64::cast_unsigned);
                health.timeline = rows.parse(0, 1, "its identity").ok();
            }
            Err(Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        health.read_archiver(connection)?;
        health.read_receivers(connection)?;
        Ok(health)
    }

    /// Its version.
    pub fn version(&self) -> Version {
        Version(self.version)
    }

    /// A setting's value; nothing for one that this server does not have.
    pub fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", |setting| &setting.value)
    }

    /// A setting's value as a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.setting(name).parse().ok()
    }

    fn read_settings(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let sql = format!(
            "SELECT name, setting, pending_restart FROM pg_catalog.pg_settings WHERE name IN ({SETTINGS})"
        );
        let rows = connection.rows(&sql)?;
        for row in 0..rows.len().min(ROWS_MAX) {
            let setting = Setting { value: text(&rows, row, 1), is_pending: is_true(&rows, row, 2) };
            self.settings.insert(text(&rows, row, 0), setting);
        }
        Ok(())
    }

    fn read_itself(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let sql = format!(
            "SELECT pg_catalog.pg_is_in_recovery(), {POSITION}, pg_catalog.quote_ident(r.rolname), r.rolsuper, \
             r.rolreplication, pg_catalog.has_function_privilege('pg_catalog.pg_switch_wal()', 'EXECUTE'), \
             pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'), pg_catalog.host(pg_catalog.inet_client_addr()) \
             FROM pg_catalog.pg_roles r WHERE r.rolname = current_user"
        );
        let rows = connection.rows(&sql)?;
        if rows.len() != 1 {
            return Err(Error::Answer("itself"));
        }
        self.is_standby = is_true(&rows, 0, 0);
        self.position = number(&rows, 0, 1);
        self.role = Role {
            name: text(&rows, 0, 2),
            is_superuser: is_true(&rows, 0, 3),
            replicates: is_true(&rows, 0, 4),
            switches: is_true(&rows, 0, 5),
            monitors: is_true(&rows, 0, 6),
        };
        self.client = some(&rows, 0, 7);
        Ok(())
    }

    fn read_archiver(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let ago =
            |column| format!("floor(extract(epoch FROM pg_catalog.clock_timestamp() - {column}))::bigint");
        let sql = format!(
            "SELECT last_archived_wal, {}, failed_count, last_failed_wal, {}, \
             last_failed_time IS NOT NULL AND coalesce(last_failed_time > last_archived_time, true) \
             FROM pg_catalog.pg_stat_archiver",
            ago("last_archived_time"),
            ago("last_failed_time")
        );
        let rows = connection.rows(&sql)?;
        self.archiver = Archiver {
            last: some(&rows, 0, 0),
            last_ago: number(&rows, 0, 1),
            failures: number(&rows, 0, 2).unwrap_or(0),
            failed: some(&rows, 0, 3),
            failed_ago: number(&rows, 0, 4),
            is_failing: is_true(&rows, 0, 5),
        };
        Ok(())
    }

    fn read_receivers(&mut self, connection: &mut Connection) -> Result<(), Error> {
        // A difference with nothing must stay nothing, which greatest() alone would make a nought of.
        let behind = |place| {
            format!(
                "CASE WHEN {place} IS NOT NULL \
                 THEN greatest(0, pg_catalog.pg_wal_lsn_diff({POSITION}, {place}))::bigint END"
            )
        };
        let sql = format!(
            "SELECT slot_name, active, wal_status, {} FROM pg_catalog.pg_replication_slots ORDER BY slot_name",
            behind("restart_lsn")
        );
        let rows = connection.rows(&sql)?;
        let slot = |row| Slot {
            name: text(&rows, row, 0),
            is_active: is_true(&rows, row, 1),
            status: some(&rows, row, 2),
            retained: number(&rows, row, 3),
        };
        self.slots = (0..rows.len().min(ROWS_MAX)).map(slot).collect();
        let sql = format!(
            "SELECT application_name, state, {}, (extract(epoch FROM flush_lag) * 1000)::bigint \
             FROM pg_catalog.pg_stat_replication ORDER BY pid",
            behind("flush_lsn")
        );
        let rows = connection.rows(&sql)?;
        let receiver = |row| Receiver {
            application: text(&rows, row, 0),
            state: some(&rows, row, 1),
            lag_bytes: number(&rows, row, 2),
            lag_millis: number(&rows, row, 3),
        };
        self.receivers = (0..rows.len().min(ROWS_MAX)).map(receiver).collect();
        let sql = "SELECT pg_catalog.substring(application_name, '^kamba-vault switch ([0-9]{1,9}) s$') \
                   FROM pg_catalog.pg_stat_activity WHERE application_name LIKE 'kamba-vault switch %'";
        let rows = connection.rows(sql)?;
        self.timers = (0..rows.len().min(ROWS_MAX)).filter_map(|row| number(&rows, row, 0)).collect();
        Ok(())
    }
}

/// The name of a switch timer's connection, by which [`Health::timers`] finds it.
pub fn timer_name(seconds: u64) -> String {
    format!("kamba-vault switch {seconds} s")
}

fn some(rows: &Rows, row: usize, column: usize) -> Option<String> {
    rows.value(row, column).map(|value| String::from_utf8_lossy(value).into_owned())
}

fn text(rows: &Rows, row: usize, column: usize) -> String {
    some(rows, row, column).unwrap_or_default()
}

fn is_true(rows: &Rows, row: usize, column: usize) -> bool {
    rows.value(row, column) == Some(b"t")
}

fn number<T: std::str::FromStr>(rows: &Rows, row: usize, column: usize) -> Option<T> {
    rows.text(row, column)?.parse().ok()
}
