//! Removing what bears a name, with everything below it. Folders are entered by descriptor and
//! never through a symbolic link, and no mount point is crossed: what is mounted there is not ours.
//!
//! A tree may be deeper than there are descriptors. Beyond [`DEPTH_MAX`] levels a folder is first
//! moved up to the top of what is being removed, under a name of our own.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, ResolveFlags};
use rustix::io::Errno;

use crate::files::write::error::Error;
use crate::files::write::folder::{FLAGS, Folder, TRIES, open_up};
use crate::files::write::name::Temporaries;

/// Levels that are held open at once.
const DEPTH_MAX: usize = 64;

impl Folder {
    /// Removes what is called `name`, with everything below it if it is a folder. Returns how many
    /// entries that were; none if nothing has that name.
    pub fn remove(&self, name: &[u8]) -> Result<u64, Error> {
        self.check("remove", name)?;
        let (names, user) = (&self.shared().temporaries, self.shared().user);
        let mut removal =
            Removal { top: self.fd(), names, user, levels: Vec::new(), removed: 0, culprit: None };
        match removal.run(name) {
            Ok(()) => Ok(removal.removed),
            Err(errno) => {
                let mut path = name.to_vec();
                let names = removal.levels.iter().skip(1).map(|level| level.name.as_slice());
                for name in names.chain(removal.culprit.as_deref()) {
                    path.push(b'/');
                    path.extend_from_slice(name);
                }
                Err(self.failed("remove", &path)(errno))
            }
        }
    }
}

/// A folder on the way.
struct Level {
    dir: Dir,
    name: Vec<u8>,
    /// Whether something may be in it that this pass has not listed.
    again: bool,
    passes: usize,
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    names: &'a Temporaries,
    user: u32,
    levels: Vec<Level>,
    removed: u64,
    /// The entry that could not be removed, in the last of the levels.
    culprit: Option<Vec<u8>>,
}

impl Removal<'_> {
    fn run(&mut self, name: &[u8]) -> Result<(), Errno> {
        self.one(name, FileType::Unknown)?;
        while let Some(level) = self.levels.last_mut() {
            match level.dir.read() {
                Some(entry) => {
                    let entry = entry?;
                    let name = entry.file_name().to_bytes().to_vec();
                    if matches!(name.as_slice(), b"." | b"..") {
                        continue;
                    }
                    if let Err(errno) = self.one(&name, entry.file_type()) {
                        self.culprit = Some(name);
                        return Err(errno);
                    }
                }
                None => self.leave()?,
            }
        }
        Ok(())
    }

    /// The folder that is being emptied.
    fn here(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.levels.last().map_or(Ok(self.top), |level| level.dir.fd())
    }

    /// Removes an entry of the folder, or enters it.
    fn one(&mut self, name: &[u8], kind: FileType) -> Result<(), Errno> {
        if kind != FileType::Directory {
            match rustix::fs::unlinkat(self.here()?, name, AtFlags::empty()) {
                Ok(()) => {
                    self.removed += 1;
                    return Ok(());
                }
                Err(Errno::NOENT) => return Ok(()),
                Err(Errno::ISDIR) => (),
                // What POSIX says for a folder. If it is none, then that is the reason.
                Err(Errno::PERM) if self.is_folder(name)? => (),
                Err(errno) => return Err(errno),
            }
        }
        if self.levels.len() >= DEPTH_MAX {
            return self.hoist(name);
        }
        match self.enter(name) {
            Ok(fd) => {
                let dir = Dir::new(fd)?;
                self.levels.push(Level { dir, name: name.to_vec(), again: false, passes: 0 });
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            // It was a folder a moment ago.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                rustix::fs::unlinkat(self.here()?, name, AtFlags::empty())?;
                self.removed += 1;
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    fn is_folder(&self, name: &[u8]) -> Result<bool, Errno> {
        let stat = rustix::fs::statat(self.here()?, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Opens a folder of this file system, made usable if it is ours.
    fn enter(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let here = self.here()?;
        match open_below(here, name) {
            Err(Errno::ACCESS) => {
                open_up(here, name, self.user)?;
                open_below(here, name)
            }
            Ok(fd) => {
                let stat = rustix::fs::fstat(&fd)?;
                if self.user != 0 && stat.st_uid == self.user && stat.st_mode & 0o700 != 0o700 {
                    rustix::fs::fchmod(&fd, Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o700))?;
                }
                Ok(fd)
            }
            failed => failed,
        }
    }

    /// Moves a folder that lies too deep to the top, to be removed from there.
    fn hoist(&mut self, name: &[u8]) -> Result<(), Errno> {
        let place = self.names.next();
        let Some(top) = self.levels.first() else { return Err(Errno::NOTDIR) };
        let top = top.dir.fd()?;
        let moved = || rustix::fs::renameat(self.here()?, name, top, &place);
        match moved() {
            // A folder of ours that we may not write to cannot be moved either.
            Err(Errno::ACCESS) => {
                open_up(self.here()?, name, self.user)?;
                moved()?;
            }
            Err(Errno::NOENT) => return Ok(()),
            done => done?,
        }
        if let Some(top) = self.levels.first_mut() {
            top.again = true;
        }
        Ok(())
    }

    /// Removes the folder itself when its listing has ended.
    fn leave(&mut self) -> Result<(), Errno> {
        let Some(mut level) = self.levels.pop() else { return Ok(()) };
        if level.again {
            level.again = false;
            level.dir.rewind();
            self.levels.push(level);
            return Ok(());
        }
        match rustix::fs::unlinkat(self.here()?, &level.name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.removed += 1;
                Ok(())
            }
            Err(Errno::NOENT) => Ok(()),
            // Somebody put something in, or the listing passed over something.
            Err(Errno::NOTEMPTY | Errno::EXIST) if level.passes < TRIES => {
                level.passes += 1;
                level.dir.rewind();
                self.levels.push(level);
                Ok(())
            }
            Err(errno) => {
                self.levels.push(level);
                Err(errno)
            }
        }
    }
}

/// Opens a folder unless something is mounted on it, be it of the same file system.
fn open_below(folder: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat2(folder, name, FLAGS, Mode::empty(), ResolveFlags::NO_XDEV) {
        // Linux before 5.6, and sandboxes that do not know the call. There an attempt to remove it
        // tells a mount point, which is busy, from a folder that is only not empty.
        Err(Errno::NOSYS | Errno::PERM) => match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Ok(()) => Err(Errno::NOENT),
            Err(Errno::NOTEMPTY | Errno::EXIST) => rustix::fs::openat(folder, name, FLAGS, Mode::empty()),
            Err(errno) => Err(errno),
        },
        done => done,
    }
}
