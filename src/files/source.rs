//! A regular file being read: its regions of data and its holes, in order, and in the end whether it
//! held still. A hole costs nothing however long it is, so a sparse file of a terabyte is read as
//! fast as its data.
//!
//! What is read is what lay below the file's size when it was opened: a log that grows is kept as it
//! was then, and `finish` says that it grew.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Advice, SeekFrom};
use rustix::io::Errno;

use super::error::Error;
use super::place::Place;
use super::stat::Stat;

/// From this size on the kernel is told to read further ahead.
const READ_AHEAD_FROM: u64 = 1 << 20;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// Bytes to be read.
    Data {
        /// How many.
        len: u64,
    },
    /// Zeros that take no place.
    Hole {
        /// How many.
        len: u64,
    },
}

/// How a file changed while it was read. The first that applies counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It became shorter: there were fewer bytes than its size said.
    Shrank,
    /// It became longer, or held more bytes than its size said.
    Grew,
    /// It was written to.
    Written,
    /// Its metadata changed; its content as well, perhaps, with the time put back.
    Touched,
}

/// What came of reading a file.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What `fstat` said in the end.
    pub after: Stat,
    /// Bytes that were read, holes counted: the size of what was kept.
    pub bytes: u64,
    /// How it changed since it was opened; `None` if it held still.
    pub change: Option<Change>,
}

/// An open regular file, from [`super::folder::Folder::open_file`].
#[derive(Debug)]
pub struct Source {
    fd: OwnedFd,
    place: Place,
    before: Stat,
    /// Where to go on; all below is read.
    offset: u64,
    /// Where the region of data ends that `offset` is in.
    data_end: u64,
    /// Whether there may be holes, and the file system tells where.
    sparse: bool,
    /// Whether the file ended before its size.
    short: bool,
}

impl Source {
    pub(super) fn new(fd: OwnedFd, before: Stat, place: Place) -> Self {
        if before.size >= READ_AHEAD_FROM {
            // Advice only: what does not take it reads as it can.
            let _ = rustix::fs::fadvise(&fd, 0, None, Advice::Sequential);
        }
        let sparse = before.may_have_holes();
        Source { fd, place, before, offset: 0, data_end: 0, sparse, short: false }
    }

    /// What `fstat` said when it was opened.
    pub fn stat(&self) -> &Stat {
        &self.before
    }

    /// Its path, for messages.
    pub fn path(&self) -> PathBuf {
        self.place.path()
    }

    /// The next region, or what is left of this one if not all of its data was read; `None` at the
    /// end. A hole counts as read once it was returned.
    pub fn next_region(&mut self) -> Result<Option<Region>, Error> {
        if self.short || self.offset >= self.before.size {
            return Ok(None);
        }
        if self.offset >= self.data_end {
            let data = self.data_from(self.offset);
            if data > self.offset {
                let len = data - self.offset;
                self.offset = data;
                return Ok(Some(Region::Hole { len }));
            }
            self.data_end = self.hole_from(self.offset);
        }
        Ok(Some(Region::Data { len: self.data_end - self.offset }))
    }

    /// Reads on in the region of data that `next_region` returned; 0 at its end, or if the file ended.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize, Error> {
        let len = self.data_end.saturating_sub(self.offset).min(buf.len() as u64) as usize;
        if len == 0 || self.short {
            return Ok(0);
        }
        let read = self.pread(&mut buf[..len]);
        let read = read.map_err(|errno| Error::new("read", self.path(), errno))?;
        self.short = read == 0;
        self.offset += read as u64;
        Ok(read)
    }

    /// Looks at the file again and says whether it held still.
    pub fn finish(self) -> Result<Finished, Error> {
        let after = Stat::of(&self.fd).map_err(|errno| Error::new("stat", self.path(), errno))?;
        let before = &self.before;
        let change = if self.short || after.size < before.size {
            Some(Change::Shrank)
        } else if after.size > before.size || self.holds_more() {
            Some(Change::Grew)
        } else if after.mtime != before.mtime {
            Some(Change::Written)
        } else {
            (after.ctime != before.ctime).then_some(Change::Touched)
        };
        Ok(Finished { after, bytes: self.offset, change })
    }

    /// Where data goes on, at `from` or behind it. If the file system does not say, data is all there is.
    fn data_from(&mut self, from: u64) -> u64 {
        if !self.sparse {
            return from;
        }
        match rustix::fs::seek(&self.fd, SeekFrom::Data(from)) {
            Ok(data) => data.clamp(from, self.before.size),
            // None up to the end. Cut off below here meanwhile, it says the same: `finish` tells.
            Err(Errno::NXIO) => self.before.size,
            Err(_) => {
                self.sparse = false;
                from
            }
        }
    }

    /// Where the data that begins at `from` ends.
    fn hole_from(&self, from: u64) -> u64 {
        let hole = match self.sparse {
            true => rustix::fs::seek(&self.fd, SeekFrom::Hole(from)).ok(),
            false => None,
        };
        // A hole at `from` itself was made this instant; reading zeros is right as well.
        hole.filter(|hole| *hole > from).map_or(self.before.size, |hole| hole.min(self.before.size))
    }

    /// Whether a file said to be empty is not: some of `/proc` are like that.
    fn holds_more(&self) -> bool {
        self.before.size == 0 && self.pread(&mut [0]).is_ok_and(|read| read > 0)
    }

    fn pread(&self, buf: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::retry_on_intr(|| rustix::io::pread(&self.fd, &mut *buf, self.offset))
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
