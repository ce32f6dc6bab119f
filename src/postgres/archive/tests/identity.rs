//! What is split comes back, whatever the framing and however the stream is cut.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::postgres::archive::recipe::{COPY_END, Op};
use crate::postgres::archive::seekable::patch_head;
use crate::postgres::archive::shadow::Shadow;
use crate::postgres::archive::split::ObjectKey;
use crate::postgres::archive::tests::sample::{
    Archive, Framing, Recorder, Table, arb_archive, cases, rejoin, split, split_into,
};

pub fn table(is_copy: bool, framing: Framing, rows: &[&[u8]]) -> Table {
    let rows = rows.iter().map(|row| row.to_vec()).collect();
    Table { schema: "public".into(), name: "orders".into(), rows, is_copy, framing }
}

pub fn archive(tables: Vec<Table>) -> Archive {
    Archive { minor: 14, int_size: 4, offset_size: 8, first_id: 200, tables, large_objects: Vec::new() }
}

fn key(table: &Table) -> ObjectKey {
    ObjectKey::Table { schema: table.schema.as_bytes().into(), name: table.name.as_bytes().into() }
}

/// The recipe after the head and the block's literal.
fn operations(recorder: &Recorder) -> Vec<Op> {
    use crate::postgres::archive::recipe::Decoded;
    let mut at = 2;
    let mut ops = Vec::new();
    while at < recorder.recipe.len() {
        let Decoded::Op(op, len) = Op::decode(&recorder.recipe[at..]) else { panic!("an operation") };
        at += len;
        if let Op::Literal(n) | Op::Block(n) = op {
            at += n as usize;
        }
        ops.push(op);
    }
    ops
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn any_archive_in_any_portions_comes_back(
        sample in arb_archive(),
        portions in proptest::collection::vec(1usize..60, 1..6),
        batch in 1usize..200,
    ) {
        let bytes = sample.bytes();
        let (whole, summary) = split(&bytes, &[usize::MAX], 1 << 18).unwrap();
        let (cut, _) = split(&bytes, &portions, batch).unwrap();
        prop_assert_eq!(&cut, &whole);
        prop_assert_eq!(&summary.fallback, &None);
        prop_assert_eq!(rejoin(&whole, None).unwrap(), bytes.clone());

        for (table, rows) in sample.tables.iter().zip(&summary.tables) {
            let object = whole.object(&key(table)).unwrap();
            let newlines = object.iter().filter(|b| **b == b'\n').count() as u64;
            prop_assert_eq!(rows.rows, table.is_copy.then_some(newlines));
            prop_assert_eq!(rows.bytes, object.len() as u64);
            // Where pieces of a few bytes look like lines, the end marker may stay.
            let rest = object.strip_prefix(table.object().as_slice()).unwrap();
            let is_tiny = table.is_copy && !matches!(table.framing, Framing::Rows);
            prop_assert!(rest.is_empty() || (is_tiny && rest == COPY_END), "{:?}", rest);
        }
        for (oid, content, _) in &sample.large_objects {
            prop_assert_eq!(whole.object(&ObjectKey::LargeObject { oid: *oid }).unwrap(), content.as_slice());
        }
        prop_assert_eq!(summary.large_objects, sample.large_objects.len() as u64);

        let with_offsets = sample.bytes_with(true, &|_| true);
        let head = summary.head.unwrap();
        let patched = [patch_head(&head, &summary.blocks), bytes[head.len()..].to_vec()].concat();
        prop_assert_eq!(patched, with_offsets.clone());
        let (of_file, _) = split(&with_offsets, &portions, batch).unwrap();
        prop_assert_eq!(&of_file.objects[1..], &whole.objects[1..]);
    }

    #[test]
    fn the_shadow_sees_the_stream(
        sample in arb_archive(),
        portions in proptest::collection::vec(1usize..60, 1..6),
        batch in 1usize..200,
    ) {
        let bytes = sample.bytes();
        let mut seen = Vec::new();
        let mut shadow = Shadow::new(Recorder::default(), |bytes: &[u8]| seen.extend_from_slice(bytes));
        split_into(&bytes, &portions, batch, &mut shadow).unwrap();
        let (recorder, _, length) = shadow.finish().unwrap();
        prop_assert_eq!(length, bytes.len() as u64);
        prop_assert_eq!(seen, bytes.clone());
        prop_assert_eq!(rejoin(&recorder, None).unwrap(), bytes);
    }

    #[test]
    fn blocks_that_are_filtered_are_left_out(sample in arb_archive(), odd in any::<bool>()) {
        let keep = |id: u32| (id / 2) % 2 == u32::from(odd);
        let (recorder, _) = split(&sample.bytes(), &[usize::MAX], 1 << 18).unwrap();
        let some = rejoin(&recorder, Some(Box::new(keep))).unwrap();
        prop_assert_eq!(some, sample.bytes_with(false, &keep));
    }

    #[test]
    fn a_shorter_stream_ends_early(sample in arb_archive(), at in any::<proptest::sample::Index>()) {
        let bytes = sample.bytes();
        let cut = &bytes[..at.index(bytes.len())];
        let error = split(cut, &[7], 64).unwrap_err().to_string();
        prop_assert!(error.starts_with("the dump ends early"), "{}", error);
    }
}

#[test]
fn the_recipe_of_a_table_does_not_depend_on_its_rows() {
    let recipe = |rows: &[&[u8]]| {
        let bytes = archive(vec![table(true, Framing::Rows, rows)]).bytes();
        split(&bytes, &[usize::MAX], 1 << 18).unwrap().0
    };
    let few = recipe(&[b"1\tone"]);
    let many = recipe(&[b"1\tone", b"2\ttwo", b"3\t", b"4\tfour"]);
    assert_eq!(few.recipe, many.recipe);
    let head = [Op::Object, Op::All];
    let rows = [Op::Block(6), Op::Rows, Op::Lines, Op::Frame(5), Op::End];
    assert_eq!(operations(&few), [&head[..], &rows].concat());
    let none = [Op::Block(6), Op::Rows, Op::Frame(5), Op::End];
    assert_eq!(operations(&recipe(&[])), [&head[..], &none].concat());
}

#[test]
fn rows_are_the_same_object_in_every_framing() {
    let rows: Vec<Vec<u8>> = (0..5000).map(|i| format!("{i}\tsome text of row {i}").into_bytes()).collect();
    let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
    let of = |framing: Framing| {
        let sample = archive(vec![table(true, framing, &rows)]);
        let bytes = sample.bytes();
        let (recorder, summary) = split(&bytes, &[1000], 4096).unwrap();
        assert_eq!(rejoin(&recorder, None).unwrap(), bytes);
        (recorder.objects[1].clone(), summary.tables[0].rows)
    };
    let lines = of(Framing::Rows);
    assert_eq!(lines.1, Some(5000));
    // Lengths that cut the end marker in every place, and frames beyond a line.
    let stream = lines.0.1.len() + COPY_END.len();
    let cutting = (0..=5).map(|rest| (900..).find(|len| stream % len == rest).unwrap());
    for len in cutting.chain([128 << 10, (64 << 10) + 1]) {
        assert_eq!(of(Framing::Fixed(len)), lines, "frames of {len}");
    }
    // Frames that are lines by chance, mixed with others.
    assert_eq!(of(Framing::Lengths(vec![21, 1, 90_000, 20])), lines);
}

#[test]
fn an_end_marker_that_is_no_end_is_data() {
    // As rows of statements, where only the object's kind tells.
    for is_copy in [true, false] {
        let pieces: Vec<&[u8]> = vec![b"a\n", COPY_END, b"b\n", COPY_END, COPY_END];
        let mut sample = archive(vec![table(is_copy, Framing::Rows, &pieces)]);
        sample.tables[0].framing = Framing::Lengths(vec![2, 5, 2, 5, 5]);
        let bytes = sample.bytes();
        for batch in [1, 5, 7, 9, 4096] {
            let (recorder, _) = split(&bytes, &[3], batch).unwrap();
            assert_eq!(rejoin(&recorder, None).unwrap(), bytes, "batch {batch}");
        }
    }
}

#[test]
fn long_rows_are_not_held() {
    let long = vec![b'x'; 300 << 10];
    let rows: Vec<&[u8]> = vec![b"short", &long, b"short", &long, &long];
    let bytes = archive(vec![table(true, Framing::Rows, &rows)]).bytes();
    let (recorder, summary) = split(&bytes, &[10_000], 1 << 18).unwrap();
    assert_eq!(summary.tables[0].rows, Some(5));
    assert_eq!(rejoin(&recorder, None).unwrap(), bytes);
    let len = (300 << 10) + 1;
    let expected = [
        Op::Object,
        Op::All,
        Op::Block(6),
        Op::Rows,
        Op::Lines,
        Op::Count(1),
        Op::Frame(len),
        Op::Lines,
        Op::Count(1),
        Op::Frame(len),
        Op::Again,
        Op::Count(1),
        Op::Frame(5),
        Op::End,
    ];
    assert_eq!(operations(&recorder), expected);
}

#[test]
fn a_large_object_is_a_run_of_frames() {
    let mut sample = archive(Vec::new());
    // Beyond 2^31 an oid is a negative int.
    sample.large_objects = vec![(4_000_000_000, vec![7; 3 * 16_384 + 100], 16_384)];
    let (recorder, _) = split(&sample.bytes(), &[999], 1 << 18).unwrap();
    let frames = [Op::Frame(16_384), Op::Again, Op::Count(2), Op::Frame(100), Op::End, Op::End];
    let begin = [Op::Object, Op::All, Op::Block(6), Op::Literal(5), Op::Object];
    assert_eq!(operations(&recorder), [&begin[..], &frames].concat());
    assert_eq!(recorder.objects[1].0, ObjectKey::LargeObject { oid: 4_000_000_000 });
    assert_eq!(rejoin(&recorder, None).unwrap(), sample.bytes());
}
