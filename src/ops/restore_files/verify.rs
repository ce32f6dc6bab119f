//! `--verify`: reads back what was restored and compares it with the ids of the chunks that it should
//! consist of, and the metadata with what the snapshot says. What was told already is not told again.

use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::class::Class;
use crate::base::kind::ChunkKind;
use crate::base::monitor::Count;
use crate::files::folder::{Folder as Live, LastLink};
use crate::files::source::{Region, Source};
use crate::files::write::{Folder, Match};
use crate::files::{self};
use crate::format::list::ListEntry;
use crate::format::node::{Node, NodeType};
use crate::ops::Error;
use crate::ops::restore_files::report::Severity;
use crate::ops::restore_files::walk::{Step, Walk};
use crate::ops::restore_files::write::Job;
use crate::ops::restore_files::{Plan, THREADS_MAX};
use crate::repo::read::Entries;

/// Bytes that are looked at, at once, where zeros are expected.
const PART: usize = 64 << 10;

/// A file to be read back.
struct Task {
    source: Source,
    node: Node,
    path: Vec<u8>,
}

/// The same folder for comparing and for reading; none where nothing was restored.
type Place = Option<(Folder, Arc<Live>)>;

/// Compares everything that the plan is about.
pub(super) fn verify(job: &Job<'_>, plan: &Plan, target: &Path) -> Result<(), Error> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(THREADS_MAX);
    let (tasks, taken) = bounded::<Task>(2 * threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let taken: Receiver<Task> = taken.clone();
            scope.spawn(move || {
                for task in taken {
                    if job.is_stopped() {
                        continue;
                    }
                    if let Err(error) = compare(job, task) {
                        job.stop(error);
                    }
                }
            });
        }
        drop(taken);
        if let Err(error) = walk(job, plan, target, &tasks) {
            job.stop(error);
        }
        drop(tasks);
    });
    job.outcome()
}

fn walk(job: &Job<'_>, plan: &Plan, target: &Path, tasks: &Sender<Task>) -> Result<(), Error> {
    let Some(root) = &job.target else { return Ok(()) };
    let root = (root.root().clone(), Arc::new(Live::open(target, LastLink::Follow)?));
    if let Some(node) = &plan.only {
        return entry(job, &root, node.clone(), &node.name, tasks);
    }
    let mut places: Vec<Place> = vec![Some(root)];
    let mut walk = Walk::new(&plan.top, &job.reader, &plan.filter, job.cancel);
    while let Some(step) = walk.next()? {
        let here = places.last().and_then(Option::as_ref);
        match (step, here) {
            (Step::Enter { node, wanted }, here) => {
                let place = here.map(|here| enter(job, here, &node, wanted, walk.path())).transpose()?;
                places.push(place.flatten());
            }
            (Step::Entry(node), Some(here)) => entry(job, here, *node, walk.path(), tasks)?,
            (Step::Leave, _) => drop(places.pop()),
            // Told before.
            (Step::Lost(_) | Step::Entry(_), _) => (),
        }
    }
    Ok(())
}

fn enter(
    job: &Job<'_>,
    (folder, live): &(Folder, Arc<Live>),
    node: &Node,
    wanted: bool,
    path: &[u8],
) -> Result<Place, Error> {
    let found = folder.existing(&node.name).ok().flatten();
    let opened = found.and_then(|found| Some((found, Arc::new(live.folder(&node.name).ok()?))));
    if opened.is_some() || wanted {
        metadata(job, folder, node, path);
    }
    Ok(opened)
}

/// Compares an entry without reading it; whether it is the right kind.
fn metadata(job: &Job<'_>, folder: &Folder, node: &Node, path: &[u8]) -> bool {
    let differs = |what: &str, reason: String| {
        job.ledger.tell(Severity::Differs, path, what, reason);
        false
    };
    match folder.matches(&node.name, node) {
        Ok(Match::Same { metadata, .. }) => {
            let mut other = metadata.iter().filter(|what| !job.ledger.is_missing(what));
            match other.next() {
                Some(what) => differs(&what.to_string(), "not as in the snapshot".into()),
                None => true,
            }
        }
        // A stream has no time that could be right.
        Ok(Match::Different { .. }) if node.meta.mtime.is_none() && node.kind == NodeType::File => true,
        Ok(Match::Different { why, .. }) => {
            differs("entry", format!("not as in the snapshot: {why:?}").to_lowercase())
        }
        Ok(Match::Absent) => differs("entry", "not there".into()),
        Err(error) => differs("entry", error.to_string()),
    }
}

fn entry(
    job: &Job<'_>,
    (folder, live): &(Folder, Arc<Live>),
    mut node: Node,
    path: &[u8],
    tasks: &Sender<Task>,
) -> Result<(), Error> {
    match node.kind {
        NodeType::Stream | NodeType::Globals => node.kind = NodeType::File,
        NodeType::Database => return Ok(()),
        _ => (),
    }
    // What the snapshot has nothing of was left as it is.
    let unread = node.meta.problem.is_some() && node.size == Some(0);
    if unread || job.ledger.was_left_out(path) {
        return Ok(());
    }
    let is_right = metadata(job, folder, &node, path);
    if node.kind != NodeType::File || !is_right {
        return Ok(());
    }
    match live.open_file(&node.name) {
        Ok(source) => {
            let task = Task { source, node, path: path.to_vec() };
            // Nobody takes it any more if everything stops.
            let _ = tasks.send(task);
        }
        Err(error) => job.ledger.tell(Severity::Differs, path, "content", error.to_string()),
    }
    Ok(())
}

/// Reads a file back.
fn compare(job: &Job<'_>, task: Task) -> Result<(), Error> {
    let Task { source, node, path } = task;
    let mut file = Flat { source, hole: 0 };
    let mut entries = Entries::new(node.content);
    let mut room = vec![0; PART];
    loop {
        if job.is_stopped() {
            return Ok(());
        }
        let same = match entries.next(&job.reader) {
            Ok(None) => break,
            Ok(Some(ListEntry::Chunk { id, len })) => {
                room.resize(room.len().max(len as usize), 0);
                let bytes = &mut room[..len as usize];
                job.monitor.add(Count::DoneBytes, len.into());
                file.fill(bytes).map(|()| job.reader.repo().keys().chunk_id(ChunkKind::Data, bytes) == id)
            }
            Ok(Some(ListEntry::Hole { len } | ListEntry::Zeros { len })) => file.is_zero(len, &mut room, job),
            Ok(Some(ListEntry::List { .. })) => Ok(false),
            Err(error) if error.class() == Class::Damaged => return job.ledger.damaged(&path, error),
            Err(error) => return Err(error.into()),
        };
        let reason = match same {
            Ok(true) => continue,
            Ok(false) => "not as in the snapshot".to_owned(),
            Err(error) => error.to_string(),
        };
        job.ledger.tell(Severity::Differs, &path, "content", reason);
        return Ok(());
    }
    job.ledger.verified();
    Ok(())
}

/// A file whose holes read as zeros.
struct Flat {
    source: Source,
    /// Bytes of the hole that are left.
    hole: u64,
}

impl Flat {
    /// Fills `out`; what is behind the end reads as zeros too, since sizes were compared before.
    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), files::Error> {
        while !out.is_empty() {
            let zeros = usize::try_from(self.hole).unwrap_or(usize::MAX).min(out.len());
            if zeros > 0 {
                out[..zeros].fill(0);
                self.hole -= zeros as u64;
                out = &mut out[zeros..];
                continue;
            }
            match self.source.next_region()? {
                Some(Region::Hole { len }) => self.hole = len,
                Some(Region::Data { .. }) => {
                    let read = self.source.read(out)?;
                    out = &mut out[read..];
                }
                None => {
                    out.fill(0);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether the next `len` bytes are zeros. Holes are passed over, however long.
    fn is_zero(&mut self, mut len: u64, room: &mut [u8], job: &Job<'_>) -> Result<bool, files::Error> {
        while len > 0 && !job.is_stopped() {
            let passed = self.hole.min(len);
            self.hole -= passed;
            len -= passed;
            if passed > 0 {
                continue;
            }
            match self.source.next_region()? {
                Some(Region::Hole { len }) => self.hole = len,
                Some(Region::Data { len: data }) => {
                    let most = data.min(len).min(room.len() as u64) as usize;
                    let read = self.source.read(&mut room[..most])?;
                    if room[..read].iter().any(|byte| *byte != 0) {
                        return Ok(false);
                    }
                    len -= read as u64;
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}
