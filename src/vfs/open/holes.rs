//! Where the holes of stored content are, as `lseek` asks for them.

use crate::format::list::ListEntry;
use crate::repo::Error;
use crate::vfs::open::content::Content;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sought {
    /// Bytes that are stored.
    Data,
    /// A hole; one follows the last byte of every file.
    Hole,
}

impl Content {
    /// The first place from `offset` on that is of the kind `sought`; `None` if `offset` is beyond the end, or
    /// nothing but a hole follows.
    pub fn seek(&self, offset: u64, sought: Sought) -> Result<Option<u64>, Error> {
        let mut at = offset;
        while at < self.size() {
            let (entry, start) = self.stored().leaf(at)?;
            let is_hole = matches!(entry, ListEntry::Hole { .. });
            if is_hole == (sought == Sought::Hole) {
                return Ok(Some(at));
            }
            at = start.saturating_add(entry.content_len());
        }
        Ok((sought == Sought::Hole && offset < self.size()).then(|| self.size()))
    }
}
