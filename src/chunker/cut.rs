//! Where a chunk ends: a pure function of the bytes since the last cut and the repository's gear.

use fastcdc::v2020::{Normalization, cut_gear, select_masks};
use zeroize::Zeroize;

use crate::base::class::Class;
use crate::base::limits::{CHUNK_AVG_MAX, CHUNK_AVG_MIN};

/// Bytes that make a gear table: 256 little-endian 64-bit integers.
pub const GEAR_BYTES: usize = 2048;

/// Chunk sizes that the engine refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "chunk sizes {avg}/{min}/{max} are not allowed: the average is a power of two from 16 KiB to 4 MiB, the smallest a quarter and the largest four times of it"
)]
pub struct SettingsError {
    avg: u32,
    min: u32,
    max: u32,
}

impl SettingsError {
    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        Class::Usage
    }
}

/// Chunk sizes in bytes. The crate checks them in debug builds only, so this type does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    avg: u32,
}

impl Settings {
    /// Sizes around `avg`: from a quarter of it to four times.
    pub fn new(avg: u32) -> Result<Self, SettingsError> {
        Self::checked(avg, avg / 4, avg.saturating_mul(4))
    }

    /// The same from a configuration that states all three.
    pub fn checked(avg: u32, min: u32, max: u32) -> Result<Self, SettingsError> {
        let allowed = avg.is_power_of_two()
            && (CHUNK_AVG_MIN..=CHUNK_AVG_MAX).contains(&avg)
            && min == avg / 4
            && u64::from(max) == u64::from(avg) * 4;
        if allowed { Ok(Settings { avg }) } else { Err(SettingsError { avg, min, max }) }
    }

    /// Average length aimed at.
    pub fn avg(self) -> u32 {
        self.avg
    }

    /// Least length of a chunk that is not the last.
    pub fn min(self) -> u32 {
        self.avg / 4
    }

    /// Largest length.
    pub fn max(self) -> u32 {
        self.avg * 4
    }
}

/// Cuts with one repository's gear. Wiped when dropped: cut points under a known gear tell a
/// thief more about the plaintext.
pub struct Chunker {
    settings: Settings,
    gear: Box<[u64; 256]>,
    gear_ls: Box<[u64; 256]>,
    mask_s: u64,
    mask_l: u64,
}

impl std::fmt::Debug for Chunker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunker({:?})", self.settings)
    }
}

impl Drop for Chunker {
    fn drop(&mut self) {
        self.gear.zeroize();
        self.gear_ls.zeroize();
    }
}

impl Chunker {
    /// A chunker with the gear table whose little-endian bytes are `table`.
    pub fn new(settings: Settings, table: &[u8; GEAR_BYTES]) -> Self {
        let mut gear = Box::new([0; 256]);
        let mut gear_ls = Box::new([0; 256]);
        for (i, bytes) in table.chunks_exact(8).enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            gear[i] = u64::from_le_bytes(word);
            gear_ls[i] = gear[i] << 1;
        }
        let (mask_s, mask_l) = select_masks(settings.avg as usize, Normalization::Level1);
        Chunker { settings, gear, gear_ls, mask_s, mask_l }
    }

    /// The sizes it cuts by.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Length of the first chunk of `bytes`. Needs the largest chunk's length or, at the end of
    /// the stream, all that is left.
    pub fn cut(&self, bytes: &[u8]) -> usize {
        let (min, avg, max) = (self.settings.min(), self.settings.avg, self.settings.max());
        let (_, len) = cut_gear(
            bytes,
            min as usize,
            avg as usize,
            max as usize,
            self.mask_s,
            self.mask_l,
            self.mask_s << 1,
            self.mask_l << 1,
            &self.gear[..],
            &self.gear_ls[..],
        );
        len
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// The algorithm as the specification states it, one byte at a time.
    fn reference(bytes: &[u8], settings: Settings, gear: &[u64; 256], masks: (u64, u64)) -> usize {
        let (min, avg, max) = (settings.min() as usize, settings.avg() as usize, settings.max() as usize);
        if bytes.len() <= min {
            return bytes.len();
        }
        let end = bytes.len().min(max);
        let normal = end.min(avg);
        // Bytes are taken in pairs from `min`; the first of a pair is added shifted once more and
        // compared against masks shifted once.
        let mut hash = 0u64;
        for pair in min / 2..end / 2 {
            let (mask, i) = (if pair < normal / 2 { masks.0 } else { masks.1 }, pair * 2);
            hash = (hash << 2).wrapping_add(gear[usize::from(bytes[i])] << 1);
            if hash & (mask << 1) == 0 {
                return i;
            }
            hash = hash.wrapping_add(gear[usize::from(bytes[i + 1])]);
            if hash & mask == 0 {
                return i + 1;
            }
        }
        end
    }

    fn table(seed: u8) -> [u8; GEAR_BYTES] {
        let mut table = [0; GEAR_BYTES];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut table);
        table
    }

    fn stream(seed: u8, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(b"stream").update(&[seed]).finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn only_allowed_sizes_pass() {
        for avg in [0, 1, 8 << 10, (64 << 10) + 1, 8 << 20, u32::MAX, 1 << 31] {
            assert!(Settings::new(avg).is_err(), "{avg}");
        }
        assert!(Settings::checked(65536, 16384, 262145).is_err());
        for bits in 14..=22 {
            let s = Settings::new(1 << bits).unwrap();
            assert_eq!((s.min(), s.max()), (1 << (bits - 2), 1 << (bits + 2)));
        }
    }

    #[test]
    fn the_average_is_about_what_was_asked_for() {
        let chunker = Chunker::new(Settings::new(16 << 10).unwrap(), &table(1));
        let data = stream(1, 8 << 20);
        let (mut at, mut count) = (0, 0);
        while at < data.len() {
            at += chunker.cut(&data[at..]);
            count += 1;
        }
        let mean = data.len() / count;
        assert!((12 << 10..26 << 10).contains(&mean), "mean {mean}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn the_crate_does_what_the_specification_says(
            seed in 0u8..8, bits in 14u32..16, len in 0usize..400_000, modulus in prop::sample::select(vec![1u8, 2, 5, 255]),
        ) {
            let settings = Settings::new(1 << bits).unwrap();
            let chunker = Chunker::new(settings, &table(seed));
            let mut data = stream(seed, len);
            data.iter_mut().for_each(|b| *b %= modulus);
            let masks = select_masks(settings.avg() as usize, Normalization::Level1);
            let mut at = 0;
            while at < data.len() {
                let len = chunker.cut(&data[at..]);
                prop_assert_eq!(len, reference(&data[at..], settings, &chunker.gear, masks));
                prop_assert!(len > 0 && len <= settings.max() as usize);
                at += len;
            }
        }
    }
}
