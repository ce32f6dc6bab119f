//! Control files made here. Those of a real cluster are in `tests/postgres/clusters.rs`.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{Control, LAYOUTS, SIZE, State, invalidate_checkpoint};
use crate::postgres::crc32c::crc32c;
use crate::postgres::lsn::Lsn;

/// A control file with numbers that tell the fields apart.
fn file(version: u32, covered: usize) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &7_000_000_000_000_000_001_u64.to_le_bytes());
    put(8, &version.to_le_bytes());
    put(12, &202_209_061_u32.to_le_bytes());
    put(16, &6_u32.to_le_bytes());
    put(32, &0x1_0000_0060_u64.to_le_bytes());
    put(40, &0x1_0000_0028_u64.to_le_bytes());
    put(48, &3_u32.to_le_bytes());
    put(136, &0x11_u64.to_le_bytes());
    put(152, &0x22_u64.to_le_bytes());
    put(172, &1_u32.to_le_bytes());
    put(216, &8192_u32.to_le_bytes());
    put(220, &131_072_u32.to_le_bytes());
    put(228, &(16_u32 << 20).to_le_bytes());
    put(252, &1_u32.to_le_bytes());
    seal(&mut bytes, covered);
    bytes
}

fn seal(bytes: &mut [u8], covered: usize) {
    let sum = crc32c(&bytes[..covered]);
    bytes[covered..covered + 4].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn fields_are_read_from_every_layout() {
    for (version, covered) in LAYOUTS {
        let control = Control::parse(&file(version, covered)).unwrap();
        let want = Control {
            system: 7_000_000_000_000_000_001,
            control_version: version,
            catalog_version: 202_209_061,
            state: State::Running,
            checkpoint: Lsn(0x1_0000_0060),
            redo: Lsn(0x1_0000_0028),
            timeline: 3,
            minimum_recovery: Lsn(0x11),
            backup_start: Lsn(0x22),
            wal_level: 1,
            block_size: 8192,
            pages_per_file: 131_072,
            segment_size: 16 << 20,
            checksums: true,
        };
        assert_eq!(control, want);
    }
}

#[test]
fn only_the_checkpoint_is_made_unusable() {
    for (version, covered) in LAYOUTS {
        let before = file(version, covered);
        let mut after = before.clone();
        invalidate_checkpoint(&mut after).unwrap();
        let want = Control { checkpoint: Lsn(0xDEAD), ..Control::parse(&before).unwrap() };
        assert_eq!(Control::parse(&after).unwrap(), want);
        let differs = |at: &usize| before[*at] != after[*at];
        let is_meant = |at: usize| (32..40).contains(&at) || (covered..covered + 4).contains(&at);
        assert!((0..SIZE).filter(differs).all(is_meant));
    }
}

#[test]
fn what_is_no_control_file_is_refused() {
    let (version, covered) = LAYOUTS[0];
    let good = file(version, covered);
    let with = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        seal(&mut bytes, covered);
        bytes
    };
    let cases = [
        (Vec::new(), "it has 0 bytes instead of 8192"),
        (good[..SIZE - 1].to_vec(), "it has 8191 bytes"),
        ([&good[..], &[0]].concat(), "it has 8193 bytes"),
        (with(8, 1201), "other than 13 to 18"),
        (with(8, 1300_u32.swap_bytes()), "another kind of machine"),
        (with(16, 7), "the server's state in it is unknown"),
        (with(216, 8191), "the sizes in it are impossible"),
        (with(220, 0), "the sizes in it are impossible"),
        (with(228, 1 << 19), "the sizes in it are impossible"),
        (vec![0; SIZE], "other than 13 to 18"),
    ];
    for (mut bytes, want) in cases {
        let error = Control::parse(&bytes).unwrap_err().to_string();
        assert!(error.starts_with("global/pg_control: ") && error.contains(want), "{want}: {error}");
        let before = bytes.clone();
        assert!(invalidate_checkpoint(&mut bytes).is_err() && bytes == before);
    }
    for at in 0..covered + 4 {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        assert!(Control::parse(&bytes).is_err(), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), SIZE - 1..SIZE + 2)) {
        prop_assert!(Control::parse(&bytes).is_err());
        let (_, covered) = LAYOUTS[0];
        if bytes.len() == SIZE {
            let mut bytes = bytes;
            bytes[8..12].copy_from_slice(&1300_u32.to_le_bytes());
            seal(&mut bytes, covered);
            // Whatever the fields say.
            let _ = Control::parse(&bytes);
        }
    }
}
