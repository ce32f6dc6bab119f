//! The snapshots that the mount shows: those of the repository at this moment, looked at again from time to
//! time. A listing costs one request; a root that is known already is not read again.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::base::clock::{Cancel, Timestamp};
use crate::base::id::SessionId;
use crate::base::monitor::{Monitor, Silent};
use crate::ops::{self, look};
use crate::repo::read::ChunkReader;
use crate::repo::roots::{self, Listing, Snapshot};
use crate::repo::{Repository, index};
use crate::vfs::View;

/// How often a repository on a local disk is looked at, in seconds, while somebody looks at the mount.
const AGAIN_LOCAL: i64 = 1;
/// The same for a remote one.
const AGAIN_REMOTE: i64 = 15;

/// A snapshot of the mount.
#[derive(Debug)]
pub struct Known {
    /// What the repository says of it.
    pub snapshot: Snapshot,
    /// The name of its folder.
    pub folder: String,
}

impl Known {
    /// Its id.
    pub fn id(&self) -> SessionId {
        self.snapshot.id
    }

    /// When it was begun.
    pub fn time(&self) -> Timestamp {
        self.snapshot.root.started
    }
}

impl Looked {
    /// Says once what cannot be read.
    fn speak_of(&mut self, listing: &Listing, monitor: &dyn Monitor) {
        for (name, error) in &listing.damaged {
            if !self.damaged.contains(name) {
                monitor.warn(&format!("{name} is left out: {error}"));
                self.damaged.push(name.clone());
            }
        }
    }
}

/// How a snapshot's time is written in the name of its folder.
pub type WriteTime = Box<dyn Fn(Timestamp) -> String + Send + Sync>;

/// The snapshots as they were when last looked at.
pub struct Catalog {
    repo: Repository,
    reader: Arc<ChunkReader>,
    monitor: Arc<dyn Monitor>,
    cancel: Cancel,
    write_time: WriteTime,
    /// Oldest first.
    known: RwLock<Arc<Vec<Arc<Known>>>>,
    /// The last look; none if there is to be no other.
    looked: Mutex<Option<Looked>>,
}

/// The last look at the repository.
#[derive(Default)]
struct Looked {
    at: Option<Timestamp>,
    /// What it failed with, said once and not each second.
    failure: Option<String>,
    /// Every root that was there, also what cannot be read and what is a tombstone.
    names: Vec<(String, SessionId)>,
    /// Roots that cannot be read, which were spoken of.
    damaged: Vec<String>,
}

impl Catalog {
    /// All snapshots, looked at for the first time. Roots are listed before the index is loaded (I-2).
    pub fn open(
        repo: &Repository,
        write_time: WriteTime,
        monitor: Arc<dyn Monitor>,
        cancel: Cancel,
    ) -> Result<Self, ops::Error> {
        let names = roots::names(repo)?;
        let listing = roots::read_all(repo, &names, &cancel)?;
        let mut looked = Looked { at: Some(repo.clock().now()), names, ..Looked::default() };
        looked.speak_of(&listing, &*monitor);
        let catalog = Catalog::new(repo, write_time, monitor, cancel, Some(looked))?;
        catalog.know(listing.snapshots);
        Ok(catalog)
    }

    /// One snapshot, which was found in a listing. The repository is not looked at again.
    pub fn of_one(
        repo: &Repository,
        snapshot: Snapshot,
        write_time: WriteTime,
        monitor: Arc<dyn Monitor>,
        cancel: Cancel,
    ) -> Result<Self, ops::Error> {
        let catalog = Catalog::new(repo, write_time, monitor, cancel, None)?;
        catalog.know(vec![snapshot]);
        Ok(catalog)
    }

    fn new(
        repo: &Repository,
        write_time: WriteTime,
        monitor: Arc<dyn Monitor>,
        cancel: Cancel,
        looked: Option<Looked>,
    ) -> Result<Self, ops::Error> {
        let reader = look::reader(repo, &*monitor, &cancel)?;
        let (repo, known, looked) = (repo.clone(), RwLock::default(), Mutex::new(looked));
        Ok(Catalog { repo, reader, monitor, cancel, write_time, known, looked })
    }

    /// Its snapshots, oldest first, after another look at the repository if the last is some time ago.
    pub fn now(&self) -> Arc<Vec<Arc<Known>>> {
        self.look_again();
        self.last()
    }

    /// Its snapshots as they were at the last look.
    pub fn last(&self) -> Arc<Vec<Arc<Known>>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long the kernel may believe what it was told of the folders above the snapshots, in seconds.
    pub fn believed(&self) -> u64 {
        (if self.repo.backend().is_local() { AGAIN_LOCAL } else { AGAIN_REMOTE }) as u64
    }

    /// A snapshot as a tree.
    pub fn view(&self, known: &Known) -> View {
        look::view_with(&self.reader, &known.snapshot, &self.cancel)
    }

    /// Told of what goes wrong.
    pub fn monitor(&self) -> &dyn Monitor {
        &*self.monitor
    }

    fn know(&self, snapshots: Vec<Snapshot>) {
        let known = snapshots.into_iter().map(|snapshot| {
            let id = snapshot.id.to_hex();
            let folder = format!("{}-{}", (self.write_time)(snapshot.root.started), &id[..8]);
            Arc::new(Known { snapshot, folder })
        });
        let known = Arc::new(known.collect());
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
    }

    fn look_again(&self) {
        // One at a time looks; whoever comes meanwhile sees what was.
        let Ok(mut looked) = self.looked.try_lock() else { return };
        let Some(looked) = &mut *looked else { return };
        let now = self.repo.clock().now();
        let due = |at: Timestamp| now < at || now >= at.plus_seconds(self.believed() as i64);
        if !looked.at.is_none_or(due) {
            return;
        }
        match self.look(looked) {
            Ok(()) => looked.failure = None,
            Err(error) => {
                let failure = error.to_string();
                if looked.failure.as_ref() != Some(&failure) {
                    self.monitor.warn(&format!("the list of snapshots stays as it is: {failure}"));
                    looked.failure = Some(failure);
                }
            }
        }
        looked.at = Some(self.repo.clock().now());
    }

    fn look(&self, looked: &mut Looked) -> Result<(), ops::Error> {
        let names = roots::names(&self.repo)?;
        if names == looked.names {
            return Ok(());
        }
        let listing = roots::read_all(&self.repo, &names, &self.cancel)?;
        looked.speak_of(&listing, &*self.monitor);
        let last = self.last();
        let is_new = |snapshot: &Snapshot| !last.iter().any(|known| known.id() == snapshot.id);
        if listing.snapshots.iter().any(is_new) {
            index::refresh(&self.repo, &Silent, &self.cancel)?;
        }
        self.know(listing.snapshots);
        looked.names = names;
        Ok(())
    }
}
