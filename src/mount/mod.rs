//! Layer 6: the repository as a read-only file system, through FUSE. `catalog` knows the snapshots,
//! `namespace` sorts them into folders, `inode` gives numbers, `tree` finds what they stand for,
//! `offset` counts the entries of a folder, `walk` sees who reads folders in order, `push` hands the kernel
//! what they read next, `fs` answers it and `session` mounts and unmounts. Bytes come from [`crate::vfs`],
//! verified (I-6); nothing here knows how they are stored.

mod attr;
mod catalog;
mod error;
mod fs;
mod inode;
mod kept;
mod namespace;
mod offset;
mod push;
mod session;
mod tree;
mod walk;

use std::path::Path;
use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::monitor::Monitor;
use crate::repo::Repository;
use crate::repo::roots::Snapshot;
use crate::vfs::ReadCache;

use attr::Fallback;
use catalog::Catalog;
pub use catalog::WriteTime;
pub use error::Error;
use fs::Files;
pub use session::{Access, Mounted, prepare};
use tree::Tree;

/// Bytes of plaintext that are kept for all readers together.
const CACHE: usize = 36 << 20;

/// What is mounted, and how.
pub struct Request {
    /// One snapshot, whose tree is then the top; otherwise all of them.
    pub only: Option<Snapshot>,
    /// Who may look.
    pub access: Access,
    /// How a snapshot's time is written in the name of its folder.
    pub write_time: WriteTime,
}

/// Mounts `repo` on `target`, which [`prepare`] has looked at. When it returns, programs can use it.
pub fn mount(
    repo: &Repository,
    target: &Path,
    request: Request,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Mounted, Error> {
    let fallback = Fallback {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        time: repo.clock().now(),
    };
    let (write_time, cancel, is_of_one) = (request.write_time, cancel.clone(), request.only.is_some());
    let catalog = match request.only {
        Some(snapshot) => Catalog::of_one(repo, snapshot, write_time, monitor, cancel)?,
        None => Catalog::open(repo, write_time, monitor, cancel)?,
    };
    let tree = Tree::new(catalog, is_of_one);
    let files = Files::new(tree, fallback, ReadCache::new(CACHE), request.access.others);
    let mounted = session::start(files, target, request.access)?;
    session::read_ahead(target);
    Ok(mounted)
}
