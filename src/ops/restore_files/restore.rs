//! The walk of a restore: what is to be done to each entry, and all of it that needs no content. In a
//! dry run that is where it ends.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::base::class::Class;
use crate::files::write::{Error as WriteError, Folder, Identity, Match};
use crate::format::node::{FileMeta, Node, NodeType};
use crate::ops::Error;
use crate::ops::restore_files::Plan;
use crate::ops::restore_files::content::Comparer;
use crate::ops::restore_files::delete::{extras, is_mounted};
use crate::ops::restore_files::links::{First, Known, Member};
use crate::ops::restore_files::outlet::Outlet;
use crate::ops::restore_files::report::{Action, Severity};
use crate::ops::restore_files::walk::{Step, Walk};
use crate::ops::restore_files::write::{Batch, FolderWork, Job, link, made_of};
use crate::repo;

/// A folder on the way.
enum Place {
    /// Not needed so far: nothing in it was wanted.
    Later(Box<Node>),
    /// Open for writing.
    Open(Arc<FolderWork>),
    /// In a dry run: what is there, if anything is.
    Seen(Option<Folder>),
    /// It could not be made, so nothing below it can.
    Failed,
}

/// Where an entry belongs.
#[derive(Clone)]
enum Here {
    Open(Arc<FolderWork>),
    Seen(Option<Folder>),
}

/// What has to be done to an entry.
enum Need {
    Nothing(Match),
    Metadata(Match),
    All(Action),
}

/// A restore on its way.
pub(super) struct Restore<'j, 'a> {
    job: &'j Job<'a>,
    plan: &'j Plan,
    outlet: Outlet<'j, 'a>,
    places: Vec<Place>,
    comparer: Comparer,
}

impl<'j, 'a> Restore<'j, 'a> {
    pub(super) fn new(job: &'j Job<'a>, plan: &'j Plan, batches: Sender<Batch>) -> Self {
        let (outlet, comparer) = (Outlet::new(job, batches), Comparer::default());
        Restore { job, plan, outlet, places: Vec::new(), comparer }
    }

    /// Restores everything below the top, and the metadata of the top itself if it `is_new`.
    pub(super) fn run(mut self, is_new: bool) -> Result<(), Error> {
        let top = match (&self.job.target, self.plan.dry_run) {
            (Some(target), false) => {
                let meta = is_new.then(|| self.plan.top.meta.clone());
                Place::Open(FolderWork::new(target.root().clone(), Vec::new(), meta, None))
            }
            (target, _) => Place::Seen(target.as_ref().map(|target| target.root().clone())),
        };
        if let (Place::Open(top), true) = (&top, is_new) {
            top.touch();
        }
        self.places.push(top);
        match self.plan.only.clone() {
            Some(node) => {
                let path = node.name.clone();
                self.entry(node, &path)?;
            }
            None => self.below()?,
        }
        self.outlet.flush()?;
        self.leave();
        Ok(())
    }

    fn below(&mut self) -> Result<(), Error> {
        let plan = self.plan;
        self.delete(&plan.top, b"")?;
        let mut walk = Walk::new(&plan.top, &self.job.reader, &plan.filter, self.job.cancel);
        while let Some(step) = walk.next()? {
            if self.job.is_stopped() {
                return Ok(());
            }
            match step {
                Step::Enter { node, wanted } => self.enter(*node, walk.path(), wanted)?,
                Step::Entry(node) => self.entry(*node, walk.path())?,
                Step::Lost(error) => self.job.ledger.damaged(walk.path(), error)?,
                Step::Leave => self.leave(),
            }
        }
        Ok(())
    }

    fn enter(&mut self, node: Node, path: &[u8], wanted: bool) -> Result<(), Error> {
        if let Some(problem) = &node.meta.problem {
            self.job.ledger.tell(Severity::Incomplete, path, "folder", problem.clone());
        }
        self.places.push(Place::Later(Box::new(node.clone())));
        if wanted {
            self.here(path)?;
            self.delete(&node, path)?;
        }
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(Place::Open(folder)) = self.places.pop() {
            folder.release(self.job);
        }
    }

    /// Opens, and makes where needed, the folders on the way to the last place, whose path this is.
    fn here(&mut self, path: &[u8]) -> Result<Option<Here>, Error> {
        let first = self.places.iter().position(|place| matches!(place, Place::Later(_)));
        // Where each folder's own path ends, deepest last.
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = if path.is_empty() { vec![] } else { ends.chain([path.len()]).collect() };
        for at in first.unwrap_or(self.places.len())..self.places.len() {
            let Some(Place::Later(node)) = self.places.get(at) else { continue };
            let (node, path) = (node.clone(), &path[..ends.get(at - 1).copied().unwrap_or(path.len())]);
            self.places[at] = match &self.places[at - 1] {
                Place::Open(parent) => self.open(&node, path, &parent.clone())?,
                Place::Seen(parent) => self.look(&node, path, parent.clone().as_ref())?,
                Place::Later(_) | Place::Failed => Place::Failed,
            };
        }
        Ok(match self.places.last() {
            Some(Place::Open(folder)) => Some(Here::Open(Arc::clone(folder))),
            Some(Place::Seen(folder)) => Some(Here::Seen(folder.clone())),
            _ => None,
        })
    }

    /// Opens a folder to write in it.
    fn open(&self, node: &Node, path: &[u8], parent: &Arc<FolderWork>) -> Result<Place, Error> {
        let ledger = &self.job.ledger;
        self.job.meets(&node.meta);
        let need = match self.need(Some(&parent.folder), node) {
            Ok(need) => need,
            Err(error) => return ledger.failed(path, error).map(|()| Place::Failed),
        };
        let folder = match parent.folder.folder(&node.name) {
            Ok(folder) => folder,
            Err(error) => return ledger.failed(path, error).map(|()| Place::Failed),
        };
        let work = FolderWork::new(folder, path.to_vec(), Some(node.meta.clone()), Some(Arc::clone(parent)));
        match need {
            Need::Nothing(_) if is_usable(&node.meta) => ledger.unchanged(),
            // It was opened up, to be worked in.
            Need::Nothing(_) => {
                ledger.unchanged();
                work.touch();
            }
            Need::Metadata(_) => {
                ledger.did(Action::Repair, path);
                work.touch();
            }
            Need::All(action) => {
                ledger.did(action, path);
                parent.touch();
                work.touch();
            }
        }
        Ok(Place::Open(work))
    }

    /// Looks at a folder in a dry run.
    fn look(&self, node: &Node, path: &[u8], parent: Option<&Folder>) -> Result<Place, Error> {
        let ledger = &self.job.ledger;
        let looked = self.need(parent, node).and_then(|need| {
            let folder = match (&need, parent) {
                (Need::All(_), _) | (_, None) => None,
                (_, Some(parent)) => parent.existing(&node.name)?,
            };
            Ok((need, folder))
        });
        let (need, folder) = match looked {
            Ok(looked) => looked,
            Err(error) => return ledger.failed(path, error).map(|()| Place::Failed),
        };
        match need {
            Need::Nothing(_) => ledger.unchanged(),
            Need::Metadata(_) => ledger.did(Action::Repair, path),
            Need::All(action) => ledger.did(action, path),
        }
        Ok(Place::Seen(folder))
    }

    /// What has to be done to the entry that `node` describes.
    fn need(&self, folder: Option<&Folder>, node: &Node) -> Result<Need, WriteError> {
        let Some(folder) = folder.filter(|folder| !folder.is_new()) else {
            return Ok(Need::All(Action::Create));
        };
        Ok(match folder.matches(&node.name, node)? {
            Match::Absent => Need::All(Action::Create),
            Match::Different { .. } => Need::All(Action::Overwrite),
            found @ Match::Same { .. } => match &found {
                Match::Same { metadata, .. } if !metadata.is_empty() => Need::Metadata(found),
                _ => Need::Nothing(found),
            },
        })
    }

    fn entry(&mut self, mut node: Node, path: &[u8]) -> Result<(), Error> {
        let parent = path.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &path[..at]);
        let Some(here) = self.here(parent)? else { return Ok(()) };
        match node.kind {
            // Streams are files that nobody knows more of.
            NodeType::Stream | NodeType::Globals => node.kind = NodeType::File,
            NodeType::Database => {
                let reason = "a database is restored with `restore db`, or written with `cat`".to_owned();
                self.job.ledger.tell(Severity::Failed, path, "database", reason);
                return Ok(());
            }
            _ => (),
        }
        let need = match self.need(here.folder(), &node) {
            Ok(need) => need,
            Err(error) => return self.job.ledger.failed(path, error),
        };
        self.job.meets(&node.meta);
        if let Some(problem) = &node.meta.problem {
            self.job.ledger.tell(Severity::Incomplete, path, "content", problem.clone());
            // Nothing of it was read: what is there is better than nothing.
            if node.kind == NodeType::File && node.size == Some(0) && !need.finds_nothing() {
                return Ok(());
            }
        }
        if let Some(group) = node.meta.link_group.clone()
            && self.is_member(&group, &here, &node, path, &need)?
        {
            return Ok(());
        }
        self.first(here, node, path, need)
    }

    /// Deals with a name of a file of which another name came before; `false` if none did.
    fn is_member(
        &mut self,
        group: &[u8],
        here: &Here,
        node: &Node,
        path: &[u8],
        need: &Need,
    ) -> Result<bool, Error> {
        let (job, action) = (self.job, need.if_linked());
        let Here::Open(work) = here else {
            let Some(first) = job.links.find(group)? else { return Ok(false) };
            match need.identity() {
                Some(identity) if first.identity == Some(identity) => job.ledger.unchanged(),
                _ => job.ledger.did(action, path),
            }
            return Ok(true);
        };
        let member = || {
            work.hold();
            Member { folder: Arc::clone(work), node: node.clone(), path: path.to_vec(), action }
        };
        match job.links.look(group, member)? {
            Known::New => Ok(false),
            Known::There(first) if need.identity().is_some() && need.identity() == first.identity => {
                job.ledger.unchanged();
                Ok(true)
            }
            Known::There(first) => {
                let member =
                    Member { folder: Arc::clone(work), node: node.clone(), path: path.to_vec(), action };
                link(job, &member, &first)?;
                Ok(true)
            }
            Known::Waits => {
                if job.links.are_many() {
                    self.outlet.flush()?;
                    job.links.wait(job);
                }
                Ok(true)
            }
        }
    }

    /// An entry that is no further name of a file.
    fn first(&mut self, here: Here, node: Node, path: &[u8], need: Need) -> Result<(), Error> {
        let job = self.job;
        let need = match self.confirm(&here, &node, path, need) {
            Ok(need) => need,
            // What is there is as good as what could be written.
            Err(error) => return job.ledger.damaged(path, error),
        };
        let identity = need.identity();
        let action = match need {
            Need::Nothing(_) => {
                job.ledger.unchanged();
                return self.there(&node, identity, path);
            }
            Need::Metadata(_) => {
                self.repair(&here, &node, identity, path)?;
                return self.there(&node, identity, path);
            }
            Need::All(action) => action,
        };
        let Here::Open(work) = here else {
            job.ledger.did(action, path);
            if node.kind == NodeType::File {
                job.ledger.wrote(node.size.unwrap_or(0));
            }
            return self.there(&node, None, path);
        };
        if node.kind == NodeType::File {
            if let Some(group) = &node.meta.link_group {
                job.links.begin(group);
            }
            return self.outlet.file(work, node, path, action);
        }
        match work.folder.entry(&node.name, &node) {
            Ok(made) => match made_of(job, &work, path, action, made) {
                Some(identity) => self.there(&node, Some(identity), path),
                None => Ok(()),
            },
            Err(error) => job.ledger.failed(path, error),
        }
    }

    /// Makes sure that a file which looks right holds what it should, by reading it. That is not needed
    /// where nobody can have written to it since the snapshot.
    fn confirm(&mut self, here: &Here, node: &Node, path: &[u8], need: Need) -> Result<Need, repo::Error> {
        let untouched = matches!(
            &need,
            Need::All(_)
                | Need::Nothing(Match::Same { untouched: true, .. })
                | Need::Metadata(Match::Same { untouched: true, .. })
        );
        let source = match here.folder() {
            Some(folder) if node.kind == NodeType::File && !untouched && !self.plan.quick => {
                folder.source(&node.name)
            }
            _ => return Ok(need),
        };
        let same = match source {
            Ok(source) => self.comparer.compare(self.job, source, node, path)?.is_none(),
            // What cannot be read is written anew.
            Err(_) => false,
        };
        Ok(if same { need } else { Need::All(Action::Overwrite) })
    }

    fn repair(&self, here: &Here, node: &Node, identity: Option<Identity>, path: &[u8]) -> Result<(), Error> {
        let ledger = &self.job.ledger;
        if let (Here::Open(work), Some(identity)) = (here, identity) {
            match work.folder.repair(&node.name, node, identity) {
                Ok(problems) => ledger.problems(path, &problems),
                Err(error) => return ledger.failed(path, error),
            }
        }
        ledger.did(Action::Repair, path);
        Ok(())
    }

    /// Remembers where the first name of a file is.
    fn there(&self, node: &Node, identity: Option<Identity>, path: &[u8]) -> Result<(), Error> {
        if let Some(group) = &node.meta.link_group {
            self.job.links.end(group, Some(&First { identity, path: path.to_vec() }))?;
        }
        Ok(())
    }

    /// Removes what the last place has and the snapshot does not.
    fn delete(&mut self, node: &Node, path: &[u8]) -> Result<(), Error> {
        let job = self.job;
        let folder = match self.places.last() {
            Some(Place::Open(work)) if !work.folder.is_new() => work.folder.clone(),
            Some(Place::Seen(Some(folder))) => folder.clone(),
            _ => return Ok(()),
        };
        // What could not be read is not gone.
        if !self.plan.may_delete_in(path) || node.meta.problem.is_some() {
            return Ok(());
        }
        let done = extras(&folder, node, &job.reader, &mut |entry| {
            let mut path = path.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&entry.name);
            let is_folder = entry.kind == NodeType::Directory;
            if self.plan.filter.excludes(&path, is_folder) {
                return Ok(());
            }
            if self.plan.dry_run {
                job.ledger.did(Action::Delete, &path);
                return Ok(());
            }
            if let Some(Place::Open(work)) = self.places.last() {
                work.touch();
            }
            match folder.remove(&entry.name) {
                Ok(0) => Ok(()),
                Ok(_) => {
                    job.ledger.did(Action::Delete, &path);
                    Ok(())
                }
                Err(error) if is_mounted(&error) => {
                    let reason = "something is mounted there".to_owned();
                    job.ledger.tell(Severity::Mounted, &path, "mount point", reason);
                    Ok(())
                }
                Err(error) => job.ledger.failed(&path, error),
            }
        });
        match done {
            // The walk comes to the same listing and says so; without it nothing is known to be extra.
            Err(Error::Repo(error)) if error.class() == Class::Damaged => Ok(()),
            Err(Error::Write(error)) => job.ledger.failed(path, error),
            done => done,
        }
    }
}

impl Here {
    fn folder(&self) -> Option<&Folder> {
        match self {
            Here::Open(work) => Some(&work.folder),
            Here::Seen(folder) => folder.as_ref(),
        }
    }
}

impl Need {
    /// Which inode is there, if it is right but for its metadata.
    fn identity(&self) -> Option<Identity> {
        match self {
            Need::Nothing(Match::Same { identity, .. }) | Need::Metadata(Match::Same { identity, .. }) => {
                Some(*identity)
            }
            _ => None,
        }
    }

    /// Whether nothing has that name.
    fn finds_nothing(&self) -> bool {
        matches!(self, Need::All(Action::Create))
    }

    /// What it is to make a link in its place.
    fn if_linked(&self) -> Action {
        match self {
            Need::All(action) => *action,
            Need::Nothing(_) | Need::Metadata(_) => Action::Overwrite,
        }
    }
}

/// Whether its owner can work in such a folder.
fn is_usable(meta: &FileMeta) -> bool {
    meta.mode.is_some_and(|mode| mode & 0o700 == 0o700)
}
