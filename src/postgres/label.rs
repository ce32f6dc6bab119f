//! `backup_label` and `tablespace_map`, which come with a base backup and tell the server how to begin
//! (`build_backup_content` and `do_pg_backup_start` in PostgreSQL's `xlogbackup.c` and `xlog.c`).

use crate::base::limits::CLUSTER_TEXT_MAX;
use crate::postgres::error::Error;
use crate::postgres::lsn::Lsn;

const LABEL: &str = "backup_label";
const MAP: &str = "tablespace_map";

/// What a `backup_label` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupLabel {
    /// Where replaying begins.
    pub start: Lsn,
    /// The WAL segment of that: `000000010000000000000002`.
    pub start_file: String,
    /// The checkpoint that it begins with.
    pub checkpoint: Lsn,
    /// How it was made: `streamed`.
    pub method: String,
    /// Whether it is of a standby.
    pub from_standby: bool,
    /// When it began, in the server's words and time zone.
    pub start_time: String,
    /// What it was called.
    pub label: String,
    /// The timeline of its start.
    pub timeline: u32,
    /// What it is an increment of, since PostgreSQL 17.
    pub incremental_from: Option<(Lsn, u32)>,
}

impl BackupLabel {
    /// Reads the file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = text(bytes, LABEL)?;
        let field = |name: &'static str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            let value = values.next();
            if values.next().is_some() {
                Err(bad(LABEL, format!("it has two lines {name}")))
            } else {
                Ok(value)
            }
        };
        let needed = |name| field(name)?.ok_or_else(|| bad(LABEL, format!("it has no line {name}")));
        let wrong = |name: &str| bad(LABEL, format!("its line {name} is not what PostgreSQL writes"));

        const START: &str = "START WAL LOCATION";
        let start = needed(START)?.split_once(" (file ").ok_or_else(|| wrong(START))?;
        let start_file = start.1.strip_suffix(')').ok_or_else(|| wrong(START))?;
        if start_file.len() != 24 || !start_file.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong(START));
        }
        let lsn = |text: &str, name| text.parse::<Lsn>().map_err(|_| wrong(name));
        let number = |text: &str, name| text.parse::<u32>().map_err(|_| wrong(name));
        const FROM: &str = "BACKUP FROM";
        let from_standby = match needed(FROM)? {
            "primary" => false,
            "standby" => true,
            _ => return Err(wrong(FROM)),
        };
        const FROM_LSN: &str = "INCREMENTAL FROM LSN";
        const FROM_TIMELINE: &str = "INCREMENTAL FROM TLI";
        let incremental_from = match (field(FROM_LSN)?, field(FROM_TIMELINE)?) {
            (Some(position), Some(timeline)) => {
                Some((lsn(position, FROM_LSN)?, number(timeline, FROM_TIMELINE)?))
            }
            (None, None) => None,
            _ => return Err(wrong(FROM_LSN)),
        };
        Ok(BackupLabel {
            start: lsn(start.0, START)?,
            start_file: start_file.to_owned(),
            checkpoint: lsn(needed("CHECKPOINT LOCATION")?, "CHECKPOINT LOCATION")?,
            method: needed("BACKUP METHOD")?.to_owned(),
            from_standby,
            start_time: needed("START TIME")?.to_owned(),
            label: needed("LABEL")?.to_owned(),
            timeline: number(needed("START TIMELINE")?, "START TIMELINE")?,
            incremental_from,
        })
    }
}

/// A tablespace and its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its OID: the name of its link in `pg_tblspc`.
    pub oid: u32,
    /// The folder, on the server that the base backup is of.
    pub location: Vec<u8>,
}

/// Reads a `tablespace_map` (`read_tablespace_map` in `xlogrecovery.c`): lines of an OID, a blank and a path, in
/// which a backslash stands before a line's end and before itself.
pub fn parse_map(bytes: &[u8]) -> Result<Vec<Link>, Error> {
    if bytes.len() > CLUSTER_TEXT_MAX {
        return Err(bad(MAP, format!("it is longer than {CLUSTER_TEXT_MAX} bytes")));
    }
    let (mut links, mut line) = (Vec::new(), Vec::new());
    let mut bytes = bytes.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => links.push(link(&std::mem::take(&mut line))?),
            b'\\' => line.extend(bytes.next()),
            byte => line.push(byte),
        }
    }
    if line.is_empty() { Ok(links) } else { Err(bad(MAP, "its last line has no end".to_owned())) }
}

/// Writes a `tablespace_map`.
pub fn write_map(links: &[Link]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for link in links {
        bytes.extend_from_slice(format!("{} ", link.oid).as_bytes());
        for byte in &link.location {
            if matches!(byte, b'\n' | b'\r' | b'\\') {
                bytes.push(b'\\');
            }
            bytes.push(*byte);
        }
        bytes.push(b'\n');
    }
    bytes
}

fn link(line: &[u8]) -> Result<Link, Error> {
    let wrong = || bad(MAP, "a line of it is not an OID and an absolute path".to_owned());
    let blank = line.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
    let oid = std::str::from_utf8(&line[..blank]).ok().filter(|oid| oid.bytes().all(|b| b.is_ascii_digit()));
    let oid = oid.and_then(|oid| oid.parse().ok()).filter(|oid| *oid != 0).ok_or_else(wrong)?;
    let location = &line[blank + 1..];
    if location.first() != Some(&b'/') || location.contains(&0) {
        return Err(wrong());
    }
    Ok(Link { oid, location: location.to_vec() })
}

fn text<'a>(bytes: &'a [u8], file: &'static str) -> Result<std::borrow::Cow<'a, str>, Error> {
    if bytes.len() > CLUSTER_TEXT_MAX {
        return Err(bad(file, format!("it is longer than {CLUSTER_TEXT_MAX} bytes")));
    }
    // A label may be in any encoding; all else is ASCII.
    Ok(String::from_utf8_lossy(bytes))
}

fn bad(file: &'static str, reason: String) -> Error {
    Error::File { file, reason }
}

#[cfg(test)]
mod tests;
