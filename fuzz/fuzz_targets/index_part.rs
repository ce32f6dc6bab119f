//! Index parts: the frames around one, and the plaintext in them.
#![no_main]

use kamba_vault::format::frames::{Framed, write_frame};
use kamba_vault::format::index::{IndexPart, PackRecord, encode};
use kamba_vault::format::pack::Directory;
use kamba_vault::repo::index::PackInfo;
use kamba_vault_fuzz::property::canonical;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    canonical(data, Framed::parse(data), |framed| {
        let mut again = framed.header_bytes.to_vec();
        framed.frames.iter().for_each(|frame| write_frame(&mut again, frame));
        assert_eq!(again, framed.signed);
        again.extend_from_slice(&framed.signature);
        again
    });
    let part =
        canonical(data, IndexPart::decode(data), |part| encode(part.supersedes(), &records(part)).unwrap());
    if let Some(part) = part {
        rows_fit(&part);
        records(&part).iter().for_each(survives);
    }
});

fn records(part: &IndexPart<'_>) -> Vec<PackRecord> {
    part.packs().iter().map(|pack| part.record(pack)).collect()
}

/// Every row lies in its segment.
fn rows_fit(part: &IndexPart<'_>) {
    assert_eq!(part.rows().count(), part.len());
    for row in part.rows() {
        let pack = &part.packs()[row.pack as usize];
        let segment = part.segments(pack)[row.segment as usize];
        assert!(row.len <= segment.plain_len && row.ordinal < segment.chunk_count);
        assert!(segment.range().end <= pack.size);
    }
}

/// A pack's directory can be taken from the index instead of the pack, and kept in the cache.
fn survives(record: &PackRecord) {
    let kind = record.directory.kind();
    let again = Directory::decode(kind, &record.directory.encode()).unwrap();
    assert_eq!(again, record.directory);
    let info = PackInfo::new(record);
    assert_eq!(PackInfo::decode(record.id, &info.encode()).unwrap(), info);
}
