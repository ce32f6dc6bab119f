//! Builds one pack in memory: header, wrapped key, sealed segments, padding, sealed directory,
//! trailer (`format-spec/segments-and-packs.md`). Its buffer is handed in and out, so that a
//! session allocates a few of them once.

use crate::base::id::{ChunkId, PackId};
use crate::base::kind::{Coding, PackKind};
use crate::base::limits;
use crate::base::secret::Secret32;
use crate::crypto::{self, AeadKey, Domain, Place, Random, TAG_LEN, WRAPPED_LEN};
use crate::format::header::Header;
use crate::format::index::PackRecord;
use crate::format::pack::{ChunkEntry, Directory, Stored, Trailer};
use crate::repo::Error;
use crate::repo::keys::Keys;

/// A pack that grows.
pub struct PackBuilder {
    header: [u8; 64],
    wrapped: [u8; WRAPPED_LEN],
    secret: Secret32,
    key: AeadKey,
    directory: Directory,
    /// Grows and never shrinks: nothing is zeroed anew in a buffer that comes round again.
    bytes: Vec<u8>,
    /// How much of it is the pack's.
    len: usize,
    deltas: Vec<[u8; 32]>,
}

/// A finished pack: its stored bytes and what the index will say of it.
pub struct Built {
    /// What is stored.
    pub bytes: Vec<u8>,
    /// What the index part will hold.
    pub record: PackRecord,
    /// The key, for the check that follows.
    pub key: AeadKey,
    /// The same, for whoever keeps a copy.
    pub secret: Secret32,
    /// For each delta, the hash of what was sealed: its plaintext was compared before, while its bases
    /// were at hand.
    pub deltas: Vec<[u8; 32]>,
}

/// One segment, ready to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct ToSeal<'s> {
    /// Its coded bytes.
    pub coded: &'s [u8],
    /// How they were coded.
    pub coding: Coding,
    /// Links of the chain of deltas below it; zero unless it is one.
    pub depth: u8,
    /// What it was coded against.
    pub bases: &'s [ChunkId],
    /// What is in it.
    pub chunks: &'s [ChunkEntry],
}

impl PackBuilder {
    /// Begins a pack in `bytes`, whose old content goes.
    pub fn new(kind: PackKind, keys: &Keys, random: &dyn Random, mut bytes: Vec<u8>) -> Result<Self, Error> {
        let failed = Error::crypto("a new pack");
        let (salt, secret) = (random.array(), random.secret());
        let (salt, secret) = salt.and_then(|salt| Ok((salt, secret?))).map_err(failed)?;
        let header = Header::new(kind.into(), keys.epoch(), keys.signer().id(), salt).encode();
        let wrapped =
            crypto::wrap_key(keys.pack_public(kind), keys.psk(), &keys.psk_id(), &header, &secret, random)
                .map_err(Error::crypto("a new pack"))?;
        let len = header.len() + wrapped.len();
        bytes.resize(bytes.len().max(len), 0);
        bytes[..header.len()].copy_from_slice(&header);
        bytes[header.len()..len].copy_from_slice(&wrapped);
        let key = AeadKey::new(&secret);
        let directory = Directory::new(kind);
        Ok(PackBuilder { header, wrapped, secret, key, directory, bytes, len, deltas: Vec::new() })
    }

    /// Whether a segment still fits; an empty pack takes any.
    pub fn fits(&self, segment: &ToSeal<'_>) -> bool {
        let (segments, chunks) = (self.directory.segments().len(), segment.chunks.len());
        let stored_len = segment.coded.len() + TAG_LEN;
        let object_len = self.directory.object_len_with(stored_len, segment.bases.len(), chunks);
        segments == 0
            || (object_len <= limits::PACK_SIZE_AIM
                && segments < limits::PACK_SEGMENTS_MAX
                && self.directory.chunks().len() + chunks <= limits::PACK_CHUNKS_MAX)
    }

    /// Seals one segment into the pack. What the directory refuses is not sealed: its number would be
    /// the next segment's too, and the nonce with it (I-7).
    pub fn append(&mut self, segment: &ToSeal<'_>) -> Result<(), Error> {
        let &ToSeal { coded, coding, depth, bases, chunks } = segment;
        let len = u32::try_from(coded.len() + TAG_LEN).unwrap_or(u32::MAX);
        let ordinal = self.directory.push(Stored { len, coding, depth }, bases, chunks)?.into();
        if coding == Coding::Prefix {
            self.deltas.push(crypto::hash(coded));
        }
        let end = self.len + coded.len() + TAG_LEN;
        self.bytes.resize(self.bytes.len().max(end), 0);
        let place = Place { header: &self.header, domain: Domain::Segment, ordinal, tail: b"" };
        let sealed = &mut self.bytes[self.len..end];
        self.key.seal_into(place, coded, sealed).map_err(Error::crypto("a new pack"))?;
        self.len = end;
        Ok(())
    }

    /// Pads, seals the directory, writes the trailer and names the pack.
    pub fn finish(mut self) -> Result<Built, Error> {
        let mut directory = self.directory.encode();
        let place = Place { header: &self.header, domain: Domain::Directory, ordinal: 0, tail: b"" };
        self.key.seal(place, &mut directory, 0).map_err(Error::crypto("a new pack"))?;
        let padding_start = self.len;
        self.bytes.truncate(self.len);
        self.bytes.resize(padding_start + self.directory.padding_len() as usize, 0);
        crypto::expand(crypto::context::PADDING, &self.secret, &mut self.bytes[padding_start..]);
        let trailer =
            Trailer { wrapped: self.wrapped, header: self.header, directory_len: directory.len() as u32 };
        self.bytes.extend_from_slice(&directory);
        self.bytes.extend_from_slice(&trailer.encode());
        let record = PackRecord {
            id: PackId(crypto::hash(&self.bytes)),
            size: self.bytes.len() as u64,
            header: self.header,
            wrapped: self.wrapped,
            directory: self.directory,
        };
        Ok(Built { bytes: self.bytes, record, key: self.key, secret: self.secret, deltas: self.deltas })
    }
}
