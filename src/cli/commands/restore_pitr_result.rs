//! What `restore pitr` is going to do, or did: for programs, and from that in words.

use serde::Serialize;

use crate::base::units;
use crate::cli::commands::restore_pitr::other_owner;
use crate::cli::text::{count, printable};
use crate::cli::time;
use crate::ops::restore_pitr::verify::{Relations, Verified};
use crate::ops::restore_pitr::{PitrRequest, Plan, Restored, State, when};

/// Bytes of files per second that an estimate takes for granted.
const FILE_RATE: u64 = 150 << 20;
/// Segments per second, likewise: how fast a server replays what is fetched ahead.
const SEGMENT_RATE: u64 = 20;

/// A restore, for programs.
#[derive(Serialize)]
pub struct Document {
    message_type: &'static str,
    dry_run: bool,
    target: String,
    system_id: String,
    goal: String,
    exclusive: bool,
    base: Base,
    timeline: u32,
    wal: Wal,
    bytes: u64,
    estimated_seconds: u64,
    in_place: bool,
    tablespaces: Vec<Tablespace>,
    /// Null in a dry run.
    files: Option<Files>,
    /// Null without --verify.
    verified: Option<Check>,
    start: String,
    notes: Vec<String>,
    #[serde(skip)]
    is_whole: bool,
}

#[derive(Serialize)]
struct Base {
    snapshot: String,
    ended: String,
    timeline: u32,
    start: String,
    stop: String,
    why: String,
    #[serde(skip)]
    shown: String,
}

#[derive(Serialize)]
struct Wal {
    segments: u64,
    first: Option<String>,
    last: Option<String>,
    end: String,
    stored_bytes: u64,
}

#[derive(Serialize)]
struct Tablespace {
    oid: u32,
    from: String,
    to: String,
}

#[derive(Serialize)]
struct Files {
    created: u64,
    overwritten: u64,
    repaired: u64,
    unchanged: u64,
    deleted: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Check {
    replayed: Option<String>,
    last_commit: Option<String>,
    /// `sound`, `corrupt`, `unchecked` or `failed`.
    relations: &'static str,
    said: Option<String>,
}

impl Document {
    /// Of a plan, and what came of it.
    pub fn new(
        request: &PitrRequest,
        plan: &Plan,
        restored: Option<&Restored>,
        verified: Option<&Verified>,
    ) -> Self {
        let (candidate, base) = (&plan.choice.candidate, plan.base());
        let segments = plan.wal.segments.len() as u64;
        let mut notes = plan.notes.clone();
        notes.extend(restored.into_iter().flat_map(|restored| restored.notes.clone()));
        Document {
            message_type: "summary",
            dry_run: restored.is_none(),
            target: request.target.display().to_string(),
            system_id: base.system.to_string(),
            goal: request.goal.to_string(),
            exclusive: request.exclusive,
            base: Base {
                snapshot: candidate.id.clone(),
                ended: time::rfc3339(candidate.ended),
                timeline: base.timeline,
                start: crate::postgres::lsn::Lsn(base.start).to_string(),
                stop: crate::postgres::lsn::Lsn(base.stop).to_string(),
                why: plan.choice.why.clone(),
                shown: format!("{} of {}", candidate.short(), when::words(candidate.ended)),
            },
            timeline: plan.choice.history.timeline,
            wal: Wal {
                segments,
                first: plan.wal.segments.first().map(ToString::to_string),
                last: plan.wal.segments.last().map(ToString::to_string),
                end: plan.wal.end.to_string(),
                stored_bytes: plan.wal_stored,
            },
            bytes: plan.bytes,
            estimated_seconds: (plan.bytes / FILE_RATE + segments / SEGMENT_RATE).max(1),
            in_place: plan.state != State::Empty,
            tablespaces: plan.tablespaces.iter().map(tablespace).collect(),
            files: restored.map(files),
            verified: verified.map(check),
            start: start(request, restored.is_some()),
            notes,
            is_whole: restored.is_none_or(Restored::is_whole),
        }
    }
}

fn tablespace(placed: &crate::ops::restore_pitr::Placed) -> Tablespace {
    let from = String::from_utf8_lossy(&placed.from).into_owned();
    Tablespace { oid: placed.oid, from, to: placed.to.display().to_string() }
}

fn files(restored: &Restored) -> Files {
    let report = &restored.files;
    Files {
        created: report.created,
        overwritten: report.overwritten,
        repaired: report.repaired,
        unchanged: report.unchanged,
        deleted: report.deleted,
        bytes: report.bytes,
    }
}

fn check(verified: &Verified) -> Check {
    let (relations, said) = match &verified.relations {
        Relations::Sound => ("sound", None),
        Relations::Corrupt(said) => ("corrupt", Some(said.clone())),
        Relations::Unchecked => (
            "unchecked",
            Some("pg_amcheck, or the extension amcheck in the databases, is not installed".into()),
        ),
        Relations::Failed(said) => ("failed", Some(said.clone())),
    };
    Check {
        replayed: verified.replayed.map(|lsn| lsn.to_string()),
        last_commit: verified.last_commit.clone(),
        relations,
        said,
    }
}

/// What to type next.
fn start(request: &PitrRequest, is_there: bool) -> String {
    let command = format!("pg_ctl -D {} start", request.target.display());
    match other_owner(&request.target).filter(|_| is_there) {
        Some(0) => format!("chown -R postgres {0} && su postgres -c '{command}'", request.target.display()),
        Some(owner) => format!("{command}, as user number {owner}, whom the folder belongs to"),
        None if is_there && rustix::process::geteuid().is_root() => {
            format!("chown -R postgres {0} && su postgres -c '{command}'", request.target.display())
        }
        None => command,
    }
}

/// The same for people.
pub fn words(document: &Document) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| out.push_str(&format!("  {name:<11} {}\n", printable(&text)));
    let base = &document.base;
    line("base", format!("{}, on timeline {}: {}", base.shown, base.timeline, base.why));
    let before = if document.exclusive { "right before " } else { "" };
    line("to", format!("{before}{}, on timeline {}", document.goal, document.timeline));
    let wal = &document.wal;
    let (first, last) = (wal.first.as_deref().unwrap_or("none"), wal.last.as_deref().unwrap_or("none"));
    let stored = units::bytes(wal.stored_bytes);
    line("WAL", format!("{}, {first} to {last}, {stored} stored", count(wal.segments, "segment")));
    line(
        "files",
        match &document.files {
            None if document.in_place => {
                format!("{}, less what is there already", units::bytes(document.bytes))
            }
            None => units::bytes(document.bytes),
            Some(files) => format!(
                "{} written: {} created, {} overwritten, {} repaired, {} deleted, {} unchanged",
                units::bytes(files.bytes),
                files.created,
                files.overwritten,
                files.repaired,
                files.deleted,
                files.unchanged
            ),
        },
    );
    for tablespace in &document.tablespaces {
        line(
            "tablespace",
            match tablespace.from == tablespace.to {
                true => format!("{} in {}", tablespace.oid, tablespace.to),
                false => format!("{} in {}, before in {}", tablespace.oid, tablespace.to, tablespace.from),
            },
        );
    }
    if document.dry_run {
        let rates = format!("at {} and {SEGMENT_RATE} segments a second", units::bytes(FILE_RATE));
        line("takes", format!("about {}, {rates}", time::span(document.estimated_seconds as f64)));
    }
    if let Some(check) = &document.verified {
        let commit = check.last_commit.as_ref().map_or("none".to_owned(), Clone::clone);
        let replayed = check.replayed.as_deref().unwrap_or("nowhere");
        line("replayed", format!("to {replayed}, last commit {commit}"));
        line(
            "relations",
            match &check.said {
                Some(said) => format!("{}: {said}", check.relations),
                None => check.relations.to_owned(),
            },
        );
    }
    let (would, end) = match (document.dry_run, document.is_whole) {
        (true, _) => ("would restore", String::new()),
        (false, true) => ("restored", format!("start it with: {}\n", document.start)),
        (false, false) => (
            "not all could be restored of",
            "it does not start: mend what is named, and go on with --delta\n".to_owned(),
        ),
    };
    let head = format!("{would} cluster {} to {}\n", document.system_id, document.target);
    let notes: String = document.notes.iter().map(|note| format!("note: {}\n", printable(note))).collect();
    format!("{}{out}{notes}{end}", printable(head.trim_end()).into_owned() + "\n")
}
