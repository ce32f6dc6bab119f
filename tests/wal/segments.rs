//! Segments made from nothing: a first page as PostgreSQL writes it, then bytes that nobody looks at.

use std::path::{Path, PathBuf};

use kamba_vault::postgres::wal::{SegmentName, SegmentSize};

/// The cluster that they are of.
pub const SYSTEM: u64 = 7_293_847_561_029_384_756;
/// The magic of PostgreSQL 15.
pub const MAGIC: u16 = 0xD110;

/// Small segments, so that a test has many.
pub fn size() -> SegmentSize {
    SegmentSize::new(1 << 20).unwrap()
}

pub fn name(timeline: u32, number: u64) -> SegmentName {
    SegmentName::new(timeline, number, size()).unwrap()
}

/// A segment of which `used` bytes are not zero.
pub fn segment_of(system: u64, timeline: u32, number: u64, used: usize) -> Vec<u8> {
    let bytes = size().bytes();
    let mut segment = Vec::with_capacity(bytes as usize);
    segment.extend(MAGIC.to_le_bytes());
    segment.extend(2u16.to_le_bytes());
    segment.extend(timeline.to_le_bytes());
    segment.extend((number * bytes).to_le_bytes());
    segment.extend([0; 8]);
    segment.extend(system.to_le_bytes());
    segment.extend((bytes as u32).to_le_bytes());
    segment.extend(8192u32.to_le_bytes());
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while segment.len() < used {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Half of it compresses.
        segment.extend(state.to_le_bytes());
        segment.extend(*b"a record");
    }
    segment.resize(bytes as usize, 0);
    segment
}

pub fn segment(timeline: u32, number: u64) -> Vec<u8> {
    segment_of(SYSTEM, timeline, number, 600_000)
}

/// A data folder with what the commands look at.
pub fn data_folder(at: &Path, system: u64) {
    for folder in ["global", "pg_wal/archive_status"] {
        std::fs::create_dir_all(at.join(folder)).unwrap();
    }
    std::fs::write(at.join("global/pg_control"), [&system.to_le_bytes()[..], &[0; 100]].concat()).unwrap();
    std::fs::write(at.join("PG_VERSION"), "15\n").unwrap();
}

/// Writes a segment into the `pg_wal` of a data folder.
pub fn write_segment(data: &Path, timeline: u32, number: u64) -> PathBuf {
    let path = data.join("pg_wal").join(name(timeline, number).to_string());
    std::fs::write(&path, segment(timeline, number)).unwrap();
    path
}
