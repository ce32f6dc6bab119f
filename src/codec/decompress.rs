//! Decompressing a segment: to exactly the length that the directory promises, never more (I-9). A frame
//! is decoded at one go into space of that length, so the window it asks for costs nothing.

use zstd::bulk;
use zstd::zstd_safe::{find_frame_compressed_size, get_error_name};

use crate::base::limits::SEGMENT_PLAIN_MAX;
use crate::codec::Error;

/// A reusable decompressor, one per thread. Its context is made at first use.
#[derive(Default)]
pub struct Decompressor {
    context: Option<bulk::Decompressor<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// Decodes the frame `coded` into `out` (old content dropped): exactly `plain_len` bytes.
    pub fn zstd(&mut self, coded: &[u8], plain_len: u32, out: &mut Vec<u8>) -> Result<(), Error> {
        if plain_len > SEGMENT_PLAIN_MAX {
            return Err(Error::TooLarge(plain_len.into()));
        }
        one_frame(coded)?;
        let want = plain_len as usize;
        // Only what the buffer lacks is zeroed; a slice of the promised length cuts a bomb off.
        out.resize(want, 0);
        let got = self.context()?.decompress_to_buffer(coded, &mut out[..]);
        let got = got.map_err(|e| Error::Zstd(e.to_string()))?;
        if got == want { Ok(()) } else { Err(Error::Length { got: got as u64, want: want as u64 }) }
    }

    /// Decodes the frame `coded` to exactly as many bytes as `out` has.
    pub fn zstd_into(&mut self, coded: &[u8], out: &mut [u8]) -> Result<(), Error> {
        one_frame(coded)?;
        let want = out.len() as u64;
        let got = self.context()?.decompress_to_buffer(coded, out).map_err(|e| Error::Zstd(e.to_string()))?;
        if got as u64 == want { Ok(()) } else { Err(Error::Length { got: got as u64, want }) }
    }

    fn context(&mut self) -> Result<&mut bulk::Decompressor<'static>, Error> {
        if self.context.is_none() {
            let fail = |e: std::io::Error| Error::Zstd(e.to_string());
            self.context = Some(bulk::Decompressor::new().map_err(fail)?);
        }
        self.context.as_mut().ok_or_else(|| Error::Zstd("no context".into()))
    }
}

/// Whether `coded` is one frame. The library would go on with a second, and pass over what is none.
pub(super) fn one_frame(coded: &[u8]) -> Result<(), Error> {
    match find_frame_compressed_size(coded) {
        Ok(len) if len == coded.len() => Ok(()),
        Ok(_) => Err(Error::Zstd("bytes follow the frame".into())),
        Err(code) => Err(Error::Zstd(get_error_name(code).into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::codec::{Compressor, Level};

    #[test]
    fn decodes_exactly_and_refuses_bombs() {
        let plain = vec![7; 1 << 20];
        let mut frame = Vec::new();
        Compressor::new(Level::DEFAULT).unwrap().compress(&plain, &mut frame).unwrap();
        let (mut decoder, mut out) = (Decompressor::default(), Vec::new());
        decoder.zstd(&frame, 1 << 20, &mut out).unwrap();
        assert_eq!(out, plain);
        assert!(decoder.zstd(&frame, (1 << 20) - 1, &mut out).is_err());
        assert!(decoder.zstd(&frame, (1 << 20) + 1, &mut out).is_err());
        assert!(decoder.zstd(&frame, u32::MAX, &mut out).is_err());
        assert!(decoder.zstd(&[], 5, &mut out).is_err());
        for i in 0..frame.len() {
            let mut bad = frame.clone();
            bad[i] ^= 0x55;
            let _ = decoder.zstd(&bad, 1 << 20, &mut out);
            assert!(decoder.zstd(&frame[..i], 1 << 20, &mut out).is_err());
        }
        decoder.zstd(&frame, 1 << 20, &mut out).unwrap();
        assert_eq!(out, plain, "a failure leaves the decoder usable");
    }

    #[test]
    fn a_segment_is_one_frame() {
        let plain = b"row after row\n".repeat(1000);
        let len = plain.len() as u32;
        let mut frame = Vec::new();
        Compressor::new(Level::DEFAULT).unwrap().compress(&plain, &mut frame).unwrap();
        let (mut decoder, mut out) = (Decompressor::default(), Vec::new());
        assert!(decoder.zstd(&frame.repeat(2), 2 * len, &mut out).is_err(), "two frames");
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9];
        assert!(decoder.zstd(&[&skippable[..], &frame].concat(), len, &mut out).is_err());
        assert!(decoder.zstd(&[&frame[..], &skippable].concat(), len, &mut out).is_err());
        assert!(decoder.zstd(&[&frame[..], &[0]].concat(), len, &mut out).is_err());
        decoder.zstd(&frame, len, &mut out).unwrap();
        assert!(out == plain);
    }
}
