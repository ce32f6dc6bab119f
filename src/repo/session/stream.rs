//! One stream on its way into the repository: bytes are cut into chunks, chunks become a content
//! list. Neither the stream nor its list need fit in memory.

use std::io::Read;

use crate::base::kind::ChunkKind;
use crate::base::limits::SHORT_CONTENT;
use crate::base::monitor::Count;
use crate::chunker::Window;
use crate::format::list::{ListBuilder, ListEntry};
use crate::repo::Error;
use crate::repo::session::Session;
use crate::repo::session::follow::Following;

/// What a stream became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Length in bytes.
    pub len: u64,
    /// The top of its content list.
    pub entries: Vec<ListEntry>,
}

/// Writes one stream. Several may be open in one session.
pub struct StreamWriter<'s> {
    session: &'s Session,
    window: Window,
    list: ListBuilder,
    following: Option<Box<Following>>,
    is_short: bool,
    /// Cut every so many bytes; by content if that is not given.
    range: Option<u32>,
}

impl<'s> StreamWriter<'s> {
    pub(super) fn new(session: &'s Session, following: Option<Box<Following>>) -> Self {
        let (window, list) = (session.window(), ListBuilder::new());
        StreamWriter { session, window, list, following, is_short: false, range: None }
    }

    /// Cuts it every `len` bytes, which are no more than a chunk may have, and not by its content.
    pub(super) fn in_ranges(mut self, len: u32) -> Self {
        self.range = Some(len);
        self
    }

    /// Says how long it will be, as far as that is known: short ones are stored together.
    pub fn expecting(mut self, len: u64) -> Self {
        self.is_short = len <= SHORT_CONTENT;
        self
    }

    /// Appends `bytes`. What of the source they stand for is the caller's to report.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let taken = self.window.push(bytes);
            bytes = &bytes[taken..];
            self.cut(false)?;
        }
        Ok(())
    }

    /// Appends all that `source` gives, read straight into the window; `what` names it in errors.
    /// Every piece is also shown to `also` (a hash, a count).
    pub fn read_from(
        &mut self,
        source: &mut dyn Read,
        what: &str,
        also: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            self.session.check()?;
            let space = self.window.space();
            let n = match source.read(space) {
                Ok(0) => return Ok(total),
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    // A source that gave up because the user asked to stop did not fail.
                    self.session.check()?;
                    return Err(Error::Source { what: what.to_owned(), source });
                }
            };
            also(&space[..n]);
            self.window.filled(n);
            total += n as u64;
            self.session.monitor().add(Count::SourceBytes, n as u64);
            self.cut(false)?;
        }
    }

    /// Appends what `read` puts into the space that it is given, and hands on what it answers; its error
    /// is the caller's to judge, and what was read before it stays.
    pub fn fill<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Result<usize, E>, Error> {
        self.session.check()?;
        let read = read(self.window.space());
        if let Ok(n) = read {
            self.window.filled(n);
            self.session.monitor().add(Count::SourceBytes, n as u64);
            self.cut(false)?;
        }
        Ok(read)
    }

    /// Appends a hole of `len` bytes. No chunk spans it: what came before ends there.
    pub fn hole(&mut self, len: u64) -> Result<(), Error> {
        if len == 0 {
            return Ok(());
        }
        self.cut(true)?;
        if let Some(following) = &mut self.following {
            following.hole(len);
        }
        let session = self.session;
        self.list.push(ListEntry::Hole { len }, &mut |kind, bytes| session.store(kind, bytes))
    }

    /// Hands every whole chunk of the window to the session.
    fn cut(&mut self, last: bool) -> Result<(), Error> {
        let StreamWriter { session, window, list, following, is_short, range } = self;
        while let Some(chunk) = match range {
            Some(len) => window.next_range(*len as usize, last),
            None => window.next(session.chunker(), last),
        } {
            let id = session.store_after(ChunkKind::Data, chunk, following.as_deref_mut(), *is_short)?;
            let entry = ListEntry::Chunk { len: chunk.len() as u32, id };
            list.push(entry, &mut |kind, bytes| session.store(kind, bytes))?;
        }
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(mut self) -> Result<Content, Error> {
        self.cut(true)?;
        let session = self.session;
        let len = self.list.content_len();
        let entries = std::mem::take(&mut self.list).finish(&mut |kind, bytes| session.store(kind, bytes))?;
        Ok(Content { len, entries })
    }
}

impl Drop for StreamWriter<'_> {
    /// The window is large, and the next stream needs one too.
    fn drop(&mut self) {
        self.session.give_back(std::mem::take(&mut self.window));
    }
}
