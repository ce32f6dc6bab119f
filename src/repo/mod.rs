//! Layer 3: the repository. Opened and unlocked ([`Repository`]), written by sessions
//! ([`session`]), read by [`read`], described by roots ([`roots`]). Beside them stand the files of
//! PostgreSQL's WAL ([`wal`]), each an object of its own.
//!
//! Order is what keeps data safe: a writer's is in `session`, a reader's is the reverse: list
//! roots, then load the index (I-2).

mod copies;
mod error;
pub mod index;
mod init;
pub mod keys;
pub mod objects;
pub mod pack;
pub mod read;
pub mod roots;
pub mod session;
mod unlock;
pub mod wal;

pub use error::Error;
pub use init::{InitOptions, init};
pub use unlock::{Credentials, Front, Trust, new_key_file, read_key_file, read_slot, read_trust, slot_names};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::clock::Clock;
use crate::base::id::RepositoryId;
use crate::chunker::{Chunker, Settings};
use crate::crypto::Random;
use crate::format::config::{ConfigBody, CreateIfAbsent};
use crate::format::name::CONFIG;
use crate::repo::index::Cache;
use crate::repo::keys::{Keys, Signers};
use crate::storage::{Backend, LookFirst};

/// What the repository is given from outside.
#[derive(Clone)]
pub struct Environment {
    /// Where objects live.
    pub backend: Arc<dyn Backend>,
    /// Folder below which index caches live, one folder per repository. Unlocking alone does not use it.
    pub cache_dir: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub random: Arc<dyn Random>,
    /// Bytes that copies of packs may take below `cache_dir`, for each repository that is far away or that
    /// the key may not read; zero for none.
    pub copies_limit: u64,
}

/// An unlocked repository without its index: all that small objects and WAL need. Opening one touches
/// nothing on this machine. Cloning shares it.
#[derive(Clone)]
pub struct Unlocked(Arc<Inner>);

struct Inner {
    environment: Environment,
    config: ConfigBody,
    read_only: bool,
    settings: Settings,
    keys: Keys,
    signers: Signers,
}

/// An open, unlocked repository: an [`Unlocked`] with this machine's index cache. Cloning shares it.
#[derive(Clone)]
pub struct Repository {
    unlocked: Unlocked,
    index: Arc<Cache>,
}

impl std::ops::Deref for Repository {
    type Target = Unlocked;

    fn deref(&self) -> &Unlocked {
        &self.unlocked
    }
}

impl Repository {
    /// Opens the repository at the environment's backend with whatever `credentials` unlock.
    pub fn open(environment: Environment, credentials: &Credentials) -> Result<Self, Error> {
        let cache_dir = environment.cache_dir.clone();
        Repository::with_index(Unlocked::open(environment, credentials)?, &cache_dir)
    }

    /// Opens the index cache of an unlocked repository below `cache_dir`.
    pub fn with_index(unlocked: Unlocked, cache_dir: &Path) -> Result<Self, Error> {
        let index = Arc::new(open_cache(&unlocked.0, cache_dir)?);
        Ok(Repository { unlocked, index })
    }

    /// The same repository with an index cache of its own below `cache_dir`, for whoever must not
    /// rely on what this machine remembers.
    pub fn with_cache(&self, cache_dir: &Path) -> Result<Self, Error> {
        Repository::with_index(self.unlocked.clone(), cache_dir)
    }

    /// This machine's cache of its index.
    pub fn index(&self) -> &Cache {
        &self.index
    }
}

impl Unlocked {
    /// Unlocks the repository at the environment's backend with whatever of `credentials` opens it.
    pub fn open(mut environment: Environment, credentials: &Credentials) -> Result<Self, Error> {
        let front = Front::look(&*environment.backend)?;
        let keys = unlock::unlock(&*environment.backend, &front, credentials)?;
        let Trust { signers, config, read_only } = unlock::read_trust(&*environment.backend, &front, &keys)?;
        let settings = Settings::checked(config.chunk_avg, config.chunk_min, config.chunk_max)
            .map_err(|e| Error::damaged("config", e.to_string()))?;
        if config.probe.create_if_absent == Some(CreateIfAbsent::Ignored) {
            // Such a server would replace what is there, a tombstone even (I-4).
            environment.backend = Arc::new(LookFirst::new(environment.backend));
        }
        Ok(Unlocked(Arc::new(Inner { environment, config, read_only, settings, keys, signers })))
    }

    /// Its identity.
    pub fn id(&self) -> RepositoryId {
        self.0.config.repository
    }

    /// Its configuration.
    pub fn config(&self) -> &ConfigBody {
        &self.0.config
    }

    /// Where its objects live.
    pub fn backend(&self) -> &dyn Backend {
        &*self.0.environment.backend
    }

    /// The keys that unlocked it.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Fails unless this program, with this key, may add snapshots here.
    pub fn may_write(&self) -> Result<(), Error> {
        if self.0.read_only {
            return Err(Error::Newer { object: CONFIG.to_owned() });
        }
        self.keys().may_write()
    }

    /// Who may sign.
    pub fn signers(&self) -> &Signers {
        &self.0.signers
    }

    /// Bytes that copies of packs may take.
    pub fn copies_limit(&self) -> u64 {
        self.0.environment.copies_limit
    }

    /// Random bytes.
    pub fn random(&self) -> &dyn Random {
        &*self.0.environment.random
    }

    /// The time.
    pub fn clock(&self) -> &dyn Clock {
        &*self.0.environment.clock
    }

    /// A chunker with the repository's sizes and gear.
    pub fn chunker(&self) -> Result<Chunker, Error> {
        self.0.keys.chunker(self.0.settings)
    }
}

/// The index cache below `cache_dir` of the repository at the environment's backend.
fn open_cache(inner: &Inner, cache_dir: &Path) -> Result<Cache, Error> {
    let backend = &inner.environment.backend;
    let mut location = backend.location();
    if backend.is_local()
        && let Ok(path) = std::path::absolute(&location)
    {
        // One path from wherever it is named.
        location = path.display().to_string();
    }
    Cache::open(cache_dir, &inner.config.repository, &location)
}
