//! The outer shape of an index part: a header, its plaintext cut into frames that are sealed one by
//! one, each after its length, and a signature over everything before it. All frames but the last
//! hold exactly [`limits::INDEX_FRAME_PLAIN`] bytes of plaintext, so there is one way only to cut it.

use crate::base::limits;
use crate::format::error::Error;
use crate::format::header::{HEADER_LEN, Header, Kind};
use crate::format::pack::TAG_LEN;
use crate::format::sealed::SIGNATURE_LEN;
use crate::format::wire::{Reader, Writer};

const WHAT: &str = "index part object";

/// A piece of the plaintext to be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainFrame<'a> {
    /// Its number: the ordinal of its nonce.
    pub ordinal: u64,
    /// Whether it is the last, which has a domain of its own: no frame can be cut off unseen.
    pub last: bool,
    /// Its plaintext.
    pub plain: &'a [u8],
}

/// Cuts the plaintext of an index part.
pub fn split(plain: &[u8]) -> impl Iterator<Item = PlainFrame<'_>> {
    let count = plain.len().div_ceil(limits::INDEX_FRAME_PLAIN) as u64;
    (0u64..).zip(plain.chunks(limits::INDEX_FRAME_PLAIN)).map(move |(ordinal, plain)| PlainFrame {
        ordinal,
        last: ordinal + 1 == count,
        plain,
    })
}

/// Appends a sealed frame to an object.
pub fn write_frame(out: &mut Vec<u8>, sealed: &[u8]) {
    Writer::new(out).u32(sealed.len() as u32).bytes(sealed);
}

/// The object of an index part, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    /// Its header.
    pub header: Header,
    /// Its header's bytes.
    pub header_bytes: &'a [u8; HEADER_LEN],
    /// The sealed frames in their order; the last of them is the last.
    pub frames: Vec<&'a [u8]>,
    /// What is signed: everything before the signature.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl<'a> Framed<'a> {
    /// Takes an object apart.
    pub fn parse(object: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(WHAT, object);
        reader.limit("an index part", object.len() as u64, limits::INDEX_PART_MAX)?;
        let header = Header::decode(object, Kind::Index)?;
        let header_bytes = reader.array_ref()?;
        let mut frames: Vec<&[u8]> = Vec::new();
        let full = limits::INDEX_FRAME_PLAIN + TAG_LEN as usize;
        while reader.remaining() > SIGNATURE_LEN {
            if frames.last().is_some_and(|frame| frame.len() != full) {
                return Err(reader.inconsistent("a frame that is not full is followed by another"));
            }
            let len = reader.length_u32("a frame", full)?;
            if len <= TAG_LEN as usize {
                return Err(reader.inconsistent("a frame is shorter than its seal"));
            }
            frames.push(reader.bytes(len)?);
        }
        if frames.is_empty() {
            return Err(reader.inconsistent("an index part has no frame"));
        }
        let signed = object.get(..object.len() - reader.remaining()).unwrap_or_default();
        let signature = reader.array()?;
        reader.finish()?;
        Ok(Framed { header, header_bytes, frames, signed, signature })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::id::SignerId;
    use crate::format::testing;

    fn object(plain: &[u8]) -> Vec<u8> {
        let mut out = Header::new(Kind::Index, 1, SignerId([1; 16]), [2; 32]).encode().to_vec();
        for frame in split(plain) {
            let mut sealed = frame.plain.to_vec();
            sealed.extend([frame.last as u8; 16]);
            write_frame(&mut out, &sealed);
        }
        out.extend([7; SIGNATURE_LEN]);
        out
    }

    fn rebuilt(framed: &Framed<'_>) -> Vec<u8> {
        let mut out = framed.header_bytes.to_vec();
        for frame in &framed.frames {
            write_frame(&mut out, frame);
        }
        assert_eq!(out, framed.signed);
        out.extend(framed.signature);
        out
    }

    #[test]
    fn a_small_part_has_one_frame_in_one_form() {
        let bytes = object(&[5; 100]);
        let framed = Framed::parse(&bytes).unwrap();
        assert_eq!(framed.frames, [[&[5u8; 100][..], &[1; 16]].concat()]);
        testing::canonical(&bytes, |b| Framed::parse(b).map(|f| rebuilt(&f)), Clone::clone);
    }

    #[test]
    fn a_large_part_is_cut_into_full_frames() {
        let full = limits::INDEX_FRAME_PLAIN;
        for len in [full - 1, full, full + 1, 2 * full, 2 * full + 5] {
            let plain = vec![9u8; len];
            let frames: Vec<_> = split(&plain).collect();
            assert!(frames.iter().rev().skip(1).all(|f| f.plain.len() == full && !f.last));
            assert!(frames.last().unwrap().last);
            assert_eq!(frames.iter().map(|f| f.plain.len()).sum::<usize>(), len);
            let bytes = object(&plain);
            let framed = Framed::parse(&bytes).unwrap();
            assert_eq!(framed.frames.len(), frames.len());
            assert_eq!(rebuilt(&framed), bytes);
        }
    }

    #[test]
    fn a_part_without_or_with_short_frames_is_refused() {
        assert!(Framed::parse(&object(&[])).is_err());
        let mut out = Header::new(Kind::Index, 1, SignerId([1; 16]), [2; 32]).encode().to_vec();
        write_frame(&mut out, &[1; 100]);
        write_frame(&mut out, &[1; 100]);
        out.extend([7; SIGNATURE_LEN]);
        assert!(Framed::parse(&out).is_err());
        assert!(Framed::parse(&vec![0; limits::INDEX_PART_MAX as usize + 1]).is_err());
    }
}
