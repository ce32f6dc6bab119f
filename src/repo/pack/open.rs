//! Opens packs: the directory from the trailer, one segment, or everything. No chunk leaves here
//! before its id has been recomputed (I-6).

use std::ops::Range;

use crate::base::id::ChunkId;
use crate::base::kind::{Coding, PackKind};
use crate::base::limits::SEGMENT_PLAIN_MAX;
use crate::base::secret::Secret32;
use crate::codec::prefix::Decoder;
use crate::codec::{self, Decompressor};
use crate::crypto::{self, AeadKey, Domain, Place, TAG_LEN};
use crate::format::header::Header;
use crate::format::pack::{ChunkEntry, Directory, Segment, TRAILER_LEN, Trailer};
use crate::repo::Error;
use crate::repo::index::PackInfo;
use crate::repo::keys::Keys;
use crate::repo::pack::Built;

/// Buffers and the decompressor of one reading thread: nothing is allocated per segment.
#[derive(Default)]
pub struct Scratch {
    decompressor: Decompressor,
    deltas: Decoder,
    sealed: Vec<u8>,
    plain: Vec<u8>,
}

/// What a segment needs to be opened: its sealed bytes and, if it is a delta, its bases' plaintext one
/// after another.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'s> {
    /// The bytes in the pack.
    pub bytes: &'s [u8],
    /// The bases'; empty for a whole segment.
    pub prefix: &'s [u8],
}

impl Scratch {
    /// Opens and decodes the segment `number` of a pack.
    pub fn open(
        &mut self,
        key: &AeadKey,
        header: &[u8; 64],
        number: u64,
        segment: &Segment,
        sealed: Sealed<'_>,
    ) -> Result<&[u8], String> {
        let mut plain = std::mem::take(&mut self.plain);
        let opened = self.open_into(key, header, number, segment, sealed, &mut plain);
        self.plain = plain;
        opened.map(|()| &self.plain[..])
    }

    /// The same into `out`, whose old content is dropped.
    pub fn open_into(
        &mut self,
        key: &AeadKey,
        header: &[u8; 64],
        number: u64,
        segment: &Segment,
        sealed: Sealed<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        if segment.coding == Coding::Raw {
            let got = sealed.bytes.len().saturating_sub(TAG_LEN) as u64;
            if got != u64::from(segment.plain_len) {
                return Err(codec::Error::Length { got, want: segment.plain_len.into() }.to_string());
            }
            make_room(out, segment.plain_len);
            out.resize(segment.plain_len as usize, 0);
            return unseal(key, header, number, sealed.bytes, out);
        }
        let coded = coded(key, header, number, sealed.bytes, &mut self.sealed)?;
        make_room(out, segment.plain_len);
        let decoded = match segment.coding {
            Coding::Zstd => self.decompressor.zstd(coded, segment.plain_len, out),
            Coding::Prefix => self.deltas.decode(sealed.prefix, coded, segment.plain_len, out),
            Coding::Raw | Coding::Dictionary => Err(codec::Error::Unknown),
        };
        decoded.map_err(|e| e.to_string())
    }
}

/// Makes a buffer that comes round again as large as it has to be, and no larger: what counts the bytes that it keeps
/// would otherwise keep half as many. Its old content need not be copied. Lengths that no segment has are refused
/// by whoever decodes.
fn make_room(out: &mut Vec<u8>, len: u32) {
    let len = len.min(SEGMENT_PLAIN_MAX) as usize;
    if out.capacity() < len {
        out.clear();
        out.reserve_exact(len);
    }
}

/// Opens the segment `number` into `out`, which has the length of its coded bytes.
fn unseal(
    key: &AeadKey,
    header: &[u8; 64],
    number: u64,
    sealed: &[u8],
    out: &mut [u8],
) -> Result<(), String> {
    let place = Place { header, domain: Domain::Segment, ordinal: number, tail: b"" };
    key.open_into(place, sealed, out).map_err(|e| e.to_string())
}

/// The coded bytes of the segment `number`, in `buffer`, which grows and never shrinks: nothing in it is
/// zeroed anew.
fn coded<'b>(
    key: &AeadKey,
    header: &[u8; 64],
    number: u64,
    sealed: &[u8],
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], String> {
    let len = sealed.len().saturating_sub(TAG_LEN);
    buffer.resize(buffer.len().max(len), 0);
    unseal(key, header, number, sealed, &mut buffer[..len])?;
    Ok(&buffer[..len])
}

/// Puts the plaintext of bases, each from a copy less deep than said, one after another.
pub type Gather<'g> = &'g mut dyn FnMut(&[ChunkId], u8, &mut Vec<u8>) -> Result<(), String>;

/// A pack seen through the index alone.
pub struct ByIndex<'b> {
    info: &'b PackInfo,
    bytes: &'b [u8],
    key: AeadKey,
}

impl ByIndex<'_> {
    /// Whether `segment` opens and decodes.
    pub fn probe(&self, segment: u32, scratch: &mut Scratch, gather: Gather<'_>) -> Result<(), String> {
        let at = self.info.segments.get(segment as usize).ok_or("there is no such segment")?;
        let range = at.range();
        let bytes = self.bytes.get(range.start as usize..range.end as usize).ok_or("it is cut off")?;
        let mut prefix = Vec::new();
        gather(self.info.bases_of(at), at.depth, &mut prefix)?;
        let sealed = Sealed { bytes, prefix: &prefix };
        scratch.open(&self.key, &self.info.header, segment.into(), at, sealed).map(drop)
    }
}

fn read_trailer(name: &str, kind: PackKind, bytes: &[u8]) -> Result<Trailer, Error> {
    let start = bytes.len().checked_sub(TRAILER_LEN);
    let start = start.ok_or_else(|| Error::damaged(name, "it is shorter than a trailer"))?;
    Trailer::decode(kind, &bytes[start..]).map_err(Error::format(name))
}

/// Opens the sealed directory of a pack.
pub fn open_directory(
    name: &str,
    kind: PackKind,
    header: &[u8; 64],
    key: &AeadKey,
    mut sealed: Vec<u8>,
) -> Result<Directory, Error> {
    let place = Place { header, domain: Domain::Directory, ordinal: 0, tail: b"" };
    let plain = key.open(place, &mut sealed).map_err(Error::crypto(name))?;
    Directory::decode(kind, plain).map_err(Error::format(name))
}

/// A whole pack in memory, its directory open.
pub struct OpenPack<'b> {
    bytes: &'b [u8],
    header: [u8; 64],
    key: AeadKey,
    /// What is in it.
    pub directory: Directory,
}

impl<'b> OpenPack<'b> {
    /// Checks trailer and padding and opens the directory of the pack `bytes`. Whether the bytes
    /// hash to the pack's name is the caller's to check.
    pub fn new(name: &str, kind: PackKind, bytes: &'b [u8], keys: &Keys) -> Result<Self, Error> {
        let header = Header::decode(bytes, kind.into()).map_err(Error::format(name))?;
        let trailer = read_trailer(name, kind, bytes)?;
        let encoded = header.encode();
        if trailer.header != encoded || bytes.get(64..144) != Some(&trailer.wrapped[..]) {
            return Err(Error::damaged(name, "header and trailer differ"));
        }
        let secret = keys.open_pack_key(name, kind, &encoded, &trailer.wrapped)?;
        let opened =
            Self::with_key(name, kind, bytes, encoded, AeadKey::new(&secret), trailer.directory_len)?;
        opened.check_padding(name, &secret)?;
        Ok(opened)
    }

    /// Opens a pack that was just built, with the key that it was built with.
    pub fn reopen(built: &'b Built) -> Result<Self, Error> {
        let (record, bytes) = (&built.record, &built.bytes[..]);
        let kind = record.directory.kind();
        let trailer = read_trailer("a new pack", kind, bytes)?;
        Self::with_key("a new pack", kind, bytes, record.header, built.key.clone(), trailer.directory_len)
    }

    /// Opens a pack whose own directory is unusable by what the index says of it.
    pub fn by_index(
        name: &str,
        info: &'b PackInfo,
        bytes: &'b [u8],
        keys: &Keys,
    ) -> Result<ByIndex<'b>, Error> {
        let secret = keys.open_pack_key(name, info.kind, &info.header, &info.wrapped)?;
        Ok(ByIndex { info, bytes, key: AeadKey::new(&secret) })
    }

    fn with_key(
        name: &str,
        kind: PackKind,
        bytes: &'b [u8],
        header: [u8; 64],
        key: AeadKey,
        directory_len: u32,
    ) -> Result<Self, Error> {
        let end = bytes.len() - TRAILER_LEN;
        let Some(start) = end.checked_sub(directory_len as usize) else {
            return Err(Error::damaged(name, "its directory is longer than itself"));
        };
        let directory = open_directory(name, kind, &header, &key, bytes[start..end].to_vec())?;
        if directory.object_len() != bytes.len() as u64 || directory.data_end() > start as u64 {
            return Err(Error::damaged(name, "its size is not that of its content"));
        }
        Ok(OpenPack { bytes, header, key, directory })
    }

    /// The sealed bytes of a segment of this pack.
    fn sealed(&self, segment: &Segment) -> &'b [u8] {
        let range = segment.range();
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// The coded bytes of its segment `number`.
    pub fn unseal<'s>(
        &self,
        number: usize,
        segment: &Segment,
        scratch: &'s mut Scratch,
    ) -> Result<&'s [u8], String> {
        coded(&self.key, &self.header, number as u64, self.sealed(segment), &mut scratch.sealed)
    }

    /// The plaintext of its segment `number`, which is no delta.
    pub fn decode<'s>(
        &self,
        number: usize,
        segment: &Segment,
        scratch: &'s mut Scratch,
    ) -> Result<&'s [u8], String> {
        let sealed = Sealed { bytes: self.sealed(segment), prefix: &[] };
        scratch.open(&self.key, &self.header, number as u64, segment, sealed)
    }

    fn check_padding(&self, name: &str, secret: &Secret32) -> Result<(), Error> {
        let start = self.directory.data_end() as usize;
        let mut expected = vec![0; self.directory.padding_len() as usize];
        crypto::expand(crypto::context::PADDING, secret, &mut expected);
        if self.bytes.get(start..start + expected.len()) == Some(&expected[..]) {
            Ok(())
        } else {
            Err(Error::damaged(name, "its padding is not what its key makes"))
        }
    }

    /// Opens every segment, recomputes every id and hands each chunk to `each`. The first damage
    /// of a segment goes to `bad` with the segment's number; the others are still read. The bases of
    /// deltas come from `gather`.
    pub fn read_all(
        &self,
        keys: &Keys,
        scratch: &mut Scratch,
        gather: Gather<'_>,
        each: &mut dyn FnMut(&ChunkEntry, &[u8]),
        bad: &mut dyn FnMut(usize, Range<u16>, String),
    ) {
        let mut prefix = Vec::new();
        for (number, segment) in self.directory.segments().iter().enumerate() {
            let chunks = self.directory.chunks_of(segment);
            prefix.clear();
            let opened = match gather(self.directory.bases_of(segment), segment.depth, &mut prefix) {
                Ok(()) => {
                    let sealed = Sealed { bytes: self.sealed(segment), prefix: &prefix };
                    scratch.open(&self.key, &self.header, number as u64, segment, sealed)
                }
                Err(reason) => Err(reason),
            };
            let plain = match opened {
                Ok(plain) => plain,
                Err(reason) => {
                    bad(number, 0..segment.chunk_count, reason);
                    continue;
                }
            };
            let mut at = 0;
            for (ordinal, chunk) in (0u16..).zip(chunks) {
                let plain = &plain[at..at + chunk.len as usize];
                at += chunk.len as usize;
                if keys.chunk_id(chunk.kind, plain) == chunk.id {
                    each(chunk, plain);
                } else {
                    bad(number, ordinal..ordinal + 1, "its plaintext does not match its id".into());
                }
            }
        }
    }
}
