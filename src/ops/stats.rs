//! Figures: what the repository holds and what it costs.

use crate::base::clock::Cancel;
use crate::base::kind::PackKind;
use crate::base::monitor::Monitor;
use crate::ops::Error;
use crate::repo::roots::{self, Snapshot};
use crate::repo::{Repository, index};

/// Figures of one family of packs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackStats {
    /// Packs.
    pub packs: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
    /// Plaintext bytes of the chunks in them, each place counted.
    pub plain_bytes: u64,
    /// Chunks in them, each place counted.
    pub chunks: u64,
}

/// Figures of a repository.
#[derive(Clone, Debug)]
pub struct RepositoryStats {
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Packs of file data.
    pub data: PackStats,
    /// Packs of metadata.
    pub meta: PackStats,
    /// Bytes of all objects, as listed.
    pub stored_bytes: u64,
    /// Number of all objects.
    pub objects: u64,
    /// Bytes that all snapshots together would be if each were kept whole.
    pub source_bytes: u64,
}

impl RepositoryStats {
    /// How many times smaller dedupe and compression made it all; `None` without data.
    pub fn ratio(&self) -> Option<f64> {
        (self.stored_bytes > 0 && self.source_bytes > 0)
            .then(|| self.source_bytes as f64 / self.stored_bytes as f64)
    }
}

/// Gathers the figures. Reads roots and the index, no data.
pub fn stats(repo: &Repository, monitor: &dyn Monitor, cancel: &Cancel) -> Result<RepositoryStats, Error> {
    let listing = roots::list(repo, cancel)?;
    index::refresh(repo, monitor, cancel)?;
    let (mut data, mut meta) = (PackStats::default(), PackStats::default());
    repo.index().each_pack(&mut |_, pack| {
        let family = match pack.kind {
            PackKind::Data => &mut data,
            PackKind::Meta => &mut meta,
        };
        family.packs += 1;
        family.stored_bytes += pack.size;
        family.plain_bytes += pack.plain_len();
        family.chunks += pack.lens.len() as u64;
        Ok(())
    })?;
    let (mut stored_bytes, mut objects) = (0, 0);
    repo.backend().list("", &mut |entry| {
        stored_bytes += entry.size;
        objects += 1;
    })?;
    // What a snapshot says of its size is its writer's word: no sum of it may overflow.
    let sizes = listing.snapshots.iter().map(|s| s.root.stats.source_bytes);
    let source_bytes = sizes.fold(0, u64::saturating_add);
    Ok(RepositoryStats { snapshots: listing.snapshots, data, meta, stored_bytes, objects, source_bytes })
}
