//! Small sealed objects: made, named, signed, and taken apart again with every check. What their
//! bodies mean is their callers'.

use crate::base::limits::SMALL_OBJECT_MAX;
use crate::crypto::Random;
use crate::crypto::{Domain, Place};
use crate::format::header::{Header, Kind};
use crate::format::sealed::{SealedObject, unsigned};
use crate::repo::keys::Keys;
use crate::repo::{Error, Unlocked};

/// The bytes of a small object around `body`.
pub fn seal(
    keys: &Keys,
    random: &dyn Random,
    kind: Kind,
    name: &str,
    clear: &[u8],
    body: &[u8],
) -> Result<Vec<u8>, Error> {
    let salt = random.array().map_err(Error::crypto(name))?;
    let header = Header::new(kind, keys.epoch(), keys.signer().id(), salt).encode();
    seal_under(keys, &header, name, clear, body)
}

/// The same under a header that was made before, of the current epoch and with a salt of its own (I-7).
pub fn seal_under(
    keys: &Keys,
    header: &[u8; 64],
    name: &str,
    clear: &[u8],
    body: &[u8],
) -> Result<Vec<u8>, Error> {
    let key = keys.object_key(keys.epoch(), header).ok_or(Error::Worker)?;
    let mut sealed = body.to_vec();
    let place = Place { header, domain: Domain::Body, ordinal: 0, tail: clear };
    key.seal(place, &mut sealed, 0).map_err(Error::crypto(name))?;
    let mut object = unsigned(header, clear, &sealed);
    let signature = keys.signer().sign(&object);
    object.extend_from_slice(&signature);
    if object.len() as u64 > SMALL_OBJECT_MAX {
        // It could be written, but never read again.
        return Err(Error::Usage(format!(
            "{name} would be {} bytes long, where {SMALL_OBJECT_MAX} are allowed: shorten the description, tags or sources",
            object.len()
        )));
    }
    Ok(object)
}

/// A small object, opened.
#[derive(Debug)]
pub struct Opened {
    /// Its header.
    pub header: Header,
    /// Its clear part.
    pub clear: Vec<u8>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Opens an object of one of `kinds` after `verify` has accepted its signature.
pub fn open(
    keys: &Keys,
    name: &str,
    kinds: &[Kind],
    bytes: &[u8],
    verify: impl FnOnce(&SealedObject<'_>) -> Result<(), Error>,
) -> Result<Opened, Error> {
    let object = SealedObject::parse(bytes, kinds).map_err(Error::format(name))?;
    verify(&object)?;
    let key = keys
        .object_key(object.header.epoch, object.header_bytes)
        .ok_or_else(|| Error::UnknownEpoch { object: name.to_owned(), epoch: object.header.epoch })?;
    let place = Place { header: object.header_bytes, domain: Domain::Body, ordinal: 0, tail: object.clear };
    let mut body = object.sealed.to_vec();
    let len = key.open(place, &mut body).map_err(Error::crypto(name))?.len();
    body.truncate(len);
    Ok(Opened { header: object.header, clear: object.clear.to_vec(), body })
}

/// Seals and creates an object of an open repository; answers its bytes.
pub fn create(repo: &Unlocked, kind: Kind, name: &str, clear: &[u8], body: &[u8]) -> Result<Vec<u8>, Error> {
    let bytes = seal(repo.keys(), repo.random(), kind, name, clear, body)?;
    repo.backend().put_new(name, &bytes)?;
    Ok(bytes)
}

/// Fetches and opens an object of an open repository, signed by an active signer.
pub fn fetch(repo: &Unlocked, kinds: &[Kind], name: &str) -> Result<(Opened, Vec<u8>), Error> {
    let bytes = repo.backend().get(name, SMALL_OBJECT_MAX)?;
    Ok((open_signed(repo, kinds, name, &bytes)?, bytes))
}

/// Opens an object that an active signer of the repository must have signed.
pub fn open_signed(repo: &Unlocked, kinds: &[Kind], name: &str, bytes: &[u8]) -> Result<Opened, Error> {
    open(repo.keys(), name, kinds, bytes, |object| {
        let header = &object.header;
        repo.signers().verify(name, header.kind, &header.signer, object.signed, &object.signature)
    })
}
