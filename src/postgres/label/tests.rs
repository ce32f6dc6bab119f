//! Labels and maps as PostgreSQL writes them, and as it does not.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{BackupLabel, Link, parse_map, write_map};
use crate::postgres::lsn::Lsn;

const GOOD: &str = "START WAL LOCATION: 1/2000028 (file 000000030000000100000002)\n\
    CHECKPOINT LOCATION: 1/2000060\n\
    BACKUP METHOD: streamed\n\
    BACKUP FROM: primary\n\
    START TIME: 2026-11-28 19:00:00 CET\n\
    LABEL: nightly: of the shop\n\
    START TIMELINE: 3\n";

#[test]
fn a_label_is_read() {
    let want = BackupLabel {
        start: Lsn(0x1_0200_0028),
        start_file: "000000030000000100000002".to_owned(),
        checkpoint: Lsn(0x1_0200_0060),
        method: "streamed".to_owned(),
        from_standby: false,
        start_time: "2026-11-28 19:00:00 CET".to_owned(),
        label: "nightly: of the shop".to_owned(),
        timeline: 3,
        incremental_from: None,
    };
    assert_eq!(BackupLabel::parse(GOOD.as_bytes()).unwrap(), want);
    let text = GOOD.replace("primary", "standby") + "INCREMENTAL FROM LSN: 1/28\nINCREMENTAL FROM TLI: 2\n";
    let want = BackupLabel { from_standby: true, incremental_from: Some((Lsn(0x1_0000_0028), 2)), ..want };
    assert_eq!(BackupLabel::parse(text.as_bytes()).unwrap(), want);
    let mut latin = GOOD.replace("nightly", "~").into_bytes();
    let at = latin.iter().position(|b| *b == b'~').unwrap();
    latin[at] = 0xE9;
    assert!(BackupLabel::parse(&latin).is_ok(), "a label in another encoding");
}

#[test]
fn what_is_no_label_is_refused() {
    let cases = [
        (String::new(), "it has no line START WAL LOCATION"),
        (GOOD.replace("START TIMELINE: 3\n", ""), "it has no line START TIMELINE"),
        (GOOD.to_owned() + "START TIMELINE: 4\n", "it has two lines START TIMELINE"),
        (GOOD.replace("1/2000028", "1/x"), "its line START WAL LOCATION is not what"),
        (GOOD.replace(" (file ", " (in "), "its line START WAL LOCATION is not what"),
        (
            GOOD.replace("000000030000000100000002", "0000000300000001"),
            "its line START WAL LOCATION is not what",
        ),
        (GOOD.replace("primary", "elsewhere"), "its line BACKUP FROM is not what"),
        (GOOD.replace("TIMELINE: 3", "TIMELINE: three"), "its line START TIMELINE is not what"),
        (GOOD.to_owned() + "INCREMENTAL FROM LSN: 1/28\n", "its line INCREMENTAL FROM LSN is not what"),
        ("x".repeat(2 << 20), "it is longer than"),
    ];
    for (text, want) in cases {
        let error = BackupLabel::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("backup_label: ") && error.contains(want), "{want}: {error}");
    }
}

#[test]
fn a_map_is_read_with_its_backslashes() {
    let link = |oid, location: &str| Link { oid, location: location.as_bytes().to_vec() };
    let links = parse_map(b"16384 /srv/a b\n16385 /odd\\\nname\\\\\n").unwrap();
    assert_eq!(links, [link(16384, "/srv/a b"), link(16385, "/odd\nname\\")]);
    assert_eq!(parse_map(b"").unwrap(), []);
    for bad in [
        "16384",
        "16384 /srv",
        "x /srv\n",
        "+1 /srv\n",
        "0 /srv\n",
        "16384 srv\n",
        "\n",
        " /srv\n",
        "1 /\0\n",
    ] {
        let error = parse_map(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("tablespace_map: "), "{bad:?}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_map_comes_back(links in prop::collection::vec((1..=u32::MAX, prop::collection::vec(1..=255u8, 0..20)), 0..5)) {
        let links: Vec<Link> = links.into_iter()
            .map(|(oid, rest)| Link { oid, location: [b"/", &rest[..]].concat() }).collect();
        prop_assert_eq!(parse_map(&write_map(&links)).unwrap(), links);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..200usize) {
        let _ = parse_map(&bytes);
        let at = at.min(GOOD.len());
        let _ = BackupLabel::parse(&[GOOD.as_bytes()[..at].to_vec(), bytes, GOOD.as_bytes()[at..].to_vec()].concat());
    }
}
