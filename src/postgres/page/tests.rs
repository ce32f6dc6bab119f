//! Pages and paths. Pages of a real cluster are in `tests/postgres/replication.rs`.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{Fork, HEADER, LANES, PAGE, RelationFile, Verdict, checksum, verify};
use crate::postgres::lsn::Lsn;

const START: Lsn = Lsn(0x1_0000_0000);

/// A page with this position, its checksum right for `block`.
fn page(position: Lsn, block: u32, len: usize) -> Vec<u8> {
    let mut page: Vec<u8> = (0..len).map(|i| (i * 7 + i / 250) as u8).collect();
    page[..4].copy_from_slice(&((position.0 >> 32) as u32).to_le_bytes());
    page[4..8].copy_from_slice(&(position.0 as u32).to_le_bytes());
    page[14..16].copy_from_slice(&(len as u16 / 2).to_le_bytes());
    let sum = checksum(&page, block);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    page
}

/// The checksum as its description has it, one lane after another.
fn slowly(page: &[u8], block: u32) -> u16 {
    let mut page = page.to_vec();
    page[8..10].fill(0);
    page.extend([0; 8 * LANES]);
    let mut all = block;
    for (lane, offset) in super::OFFSETS.iter().enumerate() {
        let mut sum = *offset;
        for row in page.chunks(4 * LANES) {
            let value = u32::from_le_bytes(row[4 * lane..4 * lane + 4].try_into().unwrap());
            let mixed = sum ^ value;
            sum = mixed.wrapping_mul(16_777_619) ^ mixed >> 17;
        }
        all ^= sum;
    }
    (all % 65535 + 1) as u16
}

#[test]
fn a_page_is_judged_by_checksum_then_position() {
    let early = Lsn(START.0 - 1);
    let good = page(early, 5, PAGE);
    assert_eq!(verify(&good, 5, START), Verdict::Fine);
    let moved = verify(&good, 6, START);
    assert!(matches!(moved, Verdict::Corrupt { .. }), "a page of another place");

    let mut bad = good.clone();
    bad[4000] ^= 4;
    let found = u16::from_le_bytes([good[8], good[9]]);
    assert_eq!(verify(&bad, 5, START), Verdict::Corrupt { expected: checksum(&bad, 5), found });
    let mut late = page(START, 5, PAGE);
    assert_eq!(verify(&late, 5, START), Verdict::Fine);
    late[4000] ^= 4;
    assert_eq!(verify(&late, 5, START), Verdict::AfterStart(START));
    assert!(!Verdict::AfterStart(START).is_corrupt(START.plus(1)));
    assert!(Verdict::AfterStart(START.plus(2)).is_corrupt(START.plus(1)), "from beyond the end");

    let mut new = vec![0; PAGE];
    assert_eq!(verify(&new, 5, START), Verdict::New);
    new[PAGE - 1] = 1;
    assert_eq!(verify(&new, 5, START), Verdict::NotZero);
    for len in [0, HEADER - 1, HEADER, 100, PAGE - 1] {
        assert_eq!(verify(&good[..len], 5, START), Verdict::Short, "{len}");
    }
}

#[test]
fn every_byte_of_a_page_counts() {
    let good = page(Lsn(1), 7, PAGE);
    for at in 0..PAGE {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(verify(&bad, 7, Lsn(u64::MAX)).is_corrupt(START), "byte {at}");
    }
}

#[test]
fn paths_of_relations_are_told_from_others() {
    let file = |database, number, fork, segment| Some(RelationFile { database, number, fork, segment });
    let cases = [
        ("base/5/1259", file(5, 1259, Fork::Main, 0)),
        ("base/16384/16385.12", file(16384, 16385, Fork::Main, 12)),
        ("base/5/1259_fsm", file(5, 1259, Fork::FreeSpace, 0)),
        ("base/5/1259_vm.1", file(5, 1259, Fork::Visibility, 1)),
        ("base/5/16390_init", file(5, 16390, Fork::Init, 0)),
        ("global/1260", file(0, 1260, Fork::Main, 0)),
        ("PG_15_202209061/5/16400", file(5, 16400, Fork::Main, 0)),
        ("pg_tblspc/16399/PG_15_202209061/5/16400.1", file(5, 16400, Fork::Main, 1)),
        ("base/5/4294967295", file(5, u32::MAX, Fork::Main, 0)),
    ];
    let others = [
        "",
        "base",
        "base/5",
        "base/5/",
        "base/5/PG_VERSION",
        "base/5/pg_filenode.map",
        "base/5/pg_internal.init",
        "base/5/pg_internal.init.123",
        "global/pg_control",
        "global/pg_filenode.map",
        "config_exec_params",
        "1259",
        "base/5/t3_16390",
        "base/5/1259_other",
        "base/5/1259.",
        "base/5/1259.01",
        "base/5/1259.0",
        "base/5/01259",
        "base/5/1259_fsm_vm",
        "base/5/+1259",
        "base/5/4294967296",
        "base/x/1259",
        "base/5/6/1259",
        "other/5/1259",
        "pg_tblspc/16399/5/16400",
        "pg_tblspc/x/PG_15_202209061/5/16400",
        "PG_15_202209061/5/6/7",
        "pg_xact/0000",
        "pg_multixact/offsets/0000",
        "base/pgsql_tmp/pgsql_tmp1.2",
        "/base/5/1259",
    ];
    for (path, want) in cases.into_iter().chain(others.map(|path| (path, None))) {
        assert_eq!(RelationFile::parse(path.as_bytes()), want, "{path}");
    }
    assert_eq!(RelationFile::parse(b"base/5/\xff"), None);
    assert_eq!(RelationFile::parse(b"base/5/7.3").unwrap().first_block(131_072), 393_216);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_sum_is_what_its_description_says(
        bytes in prop::collection::vec(any::<u8>(), PAGE),
        rows in 1..=PAGE / 128,
        block: u32,
    ) {
        let page = &bytes[..rows * 128];
        prop_assert_eq!(checksum(page, block), slowly(page, block));
    }

    #[test]
    fn any_page_of_any_length_has_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..PAGE + 200), block: u32) {
        let verdict = verify(&bytes, block, START);
        prop_assert_eq!(verdict == Verdict::Short, bytes.len() < 128 || !bytes.len().is_multiple_of(128));
    }

    #[test]
    fn any_path_is_read_or_not(path in "(base|global|pg_tblspc|PG_15)/[0-9_./a-z]{0,20}") {
        if let Some(file) = RelationFile::parse(path.as_bytes()) {
            prop_assert!(path.contains(&file.number.to_string()));
        }
    }
}
