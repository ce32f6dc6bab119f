//! Which segments were durable, written down: so that one that is removed later is known to be lost. And
//! which were missed, so that a gap is known where nothing before or behind it shows it.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use crate::base::id::WalId;
use crate::format::attrs::Unknown;
use crate::format::ledger::LedgerBody;
use crate::ops::Error;
use crate::ops::wal::push::Pushed;
use crate::postgres::wal::{SegmentName, SegmentSize, WalName};
use crate::repo::Unlocked;
use crate::repo::wal::{self, ledger};

/// Segments of a timeline after which a push writes a ledger: of usual segments, a gigabyte.
pub const EVERY: u64 = 64;

/// The segments that a push of the last of them has to write down; `None` for any other file.
pub fn due(pushed: &Pushed) -> Option<(u32, SegmentSize, RangeInclusive<u64>)> {
    let (WalName::Segment(name), Some(header)) = (pushed.name, pushed.header) else { return None };
    let number = name.number(header.size)?;
    (number % EVERY == EVERY - 1).then(|| (name.timeline, header.size, number - (EVERY - 1)..=number))
}

/// Writes down which of these segments of the cluster `system` are there. At the price of one listing.
pub fn record(
    repo: &Unlocked,
    system: u64,
    timeline: u32,
    size: SegmentSize,
    numbers: RangeInclusive<u64>,
) -> Result<(), Error> {
    let there: HashSet<WalId> = wal::list(repo)?.objects.into_iter().map(|(id, _)| id).collect();
    let present = numbers.filter(|number| {
        let name = SegmentName::new(timeline, *number, size);
        name.is_some_and(|name| there.contains(&repo.keys().wal_id(system, &name.to_string())))
    });
    let ranges = LedgerBody::ranges_of(present);
    if ranges.is_empty() {
        return Ok(());
    }
    write(repo, system, timeline, size, (ranges, Vec::new()))
}

/// Writes down that these segments of the cluster `system` were missed: neither the repository nor the server
/// had them.
pub fn record_missed(
    repo: &Unlocked,
    system: u64,
    timeline: u32,
    size: SegmentSize,
    numbers: RangeInclusive<u64>,
) -> Result<(), Error> {
    write(repo, system, timeline, size, (Vec::new(), vec![numbers]))
}

/// Numbers of segments, ascending.
type Ranges = Vec<RangeInclusive<u64>>;

/// Writes a ledger of segments that are there, and of such that were missed.
fn write(
    repo: &Unlocked,
    system: u64,
    timeline: u32,
    size: SegmentSize,
    (ranges, missed): (Ranges, Ranges),
) -> Result<(), Error> {
    let segment_size = u32::try_from(size.bytes()).unwrap_or_default();
    let (when, unknown) = (repo.clock().now(), Unknown::default());
    Ok(ledger::write(repo, &LedgerBody { system, timeline, segment_size, ranges, missed, when, unknown })?)
}
