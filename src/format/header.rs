//! The 64 bytes, in clear, with which every object begins. They say what the object is and which
//! versions may read it, and they are bound into everything sealed in it (I-7).

use crate::base::id::SignerId;
use crate::base::kind::PackKind;
use crate::format::error::{Error, Reason};
use crate::format::wire::{Reader, Writer};

/// The first bytes of every object.
pub const MAGIC: [u8; 8] = *b"KAMBAVLT";
/// The version that this program writes, and the newest that it reads.
pub const VERSION: u8 = 1;
/// BLAKE3, AES-256-GCM, Ed25519, HPKE with X25519, Argon2id, zstd.
pub const SUITE: u8 = 1;
/// Bytes of an encoded header.
pub const HEADER_LEN: usize = 64;

const WHAT: &str = "header";

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The repository's configuration.
    Config = 1,
    /// One way to unlock a keyring.
    KeySlot = 2,
    /// The list of signers and their rights.
    Signers = 3,
    /// A pack of file or stream data.
    DataPack = 4,
    /// A pack of lists and trees.
    MetaPack = 5,
    /// An index part.
    Index = 6,
    /// A snapshot.
    Root = 7,
    /// A mark that a writer is at work.
    Lease = 8,
    /// A statement about a pack or chunk. Reserved.
    Mark = 9,
    /// Tags, holds and notes. Reserved.
    Annotation = 10,
    /// A file of PostgreSQL's WAL.
    Wal = 11,
    /// A fenced session, in the place of its snapshot.
    Tombstone = 12,
    /// Recovery data of another object. Reserved.
    Parity = 13,
    /// Which WAL segments were durable.
    WalLedger = 14,
}

impl Kind {
    /// The byte that stands for it.
    pub const fn to_u8(self) -> u8 {
        self as u8
    }

    /// The reverse of `to_u8`; `None` for a byte that this version does not know.
    pub const fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Kind::Config,
            2 => Kind::KeySlot,
            3 => Kind::Signers,
            4 => Kind::DataPack,
            5 => Kind::MetaPack,
            6 => Kind::Index,
            7 => Kind::Root,
            8 => Kind::Lease,
            9 => Kind::Mark,
            10 => Kind::Annotation,
            11 => Kind::Wal,
            12 => Kind::Tombstone,
            13 => Kind::Parity,
            14 => Kind::WalLedger,
            _ => return None,
        })
    }
}

impl From<PackKind> for Kind {
    fn from(kind: PackKind) -> Self {
        match kind {
            PackKind::Data => Kind::DataPack,
            PackKind::Meta => Kind::MetaPack,
        }
    }
}

/// An object's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the object is.
    pub kind: Kind,
    /// The format version of the program that wrote it.
    pub write_version: u8,
    /// The least version that a reader must know.
    pub least_read: u8,
    /// The set of algorithms.
    pub suite: u8,
    /// The epoch of the keys that it is sealed with.
    pub epoch: u32,
    /// Who signed it, or for a pack: who signs the index part that names it. Zero: nobody.
    pub signer: SignerId,
    /// Random, new for every object.
    pub salt: [u8; 32],
}

impl Header {
    /// A header as this program writes it.
    pub fn new(kind: Kind, epoch: u32, signer: SignerId, salt: [u8; 32]) -> Self {
        Header { kind, write_version: VERSION, least_read: 1, suite: SUITE, epoch, signer, salt }
    }

    /// Whether a newer program wrote the object: it may be read, but not what belongs to it rewritten.
    pub fn is_newer(&self) -> bool {
        self.write_version > VERSION
    }

    /// The bytes on disk.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        Writer::new(&mut out)
            .bytes(&MAGIC)
            .u8(self.kind.to_u8())
            .u8(self.write_version)
            .u8(self.least_read)
            .u8(self.suite)
            .u32(self.epoch)
            .bytes(&self.signer.0)
            .bytes(&self.salt);
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&out);
        header
    }

    /// Reads the header at the beginning of `object`, which must be of the kind `want`.
    pub fn decode(object: &[u8], want: Kind) -> Result<Self, Error> {
        Self::decode_one_of(object, &[want])
    }

    /// Reads the header at the beginning of `object`, which must be of one of the kinds `wants`.
    pub fn decode_one_of(object: &[u8], wants: &[Kind]) -> Result<Self, Error> {
        let mut reader = Reader::new(WHAT, object);
        if reader.array()? != MAGIC {
            return Err(Error::new(WHAT, Reason::BadMagic));
        }
        let kind = reader.u8()?;
        let [write_version, least_read, suite] = reader.array()?;
        // Before everything else: a newer format may number kinds and suites that we do not know.
        if least_read > VERSION {
            return Err(reader.error(Reason::TooNew { least_read }));
        }
        if least_read == 0 || write_version < least_read {
            return Err(reader.inconsistent("its format versions contradict each other"));
        }
        let Some(kind) = wants.iter().copied().find(|want| want.to_u8() == kind) else {
            let want = wants.first().map_or(0, |want| want.to_u8());
            return Err(Error { what: WHAT, offset: 8, reason: Reason::WrongKind { want, found: kind } });
        };
        if suite != SUITE {
            return Err(reader.error(Reason::UnknownSuite(suite)));
        }
        let epoch = reader.u32()?;
        let signer = SignerId(reader.array()?);
        let salt = reader.array()?;
        Ok(Header { kind, write_version, least_read, suite, epoch, signer, salt })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::testing;
    use proptest::prelude::*;

    #[test]
    fn every_kind_keeps_its_byte() {
        let known: Vec<u8> = (0..=255).filter(|&b| Kind::from_u8(b).is_some()).collect();
        assert_eq!(known, (1..=14).collect::<Vec<u8>>());
        for byte in known {
            assert_eq!(Kind::from_u8(byte).map(Kind::to_u8), Some(byte));
        }
    }

    #[test]
    fn a_header_is_read_by_those_who_may() {
        let header = Header::new(Kind::Root, 7, SignerId([3; 16]), [9; 32]);
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes, Kind::Root).unwrap(), header);
        let reason = |at: usize, byte: u8, want: Kind| {
            let mut changed = bytes;
            changed[at] = byte;
            Header::decode(&changed, want).unwrap_err().reason
        };
        assert_eq!(reason(0, b'k', Kind::Root), Reason::BadMagic);
        assert_eq!(reason(8, 7, Kind::Lease), Reason::WrongKind { want: 8, found: 7 });
        assert_eq!(reason(10, 2, Kind::Root), Reason::TooNew { least_read: 2 });
        assert!(matches!(reason(10, 0, Kind::Root), Reason::Inconsistent(_)));
        assert!(matches!(reason(9, 0, Kind::Root), Reason::Inconsistent(_)));
        assert_eq!(reason(11, 2, Kind::Root), Reason::UnknownSuite(2));
        let mut newer = bytes;
        newer[9] = 2;
        assert!(Header::decode(&newer, Kind::Root).unwrap().is_newer());
        assert_eq!(Header::decode_one_of(&bytes, &[Kind::Tombstone, Kind::Root]).unwrap().kind, Kind::Root);
    }

    proptest! {
        #[test]
        fn headers_round_trip(epoch: u32, signer: [u8; 16], salt: [u8; 32]) {
            let header = Header::new(Kind::Index, epoch, SignerId(signer), salt);
            testing::canonical(
                &header.encode(),
                |bytes| {
                    // A header is the beginning of an object: what follows is none of its business.
                    Header::decode(bytes, Kind::Index).and_then(|header| match bytes.len() {
                        HEADER_LEN => Ok(header),
                        _ => Err(Error::new("header", Reason::Trailing { extra: 1 })),
                    })
                },
                |header| header.encode().to_vec(),
            );
        }
    }
}
