//! Builds a WAL object in memory: frames compressed and sealed on all cores, described and signed in the
//! head. It is opened again as a reader would before anybody may store it: a bug or a flipped bit in memory
//! must not become permanent.

use rayon::prelude::*;

use crate::base::clock::Timestamp;
use crate::base::id::{ChunkId, ObjectHash};
use crate::base::kind::{ChunkKind, Coding, PackKind};
use crate::codec::{Coded, Compressor, Level};
use crate::crypto::{self, AeadKey, Domain, Place, Random, TAG_LEN, WRAPPED_LEN};
use crate::format::attrs::Unknown;
use crate::format::header::{Header, Kind};
use crate::format::wal::{HEAD_LEN, WalBody, WalFrame, frame_len_for};
use crate::repo::keys::Keys;
use crate::repo::wal::WalFile;
use crate::repo::wal::open::{check_frames, parse_head};
use crate::repo::{Error, objects};

/// How hard frames are compressed: pushing keeps up with the server, and WAL is read back once if at all.
const LEVEL: Level = Level::Swift;
/// What errors call an object that has no place yet.
const NEW: &str = "a new WAL object";

/// The object of `file`, whose bytes have the id `id`, checked.
pub fn build(
    keys: &Keys,
    random: &dyn Random,
    now: Timestamp,
    file: &WalFile<'_>,
    id: ChunkId,
) -> Result<Vec<u8>, Error> {
    let (salt, secret) = (random.array(), random.secret());
    let (salt, secret) = salt.and_then(|salt| Ok((salt, secret?))).map_err(Error::crypto(NEW))?;
    let header = Header::new(Kind::Wal, keys.epoch(), keys.signer().id(), salt).encode();
    let wrapped = crypto::wrap_key(
        keys.pack_public(PackKind::Data),
        keys.psk(),
        &keys.psk_id(),
        &header,
        &secret,
        random,
    )
    .map_err(Error::crypto(NEW))?;
    let key = AeadKey::new(&secret);
    let mut body = describe(file, id, now);
    let framed = file.bytes.get(..body.framed_len() as usize).unwrap_or_default();
    let sealed = seal_frames(&key, &header, framed, body.frame_len)?;
    let mut object = vec![0; HEAD_LEN];
    object.reserve_exact(sealed.iter().map(|(frame, _)| frame.len()).sum());
    for (bytes, coding) in sealed {
        let stored_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        body.frames.push(WalFrame { stored_len, coding });
        object.extend_from_slice(&bytes);
    }
    body.stored_hash = ObjectHash(crypto::hash(&object[HEAD_LEN..]));
    let head = seal_head(keys, &header, &wrapped, &body)?;
    object[..HEAD_LEN].copy_from_slice(&head);
    verify(keys, &key, &header, &body, &object, file.bytes)?;
    Ok(object)
}

/// What the head will say, but for the frames.
fn describe(file: &WalFile<'_>, id: ChunkId, now: Timestamp) -> WalBody {
    let len = file.bytes.len() as u64;
    WalBody {
        system: file.system,
        file: file.name.to_owned(),
        len,
        id,
        frame_len: frame_len_for(len),
        frames: Vec::new(),
        zeros: zeros_at_end(file.bytes),
        stored_hash: ObjectHash([0; 32]),
        pushed: now,
        magic: file.magic,
        segment_size: file.segment_size,
        unknown: Unknown::default(),
    }
}

/// How many zeros end `bytes`. A segment that was switched before it was full is mostly these.
fn zeros_at_end(bytes: &[u8]) -> u64 {
    const PIECE: usize = 4096;
    let mut end = bytes.len();
    while let Some(piece) = end.checked_sub(PIECE).and_then(|start| bytes.get(start..end))
        && *piece == [0; PIECE]
    {
        end -= PIECE;
    }
    while end > 0 && bytes[end - 1] == 0 {
        end -= 1;
    }
    (bytes.len() - end) as u64
}

/// The frames of `plain`, each sealed, with its coding.
fn seal_frames(
    key: &AeadKey,
    header: &[u8; 64],
    plain: &[u8],
    frame_len: u32,
) -> Result<Vec<(Vec<u8>, Coding)>, Error> {
    let codec = |e: crate::codec::Error| Error::Codec(e.to_string());
    let seal = |compressor: &mut Option<Compressor>, ordinal: usize, plain: &[u8]| {
        let compressor = match compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(LEVEL).map_err(codec)?),
        };
        let mut out = Vec::new();
        let coding = match compressor.compress(plain, &mut out).map_err(codec)? {
            Coded::Zstd if out.len() < plain.len() => Coding::Zstd,
            _ => {
                out.clear();
                out.reserve_exact(plain.len() + TAG_LEN);
                out.extend_from_slice(plain);
                Coding::Raw
            }
        };
        let place = Place { header, domain: Domain::WalFrame, ordinal: ordinal as u64, tail: b"" };
        key.seal(place, &mut out, 0).map_err(Error::crypto(NEW))?;
        Ok((out, coding))
    };
    let frames: Vec<&[u8]> = plain.chunks(frame_len as usize).collect();
    let frames = frames.into_par_iter().enumerate();
    frames.map_init(|| None, |compressor, (ordinal, plain)| seal(compressor, ordinal, plain)).collect()
}

/// The head: a small sealed object around the description.
fn seal_head(
    keys: &Keys,
    header: &[u8; 64],
    wrapped: &[u8; WRAPPED_LEN],
    body: &WalBody,
) -> Result<[u8; HEAD_LEN], Error> {
    let encoded = body.encode()?;
    let head = objects::seal_under(keys, header, NEW, wrapped, &encoded)?;
    head.try_into().map_err(|_| Error::damaged(NEW, "its head has another length than every head has"))
}

/// Opens the object as a reader would, but with the key at hand, which a writer cannot unwrap.
fn verify(
    keys: &Keys,
    key: &AeadKey,
    header: &[u8; 64],
    body: &WalBody,
    object: &[u8],
    plain: &[u8],
) -> Result<(), Error> {
    let differs = |reason: &str| Error::SelfCheck { reason: reason.to_owned() };
    let (head, frames) = object.split_at_checked(HEAD_LEN).ok_or_else(|| differs("it has no head"))?;
    let own = crypto::Verifier::new(&keys.signer().public()).map_err(Error::crypto(NEW))?;
    let read = parse_head(keys, NEW, head, |object| {
        own.verify(object.signed, &object.signature).map_err(Error::crypto(NEW))
    })
    .map_err(|e| differs(&e.to_string()))?;
    if read.body != *body || read.header != *header || crypto::hash(frames) != body.stored_hash.0 {
        return Err(differs("its head differs"));
    }
    check_frames(key, header, body, frames, plain).map_err(|reason| differs(&reason))?;
    // The id is of what the frames were just found to be: neither has changed since it was made.
    match keys.chunk_id(ChunkKind::Data, plain) == body.id {
        true => Ok(()),
        false => Err(differs("its plaintext does not match its id")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::secret::Secret32;

    #[test]
    fn what_is_not_in_the_frames_is_found() {
        let (key, header) = (AeadKey::new(&Secret32([7; 32])), [0; 64]);
        let mut bytes: Vec<u8> =
            (0..2_500_000u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
        bytes.truncate(2_500_000);
        bytes.resize(3_000_000, 0);
        let file = WalFile { system: 7, name: "x", bytes: &bytes, magic: None, segment_size: None };
        let mut body = describe(&file, ChunkId([0; 32]), Timestamp(0));
        let framed = body.framed_len() as usize;
        let sealed = seal_frames(&key, &header, &bytes[..framed], body.frame_len).unwrap();
        let mut frames = Vec::new();
        for (bytes, coding) in sealed {
            body.frames.push(WalFrame { stored_len: bytes.len() as u32, coding });
            frames.extend_from_slice(&bytes);
        }
        let holds = |body: &WalBody, frames: &[u8], plain: &[u8]| {
            check_frames(&key, &header, body, frames, plain).is_ok()
        };
        assert!(body.frames.len() == 3 && holds(&body, &frames, &bytes));
        // In each frame, and in the zeros that none holds.
        for at in [0, 1 << 20, framed - 1, framed, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(!holds(&body, &frames, &other), "byte {at}");
        }
        for at in [0, frames.len() / 2, frames.len() - 1] {
            let mut other = frames.clone();
            other[at] ^= 1;
            assert!(!holds(&body, &other, &bytes), "stored byte {at}");
        }
        assert!(!holds(&body, &frames, &bytes[..framed]) && !holds(&body, &frames, &bytes[..framed - 1]));
        assert!(!holds(&body, &frames[..frames.len() - 1], &bytes));
    }

    #[test]
    fn zeros_at_the_end_are_counted_to_the_byte() {
        for (len, last) in [(0, None), (1, None), (1, Some(0)), (20_000, Some(0)), (20_000, Some(19_999))] {
            let mut bytes = vec![0; len];
            if let Some(last) = last {
                bytes[last] = 1;
            }
            let want = len - last.map_or(0, |last| last + 1);
            assert_eq!(zeros_at_end(&bytes), want as u64, "{len} {last:?}");
        }
    }
}
