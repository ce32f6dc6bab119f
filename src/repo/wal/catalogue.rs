//! What WAL there is: all objects under `wal/`, and the head of each. Names tell nothing, so which file an
//! object holds only its head says; heads never change and are kept in the index cache.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::base::clock::Cancel;
use crate::base::id::WalId;
use crate::format::name::{ObjectName, WAL};
use crate::format::wal::{HEAD_LEN, WalBody};
use crate::repo::wal::open_head;
use crate::repo::{Error, Repository, Unlocked};
use crate::storage::ErrorKind;

/// Heads that are read at once: over a network, what counts is how many are on their way.
const READERS: usize = 16;

/// WAL objects by their names.
#[derive(Debug, Default)]
pub struct Listing {
    /// Objects with their sizes.
    pub objects: Vec<(WalId, u64)>,
}

/// One file that the repository holds.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its object's name.
    pub object: String,
    /// Bytes of the object.
    pub size: u64,
    /// What its head says.
    pub body: WalBody,
}

/// All files that the repository holds.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Those whose heads are sound, by cluster and name.
    pub files: Vec<Stored>,
    /// The names of the others, with what is wrong.
    pub damaged: Vec<(String, Error)>,
}

/// Lists all WAL objects: one call.
pub fn list(repo: &Unlocked) -> Result<Listing, Error> {
    let mut listing = Listing::default();
    repo.backend().list(WAL, &mut |entry| {
        if let Some(ObjectName::Wal(id)) = ObjectName::parse(&entry.name) {
            listing.objects.push((id, entry.size));
        }
    })?;
    listing.objects.sort_unstable();
    Ok(listing)
}

/// Reads the heads of all `listing` names, from the cache where it has them.
pub fn read_all(repo: &Repository, listing: &Listing, cancel: &Cancel) -> Result<Catalogue, Error> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Ok(Catalogue::default()));
    let work = || {
        while let Some((id, size)) = listing.objects.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = ObjectName::Wal(*id).to_string();
            let read = match cancel.is_cancelled() {
                true => Err(Error::Interrupted),
                false => read_head(repo, &name, *size),
            };
            let Ok(mut found) = found.lock() else { return };
            let Ok(catalogue) = &mut *found else { return };
            match read {
                Ok(Some(stored)) => catalogue.files.push(stored),
                // Removed since it was listed.
                Ok(None) => {}
                Err(unreadable) if !unreadable.is_about_data() => *found = Err(unreadable),
                Err(error) => catalogue.damaged.push((name, error)),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..READERS.min(listing.objects.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut catalogue = found.into_inner().map_err(|_| Error::Worker)??;
    let key = |stored: &Stored| (stored.body.system, stored.body.file.clone());
    catalogue.files.sort_by_cached_key(key);
    catalogue.damaged.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(catalogue)
}

/// Reads one head, and holds what it says against the object's size.
fn read_head(repo: &Repository, name: &str, size: u64) -> Result<Option<Stored>, Error> {
    let kept = repo.index().object(name)?.and_then(|kept| open_head(repo, name, &kept).ok());
    let body = match kept {
        Some(head) => head.body,
        None => {
            // Not kept, or what was kept is garbled: the repository decides (I-11).
            let mut bytes = Vec::with_capacity(HEAD_LEN);
            match repo.backend().get_range(name, 0..HEAD_LEN as u64, &mut bytes) {
                Ok(()) => {}
                Err(e) if e.kind == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e.into()),
            }
            let head = open_head(repo, name, &bytes)?;
            // A cache that cannot remember it costs speed, not the answer.
            let _ = repo.index().keep_object(name, &bytes);
            head.body
        }
    };
    if body.object_len() != size {
        let reason =
            format!("it holds {} and has {size} bytes where its head says {}", body.file, body.object_len());
        return Err(Error::damaged(name, reason));
    }
    Ok(Some(Stored { object: name.to_owned(), size, body }))
}
