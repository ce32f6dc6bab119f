//! The bytes of a keyslot object and of a key file. What they mean, and whether a secret fits, is left
//! to the layer that holds the cryptography.

use zeroize::Zeroizing;

use crate::base::id::{RepositoryId, SignerId, hex, unhex};
use crate::base::limits;
use crate::base::secret::Secret32;
use crate::format::error::{Error, Reason};
use crate::format::header::{HEADER_LEN, Header, Kind};
use crate::format::pack::TAG_LEN;
use crate::format::wire::{Reader, Writer};

const WHAT: &str = "keyslot";
/// Bytes of a slot's clear part.
pub const CLEAR_LEN: usize = HEADER_LEN + 16 + 1 + 12;

/// What unlocks a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SlotKind {
    /// A passphrase.
    Passphrase = 1,
    /// A passphrase and a key file, both.
    Both = 2,
    /// A key file.
    KeyFile = 3,
}

impl SlotKind {
    /// Whether a passphrase is asked for.
    pub fn needs_passphrase(self) -> bool {
        self != SlotKind::KeyFile
    }

    /// Whether a key file is asked for.
    pub fn needs_key_file(self) -> bool {
        self != SlotKind::Passphrase
    }
}

/// What Argon2id costs; all zero where there is no passphrase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Argon {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

/// A keyslot object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySlot {
    /// Its header; the salt is also Argon2id's.
    pub header: Header,
    /// The repository it belongs to.
    pub repository: RepositoryId,
    /// What unlocks it.
    pub kind: SlotKind,
    /// What that costs.
    pub argon: Argon,
    /// Commits to the secret.
    pub commitment: [u8; 32],
    /// The sealed keyring.
    pub sealed: Vec<u8>,
}

impl KeySlot {
    /// The clear part, which keys and commitment are bound to.
    pub fn clear(&self) -> [u8; CLEAR_LEN] {
        clear(&self.header, &self.repository, self.kind, self.argon)
    }

    /// The bytes of the object.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CLEAR_LEN + 36 + self.sealed.len());
        Writer::new(&mut out)
            .bytes(&self.clear())
            .bytes(&self.commitment)
            .u32(self.sealed.len() as u32)
            .bytes(&self.sealed);
        out
    }

    /// Reads an object. Costs beyond the limits are refused, so that a hostile slot cannot exhaust the
    /// machine (I-9).
    pub fn decode(object: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(WHAT, object);
        reader.limit("an object", object.len() as u64, limits::SMALL_OBJECT_MAX)?;
        let header = Header::decode(object, Kind::KeySlot)?;
        reader.bytes(HEADER_LEN)?;
        if header.signer != SignerId([0; 16]) || header.epoch != 0 {
            return Err(reader.error(Reason::NotCanonical("a keyslot's header")));
        }
        let repository = RepositoryId(reader.array()?);
        let kind = match reader.u8()? {
            1 => SlotKind::Passphrase,
            2 => SlotKind::Both,
            3 => SlotKind::KeyFile,
            _ => return Err(reader.inconsistent("its kind is unknown")),
        };
        let argon = Argon { memory_kib: reader.u32()?, passes: reader.u32()?, lanes: reader.u32()? };
        argon.check(kind).map_err(|reason| reader.error(reason))?;
        let commitment = reader.array()?;
        let len = reader.length_u32("a sealed keyring", limits::SMALL_OBJECT_MAX as usize)?;
        if len <= TAG_LEN as usize {
            return Err(reader.inconsistent("the keyring is shorter than its seal"));
        }
        let sealed = reader.bytes(len)?.to_vec();
        reader.finish()?;
        Ok(KeySlot { header, repository, kind, argon, commitment, sealed })
    }
}

/// The clear part of a slot that is being made.
pub fn clear(header: &Header, repository: &RepositoryId, kind: SlotKind, argon: Argon) -> [u8; CLEAR_LEN] {
    let mut out = Vec::with_capacity(CLEAR_LEN);
    Writer::new(&mut out)
        .bytes(&header.encode())
        .bytes(&repository.0)
        .u8(kind as u8)
        .u32(argon.memory_kib)
        .u32(argon.passes)
        .u32(argon.lanes);
    let mut clear = [0; CLEAR_LEN];
    clear.copy_from_slice(&out);
    clear
}

impl Argon {
    fn check(&self, kind: SlotKind) -> Result<(), Reason> {
        if !kind.needs_passphrase() {
            let zero = *self == Argon::default();
            return if zero { Ok(()) } else { Err(Reason::NotCanonical("an unused cost")) };
        }
        for (what, value, max) in [
            ("the memory of Argon2id", self.memory_kib, limits::ARGON_MEMORY_KIB_MAX),
            ("the passes of Argon2id", self.passes, limits::ARGON_PASSES_MAX),
            ("the lanes of Argon2id", self.lanes, limits::ARGON_LANES_MAX),
        ] {
            if value > max {
                return Err(Reason::TooLarge { what, len: value.into(), max: max.into() });
            }
        }
        // RFC 9106, section 3.1: at least 8 KiB for each lane.
        if self.passes == 0 || self.lanes == 0 || self.memory_kib < 8 * self.lanes {
            return Err(Reason::Inconsistent("its cost is less than Argon2id allows"));
        }
        Ok(())
    }
}

const KEY_FILE_FIRST: &str = "kamba-vault key file 1\n";

/// The text of a key file.
pub fn encode_key_file(key: &Secret32) -> Zeroizing<String> {
    let digits = Zeroizing::new(hex(key.bytes()));
    let mut text = Zeroizing::new(String::with_capacity(97));
    for part in [KEY_FILE_FIRST, &digits, "\n", &key_file_check(key.bytes()), "\n"] {
        text.push_str(part);
    }
    text
}

/// The key in a key file, which must be exactly as it was written.
pub fn decode_key_file(bytes: &[u8]) -> Result<Secret32, Error> {
    let fail = |reason| Error::new("key file", reason);
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let rest = text.strip_prefix(KEY_FILE_FIRST).ok_or(fail(Reason::BadMagic))?;
    let wrong = fail(Reason::Inconsistent("it is not three lines of a heading, 64 digits and 8 digits"));
    let (digits, check) = rest.split_once('\n').ok_or(wrong)?;
    let key = Secret32(unhex(digits).ok_or(wrong)?);
    match check.strip_suffix('\n') {
        Some(check) if check == key_file_check(key.bytes()) => Ok(key),
        Some(check) if unhex::<4>(check).is_some() => {
            Err(fail(Reason::Inconsistent("its last line does not fit its key: it was damaged or mistyped")))
        }
        _ => Err(wrong),
    }
}

/// Tells a damaged copy from a wrong one. Four bytes of a hash give nothing of a random key away.
fn key_file_check(key: &[u8; 32]) -> String {
    hex(blake3::hash(key).as_bytes().first_chunk::<4>().map_or(&[], |first| &first[..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::testing;
    use proptest::prelude::*;

    fn slot(kind: SlotKind) -> KeySlot {
        let argon = match kind {
            SlotKind::KeyFile => Argon::default(),
            _ => Argon { memory_kib: 128 << 10, passes: 3, lanes: 2 },
        };
        KeySlot {
            header: Header::new(Kind::KeySlot, 0, SignerId([0; 16]), [5; 32]),
            repository: RepositoryId([6; 16]),
            kind,
            argon,
            commitment: [7; 32],
            sealed: vec![8; 50],
        }
    }

    #[test]
    fn slots_round_trip_in_one_form() {
        for kind in [SlotKind::Passphrase, SlotKind::Both, SlotKind::KeyFile] {
            let slot = slot(kind);
            let bytes = slot.encode();
            assert_eq!(KeySlot::decode(&bytes).unwrap(), slot);
            assert_eq!(bytes[..CLEAR_LEN], slot.clear());
            assert_eq!(bytes.len(), 129 + 50);
            testing::canonical(&bytes, KeySlot::decode, KeySlot::encode);
        }
    }

    #[test]
    fn hostile_costs_are_refused() {
        let refused = |kind, memory_kib, passes, lanes| {
            let argon = Argon { memory_kib, passes, lanes };
            KeySlot::decode(&KeySlot { argon, ..slot(kind) }.encode()).is_err()
        };
        let (memory, passes, lanes) =
            (limits::ARGON_MEMORY_KIB_MAX, limits::ARGON_PASSES_MAX, limits::ARGON_LANES_MAX);
        assert!(!refused(SlotKind::Passphrase, memory, passes, lanes));
        assert!(refused(SlotKind::Passphrase, memory + 1, passes, lanes));
        assert!(refused(SlotKind::Both, memory, passes + 1, lanes));
        assert!(refused(SlotKind::Passphrase, memory, passes, lanes + 1));
        assert!(refused(SlotKind::Passphrase, memory, 0, lanes));
        assert!(refused(SlotKind::Passphrase, 15, 1, 2));
        assert!(refused(SlotKind::KeyFile, 1, 0, 0));
        let mut signed = slot(SlotKind::Both);
        signed.header.signer = SignerId([1; 16]);
        assert!(KeySlot::decode(&signed.encode()).is_err());
    }

    proptest! {
        #[test]
        fn key_files_round_trip_and_tell_damage(key: [u8; 32], at in 0usize..97, change in 1u8..=127) {
            let text = encode_key_file(&Secret32(key));
            prop_assert_eq!(text.len(), 97);
            prop_assert_eq!(decode_key_file(text.as_bytes()).unwrap(), Secret32(key));
            let mut changed = text.as_bytes().to_vec();
            changed[at] ^= change;
            prop_assert!(decode_key_file(&changed).is_err());
            prop_assert!(decode_key_file(&text.as_bytes()[..at]).is_err());
            let longer = format!("{}\n", text.as_str());
            prop_assert!(decode_key_file(longer.as_bytes()).is_err());
        }
    }
}
