//! The outer shape of small objects (configuration, signers, snapshot, tombstone, lease, WAL ledger) and of
//! a WAL object's head: header, a clear part, a sealed part, and a signature over everything before it.
//! Keys are left to the layer above.

use crate::base::id::RepositoryId;
use crate::base::limits;
use crate::format::error::Error;
use crate::format::header::{HEADER_LEN, Header, Kind};
use crate::format::pack::{TAG_LEN, WRAPPED_LEN};
use crate::format::wire::{Reader, Writer};

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

const WHAT: &str = "object";

/// A small object, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedObject<'a> {
    /// Its header.
    pub header: Header,
    /// Its header's bytes.
    pub header_bytes: &'a [u8; HEADER_LEN],
    /// What everybody may read: of the configuration the repository's id, of a WAL object's head the
    /// wrapped key, else nothing.
    pub clear: &'a [u8],
    /// The sealed body.
    pub sealed: &'a [u8],
    /// What is signed: everything before the signature.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: [u8; SIGNATURE_LEN],
}

impl<'a> SealedObject<'a> {
    /// Takes an object of one of these kinds apart.
    pub fn parse(object: &'a [u8], kinds: &[Kind]) -> Result<Self, Error> {
        let mut reader = Reader::new(WHAT, object);
        reader.limit("an object", object.len() as u64, limits::SMALL_OBJECT_MAX)?;
        let header = Header::decode_one_of(object, kinds)?;
        let header_bytes = reader.array_ref()?;
        let len = reader.length_u32("the clear part", limits::SMALL_OBJECT_MAX as usize)?;
        let want = match header.kind {
            Kind::Config => RepositoryId::LEN,
            Kind::Wal => WRAPPED_LEN,
            _ => 0,
        };
        if len != want {
            return Err(reader.inconsistent("its clear part is not as long as in objects of its kind"));
        }
        let clear = reader.bytes(len)?;
        let len = reader.length_u32("the sealed part", limits::SMALL_OBJECT_MAX as usize)?;
        if len <= TAG_LEN as usize {
            return Err(reader.inconsistent("the sealed part is shorter than its seal"));
        }
        let sealed = reader.bytes(len)?;
        let signed = object.get(..object.len() - reader.remaining()).unwrap_or_default();
        let signature = reader.array()?;
        reader.finish()?;
        Ok(SealedObject { header, header_bytes, clear, sealed, signed, signature })
    }
}

/// The bytes of a small object up to its signature, which is to be made over them and appended.
pub fn unsigned(header: &[u8; HEADER_LEN], clear: &[u8], sealed: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + 8 + clear.len() + sealed.len() + SIGNATURE_LEN);
    Writer::new(&mut out)
        .bytes(header)
        .u32(clear.len() as u32)
        .bytes(clear)
        .u32(sealed.len() as u32)
        .bytes(sealed);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::id::SignerId;
    use crate::format::testing;

    #[test]
    fn a_small_object_is_taken_apart_and_put_together() {
        let header = |kind| Header::new(kind, 1, SignerId([1; 16]), [2; 32]).encode();
        for (kind, clear, sealed) in
            [(Kind::Lease, &b""[..], &[3u8; 40][..]), (Kind::Config, b"0123456789abcdef", &[3; 17])]
        {
            let header = header(kind);
            let mut bytes = unsigned(&header, clear, sealed);
            bytes.extend([9; SIGNATURE_LEN]);
            let object = SealedObject::parse(&bytes, &[Kind::Root, kind]).unwrap();
            assert_eq!((object.clear, object.sealed, object.signature), (clear, sealed, [9; 64]));
            assert_eq!(object.signed, &bytes[..bytes.len() - 64]);
            assert!(SealedObject::parse(&bytes, &[Kind::Root]).is_err());
            let rebuilt = |bytes: &[u8]| {
                SealedObject::parse(bytes, &[kind]).map(|object| {
                    let mut out = unsigned(object.header_bytes, object.clear, object.sealed);
                    out.extend(object.signature);
                    out
                })
            };
            testing::canonical(&bytes, rebuilt, Clone::clone);
        }
        for (kind, clear, sealed) in [
            (Kind::Lease, &b""[..], &[0u8; 16][..]),
            (Kind::Lease, b"0123456789abcdef", &[0; 40]),
            (Kind::Config, b"", &[0; 40]),
            (Kind::Config, b"0123456789abcdef0", &[0; 40]),
        ] {
            let mut bytes = unsigned(&header(kind), clear, sealed);
            bytes.extend([9; SIGNATURE_LEN]);
            assert!(SealedObject::parse(&bytes, &[kind]).is_err(), "{kind:?} {clear:?}");
        }
    }
}
