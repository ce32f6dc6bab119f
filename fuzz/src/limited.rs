//! An output of which no more than a part is wanted.

use std::io::{self, Write};

/// Bytes that are read of one file: a hole may have any length.
pub const BYTES: usize = 100_000;

/// Takes no more than [`BYTES`] of what it is given.
#[derive(Default)]
pub struct Limited(pub Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = BYTES - self.0.len();
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len().min(room))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
