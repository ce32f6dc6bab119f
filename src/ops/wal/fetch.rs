//! `wal fetch`: a file of WAL out of the repository to where PostgreSQL wants it. What it means that a file is
//! not there decides where a recovery ends, so "absent" is an answer of its own here and never an error, and
//! no error is ever "absent".

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::format::wal::WalBody;
use crate::ops::Error;
use crate::ops::wal::push::RECEIVED_MAX;
use crate::ops::wal::refused;
use crate::postgres::wal::header::LONG_HEADER_LEN;
use crate::postgres::wal::{SegmentHeader, SegmentName, SegmentSize, WalName};
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
    let Some(bytes) = read(repo, system, name)? else { return Ok(Fetched::Absent) };
    write_whole(&bytes, to)?;
    let size = match name {
        WalName::Segment(_) => SegmentHeader::read(&bytes).ok().map(|header| header.size),
        _ => None,
    };
    Ok(Fetched::Written(size))
}

/// Reads `name` of the cluster `system`; `None` if there is none. A segment is what its name says. Of a segment's
/// beginning there may be several; it is the one that goes furthest.
pub fn read(repo: &Unlocked, system: u64, name: WalName) -> Result<Option<Vec<u8>>, Error> {
    match name {
        WalName::Partial(segment) => read_beginning(repo, system, segment),
        _ => read_one(repo, system, name),
    }
}

/// Reads the beginning of a segment that is nowhere whole: as it was received, or as a server left it.
fn read_beginning(repo: &Unlocked, system: u64, segment: SegmentName) -> Result<Option<Vec<u8>>, Error> {
    let mut received: Option<Vec<u8>> = None;
    for number in 0..RECEIVED_MAX {
        let Some(bytes) = read_one(repo, system, WalName::Received(segment, number))? else { break };
        if received.as_ref().is_none_or(|best| written(&bytes) > written(best)) {
            received = Some(bytes);
        }
    }
    let left = read_one(repo, system, WalName::Partial(segment))?;
    Ok(match (received, left) {
        (Some(received), Some(left)) => {
            // The file that a server leaves may end anywhere, with an older file's bytes behind its last record.
            let end = written(&received);
            Some(if left.get(..end) == received.get(..end) { left } else { received })
        }
        (received, left) => received.or(left),
    })
}

/// Bytes up to the last that is not zero.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1)
}

fn read_one(repo: &Unlocked, system: u64, name: WalName) -> Result<Option<Vec<u8>>, Error> {
    let Some((body, bytes)) = wal::get(repo, system, &name.to_string())? else { return Ok(None) };
    check(&body, system, name, &bytes, bytes.len() as u64)?;
    Ok(Some(bytes))
}

/// The same into `file`, on this thread alone; `false` if there is none. What is in `file`, which `what` names
/// in errors, is of use only if this ends well.
pub(super) fn read_to(
    repo: &Unlocked,
    system: u64,
    name: WalName,
    file: &mut File,
    what: &Path,
) -> Result<bool, Error> {
    let (mut start, mut len) = (Vec::with_capacity(LONG_HEADER_LEN), 0);
    let body = wal::get_in_pieces(repo, system, &name.to_string(), &mut |piece| -> Result<(), Error> {
        let more = piece.len().min(LONG_HEADER_LEN - start.len());
        start.extend_from_slice(&piece[..more]);
        len += piece.len() as u64;
        file.write_all(piece).map_err(|source| Error::Output { what: what.display().to_string(), source })
    })?;
    body.map_or(Ok(false), |body| check(&body, system, name, &start, len).map(|()| true))
}

/// Whether an object is `name` of the cluster `system`: what it says, and the file that `start` begins and that
/// has `len` bytes.
fn check(body: &WalBody, system: u64, name: WalName, start: &[u8], len: u64) -> Result<(), Error> {
    if body.file != name.to_string() || body.system != system {
        return Err(refused(format!("the repository gave {} for {name}", body.file), None));
    }
    let (WalName::Segment(segment) | WalName::Partial(segment) | WalName::Received(segment, _)) = name else {
        return Ok(());
    };
    let fail =
        |reason: String| refused(format!("{name} in the repository is no such segment: {reason}"), None);
    let header = SegmentHeader::read(start).map_err(|e| fail(e.to_string()))?;
    header.belongs_to(segment).map_err(|e| fail(e.to_string()))?;
    if header.system != system {
        return Err(fail(format!("it is of cluster {}", header.system)));
    }
    if header.size.bytes() != len {
        let want = header.size.bytes();
        return Err(fail(format!("it has {len} bytes where its segments have {want}")));
    }
    Ok(())
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
