//! Compressing a segment.

use zstd::bulk;
use zstd::zstd_safe::{CParameter, compress_bound};

use crate::codec::Error;

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Not at all.
    Store,
    /// A zstd level, 1 to 19.
    Zstd(i32),
}

impl Level {
    /// What zstd calls its default: the ratio that the floors are compared at.
    pub const DEFAULT: Level = Level::Zstd(3);
}

/// How a segment came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coded {
    /// Take the plaintext itself.
    Raw,
    /// The frame is in the output buffer.
    Zstd,
}

/// Bytes looked at to guess whether data shrinks: four pieces spread over it.
const SAMPLE_PIECE: usize = 2048;
/// A frame must save at least this share of the plaintext to be kept, or reading pays for nothing.
const LEAST_GAIN: usize = 64;

/// A reusable compressor, one per thread.
pub struct Compressor {
    level: Level,
    main: bulk::Compressor<'static>,
    /// Tries data that looks random: several times faster than the main level at finding nothing.
    quick: bulk::Compressor<'static>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compressor({:?})", self.level)
    }
}

fn context(level: i32) -> Result<bulk::Compressor<'static>, Error> {
    let fail = |e: std::io::Error| Error::Zstd(e.to_string());
    let mut context = bulk::Compressor::new(level).map_err(fail)?;
    // The directory states the length, the seal guards the content: the frame repeats neither.
    for parameter in
        [CParameter::ChecksumFlag(false), CParameter::ContentSizeFlag(false), CParameter::DictIdFlag(false)]
    {
        context.set_parameter(parameter).map_err(fail)?;
    }
    Ok(context)
}

impl Compressor {
    /// A compressor at `level`.
    pub fn new(level: Level) -> Result<Self, Error> {
        let zstd = match level {
            Level::Store => 1,
            Level::Zstd(n) => n.clamp(1, 19),
        };
        Ok(Compressor { level, main: context(zstd)?, quick: context(-5)? })
    }

    /// Compresses `plain` into `out`, whose old content is dropped, or says that it does not pay.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<Coded, Error> {
        out.clear();
        if self.level == Level::Store || plain.is_empty() {
            return Ok(Coded::Raw);
        }
        let pays = plain.len() - plain.len() / LEAST_GAIN;
        out.reserve(compress_bound(plain.len()));
        let fail = |e: std::io::Error| Error::Zstd(e.to_string());
        if looks_random(plain) && self.quick.compress_to_buffer(plain, out).map_err(fail)? >= pays {
            out.clear();
            return Ok(Coded::Raw);
        }
        let len = self.main.compress_to_buffer(plain, out).map_err(fail)?;
        if len >= pays {
            out.clear();
            return Ok(Coded::Raw);
        }
        Ok(Coded::Zstd)
    }
}

/// Whether the bytes of a sample are nearly evenly spread over all values, as in pictures, films
/// and archives. 8 KiB of random bytes collide in about 1/256 of all pairs; text in ten times as many.
fn looks_random(plain: &[u8]) -> bool {
    if plain.len() < 4 * SAMPLE_PIECE {
        return false;
    }
    let mut counts = [0u32; 256];
    let step = (plain.len() - SAMPLE_PIECE) / 3;
    for piece in 0..4 {
        for &byte in &plain[piece * step..piece * step + SAMPLE_PIECE] {
            counts[usize::from(byte)] += 1;
        }
    }
    let samples = 4 * SAMPLE_PIECE as u64;
    let pairs: u64 = counts.iter().map(|&n| u64::from(n) * u64::from(n)).sum();
    pairs * 256 < samples * samples * 5 / 4
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn random_bytes_stay_raw_and_text_shrinks() {
        let mut random = vec![0; 100_000];
        blake3::Hasher::new().finalize_xof().fill(&mut random);
        assert!(looks_random(&random));
        let text = b"INSERT INTO orders VALUES (17, 'a customer', 4, 2);\n".repeat(2000);
        assert!(!looks_random(&text));
        let mut compressor = Compressor::new(Level::DEFAULT).unwrap();
        let mut out = Vec::new();
        assert_eq!(compressor.compress(&random, &mut out).unwrap(), Coded::Raw);
        assert_eq!(compressor.compress(&text, &mut out).unwrap(), Coded::Zstd);
        assert!(out.len() < text.len() / 20);
        // Evenly spread bytes that repeat look random to the sample, and are compressed all the same.
        let repeated = random[..40_000].repeat(3);
        assert_eq!(compressor.compress(&repeated, &mut out).unwrap(), Coded::Zstd);
        assert_eq!(Compressor::new(Level::Store).unwrap().compress(&text, &mut out).unwrap(), Coded::Raw);
    }
}
