//! What is missing or damaged is refused by its name before a byte is written.

use std::fs;

use crate::server::{Archiving, run};
use crate::servers::SmallDisk;
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

#[test]
fn a_server_that_runs_in_the_target_and_a_full_disk_are_refused() {
    let stage = Stage::start();
    stage.base();
    stage.mark(1);
    stage.server.switch();
    let data = stage.server.path("data");
    let mut command = stage.vault();
    command.args(["restore", "pitr", "--latest", "--delta", "--yes", "--target"]).arg(&data);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("a server runs in") && said.contains("stop it first"), "{said}");
    assert!(!data.join("recovery.signal").exists() && !data.join("kamba-vault.restoring").exists());
    assert_eq!(stage.server.sql("SELECT count(*) FROM mark"), "1", "it goes on");

    let disk = SmallDisk::mount(4 << 20);
    let target = disk.path().join("copy");
    let mut command = stage.vault_as_self();
    let output = command.args(["restore", "pitr", "--latest", "--target"]).arg(&target).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("there is room for") && said.contains("choose a folder with more room"), "{said}");
    assert!(!target.exists(), "nothing was written");
}

#[test]
fn of_several_clusters_in_a_repository_the_one_that_is_meant_has_to_be_named() {
    let (stage, other) = (Stage::start(), Archiving::start());
    other.sql("CREATE TABLE mark (id int)");
    // It archives to the repository of the first.
    let push = stage.server.command_line("repository", "wal push %p");
    other.sql(&format!("ALTER SYSTEM SET archive_command = '{push}'"));
    other.sql("SELECT pg_reload_conf()");
    stage.base();
    stage.mark(1);
    stage.server.switch();
    let mut command = stage.vault();
    run(command.env("PGHOST", other.cluster.folder()).args(["snapshot", "base"]));
    other.sql("INSERT INTO mark VALUES (70)");
    other.switch();

    let said = stage.refused(2, &["--latest"]);
    let system = "SELECT system_identifier FROM pg_control_system()";
    let (own, others) = (stage.server.sql(system), other.sql(system));
    assert!(said.contains("several clusters") && said.contains("--system-id"), "{said}");
    assert!(said.contains(&own) && said.contains(&others), "{said}");
    let said = stage.refused(2, &["--latest", "--system-id", "7"]);
    assert!(said.contains("no base backup of cluster 7, but of"), "{said}");
    assert!(!stage.copy().exists(), "nothing was written");

    stage.restored(&["--latest", "--system-id", &others]);
    // Its own settings name the other server's folder.
    let folder = stage.server.cluster.folder().display();
    stage.configure(&format!("archive_mode = off\nunix_socket_directories = '{folder}'"));
    stage.server.recover_copy().unwrap();
    assert_eq!(stage.ask_marks(), "70");
    stage.server.stop_copy();
    // Over one cluster no other is written.
    let said = stage.refused(2, &["--latest", "--system-id", &own, "--delta", "--yes"]);
    assert!(said.contains(&format!("holds cluster {others}")), "{said}");
    fs::remove_dir_all(stage.copy()).unwrap();
    stage.restored(&["--latest", "--system-id", &own]);
    assert_eq!(stage.marks(), "1");
}
