//! `check`: is everything there that the snapshots need, and, on request, is every byte of it
//! right? Judges by the repository alone: the index is loaded afresh from its parts, whatever this
//! machine's cache remembers. Every damaged object is named, and every snapshot and path it hurts.
//!
//! Order (I-2): roots are listed first, then the index is loaded, then packs are listed, so a
//! snapshot that is being made meanwhile is never taken for a damaged one.
//!
//! An object that cannot be read is damage, and the check goes on; a backend that cannot be reached
//! ends it.

mod objects;
mod packs;
mod wal;
mod walk;

use std::collections::{BTreeMap, HashSet};

use crate::base::clock::Cancel;
use crate::base::id::SessionId;
use crate::base::monitor::Monitor;
use crate::ops::Error;
use crate::repo::index::Place;
use crate::repo::roots;
use crate::repo::wal::ledger;
use crate::repo::{self, Repository, index};

/// How much data to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReadData {
    /// None: structure only. Metadata is read all the same.
    None,
    /// All packs.
    All,
    /// This share of the packs, chosen by `seed`.
    Share {
        /// Above 0, at most 1.
        share: f64,
        /// Decides which.
        seed: u64,
    },
    /// Part `part` (from 1) of `of` parts that together are all packs.
    Part {
        /// Which.
        part: u32,
        /// Of how many.
        of: u32,
    },
}

/// A damaged or missing object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Its name.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What damage does to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hurt {
    /// The snapshot.
    pub snapshot: SessionId,
    /// The path in it; empty for all of it.
    pub path: String,
    /// Why it cannot be read whole.
    pub reason: String,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Damaged objects, by name.
    pub damaged: Vec<Damage>,
    /// Hurt snapshots and paths.
    pub hurt: Vec<Hurt>,
    /// What is odd but harms nothing: left-overs of sessions that died, objects of nobody.
    pub notes: Vec<String>,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Packs in the index.
    pub packs: u64,
    /// Chunk places in the index.
    pub chunks: u64,
    /// Packs read whole.
    pub packs_read: u64,
    /// Files of PostgreSQL's WAL with sound heads.
    pub wal_files: u64,
    /// Of these, those that were read whole.
    pub wal_files_read: u64,
    /// Plaintext bytes verified.
    pub bytes_read: u64,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.hurt.is_empty()
    }

    fn damage(&mut self, object: impl Into<String>, reason: impl Into<String>) {
        self.damaged.push(Damage { object: object.into(), reason: reason.into() });
    }
}

/// What is wrong with packs: whole ones, and single places in them.
#[derive(Debug, Default)]
struct BadPlaces {
    packs: HashSet<u32>,
    places: HashSet<Place>,
    /// Packs that are not what the index says, or cannot be read whole: whether a chunk of one can be
    /// read, only reading shows.
    doubtful: HashSet<u32>,
    /// Reasons by pack, for whoever asks why a file is hurt.
    reasons: BTreeMap<u32, String>,
}

impl BadPlaces {
    fn is_bad(&self, place: &Place) -> bool {
        self.packs.contains(&place.pack) || self.places.contains(place)
    }
}

/// Checks the repository.
pub fn check(
    repo: &Repository,
    read: ReadData,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let remembered = repo.index().objects(crate::format::name::ROOTS)?;
    let scratch = tempfile::tempdir_in(repo.index().dir())
        .map_err(|source| Error::Output { what: "a temporary index".into(), source })?;
    let fresh = repo.with_cache(scratch.path())?;
    objects::check_trust(&fresh, &mut report)?;
    let listing = roots::list(&fresh, cancel)?;
    objects::check_roots(&listing, &remembered, &mut report);
    objects::check_index_parts(&fresh, &mut report, cancel)?;
    index::refresh(&fresh, &crate::base::monitor::Silent, cancel)?;
    // Before what they name is listed: that was durable when they were written.
    let ledgers = ledger::list(&fresh)?;
    let listed = objects::list(&fresh)?;
    objects::check_listed(&fresh, &listed, &mut report)?;
    let mut bad = BadPlaces::default();
    packs::check_presence(&fresh, listed.packs, &mut report, &mut bad, monitor)?;
    packs::read_packs(&fresh, read, &mut report, &mut bad, monitor, cancel)?;
    wal::check_wal(&fresh, (listed.wal, &ledgers), read, &mut report, monitor, cancel)?;
    walk::check_snapshots(&fresh, &listing.snapshots, &bad, &mut report, monitor, cancel)?;
    report.snapshots = listing.snapshots.len() as u64;
    (report.packs, report.chunks) = fresh.index().counts()?;
    report.damaged.sort();
    report.damaged.dedup();
    Ok(report)
}

/// The words of an error that is about stored data; any other goes up, because an unreachable
/// repository is not a damaged one.
fn said(e: repo::Error) -> Result<String, Error> {
    if e.is_about_data() { Ok(e.to_string()) } else { Err(e.into()) }
}
