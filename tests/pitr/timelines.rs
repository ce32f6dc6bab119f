//! Promote, go on, and recover to before and after the switch; and what is lost of a history is said.

use std::fs;
use std::time::Duration;

use crate::stage::Stage;

#[test]
fn both_sides_of_a_switch_can_be_recovered() {
    let stage = Stage::start();
    let server = &stage.server;
    stage.base();
    let first = stage.mark(1);
    stage.mark(2);
    server.switch();
    stage.restored(&["--name", &first.name]);
    // It goes on as the new primary, and archives to the same repository; the old one goes on too.
    stage.configure("");
    let mut added = stage.added(|| {
        server.recover_copy().unwrap();
        server.ask_copy("INSERT INTO mark VALUES (10)");
        server.ask_copy("SELECT pg_switch_wal()");
        let archived = "SELECT last_archived_wal LIKE '00000002________________' FROM pg_stat_archiver";
        for _ in 0..3000 {
            if server.ask_copy(archived) == "t" {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the copy archives nothing: {}", fs::read_to_string(server.path("copy.log")).unwrap());
    });
    server.stop_copy();
    stage.mark(3);
    server.switch();

    let again = ["--delta", "--yes"];
    let document = stage.restored(&[&["--latest"], &again[..]].concat());
    assert_eq!(document["timeline"], 2);
    assert_eq!(stage.marks(), "1 10");
    let document = stage.restored(&[&["--latest", "--timeline", "1"], &again[..]].concat());
    assert_eq!(document["timeline"], 1);
    assert_eq!(stage.marks(), "1 2 3");
    stage.restored(&[&["--lsn", &first.lsn], &again[..]].concat());
    assert_eq!(stage.marks(), "1");

    // The smallest file is the history of timeline 2.
    let history = added.remove(0);
    let good = fs::read(&history).unwrap();
    let mut bad = good.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    fs::write(&history, &bad).unwrap();
    let said = stage.refused(20, &["--latest", "--delta", "--yes"]);
    assert!(said.contains("00000002.history cannot be read"), "{said}");
    fs::remove_file(&history).unwrap();
    let said = stage.refused(1, &["--latest", "--delta", "--yes"]);
    assert!(said.contains("00000002.history is missing, while there is WAL of timeline 2"), "{said}");
    let said = stage.refused(1, &["--latest", "--timeline", "2", "--delta", "--yes"]);
    assert!(said.contains("00000002.history is missing"), "{said}");
    // Who says which timeline needs no other's history.
    stage.restored(&["--latest", "--timeline", "1", "--delta", "--yes", "--dry-run"]);
}
