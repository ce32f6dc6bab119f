//! What lies beside a chunk in its pack. The chunks of one content go into segments in their order, and
//! those into packs. So what follows a chunk in its pack is what followed it where it was first met, but
//! for what was known already, and for segments of different depths that were filled side by side. The
//! index keeps no ids by their places: the pack's own directory has them.

use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::chunker::Base;
use crate::repo::Error;
use crate::repo::pack::open_directory;
use crate::repo::read::chunk::{ChunkReader, LoadedPack, lock, segment_of};

/// Packs with more chunks than this are not looked into: what is in them is so short that it follows
/// nothing, and their directories take megabytes.
const CHUNKS_MAX: usize = 1 << 15;

/// The chunks of a pack from one of them on.
#[derive(Clone, Debug)]
pub struct Packed {
    chunks: Arc<Vec<Base>>,
    next: usize,
}

impl Iterator for Packed {
    type Item = Base;

    fn next(&mut self) -> Option<Base> {
        let chunk = self.chunks.get(self.next).copied()?;
        self.next += 1;
        Some(chunk)
    }
}

impl ChunkReader {
    /// What lies in the pack of the chunk `id`, from that chunk on; of several packs, that which came last.
    /// `None` if it is nowhere, or in a pack that is not worth looking into.
    pub fn packed(&self, id: &ChunkId) -> Result<Option<Packed>, Error> {
        let Some(place) = self.repo().index().places(id)?.pop() else { return Ok(None) };
        let pack = self.pack(place.pack)?;
        if pack.info.lens.len() > CHUNKS_MAX {
            return Ok(None);
        }
        let chunks = self.chunks_of(place.pack, &pack)?;
        let next = segment_of(&pack, place.segment)?.first_chunk as usize + place.ordinal as usize;
        Ok(chunks.get(next).is_some_and(|chunk| chunk.id == *id).then_some(Packed { chunks, next }))
    }

    /// The chunks of a pack, which has the number `number`, in their order.
    fn chunks_of(&self, number: u32, pack: &LoadedPack) -> Result<Arc<Vec<Base>>, Error> {
        if let Some(chunks) = lock(&self.packed)?.get(&number) {
            return Ok(chunks);
        }
        let info = &pack.info;
        let range = info.directory().ok_or_else(|| Error::damaged(&pack.name, "it has no directory"))?;
        let mut sealed = Vec::with_capacity((range.end - range.start) as usize);
        self.source().get_range(self.repo(), pack, range, &mut sealed)?;
        let directory = open_directory(&pack.name, info.kind, &info.header, &pack.key, sealed)?;
        let bases = directory.chunks().iter().map(|chunk| Base { id: chunk.id, len: chunk.len });
        let chunks = Arc::new(bases.collect::<Vec<Base>>());
        lock(&self.packed)?.keep(number, chunks.clone());
        Ok(chunks)
    }
}
