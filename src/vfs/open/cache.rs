//! Plaintext that all open files share, the least recently used goes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::base::id::ChunkId;
use crate::repo::Error;

/// Verified chunks of open files, with a limit in bytes.
pub struct ReadCache {
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    chunks: HashMap<ChunkId, (u64, Arc<Vec<u8>>)>,
    bytes: usize,
    /// Counts uses.
    now: u64,
}

impl ReadCache {
    /// An empty cache that keeps at most `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(ReadCache { limit, kept: Mutex::default() })
    }

    fn kept(&self) -> Result<MutexGuard<'_, Kept>, Error> {
        self.kept.lock().map_err(|_| Error::Worker)
    }

    /// The chunk `id`, which `read` reads and verifies if it is not there.
    pub(super) fn chunk(
        &self,
        id: &ChunkId,
        read: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<Arc<Vec<u8>>, Error> {
        let mut kept = self.kept()?;
        kept.now += 1;
        let now = kept.now;
        if let Some((used, chunk)) = kept.chunks.get_mut(id) {
            *used = now;
            return Ok(chunk.clone());
        }
        drop(kept);
        let mut chunk = Vec::new();
        read(&mut chunk)?;
        let chunk = Arc::new(chunk);
        let mut kept = self.kept()?;
        kept.bytes += chunk.len();
        if let Some((_, before)) = kept.chunks.insert(*id, (now, chunk.clone())) {
            kept.bytes -= before.len();
        }
        while kept.bytes > self.limit {
            let oldest = kept.chunks.iter().map(|(id, (used, _))| (*used, *id)).min();
            let Some((_, id)) = oldest else { break };
            if let Some((_, gone)) = kept.chunks.remove(&id) {
                kept.bytes -= gone.len();
            }
        }
        Ok(chunk)
    }
}
