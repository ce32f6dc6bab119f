//! What is missing or damaged is refused by its name before a byte is written.

use std::fs;

use crate::stage::Stage;

#[test]
fn missing_and_damaged_segments_are_named_before_anything_is_written() {
    let stage = Stage::start();
    let server = &stage.server;
    stage.base();
    let mut segments = Vec::new();
    for id in 1..=4 {
        let mut name = String::new();
        let added = stage.added(|| {
            stage.mark(id);
            name = server.switch();
        });
        // Beside the segment there may be the base backup's mark, which is smaller.
        segments.push((name, added.last().unwrap().clone()));
    }
    let (name, object) = &segments[2];
    let good = fs::read(object).unwrap();
    let mut bad = good.clone();
    bad[100] ^= 1;
    fs::write(object, &bad).unwrap();
    let said = stage.refused(20, &["--latest"]);
    assert!(
        said.contains(&format!("the WAL segment {name}, which the recovery needs, is damaged")),
        "{said}"
    );
    fs::write(object, &good[..good.len() - 1]).unwrap();
    let said = stage.refused(20, &["--latest"]);
    assert!(said.contains(&format!("{name}, which the recovery needs, is damaged")), "{said}");
    fs::remove_file(object).unwrap();
    let said = stage.refused(1, &["--latest"]);
    assert!(
        said.contains(&format!("the WAL segment {name} is not in the repository, and {} is", segments[3].0)),
        "{said}"
    );
    assert!(said.contains("--allow-gap"), "{said}");
    let lsn = server.sql("SELECT pg_current_wal_lsn() - 1");
    let said = stage.refused(1, &["--lsn", &lsn]);
    assert!(said.contains(name) && said.contains("the target cannot be reached without"), "{said}");
    assert!(!stage.copy().exists(), "nothing was written");

    let document = stage.restored(&["--latest", "--allow-gap"]);
    assert!(document["notes"][0].as_str().unwrap().contains(name), "{document}");
    assert_eq!(stage.marks(), "1 2", "up to the gap");

    // The base backup's own WAL.
    let document = stage.restored(&["--immediate", "--dry-run", "--delta", "--yes"]);
    let first = document["wal"]["first"].as_str().unwrap().to_owned();
    for object in server.objects() {
        let away = object.with_extension("away");
        fs::rename(&object, &away).unwrap();
        let output = stage.restore(&["--immediate", "--dry-run", "--delta", "--yes"]);
        let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        fs::rename(&away, &object).unwrap();
        if said.contains(&format!("the WAL segment {first} is not in the repository")) {
            assert_eq!(output.status.code(), Some(1));
            assert!(said.contains("the base backup is not consistent without it"), "{said}");
            return;
        }
    }
    panic!("removing {first} was not noticed");
}
