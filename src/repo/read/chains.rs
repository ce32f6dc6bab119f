//! Chains of deltas: a segment that is one is decoded with the plaintext of its bases, which may lie in
//! deltas themselves, each less deep than what needs it (I-8). So a chain ends, whatever the index says.
//!
//! Links on the way are not verified: the chunk that is asked for is (I-6), and if it does not come out
//! well, its chain is gone through again carefully, every link verified, other copies tried, and what is
//! wrong named.

use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::base::limits::DELTA_PREFIX_MAX;
use crate::repo::Error;
use crate::repo::index::Place;
use crate::repo::pack::{Scratch, Sealed};
use crate::repo::read::chunk::{ChunkReader, LoadedPack, segment_of};
use crate::repo::read::store::{Decoded, SegmentKey, Store, Turn};

/// A copy of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Links of the chain of deltas below it; zero if it is whole.
    pub depth: u8,
    /// The segment it lies in.
    pub segment: SegmentKey,
}

/// How a chain is gone through.
#[derive(Clone, Copy)]
struct Way<'s> {
    store: &'s Store,
    verify: Verify,
}

/// Which chunks of a chain have their ids recomputed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verify {
    /// None.
    Nothing,
    /// The one that is asked for, and none on the way.
    Last,
    /// Every one.
    All,
}

impl ChunkReader {
    /// The copy of a data chunk that is least deep; `None` if there is none.
    pub fn least_deep(&self, id: &ChunkId) -> Result<Option<Copied>, Error> {
        let mut found: Option<Copied> = None;
        for Place { pack, segment, .. } in self.repo().index().places(id)? {
            let depth = match self.pack(pack) {
                Ok(loaded) => segment_of(&loaded, segment)?.depth,
                // Another copy may be at hand.
                Err(e) if e.is_about_data() => continue,
                Err(e) => return Err(e),
            };
            if found.is_none_or(|found| depth < found.depth) {
                found = Some(Copied { depth, segment: (pack, segment) });
            }
        }
        Ok(found)
    }

    /// Bytes of plaintext in a segment, if it is known.
    pub fn plain_len(&self, (pack, segment): SegmentKey) -> Option<usize> {
        let pack = self.pack(pack).ok()?;
        segment_of(&pack, segment).ok().map(|segment| segment.plain_len as usize)
    }

    /// Appends a data chunk from a copy less deep than `below`, its id recomputed. Neighbours are cheap
    /// when they are asked for in order, by any number of threads.
    pub fn append_base(
        &self,
        id: &ChunkId,
        below: u8,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let start = out.len();
        let _call = self.store().begin()?;
        let fast = Way { store: self.store(), verify: Verify::Last };
        match self.append_from(fast, id, below, scratch, out) {
            Err(e) if e.is_about_data() => {
                out.truncate(start);
                let _call = self.careful_store().begin()?;
                let carefully = Way { store: self.careful_store(), verify: Verify::All };
                self.append_from(carefully, id, below, scratch, out)
            }
            appended => appended,
        }
    }

    /// Appends a data chunk through the store, its id recomputed; `false`, and nothing is appended, if it
    /// does not come out well this way.
    pub(super) fn append_shared(
        &self,
        id: &ChunkId,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        match self.append_base(id, u8::MAX, scratch, out) {
            Ok(()) => Ok(true),
            Err(e) if e.is_about_data() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The plaintext of the segment at `place`, as the store has it or gets it; nothing is verified.
    pub(super) fn shared_segment(
        &self,
        pack: &LoadedPack,
        place: Place,
        scratch: &mut Scratch,
    ) -> Result<Arc<Decoded>, Error> {
        let _call = self.store().begin()?;
        self.segment(Way { store: self.store(), verify: Verify::Last }, pack, place, scratch)
    }

    /// The same for a segment that is no delta, which is opened from its sealed bytes if the store lacks it.
    pub(super) fn share_segment(
        &self,
        pack: &LoadedPack,
        place: Place,
        bytes: &[u8],
        scratch: &mut Scratch,
    ) -> Result<Arc<Decoded>, Error> {
        let _call = self.store().begin()?;
        self.segment_by(self.store(), pack, place, || {
            let (mut plain, sealed) = (self.store().buffer()?, Sealed { bytes, prefix: &[] });
            self.open_into(pack, place.segment, sealed, scratch, &mut plain).map(|()| plain)
        })
    }

    /// The plaintext of the segment at `place` if the store has it.
    pub(super) fn kept(&self, place: Place) -> Option<Arc<Decoded>> {
        self.store().kept((place.pack, place.segment))
    }

    /// Puts bases one after another, each from a copy less deep than `below`, every link verified.
    pub fn gather(
        &self,
        bases: &[ChunkId],
        below: u8,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let _call = self.careful_store().begin()?;
        let way = Way { store: self.careful_store(), verify: Verify::All };
        self.append_all(way, bases, below, scratch, out)
    }

    /// Appends bases as far as a prefix may be long.
    fn append_all(
        &self,
        way: Way<'_>,
        bases: &[ChunkId],
        below: u8,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        for base in bases {
            self.append_from(way, base, below, scratch, out)?;
            if out.len() > DELTA_PREFIX_MAX as usize {
                return Err(Error::damaged("a delta", "its bases are longer than they may be"));
            }
        }
        Ok(())
    }

    fn append_from(
        &self,
        way: Way<'_>,
        id: &ChunkId,
        below: u8,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut failure = Error::MissingChunk { id: *id };
        for place in self.places(id)? {
            let copied = self.pack(place.pack).and_then(|pack| {
                if segment_of(&pack, place.segment)?.depth >= below {
                    return Ok(false);
                }
                let decoded = self.segment(way, &pack, place, scratch)?;
                if way.verify == Verify::Nothing || decoded.is_verified(place.ordinal, id) {
                    out.extend_from_slice(self.spanned(&pack, place, id, &decoded.plain)?);
                } else {
                    let chunk = self.checked(&pack, place, ChunkKind::Data, id, &decoded.plain)?;
                    out.extend_from_slice(chunk);
                    decoded.set_verified(place.ordinal, id);
                }
                Ok(true)
            });
            match copied {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(e) if e.is_about_data() => failure = self.of_copy(id, place, e),
                Err(e) => return Err(e),
            }
        }
        Err(failure)
    }

    /// What is wrong with a copy, in which pack.
    fn of_copy(&self, id: &ChunkId, place: Place, e: Error) -> Error {
        match self.pack(place.pack) {
            Ok(pack) => Error::BadChunk { id: *id, pack: pack.info.id, reason: e.to_string() },
            Err(_) => e,
        }
    }

    /// The plaintext of the segment at `place`.
    fn segment(
        &self,
        way: Way<'_>,
        pack: &LoadedPack,
        place: Place,
        scratch: &mut Scratch,
    ) -> Result<Arc<Decoded>, Error> {
        self.segment_by(way.store, pack, place, || self.decode(way, pack, place, scratch))
    }

    /// The plaintext of the segment at `place`, by `decode` if `store` lacks it.
    fn segment_by(
        &self,
        store: &Store,
        pack: &LoadedPack,
        place: Place,
        decode: impl FnOnce() -> Result<Vec<u8>, Error>,
    ) -> Result<Arc<Decoded>, Error> {
        let promise = match store.segment((place.pack, place.segment))? {
            Turn::There(plain) => return Ok(plain),
            Turn::Bad(reason) => return Err(Error::damaged(&pack.name, reason)),
            Turn::Yours(promise) => promise,
        };
        match decode() {
            Ok(plain) => Ok(promise.keep(plain)),
            Err(e) => {
                if e.is_about_data() {
                    promise.fail(e.to_string());
                }
                Err(e)
            }
        }
    }

    fn decode(
        &self,
        way: Way<'_>,
        pack: &LoadedPack,
        place: Place,
        scratch: &mut Scratch,
    ) -> Result<Vec<u8>, Error> {
        let segment = segment_of(pack, place.segment)?;
        let mut prefix = way.store.buffer()?;
        prefix.clear();
        let way = match way.verify {
            Verify::Last => Way { verify: Verify::Nothing, ..way },
            Verify::Nothing | Verify::All => way,
        };
        let bases = pack.info.bases_of(segment);
        self.append_all(way, bases, segment.depth, scratch, &mut prefix)?;
        let from = (self.source(), self.repo());
        let (bytes, own) = way.store.range(from, place.pack, pack, segment.range())?;
        let bytes = bytes.get(own).ok_or_else(|| Error::damaged(&pack.name, "it is cut off"))?;
        let sealed = Sealed { bytes, prefix: &prefix };
        let mut plain = way.store.buffer()?;
        let opened = self.open_into(pack, place.segment, sealed, scratch, &mut plain);
        // Its bases were verified, so it is this one that is wrong.
        opened.inspect_err(|_| {
            if way.verify == Verify::All {
                self.source().forget(pack);
            }
        })?;
        way.store.give_back(prefix);
        Ok(plain)
    }
}
