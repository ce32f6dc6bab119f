//! Opens WAL objects: the head with its signature, then the frames, on all cores. Nothing is handed on
//! before the id of the whole file was recomputed (I-6).

use rayon::prelude::*;

use crate::base::id::SignerId;
use crate::base::kind::{ChunkKind, Coding};
use crate::codec::Decompressor;
use crate::crypto::{self, AeadKey, Domain, Place, TAG_LEN, WRAPPED_LEN};
use crate::format::header::Kind;
use crate::format::name::wal_name;
use crate::format::sealed::SealedObject;
use crate::format::wal::{HEAD_LEN, WalBody};
use crate::repo::keys::Keys;
use crate::repo::{Error, Unlocked, objects};

/// Takes a piece of a file.
pub type TakePiece<'t, E> = &'t mut dyn FnMut(&[u8]) -> Result<(), E>;

/// What is wrong with a file whose frames all open.
const NO_MATCH: &str = "its plaintext does not match its id";
/// Zeros that are handed on at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A head that was opened.
#[derive(Clone, Debug)]
pub struct Head {
    /// What it says.
    pub body: WalBody,
    /// Who signed it.
    pub signer: SignerId,
    /// Its header's bytes.
    pub header: [u8; 64],
    wrapped: [u8; WRAPPED_LEN],
}

/// Opens the head of the object called `name`, signed by an active signer. It must belong at that name.
pub fn open_head(repo: &Unlocked, name: &str, head: &[u8]) -> Result<Head, Error> {
    let read = parse_head(repo.keys(), name, head, |object| {
        let header = &object.header;
        repo.signers().verify(name, header.kind, &header.signer, object.signed, &object.signature)
    })?;
    match wal_name(&repo.keys().wal_id(read.body.system, &read.body.file)) == name {
        true => Ok(read),
        false => Err(Error::damaged(name, "it belongs at another name or in another repository")),
    }
}

/// Opens a head after `verify` has accepted its signature.
pub(super) fn parse_head(
    keys: &Keys,
    name: &str,
    head: &[u8],
    verify: impl FnOnce(&SealedObject<'_>) -> Result<(), Error>,
) -> Result<Head, Error> {
    if head.len() != HEAD_LEN {
        return Err(Error::damaged(name, "it is shorter than every head is"));
    }
    let opened = objects::open(keys, name, &[Kind::Wal], head, verify)?;
    let body = WalBody::decode(&opened.body).map_err(Error::format(name))?;
    let wrapped = opened.clear.as_slice().try_into();
    let wrapped = wrapped.map_err(|_| Error::damaged(name, "its wrapped key has another length"))?;
    Ok(Head { body, signer: opened.header.signer, header: opened.header.encode(), wrapped })
}

/// Opens a whole object, called `name`, that holds `file`: what it says, and the file's bytes.
pub fn open_whole(
    repo: &Unlocked,
    name: &str,
    file: &str,
    object: &[u8],
) -> Result<(WalBody, Vec<u8>), Error> {
    let (head, key, frames) = parts(repo, name, file, object)?;
    let plain = open_frames(&key, &head.header, &head.body, frames).map_err(|e| damaged(name, file, e))?;
    if repo.keys().chunk_id(ChunkKind::Data, &plain) != head.body.id {
        return Err(damaged(name, file, NO_MATCH));
    }
    Ok((head.body, plain))
}

/// The same on this thread alone, for whoever opens several at once: `each` is given the file's bytes piece by
/// piece, before their id is known to be right. They are what the object holds only if this ends well.
pub(super) fn open_in_pieces<E: From<Error>>(
    repo: &Unlocked,
    name: &str,
    file: &str,
    object: &[u8],
    each: TakePiece<'_, E>,
) -> Result<WalBody, E> {
    let (head, key, frames) = parts(repo, name, file, object)?;
    let (mut hasher, mut scratch) = (repo.keys().chunk_hasher(ChunkKind::Data), Scratch::default());
    // Within its limit, or the description would not have been read (I-9).
    let mut plain = vec![0; head.body.frame_len as usize];
    let failed = |reason: String| damaged(name, file, reason);
    for frame in split(&head.body, frames).map_err(failed)? {
        let range = head.body.plain_range(frame.number);
        let out = plain.get_mut(..(range.end - range.start) as usize).unwrap_or_default();
        scratch.frame(&key, &head.header, &frame, out).map_err(failed)?;
        hasher.update(out);
        each(out)?;
    }
    let mut zeros = head.body.zeros;
    while zeros > 0 {
        let piece = &ZEROS[..zeros.min(ZEROS.len() as u64) as usize];
        hasher.update(piece);
        each(piece)?;
        zeros -= piece.len() as u64;
    }
    match hasher.finish() == head.body.id {
        true => Ok(head.body),
        false => Err(damaged(name, file, NO_MATCH).into()),
    }
}

/// The head of an object, the key of its frames, and these, which are those that the head describes.
fn parts<'o>(
    repo: &Unlocked,
    name: &str,
    file: &str,
    object: &'o [u8],
) -> Result<(Head, AeadKey, &'o [u8]), Error> {
    let damaged = |reason: String| damaged(name, file, reason);
    let (head, frames) = object
        .split_at_checked(HEAD_LEN)
        .ok_or_else(|| damaged("it is shorter than every head is".into()))?;
    let head = open_head(repo, name, head).map_err(|e| of_file(e, name, file))?;
    if frames.len() as u64 != head.body.stored_len() {
        let (found, want) = (object.len(), head.body.object_len());
        return Err(damaged(format!("it has {found} bytes where its head says {want}")));
    }
    if crypto::hash(frames) != head.body.stored_hash.0 {
        return Err(damaged("its frames are not those that its head describes".into()));
    }
    let secret = repo.keys().open_wal_key(name, &head.header, &head.wrapped);
    let key = AeadKey::new(&secret.map_err(|e| of_file(e, name, file))?);
    Ok((head, key, frames))
}

fn damaged(name: &str, file: &str, reason: impl Into<String>) -> Error {
    Error::damaged(format!("{name}, which holds {file},"), reason)
}

/// Damage of an object, with the file that it holds.
fn of_file(error: Error, name: &str, file: &str) -> Error {
    match error {
        e @ (Error::Format { .. } | Error::Crypto { .. } | Error::Damaged { .. }) => {
            Error::damaged(format!("{name}, which holds {file},"), e.to_string())
        }
        other => other,
    }
}

/// The file that the frames and the zeros after them are.
fn open_frames(key: &AeadKey, header: &[u8; 64], body: &WalBody, frames: &[u8]) -> Result<Vec<u8>, String> {
    // Within its limit, or the description would not have been read (I-9).
    let mut plain = vec![0; usize::try_from(body.len).map_err(|e| e.to_string())?];
    let framed = plain.get_mut(..body.framed_len() as usize).ok_or(TOO_MANY)?;
    let sealed = split(body, frames)?;
    let jobs: Vec<_> = sealed.into_iter().zip(framed.chunks_mut(body.frame_len as usize)).collect();
    jobs.into_par_iter().try_for_each_init(Scratch::default, |scratch, (frame, out)| {
        scratch.frame(key, header, &frame, out)
    })?;
    Ok(plain)
}

/// Whether the frames and the zeros after them are `plain`. Takes the memory of a few frames.
pub(super) fn check_frames(
    key: &AeadKey,
    header: &[u8; 64],
    body: &WalBody,
    frames: &[u8],
    plain: &[u8],
) -> Result<(), String> {
    let (framed, zeros) = plain.split_at_checked(body.framed_len() as usize).ok_or(TOO_MANY)?;
    if plain.len() as u64 != body.len || zeros.iter().any(|byte| *byte != 0) {
        return Err("its end is not the file's".into());
    }
    let sealed = split(body, frames)?;
    let jobs: Vec<_> = sealed.into_iter().zip(framed.chunks(body.frame_len as usize)).collect();
    let fresh = || (Scratch::default(), Vec::new());
    jobs.into_par_iter().try_for_each_init(fresh, |(scratch, opened), (frame, want)| {
        opened.resize(want.len(), 0);
        scratch.frame(key, header, &frame, opened)?;
        match opened == want {
            true => Ok(()),
            false => Err(format!("frame {} holds other bytes", frame.number)),
        }
    })
}

/// What is wrong with an object whose description contradicts itself.
const TOO_MANY: &str = "it has more frames than bytes";

/// A frame as it is stored.
struct Sealed<'o> {
    number: usize,
    coding: Coding,
    bytes: &'o [u8],
}

/// The frames, one by one.
fn split<'o>(body: &WalBody, frames: &'o [u8]) -> Result<Vec<Sealed<'o>>, String> {
    let mut sealed = Vec::with_capacity(body.frames.len());
    let mut rest = frames;
    for (number, frame) in body.frames.iter().enumerate() {
        let (bytes, after) = rest.split_at_checked(frame.stored_len as usize).ok_or("a frame is cut off")?;
        sealed.push(Sealed { number, coding: frame.coding, bytes });
        rest = after;
    }
    Ok(sealed)
}

/// What a thread keeps from frame to frame.
#[derive(Default)]
struct Scratch {
    coded: Vec<u8>,
    decompressor: Decompressor,
}

impl Scratch {
    fn frame(
        &mut self,
        key: &AeadKey,
        header: &[u8; 64],
        frame: &Sealed<'_>,
        out: &mut [u8],
    ) -> Result<(), String> {
        let number = frame.number;
        let place = Place { header, domain: Domain::WalFrame, ordinal: number as u64, tail: b"" };
        let opened = self.open(key, place, frame.coding, frame.bytes, out);
        opened.map_err(|reason| format!("frame {number}: {reason}"))
    }

    fn open(
        &mut self,
        key: &AeadKey,
        place: Place<'_>,
        coding: Coding,
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), String> {
        if coding == Coding::Raw {
            return key.open_into(place, sealed, out).map_err(|e| e.to_string());
        }
        let len = sealed.len().checked_sub(TAG_LEN).ok_or("it is shorter than its seal")?;
        self.coded.resize(len, 0);
        key.open_into(place, sealed, &mut self.coded).map_err(|e| e.to_string())?;
        self.decompressor.zstd_into(&self.coded, out).map_err(|e| e.to_string())
    }
}
