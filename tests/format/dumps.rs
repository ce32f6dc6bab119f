//! Vectors of a dump's parts: the recipe by which they become a dump again, the names of tables' files,
//! and the description.

use std::io::{Read, empty};

use kamba_vault::format::database::DatabaseInfo;
use kamba_vault::postgres::archive::join::join;
use kamba_vault::postgres::archive::name;
use serde_json::{Value, json};

use crate::vectors::Chapter;

/// What a recipe makes of its parts.
fn rejoin(recipe: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let open = |number: usize| -> std::io::Result<Box<dyn Read + '_>> {
        Ok(parts.get(number).map_or(Box::new(empty()), |part| Box::new(*part)))
    };
    join(recipe, open, None, &mut out).map(|_| out).map_err(|e| e.to_string())
}

/// A table in COPY form with dump id 5, after the two bytes that every recipe begins with.
const TABLE: [u8; 11] = [1, 4, 0x34, 1, 0, 5, 0, 0, 0, 0x10, 0x18];
/// The end marker's frame, and the integer that ends a block.
const MARKED: [u8; 2] = [0x2a, 0];

fn recipe(operations: &[u8]) -> Vec<u8> {
    [&[1, 4], operations].concat()
}

#[test]
fn recipes() {
    let mut chapter = Chapter::new(
        "recipe",
        "recipes, the parts that they take in their order, and what comes out. The refused are recipes with \
         a single part of the six bytes 'a\\tb\\nc\\n'",
    );
    let rows: &[u8] = b"1\tana\n2\tben\n";
    let head: &[u8] = b"head";
    type Case<'c> = (&'c str, Vec<u8>, Vec<&'c [u8]>);
    let cases: [Case<'_>; 9] = [
        ("a stream that was not understood", recipe(&[8, 0x28]), vec![b"any bytes"]),
        ("an empty stream", recipe(&[8, 0x28]), vec![b""]),
        ("a table in COPY form", [&TABLE[..], &MARKED].concat(), vec![rows]),
        (
            "a head, and a table without rows",
            recipe(&[8, 0x28, 0x34, 1, 0, 5, 0, 0, 0, 0x10, 0x2a, 0]),
            vec![head, b""],
        ),
        ("a table whose end marker is not used", [&TABLE[..], &[0]].concat(), vec![rows]),
        ("lines that are counted", recipe(&[0x10, 0x18, 0x0b, 0x32, 0x2a, 0]), vec![rows]),
        (
            "a large object, oid 9",
            recipe(&[0x34, 3, 0, 6, 0, 0, 0, 0x29, 0, 9, 0, 0, 0, 8, 0x22, 0x20, 0x13, 0x0a, 0, 0]),
            vec![b"0123456789abc"],
        ),
        ("frames as long as the last, to the end", recipe(&[8, 0x22, 0x20, 0]), vec![b"0123456789ab"]),
        ("integers of eight bytes", vec![1, 8, 8, 0x1a, 0], vec![b"abc"]),
    ];
    for (case, recipe, parts) in cases {
        let output = rejoin(&recipe, &parts).unwrap_or_else(|e| panic!("{case}: {e}"));
        let parts: Vec<String> = parts.iter().map(|part| kamba_vault::base::id::hex(part)).collect();
        let input = json!({ "recipe": kamba_vault::base::id::hex(&recipe), "parts": parts });
        chapter.bytes(case, input, &output);
    }
    refused_recipes(&mut chapter);
    chapter.finish();
}

fn refused_recipes(chapter: &mut Chapter) {
    let long = [&[0x89, 0x40][..], &[0; 1025]].concat();
    let cases: [(&str, Vec<u8>); 17] = [
        ("nothing", vec![]),
        ("an unknown version", vec![2, 4, 8, 0x28]),
        ("integers of three bytes", vec![1, 3, 8, 0x28]),
        ("integers of nine bytes", vec![1, 9, 8, 0x28]),
        ("an unknown operation", recipe(&[8, 0x28, 0x30])),
        ("an unknown code", recipe(&[8, 0x28, 0x0d])),
        ("a literal of no bytes", recipe(&[1, 8, 0x28])),
        ("a literal that is cut off", recipe(&[8, 0x28, 0x21, 1])),
        ("a literal above its limit", recipe(&[&long[..], &[8, 0x28]].concat())),
        ("a frame of no bytes", recipe(&[8, 2, 0x28])),
        ("a number that does not end", recipe(&[8, 0x28, 0x80])),
        ("lines without a part", recipe(&[0x18])),
        ("a frame longer than the part", recipe(&[8, 0x3a])),
        ("again without a frame", recipe(&[8, 0x20])),
        ("a count of nothing", recipe(&[8, 0x28, 0x0b])),
        ("a part that is not used up", recipe(&[8, 0x1a])),
        ("an end marker that is used in part", recipe(&[0x10, 0x18, 0x1a, 0])),
    ];
    let part: &[u8] = b"a\tb\nc\n";
    for (case, recipe) in cases {
        let error = rejoin(&recipe, &[part]).map(|out| panic!("{case}: {out:?}")).unwrap_err();
        chapter.refused(case, &recipe, error);
    }
}

#[test]
fn table_names() {
    let mut chapter = Chapter::new(
        "table-names",
        "schema and table, in hexadecimal, and the name of the file with the table's rows. The refused are \
         what stands between two dots, in hexadecimal, that no identifier is written as",
    );
    let cases: [(&[u8], &[u8]); 7] = [
        (b"public", b"orders"),
        (b"a.b", b"c"),
        (b"a", b"b.c"),
        ("gr\u{f6}\u{df}e".as_bytes(), b"100%"),
        (b"s", b"with space/slash"),
        (b"..", b"\n\x7f\xc2\x85"),
        (b"latin", b"caf\xe9"),
    ];
    for (schema, table) in cases {
        let file = name::table_file(schema, table);
        let parts: Vec<&str> = file.split('.').collect();
        assert_eq!(parts.len(), 3, "{file}");
        assert_eq!((name::decode(parts[0]).unwrap(), parts[2]), (schema.to_vec(), "copy"));
        assert_eq!(name::decode(parts[1]).unwrap(), table);
        let hex = kamba_vault::base::id::hex;
        chapter.case(&file, json!({ "schema": hex(schema), "table": hex(table) }), json!({ "file": file }));
    }
    for part in ["a.b", "a/b", "%", "%2", "%2e", "%41", "%zz", "a\n"] {
        assert_eq!(name::decode(part), None);
        chapter.refused(&format!("{part:?}"), part.as_bytes(), "no identifier is written so");
    }
    chapter.finish();
}

/// The least that a description says.
fn least() -> Value {
    json!({
        "database": "shop", "encoding": "UTF8", "size": 8_192, "server_version": "15.14",
        "dump_version": "15.14", "dump_arguments": [], "started": 1_700_000_000_000_000_000i64,
        "ended": 1_700_000_012_345_678_901i64, "exit_status": 0, "dump_bytes": 9,
        "dump_hash": crate::vectors::hash(b"any bytes"), "split": false, "objects": ["rest"], "tables": [],
        "blocks": [],
    })
}

fn with(members: Value) -> Value {
    let mut all = least();
    for (name, value) in members.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

#[test]
fn descriptions() {
    let mut chapter = Chapter::new(
        "info",
        "descriptions of dumps as JSON, and what is understood of them. How the JSON is spaced and ordered \
         is not format",
    );
    let full = with(json!({
        "collate": "C.UTF-8", "ctype": "C.UTF-8", "archive_version": "1.14",
        "dump_arguments": ["--schema", "public"], "split": true,
        "objects": ["head", "tables/public.orders.copy", "large-objects/9"],
        "tables": [
            { "schema": "public", "name": "orders", "node": "public.orders.copy", "rows": 2, "bytes": 12 },
            { "schema": "a.b", "name": "inserts", "node": "a%2Eb.inserts.copy", "bytes": 40 },
        ],
        "blocks": [{ "dump_id": 5, "offset": 1234 }],
    }));
    let unknown = with(json!({ "of_a_later_version": [1] }));
    for (case, input) in [
        ("what must be there", least()),
        ("a dump in parts", full),
        ("members that are not known are ignored", unknown),
    ] {
        let read = DatabaseInfo::decode(input.to_string().as_bytes()).unwrap();
        let output: Value = serde_json::from_slice(&read.encode().unwrap()).unwrap();
        chapter.case(case, input, output);
    }
    let mut lacking = least();
    lacking.as_object_mut().unwrap().remove("dump_hash");
    for (case, text) in [
        ("no JSON", "{".to_owned()),
        ("an array", "[]".to_owned()),
        ("without a hash", lacking.to_string()),
        ("a negative length", with(json!({ "dump_bytes": -1 })).to_string()),
        ("two objects", format!("{0} {0}", least())),
    ] {
        chapter.refused(case, text.as_bytes(), DatabaseInfo::decode(text.as_bytes()).unwrap_err());
    }
    chapter.finish();
}
