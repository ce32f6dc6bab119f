//! The WAL files of one cluster in the repository. That a file is there is told by its object's name, which is
//! made of the file's: one listing answers for all of them, and nothing is read. What a recovery will read is
//! looked at more closely: the heads of its segments, and histories as a whole.

use std::collections::HashMap;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::base::class::Class;
use crate::base::clock::Cancel;
use crate::base::id::WalId;
use crate::format::wal::WalBody;
use crate::ops::Error;
use crate::ops::restore_pitr::base::Candidate;
use crate::ops::restore_pitr::refused;
use crate::ops::restore_pitr::timeline::Timelines;
use crate::postgres::lsn::Lsn;
use crate::postgres::wal::{History, SegmentName, SegmentSize, WalName};
use crate::repo::Repository;
use crate::repo::wal::{self, Listing};

/// Timelines that are looked for beyond the last that is there: each switch takes the next number, so more
/// than a few histories must be lost in a row to be overlooked.
const TIMELINES_AHEAD: u32 = 16;
/// Segments in which WAL of a timeline without a history is looked for.
const SEGMENTS_AHEAD: u64 = 4096;

/// What there is of a cluster's WAL.
pub struct Shelf<'a> {
    repo: &'a Repository,
    system: u64,
    sizes: HashMap<WalId, u64>,
}

impl<'a> Shelf<'a> {
    /// Lists what is there: one call.
    pub fn open(repo: &'a Repository, system: u64) -> Result<Self, Error> {
        let listing = wal::list(repo)?;
        Ok(Shelf { repo, system, sizes: listing.objects.into_iter().collect() })
    }

    fn id(&self, name: WalName) -> WalId {
        self.repo.keys().wal_id(self.system, &name.to_string())
    }

    /// Whether a file is there; of a segment's beginning, whether any form of it is.
    pub fn has(&self, name: WalName) -> bool {
        let is_there = |name| self.sizes.contains_key(&self.id(name));
        match name {
            WalName::Partial(segment) => is_there(name) || is_there(WalName::Received(segment, 0)),
            _ => is_there(name),
        }
    }

    /// What is known of the cluster's timelines.
    pub fn timelines(&self, candidates: &[Candidate]) -> Result<Timelines, Error> {
        let mut known = Timelines::default();
        known.seen.extend(candidates.iter().map(|c| c.base.timeline));
        // Without its history, a timeline shows by its first segments alone.
        let newest = candidates.iter().max_by_key(|c| c.ended);
        let first = newest.and_then(|c| {
            let size = SegmentSize::new(c.base.segment_size.into())?;
            Some((size, size.number_at(Lsn(c.base.start))))
        });
        let (mut timeline, mut last) = (1, known.seen.last().copied().unwrap_or(1));
        while timeline <= last.saturating_add(TIMELINES_AHEAD) {
            if self.has(WalName::History(timeline)) {
                self.read_history(timeline, &mut known)?;
                known.seen.insert(timeline);
            } else if timeline > 1 && first.is_some_and(|(size, first)| self.has_wal(timeline, first, size)) {
                known.seen.insert(timeline);
            }
            last = known.seen.last().copied().unwrap_or(last).max(last);
            let Some(next) = timeline.checked_add(1) else { break };
            timeline = next;
        }
        Ok(known)
    }

    fn has_wal(&self, timeline: u32, first: u64, size: SegmentSize) -> bool {
        let numbers = first..first.saturating_add(SEGMENTS_AHEAD);
        numbers.into_par_iter().any(|number| {
            SegmentName::new(timeline, number, size)
                .is_some_and(|name| self.has(WalName::Segment(name)) || self.has(WalName::Partial(name)))
        })
    }

    fn read_history(&self, timeline: u32, known: &mut Timelines) -> Result<(), Error> {
        let file = WalName::History(timeline).to_string();
        match wal::get(self.repo, self.system, &file) {
            Ok(Some((_, bytes))) => match History::parse(timeline, &bytes) {
                Ok(history) => drop(known.histories.insert(timeline, history)),
                Err(error) => drop(known.damaged.insert(timeline, error.to_string())),
            },
            // Removed since it was listed.
            Ok(None) => {}
            Err(error) if error.is_about_data() => drop(known.damaged.insert(timeline, error.to_string())),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// What the heads of these segments say, in their order. One that is damaged, or of a cluster of another
    /// kind, is refused by its name.
    pub fn heads(
        &self,
        names: &[SegmentName],
        size: SegmentSize,
        cancel: &Cancel,
    ) -> Result<Vec<WalBody>, Error> {
        let ids = names.iter().map(|name| self.id(WalName::Segment(*name)));
        let objects: Vec<(WalId, u64)> = ids.filter_map(|id| Some((id, *self.sizes.get(&id)?))).collect();
        let listing = Listing { objects };
        let catalogue = wal::read_all(self.repo, &listing, cancel)?;
        let mut bodies: HashMap<String, WalBody> =
            catalogue.files.into_iter().map(|stored| (stored.body.file.clone(), stored.body)).collect();
        let mut heads = Vec::with_capacity(names.len());
        for name in names {
            let file = name.to_string();
            let object = wal::object_name(self.repo, self.system, &file);
            if let Some((_, error)) = catalogue.damaged.iter().find(|(damaged, _)| *damaged == object) {
                return Err(damaged(&file, &error.to_string()));
            }
            let body = bodies.remove(&file).ok_or_else(|| damaged(&file, "it was removed a moment ago"))?;
            if body.segment_size.map(u64::from) != Some(size.bytes()) || body.len != size.bytes() {
                return Err(damaged(
                    &file,
                    "it is no segment of the size that the base backup's cluster has",
                ));
            }
            heads.push(body);
        }
        Ok(heads)
    }
}

fn damaged(file: &str, reason: &str) -> Error {
    refused(
        Class::Damaged,
        format!("the WAL segment {file}, which the recovery needs, is damaged: {reason}"),
        "choose a target before it, or begin with a later base backup",
    )
}
