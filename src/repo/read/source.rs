//! Where a reader takes packs from.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::secret::Secret32;
use crate::repo::copies::Copies;
use crate::repo::index::PackInfo;
use crate::repo::read::chunk::LoadedPack;
use crate::repo::{Error, Repository};

/// Where packs are read.
pub enum Source {
    /// In the repository.
    Repository {
        /// Bytes that were read.
        fetched: AtomicU64,
    },
    /// From copies on this machine, and nowhere else.
    Copies {
        /// The copies.
        copies: Arc<Copies>,
        /// Packs that the repository lacks, by their numbers in the index: nothing may rely on them.
        except: HashSet<u32>,
    },
}

impl Source {
    /// The repository.
    pub fn repository() -> Self {
        Source::Repository { fetched: AtomicU64::new(0) }
    }

    /// Bytes that were read from the repository.
    pub fn fetched(&self) -> u64 {
        match self {
            Source::Repository { fetched } => fetched.load(Ordering::Relaxed),
            Source::Copies { .. } => 0,
        }
    }

    /// Whether reads cost a local system call.
    pub fn is_local(&self, repo: &Repository) -> bool {
        match self {
            Source::Repository { .. } => repo.backend().is_local(),
            Source::Copies { .. } => true,
        }
    }

    /// The key of the pack with this number.
    pub fn key(
        &self,
        repo: &Repository,
        number: u32,
        info: &PackInfo,
        name: &str,
    ) -> Result<Secret32, Error> {
        match self {
            Source::Repository { .. } => {
                repo.keys().open_pack_key(name, info.kind, &info.header, &info.wrapped)
            }
            Source::Copies { copies, except } => {
                let there =
                    (!except.contains(&number)).then(|| copies.key(&info.id, repo.keys(), &info.header));
                there.flatten().ok_or_else(|| no_copy(name))
            }
        }
    }

    /// Appends the bytes of `pack` at `range`.
    pub fn get_range(
        &self,
        repo: &Repository,
        pack: &LoadedPack,
        range: Range<u64>,
        into: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match self {
            Source::Repository { fetched } => {
                fetched.fetch_add(range.end - range.start, Ordering::Relaxed);
                Ok(repo.backend().get_range(&pack.name, range, into)?)
            }
            Source::Copies { copies, .. } => {
                copies.read(&pack.info.id, range, into).then_some(()).ok_or_else(|| no_copy(&pack.name))
            }
        }
    }

    /// Notes that `pack` is damaged here. One in the repository is for `check` to find.
    pub fn forget(&self, pack: &LoadedPack) {
        match self {
            Source::Repository { .. } => {}
            Source::Copies { copies, .. } => copies.forget(&pack.info.id),
        }
    }
}

fn no_copy(name: &str) -> Error {
    Error::damaged(name, "there is no copy of it on this machine")
}
