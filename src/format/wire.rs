//! The two ends of every encoding: a reader that never goes past its bytes and never believes a
//! length (I-9), and a writer that knows one way only to write each value.
//!
//! Integers are little-endian. A varint is an unsigned LEB128 of minimal length, at most ten bytes.

use crate::format::error::{Error, Reason};

/// Reads values off the front of a slice. Offsets in its errors count from `base`.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    at: usize,
    base: u64,
}

impl<'a> Reader<'a> {
    /// A reader of all `bytes`, which should be a `what`.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Reader { what, bytes, at: 0, base: 0 }
    }

    /// The same for bytes that lie `base` bytes inside what errors speak of.
    pub fn nested(what: &'static str, bytes: &'a [u8], base: u64) -> Self {
        Reader { what, bytes, at: 0, base }
    }

    /// Where the next byte is.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// What this reader reads, for errors.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// An error at the present place.
    pub fn error(&self, reason: Reason) -> Error {
        Error { what: self.what, offset: self.offset(), reason }
    }

    /// An error at the present place, saying that `what` makes no sense.
    pub fn inconsistent(&self, what: &'static str) -> Error {
        self.error(Reason::Inconsistent(what))
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match rest.get(..n) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => Err(self.error(Reason::Truncated { missing: (n - rest.len()) as u64 })),
        }
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.array_ref().copied()
    }

    /// The next `N` bytes as an array that is borrowed.
    pub fn array_ref<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let before = self.clone();
        self.bytes(N)?.first_chunk().ok_or(before.error(Reason::Truncated { missing: N as u64 }))
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at = self.bytes.len();
        rest
    }

    /// Everything that is left, which must be UTF-8.
    pub fn rest_as_text(&mut self) -> Result<String, Error> {
        match std::str::from_utf8(self.rest()) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.inconsistent("a text is not UTF-8")),
        }
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// A varint; one that could be shorter, or exceeds 64 bits, is refused.
    pub fn varint(&mut self) -> Result<u64, Error> {
        let start = self.clone();
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(start.inconsistent("a varint exceeds 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(start.error(Reason::NotCanonical("a varint")));
                }
                return Ok(value);
            }
        }
        Err(start.inconsistent("a varint exceeds 64 bits"))
    }

    /// A signed varint in zigzag form.
    pub fn zigzag(&mut self) -> Result<i64, Error> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A varint that counts or measures `what` and must not exceed `max` (I-9).
    pub fn length(&mut self, what: &'static str, max: usize) -> Result<usize, Error> {
        let start = self.clone();
        let len = self.varint()?;
        start.limit(what, len, max as u64)?;
        usize::try_from(len).map_err(|_| start.error(Reason::TooLarge { what, len, max: max as u64 }))
    }

    /// A `u32` that counts or measures `what` and must not exceed `max` (I-9).
    pub fn length_u32(&mut self, what: &'static str, max: usize) -> Result<usize, Error> {
        let start = self.clone();
        let len = self.u32()?;
        start.limit(what, u64::from(len), max as u64)?;
        Ok(len as usize)
    }

    /// Fails, at the present place, if `len` exceeds `max`.
    pub fn limit(&self, what: &'static str, len: u64, max: u64) -> Result<(), Error> {
        if len > max { Err(self.error(Reason::TooLarge { what, len, max })) } else { Ok(()) }
    }

    /// Demands that everything was read.
    pub fn finish(self) -> Result<(), Error> {
        match self.remaining() {
            0 => Ok(()),
            extra => Err(self.error(Reason::Trailing { extra: extra as u64 })),
        }
    }
}

/// Writes values to the end of a byte vector.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer that appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Writer { out }
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.out.push(value);
        self
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A varint of minimal length.
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
        self
    }

    /// A signed varint in zigzag form.
    pub fn zigzag(&mut self, value: i64) -> &mut Self {
        self.varint(((value << 1) ^ (value >> 63)) as u64)
    }

    /// `n` zero bytes.
    pub fn zeros(&mut self, n: usize) -> &mut Self {
        self.out.resize(self.out.len() + n, 0);
        self
    }
}

/// How many bytes the varint of `value` takes.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip_and_are_minimal(value: u64, signed: i64, cut in 0usize..10) {
            let mut out = Vec::new();
            Writer::new(&mut out).varint(value).zigzag(signed);
            let mut reader = Reader::new("test", &out);
            prop_assert_eq!(reader.varint().unwrap(), value);
            prop_assert_eq!(reader.offset() as usize, varint_len(value));
            prop_assert_eq!(reader.zigzag().unwrap(), signed);
            reader.finish().unwrap();
            let mut short = out.clone();
            short.truncate(cut.min(varint_len(value) - 1));
            prop_assert!(Reader::new("test", &short).varint().is_err());
        }

        #[test]
        fn whatever_varint_is_accepted_is_written_the_same_way(bytes: Vec<u8>) {
            let mut reader = Reader::new("test", &bytes);
            if let Ok(value) = reader.varint() {
                let mut out = Vec::new();
                Writer::new(&mut out).varint(value);
                prop_assert_eq!(&out[..], &bytes[..reader.offset() as usize]);
            }
        }
    }

    #[test]
    fn varints_that_are_long_or_large_are_refused() {
        let refused = |bytes: &[u8]| Reader::new("test", bytes).varint().unwrap_err().reason;
        assert_eq!(refused(&[0x80, 0]), Reason::NotCanonical("a varint"));
        assert_eq!(refused(&[0xff; 11]), Reason::Inconsistent("a varint exceeds 64 bits"));
        let mut two = [0xff; 10];
        two[9] = 2;
        assert_eq!(refused(&two), Reason::Inconsistent("a varint exceeds 64 bits"));
        assert_eq!(refused(&[0x80]), Reason::Truncated { missing: 1 });
    }

    #[test]
    fn a_reader_says_where_it_stopped() {
        let mut reader = Reader::nested("thing", &[1, 2, 3], 100);
        assert_eq!(reader.u16().unwrap(), 0x0201);
        let error = reader.u32().unwrap_err();
        assert_eq!((error.offset, error.reason), (102, Reason::Truncated { missing: 3 }));
        assert_eq!(reader.clone().finish().unwrap_err().reason, Reason::Trailing { extra: 1 });
        let error = Reader::new("thing", &[200, 1]).length("its name", 199).unwrap_err();
        assert_eq!(error.reason, Reason::TooLarge { what: "its name", len: 200, max: 199 });
        assert_eq!(error.offset, 0);
    }
}
