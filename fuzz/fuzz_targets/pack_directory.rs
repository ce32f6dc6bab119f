//! Directories of packs, and the trailer that says where one is.
#![no_main]

use kamba_vault::base::kind::PackKind;
use kamba_vault::base::limits;
use kamba_vault::format::pack::{Directory, SEGMENTS_START, Stored, TAG_LEN, TRAILER_LEN, Trailer, padme};
use kamba_vault_fuzz::property::canonical;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for kind in [PackKind::Data, PackKind::Meta] {
        canonical(data, Trailer::decode(kind, data), |trailer| trailer.encode().to_vec());
        if let Some(directory) = canonical(data, Directory::decode(kind, data), Directory::encode) {
            adds_up(&directory);
            assert_eq!(rebuilt(&directory), directory);
        }
    }
});

/// What a reader relies on once a directory was accepted.
fn adds_up(directory: &Directory) {
    let mut at = SEGMENTS_START;
    for segment in directory.segments() {
        assert_eq!(segment.range().start, at);
        at = segment.range().end;
        let chunks = directory.chunks_of(segment);
        assert_eq!(chunks.len(), usize::from(segment.chunk_count));
        assert_eq!(directory.bases_of(segment).len(), usize::from(segment.base_count));
        let plain: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        assert_eq!(plain, u64::from(segment.plain_len));
        assert!(segment.plain_len <= limits::SEGMENT_PLAIN_MAX);
    }
    assert_eq!(at, directory.data_end());
    assert!(at <= limits::PACK_SIZE_MAX);
    let sealed = directory.encoded_len() + u64::from(TAG_LEN);
    let len = at + directory.padding_len() + sealed + TRAILER_LEN as u64;
    assert_eq!((len, padme(len)), (directory.object_len(), len));
}

/// The same directory as a writer makes it.
fn rebuilt(directory: &Directory) -> Directory {
    let mut made = Directory::new(directory.kind());
    for segment in directory.segments() {
        let stored = Stored { len: segment.stored_len, coding: segment.coding, depth: segment.depth };
        made.push(stored, directory.bases_of(segment), directory.chunks_of(segment)).unwrap();
    }
    made
}
