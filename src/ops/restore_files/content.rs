//! What a file of the target holds, compared with the ids of the chunks that it should consist of. The
//! repository is asked for lists only and for no data.

use crate::base::kind::ChunkKind;
use crate::base::monitor::Count;
use crate::files;
use crate::files::source::{Region, Source};
use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::ops::restore_files::write::{Job, check_len};
use crate::repo;
use crate::repo::read::Entries;

/// Bytes that are looked at, at once, where zeros are expected.
const PART: usize = 64 << 10;

/// Compares one file after another.
#[derive(Default)]
pub(super) struct Comparer {
    /// Room for a chunk.
    room: Vec<u8>,
}

impl Comparer {
    /// Why the file that `source` reads is not what `node` describes; nothing if it is. An error is one
    /// of the repository: what the file should hold cannot be told.
    pub(super) fn compare(
        &mut self,
        job: &Job<'_>,
        source: Source,
        node: &Node,
        path: &[u8],
    ) -> Result<Option<String>, repo::Error> {
        let mut file = Flat { source, hole: 0 };
        let (mut entries, mut offset) = (Entries::new(node.content.clone()), 0u64);
        self.room.resize(self.room.len().max(PART), 0);
        while let Some(entry) = entries.next(&job.reader)? {
            if job.is_stopped() {
                return Err(repo::Error::Interrupted);
            }
            let same = match entry {
                ListEntry::Chunk { id, len } => {
                    self.room.resize(self.room.len().max(len as usize), 0);
                    let bytes = &mut self.room[..len as usize];
                    job.monitor.add(Count::DoneBytes, len.into());
                    let keys = job.reader.repo().keys();
                    file.fill(bytes).map(|()| keys.chunk_id(ChunkKind::Data, bytes) == id)
                }
                ListEntry::Hole { len } | ListEntry::Zeros { len } => file.is_zero(len, &mut self.room, job),
                ListEntry::List { .. } => Ok(false),
            };
            match same {
                Ok(true) => offset = offset.saturating_add(entry.content_len()),
                Ok(false) => return Ok(Some("not as in the snapshot".to_owned())),
                Err(error) => return Ok(Some(error.to_string())),
            }
        }
        check_len(node, offset, path).map(|()| None)
    }
}

/// A file whose holes read as zeros.
struct Flat {
    source: Source,
    /// Bytes of the hole that are left.
    hole: u64,
}

impl Flat {
    /// Fills `out`; what is behind the end reads as zeros too, since sizes were compared before.
    fn fill(&mut self, mut out: &mut [u8]) -> Result<(), files::Error> {
        while !out.is_empty() {
            let zeros = usize::try_from(self.hole).unwrap_or(usize::MAX).min(out.len());
            if zeros > 0 {
                out[..zeros].fill(0);
                self.hole -= zeros as u64;
                out = &mut out[zeros..];
                continue;
            }
            match self.source.next_region()? {
                Some(Region::Hole { len }) => self.hole = len,
                Some(Region::Data { .. }) => {
                    let read = self.source.read(out)?;
                    out = &mut out[read..];
                }
                None => {
                    out.fill(0);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether the next `len` bytes are zeros. Holes are passed over, however long.
    fn is_zero(&mut self, mut len: u64, room: &mut [u8], job: &Job<'_>) -> Result<bool, files::Error> {
        while len > 0 && !job.is_stopped() {
            let passed = self.hole.min(len);
            self.hole -= passed;
            len -= passed;
            if passed > 0 {
                continue;
            }
            match self.source.next_region()? {
                Some(Region::Hole { len }) => self.hole = len,
                Some(Region::Data { len: data }) => {
                    let most = data.min(len).min(room.len() as u64) as usize;
                    let read = self.source.read(&mut room[..most])?;
                    if room[..read].iter().any(|byte| *byte != 0) {
                        return Ok(false);
                    }
                    len -= read as u64;
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}
