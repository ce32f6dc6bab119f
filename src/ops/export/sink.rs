//! Where the archive goes: gathered until it is worth a call.

use std::io::Write;

use crate::ops::Error;

/// Bytes that are gathered. A pipe takes as much at once, once it was asked to.
const GATHERED: usize = 256 << 10;
/// What is written of zeros at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The output.
pub(super) struct Sink<'a> {
    out: &'a mut dyn Write,
    gathered: Vec<u8>,
    /// Bytes that went out.
    written: u64,
}

impl<'a> Sink<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Sink { out, gathered: Vec::with_capacity(2 * GATHERED), written: 0 }
    }

    /// Where short things are appended, with [`Sink::settle`] afterwards.
    pub(super) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.gathered
    }

    /// Bytes of the archive so far.
    pub(super) fn position(&self) -> u64 {
        self.written + self.gathered.len() as u64
    }

    /// Bytes that went out: nobody can take them back.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.gathered.len() + bytes.len() <= 2 * GATHERED {
            self.gathered.extend_from_slice(bytes);
            return self.settle();
        }
        self.flush()?;
        self.write(bytes)
    }

    /// Writes zeros.
    pub(super) fn zeros(&mut self, mut len: u64) -> Result<(), Error> {
        while len > 0 {
            let part = len.min(ZEROS.len() as u64);
            self.bytes(&ZEROS[..part as usize])?;
            len -= part;
        }
        Ok(())
    }

    /// Lets go of what is gathered, if it is enough.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        if self.gathered.len() >= GATHERED { self.flush() } else { Ok(()) }
    }

    /// Lets go of what is gathered.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let gathered = std::mem::take(&mut self.gathered);
        let written = self.write(&gathered);
        self.gathered = gathered;
        self.gathered.clear();
        written
    }

    /// Lets go of everything: nothing comes after it.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.out.flush().map_err(failed)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(failed)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Output { what: "the archive".into(), source }
}
