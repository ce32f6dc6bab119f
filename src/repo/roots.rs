//! Roots: the snapshots. Creating one is the commit; creating a tombstone at its name first is the
//! fence. Lists them, newest last, and finds gaps in what signers have written.

use crate::base::clock::Cancel;
use crate::base::id::{ObjectHash, SessionId, SignerId};
use crate::base::limits::SMALL_OBJECT_MAX;
use crate::crypto;
use crate::format::attrs::Unknown;
use crate::format::config::CreateIfAbsent;
use crate::format::header::Kind;
use crate::format::name::{ObjectName, ROOTS, root_name};
use crate::format::root::{RootBody, Tombstone};
use crate::repo::{Error, Repository, objects};
use crate::storage::{self, ErrorKind};

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id: the session that made it.
    pub id: SessionId,
    /// Who signed it.
    pub signer: SignerId,
    /// Hash of the stored object.
    pub hash: ObjectHash,
    /// Bytes of the stored object.
    pub size: u64,
    /// What it says.
    pub root: RootBody,
}

impl Snapshot {
    /// Bytes by which the repository grew when it was made, as its writer says: packs, index parts and
    /// the root.
    pub fn added_bytes(&self) -> u64 {
        self.root.stats.stored_bytes.saturating_add(self.size)
    }
}

/// What a listing of roots found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Roots that cannot be read, and why.
    pub damaged: Vec<(String, Error)>,
    /// Names of tombstones.
    pub tombstones: Vec<String>,
}

impl Listing {
    /// Snapshots whose signer wrote another one before them that is not there: it was hidden,
    /// lost, or removed by other means than `forget`.
    pub fn gaps(&self) -> Vec<&Snapshot> {
        let there: std::collections::HashSet<_> = self.snapshots.iter().map(|s| s.hash).collect();
        self.snapshots.iter().filter(|s| s.root.previous.is_some_and(|p| !there.contains(&p))).collect()
    }
}

/// Lists all roots. A damaged one does not hide the others.
pub fn list(repo: &Repository, cancel: &Cancel) -> Result<Listing, Error> {
    read_all(repo, &names(repo)?, cancel)
}

/// The names of all roots, snapshots and tombstones alike, in order, each with its session.
pub fn names(repo: &Repository) -> Result<Vec<(String, SessionId)>, Error> {
    let mut names = Vec::new();
    repo.backend().list(ROOTS, &mut |entry| {
        if let Some(ObjectName::Root(session)) = ObjectName::parse(&entry.name) {
            names.push((entry.name, session));
        }
    })?;
    names.sort();
    Ok(names)
}

/// Reads the roots of these names, those that are still there. A damaged one does not hide the others.
pub fn read_all(repo: &Repository, names: &[(String, SessionId)], cancel: &Cancel) -> Result<Listing, Error> {
    let mut listing = Listing::default();
    for (name, session) in names {
        if cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        match read(repo, name, session) {
            Ok(Some(snapshot)) => listing.snapshots.push(snapshot),
            Ok(None) => listing.tombstones.push(name.clone()),
            // Removed between the listing and the reading.
            Err(Error::Storage(e)) if e.kind == ErrorKind::NotFound => {}
            Err(e @ Error::Cache { .. }) => return Err(e),
            Err(e) if e.is_of_backend() => return Err(e),
            Err(e) => listing.damaged.push((name.clone(), e)),
        }
    }
    listing.snapshots.sort_by_key(|s| (s.root.started, s.root.ended, s.id));
    listing.damaged.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(listing)
}

/// Reads one root; `None` if it is a tombstone. Roots never change, so the local cache's copy
/// serves; it is verified all the same.
fn read(repo: &Repository, name: &str, session: &SessionId) -> Result<Option<Snapshot>, Error> {
    if let Some(bytes) = repo.index().object(name)?
        && let Ok(snapshot) = parse(repo, name, session, &bytes)
    {
        return Ok(snapshot);
    }
    // Not kept, or what was kept is garbled: the repository decides (I-11).
    let bytes = repo.backend().get(name, SMALL_OBJECT_MAX)?;
    let snapshot = parse(repo, name, session, &bytes)?;
    // A cache that cannot remember it costs speed, not the listing.
    let _ = repo.index().keep_object(name, &bytes);
    Ok(snapshot)
}

/// Opens the bytes of a root; `None` if it is a tombstone.
pub fn parse(
    repo: &Repository,
    name: &str,
    session: &SessionId,
    bytes: &[u8],
) -> Result<Option<Snapshot>, Error> {
    let opened = objects::open_signed(repo, &[Kind::Root, Kind::Tombstone], name, bytes)?;
    let elsewhere = || Error::damaged(name, "it belongs at another name or in another repository");
    if opened.header.kind == Kind::Tombstone {
        let tombstone = Tombstone::decode(&opened.body).map_err(Error::format(name))?;
        return if tombstone.session == *session { Ok(None) } else { Err(elsewhere()) };
    }
    let root = RootBody::decode(&opened.body).map_err(Error::format(name))?;
    if root.session != *session || root.repository != repo.id() {
        return Err(elsewhere());
    }
    let hash = ObjectHash(crypto::hash(bytes));
    let (signer, size) = (opened.header.signer, bytes.len() as u64);
    Ok(Some(Snapshot { id: *session, signer, hash, size, root }))
}

/// Commits the snapshot of `session`: fills in its place in the signer's sequence, as `listing` shows
/// it, and creates it. Answers the bytes of its object.
/// Fails with [`Error::Fenced`] if a tombstone stands there, with [`Error::Unsure`] if it cannot be
/// told whether the snapshot exists.
pub fn commit(
    repo: &Repository,
    listing: &Listing,
    session: &SessionId,
    mut body: RootBody,
) -> Result<u64, Error> {
    let own = repo.keys().signer().id();
    let last = listing.snapshots.iter().filter(|s| s.signer == own).max_by_key(|s| s.root.sequence);
    body.sequence = last.map_or(1, |s| s.root.sequence.saturating_add(1));
    body.previous = last.map(|s| s.hash);
    let name = root_name(session);
    // Where creation is not exclusive, this look is what keeps a fenced session from committing.
    if listing.tombstones.contains(&name) {
        return Err(Error::Fenced { session: *session });
    }
    let encoded = body.encode().map_err(Error::format(&name))?;
    let bytes = objects::seal(repo.keys(), repo.random(), Kind::Root, &name, b"", &encoded)?;
    settle(repo, session, &name, &bytes, repo.backend().put_new(&name, &bytes))?;
    // The snapshot exists. A cache that cannot remember it costs speed, not the snapshot (I-11).
    let _ = repo.index().keep_object(&name, &bytes);
    Ok(bytes.len() as u64)
}

/// What became of the root's creation: a reply that got lost, or a backend on which a tombstone may
/// have come first and been replaced, is resolved by reading back (D-7).
fn settle(
    repo: &Repository,
    session: &SessionId,
    name: &str,
    bytes: &[u8],
    created: Result<(), storage::Error>,
) -> Result<(), Error> {
    let failure = match created {
        Ok(()) if repo.config().probe.create_if_absent == Some(CreateIfAbsent::Atomic) => return Ok(()),
        Ok(()) => None,
        Err(e) => Some(e),
    };
    // The request may have been carried out, or still be on its way.
    let is_lost = |e: &storage::Error| matches!(e.kind, ErrorKind::Temporary | ErrorKind::Cancelled);
    let unsure = |source| Err(Error::Unsure { session: *session, source });
    match (repo.backend().get(name, SMALL_OBJECT_MAX), failure) {
        (Ok(there), failure) if there == bytes => match failure {
            // It is there, but perhaps not durable: a sync failed.
            Some(e) if !is_lost(&e) => unsure(e),
            _ => Ok(()),
        },
        (Ok(there), _) => Err(taken(repo, session, name, &there)),
        (Err(gone), Some(e)) if gone.kind == ErrorKind::NotFound && !is_lost(&e) => Err(e.into()),
        (Err(_), Some(e)) if e.kind == ErrorKind::Exists => Err(e.into()),
        (Err(_), Some(e)) | (Err(e), None) => unsure(e),
    }
}

/// Why a name that is taken is no place for this session's snapshot.
fn taken(repo: &Repository, session: &SessionId, name: &str, there: &[u8]) -> Error {
    match parse(repo, name, session, there) {
        Ok(None) => Error::Fenced { session: *session },
        Ok(Some(_)) => Error::damaged(name, "another snapshot stands at this session's name"),
        Err(e) => Error::damaged(name, format!("at this session's name stands something else: {e}")),
    }
}

/// Fences a session that seems dead: it can never commit after this. `false` if it had committed
/// before.
pub fn fence(repo: &Repository, session: &SessionId) -> Result<bool, Error> {
    let tombstone = Tombstone {
        session: *session,
        fenced_by: repo.keys().signer().id(),
        when: repo.clock().now(),
        unknown: Unknown::default(),
    };
    let name = root_name(session);
    match objects::create(repo, Kind::Tombstone, &name, b"", &tombstone.encode()) {
        Ok(_) => Ok(true),
        Err(Error::Storage(e)) if e.kind == ErrorKind::Exists => {
            let bytes = repo.backend().get(&name, SMALL_OBJECT_MAX)?;
            Ok(parse(repo, &name, session, &bytes)?.is_none())
        }
        Err(e) => Err(e),
    }
}
