//! `--verify`: reads back what was restored and compares it with the ids of the chunks that it should
//! consist of, and the metadata with what the snapshot says. What was told already is not told again.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::files::source::Source;
use crate::files::write::{Folder, Match};
use crate::format::node::{Node, NodeType};
use crate::ops::Error;
use crate::ops::restore_files::content::Comparer;
use crate::ops::restore_files::report::Severity;
use crate::ops::restore_files::walk::{Step, Walk};
use crate::ops::restore_files::write::Job;
use crate::ops::restore_files::{Plan, THREADS_MAX};

/// A file to be read back.
struct Task {
    source: Source,
    node: Node,
    path: Vec<u8>,
}

/// Compares everything that the plan is about.
pub(super) fn verify(job: &Job<'_>, plan: &Plan) -> Result<(), Error> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(THREADS_MAX);
    let (tasks, taken) = bounded::<Task>(2 * threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let taken: Receiver<Task> = taken.clone();
            scope.spawn(move || {
                let mut comparer = Comparer::default();
                for task in taken {
                    if job.is_stopped() {
                        continue;
                    }
                    if let Err(error) = compare(job, task, &mut comparer) {
                        job.stop(error);
                    }
                }
            });
        }
        drop(taken);
        if let Err(error) = walk(job, plan, &tasks) {
            job.stop(error);
        }
        drop(tasks);
    });
    job.outcome()
}

fn walk(job: &Job<'_>, plan: &Plan, tasks: &Sender<Task>) -> Result<(), Error> {
    let Some(root) = &job.target else { return Ok(()) };
    if let Some(node) = &plan.only {
        return entry(job, root.root(), node.clone(), &node.name, tasks);
    }
    // None where nothing was restored.
    let mut places = vec![Some(root.root().clone())];
    let mut walk = Walk::new(&plan.top, &job.reader, &plan.filter, job.cancel);
    while let Some(step) = walk.next()? {
        let here = places.last().and_then(Option::as_ref);
        match (step, here) {
            (Step::Enter { node, wanted }, here) => {
                places.push(here.and_then(|here| enter(job, here, &node, wanted, walk.path())));
            }
            (Step::Entry(node), Some(here)) => entry(job, here, *node, walk.path(), tasks)?,
            (Step::Leave, _) => drop(places.pop()),
            // Told before.
            (Step::Lost(_) | Step::Entry(_), _) => (),
        }
    }
    Ok(())
}

fn enter(job: &Job<'_>, folder: &Folder, node: &Node, wanted: bool, path: &[u8]) -> Option<Folder> {
    let found = folder.existing(&node.name).ok().flatten();
    if found.is_some() || wanted {
        metadata(job, folder, node, path);
    }
    found
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
    folder: &Folder,
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
    match folder.source(&node.name) {
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
fn compare(job: &Job<'_>, task: Task, comparer: &mut Comparer) -> Result<(), Error> {
    let Task { source, node, path } = task;
    match comparer.compare(job, source, &node, &path) {
        Ok(None) => job.ledger.verified(),
        Ok(Some(reason)) => job.ledger.tell(Severity::Differs, &path, "content", reason),
        Err(error) => return job.ledger.damaged(&path, error),
    }
    Ok(())
}
