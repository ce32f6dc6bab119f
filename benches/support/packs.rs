//! Packs as an index part describes them: as many chunks and segments as a dump's packs have, ids
//! spread evenly as keyed hashes are. There are no such objects; nothing that reads them may follow.

use kamba_vault::base::id::{ChunkId, PackId, SignerId};
use kamba_vault::base::kind::{ChunkKind, Coding, PackKind};
use kamba_vault::crypto;
use kamba_vault::format::error::Error;
use kamba_vault::format::header::{Header, Kind};
use kamba_vault::format::index::PackRecord;
use kamba_vault::format::pack::{ChunkEntry, Directory, Stored, TAG_LEN, WRAPPED_LEN};

/// Segments of a pack: 16 MiB of 256 KiB each, compressed to a quarter.
const SEGMENTS: u64 = 240;
const CHUNKS_PER_SEGMENT: u64 = 4;

/// Chunks of a pack.
pub const CHUNKS: u64 = SEGMENTS * CHUNKS_PER_SEGMENT;

/// The id of chunk number `n`, counted through all packs.
pub fn chunk_id(n: u64) -> ChunkId {
    ChunkId(crypto::hash(&n.to_le_bytes()))
}

/// Pack number `n`, which holds the chunks from `n * CHUNKS` on.
pub fn record(n: u64, epoch: u32, signer: SignerId) -> Result<PackRecord, Error> {
    let random = crypto::hash(&[b"pack".as_slice(), &n.to_le_bytes()].concat());
    let mut directory = Directory::new(PackKind::Data);
    for segment in 0..SEGMENTS {
        let first = n * CHUNKS + segment * CHUNKS_PER_SEGMENT;
        let chunks: Vec<ChunkEntry> = (first..first + CHUNKS_PER_SEGMENT).map(chunk).collect();
        let plain: u32 = chunks.iter().map(|chunk| chunk.len).sum();
        let stored = Stored { len: plain / 4 + TAG_LEN, coding: Coding::Zstd, depth: 0 };
        directory.push(stored, &[], &chunks)?;
    }
    let mut wrapped = [0; WRAPPED_LEN];
    wrapped.iter_mut().zip(random.iter().cycle()).for_each(|(to, from)| *to = *from);
    Ok(PackRecord {
        id: PackId(random),
        size: directory.object_len(),
        header: Header::new(Kind::DataPack, epoch, signer, random).encode(),
        wrapped,
        directory,
    })
}

/// 64 KiB on the average, as the chunker cuts them.
fn chunk(n: u64) -> ChunkEntry {
    let id = chunk_id(n);
    let random = u32::from(id.0[30]) << 8 | u32::from(id.0[31]);
    ChunkEntry { id, len: (32 << 10) + random, kind: ChunkKind::Data }
}
