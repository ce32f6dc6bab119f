//! The files of PostgreSQL's WAL: each is an object of its own, outside the chunk index, so that one can be
//! fetched with one request and a lost index costs no recovery (`format-spec/wal.md`). Its name is a keyed
//! hash of whose and which file it is, so that the same file pushed twice meets itself (I-4).
//!
//! Here a file is bytes with a name; what the names mean, `postgres::wal` knows.

mod catalogue;
pub mod ledger;
mod open;
mod seal;
pub mod spool;

pub use catalogue::{Catalogue, Listing, Stored, list, read_all};
use open::open_in_pieces;
pub use open::{Head, TakePiece, open_head, open_whole};
pub use seal::build;

use crate::base::id::ChunkId;
use crate::base::kind::{ChunkKind, PackKind};
use crate::base::limits::WAL_OBJECT_MAX;
use crate::format::name::{CONFIG, wal_name};
use crate::format::wal::{HEAD_LEN, WalBody};
use crate::repo::{Error, Unlocked};
use crate::storage::ErrorKind;

/// A file to store.
#[derive(Clone, Copy, Debug)]
pub struct WalFile<'a> {
    /// The cluster's system identifier.
    pub system: u64,
    /// The file's name in `pg_wal`.
    pub name: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The magic of its first page, if it is a segment.
    pub magic: Option<u16>,
    /// The cluster's segment size in bytes, if it is a segment.
    pub segment_size: Option<u32>,
}

/// What became of a file that was to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is stored, and durable.
    New {
        /// Bytes of its object.
        stored: u64,
    },
    /// It was there, with the same bytes.
    Same,
    /// A file of that name is there, with other bytes, and stays.
    Different(Box<WalBody>),
}

/// The name of the object that holds this file.
pub fn object_name(repo: &Unlocked, system: u64, file: &str) -> String {
    wal_name(&repo.keys().wal_id(system, file))
}

/// Stores a file, unless one of its name is there. Durable when it returns, also if it was there.
///
/// A server asks again after a crash, so that is asked first where it costs a system call, and during the
/// compression where it costs a round trip. The object's folder is made durable meanwhile, too.
pub fn put(repo: &Unlocked, file: &WalFile<'_>) -> Result<Put, Error> {
    may_write(repo)?;
    let id = repo.keys().chunk_id(ChunkKind::Data, file.bytes);
    let name = object_name(repo, file.system, file.name);
    let is_local = repo.backend().is_local();
    let mut there = is_local.then(|| look(repo, &name)).flatten();
    let mut built = Vec::new();
    if there.is_none() {
        built = std::thread::scope(|scope| {
            // What is wrong with the folder shows when the object is created.
            let preparing = scope.spawn(|| repo.backend().prepare(&name).is_ok());
            let looking = (!is_local).then(|| scope.spawn(|| look(repo, &name)));
            let built = build(repo.keys(), repo.random(), repo.clock().now(), file, id);
            there = looking.and_then(|looking| looking.join().ok()).flatten();
            // Two at once would each make what they find missing.
            let _ = preparing.join();
            built
        })?;
    }
    if let Some(there) = there {
        return compare(repo, file, id, there, &name);
    }
    match repo.backend().put_new(&name, &built) {
        Ok(()) => Ok(Put::New { stored: built.len() as u64 }),
        Err(e) if e.kind == ErrorKind::Exists => match describe(repo, file.system, file.name)? {
            Some(there) => compare(repo, file, id, there, &name),
            // It was taken and is not there: somebody removes objects meanwhile.
            None => Err(e.into()),
        },
        Err(e) => Err(e.into()),
    }
}

/// What stands at `name`, as far as that can be told. Whatever is wrong shows when it is created.
fn look(repo: &Unlocked, name: &str) -> Option<WalBody> {
    let mut head = Vec::with_capacity(HEAD_LEN);
    repo.backend().get_range(name, 0..HEAD_LEN as u64, &mut head).ok()?;
    open_head(repo, name, &head).ok().map(|head| head.body)
}

/// Fails unless this program, with this key, may add WAL here. Unlike `may_write` of a repository it
/// also looks whether anybody would believe the signature.
fn may_write(repo: &Unlocked) -> Result<(), Error> {
    repo.may_write()?;
    repo.signers().may_sign(&repo.keys().signer().id())
}

/// Whether `there`, which stands at the file's `name`, is the file. Then it is durable, too: whoever pushed it
/// may have died before it was, and a server forgets a file that it was told is stored.
fn compare(
    repo: &Unlocked,
    file: &WalFile<'_>,
    id: ChunkId,
    there: WalBody,
    name: &str,
) -> Result<Put, Error> {
    if there.id != id || there.len != file.bytes.len() as u64 {
        return Ok(Put::Different(Box::new(there)));
    }
    repo.backend().make_durable(name)?;
    Ok(Put::Same)
}

/// Fetches a file, every byte verified; `None` if the repository has none of this name. The repository was
/// unlocked, so that answer is about this very repository.
pub fn get(repo: &Unlocked, system: u64, file: &str) -> Result<Option<(WalBody, Vec<u8>)>, Error> {
    let name = object_name(repo, system, file);
    let Some(object) = get_object(repo, &name)? else { return Ok(None) };
    open_whole(repo, &name, file, &object).map(Some)
}

/// The same piece by piece, on this thread alone. Nothing that `each` was given is verified before this ends
/// well.
pub fn get_in_pieces<E: From<Error>>(
    repo: &Unlocked,
    system: u64,
    file: &str,
    each: TakePiece<'_, E>,
) -> Result<Option<WalBody>, E> {
    let name = object_name(repo, system, file);
    let Some(object) = get_object(repo, &name)? else { return Ok(None) };
    open_in_pieces(repo, &name, file, &object, each).map(Some)
}

fn get_object(repo: &Unlocked, name: &str) -> Result<Option<Vec<u8>>, Error> {
    repo.keys().may_read(PackKind::Data)?;
    match repo.backend().get(name, WAL_OBJECT_MAX) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind == ErrorKind::NotFound => still_there(repo).map(|()| None),
        Err(e) => Err(e.into()),
    }
}

/// What the repository holds of a file, without reading it; `None` if it has none of this name.
pub fn describe(repo: &Unlocked, system: u64, file: &str) -> Result<Option<WalBody>, Error> {
    let name = object_name(repo, system, file);
    let mut head = Vec::with_capacity(HEAD_LEN);
    match repo.backend().get_range(&name, 0..HEAD_LEN as u64, &mut head) {
        Ok(()) => open_head(repo, &name, &head).map(|head| Some(head.body)),
        Err(e) if e.kind == ErrorKind::NotFound => still_there(repo).map(|()| None),
        Err(e) => Err(e.into()),
    }
}

/// Whether an object of this name is there. It is not looked into.
pub fn exists(repo: &Unlocked, system: u64, file: &str) -> Result<bool, Error> {
    match repo.backend().stat(&object_name(repo, system, file))? {
        Some(_) => Ok(true),
        None => still_there(repo).map(|()| false),
    }
}

/// "It is not there" counts only from a repository that is there itself, now: a disk that was unmounted since
/// the repository was opened holds no file either.
fn still_there(repo: &Unlocked) -> Result<(), Error> {
    match repo.backend().stat(CONFIG)? {
        Some(_) => Ok(()),
        None => Err(Error::NoRepository { location: repo.backend().location() }),
    }
}
