//! Index parts as objects: sealed frame by frame under the key every role has, signed, named by
//! their hash. Writing keeps I-1: callers hand in durable packs only.

use crate::base::id::{ChunkId, ObjectHash};
use crate::base::limits::{INDEX_PART_CHUNKS_MAX, INDEX_PART_MAX, INDEX_PART_PACKS_MAX};
use crate::crypto::{self, AeadKey, Domain, Place};
use crate::format::frames::{self, Framed};
use crate::format::header::{Header, Kind};
use crate::format::index::{self, PackRecord};
use crate::format::name::index_name;
use crate::repo::index::load;
use crate::repo::{Error, Repository};

/// A part that was written.
#[derive(Debug)]
pub struct WrittenPart {
    /// Stored size in bytes.
    pub size: u64,
    /// The chunks it names, if the local cache knows them now.
    pub ids: Vec<ChunkId>,
}

/// Writes the first of `packs`, as many as one part takes, into a part and into the local cache, and
/// removes them from `packs`. If it fails, they stay there.
pub fn write_part(repo: &Repository, packs: &mut Vec<PackRecord>) -> Result<WrittenPart, Error> {
    let mut chunks = 0;
    let fits = packs.iter().take(INDEX_PART_PACKS_MAX).take_while(|pack| {
        chunks += pack.directory.chunks().len();
        chunks <= INDEX_PART_CHUNKS_MAX
    });
    let count = fits.count().max(1).min(packs.len());
    let written = write_one(repo, &packs[..count])?;
    packs.drain(..count);
    Ok(written)
}

fn write_one(repo: &Repository, packs: &[PackRecord]) -> Result<WrittenPart, Error> {
    const NEW: &str = "a new index part";
    let plain = index::encode(&[], packs).map_err(Error::format(NEW))?;
    let keys = repo.keys();
    let salt = repo.random().array().map_err(Error::crypto(NEW))?;
    let header = Header::new(Kind::Index, keys.epoch(), keys.signer().id(), salt).encode();
    let key = keys.object_key(keys.epoch(), &header).ok_or(Error::Worker)?;
    let mut object = header.to_vec();
    let mut sealed = Vec::new();
    for frame in frames::split(&plain) {
        sealed.clear();
        sealed.extend_from_slice(frame.plain);
        key.seal(place(&header, frame.ordinal, frame.last), &mut sealed, 0).map_err(Error::crypto(NEW))?;
        frames::write_frame(&mut object, &sealed);
    }
    let signature = keys.signer().sign(&object);
    object.extend_from_slice(&signature);
    let name = ObjectHash(crypto::hash(&object));
    repo.backend().put_new(&index_name(&name), &object)?;
    // The part is durable. A cache that is full or busy costs memory and speed, no more (I-11).
    let ids = match load::add_records(repo.index(), name, packs) {
        Ok(()) => packs.iter().flat_map(|p| p.directory.chunks()).map(|c| c.id).collect(),
        Err(_) => Vec::new(),
    };
    Ok(WrittenPart { size: object.len() as u64, ids })
}

fn place(header: &[u8; 64], ordinal: u64, last: bool) -> Place<'_> {
    let domain = if last { Domain::LastFrame } else { Domain::Frame };
    Place { header, domain, ordinal, tail: b"" }
}

/// Fetches a part, checks its name, signer, signature and seals, and returns its plaintext.
pub fn read_part(repo: &Repository, id: &ObjectHash) -> Result<Vec<u8>, Error> {
    let name = index_name(id);
    let object = repo.backend().get(&name, INDEX_PART_MAX)?;
    if crypto::hash(&object) != id.0 {
        return Err(Error::damaged(name, "its bytes do not hash to its name"));
    }
    let framed = Framed::parse(&object).map_err(Error::format(&name))?;
    repo.signers().verify(&name, Kind::Index, &framed.header.signer, framed.signed, &framed.signature)?;
    let key: AeadKey = repo
        .keys()
        .object_key(framed.header.epoch, framed.header_bytes)
        .ok_or_else(|| Error::damaged(&name, "it is of a key epoch that this key does not have"))?;
    let mut plain = Vec::with_capacity(object.len());
    let count = framed.frames.len();
    for (ordinal, frame) in framed.frames.iter().enumerate() {
        let start = plain.len();
        plain.extend_from_slice(frame);
        let place = place(framed.header_bytes, ordinal as u64, ordinal + 1 == count);
        let len = key.open(place, &mut plain[start..]).map_err(Error::crypto(&name))?.len();
        plain.truncate(start + len);
    }
    Ok(plain)
}
