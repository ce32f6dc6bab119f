//! Dumps of a made-up shop, one a day, cut as a session cuts them, and where each new chunk stands in the
//! dump before. All of it is the same under every policy: which chunks are new does not depend on how they
//! are stored.

use std::rc::Rc;

use kamba_vault::base::id::ChunkId;
use kamba_vault::base::idmap::IdMap;
use kamba_vault::base::limits::CHUNK_AVG_DEFAULT;
use kamba_vault::base::secret::Secret32;
use kamba_vault::chunker::{Base, Bases, Chunker, Follow, GEAR_BYTES, Settings};
use kamba_vault::crypto;

use crate::Result;
use crate::support::shop::{Business, Shop};

/// A chunk counts as known when one of so many last dumps had it: where one cut point comes and goes, so do
/// chunks. What is older is dropped, for memory's sake; hardly anything comes back so late.
pub const REMEMBERED: u32 = 10;
/// Keys of a repository that does not exist.
const SECRET: Secret32 = Secret32([7; 32]);

/// A chunk of a dump.
pub struct Chunk {
    pub id: ChunkId,
    pub plain: Rc<[u8]>,
    /// If no dump that is remembered has it: what stands at its place in the dump before.
    pub missed: Option<Bases>,
}

/// A day's dump.
pub struct Day {
    /// From 1.
    pub number: u32,
    pub chunks: Vec<Chunk>,
    /// The plaintext of the dump before: all that bases can be, but for those of skip-deltas.
    pub before: IdMap<Rc<[u8]>>,
}

impl Day {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.plain.len() as u64).sum()
    }
}

/// What a reader makes sure of.
pub fn id_of(plain: &[u8]) -> ChunkId {
    ChunkId(crypto::keyed_id(&SECRET, plain))
}

/// One dump after another.
pub struct Days {
    shop: Shop,
    chunker: Chunker,
    /// Chunks of the last dump, in order.
    last: Vec<(ChunkId, Rc<[u8]>)>,
    /// The last day on which each chunk was in the dump.
    seen: IdMap<u32>,
    number: u32,
    dump: Vec<u8>,
}

impl Days {
    /// Those of a shop whose first dump has about `bytes`.
    pub fn new(bytes: u64, business: Business) -> Result<Self> {
        let mut gear = [0; GEAR_BYTES];
        crypto::expand(crypto::context::GEAR, &SECRET, &mut gear);
        Ok(Days {
            shop: Shop::of_size(bytes, business),
            chunker: Chunker::new(Settings::new(CHUNK_AVG_DEFAULT)?, &gear),
            last: Vec::new(),
            seen: IdMap::default(),
            number: 0,
            dump: Vec::new(),
        })
    }

    /// The next day's.
    pub fn next_day(&mut self) -> Result<Day> {
        if self.number > 0 {
            self.shop.pass_day();
        }
        self.number += 1;
        self.dump.clear();
        self.shop.write(&mut self.dump)?;
        let last = std::mem::take(&mut self.last);
        let before: IdMap<Rc<[u8]>> = last.iter().cloned().collect();
        let chunks = self.cut(&last);
        self.last = chunks.iter().map(|chunk| (chunk.id, chunk.plain.clone())).collect();
        Ok(Day { number: self.number, chunks, before })
    }

    fn cut(&mut self, last: &[(ChunkId, Rc<[u8]>)]) -> Vec<Chunk> {
        let (mut follow, mut parent) = (Follow::default(), last.iter());
        let mut chunks = Vec::new();
        let mut rest = &self.dump[..];
        while !rest.is_empty() {
            while follow.wants_more() {
                let Some((id, plain)) = parent.next() else { break };
                follow.push(Base { id: *id, len: plain.len() as u32 });
            }
            let (plain, after) = rest.split_at(self.chunker.cut(rest));
            rest = after;
            let (id, len) = (id_of(plain), plain.len() as u32);
            let seen = self.seen.insert(id, self.number);
            let missed = if seen.is_some_and(|day| day + REMEMBERED > self.number) {
                follow.known(&id, len);
                None
            } else {
                Some(follow.missed(len))
            };
            chunks.push(Chunk { id, plain: plain.into(), missed });
        }
        chunks
    }
}
