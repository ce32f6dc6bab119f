//! `wal status`: which files of which clusters there are, what is missing between them, and what was lost.

use std::collections::{BTreeMap, HashSet};

use crate::base::clock::{Cancel, Timestamp};
use crate::base::kind::PackKind;
use crate::format::base_backup::BaseBackup;
use crate::format::ledger::LedgerBody;
use crate::ops::Error;
use crate::ops::wal::ranges::{self, Ranges};
use crate::ops::wal::windows::{Base, Recoverable, windows};
use crate::postgres::lsn::Lsn;
use crate::postgres::wal::{History, SegmentName, SegmentSize, WalName};
use crate::repo::roots::{self, Listing, Snapshot};
use crate::repo::wal::{self, Catalogue, ledger};
use crate::repo::{Repository, Unlocked};

/// Lost segments that are held against damaged objects: a terabyte of usual ones. A hostile ledger could name
/// more than can be counted out.
const FORGIVEN_MAX: usize = 1 << 16;

/// What there is.
#[derive(Debug, Default)]
pub struct Status {
    /// By system identifier.
    pub clusters: Vec<Cluster>,
    /// By system identifier, what can be recovered. `None` if this key may not read the histories of
    /// timelines.
    pub recoverable: Option<BTreeMap<u64, Recoverable>>,
    /// Objects that cannot be read, and why.
    pub damaged: Vec<(String, String)>,
}

/// The WAL of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its system identifier.
    pub system: u64,
    /// Its timelines, by number; those that have segments.
    pub timelines: Vec<Timeline>,
    /// Timelines whose history is there.
    pub histories: Vec<u32>,
}

/// The WAL of one timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Its number.
    pub timeline: u32,
    /// The segment size.
    pub size: SegmentSize,
    /// Segments that are there, by number.
    pub present: Ranges,
    /// Segments that a ledger names and whose objects cannot be read.
    pub damaged: Ranges,
    /// Segments that a ledger names and that are not there: they were removed.
    pub lost: Ranges,
    /// Segments between others of which nothing is known, and those that a ledger calls missed: they were
    /// never here, or not for long.
    pub gaps: Ranges,
    /// Whether a last, unfinished segment is there: the timeline was left.
    pub partial: bool,
    /// Bytes of the segments' objects.
    pub stored_bytes: u64,
    /// When the newest of them was pushed.
    pub newest: Timestamp,
}

impl Timeline {
    /// How many segments there are.
    pub fn count(&self) -> u64 {
        ranges::count(&self.present)
    }

    /// The name of a segment of this timeline.
    pub fn name(&self, number: u64) -> Option<SegmentName> {
        SegmentName::new(self.timeline, number, self.size)
    }

    /// Takes those out of what is lost whose objects are there, and damaged.
    fn forgive(&mut self, is_damaged: impl Fn(String) -> bool) {
        let numbers = self.lost.iter().cloned().flatten().take(FORGIVEN_MAX);
        let there =
            numbers.filter(|number| self.name(*number).is_some_and(|name| is_damaged(name.to_string())));
        self.damaged = ranges::merged(there.map(|number| number..=number).collect());
        self.lost = ranges::without(&self.lost, &self.damaged);
    }

    /// The first and the last segment that are there.
    pub fn ends(&self) -> Option<(SegmentName, SegmentName)> {
        let (first, last) = (self.present.first()?, self.present.last()?);
        Some((self.name(*first.start())?, self.name(*last.end())?))
    }
}

/// Looks through the repository.
pub fn status(repo: &Repository, cancel: &Cancel) -> Result<Status, Error> {
    // Before the segments: what a ledger names was durable when it was written.
    let ledgers = ledger::list(repo)?;
    let listing = wal::list(repo)?;
    let catalogue = wal::read_all(repo, &listing, cancel)?;
    let (ledgers, damaged) = ledger::read_all(repo, &ledgers)?;
    let mut status = Status { clusters: summary(repo, &catalogue, &ledgers), ..Status::default() };
    let damaged = catalogue.damaged.into_iter().chain(damaged);
    status.damaged.extend(damaged.map(|(name, error)| (name, error.to_string())));
    if repo.keys().may_read(PackKind::Data).is_ok() {
        let bases = bases(&roots::list(repo, cancel)?);
        let mut found = BTreeMap::new();
        for cluster in &status.clusters {
            let histories = read_histories(repo, cluster, &mut status.damaged)?;
            found.insert(cluster.system, windows(cluster, &bases, &histories));
        }
        status.recoverable = Some(found);
    }
    Ok(status)
}

/// The base backups among the snapshots.
pub fn bases(listing: &Listing) -> Vec<Base> {
    let bases =
        listing.snapshots.iter().filter_map(|snapshot| Some((snapshot, snapshot.root.base.as_ref()?)));
    let base = |(snapshot, base): (&Snapshot, &BaseBackup)| Base {
        id: snapshot.id,
        system: base.system,
        timeline: base.timeline,
        start: Lsn(base.start),
        stop: Lsn(base.stop),
        ended: snapshot.root.ended,
    };
    bases.map(base).collect()
}

/// The histories of a cluster's timelines. One that cannot be read leads nowhere.
fn read_histories(
    repo: &Unlocked,
    cluster: &Cluster,
    damaged: &mut Vec<(String, String)>,
) -> Result<Vec<History>, Error> {
    let mut histories = Vec::new();
    for timeline in &cluster.histories {
        let name = WalName::History(*timeline).to_string();
        let object = || wal::object_name(repo, cluster.system, &name);
        match wal::get(repo, cluster.system, &name) {
            Ok(Some((_, bytes))) => match History::parse(*timeline, &bytes) {
                Ok(history) => histories.push(history),
                Err(error) => damaged.push((object(), format!("it holds {name}: {error}"))),
            },
            // Removed since it was listed.
            Ok(None) => {}
            Err(error) if error.is_about_data() => damaged.push((object(), error.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(histories)
}

/// What a timeline's figures are made of. Segments of two sizes, which `pg_resetwal` can make, are told apart.
type Key = (u64, u32, SegmentSize);

#[derive(Default)]
struct Found {
    present: Ranges,
    recorded: Ranges,
    missed: Ranges,
    partial: bool,
    stored_bytes: u64,
    newest: Option<Timestamp>,
}

/// Puts together what heads and ledgers say.
pub fn summary(repo: &Unlocked, catalogue: &Catalogue, ledgers: &[LedgerBody]) -> Vec<Cluster> {
    let mut clusters = put_together(catalogue, ledgers);
    let unreadable: HashSet<&str> = catalogue.damaged.iter().map(|(name, _)| name.as_str()).collect();
    if !unreadable.is_empty() {
        for cluster in &mut clusters {
            let system = cluster.system;
            for line in &mut cluster.timelines {
                line.forgive(|name| unreadable.contains(wal::object_name(repo, system, &name).as_str()));
            }
        }
    }
    clusters
}

fn put_together(catalogue: &Catalogue, ledgers: &[LedgerBody]) -> Vec<Cluster> {
    let mut found: BTreeMap<Key, Found> = BTreeMap::new();
    let mut histories: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for stored in &catalogue.files {
        let body = &stored.body;
        let size = body.segment_size.and_then(|size| SegmentSize::new(size.into()));
        let segment = match WalName::parse(&body.file) {
            Some(WalName::Segment(segment)) => segment,
            Some(WalName::Partial(segment) | WalName::Received(segment, _)) => {
                if let Some(size) = size {
                    found.entry((body.system, segment.timeline, size)).or_default().partial = true;
                }
                continue;
            }
            Some(WalName::History(timeline)) => {
                histories.entry(body.system).or_default().push(timeline);
                continue;
            }
            Some(WalName::Backup(..)) | None => continue,
        };
        let Some((size, number)) = size.and_then(|size| Some((size, segment.number(size)?))) else {
            continue;
        };
        let own = found.entry((body.system, segment.timeline, size)).or_default();
        own.present.push(number..=number);
        own.stored_bytes = own.stored_bytes.saturating_add(stored.size);
        own.newest = own.newest.max(Some(body.pushed));
    }
    for ledger in ledgers {
        let Some(size) = SegmentSize::new(ledger.segment_size.into()) else { continue };
        let own = found.entry((ledger.system, ledger.timeline, size)).or_default();
        own.recorded.extend(ledger.ranges.iter().cloned());
        own.missed.extend(ledger.missed.iter().cloned());
    }
    let mut clusters: BTreeMap<u64, Cluster> = BTreeMap::new();
    let cluster = |system| Cluster { system, timelines: Vec::new(), histories: Vec::new() };
    for ((system, timeline, size), found) in found {
        let own = clusters.entry(system).or_insert_with(|| cluster(system));
        own.timelines.push(found.into_timeline(timeline, size));
    }
    for (system, mut timelines) in histories {
        timelines.sort_unstable();
        clusters.entry(system).or_insert_with(|| cluster(system)).histories = timelines;
    }
    clusters.into_values().collect()
}

impl Found {
    fn into_timeline(self, timeline: u32, size: SegmentSize) -> Timeline {
        let (present, recorded) = (ranges::merged(self.present), ranges::merged(self.recorded));
        let known = ranges::merged(present.iter().chain(&recorded).cloned().collect());
        let span = match (known.first(), known.last()) {
            (Some(first), Some(last)) => vec![*first.start()..=*last.end()],
            _ => Ranges::new(),
        };
        // One that was missed may lie before all that is there, or behind it.
        let holes = ranges::merged(span.into_iter().chain(self.missed).collect());
        Timeline {
            timeline,
            size,
            damaged: Ranges::new(),
            lost: ranges::without(&recorded, &present),
            gaps: ranges::without(&holes, &known),
            present,
            partial: self.partial,
            stored_bytes: self.stored_bytes,
            newest: self.newest.unwrap_or_default(),
        }
    }
}
