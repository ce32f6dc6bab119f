//! Deltas: a segment coded with the plaintext of its bases as zstd's prefix, so that equal spans become
//! references into it (`format-spec/segments-and-packs.md`, coding 2).
//!
//! There is one line of unsafe code here (all other is in `postgres::libpq`): zstd keeps a pointer to
//! the prefix from the moment that it is told until one frame is made of it, and the library ties that
//! to the whole life of a context. A context of its own for each segment would cost more than the delta.

#![allow(unsafe_code)]

use zstd::zstd_safe::{CCtx, CParameter, DCtx, Strategy, compress_bound, get_error_name};

use crate::base::limits::{DELTA_PREFIX_MAX, SEGMENT_PLAIN_MAX};
use crate::codec::decompress::one_frame;
use crate::codec::{Error, Level};

/// Matches shorter than this are not looked for: what a base holds, it holds in long spans.
const MIN_MATCH: u32 = 7;
/// Entries of the table of places, as a power of two. Enough for a segment and its bases; a smaller
/// one forgets the bases' first spans before they are met.
const HASH_LOG_MAX: u32 = 17;
const HASH_LOG_MIN: u32 = 10;
/// From this level on, zstd's own parameters make deltas shorter than those above do.
const SLOWER_LEVEL: i32 = 5;

fn failed(code: usize) -> Error {
    Error::Zstd(get_error_name(code).into())
}

/// A prefix as a context may hold it.
///
/// A context uses the prefix that it was told last, once, in the next frame, and forgets it when that
/// frame begins (`ZSTD_CCtx_refPrefix` and `ZSTD_DCtx_refPrefix` in zstd.h). [`Encoder`] and [`Decoder`]
/// own their contexts, tell a prefix at the start of each call, and make the frame in the same call: so
/// no prefix is looked at after the borrow that it came from has ended.
fn for_one_frame(prefix: &[u8]) -> &'static [u8] {
    // SAFETY: the slice is valid for the call that passes it on, and used in no later one: see above.
    unsafe { std::slice::from_raw_parts(prefix.as_ptr(), prefix.len()) }
}

/// Makes deltas. One per thread; nothing is allocated per segment.
pub struct Encoder {
    context: CCtx<'static>,
    /// Whether the parameters are zstd's own, of a level, and not those above.
    by_level: bool,
}

impl Encoder {
    /// An encoder for a session that compresses at `level`. Low levels find no less in a base than what
    /// is above does, and are no faster; so only the higher ones count.
    pub fn new(level: Level) -> Result<Self, Error> {
        let mut context = CCtx::try_create().ok_or_else(|| Error::Zstd("out of memory".into()))?;
        let slower = match level {
            Level::Zstd(level) if level >= SLOWER_LEVEL => Some(level.min(*Level::ZSTD.end())),
            _ => None,
        };
        let own = [
            CParameter::CompressionLevel(1),
            CParameter::Strategy(Strategy::ZSTD_fast),
            CParameter::MinMatch(MIN_MATCH),
        ];
        let common = [
            // As for whole segments: the directory states the length, the seal guards the content.
            CParameter::ChecksumFlag(false),
            CParameter::ContentSizeFlag(false),
            CParameter::DictIdFlag(false),
        ];
        let levels = slower.map(CParameter::CompressionLevel);
        let parameters = if levels.is_some() { &[][..] } else { &own };
        for parameter in parameters.iter().copied().chain(levels).chain(common) {
            context.set_parameter(parameter).map_err(failed)?;
        }
        Ok(Encoder { context, by_level: levels.is_some() })
    }

    /// Codes `plain` against `prefix`, which is not to lie in the same memory, into `out`, whose old
    /// content is dropped.
    pub fn encode(&mut self, prefix: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let both = prefix.len() + plain.len();
        let log = (usize::BITS - both.leading_zeros()).max(HASH_LOG_MIN);
        self.context.set_parameter(CParameter::WindowLog(log)).map_err(failed)?;
        if !self.by_level {
            let hash_log = CParameter::HashLog((log - 1).min(HASH_LOG_MAX));
            self.context.set_parameter(hash_log).map_err(failed)?;
        }
        self.context.ref_prefix(for_one_frame(prefix)).map_err(failed)?;
        out.clear();
        out.reserve(compress_bound(plain.len()));
        self.context.compress2(out, plain).map(drop).map_err(failed)
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

/// Reads deltas. One per thread. Its context is made at first use.
#[derive(Default)]
pub struct Decoder {
    context: Option<DCtx<'static>>,
}

impl Decoder {
    /// Decodes the frame `coded` with `prefix` into `out` (old content dropped): exactly `plain_len` bytes.
    pub fn decode(
        &mut self,
        prefix: &[u8],
        coded: &[u8],
        plain_len: u32,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if plain_len > SEGMENT_PLAIN_MAX {
            return Err(Error::TooLarge(plain_len.into()));
        }
        if prefix.len() > DELTA_PREFIX_MAX as usize {
            return Err(Error::TooLarge(prefix.len() as u64));
        }
        one_frame(coded)?;
        let want = plain_len as usize;
        // Only what the buffer lacks is zeroed; a slice of the promised length cuts a bomb off.
        out.resize(want, 0);
        let context = self.context.get_or_insert_with(DCtx::create);
        context.ref_prefix(for_one_frame(prefix)).map_err(failed)?;
        let got = context.decompress(&mut out[..], coded).map_err(failed)?;
        if got == want { Ok(()) } else { Err(Error::Length { got: got as u64, want: want as u64 }) }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decoder")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Rows of which every 50th has another value for each version.
    fn rows(version: u32) -> Vec<u8> {
        let row = |n: u32| {
            let value = if n.is_multiple_of(50) { version } else { 0 };
            let noise = blake3::hash(&[n.to_le_bytes(), value.to_le_bytes()].concat());
            format!("{n}\t{}\tdelivered\n", &noise.to_hex()[..32])
        };
        (0..2000).map(row).collect::<String>().into_bytes()
    }

    #[test]
    fn a_delta_is_what_changed() {
        let (old, new) = (rows(1), rows(2));
        let (mut encoder, mut decoder) = (Encoder::new(Level::DEFAULT).unwrap(), Decoder::default());
        let (mut coded, mut back) = (Vec::new(), Vec::new());
        let (same, part) = (old.clone(), new[70_000..].to_vec());
        for (prefix, plain, at_most) in
            [(&old, &new, 1000), (&new, &old, 1000), (&old, &same, 50), (&old, &part, 400)]
        {
            encoder.encode(prefix, plain, &mut coded).unwrap();
            assert!(coded.len() < at_most, "{} bytes of {}", coded.len(), plain.len());
            decoder.decode(prefix, &coded, plain.len() as u32, &mut back).unwrap();
            assert!(back == *plain);
        }
    }

    #[test]
    fn a_prefix_that_looks_like_a_dictionary_is_none() {
        let dictionary = [0x37, 0xa4, 0x30, 0xec];
        let prefix = [&dictionary[..], &rows(1)].concat();
        let (mut coded, mut back) = (Vec::new(), Vec::new());
        Encoder::new(Level::DEFAULT).unwrap().encode(&prefix, &prefix.clone(), &mut coded).unwrap();
        assert!(coded.len() < 50);
        Decoder::default().decode(&prefix, &coded, prefix.len() as u32, &mut back).unwrap();
        assert!(back == prefix);
    }

    #[test]
    fn what_is_wrong_is_refused_and_leaves_the_decoder_usable() {
        let (old, new) = (rows(1), rows(2));
        let len = new.len() as u32;
        let (mut decoder, mut coded, mut back) = (Decoder::default(), Vec::new(), Vec::new());
        Encoder::new(Level::DEFAULT).unwrap().encode(&old, &new, &mut coded).unwrap();
        for (prefix, coded, len) in [
            (&old[..], &coded[..], len - 1),
            (&old[..], &coded[..], len + 1),
            (&old[..], &coded[..], u32::MAX),
            (&old[..], &coded[..coded.len() - 1], len),
            (&old[..], &[], len),
            (&[][..], &coded[..], len),
            (&old[..100], &coded[..], len),
        ] {
            assert!(decoder.decode(prefix, coded, len, &mut back).is_err());
            assert!(back.len() <= SEGMENT_PLAIN_MAX as usize);
        }
        let other = rows(3);
        let wrong = decoder.decode(&other, &coded, len, &mut back);
        assert!(wrong.is_err() || back != new, "another prefix gives other bytes, which ids tell");
        decoder.decode(&old, &coded, len, &mut back).unwrap();
        assert!(back == new);
    }
}
