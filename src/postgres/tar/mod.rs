//! The tar of a base backup, taken apart as it streams by: pieces of any length go in, entries and their
//! data come out. Nothing is copied but headers that lie across two pieces, and nothing is allocated.
//!
//! Only what PostgreSQL writes is read (`tarCreateHeader` in `src/port/tar.c`): files, folders and links to
//! folders, with names below the folder that the tar is of. Anything else is an error, since the bytes
//! come over a network and end in a user's files.

mod header;

pub use header::{Entry, Kind};

use header::parse;

/// Bytes of a header, and what data is padded to.
const BLOCK: usize = 512;

/// Why a tar cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A header is not one that PostgreSQL writes.
    #[error("the tar holds a header with {what} at byte {at}")]
    Header {
        /// What is wrong with it.
        what: &'static str,
        /// Where it begins.
        at: u64,
    },
    /// It ends before its end.
    #[error("the tar ends at byte {at}, in {place}")]
    Truncated {
        /// In what: `a header`, `a file`.
        place: &'static str,
        /// Where.
        at: u64,
    },
    /// Something comes after its end.
    #[error("the tar goes on after its end at byte {at}")]
    AfterEnd {
        /// Where.
        at: u64,
    },
    /// What fills up a block is not zero.
    #[error("the tar holds something after a file, at byte {at}")]
    Padding {
        /// Where.
        at: u64,
    },
}

/// What comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An entry begins.
    Entry(Entry<'a>),
    /// Bytes of its data: never empty, and as many in all as the entry said.
    Data(&'a [u8]),
    /// The entry ends. Every entry does, folders too.
    EndOfEntry,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a header, of which so many bytes are there.
    Header(usize),
    /// In a file's data: bytes of it and of its padding that are still to come.
    Data { left: u64, padding: u64 },
    /// In padding.
    Padding(u64),
    /// After the first block of zeros.
    FirstZeros(usize),
    /// After the second.
    Ended,
}

/// A tar being read.
pub struct Reader {
    state: State,
    block: [u8; BLOCK],
    at: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader at a tar's beginning.
    pub fn new() -> Self {
        Reader { state: State::Header(0), block: [0; BLOCK], at: 0 }
    }

    /// Takes a piece. `sink` gets what it holds; an error of its own ends the reading.
    pub fn push<E: From<Error>>(
        &mut self,
        mut piece: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !piece.is_empty() {
            let taken = match self.state {
                State::Header(have) | State::FirstZeros(have) => self.header(have, piece, sink)?,
                State::Data { left, padding } => {
                    let n = limited(left, piece.len());
                    sink(Event::Data(&piece[..n]))?;
                    let left = left - n as u64;
                    self.state = State::Data { left, padding };
                    if left == 0 {
                        sink(Event::EndOfEntry)?;
                        self.state = after_data(padding);
                    }
                    n
                }
                State::Padding(left) => {
                    let n = limited(left, piece.len());
                    if let Some(odd) = piece[..n].iter().position(|b| *b != 0) {
                        return Err(Error::Padding { at: self.at + odd as u64 }.into());
                    }
                    self.state = after_data(left - n as u64);
                    n
                }
                State::Ended => return Err(Error::AfterEnd { at: self.at }.into()),
            };
            self.at += taken as u64;
            piece = &piece[taken..];
        }
        Ok(())
    }

    /// Ends the reading: the tar has to have ended, too. Returns its length.
    pub fn finish(self) -> Result<u64, Error> {
        let place = match self.state {
            State::Ended => return Ok(self.at),
            State::Header(0) | State::FirstZeros(_) => "the end that it lacks",
            State::Header(_) => "a header",
            State::Data { .. } => "a file",
            State::Padding(_) => "what fills up a file's last block",
        };
        Err(Error::Truncated { place, at: self.at })
    }

    /// Takes bytes of a header, of which `have` are there already.
    fn header<E: From<Error>>(
        &mut self,
        have: usize,
        piece: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let n = piece.len().min(BLOCK - have);
        self.block[have..have + n].copy_from_slice(&piece[..n]);
        let have_now = have + n;
        let zeros_before = matches!(self.state, State::FirstZeros(_));
        if have_now < BLOCK {
            self.state = if zeros_before { State::FirstZeros(have_now) } else { State::Header(have_now) };
            return Ok(n);
        }
        let begin = self.at - have as u64;
        let is_zero = self.block.iter().all(|b| *b == 0);
        self.state = match (zeros_before, is_zero) {
            (false, true) => State::FirstZeros(0),
            (true, true) => State::Ended,
            (true, false) => return Err(Error::AfterEnd { at: begin }.into()),
            (false, false) => {
                let entry = parse(&self.block).map_err(|what| Error::Header { what, at: begin })?;
                sink(Event::Entry(entry))?;
                if entry.size == 0 {
                    sink(Event::EndOfEntry)?;
                    State::Header(0)
                } else {
                    let padding = entry.size.next_multiple_of(BLOCK as u64) - entry.size;
                    State::Data { left: entry.size, padding }
                }
            }
        };
        Ok(n)
    }
}

fn after_data(padding: u64) -> State {
    if padding == 0 { State::Header(0) } else { State::Padding(padding) }
}

/// The smaller of both, which fits.
fn limited(left: u64, len: usize) -> usize {
    usize::try_from(left).map_or(len, |left| left.min(len))
}

#[cfg(test)]
mod tests;
