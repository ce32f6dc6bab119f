//! Regular files: written under a temporary name in the folder they belong to, given their metadata,
//! then renamed. So nothing that bears a file's final name is ever half of it, and what was there
//! before stays until it is replaced as a whole.

use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Advice, AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::files::write::entry::Made;
use crate::files::write::error::Error;
use crate::files::write::folder::{Folder, TRIES};
use crate::files::write::handle::{Handle, Identity};
use crate::files::write::meta;
use crate::format::node::{FileMeta, NodeType};

/// Length up to which every name is accepted by the usual file systems.
const NAME_USUAL: usize = 255;
const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// A file that is being written. Dropped before [`NewFile::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct NewFile {
    folder: Folder,
    name: Vec<u8>,
    /// Its name for now; empty once it has its own.
    temporary: Vec<u8>,
    file: File,
    identity: Identity,
    /// Where what was written ends.
    end: AtomicU64,
}

impl Folder {
    /// Begins the file `name`. What bears that name stays until the new file is finished; only if
    /// that may not be replaced it is an error now already.
    pub fn file(&self, name: &[u8]) -> Result<NewFile, Error> {
        self.check("create", name)?;
        // A name that is too long would otherwise come to light when the file is finished.
        let keeps = !self.shared().options.replace && !self.is_new();
        if keeps || name.len() > NAME_USUAL {
            match rustix::fs::statat(self.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => (),
                Ok(_) => self.may_replace("create", name)?,
                Err(errno) => return Err(self.failed("create", name)(errno)),
            }
        }
        for _ in 0..TRIES {
            let temporary = self.shared().temporaries.next();
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = match rustix::fs::openat(self.fd(), &temporary, flags, PRIVATE) {
                Ok(fd) => fd,
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(self.failed("create", name)(errno)),
            };
            // The lock tells others that this is no leftover. One that looks at the file in the
            // moment before gets the lock first, and removes it: then another one is made.
            let locked = rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive);
            let stat = rustix::fs::fstat(&fd).map_err(self.failed("create", name))?;
            if locked == Err(Errno::WOULDBLOCK) || stat.st_nlink == 0 {
                continue;
            }
            return Ok(NewFile {
                folder: self.clone(),
                name: name.to_vec(),
                temporary,
                file: File::from(fd),
                identity: Identity::of(&stat),
                end: AtomicU64::new(0),
            });
        }
        Err(self.changed("create", name))
    }
}

impl NewFile {
    /// Writes bytes at an offset. What is never written stays a hole.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        let error = |reason| Error::system("write", self.folder.path_of(&self.name), reason);
        self.file.write_all_at(bytes, offset).map_err(error)?;
        self.end.fetch_max(offset.saturating_add(bytes.len() as u64), Ordering::Relaxed);
        Ok(())
    }

    /// Has the disk begin with bytes that were written and will not change, so that it is not idle until all is
    /// to be synced. It is no more than advice.
    pub fn begin_storing(&self, range: Range<u64>) {
        if let Some(len) = NonZeroU64::new(range.end.saturating_sub(range.start)) {
            // What is not needed is written out before it is dropped. So soon hardly any of it is clean, and only
            // what is clean would be dropped at once.
            let _ = rustix::fs::fadvise(&self.file, range.start, Some(len), Advice::DontNeed);
        }
    }

    /// Gives the file its length, its metadata and, last, its name.
    pub fn finish(mut self, size: u64, meta: &FileMeta) -> Result<Made, Error> {
        let fail = |errno: Errno| self.folder.failed("write", &self.name)(errno);
        if self.end.load(Ordering::Relaxed) != size {
            rustix::fs::ftruncate(&self.file, size).map_err(fail)?;
        }
        let shared = self.folder.shared();
        let handle = Handle::open(self.file.as_fd());
        let problems = meta::apply(shared, &handle, NodeType::File, meta, self.folder.before());
        self.publish()?;
        self.temporary.clear();
        Ok(Made::Done { identity: self.identity, problems })
    }

    /// Moves the file to its name, over what is there if that is allowed.
    fn publish(&self) -> Result<(), Error> {
        let (folder, name) = (&self.folder, self.name.as_slice());
        for _ in 0..TRIES {
            let renamed = if folder.shared().options.replace {
                rustix::fs::renameat(folder.fd(), &self.temporary, folder.fd(), name)
            } else {
                self.publish_new()
            };
            match renamed {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY) => {
                    folder.may_replace("create", name)?;
                    folder.remove(name)?;
                }
                Err(errno) => return Err(folder.failed("create", name)(errno)),
            }
        }
        Err(folder.changed("create", name))
    }

    fn publish_new(&self) -> Result<(), Errno> {
        let (folder, name) = (self.folder.fd(), self.name.as_slice());
        match rustix::fs::renameat_with(folder, &self.temporary, folder, name, RenameFlags::NOREPLACE) {
            // A file system that cannot: a second name for it replaces nothing either.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(folder, &self.temporary, folder, name, AtFlags::empty())?;
                rustix::fs::unlinkat(folder, &self.temporary, AtFlags::empty())
            }
            done => done,
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.temporary.is_empty() {
            // Should it fail, the next run finds it.
            let _ = rustix::fs::unlinkat(self.folder.fd(), &self.temporary, AtFlags::empty());
        }
    }
}
