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
}
