//! Figures: what the repository holds and what it costs, what each snapshot brought and what became of it.

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

/// What a snapshot, or several together, brought and what became of it. All of it is the word of who
/// wrote them: no sum may overflow, and nothing need fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Bytes of the sources.
    pub source_bytes: u64,
    /// Plaintext bytes of chunks that the repository did not have.
    pub new_bytes: u64,
    /// Of these, those of snapshots that say how they were coded.
    pub recorded_bytes: u64,
    /// What the recorded ones were coded in, before seals and padding.
    pub coded_bytes: u64,
    /// Of the recorded ones, those that became deltas.
    pub delta_bytes: u64,
    /// Of the coded ones, those of deltas.
    pub delta_coded_bytes: u64,
    /// Plaintext bytes of bases that were read for deltas.
    pub base_bytes: u64,
    /// Bytes by which the repository grew.
    pub added_bytes: u64,
}

impl Brought {
    /// What `snapshot` brought.
    pub fn by(snapshot: &Snapshot) -> Self {
        let stats = &snapshot.root.stats;
        Brought {
            source_bytes: stats.source_bytes,
            new_bytes: stats.new_bytes,
            recorded_bytes: if stats.says_coding() { stats.new_bytes } else { 0 },
            coded_bytes: stats.coded_bytes,
            delta_bytes: stats.delta_bytes,
            delta_coded_bytes: stats.delta_coded_bytes,
            base_bytes: stats.base_bytes,
            added_bytes: snapshot.added_bytes(),
        }
    }

    /// What all of `snapshots` brought together.
    pub fn by_all<'s>(snapshots: impl IntoIterator<Item = &'s Snapshot>) -> Self {
        snapshots.into_iter().map(Brought::by).fold(Brought::default(), Brought::plus)
    }

    fn plus(self, other: Self) -> Self {
        Brought {
            source_bytes: self.source_bytes.saturating_add(other.source_bytes),
            new_bytes: self.new_bytes.saturating_add(other.new_bytes),
            recorded_bytes: self.recorded_bytes.saturating_add(other.recorded_bytes),
            coded_bytes: self.coded_bytes.saturating_add(other.coded_bytes),
            delta_bytes: self.delta_bytes.saturating_add(other.delta_bytes),
            delta_coded_bytes: self.delta_coded_bytes.saturating_add(other.delta_coded_bytes),
            base_bytes: self.base_bytes.saturating_add(other.base_bytes),
            added_bytes: self.added_bytes.saturating_add(other.added_bytes),
        }
    }

    /// Whether all of it says how it was coded.
    pub fn is_recorded(&self) -> bool {
        self.recorded_bytes == self.new_bytes
    }

    /// How many times more bytes the sources had than were new.
    pub fn dedupe_ratio(&self) -> Option<f64> {
        times(self.source_bytes, self.new_bytes)
    }

    /// How many times smaller deltas are than what they stand for.
    pub fn delta_ratio(&self) -> Option<f64> {
        times(self.delta_bytes, self.delta_coded_bytes)
    }

    /// How many times smaller compression made what did not become deltas.
    pub fn compression_ratio(&self) -> Option<f64> {
        let whole = self.recorded_bytes.saturating_sub(self.delta_bytes);
        times(whole, self.coded_bytes.saturating_sub(self.delta_coded_bytes))
    }
}

/// How many times more `before` is than `after`; `None` where there is nothing to compare.
fn times(before: u64, after: u64) -> Option<f64> {
    (before > 0 && after > 0).then(|| before as f64 / after as f64)
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
        times(self.source_bytes, self.stored_bytes)
    }
}

/// Gathers the figures. Reads roots and the index, no data.
pub fn stats(repo: &Repository, monitor: &dyn Monitor, cancel: &Cancel) -> Result<RepositoryStats, Error> {
    let listing = roots::list(repo, cancel)?;
    for (name, error) in &listing.damaged {
        monitor.warn(&format!("{name} is left out: {error}"));
    }
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
    let source_bytes = Brought::by_all(&listing.snapshots).source_bytes;
    Ok(RepositoryStats { snapshots: listing.snapshots, data, meta, stored_bytes, objects, source_bytes })
}
