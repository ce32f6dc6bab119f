//! `check` and `key list`: what is said of a sound repository and of a damaged one.

use std::fs;

use serde_json::{Value, json};

use crate::program::{Sandbox, largest, noise};

#[test]
fn a_sound_repository_is_found_sound() {
    let sandbox = Sandbox::new();
    sandbox.feed(&noise(2_000_000), &["snapshot", "stdin", "--name", "a"]).text();
    assert!(sandbox.run(&["check"]).text().ends_with("no damage found\n"));
    for args in [&["check", "--read-data"][..], &["check", "--read-data-subset", "1/1"]] {
        let report = sandbox.run(&[args, &["--json"]].concat()).json();
        assert_eq!((&report["clean"], &report["damaged"]), (&json!(true), &json!([])));
        assert_eq!(report["packs_read"], report["packs"]);
        assert!(report["bytes_read"].as_u64().unwrap() >= 2_000_000, "{report}");
    }
    let some = sandbox.run(&["check", "--read-data-subset", "1%", "--json"]).json();
    assert!(some["packs_read"].as_u64() <= some["packs"].as_u64(), "{some}");
}

#[test]
fn damage_is_named_with_what_it_hurts() {
    let sandbox = Sandbox::new();
    // So much that the pack's middle is not what is read first, in whichever order threads packed it.
    sandbox.feed(&noise(9_000_000), &["snapshot", "stdin", "--name", "a.bin"]).text();
    sandbox.feed(b"small", &["snapshot", "stdin", "--name", "b.txt"]).text();
    let pack = largest(&sandbox.path("repository"));
    let mut bytes = fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&pack).unwrap();
    fs::write(&pack, &bytes).unwrap();

    assert_eq!(sandbox.run(&["check"]).status, 0, "structure alone is whole");
    let read = sandbox.run(&["check", "--read-data"]);
    assert_eq!(read.status, 20, "{read:?}");
    let text = String::from_utf8(read.stdout).unwrap();
    let name = pack.file_name().unwrap().to_str().unwrap();
    let id = sandbox.snapshots()[0]["id"].as_str().unwrap().to_owned();
    assert!(text.contains("damaged objects:\n") && text.contains(name), "{text}");
    assert!(text.contains(&format!("{id}:a.bin")) && !text.contains("b.txt"), "{text}");
    let cut = sandbox.run(&["cat", &format!("{id}:a.bin")]);
    let stops = format!("\n  the output stops after {} bytes: do not use it\n", cut.stdout.len());
    assert!(cut.status == 20 && cut.stderr.contains(&stops), "{}", cut.stderr);
    let report = sandbox.run(&["check", "--read-data", "--json"]);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((&report["clean"], &report["hurt"][0]["path"]), (&json!(false), &json!("a.bin")));

    fs::remove_file(&pack).unwrap();
    let gone = sandbox.run(&["check"]);
    assert_eq!(gone.status, 20, "{gone:?}");
    let cat = sandbox.run(&["cat", &format!("{id}:a.bin")]);
    assert_eq!(cat.status, 20, "{cat:?}");
    assert!(cat.stderr.starts_with(&format!("error: {id}:a.bin (snapshot {id}): ")), "{cat:?}");
    assert_eq!(sandbox.run(&["cat", "latest"]).text(), "small");
}

#[test]
fn keyslots_are_listed() {
    let sandbox = Sandbox::new();
    let slots = sandbox.run(&["key", "list", "--json"]).json();
    assert_eq!(slots.as_array().unwrap().len(), 1);
    assert_eq!((&slots[0]["unlocked_by"], &slots[0]["argon"]), (&json!("key_file"), &json!(null)));
    let text = sandbox.run(&["key", "list"]);
    assert!(text.text().contains(slots[0]["id"].as_str().unwrap()), "{text:?}");
}
