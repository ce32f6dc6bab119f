//! A pack that was built, opened as a reader would before it gets its name: a bug or a flipped bit in
//! memory must not become permanent.

use crate::base::kind::Coding;
use crate::crypto;
use crate::repo::keys::Keys;
use crate::repo::pack::{Built, OpenPack, Scratch};

/// Opens every segment of `built` and recomputes the ids of its chunks. Deltas were decoded, and their
/// ids recomputed, while their bases were at hand: of them, what was sealed must be what that was.
pub fn verify(built: &Built, keys: &Keys, scratch: &mut Scratch) -> Result<(), String> {
    let opened = OpenPack::reopen(built).map_err(|e| e.to_string())?;
    if opened.directory != built.record.directory {
        return Err("its directory differs".into());
    }
    let mut deltas = built.deltas.iter();
    for (number, segment) in opened.directory.segments().iter().enumerate() {
        if segment.coding == Coding::Prefix {
            let coded = opened.unseal(number, segment, scratch)?;
            if deltas.next() != Some(&crypto::hash(coded)) {
                return Err(format!("segment {number} is another delta"));
            }
            continue;
        }
        let mut plain = opened.decode(number, segment, scratch)?;
        for chunk in opened.directory.chunks_of(segment) {
            let own = plain.split_off(..chunk.len as usize).ok_or("a segment is too short")?;
            if keys.chunk_id(chunk.kind, own) != chunk.id {
                return Err(format!("segment {number}: its plaintext does not match its id"));
            }
        }
    }
    Ok(())
}
