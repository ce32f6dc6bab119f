//! One segment coded against its bases, and decoded again while they are at hand: what is wrong with a
//! delta must show before its pack gets a name, and nobody wants to fetch the bases twice.

use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::base::kind::Coding;
use crate::base::limits::DELTA_PREFIX_MAX;
use crate::codec::Level;
use crate::codec::prefix::{Decoder, Encoder};
use crate::repo::Error;
use crate::repo::pack::Scratch;
use crate::repo::read::ChunkReader;
use crate::repo::session::pending::Segment;

/// A segment this many times as long as what would be coded against a part of it is not decoded for that:
/// of a single short file that changed, among many that lie in one segment, a delta saves less than it
/// costs.
const FAR_LONGER: usize = 64;

/// Codes deltas. One per thread; nothing is allocated per segment.
pub struct Deltas {
    reader: Arc<ChunkReader>,
    encoder: Encoder,
    decoder: Decoder,
    scratch: Scratch,
    prefix: Vec<u8>,
    bases: Vec<ChunkId>,
    coded: Vec<u8>,
    back: Vec<u8>,
}

impl Deltas {
    /// Takes bases from `reader`, and compresses as hard as `level` says.
    pub fn new(reader: Arc<ChunkReader>, level: Level) -> Result<Self, Error> {
        Ok(Deltas {
            reader,
            encoder: Encoder::new(level).map_err(|e| Error::Codec(e.to_string()))?,
            decoder: Decoder::default(),
            scratch: Scratch::default(),
            prefix: Vec::new(),
            bases: Vec::new(),
            coded: Vec::new(),
            back: Vec::new(),
        })
    }

    /// Codes `segment`; the frame's length, or `None` if none of its bases is at hand, or they are too much
    /// to read for it.
    pub fn code(&mut self, segment: &Segment) -> Result<Option<usize>, Error> {
        let base_len = segment.base_segment.and_then(|base| self.reader.plain_len(base));
        if base_len.is_some_and(|len| len > FAR_LONGER * segment.plain.len()) {
            return Ok(None);
        }
        self.gather(segment)?;
        if self.bases.is_empty() {
            return Ok(None);
        }
        let coded = self.encoder.encode(&self.prefix, &segment.plain, &mut self.coded);
        coded.map_err(|e| Error::Codec(e.to_string()))?;
        Ok(Some(self.coded.len()))
    }

    /// Hands over what `code` made of `segment`.
    pub fn hand_over(&mut self, segment: &mut Segment) {
        let coded = &mut segment.coded;
        std::mem::swap(&mut coded.frame, &mut self.coded);
        std::mem::swap(&mut coded.bases, &mut self.bases);
        (coded.coding, coded.depth) = (Coding::Prefix, segment.depth);
    }

    /// Plaintext bytes of the bases that `code` read last.
    pub fn base_bytes(&self) -> usize {
        self.prefix.len()
    }

    /// Whether the delta that `code` made of `segment` decodes to chunks with their ids.
    pub fn verify(&mut self, segment: &Segment) -> Result<(), Error> {
        let fail = |reason: &str| Error::SelfCheck { reason: reason.to_owned() };
        let decoded =
            self.decoder.decode(&self.prefix, &self.coded, segment.plain.len() as u32, &mut self.back);
        decoded.map_err(|e| fail(&e.to_string()))?;
        let (keys, mut rest) = (self.reader.repo().keys(), &self.back[..]);
        for chunk in &segment.chunks {
            let (plain, after) =
                rest.split_at_checked(chunk.len as usize).ok_or_else(|| fail("it is short"))?;
            if keys.chunk_id(chunk.kind, plain) != chunk.id {
                return Err(fail("a delta does not decode to what it was made of"));
            }
            rest = after;
        }
        Ok(())
    }

    /// Puts the bases' plaintext one after another. One that cannot be read is left out: the others may
    /// do, and what cannot be read is no reason to store nothing.
    fn gather(&mut self, segment: &Segment) -> Result<(), Error> {
        self.prefix.clear();
        self.bases.clear();
        for base in &segment.bases {
            let before = self.prefix.len();
            if before + base.len as usize > DELTA_PREFIX_MAX as usize {
                break;
            }
            match self.reader.append_base(&base.id, segment.depth, &mut self.scratch, &mut self.prefix) {
                Ok(()) if self.prefix.len() - before == base.len as usize => self.bases.push(base.id),
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Ok(()) | Err(_) => self.prefix.truncate(before),
            }
        }
        Ok(())
    }
}
