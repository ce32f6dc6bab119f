//! The plan of a restore: everything that is decided, and everything that is made sure of, before it begins.

use std::path::Path;

use crate::base::class::Class;
use crate::base::clock::{Cancel, Timestamp};
use crate::base::monitor::Monitor;
use crate::format::base_backup::BaseBackup;
use crate::ops::Error;
use crate::ops::look;
use crate::ops::restore_pitr::base::{Candidate, Choice, choose, of_one_system};
use crate::ops::restore_pitr::needs::{Found, Need, look as look_for_wal};
use crate::ops::restore_pitr::place::{self, Placed, State};
use crate::ops::restore_pitr::shelf::Shelf;
use crate::ops::restore_pitr::target::{NAME_MAX, Target, TimelineWish};
use crate::ops::restore_pitr::{PitrRequest, leftover, refused, when};
use crate::postgres::control::{self, Control};
use crate::postgres::label::BackupLabel;
use crate::postgres::lsn::Lsn;
use crate::postgres::wal::{SegmentSize, WalName};
use crate::repo::Repository;
use crate::repo::roots::{self, Listing, Snapshot};
use crate::vfs::View;

/// More bytes than any of the small files has that are read as a whole.
const FILE_MAX: u64 = 1 << 20;

/// What is going to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The base backup and the timeline.
    pub choice: Choice,
    /// Its snapshot.
    pub snapshot: Snapshot,
    /// The WAL that is there for it.
    pub wal: Found,
    /// Bytes of that WAL as they are stored.
    pub wal_stored: u64,
    /// When the newest of it was pushed.
    pub wal_pushed: Option<Timestamp>,
    /// What is in the target's folder.
    pub state: State,
    /// Where the tablespaces go.
    pub tablespaces: Vec<Placed>,
    /// Bytes of the cluster.
    pub bytes: u64,
    /// What there is to think of, in words.
    pub notes: Vec<String>,
}

impl Plan {
    /// The cluster.
    pub fn base(&self) -> &BaseBackup {
        &self.choice.candidate.base
    }

    /// The value of `recovery_target_timeline`. The timeline that was looked at is named, so that none that comes
    /// up later is followed instead; but the server wants a history of one that is named.
    pub fn timeline_setting(&self) -> String {
        let (history, base) = (&self.choice.history, self.base());
        match history.timeline == base.timeline && history.before.is_empty() {
            true => "current".to_owned(),
            false => history.timeline.to_string(),
        }
    }
}

/// Makes the plan. Nothing is changed.
pub fn plan(
    repo: &Repository,
    request: &PitrRequest,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Plan, Error> {
    check_request(request)?;
    let listing = roots::list(repo, cancel)?;
    for (name, error) in &listing.damaged {
        monitor.warn(&format!("{name} is left out: {error}"));
    }
    let candidates = candidates(&listing, request)?;
    let system = candidates.first().map_or(0, |c| c.base.system);
    let shelf = Shelf::open(repo, system)?;
    let timelines = shelf.timelines(&candidates)?;
    let wish = match (request.timeline, &request.goal) {
        // It ends before any other timeline begins.
        (TimelineWish::Latest, Target::Immediate) => TimelineWish::Current,
        (wish, _) => wish,
    };
    let choice = choose(&candidates, &request.goal, wish, &timelines, request.base.is_some())?;
    let base = &choice.candidate.base;
    let snapshot = listing.snapshots.iter().find(|s| s.id.to_hex() == choice.candidate.id).cloned();
    let snapshot =
        snapshot.ok_or_else(|| refused(Class::Failed, "the base backup is gone", "run it again"))?;

    let mut notes = choice.notes.clone();
    let size = segment_size(base)?;
    let wal = look_for_wal(
        &Need {
            history: &choice.history,
            size,
            start: Lsn(base.start),
            stop: Lsn(base.stop),
            target: &request.goal,
        },
        &|name| shelf.has(name),
    )?;
    let heads = shelf.heads(&wal.segments, size, cancel)?;
    let wal_pushed = heads.iter().map(|head| head.pushed).max();
    gap(request, &wal, &mut notes)?;
    reach(request, &wal, wal_pushed, &mut notes);

    let state = place::target(&request.target, system, request.delta)?;
    let tablespaces = place::tablespaces(base, &request.target, state, &request.tablespaces)?;
    let bytes = snapshot.root.stats.source_bytes;
    if state == State::Empty {
        place::room(&request.target, &tablespaces, bytes)?;
    }
    let left = leftover::segments(&request.target, system, &|name| shelf.has(name));
    if let (false, Some(refusal)) = (request.discard_wal, leftover::refusal(&request.target, &left)) {
        return Err(refusal);
    }
    check_tree(repo, &snapshot, base, monitor, cancel)?;
    Ok(Plan {
        wal_stored: heads.iter().map(crate::format::wal::WalBody::object_len).sum(),
        wal_pushed,
        choice,
        snapshot,
        wal,
        state,
        tablespaces,
        bytes,
        notes,
    })
}

fn check_request(request: &PitrRequest) -> Result<(), Error> {
    let usage = |message: &str, hint: &str| Err(refused(Class::Usage, message, hint));
    if !request.target.is_absolute() || request.target == Path::new("/") {
        return usage("a cluster needs a folder of its own", "name it with --target");
    }
    if request.exclusive && !request.goal.can_be_exclusive() {
        return usage("there is nothing to end right before", "--exclusive goes with --time, --lsn or --xid");
    }
    match &request.goal {
        Target::Name(name) if name.is_empty() || name.len() > NAME_MAX || name.contains(['\0', '\n']) => {
            usage("no restore point can have that name", "a name has 1 to 63 bytes")
        }
        Target::Xid(xid) if xid & u64::from(u32::MAX) < 3 => {
            usage("no transaction has that number", "as `SELECT pg_current_xact_id()` gives it")
        }
        _ => Ok(()),
    }
}

/// The base backups among the snapshots that may be meant.
fn candidates(listing: &Listing, request: &PitrRequest) -> Result<Vec<Candidate>, Error> {
    let of_snapshot = |snapshot: &Snapshot| {
        let root = &snapshot.root;
        Some(Candidate {
            id: snapshot.id.to_hex(),
            ended: root.ended,
            host: root.host.clone(),
            incomplete: root.incomplete(),
            base: root.base.clone()?,
        })
    };
    let Some(named) = request.base else {
        return of_one_system(listing.snapshots.iter().filter_map(of_snapshot).collect(), request.system);
    };
    let found = listing.snapshots.iter().find(|snapshot| snapshot.id == named).and_then(of_snapshot);
    let found = found.ok_or_else(|| {
        let message = format!("snapshot {} is no base backup", &named.to_hex()[..8]);
        refused(Class::Usage, message, "`kamba-vault snapshots --kind base` shows the base backups")
    })?;
    of_one_system(vec![found], request.system)
}

fn segment_size(base: &BaseBackup) -> Result<SegmentSize, Error> {
    SegmentSize::new(base.segment_size.into()).ok_or_else(|| {
        let message = format!("the base backup states WAL segments of {} bytes", base.segment_size);
        refused(Class::Damaged, message, "choose another base backup with --base")
    })
}

/// A gap is refused: what the server would do there is to end, and say that all is well.
fn gap(request: &PitrRequest, wal: &Found, notes: &mut Vec<String>) -> Result<(), Error> {
    let Some(gap) = &wal.gap else { return Ok(()) };
    let missing = match gap.count {
        1 => format!("the WAL segment {} is not in the repository, and {} is", gap.first, gap.then),
        n => format!("{n} WAL segments from {} on are not in the repository, and {} is", gap.first, gap.then),
    };
    let message = format!("{missing}: the recovery would end at {}", wal.end);
    match request.allow_gap {
        true => {
            notes.push(message);
            Ok(())
        }
        false => Err(refused(
            Class::Failed,
            message,
            "push what is missing if a server still has it in pg_wal, or go up to there with --allow-gap",
        )),
    }
}

/// Says what cannot be known of the target beforehand.
fn reach(request: &PitrRequest, wal: &Found, pushed: Option<Timestamp>, notes: &mut Vec<String>) {
    if let Some(partial) = &wal.partial {
        let name = WalName::Partial(partial.name);
        notes.push(match partial.is_used {
            true => format!("the last segment is there as {name}: the recovery goes on to its end"),
            false => format!("{name} is not used: it may hold what the timeline after it never had"),
        });
    }
    if let (Target::Time(time), Some(pushed)) = (&request.goal, pushed)
        && pushed < *time
    {
        notes.push(format!(
            "the newest WAL was pushed at {}, before the target: if no later commit is in it, the server stops with an error",
            when::words(pushed)
        ));
    }
}

/// Makes sure that the snapshot holds what a server needs to recover, of the cluster that it says.
fn check_tree(
    repo: &Repository,
    snapshot: &Snapshot,
    base: &BaseBackup,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<(), Error> {
    let view = look::view(repo, snapshot, monitor, cancel)?;
    let differs = |what: &str| {
        let message = format!("the base backup's {what} is not that of the cluster that the snapshot names");
        refused(Class::Damaged, message, "choose another base backup with --base")
    };
    let control = Control::parse(&needed(&view, control::PATH)?)?;
    if control.system != base.system || control.segment_size != base.segment_size {
        return Err(differs("pg_control"));
    }
    let label = BackupLabel::parse(&needed(&view, "backup_label")?)?;
    if label.start != Lsn(base.start) || label.timeline != base.timeline {
        return Err(differs("backup_label"));
    }
    if label.incremental_from.is_some() {
        let message = "the base backup is an increment of another, and no server can start from it";
        return Err(refused(Class::Failed, message, "choose another base backup with --base"));
    }
    Ok(())
}

/// A small file of the base backup's data folder.
pub(super) fn file(view: &View, path: &str) -> Result<Option<Vec<u8>>, Error> {
    let Some(entry) = view.find(format!("pgdata/{path}").as_bytes())? else { return Ok(None) };
    if entry.size.unwrap_or(0) > FILE_MAX {
        let message = format!("the base backup's {path} is longer than any cluster's");
        return Err(refused(Class::Damaged, message, "choose another base backup with --base"));
    }
    let mut bytes = Vec::new();
    view.write(&entry, &mut bytes, &crate::base::monitor::Silent)?;
    Ok(Some(bytes))
}

/// The same where there must be one.
pub(super) fn needed(view: &View, path: &str) -> Result<Vec<u8>, Error> {
    file(view, path)?.ok_or_else(|| {
        let message = format!("the base backup has no {path}, so no server can recover from it");
        refused(Class::Damaged, message, "choose another base backup with --base")
    })
}
