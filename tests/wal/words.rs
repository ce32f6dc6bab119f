//! What `wal status`, `restore pitr --dry-run` and `doctor` print, word for word.

use std::fs;

use crate::commands::Place;
use crate::receiving::receive;
use crate::server::{Archiving, run};
use crate::support::wait_for;

/// Replaces what differs from run to run.
fn stable(text: &str, f: impl FnOnce(&str)) {
    let mut settings = insta::Settings::clone_current();
    for (pattern, with) in [
        (r"\b\d{19}\b", "[SYSTEM]"),
        (r"\b[0-9a-f]{32}\b", "[ID]"),
        (r"(base +)[0-9a-f]{8} of", "$1[SHORT] of"),
        (r"PostgreSQL \d+\.\d+", "PostgreSQL [VERSION]"),
        (r"segments, [0-9A-F]{24} to", "segments, [FIRST] to"),
        (r"\d+ in use", "[N] in use"),
        (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?", "[TIME]"),
        (r"\b[0-9A-F]{1,8}/[0-9A-F]{1,8}\b", "[LSN]"),
        (r"/[^ \n\x22']*kamba-vault-[^ \n\x22']*", "[PATH]"),
        (r"\d[\d.,]* (B|KiB|MiB|GiB)", "[SIZE]"),
        (r"\d[\d.]* s\b|\b\d+:\d\d ago", "[SPAN]"),
        (r#"(stored_bytes|_seconds)":[\d.]+"#, r#"$1":[N]"#),
        (r" {3,}", "  "),
        (r"-{3,}", "--"),
    ] {
        settings.add_filter(pattern, with);
    }
    settings.bind(|| f(text));
}

#[test]
fn the_status_of_wal_with_a_gap() {
    let place = Place::new();
    place.push_segments([3, 4, 6]);
    fs::write(place.data.join("pg_wal/00000002.history"), "1\t0/30000D8\tno reason\n").unwrap();
    place.run(&["wal", "push", "pg_wal/00000002.history"]).text();
    let words = place.run(&["wal", "status"]);
    assert!(words.text().contains("000000010000000000000005"), "the gap has its name: {words:?}");
    stable(words.text(), |text| insta::assert_snapshot!("wal-status", text));
    let json = place.run(&["wal", "status", "--json"]);
    stable(json.text(), |text| insta::assert_snapshot!("wal-status-json", text));
}

/// What the program prints with the server as libpq's default.
fn printed(server: &Archiving, args: &[&str]) -> String {
    let mut command = server.vault();
    command.env("PGHOST", server.cluster.folder()).env("PGPORT", "5432").env("PGUSER", "postgres");
    command.env("PATH", "/usr/bin:/bin").env("TZ", "UTC").arg("--no-progress").args(args);
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_plan_of_a_recovery_and_what_the_doctor_says() {
    let server = Archiving::start();
    run(receive(&server).args(["--finish"]));
    let writes = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())";
    printed(&server, &["snapshot", "base"]);
    server.sql("CREATE TABLE t (id int)");
    let last = server.sql(writes);
    server.sql("SELECT pg_switch_wal()");
    let archived = format!("SELECT last_archived_wal = '{last}' FROM pg_stat_archiver");
    wait_for("the last segment to be archived", || server.sql(&archived) == "t");
    let stable = |text: &str, f: fn(&str)| stable(&text.replace(&last, "[LAST]"), f);
    let copy = server.path("copy");
    let plan =
        printed(&server, &["restore", "pitr", "--latest", "--dry-run", "--target", copy.to_str().unwrap()]);
    assert!(!copy.exists());
    let folder = server.cluster.folder().to_str().unwrap();
    stable(&plan.replace(folder, "[FOLDER]"), |text| insta::assert_snapshot!("restore-pitr-dry-run", text));
    let said = printed(&server, &["doctor"]);
    stable(&said.replace(folder, "[FOLDER]"), |text| insta::assert_snapshot!("doctor", text));
}
