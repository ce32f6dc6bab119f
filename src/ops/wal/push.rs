//! `wal push`: a file of WAL into the repository, durable when it returns. The same file again is a success,
//! another one under its name is none: PostgreSQL asks again whenever it is not sure, and two servers that
//! push to one place must find out ("Continuous Archiving" in PostgreSQL's manual).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::base::limits::WAL_FILE_MAX;
use crate::base::units;
use crate::format::wal::WalBody;
use crate::ops::Error;
use crate::ops::wal::{name_of, refused};
use crate::postgres::wal::history::HISTORY_MAX;
use crate::postgres::wal::owner::Owner;
use crate::postgres::wal::{History, SegmentHeader, SegmentName, WalName};
use crate::repo::Unlocked;
use crate::repo::wal::{self, Put, WalFile};

/// Beginnings of one segment, received by different receivers, that a repository takes.
pub(super) const RECEIVED_MAX: u32 = 64;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The file.
    pub name: WalName,
    /// The cluster's system identifier.
    pub system: u64,
    /// Of a segment, what its first page says.
    pub header: Option<SegmentHeader>,
    /// Bytes of its new object; `None` if the repository had it.
    pub stored: Option<u64>,
}

/// A file that was read and checked.
#[derive(Debug)]
pub struct Loaded {
    name: WalName,
    system: u64,
    header: Option<SegmentHeader>,
    bytes: Vec<u8>,
}

/// Pushes the file at `path`, such as `pg_wal/00000001000000000000000A`. Whose it is, the data folder around
/// it says, or `system` where there is none.
pub fn push(repo: &Unlocked, path: &Path, system: Option<u64>) -> Result<Pushed, Error> {
    store(repo, &load(path, system)?)
}

/// Reads the file at `path` and checks that it is what its name says, and of this cluster.
pub fn load(path: &Path, system: Option<u64>) -> Result<Loaded, Error> {
    let name = name_of(path)?;
    let found = Owner::of_file(path);
    let owner = Owner { system: system.or(found.system), ..found };
    let source = |source| Error::Input { path: path.display().to_string(), source };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(source)?;
    let max = match name {
        WalName::Segment(_) | WalName::Partial(_) | WalName::Received(..) => WAL_FILE_MAX,
        WalName::Backup(..) | WalName::History(_) => HISTORY_MAX as u64,
    };
    let len = file.metadata().map_err(source)?.len();
    if len <= max {
        bytes.reserve_exact(usize::try_from(len).unwrap_or_default() + 1);
    }
    Read::by_ref(&mut file).take(max + 1).read_to_end(&mut bytes).map_err(source)?;
    if bytes.len() as u64 > max {
        let message = format!("{} is larger than such a file can be", path.display());
        return Err(refused(message, None));
    }
    check(name, owner, bytes)
}

/// Checks that `bytes` are what `name` says, and `owner`'s.
pub fn check(name: WalName, owner: Owner, bytes: Vec<u8>) -> Result<Loaded, Error> {
    let header = match name {
        WalName::Segment(segment) | WalName::Partial(segment) | WalName::Received(segment, _) => {
            let fail = |reason: String| refused(format!("{name} was not pushed: {reason}"), None);
            let header = SegmentHeader::read(&bytes).map_err(|e| fail(e.to_string()))?;
            header.belongs_to(segment).map_err(|e| fail(e.to_string()))?;
            check_owner(name, owner, &header)?;
            let (len, want) = (bytes.len() as u64, header.size.bytes());
            if len != want {
                return Err(fail(format!("it has {len} bytes where its segments have {want}")));
            }
            Some(header)
        }
        WalName::History(timeline) => {
            let parsed = History::parse(timeline, &bytes);
            parsed.map_err(|e| refused(format!("{name} was not pushed: {e}"), None))?;
            None
        }
        WalName::Backup(..) => None,
    };
    let system = owner.system.or(header.map(|header| header.system)).ok_or_else(|| {
        let message = format!(
            "{name} does not say whose it is, and there is no global/pg_control that can be read beside its folder"
        );
        refused(message, Some("give the path as PostgreSQL does (%p), or name the cluster with --system-id"))
    })?;
    Ok(Loaded { name, system, header, bytes })
}

/// Refuses a segment of another cluster or of another version than the data folder's.
fn check_owner(name: WalName, owner: Owner, header: &SegmentHeader) -> Result<(), Error> {
    if let Some(system) = owner.system
        && system != header.system
    {
        let found = header.system;
        let message = format!(
            "{name} was not pushed: it is of the cluster with system identifier {found}, and this cluster's is {system}"
        );
        return Err(refused(message, Some("has a file of another cluster been copied into pg_wal?")));
    }
    if let (Some(own), Some(found)) = (owner.version, header.version())
        && own != found
    {
        let (own, found) = (own.0 / 10_000, found.0 / 10_000);
        let message =
            format!("{name} was not pushed: it is of PostgreSQL {found}, and this cluster is of {own}");
        return Err(refused(message, None));
    }
    Ok(())
}

/// Stores what was loaded.
pub fn store(repo: &Unlocked, loaded: &Loaded) -> Result<Pushed, Error> {
    let text = loaded.name.to_string();
    let file = loaded.file(&text);
    match wal::put(repo, &file)? {
        Put::New { stored } => Ok(loaded.pushed(Some(stored))),
        Put::Same => Ok(loaded.pushed(None)),
        Put::Different(there) => Err(differs(repo, &file, &there)),
    }
}

/// Stores the segment in which receiving a timeline ended: its bytes as far as they were received, zeros behind
/// them. Where others stored theirs, who came less far or further, it stands beside them.
pub fn store_received(
    repo: &Unlocked,
    segment: SegmentName,
    owner: Owner,
    bytes: Vec<u8>,
) -> Result<Pushed, Error> {
    let mut loaded = check(WalName::Received(segment, 0), owner, bytes)?;
    for number in 0..RECEIVED_MAX {
        loaded.name = WalName::Received(segment, number);
        let text = loaded.name.to_string();
        match wal::put(repo, &loaded.file(&text))? {
            Put::New { stored } => return Ok(loaded.pushed(Some(stored))),
            Put::Same => return Ok(loaded.pushed(None)),
            Put::Different(_) => {}
        }
    }
    let message = format!("the repository has {RECEIVED_MAX} beginnings of {segment}, and none is this one");
    Err(refused(message, Some("do many receivers of different servers store in this repository?")))
}

impl Loaded {
    /// As a file of the name `text`, which is its own.
    fn file<'a>(&'a self, text: &'a str) -> WalFile<'a> {
        WalFile {
            system: self.system,
            name: text,
            bytes: &self.bytes,
            magic: self.header.map(|header| header.magic),
            segment_size: self.header.and_then(|header| u32::try_from(header.size.bytes()).ok()),
        }
    }

    fn pushed(&self, stored: Option<u64>) -> Pushed {
        Pushed { name: self.name, system: self.system, header: self.header, stored }
    }
}

/// Says how the file differs from what the repository has under its name: where, if this key may look.
fn differs(repo: &Unlocked, file: &WalFile<'_>, there: &WalBody) -> Error {
    let (len, own) = (there.len, file.bytes.len() as u64);
    let how = if len != own {
        format!("{} there, {} here", units::bytes(len), units::bytes(own))
    } else {
        let read = wal::get(repo, file.system, file.name);
        let first = read
            .ok()
            .flatten()
            .and_then(|(_, bytes)| bytes.iter().zip(file.bytes).position(|(there, here)| there != here));
        match first {
            Some(at) => format!("the first difference is at byte {at}"),
            None => "as long, with other content".to_owned(),
        }
    };
    let message = format!("the repository has another {}: {how}; nothing was replaced", file.name);
    let hint = "do two servers push to this repository? Only one of a cluster and its standbys may";
    refused(message, Some(hint))
}
