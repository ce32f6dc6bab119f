//! Bytes that no pg_dump wrote: nothing panics, nothing is lost, and a recipe cannot run away.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::base::limits::ARCHIVE_STRING_MAX;
use crate::postgres::archive::join::JoinError;
use crate::postgres::archive::recipe::Op;
use crate::postgres::archive::split::{ObjectKey, SplitError};
use crate::postgres::archive::tests::identity::{archive, table};
use crate::postgres::archive::tests::sample::{
    Framing, Line, Recorder, Writer, arb_archive, cases, rejoin, split,
};
use crate::postgres::archive::toc::{Parsed, parse_head};

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn a_damaged_archive_is_stored_exactly_or_ends_early(
        sample in arb_archive(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        portion in 1usize..50,
    ) {
        let mut bytes = sample.bytes();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        match split(&bytes, &[portion], 100) {
            Ok((recorder, summary)) => {
                prop_assert_eq!(summary.bytes, bytes.len() as u64);
                prop_assert_eq!(rejoin(&recorder, None).unwrap(), bytes);
            }
            Err(SplitError::EndsEarly { .. }) => {}
            Err(SplitError::Sink(never)) => match never {},
        }
    }

    #[test]
    fn any_bytes_are_stored_as_they_are(bytes in proptest::collection::vec(any::<u8>(), 8..200)) {
        let (recorder, summary) = split(&bytes, &[3], 100).unwrap();
        prop_assert!(summary.fallback.is_some());
        prop_assert_eq!(&recorder.objects, &vec![(ObjectKey::Rest, bytes.clone())]);
        prop_assert_eq!(rejoin(&recorder, None).unwrap(), bytes);
    }

    #[test]
    fn a_damaged_recipe_is_an_error_or_bounded(
        sample in arb_archive(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let (mut recorder, _) = split(&sample.bytes(), &[usize::MAX], 1 << 18).unwrap();
        for (at, value) in flips {
            let at = at.index(recorder.recipe.len());
            recorder.recipe[at] = value;
        }
        let cut = cut.index(recorder.recipe.len());
        recorder.recipe.truncate(recorder.recipe.len() - cut / 4);
        let objects: usize = recorder.objects.iter().map(|(_, bytes)| bytes.len()).sum();
        if let Ok(out) = rejoin(&recorder, None) {
            // A frame costs nine bytes and stands for one of an object, or for one operation.
            prop_assert!(out.len() <= objects * 10 + recorder.recipe.len() * 20);
        }
    }

    #[test]
    fn any_recipe_is_an_error_or_bounded(recipe in proptest::collection::vec(any::<u8>(), 0..60)) {
        let objects = vec![
            (ObjectKey::Head, b"head".to_vec()),
            (ObjectKey::LargeObject { oid: 1 }, b"one\ntwo\n".to_vec()),
            (ObjectKey::Rest, b"rest".to_vec()),
        ];
        let recipe = [vec![1, 4], recipe].concat();
        if let Ok(out) = rejoin(&Recorder { objects, ends: Vec::new(), recipe }, None) {
            prop_assert!(out.len() < 2000);
        }
    }
}

/// What the start of a stream is taken for, if it is unknown.
fn unknown(bytes: &[u8]) -> String {
    match parse_head(bytes) {
        Parsed::Unknown(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_understood_says_why() {
    assert_eq!(unknown(b"--\n-- PostgreSQL"), "no custom-format archive");
    assert_eq!(unknown(b"PGDMP\x01\x11\x00\x04\x08"), "archive version 1.17");
    assert_eq!(unknown(b"PGDMP\x01\x0b\x00"), "archive version 1.11");
    assert_eq!(unknown(b"PGDMP\x01\x0e\x00\x04\x08\x03"), "an archive in another format than custom");
    assert_eq!(unknown(b"PGDMP\x01\x0f\x00\x04\x08\x01\x03"), "a compressed archive");
    assert_eq!(unknown(b"PGDMP\x01\x0e\x00\x09\x08\x01"), "integers or offsets of an unusual size");
    assert!(matches!(parse_head(b"PGD"), Parsed::NeedMore));
    assert!(matches!(parse_head(b""), Parsed::NeedMore));
}

#[test]
fn limits_hold_before_memory_is_taken() {
    let mut writer = Writer::new(14, 4, 8);
    let head = writer.out.clone();
    writer.int(i32::MAX as u32);
    assert!(unknown(&writer.out).starts_with("a table of contents with 2147483647 entries"));

    let mut writer = Writer::new(14, 4, 8);
    writer.int(1);
    writer.int(10);
    writer.int(0);
    writer.int(ARCHIVE_STRING_MAX as u32 + 1);
    assert_eq!(unknown(&writer.out), "a string that is too long");
    assert!(matches!(parse_head(&head), Parsed::NeedMore));
}

#[test]
fn strange_tables_of_contents_are_unknown() {
    let one = Line { id: 10, desc: "TABLE", tag: "t".into(), ..Line::default() };
    let mut writer = Writer::new(14, 4, 8);
    writer.int(2);
    writer.entry(&one);
    writer.entry(&one);
    assert_eq!(unknown(&writer.out), "a dump id that occurs twice");

    let mut writer = Writer::new(14, 4, 8);
    writer.int(1);
    writer.entry(&Line { id: 0, ..one });
    assert_eq!(unknown(&writer.out), "a dump id out of range");
}

#[test]
fn two_objects_never_have_one_key() {
    let twice = vec![table(true, Framing::Rows, &[b"1"]), table(true, Framing::Rows, &[b"2"])];
    let bytes = archive(twice).bytes();
    let (recorder, summary) = split(&bytes, &[usize::MAX], 1 << 18).unwrap();
    assert_eq!(recorder.objects.len(), 3);
    assert_eq!(recorder.objects[2].0, ObjectKey::Rest);
    assert!(summary.fallback.unwrap().contains("begins no known data block"));
    assert_eq!(rejoin(&recorder, None).unwrap(), bytes);

    let mut sample = archive(Vec::new());
    sample.large_objects = vec![(9, b"a".to_vec(), 4), (9, b"b".to_vec(), 4)];
    let (recorder, summary) = split(&sample.bytes(), &[5], 64).unwrap();
    assert!(summary.fallback.unwrap().contains("begins no large object"));
    assert_eq!(rejoin(&recorder, None).unwrap(), sample.bytes());
}

#[test]
fn an_unknown_framing_ends_the_table_and_keeps_the_rest() {
    let mut sample = archive(vec![table(true, Framing::Rows, &[b"1\tone", b"2\ttwo"])]);
    sample.minor = 14;
    let mut bytes = sample.bytes();
    // The length of the second row becomes negative.
    let at = bytes.windows(5).position(|w| w == b"2\ttwo").unwrap() - 5;
    bytes[at] = 1;
    let (recorder, summary) = split(&bytes, &[4], 64).unwrap();
    assert_eq!(recorder.objects[1].1, b"1\tone\n");
    assert_eq!(recorder.objects[2], (ObjectKey::Rest, bytes[at..].to_vec()));
    assert_eq!(summary.tables[0].rows, None, "nobody could count them");
    assert!(summary.fallback.unwrap().ends_with("is no length"));
    assert_eq!(rejoin(&recorder, None).unwrap(), bytes);
}

#[test]
fn bytes_after_the_last_block_are_kept() {
    let mut bytes = archive(vec![table(true, Framing::Rows, &[b"1"])]).bytes();
    bytes.push(1);
    let (recorder, summary) = split(&bytes, &[4], 64).unwrap();
    assert!(summary.fallback.is_some());
    assert_eq!(rejoin(&recorder, None).unwrap(), bytes);
}

#[test]
fn an_object_of_another_length_is_noticed() {
    let bytes = archive(vec![table(true, Framing::Fixed(9), &[b"1\tone", b"2\ttwo"])]).bytes();
    let (whole, _) = split(&bytes, &[usize::MAX], 1 << 18).unwrap();
    for change in [-1i32, 1] {
        let mut recorder =
            Recorder { objects: whole.objects.clone(), recipe: whole.recipe.clone(), ends: vec![] };
        let rows = &mut recorder.objects[1].1;
        rows.resize((rows.len() as i32 + change) as usize, b'x');
        let error = rejoin(&recorder, None).unwrap_err();
        assert!(matches!(error, JoinError::Recipe(_)), "{change}: {error}");
    }
    let mut ops = vec![1, 4];
    Op::Lines.encode(&mut ops);
    let lost = Recorder { recipe: ops, ..Recorder::default() };
    assert!(matches!(rejoin(&lost, None), Err(JoinError::Recipe(_))));
}
