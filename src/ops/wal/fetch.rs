//! `wal fetch`: a file of WAL out of the repository to where PostgreSQL wants it. What it means that a file is
//! not there decides where a recovery ends, so "absent" is an answer of its own here and never an error, and
//! no error is ever "absent".

use std::io::Write;
use std::path::Path;

use crate::ops::Error;
use crate::ops::wal::refused;
use crate::postgres::wal::{SegmentHeader, SegmentSize, WalName};
use crate::repo::Unlocked;
use crate::repo::wal;

/// What a fetch came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The file is in its place; of a segment, with the cluster's segment size.
    Written(Option<SegmentSize>),
    /// The repository has answered that it has no such file.
    Absent,
}

/// Fetches `name` of the cluster `system` to the path `to`, which appears whole or not at all.
pub fn fetch(repo: &Unlocked, system: u64, name: WalName, to: &Path) -> Result<Fetched, Error> {
    let mut bytes = Vec::new();
    if !read(repo, system, name, &mut bytes)? {
        return Ok(Fetched::Absent);
    }
    write_whole(&bytes, to)?;
    let size = match name {
        WalName::Segment(_) => SegmentHeader::read(&bytes).ok().map(|header| header.size),
        _ => None,
    };
    Ok(Fetched::Written(size))
}

/// Reads `name` of the cluster `system` into `bytes`, whose memory is used again; `false` if there is none. A
/// segment is what its name says. What an error leaves in `bytes` is no part of any file.
pub fn read(repo: &Unlocked, system: u64, name: WalName, bytes: &mut Vec<u8>) -> Result<bool, Error> {
    let Some(body) = wal::get_into(repo, system, &name.to_string(), bytes)? else { return Ok(false) };
    if body.file != name.to_string() || body.system != system {
        return Err(refused(format!("the repository gave {} for {name}", body.file), None));
    }
    if let WalName::Segment(segment) | WalName::Partial(segment) = name {
        let fail =
            |reason: String| refused(format!("{name} in the repository is no such segment: {reason}"), None);
        let header = SegmentHeader::read(bytes).map_err(|e| fail(e.to_string()))?;
        header.belongs_to(segment).map_err(|e| fail(e.to_string()))?;
        if header.system != system {
            return Err(fail(format!("it is of cluster {}", header.system)));
        }
        if header.size.bytes() != bytes.len() as u64 {
            return Err(fail(format!(
                "it has {} bytes where its segments have {}",
                bytes.len(),
                header.size.bytes()
            )));
        }
    }
    Ok(true)
}

/// Writes `bytes` beside `to` and renames. PostgreSQL makes durable itself what it keeps. What a kill leaves
/// is called as the server's own temporary segments are, which it removes when it starts
/// (`RemoveTempXlogFiles` in `xlog.c`).
pub(super) fn write_whole(bytes: &[u8], to: &Path) -> Result<(), Error> {
    let fail = |source| Error::Output { what: to.display().to_string(), source };
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix("xlogtemp.kamba-").tempfile_in(folder).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.persist(to).map(drop).map_err(|e| fail(e.error))
}
