//! Dumps: whatever the bytes are and however they arrive, a split that succeeds rejoins to them. And
//! hostile recipes, which may fail but not run away.
//!
//! An input is two lengths of portions, how to change the recipe (4 bytes), and the dump.
#![no_main]

use kamba_vault::postgres::archive::clean::patch_for_clean;
use kamba_vault::postgres::archive::name;
use kamba_vault::postgres::archive::reframe::Filter;
use kamba_vault::postgres::archive::schema::schema_sql;
use kamba_vault::postgres::archive::seekable::patch_head;
use kamba_vault::postgres::archive::select::Selection;
use kamba_vault::postgres::archive::shadow::Shadow;
use kamba_vault::postgres::archive::split::{ObjectKey, Sink, SplitError, Splitter, Summary};
use kamba_vault::postgres::archive::toc::{Head, Parsed, parse_head};
use kamba_vault_fuzz::archive::Parts;
use kamba_vault_fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let portions = [input.u8(), input.u8()].map(|len| usize::from(len) + 1);
    let (at, value) = (input.u16(), input.u16());
    let dump = input.rest();
    any_recipe(dump);
    if let Parsed::Head(head) = parse_head(dump) {
        assert!(dump.starts_with(head.bytes()));
        look(&head);
    }
    let mut whole = Parts::default();
    let all = [dump.len().max(1); 2];
    let summary = match split(dump, all, &mut whole) {
        Ok(summary) => summary,
        Err(SplitError::EndsEarly { bytes, .. }) => {
            assert_eq!(bytes, dump.len() as u64);
            let ends_early = split(dump, portions, &mut Parts::default());
            assert!(matches!(ends_early, Err(SplitError::EndsEarly { .. })));
            return;
        }
        Err(SplitError::Sink(never)) => match never {},
    };
    assert_eq!(summary.bytes, dump.len() as u64);
    let (joined, figures) = whole.join(&whole.recipe, Some(Box::new(|_| true))).expect("it rejoins");
    assert!(joined == dump, "other bytes come back");
    assert_eq!(figures.blocks, summary.blocks);
    in_portions(dump, portions, &whole);
    some_blocks(&whole, &summary);
    changed_recipe(&whole, at.into(), value);
});

fn split<S: Sink<Error: std::fmt::Debug>>(
    dump: &[u8],
    portions: [usize; 2],
    sink: &mut S,
) -> Result<Summary, SplitError<S::Error>> {
    let mut splitter = Splitter::new();
    let mut left = dump;
    for len in portions.iter().cycle() {
        if left.is_empty() {
            break;
        }
        let (now, later) = left.split_at((*len).min(left.len()));
        splitter.push(now, sink).map_err(SplitError::Sink)?;
        left = later;
    }
    splitter.finish(sink)
}

/// The same parts come of any portions, and the proof that runs beside the split sees the dump.
fn in_portions(dump: &[u8], portions: [usize; 2], whole: &Parts) {
    let mut seen = Vec::new();
    let mut shadow = Shadow::new(Parts::default(), |bytes: &[u8]| seen.extend_from_slice(bytes));
    split(dump, portions, &mut shadow).unwrap_or_else(|error| panic!("portions make a difference: {error}"));
    let (parts, _, len) = shadow.finish().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(parts, *whole);
    assert_eq!(len, dump.len() as u64);
    assert!(seen == dump, "the proof saw other bytes");
}

/// A dump without every other block is never longer, and still begins with its head.
fn some_blocks(whole: &Parts, summary: &Summary) {
    let kept = |id: u32| id.is_multiple_of(2);
    let Ok((some, figures)) = whole.join(&whole.recipe, Some(Box::new(kept))) else { return };
    assert!(some.len() as u64 <= summary.bytes);
    assert!(figures.blocks.iter().all(|block| kept(block.dump_id)));
    if let Some(head) = &summary.head {
        assert!(some.starts_with(head.bytes()));
        assert_eq!(patch_head(head, &summary.blocks).len(), head.len());
    }
}

/// What is made of a table of contents to be looked at.
fn look(head: &Head) {
    let sql = schema_sql(head);
    assert!(sql.starts_with(b"--\n-- PostgreSQL database dump\n"));
    let tables: Vec<_> = head.entries().map(|entry| (entry.namespace(), entry.tag())).take(3).collect();
    let mut patched = head.bytes().to_vec();
    patch_for_clean(head, &mut patched);
    assert_eq!(patched.len(), head.len());
    let selection = Selection::of_tables(head, &tables);
    let lines = selection.use_list(head).iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines, selection.dump_ids.len());
    for (schema, table) in tables {
        let (part, other) = (name::encode(schema), name::encode(table));
        assert_eq!(name::table_file(schema, table), format!("{part}.{other}.copy"));
        assert_eq!(name::decode(&part).as_deref(), Some(schema));
        assert_eq!(name::decode(&other).as_deref(), Some(table));
    }
}

fn changed_recipe(whole: &Parts, at: usize, value: u16) {
    let mut recipe = whole.recipe.clone();
    let [change, cut] = value.to_le_bytes();
    if let Some(byte) = recipe.get_mut(at) {
        *byte ^= change;
    }
    recipe.truncate(recipe.len() - usize::from(cut).min(recipe.len()));
    follow(whole, &recipe);
}

/// Any bytes as a recipe for objects that are there.
fn any_recipe(recipe: &[u8]) {
    let objects = vec![
        (ObjectKey::Head, b"head".to_vec()),
        (ObjectKey::LargeObject { oid: 1 }, b"one\ntwo\n".to_vec()),
        (ObjectKey::Rest, b"rest".to_vec()),
    ];
    follow(&Parts { objects, ..Parts::default() }, recipe);
}

fn follow(parts: &Parts, recipe: &[u8]) {
    let even = || Box::new(|id: u32| id.is_multiple_of(2)) as Filter<'_>;
    for filter in [None, Some(even())] {
        match parts.join(recipe, filter) {
            Ok((out, _)) => assert!(out.len() <= parts.most(recipe.len())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
