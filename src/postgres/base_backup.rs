//! A base backup by the replication protocol (PostgreSQL's `basebackup.c` and `basebackup_copy.c`): the
//! server sends a tar per tablespace and a manifest. [`crate::postgres::tar`] takes the tars apart.
//!
//! The server verifies page checksums by itself and reads a page again before it calls it corrupt, which
//! nobody can do over the wire: its judgement is in [`End`].

use std::ops::Deref;
use std::time::Duration;

use crate::postgres::error::Error;
use crate::postgres::libpq::{Answer, Copied, CopyStep, Rows};
use crate::postgres::lsn::Lsn;
use crate::postgres::replication::Replication;
use crate::postgres::version::Version;

const WHAT: &str = "BASE_BACKUP";

/// The first version with this form of the command and the stream.
pub const OLDEST: Version = Version(150_000);

/// Tablespaces of one cluster: their list is held in memory.
const TABLESPACES_MAX: usize = 1 << 16;

/// Longest label (`MAXPGPATH` in `backup.c`).
const LABEL_MAX: usize = 1024;

/// Kibibytes per second that the server takes as a limit (`MAX_RATE_LOWER` and `MAX_RATE_UPPER`).
pub const RATE: std::ops::RangeInclusive<u32> = 32..=1 << 20;

/// The code of the error with which a base backup of corrupt pages ends (ERRCODE_DATA_CORRUPTED).
const DATA_CORRUPTED: &str = "XX001";

/// How a base backup is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it is called, in `backup_label` and the server's log.
    pub label: String,
    /// Whether the checkpoint that it begins with is made at once, or spread over the usual time.
    pub fast: bool,
    /// Whether to wait until the archiver has the WAL that it needs. On a server without archiving it
    /// makes no difference.
    pub wait_for_archive: bool,
    /// Most kibibytes per second that the server sends, in [`RATE`].
    pub max_rate: Option<u32>,
    /// Whether the server verifies page checksums, too.
    pub verify_checksums: bool,
}

/// A tablespace of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablespace {
    /// Its OID; `None` for the data folder itself.
    pub oid: Option<u32>,
    /// The folder on the server; empty for the data folder.
    pub location: Vec<u8>,
    /// Bytes in it, as estimated by the server before it began.
    pub size: u64,
}

/// What is known when a base backup has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Where replaying begins.
    pub start: Lsn,
    /// The timeline of that.
    pub timeline: u32,
    /// Tablespaces in the order in which they come; the data folder last.
    pub tablespaces: Vec<Tablespace>,
}

/// What is known when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Where replaying may end at the earliest: before that, the files are not consistent.
    pub stop: Lsn,
    /// The timeline of that.
    pub timeline: u32,
    /// Whether the server found corrupt pages, and read each of them twice. Its notices name them, up to
    /// five of a file. If it verified and found none, then every page that
    /// [`crate::postgres::page::verify`] calls corrupt was only being written as it was read, and is
    /// replayed from the WAL.
    pub corrupt: bool,
}

/// What comes.
pub enum Event {
    /// The next tar begins.
    Archive {
        /// The tablespace's OID; `None` for the data folder.
        oid: Option<u32>,
        /// Its folder on the server; empty for the data folder.
        location: Vec<u8>,
    },
    /// Bytes of the tar.
    Data(Piece),
    /// Bytes of the manifest, which follows the last tar.
    Manifest(Piece),
    /// How many bytes of files the server has read so far.
    Progress(u64),
    /// The end: everything was sent.
    End(End),
}

/// Bytes in the library's own buffer.
pub struct Piece(Copied);

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // The first byte says what the others are.
        self.0.get(1..).unwrap_or_default()
    }
}

/// What the bytes that come belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Nothing,
    Archive,
    Manifest,
    Ended,
}

/// A running base backup. Dropped before its end, the server is asked to stop it.
pub struct BaseBackup<'a> {
    replication: &'a mut Replication,
    start: Start,
    part: Part,
    archives: usize,
}

impl<'a> BaseBackup<'a> {
    /// Begins one. Returns when the checkpoint is made, which can take minutes if it is not to be fast.
    pub fn begin(replication: &'a mut Replication, options: &Options) -> Result<Self, Error> {
        replication.needs(OLDEST, "a base backup")?;
        let statement = statement(options)?;
        let connection = replication.connection();
        // What was said before is not about this.
        drop(connection.take_notices());
        connection.send(&statement)?;
        let mut rows = || match connection.answer(WHAT)? {
            Some(Answer::Rows(rows)) => Ok(rows),
            _ => Err(Error::Answer("the start of a base backup")),
        };
        let (start, timeline) = position(&rows()?)?;
        let tablespaces = tablespaces(&rows()?)?;
        match connection.answer(WHAT)? {
            Some(Answer::CopyOut) => {}
            _ => return Err(Error::Answer("the data of a base backup")),
        }
        let start = Start { start, timeline, tablespaces };
        Ok(BaseBackup { replication, start, part: Part::Nothing, archives: 0 })
    }

    /// What is known of it.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// What the server said since this was last asked: corrupt pages, by file and block; how it waits
    /// for the archiver.
    pub fn take_notices(&mut self) -> Vec<String> {
        self.replication.connection().take_notices()
    }

    /// The next event. Nothing may be asked after the end.
    pub fn next_event(&mut self) -> Result<Event, Error> {
        if self.part == Part::Ended {
            return Err(Error::Answer("a base backup that has ended"));
        }
        loop {
            match self.replication.connection().copied(Duration::from_secs(1))? {
                CopyStep::Idle => {}
                CopyStep::Piece(piece) => {
                    if let Some(event) = self.message(piece)? {
                        return Ok(event);
                    }
                }
                CopyStep::End => return self.end().map(Event::End),
            }
        }
    }

    fn message(&mut self, piece: Copied) -> Result<Option<Event>, Error> {
        let odd = Err(Error::Answer("a base backup: a message that does not belong there"));
        let (Some(kind), body) = (piece.first(), piece.get(1..).unwrap_or_default()) else { return odd };
        match (kind, self.part) {
            (b'd', Part::Archive) => Ok(Some(Event::Data(Piece(piece)))),
            (b'd', Part::Manifest) => Ok(Some(Event::Manifest(Piece(piece)))),
            (b'n', Part::Nothing | Part::Archive) => {
                let (oid, location) = archive(body).ok_or(Error::Answer("the name of an archive"))?;
                let expected = self.start.tablespaces.get(self.archives);
                if !expected.is_some_and(|known| known.oid == oid && known.location == location) {
                    return odd;
                }
                self.archives += 1;
                self.part = Part::Archive;
                Ok(Some(Event::Archive { oid, location }))
            }
            (b'm', Part::Archive) if body.is_empty() => {
                self.part = Part::Manifest;
                Ok(None)
            }
            (b'p', _) => match body.try_into() {
                Ok(done) => Ok(Some(Event::Progress(u64::from_be_bytes(done)))),
                Err(_) => odd,
            },
            _ => odd,
        }
    }

    fn end(&mut self) -> Result<End, Error> {
        let complete = self.part == Part::Manifest && self.archives == self.start.tablespaces.len();
        self.part = Part::Ended;
        let connection = self.replication.connection();
        // An error that came instead of the rest is told in its own words.
        let (stop, timeline) = match connection.answer(WHAT)? {
            Some(Answer::Rows(rows)) if complete => position(&rows)?,
            _ => return Err(Error::Answer("the end of a base backup")),
        };
        let corrupt = match connection.end(WHAT) {
            Ok(()) => false,
            Err(error) if error.code() == Some(DATA_CORRUPTED) => {
                connection.end(WHAT)?;
                true
            }
            Err(error) => return Err(error),
        };
        Ok(End { stop, timeline, corrupt })
    }
}

/// The command (`parse_basebackup_options` in `basebackup.c`). WAL comes another way, and the manifest
/// only has to be as cheap as it can be: contents are verified by our own means.
fn statement(options: &Options) -> Result<String, Error> {
    let refuse = |reason: String| Error::Settings { place: "the base backup", reason };
    let label = &options.label;
    if label.len() > LABEL_MAX || label.chars().any(char::is_control) {
        return Err(refuse(format!("its label has at most {LABEL_MAX} bytes and no control characters")));
    }
    let rate = match options.max_rate {
        None => String::new(),
        Some(rate) if RATE.contains(&rate) => format!(", MAX_RATE {rate}"),
        Some(_) => {
            return Err(refuse(format!("its rate is {} to {} KiB/s", RATE.start(), RATE.end())));
        }
    };
    Ok(format!(
        "{WHAT} (LABEL '{}', PROGRESS true, CHECKPOINT '{}', WAIT {}, WAL false, TABLESPACE_MAP true, \
         MANIFEST 'yes', MANIFEST_CHECKSUMS 'CRC32C', VERIFY_CHECKSUMS {}{rate})",
        label.replace('\'', "''"),
        if options.fast { "fast" } else { "spread" },
        options.wait_for_archive,
        options.verify_checksums,
    ))
}

/// A row of a position and a timeline.
fn position(rows: &Rows) -> Result<(Lsn, u32), Error> {
    const WHAT: &str = "the place of a base backup in the WAL";
    if rows.len() != 1 {
        return Err(Error::Answer(WHAT));
    }
    Ok((rows.parse(0, 0, WHAT)?, rows.parse(0, 1, WHAT)?))
}

fn tablespaces(rows: &Rows) -> Result<Vec<Tablespace>, Error> {
    const WHAT: &str = "its tablespaces";
    if rows.columns() < 3 || !(1..=TABLESPACES_MAX).contains(&rows.len()) {
        return Err(Error::Answer(WHAT));
    }
    let one = |row: usize| -> Result<Tablespace, Error> {
        let oid = rows.value(row, 0).map(|_| rows.parse(row, 0, WHAT)).transpose()?;
        let location = rows.value(row, 1).unwrap_or_default().to_vec();
        // Kibibytes.
        let size: u64 = rows.value(row, 2).map_or(Ok(0), |_| rows.parse(row, 2, WHAT))?;
        Ok(Tablespace { oid, location, size: size.saturating_mul(1024) })
    };
    (0..rows.len()).map(one).collect()
}

/// An archive's name, which is its tablespace's OID or `base`, and its location.
fn archive(body: &[u8]) -> Option<(Option<u32>, Vec<u8>)> {
    let mut parts = body.split(|b| *b == 0);
    let (name, location, rest) = (parts.next()?, parts.next()?, parts.next()?);
    if !rest.is_empty() || parts.next().is_some() {
        return None;
    }
    let stem = std::str::from_utf8(name).ok()?.strip_suffix(".tar")?;
    let oid = if stem == "base" { None } else { Some(stem.parse().ok()?) };
    Some((oid, location.to_vec()))
}
