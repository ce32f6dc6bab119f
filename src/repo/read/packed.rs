//! What lies beside a chunk in its pack. The chunks of one content go into packs in their order, but for
//! segments that overtake each other, so what follows a chunk there is what followed it where it was
//! first met. The index keeps no ids by their places: the pack's own directory has them.

use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::chunker::Base;
use crate::repo::Error;
use crate::repo::pack::open_directory;
use crate::repo::read::chunk::{ChunkReader, LoadedPack, lock};

/// Packs with more chunks than this are not looked into: what is in them is so short that it follows
/// nothing, and their directories take megabytes.
const CHUNKS_MAX: usize = 1 << 15;

/// The chunks of a pack from one on.
#[derive(Clone, Debug)]
pub struct Packed {
    chunks: Arc<Vec<Base>>,
    next: usize,
}

impl Iterator for Packed {
    type Item = Base;

    fn next(&mut self) -> Option<Base> {
        let chunk = self.chunks.get(self.next).copied();
        self.next += 1;
        chunk
    }
}

impl ChunkReader {
    /// What lies in a pack from the chunk `id` on: of its copies, from the one that came last. `None` if
    /// it is nowhere, or in a pack that is not worth looking into.
    pub fn packed_from(&self, id: &ChunkId) -> Result<Option<Packed>, Error> {
        let Some(place) = self.repo().index().places(id)?.pop() else { return Ok(None) };
        let pack = self.pack(place.pack)?;
        let Some(segment) = pack.info.segments.get(place.segment as usize) else { return Ok(None) };
        if pack.info.lens.len() > CHUNKS_MAX {
            return Ok(None);
        }
        let chunks = self.chunks_of(place.pack, &pack)?;
        let next = segment.first_chunk as usize + usize::from(place.ordinal);
        let is_there = chunks.get(next).is_some_and(|chunk| chunk.id == *id);
        Ok(is_there.then_some(Packed { chunks, next }))
    }

    /// The chunks of a pack, which has the number `number`, in their order.
    fn chunks_of(&self, number: u32, pack: &LoadedPack) -> Result<Arc<Vec<Base>>, Error> {
        if let Some(chunks) = lock(&self.packed)?.get(&number) {
            return Ok(chunks);
        }
        let info = &pack.info;
        let range = info.directory().ok_or_else(|| Error::damaged(&pack.name, "it has no directory"))?;
        let mut sealed = Vec::with_capacity((range.end - range.start) as usize);
        self.repo().backend().get_range(&pack.name, range, &mut sealed)?;
        let directory = open_directory(&pack.name, info.kind, &info.header, &pack.key, sealed)?;
        let bases = directory.chunks().iter().map(|chunk| Base { id: chunk.id, len: chunk.len });
        let chunks = Arc::new(bases.collect::<Vec<Base>>());
        lock(&self.packed)?.keep(number, chunks.clone());
        Ok(chunks)
    }
}
