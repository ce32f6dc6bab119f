//! `restore files`: what a snapshot holds back into a folder. The plan is made entry by entry while
//! the stored tree is walked in order, and carried out behind it: folders, links and special files by
//! the walk itself, contents by all cores ([`write`]), those of small files in the order in which they
//! lie in the repository (`window`). A dry run walks the same way and touches nothing. Memory does not
//! grow with the tree.
//!
//! What is right already is left alone, so a restore that was interrupted is run again to go on. That
//! a file is right is found by reading it (`content`), unless its inode says that nobody can have
//! written to it since the snapshot, or size and time are all that is asked for.
//! Nothing is written outside of the target: `files::write` sees to that, name by name.
//!
//! Damage of a content costs that file only; of a listing, what the rest of it names.

mod content;
mod delete;
mod filter;
mod links;
mod outlet;
mod report;
mod restore;
mod seal;
mod verify;
mod walk;
mod window;
mod write;

pub use report::{Action, Deaf, Observer, Report, Severity, Trouble};

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::bounded;

use crate::base::clock::Cancel;
use crate::base::monitor::{Count, Monitor};
use crate::files::write::{Options, Target};
use crate::format::node::{Node, NodeType};
use crate::format::root::{RootBody, SnapshotKind};
use crate::ops::Error;
use crate::ops::restore_files::filter::Filter;
use crate::ops::restore_files::report::Ledger;
use crate::ops::restore_files::restore::Restore;
use crate::ops::restore_files::write::{Job, work};
use crate::repo::read::ChunkReader;
use crate::repo::roots::Snapshot;
use crate::repo::{Repository, index};
use crate::vfs::Children;

/// More threads than this would mostly wait for each other.
const THREADS_MAX: usize = 16;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct FilesRequest {
    /// What of the snapshot; all of it if absent.
    pub path: Option<Vec<u8>>,
    /// The folder to restore to.
    pub target: PathBuf,
    /// Only what these patterns match.
    pub include: Vec<String>,
    /// Not what these patterns match.
    pub exclude: Vec<String>,
    /// Remove what the snapshot does not have.
    pub delete: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// Take files of the right size and time for right, and do not read them.
    pub quick: bool,
    /// Read everything back afterwards and compare.
    pub verify: bool,
    /// Owners by number.
    pub numeric_ids: bool,
}

/// What is to be restored, and how.
struct Plan {
    filter: Filter,
    /// A folder whose children are restored.
    top: Node,
    /// The only child that is wanted, if a single entry was named.
    only: Option<Node>,
    /// The folder's path in the snapshot, without slashes around it.
    base: Vec<u8>,
    /// Paths that the snapshot is of, likewise: nothing is deleted beside or above them.
    sources: Vec<Vec<u8>>,
    delete: bool,
    dry_run: bool,
    quick: bool,
}

/// Restores what `request` asks for. That something went wrong with single entries is no error; the
/// report says so.
pub fn restore_files(
    repo: &Repository,
    snapshot: &Snapshot,
    request: &FilesRequest,
    observer: &dyn Observer,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Report, Error> {
    let filter = Filter::new(&request.include, &request.exclude)?;
    index::refresh(repo, monitor, cancel)?;
    let reader = Arc::new(ChunkReader::new(repo));
    let plan = Plan::new(&reader, snapshot, request, filter)?;
    let options = Options { numeric_ids: request.numeric_ids, replace: true };
    let there = Target::existing(&request.target, options)?;
    // The target gets metadata if it was made for a folder of the snapshot, now or by a run that was
    // interrupted; a folder that was there keeps its own.
    let is_new = there.as_ref().is_none_or(Target::is_unfinished) && plan.is_of_a_folder();
    let target = match request.dry_run {
        true => there,
        false => Some(Target::open(&request.target, options)?),
    };
    if let Some(target) = target.as_ref().filter(|_| is_new && !request.dry_run) {
        target.mark()?;
    }
    let job = Job::new(reader, target, Ledger::new(observer), monitor, cancel)?;
    let total = (plan.base.is_empty() && plan.filter.wants_all()).then_some(snapshot.root.stats.source_bytes);
    monitor.phase(if plan.dry_run { "comparing" } else { "restoring" }, Count::DoneBytes, total);
    run(&job, &plan, is_new)?;
    if let (false, Some(target)) = (plan.dry_run, &job.target) {
        seal::seal(&job, &plan)?;
        target.sync()?;
        if request.verify {
            monitor.phase("verifying", Count::DoneBytes, total);
            verify::verify(&job, &plan)?;
        }
    }
    Ok(job.ledger.finish())
}

/// Walks, with threads behind that write.
fn run(job: &Job<'_>, plan: &Plan, is_new: bool) -> Result<(), Error> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(THREADS_MAX);
    let (batches, taken) = bounded(threads);
    std::thread::scope(|scope| {
        if !plan.dry_run {
            for _ in 0..threads {
                let taken = taken.clone();
                scope.spawn(move || work(job, &taken));
            }
        }
        drop(taken);
        if let Err(error) = Restore::new(job, plan, batches).run(is_new) {
            job.stop(error);
        }
    });
    job.outcome()
}

impl Plan {
    fn new(
        reader: &ChunkReader,
        snapshot: &Snapshot,
        request: &FilesRequest,
        filter: Filter,
    ) -> Result<Self, Error> {
        let root = &snapshot.root;
        let text = request.path.as_deref().unwrap_or_default();
        let parts: Vec<&[u8]> = text.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect();
        let mut plan = Plan {
            filter,
            top: root.root.clone(),
            only: None,
            base: parts.join(&b'/'),
            sources: sources(root),
            delete: request.delete,
            dry_run: request.dry_run,
            quick: request.quick,
        };
        for (at, part) in parts.iter().enumerate() {
            let found = Children::new(plan.top.children.clone()).find(reader, part)?;
            match found {
                Some(node) if node.kind == NodeType::Directory => plan.top = node,
                Some(node) if at + 1 == parts.len() => {
                    plan.base = parts[..at].join(&b'/');
                    plan.only = Some(node);
                }
                _ => {
                    let snapshot = format!("snapshot {}", &snapshot.id.to_hex()[..8]);
                    return Err(Error::NoPath { snapshot, path: String::from_utf8_lossy(text).into_owned() });
                }
            }
        }
        Ok(plan)
    }

    /// Whether the target stands for a folder of the snapshot.
    fn is_of_a_folder(&self) -> bool {
        self.only.is_none() && !self.base.is_empty()
    }

    /// Whether what the snapshot does not have may be deleted in the folder at `path`: only a folder
    /// that the snapshot has all of.
    fn may_delete_in(&self, path: &[u8]) -> bool {
        let mut whole = self.base.clone();
        if !whole.is_empty() && !path.is_empty() {
            whole.push(b'/');
        }
        whole.extend_from_slice(path);
        // Sources are kept as text.
        let whole = String::from_utf8_lossy(&whole).into_owned().into_bytes();
        let is_in = |source: &Vec<u8>| match whole.strip_prefix(source.as_slice()) {
            Some(rest) => source.is_empty() || rest.is_empty() || rest.first() == Some(&b'/'),
            None => false,
        };
        self.delete && self.only.is_none() && self.sources.iter().any(is_in)
    }
}

/// Paths that a snapshot has all of. The sources of a base backup are names of clusters; of what it has, it has
/// all.
fn sources(root: &RootBody) -> Vec<Vec<u8>> {
    match root.kind {
        SnapshotKind::BaseBackup => vec![Vec::new()],
        _ => root.sources.iter().map(|source| trimmed(source.as_bytes()).to_vec()).collect(),
    }
}

fn trimmed(path: &[u8]) -> &[u8] {
    let path = &path[path.iter().take_while(|byte| **byte == b'/').count()..];
    &path[..path.len() - path.iter().rev().take_while(|byte| **byte == b'/').count()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nothing_is_deleted_above_or_beside_a_source() {
        let plan = |base: &str, sources: &[&str]| Plan {
            filter: Filter::new(&[], &[]).unwrap(),
            top: Node::new("", NodeType::Directory),
            only: None,
            base: base.as_bytes().to_vec(),
            sources: sources.iter().map(|source| trimmed(source.as_bytes()).to_vec()).collect(),
            delete: true,
            dry_run: false,
            quick: false,
        };
        for (base, source, path, may) in [
            ("", "/srv/uploads", "", false),
            ("", "/srv/uploads", "srv", false),
            ("", "/srv/uploads/", "srv/uploads", true),
            ("", "/srv/uploads", "srv/uploads/a", true),
            ("", "/srv/uploads", "srv/uploads2", false),
            ("srv", "/srv/uploads", "", false),
            ("srv", "/srv/uploads", "uploads", true),
            ("srv/uploads", "/srv/uploads", "", true),
            ("srv/uploads/a", "/srv/uploads", "b", true),
            ("", "/", "", true),
            ("", "/", "etc", true),
        ] {
            assert_eq!(plan(base, &[source]).may_delete_in(path.as_bytes()), may, "{base} {source} {path}");
        }
        assert!(!plan("", &[]).may_delete_in(b""));
        assert!(!Plan { delete: false, ..plan("", &["/"]) }.may_delete_in(b""));
    }
}
