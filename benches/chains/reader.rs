//! Reads chunks as a repository's reader does: through their chains, decoded segments kept for what needs
//! them next.

use std::collections::HashMap;
use std::rc::Rc;

use kamba_vault::base::id::ChunkId;
use kamba_vault::base::kind::Coding;
use kamba_vault::codec::Decompressor;
use kamba_vault::codec::prefix::Decoder;

use crate::Result;
use crate::stored::{SegmentKey, Stored};

/// Plaintext that is kept, as by the repository's reader.
const PLAIN_KEPT: usize = 36 << 20;

/// A decoded segment.
struct Decoded {
    plain: Rc<Vec<u8>>,
    used: u64,
}

/// Reads.
#[derive(Default)]
pub struct Reader {
    kept: HashMap<SegmentKey, Decoded>,
    bytes: usize,
    /// Counts uses, so that the segment unused for longest can go.
    uses: u64,
    spare: Vec<Vec<u8>>,
    decompressor: Decompressor,
    decoder: Decoder,
}

impl Reader {
    /// Forgets what is decoded, but keeps the memory: the next reading is not to wait for the system.
    pub fn clear(&mut self) {
        let kept = self.kept.drain().filter_map(|(_, decoded)| Rc::into_inner(decoded.plain));
        self.spare.extend(kept);
        self.bytes = 0;
    }

    /// Appends a chunk.
    pub fn append(&mut self, stored: &Stored, id: &ChunkId, out: &mut Vec<u8>) -> Result<()> {
        // Nothing goes that this call used.
        let began = self.uses;
        let copy = stored.copy(id);
        let plain = self.segment(stored, copy.segment, began)?;
        out.extend_from_slice(&plain[copy.span.clone()]);
        Ok(())
    }

    fn segment(&mut self, stored: &Stored, key: SegmentKey, began: u64) -> Result<Rc<Vec<u8>>> {
        self.uses += 1;
        if let Some(kept) = self.kept.get_mut(&key) {
            kept.used = self.uses;
            return Ok(kept.plain.clone());
        }
        let segment = &stored.segments[&key];
        let mut prefix = self.buffer();
        for base in &segment.bases {
            let copy = stored.copy(&base.id);
            let plain = self.segment(stored, copy.segment, began)?;
            prefix.extend_from_slice(&plain[copy.span.clone()]);
        }
        let mut plain = self.buffer();
        match segment.coding {
            Coding::Raw => plain.extend_from_slice(&segment.coded),
            Coding::Zstd => self.decompressor.zstd(&segment.coded, segment.plain_len, &mut plain)?,
            Coding::Prefix => self.decoder.decode(&prefix, &segment.coded, segment.plain_len, &mut plain)?,
            Coding::Dictionary => return Err("nothing is coded with a dictionary".into()),
        }
        self.spare.push(prefix);
        let plain = Rc::new(plain);
        self.keep(key, plain.clone(), began);
        Ok(plain)
    }

    fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer
    }

    fn keep(&mut self, key: SegmentKey, plain: Rc<Vec<u8>>, began: u64) {
        self.bytes += plain.len();
        self.kept.insert(key, Decoded { plain, used: self.uses });
        while self.bytes > PLAIN_KEPT {
            let oldest = self.kept.iter().min_by_key(|(_, decoded)| decoded.used);
            let Some((&oldest, _)) = oldest.filter(|(_, decoded)| decoded.used <= began) else { break };
            if let Some(decoded) = self.kept.remove(&oldest) {
                self.bytes -= decoded.plain.len();
                self.spare.extend(Rc::into_inner(decoded.plain));
            }
        }
    }
}
