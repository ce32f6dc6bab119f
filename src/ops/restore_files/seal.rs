//! Flags that forbid changes, immutable and append only: set in a walk of its own when everything else is
//! done, since nothing can be put into such a folder any more, and no further name be made for such a
//! file. There is no such walk if the restore met none of them.

use crate::files::write::{Folder, is_sealed};
use crate::format::node::Node;
use crate::ops::Error;
use crate::ops::restore_files::Plan;
use crate::ops::restore_files::walk::{Step, Walk};
use crate::ops::restore_files::write::Job;

/// A folder on the way.
struct Place {
    /// Absent where nothing was restored.
    folder: Option<Folder>,
    /// What it gets itself, after all that is in it.
    node: Option<Box<Node>>,
}

/// Seals all that the plan is about.
pub(super) fn seal(job: &Job<'_>, plan: &Plan) -> Result<(), Error> {
    let Some(target) = job.target.as_ref().filter(|_| job.seals()) else { return Ok(()) };
    let root = Some(target.root().clone());
    if let Some(node) = &plan.only {
        return entry(job, root.as_ref(), node, &node.name);
    }
    let mut places = vec![Place { folder: root, node: None }];
    let mut walk = Walk::new(&plan.top, &job.reader, &plan.filter, job.cancel);
    while let Some(step) = walk.next()? {
        let here = places.last().and_then(|place| place.folder.as_ref());
        match step {
            Step::Enter { node, wanted } => {
                let folder = here.and_then(|here| here.existing(&node.name).ok().flatten());
                let node = Some(node).filter(|node| wanted && is_sealed(&node.meta));
                places.push(Place { folder, node });
            }
            Step::Entry(node) => entry(job, here, &node, walk.path())?,
            Step::Leave => {
                let left = places.pop().and_then(|place| place.node);
                if let (Some(node), Some(above)) = (left, places.last()) {
                    entry(job, above.folder.as_ref(), &node, walk.path())?;
                }
            }
            // Told before.
            Step::Lost(_) => (),
        }
    }
    Ok(())
}

fn entry(job: &Job<'_>, folder: Option<&Folder>, node: &Node, path: &[u8]) -> Result<(), Error> {
    let Some(folder) = folder.filter(|_| is_sealed(&node.meta)) else { return Ok(()) };
    match folder.seal(&node.name, node) {
        Ok(problem) => {
            job.ledger.problems(path, problem.as_slice());
            Ok(())
        }
        Err(error) => job.ledger.failed(path, error),
    }
}
