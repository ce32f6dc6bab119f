//! WAL: whether each object is where and what its head says, whether what ledgers name is there, and, for
//! those that are read, whether every byte is right.

use std::sync::Mutex;

use rayon::prelude::*;

use crate::base::clock::Cancel;
use crate::base::id::{LedgerId, WalId};
use crate::base::kind::PackKind;
use crate::base::limits::WAL_OBJECT_MAX;
use crate::base::monitor::{Count, Monitor};
use crate::format::name::wal_name;
use crate::ops::Error;
use crate::ops::check::packs::is_chosen;
use crate::ops::check::{ReadData, Report, said};
use crate::ops::wal::ranges;
use crate::ops::wal::status::{Timeline, summary};
use crate::repo::wal::{self, Catalogue, Stored, ledger, open_whole};
use crate::repo::{self, Repository};
use crate::storage::ErrorKind;

/// Lost segments that are named one by one; the rest is counted.
const LOST_NAMED: u64 = 100;

/// Checks the objects that were `listed`, with their sizes, after the `ledgers` were.
pub fn check_wal(
    repo: &Repository,
    (listed, ledgers): (Vec<(WalId, u64)>, &[LedgerId]),
    read: ReadData,
    report: &mut Report,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<(), Error> {
    monitor.phase("looking at WAL", Count::Items, Some(listed.len() as u64));
    let listing = wal::Listing { objects: listed };
    let catalogue = wal::read_all(repo, &listing, cancel)?;
    monitor.add(Count::Items, listing.objects.len() as u64);
    let (ledgers, unreadable) = ledger::read_all(repo, ledgers)?;
    for (name, error) in catalogue.damaged.iter().chain(&unreadable) {
        report.damage(name, error.to_string());
    }
    for cluster in summary(repo, &catalogue, &ledgers) {
        for line in &cluster.timelines {
            check_timeline(repo, cluster.system, line, report);
        }
    }
    read_files(repo, &catalogue, read, report, monitor, cancel)?;
    report.wal_files = catalogue.files.len() as u64;
    Ok(())
}

/// Segments that are missing. A gap harms nothing that was stored, and may be as old as the repository.
fn check_timeline(repo: &Repository, system: u64, line: &Timeline, report: &mut Report) {
    let mut named = 0;
    for number in line.lost.iter().cloned().flatten().take(LOST_NAMED as usize) {
        if let Some(name) = line.name(number) {
            let object = wal::object_name(repo, system, &name.to_string());
            report.damage(
                object,
                format!("it holds {name}, was durable, as a WAL ledger says, and is missing"),
            );
        }
        named += 1;
    }
    let more = ranges::count(&line.lost).saturating_sub(named);
    if more > 0 {
        let of = line.timeline;
        report.damage("wal/", format!("{more} more segments of timeline {of} were durable and are missing"));
    }
    let gaps = ranges::count(&line.gaps);
    if gaps > 0 {
        report.notes.push(format!(
            "the WAL of cluster {system}, timeline {}, lacks {gaps} segments between others: `kamba-vault wal status` names them",
            line.timeline
        ));
    }
}

/// Reads the files that `read` asks for, on all cores.
fn read_files(
    repo: &Repository,
    catalogue: &Catalogue,
    read: ReadData,
    report: &mut Report,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<(), Error> {
    let id = |stored: &Stored| repo.keys().wal_id(stored.body.system, &stored.body.file);
    let chosen: Vec<&Stored> =
        catalogue.files.iter().filter(|stored| is_chosen(&id(stored).0, read)).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    repo.keys().may_read(PackKind::Data)?;
    let plain = chosen.iter().map(|stored| stored.body.len).sum();
    monitor.phase("reading WAL", Count::DoneBytes, Some(plain));
    let report = Mutex::new(report);
    chosen.par_iter().try_for_each(|stored| {
        if cancel.is_cancelled() {
            return Err(Error::from(repo::Error::Interrupted));
        }
        let outcome = read_file(repo, stored)?;
        monitor.add(Count::DoneBytes, stored.body.len);
        let mut report = report.lock().map_err(|_| repo::Error::Worker)?;
        report.wal_files_read += 1;
        match outcome {
            None => report.bytes_read += stored.body.len,
            Some(reason) => report.damage(wal_name(&id(stored)), reason),
        }
        Ok(())
    })
}

/// What is wrong with one file.
fn read_file(repo: &Repository, stored: &Stored) -> Result<Option<String>, Error> {
    let bytes = match repo.backend().get(&stored.object, WAL_OBJECT_MAX) {
        Ok(bytes) => bytes,
        // Removed since it was listed.
        Err(e) if e.kind == ErrorKind::NotFound => return Ok(None),
        Err(e) => return said(e.into()).map(Some),
    };
    match open_whole(repo, &stored.object, &stored.body.file, &bytes) {
        Ok(_) => Ok(None),
        Err(e) => said(e).map(Some),
    }
}
