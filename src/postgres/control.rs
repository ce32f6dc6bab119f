//! `global/pg_control`, by which a server knows its cluster and where to begin (PostgreSQL's
//! `src/include/catalog/pg_control.h`). The fields that are read here are at the same places from PostgreSQL 13
//! to 18; only the checksum moved once.

use crate::postgres::crc32c::crc32c;
use crate::postgres::error::Error;
use crate::postgres::lsn::Lsn;

/// Bytes of the file (`PG_CONTROL_FILE_SIZE`).
pub const SIZE: usize = 8192;

/// Where the file is, below the data folder.
pub const PATH: &str = "global/pg_control";

/// A checkpoint's position that cannot be: no cluster has the WAL segment that it is in, which `initdb` leaves
/// out. pgBackRest writes the same.
const NO_CHECKPOINT: Lsn = Lsn(0xDEAD);

/// Versions of the file's format and where its checksum is, after all that it covers.
const LAYOUTS: [(u32, usize); 3] = [(1300, 288), (1700, 288), (1800, 292)];

/// Places of fields.
const VERSION: usize = 8;
const CATALOG: usize = 12;
const STATE: usize = 16;
const CHECKPOINT: usize = 32;
const REDO: usize = 40;
const TIMELINE: usize = 48;
const MINIMUM: usize = 136;
const BACKUP_START: usize = 152;
const WAL_LEVEL: usize = 172;
const BLOCK_SIZE: usize = 216;
const PAGES_PER_FILE: usize = 220;
const SEGMENT_SIZE: usize = 228;
const CHECKSUMS: usize = 252;

/// What the server was doing when it last wrote the file (`DBState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Starting for the first time.
    Starting,
    /// It had been shut down.
    ShutDown,
    /// It had been shut down as a standby.
    ShutDownInRecovery,
    /// It was shutting down.
    ShuttingDown,
    /// It recovered from a crash.
    CrashRecovery,
    /// It recovered from an archive, or was a standby.
    ArchiveRecovery,
    /// It ran.
    Running,
}

/// The fields that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The cluster's own number.
    pub system: u64,
    /// The version of the file's format: 1300 from PostgreSQL 13 to 16.
    pub control_version: u32,
    /// The version of the system catalogs: that of the server, for programs.
    pub catalog_version: u32,
    /// What the server was doing.
    pub state: State,
    /// The last checkpoint's record.
    pub checkpoint: Lsn,
    /// Where replaying from it begins.
    pub redo: Lsn,
    /// Its timeline.
    pub timeline: u32,
    /// How far a recovery has to go at least, while there is one.
    pub minimum_recovery: Lsn,
    /// Where the base backup began that it recovers from, until it has come to its end.
    pub backup_start: Lsn,
    /// How much is written to the WAL: 0 minimal, 1 replica, 2 logical.
    pub wal_level: u32,
    /// Bytes of a page.
    pub block_size: u32,
    /// Pages of one file of a relation.
    pub pages_per_file: u32,
    /// Bytes of a WAL segment.
    pub segment_size: u32,
    /// Whether pages have checksums.
    pub checksums: bool,
}

impl Control {
    /// Reads the file's bytes and verifies its checksum.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let covered = covered(bytes)?;
        let found = u32_at(bytes, covered);
        if crc32c(&bytes[..covered]) != found {
            return Err(odd("its checksum is wrong"));
        }
        let state = match u32_at(bytes, STATE) {
            0 => State::Starting,
            1 => State::ShutDown,
            2 => State::ShutDownInRecovery,
            3 => State::ShuttingDown,
            4 => State::CrashRecovery,
            5 => State::ArchiveRecovery,
            6 => State::Running,
            _ => return Err(odd("the server's state in it is unknown")),
        };
        let control = Control {
            system: u64_at(bytes, 0),
            control_version: u32_at(bytes, VERSION),
            catalog_version: u32_at(bytes, CATALOG),
            state,
            checkpoint: Lsn(u64_at(bytes, CHECKPOINT)),
            redo: Lsn(u64_at(bytes, REDO)),
            timeline: u32_at(bytes, TIMELINE),
            minimum_recovery: Lsn(u64_at(bytes, MINIMUM)),
            backup_start: Lsn(u64_at(bytes, BACKUP_START)),
            wal_level: u32_at(bytes, WAL_LEVEL),
            block_size: u32_at(bytes, BLOCK_SIZE),
            pages_per_file: u32_at(bytes, PAGES_PER_FILE),
            segment_size: u32_at(bytes, SEGMENT_SIZE),
            checksums: u32_at(bytes, CHECKSUMS) != 0,
        };
        let is_size =
            |size: u32, range: std::ops::RangeInclusive<u32>| size.is_power_of_two() && range.contains(&size);
        let sizes_fit = is_size(control.block_size, 1 << 10..=1 << 15)
            && is_size(control.segment_size, 1 << 20..=1 << 30)
            && control.pages_per_file > 0;
        if sizes_fit { Ok(control) } else { Err(odd("the sizes in it are impossible")) }
    }
}

/// Makes the checkpoint in a restored file unusable. A server that finds a `backup_label` takes the checkpoint
/// from there, and never looks at this one; a server whose `backup_label` was deleted would begin at this one,
/// skip WAL and come up with a broken cluster: now it refuses to start.
pub fn invalidate_checkpoint(bytes: &mut [u8]) -> Result<(), Error> {
    Control::parse(bytes)?;
    let covered = covered(bytes)?;
    bytes[CHECKPOINT..CHECKPOINT + 8].copy_from_slice(&NO_CHECKPOINT.0.to_le_bytes());
    let sum = crc32c(&bytes[..covered]).to_le_bytes();
    bytes[covered..covered + 4].copy_from_slice(&sum);
    Ok(())
}

/// The bytes that the checksum covers; it follows them.
fn covered(bytes: &[u8]) -> Result<usize, Error> {
    if bytes.len() != SIZE {
        return Err(Error::File {
            file: PATH,
            reason: format!("it has {} bytes instead of {SIZE}", bytes.len()),
        });
    }
    let version = u32_at(bytes, VERSION);
    let layout = LAYOUTS.iter().find(|(known, _)| *known == version);
    let unknown =
        || odd("it is of a version of PostgreSQL other than 13 to 18, or of another kind of machine");
    layout.map(|(_, covered)| *covered).ok_or_else(unknown)
}

fn odd(reason: &str) -> Error {
    Error::File { file: PATH, reason: reason.to_owned() }
}

// Little-endian, as every machine is that this program runs on; the version tells if the server's was not.
// The places are within a file whose size was looked at.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at + 4)) << 32 | u64::from(u32_at(bytes, at))
}

#[cfg(test)]
mod tests;
