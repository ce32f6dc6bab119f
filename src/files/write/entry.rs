//! Entries without content: symbolic links, fifos, sockets, devices, and further names of a file.
//! Each is made under its final name, since it is whole from the start; its metadata are put on the
//! one that was made, held open, and on no other.

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use crate::files::write::error::{Error, ErrorKind, Problem, What};
use crate::files::write::folder::{Folder, TRIES};
use crate::files::write::handle::{Handle, Identity, hold, kind_of};
use crate::files::write::meta;
use crate::format::node::{Node, NodeType};

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It is there.
    Done {
        /// Which inode it is.
        identity: Identity,
        /// What of its metadata is missing.
        problems: Vec<Problem>,
    },
    /// The system does not let this user make it, or nobody; nothing is there.
    Refused(Problem),
}

impl Made {
    /// Everything that is not as it should be.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Made::Done { problems, .. } => problems,
            Made::Refused(problem) => std::slice::from_ref(problem),
        }
    }
}

impl Folder {
    /// Makes the symbolic link, fifo, socket or device that `node` describes, by the name `name`.
    pub fn entry(&self, name: &[u8], node: &Node) -> Result<Made, Error> {
        self.check("create", name)?;
        let mknod = |kind: FileType, device| {
            // Nobody may use it before it belongs to whom it should.
            self.place(name, || rustix::fs::mknodat(self.fd(), name, kind, Mode::empty(), device))
        };
        let placed = match node.kind {
            NodeType::Symlink => {
                let target = self.need(name, node.meta.link_target.as_deref(), "its target is not known")?;
                self.place(name, || rustix::fs::symlinkat(target, self.fd(), name))
            }
            NodeType::Fifo => mknod(FileType::Fifo, 0),
            NodeType::Socket => mknod(FileType::Socket, 0),
            NodeType::CharDevice => mknod(FileType::CharacterDevice, self.device(name, node)?),
            NodeType::BlockDevice => mknod(FileType::BlockDevice, self.device(name, node)?),
            _ => {
                let reason = "this version cannot restore it";
                return Ok(Made::Refused(Problem::own(What::Entry(node.kind.to_u64()), reason)));
            }
        };
        match placed? {
            Ok(()) => self.dress(name, node),
            Err(errno @ (Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)) => {
                Ok(Made::Refused(Problem::system(What::Entry(node.kind.to_u64()), errno)))
            }
            Err(errno) => Err(self.failed("create", name)(errno)),
        }
    }

    /// Gives the file that is `first_name` in `first` another name here. It must still be the inode
    /// `identity`; if it is not, or cannot have another name, that is a problem: the caller restores
    /// it as a file of its own.
    pub fn link(
        &self,
        name: &[u8],
        first: &Folder,
        first_name: &[u8],
        identity: Identity,
    ) -> Result<Made, Error> {
        self.check("link", name)?;
        first.check("link", first_name)?;
        let there = rustix::fs::statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|stat| Identity::of(&stat) == identity) {
            return Ok(Made::Done { identity, problems: Vec::new() });
        }
        let refused = |problem| Ok(Made::Refused(problem));
        let gone = || Problem::own(What::HardLink, "its first name is another file by now");
        let before = rustix::fs::statat(first.fd(), first_name, AtFlags::SYMLINK_NOFOLLOW);
        if !before.is_ok_and(|stat| Identity::of(&stat) == identity) {
            return refused(gone());
        }
        // Without flags a symbolic link is not followed: it gets another name itself.
        let link = || rustix::fs::linkat(first.fd(), first_name, self.fd(), name, AtFlags::empty());
        match self.place(name, link)? {
            Ok(()) => (),
            Err(errno @ (Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS)) => {
                return refused(Problem::system(What::HardLink, errno));
            }
            Err(Errno::NOENT) => return refused(gone()),
            Err(errno) => return Err(self.failed("link", name)(errno)),
        }
        // Somebody may have swapped the first name in between, for a file from elsewhere.
        let made = rustix::fs::statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW);
        if made.is_ok_and(|stat| Identity::of(&stat) == identity) {
            return Ok(Made::Done { identity, problems: Vec::new() });
        }
        let _ = rustix::fs::unlinkat(self.fd(), name, AtFlags::empty());
        refused(gone())
    }

    /// Makes something under a name that is then its own: what bears it is removed first, if that is
    /// allowed.
    fn place(&self, name: &[u8], make: impl Fn() -> Result<(), Errno>) -> Result<Result<(), Errno>, Error> {
        for _ in 0..TRIES {
            match make() {
                Err(Errno::EXIST) => {
                    self.may_replace("create", name)?;
                    self.remove(name)?;
                }
                made => return Ok(made),
            }
        }
        Err(self.changed("create", name))
    }

    /// Puts its metadata on an entry that was just made.
    fn dress(&self, name: &[u8], node: &Node) -> Result<Made, Error> {
        let fd = hold(self.fd(), name).map_err(self.failed("open", name))?;
        let handle = Handle::held(&fd);
        let stat = handle.stat().map_err(self.failed("open", name))?;
        if kind_of(&stat) != node.kind || stat.st_nlink != 1 || !is_device(&stat, node) {
            return Err(self.changed("create", name));
        }
        let problems = meta::apply(self.shared(), &handle, node.kind, &node.meta, self.before());
        Ok(Made::Done { identity: Identity::of(&stat), problems })
    }

    fn device(&self, name: &[u8], node: &Node) -> Result<u64, Error> {
        self.need(name, node.meta.device, "its device number is not known")
    }

    fn need<T>(&self, name: &[u8], value: Option<T>, lacks: &'static str) -> Result<T, Error> {
        value.ok_or_else(|| Error::own(ErrorKind::Node, "create", self.path_of(name), lacks))
    }
}

/// Whether an entry is the device that a node describes, if it describes one.
pub(super) fn is_device(stat: &Stat, node: &Node) -> bool {
    match node.kind {
        NodeType::CharDevice | NodeType::BlockDevice => node.meta.device == Some(stat.st_rdev),
        _ => true,
    }
}
