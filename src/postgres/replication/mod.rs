//! The replication protocol's commands (PostgreSQL's `walsender.c` and `repl_gram.y`): who the server is,
//! its timelines, slots. [`stream`] is its WAL; base backups are [`crate::postgres::base_backup`].

pub mod stream;

use crate::base::clock::Cancel;
use crate::base::limits::CLUSTER_TEXT_MAX;
use crate::postgres::connect::Settings;
use crate::postgres::error::Error;
use crate::postgres::libpq::{Answer, Connection, Library, Rows};
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::stream::Stream;
use crate::postgres::version::Version;
use crate::postgres::wal;

/// The oldest server that WAL is taken from: the oldest whose control file this program can read.
pub const OLDEST: Version = Version(130_000);

/// What is asked for when slots are.
const SLOT: &str = "a slot";

/// The first with `READ_REPLICATION_SLOT`.
const READS_SLOTS: Version = Version(150_000);

/// The name that password files give to replication connections, whatever database the settings name
/// (`GetConnection` in PostgreSQL's `streamutil.c`).
const DATABASE: &str = "replication";

/// Longest name of a slot (`NAMEDATALEN`, less the zero byte).
const SLOT_NAME_MAX: usize = 63;

/// Who a server is (`IDENTIFY_SYSTEM`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's own number: copies of it have the same one.
    pub system: u64,
    /// The timeline that it is on; of a standby, the one that it replays.
    pub timeline: u32,
    /// How far its WAL is on disk; of a standby, how far it has been received or replayed.
    pub position: Lsn,
}

/// A timeline history file, as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Its name: `00000002.history`.
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// What a slot is at (`READ_REPLICATION_SLOT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// The first byte that it keeps, if it keeps any.
    pub restart: Option<Lsn>,
    /// The timeline of that byte.
    pub timeline: Option<u32>,
}

/// A replication connection.
pub struct Replication {
    connection: Connection,
    version: Version,
    library: Library,
    settings: Settings,
    cancel: Cancel,
}

impl Replication {
    /// Connects. Servers older than [`OLDEST`] are refused.
    pub fn connect(library: &Library, settings: &Settings, cancel: &Cancel) -> Result<Self, Error> {
        let extra =
            [("replication", "true"), ("dbname", DATABASE), ("fallback_application_name", "kamba-vault")];
        let connection =
            Connection::open(library, settings, &extra, cancel).map_err(|error| match error {
                Error::Connect { server, reason } => Error::Replication { server, reason },
                other => other,
            })?;
        let replication = Replication {
            version: connection.version(),
            connection,
            library: library.clone(),
            settings: settings.clone(),
            cancel: cancel.clone(),
        };
        replication.needs(OLDEST, "replication")?;
        Ok(replication)
    }

    /// The server's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The connection itself, for the commands of other modules.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Refuses a server that is older than `needed`, for `what`: `a base backup`.
    pub(super) fn needs(&self, needed: Version, what: &'static str) -> Result<(), Error> {
        if self.version >= needed {
            return Ok(());
        }
        Err(Error::OldServer { what, found: self.version, needed })
    }

    /// Asks who the server is.
    pub fn identify(&mut self) -> Result<Identity, Error> {
        const WHAT: &str = "who it is";
        let rows = self.one_row("IDENTIFY_SYSTEM", 3, WHAT)?;
        Ok(Identity {
            system: rows.parse(0, 0, WHAT)?,
            timeline: rows.parse(0, 1, WHAT)?,
            position: rows.parse(0, 2, WHAT)?,
        })
    }

    /// Asks for a setting, in the server's spelling: `16MB`, `on`.
    pub fn show(&mut self, setting: &str) -> Result<String, Error> {
        let known = setting.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !known {
            return Err(Error::Answer("a setting that has no such name"));
        }
        let rows = self.one_row(&format!("SHOW {setting}"), 1, "a setting")?;
        rows.parse(0, 0, "a setting")
    }

    /// Bytes of a WAL segment.
    pub fn wal_segment_size(&mut self) -> Result<u32, Error> {
        const WHAT: &str = "the size of WAL segments";
        let size = bytes(&self.show("wal_segment_size")?).ok_or(Error::Answer(WHAT))?;
        let valid = size.is_power_of_two() && (1 << 20..=1 << 30).contains(&size);
        if valid { Ok(size) } else { Err(Error::Answer(WHAT)) }
    }

    /// Whether its pages carry checksums.
    pub fn data_checksums(&mut self) -> Result<bool, Error> {
        // While a server turns them on or off (PostgreSQL 19), some pages have none: that is not `on`.
        Ok(self.show("data_checksums")? == "on")
    }

    /// The permissions of the data folder, which the server takes over for all that it makes in it; `None` for
    /// others than the two with which a server starts.
    pub fn data_folder_mode(&mut self) -> Result<Option<u32>, Error> {
        let mode = u32::from_str_radix(&self.show("data_directory_mode")?, 8).ok();
        Ok(mode.filter(|mode| matches!(mode, 0o700 | 0o750)))
    }

    /// Bytes of a page.
    pub fn block_size(&mut self) -> Result<u32, Error> {
        let size = self.show("block_size")?.parse().ok();
        let valid = |size: &u32| size.is_power_of_two() && (1 << 10..=1 << 15).contains(size);
        size.filter(valid).ok_or(Error::Answer("the size of pages"))
    }

    /// Pages of one file of a relation.
    pub fn pages_per_file(&mut self) -> Result<u32, Error> {
        const WHAT: &str = "the size of a relation's files";
        let (page, file) = (self.block_size()?, bytes(&self.show("segment_size")?));
        file.map(|file| file / page).filter(|pages| *pages > 0).ok_or(Error::Answer(WHAT))
    }

    /// Whether it is a standby. Servers of before version 14 do not say.
    pub fn is_standby(&mut self) -> Result<bool, Error> {
        Ok(self.version >= Version(140_000) && self.show("in_hot_standby")? == "on")
    }

    /// The history file of a timeline. The first has none.
    pub fn timeline_history(&mut self, timeline: u32) -> Result<History, Error> {
        const WHAT: &str = "a timeline's history";
        let rows = self.one_row(&format!("TIMELINE_HISTORY {timeline}"), 2, WHAT)?;
        let (Some(name), Some(content)) = (rows.text(0, 0), rows.value(0, 1)) else {
            return Err(Error::Answer(WHAT));
        };
        if name != format!("{timeline:08X}.history") || content.len() > CLUSTER_TEXT_MAX {
            return Err(Error::Answer(WHAT));
        }
        Ok(History { name: name.to_owned(), content: content.to_vec() })
    }

    /// Makes a slot that keeps WAL from now on: from the start of the running checkpoint's segment. A
    /// temporary one ends with this connection.
    pub fn create_slot(&mut self, name: &str, temporary: bool) -> Result<(), Error> {
        let name = slot_name(name)?;
        let temporary = if temporary { " TEMPORARY" } else { "" };
        let statement = format!("CREATE_REPLICATION_SLOT \"{name}\"{temporary} PHYSICAL RESERVE_WAL");
        self.one_row(&statement, 4, "a new slot").map(drop)
    }

    /// What a slot is at; `None` if there is no such slot.
    pub fn read_slot(&mut self, name: &str) -> Result<Option<SlotState>, Error> {
        if self.version < READS_SLOTS {
            return self.look_up_slot(name);
        }
        let name = slot_name(name)?;
        let rows = self.one_row(&format!("READ_REPLICATION_SLOT \"{name}\""), 3, SLOT)?;
        if rows.value(0, 0).is_none() {
            return Ok(None);
        }
        let restart = restart_of(&rows)?;
        let timeline = rows.value(0, 2).map(|_| rows.parse(0, 2, SLOT)).transpose()?;
        Ok(Some(SlotState { restart, timeline }))
    }

    /// The same from servers that have no such command: with an ordinary connection to the settings' database,
    /// which the server's rules (`pg_hba.conf`) must allow as well. Any role may look.
    pub fn look_up_slot(&mut self, name: &str) -> Result<Option<SlotState>, Error> {
        let name = slot_name(name)?;
        let extra = [("fallback_application_name", "kamba-vault")];
        let mut connection = Connection::open(&self.library, &self.settings, &extra, &self.cancel)?;
        let rows = connection.rows(&format!(
            "SELECT slot_type, restart_lsn FROM pg_catalog.pg_replication_slots WHERE slot_name = '{name}'"
        ))?;
        if rows.is_empty() {
            return Ok(None);
        }
        let restart = restart_of(&rows)?;
        let timeline = restart.map(|at| self.timeline_at(at)).transpose()?;
        Ok(Some(SlotState { restart, timeline }))
    }

    /// The timeline that holds the byte at `at`, on the way to the server's own.
    fn timeline_at(&mut self, at: Lsn) -> Result<u32, Error> {
        let timeline = self.identify()?.timeline;
        if timeline <= 1 {
            return Ok(timeline);
        }
        let file = self.timeline_history(timeline)?;
        let history = wal::History::parse(timeline, &file.content);
        Ok(history.map_err(|_| Error::Answer("a timeline's history"))?.timeline_at(at))
    }

    /// Drops a slot; with `wait`, once nobody uses it any more.
    pub fn drop_slot(&mut self, name: &str, wait: bool) -> Result<(), Error> {
        let name = slot_name(name)?;
        let wait = if wait { " WAIT" } else { "" };
        self.connection.send(&format!("DROP_REPLICATION_SLOT \"{name}\"{wait}"))?;
        self.connection.end("DROP_REPLICATION_SLOT")
    }

    /// Starts to stream the WAL of `timeline` from `from` on, by a slot if one is named.
    pub fn stream(&mut self, slot: Option<&str>, from: Lsn, timeline: u32) -> Result<Stream<'_>, Error> {
        const WHAT: &str = "START_REPLICATION";
        let slot = match slot {
            Some(name) => format!("SLOT \"{}\" ", slot_name(name)?),
            None => String::new(),
        };
        let connection = &mut self.connection;
        connection.send(&format!("{WHAT} {slot}PHYSICAL {from} TIMELINE {timeline}"))?;
        match connection.answer(WHAT)? {
            Some(Answer::CopyBoth) => Ok(Stream::new(connection)),
            // The timeline ends exactly here: the server says so at once.
            Some(Answer::Rows(rows)) => {
                let next = stream::next_timeline(&rows)?;
                connection.end(WHAT)?;
                Ok(Stream::ended(connection, next))
            }
            _ => Err(Error::Answer("the start of its WAL")),
        }
    }

    /// Asks for one row of at least `columns` values.
    fn one_row(&mut self, statement: &str, columns: usize, what: &'static str) -> Result<Rows, Error> {
        let rows = self.connection.rows(statement)?;
        if rows.len() == 1 && rows.columns() >= columns { Ok(rows) } else { Err(Error::Answer(what)) }
    }
}

/// Where a slot begins, of which the first two values are its kind and that.
fn restart_of(rows: &Rows) -> Result<Option<Lsn>, Error> {
    if rows.text(0, 0) != Some("physical") {
        return Err(Error::Answer("a slot that is not physical"));
    }
    rows.value(0, 1).map(|_| rows.parse(0, 1, SLOT)).transpose()
}

/// A name that PostgreSQL allows for a slot (`ReplicationSlotValidateName` in `slot.c`): it needs no
/// quoting, then.
pub fn slot_name(name: &str) -> Result<&str, Error> {
    let is_fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if (1..=SLOT_NAME_MAX).contains(&name.len()) && name.bytes().all(is_fine) {
        return Ok(name);
    }
    Err(Error::Settings {
        place: "the replication slot",
        reason: format!("a name has 1 to {SLOT_NAME_MAX} characters of a-z, 0-9 and _"),
    })
}

/// A size in the units that the server shows it in (`GUC_UNIT_BYTE` in `guc.c`).
fn bytes(text: &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u32 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "" | "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::{bytes, slot_name};

    #[test]
    fn sizes_are_read_in_every_unit() {
        let cases = [
            ("16MB", Some(16 << 20)),
            ("1GB", Some(1 << 30)),
            ("8192", Some(8192)),
            ("8192B", Some(8192)),
            ("1024kB", Some(1 << 20)),
            ("4GB", None),
            ("16 MB", None),
            ("16mb", None),
            ("MB", None),
            ("", None),
            ("-1", None),
        ];
        for (text, want) in cases {
            assert_eq!(bytes(text), want, "{text}");
        }
    }

    #[test]
    fn a_slot_has_a_name_that_needs_no_quotes() {
        for good in ["a", "kamba_vault_1", &"x".repeat(63)] {
            assert_eq!(slot_name(good).ok(), Some(good));
        }
        for bad in ["", "A", "a b", "a\"b", "é", &"x".repeat(64)] {
            assert!(slot_name(bad).is_err(), "{bad}");
        }
    }
}
