//! What lies beside a chunk in its pack. The chunks of one content go into segments in their order, and
//! those into packs, but for segments that overtook each other on the way. So what follows a chunk in its
//! pack is most often what followed it where it was first met. The index keeps no ids by their places:
//! the pack's own directory has them.

use std::collections::HashSet;
use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::chunker::Base;
use crate::repo::Error;
use crate::repo::pack::open_directory;
use crate::repo::read::chunk::{ChunkReader, LoadedPack, lock};

/// Packs with more chunks than this are not looked into: what is in them is so short that it follows
/// nothing, and their directories take megabytes.
const CHUNKS_MAX: usize = 1 << 15;
/// How far a segment may have been overtaken: by as many as there were threads, most often.
const OVERTAKEN: usize = 8;
/// First chunks of segments are the same if their lengths differ by at most this share...
const SAME: u32 = 64;
/// ...and may be, by this.
const ALIKE: u32 = 16;

/// The chunks of a pack, segment by segment, in the order in which they most likely belong together.
#[derive(Clone, Debug)]
pub struct Packed {
    pack: Arc<LoadedPack>,
    chunks: Arc<Vec<Base>>,
    /// The segment that was given out last, and all that were.
    at: usize,
    seen: HashSet<usize>,
}

impl Packed {
    fn new(pack: Arc<LoadedPack>, chunks: Arc<Vec<Base>>, at: usize) -> Self {
        Packed { pack, chunks, at, seen: HashSet::from([at]) }
    }

    /// The chunks of the segment that was come to.
    pub fn segment(&self) -> &[Base] {
        self.chunks_of(self.at)
    }

    /// Goes on to the segment that comes next, where a chunk of `len` bytes stands in the place of its
    /// first: the next in the pack unless another one nearby begins with one as long, and that does not.
    /// `false` if there is none.
    pub fn advance(&mut self, len: u32) -> bool {
        let count = self.pack.info.segments.len();
        let beside = (1..=OVERTAKEN).flat_map(|far| [Some(self.at + far), self.at.checked_sub(far)]);
        let there = beside.flatten().filter(|at| *at < count && !self.seen.contains(at));
        let differs = |at: &usize| self.chunks_of(*at).first().map(|first| first.len.abs_diff(len));
        let there: Vec<(u32, usize)> = there.filter_map(|at| Some((differs(&at)?, at))).collect();
        let same = there.iter().find(|(differs, _)| *differs <= len / SAME);
        let alike = || there.iter().min().filter(|(differs, _)| *differs <= len / ALIKE);
        let Some((_, at)) = same.or_else(alike).or(there.first()) else { return false };
        self.at = *at;
        self.seen.insert(*at)
    }

    fn chunks_of(&self, segment: usize) -> &[Base] {
        let Some(segment) = self.pack.info.segments.get(segment) else { return &[] };
        let first = segment.first_chunk as usize;
        self.chunks.get(first..first + usize::from(segment.chunk_count)).unwrap_or_default()
    }
}

impl ChunkReader {
    /// The pack that the chunk `id` lies in, at its segment; of several, that which came last. `None` if it
    /// is nowhere, or in a pack that is not worth looking into.
    pub fn packed(&self, id: &ChunkId) -> Result<Option<Packed>, Error> {
        let Some(place) = self.repo().index().places(id)?.pop() else { return Ok(None) };
        let pack = self.pack(place.pack)?;
        if pack.info.lens.len() > CHUNKS_MAX {
            return Ok(None);
        }
        let chunks = self.chunks_of(place.pack, &pack)?;
        let packed = Packed::new(pack, chunks, place.segment as usize);
        Ok(packed.segment().iter().any(|chunk| chunk.id == *id).then_some(packed))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::PackId;
    use crate::base::kind::{Coding, PackKind};
    use crate::base::secret::Secret32;
    use crate::crypto::AeadKey;
    use crate::format::pack::Segment;
    use crate::repo::index::PackInfo;

    /// A pack of segments of three chunks; their lengths follow from their numbers.
    fn packed(numbers: &[u32], at: usize) -> Packed {
        let segments = (0u32..).zip(numbers).map(|(place, _)| Segment {
            offset: 0,
            stored_len: 100,
            plain_len: 100,
            coding: Coding::Zstd,
            depth: 0,
            first_base: 0,
            base_count: 0,
            first_chunk: place * 3,
            chunk_count: 3,
        });
        let chunks = numbers.iter().flat_map(|number| {
            let (id, len) = (ChunkId([*number as u8; 32]), len_of(*number));
            (0..3u32).map(move |at| Base { id, len: len + at * 777 })
        });
        let info = PackInfo {
            id: PackId([0; 32]),
            kind: PackKind::Data,
            size: 0,
            header: [0; 64],
            wrapped: [0; 80],
            segments: segments.collect(),
            bases: Vec::new(),
            lens: Vec::new(),
        };
        let pack = LoadedPack { info, key: AeadKey::new(&Secret32([0; 32])), name: String::new() };
        Packed::new(Arc::new(pack), Arc::new(chunks.collect()), at)
    }

    fn len_of(number: u32) -> u32 {
        [40_000, 90_000, 60_000, 20_000, 140_000, 75_000][number as usize % 6]
    }

    /// The segments' numbers as they come when their first chunks have grown a little.
    fn order(mut packed: Packed, wanted: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut found = Vec::new();
        for number in wanted {
            assert!(packed.advance(len_of(number) + 200));
            found.push(u32::from(packed.segment()[0].id.0[0]));
        }
        found
    }

    #[test]
    fn segments_that_overtook_each_other_are_put_in_order() {
        assert_eq!(order(packed(&[0, 1, 2, 3, 4, 5], 0), 1..6), [1, 2, 3, 4, 5]);
        assert_eq!(order(packed(&[1, 0, 3, 2, 5, 4], 1), 1..6), [1, 2, 3, 4, 5]);
        assert_eq!(order(packed(&[4, 3, 2, 1, 0, 5], 4), 1..6), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_is_like_none_is_taken_for_the_next_and_none_comes_twice() {
        let mut packed = packed(&[0, 1, 2], 1);
        assert!(packed.advance(500_000));
        assert_eq!(packed.at, 2);
        assert!(packed.advance(500_000));
        assert_eq!(packed.at, 0);
        assert!(!packed.advance(len_of(0)));
    }
}
