//! Comparing what is there with what should be, so that a restore in place leaves alone what is right
//! and mends metadata where only they are not.
//!
//! Content is not read here. A file with the size and the time of change of the snapshot looks right,
//! but that time can be put back by anybody who may write the file, and stands on a file whose content
//! was lost in a power failure. It is certain only where the inode and its own time of change, which
//! nobody can set, are those of the snapshot as well (D-6); for all others the caller compares what
//! [`Folder::source`] reads.

use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use crate::files;
use crate::files::folder::open_file;
use crate::files::place::Place;
use crate::files::source::Source;
use crate::files::write::entry::is_device;
use crate::files::write::error::{Error, Problem, What};
use crate::files::write::folder::Folder;
use crate::files::write::handle::{Handle, Identity, hold, kind_of};
use crate::files::write::meta::{self, Before};
use crate::format::node::{Node, NodeType};

/// How an entry compares with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// Nothing has that name.
    Absent,
    /// It has to be written anew.
    Different {
        /// What is there.
        found: NodeType,
        /// Why that will not do.
        why: Difference,
    },
    /// Type and content are right.
    Same {
        /// Which inode it is.
        identity: Identity,
        /// Whether the inode has other names as well.
        linked: bool,
        /// Whether nothing can have written to it since the snapshot.
        untouched: bool,
        /// Metadata that differ: none, and nothing has to be done.
        metadata: Vec<What>,
    },
}

/// Why an entry has to be written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Difference {
    /// It is something else.
    Kind,
    /// It is longer or shorter.
    Size,
    /// It was changed at another time.
    Mtime,
    /// It points elsewhere.
    LinkTarget,
    /// It is another device.
    Device,
    /// Its metadata differ, and it has names that the snapshot does not know: mended, a file outside
    /// of the target could change.
    Links,
}

impl Folder {
    /// Compares what is called `name` with `node`.
    pub fn matches(&self, name: &[u8], node: &Node) -> Result<Match, Error> {
        self.check("compare", name)?;
        let fail = |errno: Errno| self.failed("compare", name)(errno);
        let stat = match rustix::fs::statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Match::Absent),
            Err(errno) => return Err(fail(errno)),
        };
        let different = |why| Ok(Match::Different { found: kind_of(&stat), why });
        if let Some(why) = content_differs(&stat, node) {
            return different(why);
        }
        let fd = match hold(self.fd(), name) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Match::Absent),
            Err(errno) => return Err(fail(errno)),
        };
        let handle = Handle::held(&fd);
        let identity = Identity::of(&stat);
        if Identity::of(&handle.stat().map_err(fail)?) != identity {
            return Err(self.changed("compare", name));
        }
        if node.kind == NodeType::Symlink {
            let target = rustix::fs::readlinkat(&fd, "", Vec::new()).map_err(fail)?;
            if node.meta.link_target.as_deref() != Some(target.to_bytes()) {
                return different(Difference::LinkTarget);
            }
        }
        let metadata = meta::differences(self.shared(), &handle, node.kind, &node.meta, &stat);
        let linked = node.kind != NodeType::Directory && stat.st_nlink > 1;
        let untouched = node.meta.inode == Some(stat.st_ino)
            && node.meta.ctime.is_some_and(|time| meta::is_ctime(&stat, time));
        if linked && node.meta.link_group.is_none() && !metadata.is_empty() {
            return different(Difference::Links);
        }
        Ok(Match::Same { identity, linked, untouched, metadata })
    }

    /// Puts the metadata of `node` on what is called `name`, which must still be the inode that
    /// [`Folder::matches`] found. Folders get theirs by [`Folder::finish`].
    pub fn repair(&self, name: &[u8], node: &Node, identity: Identity) -> Result<Vec<Problem>, Error> {
        self.check("change", name)?;
        let fd = hold(self.fd(), name).map_err(self.failed("change", name))?;
        let handle = Handle::held(&fd);
        let stat = handle.stat().map_err(self.failed("change", name))?;
        if Identity::of(&stat) != identity || kind_of(&stat) != node.kind {
            return Err(self.changed("change", name));
        }
        Ok(meta::apply(self.shared(), &handle, node.kind, &node.meta, Before::Attributes))
    }

    /// Opens the regular file `name`, to compare what it holds.
    pub fn source(&self, name: &[u8]) -> Result<Source, files::Error> {
        open_file(self.fd(), name, || Place::source(&self.path_of(name)))
    }

    /// Sets the flags of `node` that forbid changes on what is called `name`, if that is the entry that
    /// the node describes and lacks them. When they are set nothing else can be done to it, not even
    /// another name be made: this comes after everything else.
    pub fn seal(&self, name: &[u8], node: &Node) -> Result<Option<Problem>, Error> {
        let Match::Same { identity, metadata, .. } = self.matches(name, node)? else { return Ok(None) };
        if !metadata.contains(&What::Flags) {
            return Ok(None);
        }
        let fd = hold(self.fd(), name).map_err(self.failed("change", name))?;
        let handle = Handle::held(&fd);
        if Identity::of(&handle.stat().map_err(self.failed("change", name))?) != identity {
            return Err(self.changed("change", name));
        }
        Ok(meta::seal(&handle, &node.meta))
    }
}

/// Why an entry is not what a node says, as far as its numbers tell.
fn content_differs(stat: &Stat, node: &Node) -> Option<Difference> {
    if kind_of(stat) != node.kind {
        return Some(Difference::Kind);
    }
    if node.kind == NodeType::File {
        let size = u64::try_from(stat.st_size).ok();
        if size.is_none() || size != node.size {
            return Some(Difference::Size);
        }
        // A node without a time cannot vouch for content.
        if !node.meta.mtime.is_some_and(|time| meta::is_mtime(stat, time)) {
            return Some(Difference::Mtime);
        }
    }
    (!is_device(stat, node)).then_some(Difference::Device)
}
