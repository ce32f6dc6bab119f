//! Files of a database that are made while they are read.

use std::io::{self, Write};
use std::sync::Arc;

use crate::repo::Error;
use crate::vfs::Database;

/// Which dump.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As `pg_dump` wrote it.
    Exact,
    /// With offsets filled in.
    Seekable,
}

/// A dump that is put together while it is read.
pub struct Made {
    database: Arc<Database>,
    form: Form,
}

/// Takes the bytes of a window and stops what writes once it has them.
struct Window<'o> {
    skip: u64,
    left: usize,
    out: &'o mut Vec<u8>,
}

impl Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        let rest = &bytes[skipped..];
        let taken = rest.len().min(self.left);
        self.out.extend_from_slice(&rest[..taken]);
        self.left -= taken;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Made {
    /// The dump of a database.
    pub fn new(database: Arc<Database>, form: Form) -> Self {
        Made { database, form }
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.database.dump_len()
    }

    /// Appends the `len` bytes at `offset`, fewer only at the end.
    pub fn read_at(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        if offset >= self.size() || len == 0 {
            return Ok(());
        }
        let left = usize::try_from(self.size() - offset).unwrap_or(usize::MAX).min(len);
        let mut window = Window { skip: offset, left, out };
        let written = match self.form {
            Form::Exact => self.database.write_dump(None, &mut window),
            Form::Seekable => self.database.write_seekable(&mut window),
        };
        match written {
            // The window is full and wants no more.
            Err(Error::Sink { .. }) if window.left == 0 => Ok(()),
            written => written.map(|_| ()),
        }
    }
}
