//! Compressing a segment.

use std::ops::RangeInclusive;

use zstd::bulk;
use zstd::zstd_safe::{CParameter, Strategy, compress_bound};

use crate::base::limits::SEGMENT_PLAIN_AIM;
use crate::codec::Error;

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Not at all.
    Store,
    /// The swift way or the thorough one, as it suits the data: see `Tuned`.
    Auto,
    /// The swift way.
    Swift,
    /// The thorough way, at about the cost of zstd's level 3.
    Thorough,
    /// A zstd level, 1 to 19.
    Zstd(i32),
}

impl Level {
    /// What is taken where nobody says otherwise.
    pub const DEFAULT: Level = Level::Auto;
    /// The least and the highest of zstd's levels. Those beyond ask for windows that the format forbids.
    pub const ZSTD: RangeInclusive<i32> = 1..=19;
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
/// What looks random is tried on two pieces of this length: what repeats in it and lies farther apart is
/// for the chunker to find.
const TRIED_PIECE: usize = 64 << 10;
/// A frame must save at least this share of the plaintext to be kept, or reading pays for nothing.
const LEAST_GAIN: usize = 64;

/// A reusable compressor, one per thread.
pub struct Compressor {
    level: Level,
    main: Main,
    /// Tries data that looks random: several times faster than the main level at finding nothing. What
    /// takes its time is to copy what it found nothing in.
    quick: bulk::Compressor<'static>,
}

enum Main {
    Plain(bulk::Compressor<'static>),
    Tuned(Box<ByLength>),
}

/// The default level. Segments up to a usual length go one of two ways, the longer ones of short contents
/// always the thorough one: they hold source code and the like, which is 8 % longer the swift way.
struct ByLength {
    usual: Tuned,
    long: bulk::Compressor<'static>,
}

/// The default level for usual segments, with settings that suit 256 KiB better than zstd's own choice for
/// level 3 at that size, which looks for matches of 4 bytes: rows of a table are full of those, and
/// each costs more than it saves.
///
/// * *Thorough*: matches of 5 bytes, tables that fit the processor's nearest caches. A shop's dump
///   comes out 5 % smaller than at level 3 in three quarters of the time,
///   source code as large.
/// * *Swift*: one table, matches of 6 bytes. Most tables come out 1 to 2 % larger than that in three
///   quarters of the time again, source code 5 %.
///
/// Now and then a segment is compressed both ways, and the swift one serves while it has cost little in
/// the mean of the last trials: single segments of source code say anything from 2 to 8 %
/// (`benches/parts.rs`, compress).
struct Tuned {
    thorough: bulk::Compressor<'static>,
    swift: bulk::Compressor<'static>,
    /// By how many thousandths the swift way was longer, in a mean that forgets; none before a trial.
    excess: Option<i64>,
    until_trial: u32,
    trial: Vec<u8>,
}

/// One segment in so many is compressed both ways.
const TRIAL_EVERY: u32 = 64;
/// The swift way serves while it makes segments longer by at most so many thousandths.
const SWIFT_EXCESS: i64 = 30;
/// A trial counts for this share of the mean.
const TRIAL_WEIGHT: i64 = 4;
/// Segments that are shorter tell nothing about the others.
const TRIAL_LEN: usize = 64 << 10;

impl Tuned {
    fn new() -> std::io::Result<Self> {
        Ok(Tuned {
            thorough: tuned(Strategy::ZSTD_dfast, 5, 15, 13)?,
            swift: tuned(Strategy::ZSTD_fast, 6, 14, 13)?,
            excess: None,
            until_trial: 0,
            trial: Vec::new(),
        })
    }

    fn is_swift(&self) -> bool {
        self.excess.is_some_and(|excess| excess <= SWIFT_EXCESS)
    }

    fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<usize> {
        if self.until_trial == 0 && plain.len() >= TRIAL_LEN {
            self.until_trial = TRIAL_EVERY;
            self.trial.clear();
            self.trial.reserve(compress_bound(plain.len()));
            let swift = self.swift.compress_to_buffer(plain, &mut self.trial)?;
            let thorough = self.thorough.compress_to_buffer(plain, out)?;
            let excess = (swift as i64 - thorough as i64) * 1000 / (thorough as i64).max(1);
            let before = self.excess.unwrap_or(excess);
            self.excess = Some(before + (excess - before) / TRIAL_WEIGHT);
            return Ok(thorough);
        }
        self.until_trial = self.until_trial.saturating_sub(1);
        let way = if self.is_swift() { &mut self.swift } else { &mut self.thorough };
        way.compress_to_buffer(plain, out)
    }
}

impl ByLength {
    fn new() -> std::io::Result<Self> {
        // Tables for the processor's second cache.
        Ok(ByLength { usual: Tuned::new()?, long: tuned(Strategy::ZSTD_dfast, 5, 16, 15)? })
    }

    fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<usize> {
        if plain.len() > SEGMENT_PLAIN_AIM as usize {
            return self.long.compress_to_buffer(plain, out);
        }
        self.usual.compress(plain, out)
    }
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compressor({:?})", self.level)
    }
}

fn context(level: i32) -> std::io::Result<bulk::Compressor<'static>> {
    let mut context = bulk::Compressor::new(level)?;
    // The directory states the length, the seal guards the content: the frame repeats neither.
    for parameter in
        [CParameter::ChecksumFlag(false), CParameter::ContentSizeFlag(false), CParameter::DictIdFlag(false)]
    {
        context.set_parameter(parameter)?;
    }
    Ok(context)
}

/// With tables of `1 << hash_log` and `1 << chain_log` entries.
fn tuned(
    strategy: Strategy,
    min_match: u32,
    hash_log: u32,
    chain_log: u32,
) -> std::io::Result<bulk::Compressor<'static>> {
    let mut context = context(3)?;
    context.set_parameter(CParameter::Strategy(strategy))?;
    context.set_parameter(CParameter::MinMatch(min_match))?;
    context.set_parameter(CParameter::HashLog(hash_log))?;
    context.set_parameter(CParameter::ChainLog(chain_log))?;
    Ok(context)
}

impl Compressor {
    /// A compressor at `level`.
    pub fn new(level: Level) -> Result<Self, Error> {
        let fail = |e: std::io::Error| Error::Zstd(e.to_string());
        let main = match level {
            Level::Auto => ByLength::new().map(|ways| Main::Tuned(Box::new(ways))),
            Level::Swift => Tuned::new().map(|tuned| Main::Plain(tuned.swift)),
            Level::Thorough => ByLength::new().map(|ways| Main::Plain(ways.long)),
            Level::Store => context(1).map(Main::Plain),
            Level::Zstd(n) => context(n.clamp(*Level::ZSTD.start(), *Level::ZSTD.end())).map(Main::Plain),
        };
        Ok(Compressor { level, main: main.map_err(fail)?, quick: context(-5).map_err(fail)? })
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
        if looks_random(plain) && self.tries_in_vain(plain, out).map_err(fail)? {
            out.clear();
            return Ok(Coded::Raw);
        }
        let len = match &mut self.main {
            Main::Plain(context) => context.compress_to_buffer(plain, out),
            Main::Tuned(ways) => ways.compress(plain, out),
        };
        let len = len.map_err(fail)?;
        if len >= pays {
            out.clear();
            return Ok(Coded::Raw);
        }
        Ok(Coded::Zstd)
    }

    /// Whether nothing is gained in the first piece and in one of the middle.
    fn tries_in_vain(&mut self, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<bool> {
        let len = plain.len().min(TRIED_PIECE);
        let middle = (plain.len() / 2).min(plain.len() - len);
        for piece in [&plain[..len], &plain[middle..middle + len]] {
            if self.quick.compress_to_buffer(piece, out)? < len - len / LEAST_GAIN {
                return Ok(false);
            }
        }
        Ok(true)
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
        assert!(
            matches!(&compressor.main, Main::Tuned(ways) if ways.usual.excess.is_none()),
            "it was not tried"
        );
        assert_eq!(compressor.compress(&text, &mut out).unwrap(), Coded::Zstd);
        assert!(out.len() < text.len() / 20);
        // Evenly spread bytes that repeat look random to the sample, and are compressed all the same.
        let repeated = random[..40_000].repeat(3);
        assert_eq!(compressor.compress(&repeated, &mut out).unwrap(), Coded::Zstd);
        assert!(
            matches!(&compressor.main, Main::Tuned(ways) if ways.usual.is_swift()),
            "rows go the swift way"
        );
        assert_eq!(Compressor::new(Level::Store).unwrap().compress(&text, &mut out).unwrap(), Coded::Raw);
    }
}
