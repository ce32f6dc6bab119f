//! AES-256-GCM with nonces that are places (I-7): every sealed thing has an ordinal and a domain
//! inside an object whose key is its own, so no nonce can come twice under one key; the additional
//! data repeats the place and the object's whole header, so nothing sealed can be moved.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};

use crate::base::secret::Secret32;
use crate::crypto::Error;

/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;

/// Most bytes under one nonce: far below GCM's 2^36 - 32, above every limit of the format.
const PLAIN_MAX: usize = 1 << 31;

/// What is sealed; part of the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A segment of a pack.
    Segment = 0,
    /// A pack's directory.
    Directory = 1,
    /// The body of a small object.
    Body = 2,
    /// A frame of an index part that is not the last.
    Frame = 3,
    /// The last frame of an index part.
    LastFrame = 4,
    /// The keyring of a keyslot.
    Keyring = 5,
    /// A frame of a WAL object.
    WalFrame = 6,
}

/// Where a sealed thing stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The object's encoded header.
    pub header: &'a [u8; 64],
    /// What it is.
    pub domain: Domain,
    /// Which one it is, from 0.
    pub ordinal: u64,
    /// Clear bytes that belong to it, or none.
    pub tail: &'a [u8],
}

impl Place<'_> {
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.ordinal.to_le_bytes());
        nonce[8..].copy_from_slice(&(self.domain as u32).to_le_bytes());
        nonce
    }

    /// Calls `f` with the additional data. Segments have no tail, so the hot path stays on the stack.
    fn with_data<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        let mut fixed = [0; 76];
        fixed[..64].copy_from_slice(self.header);
        fixed[64..68].copy_from_slice(&(self.domain as u32).to_le_bytes());
        fixed[68..].copy_from_slice(&self.ordinal.to_le_bytes());
        if self.tail.is_empty() { f(&fixed) } else { f(&[&fixed, self.tail].concat()) }
    }
}

/// A key with its schedule expanded; wiped on drop by the cipher.
#[derive(Clone)]
pub struct AeadKey(Aes256Gcm);

impl std::fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AeadKey(…)")
    }
}

impl AeadKey {
    /// Expands `key`.
    pub fn new(key: &Secret32) -> Self {
        AeadKey(Aes256Gcm::new(key.bytes().into()))
    }

    /// Seals `buffer[start..]` in place and appends the tag.
    pub fn seal(&self, place: Place<'_>, buffer: &mut Vec<u8>, start: usize) -> Result<(), Error> {
        if buffer.len() - start > PLAIN_MAX {
            return Err(Error::TooLong);
        }
        let plain = InOutBuf::from(&mut buffer[start..]);
        let tag = place
            .with_data(|data| self.0.encrypt_inout_detached(&Nonce::from(place.nonce()), data, plain))
            .map_err(|_| Error::TooLong)?;
        buffer.extend_from_slice(&tag);
        Ok(())
    }

    /// Seals `plain` into `out`, which is longer by the tag.
    pub fn seal_into(&self, place: Place<'_>, plain: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let (sealed, tag) = out.split_at_mut_checked(plain.len()).ok_or(Error::TooLong)?;
        if plain.len() > PLAIN_MAX || tag.len() != TAG_LEN {
            return Err(Error::TooLong);
        }
        let inout = InOutBuf::new(plain, sealed).map_err(|_| Error::TooLong)?;
        let made = place.with_data(|data| {
            let nonce = Nonce::from(place.nonce());
            self.0.encrypt_inout_detached(&nonce, data, inout)
        });
        tag.copy_from_slice(&made.map_err(|_| Error::TooLong)?);
        Ok(())
    }

    /// Opens `sealed` into `out`, which is shorter by the tag. On failure `out` is as it was.
    pub fn open_into(&self, place: Place<'_>, sealed: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let (sealed, tag) = sealed.split_at_checked(out.len()).ok_or(Error::Seal)?;
        let tag = Tag::try_from(tag).map_err(|_| Error::Seal)?;
        let inout = InOutBuf::new(sealed, out).map_err(|_| Error::Seal)?;
        let nonce = Nonce::from(place.nonce());
        place
            .with_data(|data| self.0.decrypt_inout_detached(&nonce, data, inout, &tag))
            .map_err(|_| Error::Seal)
    }

    /// Opens `sealed` in place; its plaintext is the returned front of it. On failure the buffer's
    /// content is meaningless and must not be used.
    pub fn open<'b>(&self, place: Place<'_>, sealed: &'b mut [u8]) -> Result<&'b mut [u8], Error> {
        let len = sealed.len().checked_sub(TAG_LEN).ok_or(Error::Seal)?;
        let (plain, tag) = sealed.split_at_mut(len);
        let tag = Tag::try_from(&*tag).map_err(|_| Error::Seal)?;
        place
            .with_data(|data| {
                let inout = InOutBuf::from(&mut *plain);
                self.0.decrypt_inout_detached(&Nonce::from(place.nonce()), data, inout, &tag)
            })
            .map_err(|_| Error::Seal)?;
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn opens_only_at_its_place() {
        let key = AeadKey::new(&Secret32([7; 32]));
        let (header, other) = ([1; 64], [2; 64]);
        let place = Place { header: &header, domain: Domain::Segment, ordinal: 3, tail: b"" };
        let mut sealed = b"xxhello".to_vec();
        key.seal(place, &mut sealed, 2).unwrap();
        assert_eq!(sealed.len(), 2 + 5 + TAG_LEN);
        assert_eq!(key.open(place, &mut sealed.clone()[2..]).unwrap(), b"hello");
        let mut beside = [0; 5 + TAG_LEN];
        key.seal_into(place, b"hello", &mut beside).unwrap();
        assert_eq!(beside, sealed[2..], "the same in another buffer");
        let mut plain = [0; 5];
        key.open_into(place, &beside, &mut plain).unwrap();
        assert_eq!(&plain, b"hello");
        for len in [4, 6] {
            assert_eq!(key.open_into(place, &beside, &mut vec![0; len]).unwrap_err(), Error::Seal);
            assert_eq!(key.seal_into(place, &vec![0; len], &mut beside).unwrap_err(), Error::TooLong);
        }
        let elsewhere = [
            Place { header: &other, ..place },
            Place { domain: Domain::Directory, ..place },
            Place { ordinal: 4, ..place },
            Place { tail: b"t", ..place },
        ];
        for place in elsewhere {
            assert_eq!(key.open(place, &mut sealed.clone()[2..]).unwrap_err(), Error::Seal);
            assert_eq!(key.open_into(place, &sealed[2..], &mut [0; 5]).unwrap_err(), Error::Seal);
        }
        for bit in 0..(sealed.len() - 2) * 8 {
            let mut bad = sealed[2..].to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut out = [9; 5];
            assert_eq!(key.open_into(place, &bad, &mut out).unwrap_err(), Error::Seal);
            assert_eq!(out, [9; 5], "nothing leaks from what is not sealed");
            assert_eq!(key.open(place, &mut bad).unwrap_err(), Error::Seal);
        }
        for len in 0..sealed.len() - 2 {
            assert!(key.open(place, &mut sealed.clone()[2..2 + len]).is_err());
        }
    }
}
