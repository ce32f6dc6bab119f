//! WAL in a cluster's folder that the repository does not have: the last commits before a crash, most likely.
//! Restoring over it would lose them without a word.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::base::class::Class;
use crate::ops::Error;
use crate::ops::restore_pitr::refused;
use crate::postgres::wal::header::LONG_HEADER_LEN;
use crate::postgres::wal::{SegmentHeader, SegmentName, WalName};

/// Segments of `system` in the cluster's `pg_wal` that the repository does not have, in order. Segments that
/// the server keeps for later use bear names that are not theirs yet, and do not count.
pub fn segments(folder: &Path, system: u64, has: &dyn Fn(WalName) -> bool) -> Vec<SegmentName> {
    let Ok(entries) = std::fs::read_dir(folder.join("pg_wal")) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(WalName::Segment(name)) = name.to_str().and_then(WalName::parse) else { continue };
        if !has(WalName::Segment(name)) && is_own(&entry.path(), name, system) {
            found.push(name);
        }
    }
    found.sort_unstable();
    found
}

fn is_own(path: &Path, name: SegmentName, system: u64) -> bool {
    let mut start = [0; LONG_HEADER_LEN];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    let header = read.ok().and_then(|()| SegmentHeader::read(&start).ok());
    header.is_some_and(|header| header.system == system && header.belongs_to(name).is_ok())
}

/// The refusal to restore over them.
pub fn refusal(folder: &Path, segments: &[SegmentName]) -> Option<Error> {
    let first = segments.first()?;
    let message = match segments.len() {
        1 => format!("the WAL segment {first} in {}/pg_wal is not in the repository", folder.display()),
        n => format!(
            "{n} WAL segments in {}/pg_wal are not in the repository, {first} first",
            folder.display()
        ),
    };
    Some(refused(
        Class::Usage,
        format!("{message}: a restore over it would lose what was committed there"),
        "push it with `kamba-vault wal push`, or copy it away and say --yes",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header(timeline: u32, address: u64, system: u64) -> Vec<u8> {
        let mut page = Vec::new();
        page.extend(0xD110u16.to_le_bytes());
        page.extend(2u16.to_le_bytes());
        page.extend(timeline.to_le_bytes());
        page.extend(address.to_le_bytes());
        page.extend([0; 8]);
        page.extend(system.to_le_bytes());
        page.extend((16u32 << 20).to_le_bytes());
        page.extend(8192u32.to_le_bytes());
        page
    }

    #[test]
    fn segments_with_commits_are_told_from_recycled_ones() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("pg_wal");
        std::fs::create_dir(&wal).unwrap();
        let segment = 16u64 << 20;
        for (name, bytes) in [
            ("000000010000000000000003", header(1, 3 * segment, 7)),
            ("000000010000000000000004", header(1, 4 * segment, 7)),
            ("000000010000000000000005", header(1, 5 * segment, 7)),
            // Recycled: it begins as segment 2 did.
            ("000000010000000000000006", header(1, 2 * segment, 7)),
            ("000000010000000000000007", header(1, 7 * segment, 8)),
            ("000000010000000000000008", Vec::new()),
            ("00000002.history", Vec::new()),
        ] {
            std::fs::write(wal.join(name), bytes).unwrap();
        }
        let has = |name: WalName| name.to_string().ends_with('3');
        let found = segments(dir.path(), 7, &has);
        let names: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["000000010000000000000004", "000000010000000000000005"]);
        let refusal = refusal(dir.path(), &found).unwrap();
        assert!(refusal.to_string().starts_with("2 WAL segments in "), "{refusal}");
        assert!(super::refusal(dir.path(), &[]).is_none());
        assert!(segments(&dir.path().join("absent"), 7, &has).is_empty());
    }
}
