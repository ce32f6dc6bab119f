//! A restored folder starts when it is whole, and not before; tablespaces; the check.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::server::run;
use crate::stage::Stage;
use crate::support::wait_for;

#[test]
fn without_its_backup_label_a_restored_cluster_does_not_start() {
    let stage = Stage::start();
    stage.base();
    stage.mark(1);
    stage.server.switch();
    stage.restored(&["--latest"]);
    let label = stage.copy().join("backup_label");
    let text = fs::read(&label).unwrap();
    fs::remove_file(&label).unwrap();
    stage.configure("archive_mode = off");
    let said = stage.server.recover_copy().unwrap_err();
    assert!(said.contains("could not locate") && said.contains("checkpoint"), "{said}");
    // With it again, it does.
    stage.restored(&["--latest", "--delta"]);
    assert_eq!(fs::read(&label).unwrap(), text);
    assert_eq!(stage.marks(), "1");
}

#[test]
fn an_interrupted_restore_does_not_start_and_goes_on() {
    let stage = Stage::start();
    stage
        .server
        .sql("CREATE TABLE large AS SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, 60000) n");
    stage.base();
    stage.mark(1);
    stage.server.switch();
    let copy = stage.copy();
    let mut command = stage.vault();
    let mut child = command.args(["restore", "pitr", "--latest", "--target"]).arg(&copy).spawn().unwrap();
    while !copy.join("kamba-vault.restoring").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(copy.join("kamba-vault.restoring").exists() && !copy.join("global/pg_control").exists());
    let said = stage.refused(2, &["--latest"]);
    assert!(said.contains("interrupted") && said.contains("--delta"), "{said}");
    stage.restored(&["--latest", "--delta"]);
    assert!(!copy.join("kamba-vault.restoring").exists());
    assert_eq!(stage.marks(), "1");
}

#[test]
fn tablespaces_go_where_they_are_told_to() {
    let stage = Stage::start();
    let server = &stage.server;
    let (old, new) = (server.path("old space"), server.path("new space"));
    run(server.command("/bin/mkdir".as_ref()).arg(&old));
    server.sql(&format!("CREATE TABLESPACE elsewhere LOCATION '{}'", old.display()));
    server.sql(
        "CREATE TABLE far TABLESPACE elsewhere AS SELECT n, md5(n::text) FROM generate_series(1, 2000) n",
    );
    let oid = server.sql("SELECT oid FROM pg_tablespace WHERE spcname = 'elsewhere'");
    stage.base();
    server.sql("UPDATE far SET n = -n");
    stage.mark(1);
    server.switch();
    // Where it lay, it lies still.
    let said = stage.refused(2, &["--latest"]);
    assert!(said.contains(&format!("--tablespace {oid}=DIR")), "{said}");
    let remap = format!("{oid}={}", new.display());
    for again in [&[][..], &["--delta", "--yes"][..]] {
        let document = stage.restored(&[&["--latest", "--tablespace", &remap], again].concat());
        assert_eq!(document["tablespaces"][0]["to"], new.to_str().unwrap());
        assert_eq!(fs::read_link(stage.copy().join("pg_tblspc").join(&oid)).unwrap(), new);
        stage.configure("archive_mode = off");
        server.recover_copy().unwrap();
        assert_eq!(server.ask_copy("SELECT sum(n) FROM far"), "-2001000");
        let location = format!("SELECT pg_tablespace_location({oid})");
        assert_eq!(server.ask_copy(&location), new.to_str().unwrap());
        server.stop_copy();
    }
    assert_eq!(server.sql("SELECT sum(n) FROM far"), "-2001000", "the server's own is untouched");
}

#[test]
fn the_check_recovers_and_leaves_the_folder_to_be_started() {
    let stage = Stage::start();
    stage.server.sql("CREATE EXTENSION amcheck");
    stage.base();
    let first = stage.mark(1);
    stage.mark(2);
    stage.server.switch();
    let document = stage.restored(&["--latest", "--verify"]);
    let check = &document["verified"];
    assert!(check["replayed"].is_string() && check["last_commit"].is_string(), "{document}");
    assert_eq!(check["relations"], "sound", "{document}");
    let copy = stage.copy();
    assert!(!copy.join("standby.signal").exists() && !copy.join("postmaster.pid").exists());
    assert_eq!(stage.marks(), "1 2");
    let document = stage.restored(&["--name", &first.name, "--verify", "--delta", "--yes"]);
    assert_eq!(document["verified"]["relations"], "sound", "{document}");
    assert_eq!(stage.marks(), "1");
    // Nothing of the trials was archived.
    let status = run(stage.vault().args(["wal", "status", "--json"]));
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["clusters"][0]["timelines"].as_array().unwrap().len(), 1, "{status}");
}

#[test]
fn what_root_restores_belongs_to_the_servers_user() {
    let stage = Stage::start();
    stage.server.sql("CREATE EXTENSION amcheck");
    let space = stage.server.path("space");
    run(stage.server.command("/bin/mkdir".as_ref()).arg(&space));
    stage.server.sql(&format!("CREATE TABLESPACE elsewhere LOCATION '{}'", space.display()));
    stage.server.sql("CREATE TABLE far TABLESPACE elsewhere AS SELECT 1 n");
    let oid = stage.server.sql("SELECT oid FROM pg_tablespace WHERE spcname = 'elsewhere'");
    stage.base();
    stage.mark(1);
    stage.server.switch();
    let mut command = stage.vault_as_self();
    command.args(["restore", "pitr", "--latest", "--verify", "--target"]).arg(stage.copy());
    command.arg("--tablespace").arg(format!("{oid}={}", stage.server.path("new").display()));
    let said = String::from_utf8(run(&mut command).stdout).unwrap();
    assert!(said.contains("relations   sound"), "{said}");
    let owner = stage.server.path("data").metadata().unwrap().uid();
    for name in
        ["", "global/pg_control", "postgresql.auto.conf", "recovery.signal", "pg_wal", "tablespace_map.old"]
    {
        assert_eq!(stage.copy().join(name).metadata().unwrap().uid(), owner, "{name}");
    }
    assert_eq!(stage.server.path("new").metadata().unwrap().uid(), owner);
    assert_eq!(stage.marks(), "1");
}

#[test]
fn what_a_lost_server_wrote_last_is_recovered_too() {
    let stage = Stage::start();
    stage.base();
    stage.mark(1);
    stage.server.switch();
    let last = stage.mark(2);
    // What stands behind the target has to be written too: at the very end of the WAL no server stops.
    stage.server.sql("CHECKPOINT");
    let segment = stage.server.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let name = format!("data/pg_wal/{segment}.partial");
    let partial = stage.server.path(&name);
    let whole = stage.server.path(&format!("data/pg_wal/{segment}"));
    run(stage.server.command("/bin/cp".as_ref()).arg(whole).arg(&partial));
    run(stage.vault().args(["wal", "push"]).arg(&partial));
    fs::remove_file(&partial).unwrap();
    let document = stage.restored(&["--latest", "--verify"]);
    assert!(document["notes"][0].as_str().unwrap().contains(&format!("{segment}.partial")), "{document}");
    assert_eq!(document["verified"]["relations"], "unchecked", "{document}");
    assert_eq!(stage.marks(), "1 2");
    stage.restored(&["--lsn", &last.lsn, "--delta", "--yes"]);
    assert_eq!(stage.marks(), "1 2");
}

#[test]
fn the_folder_is_as_the_server_wants_it() {
    let stage = Stage::start();
    stage.base();
    stage.mark(1);
    stage.server.switch();
    // A folder that was there, open to all: no server would start in it.
    run(stage.server.command("/bin/mkdir".as_ref()).arg("--mode=755").arg(stage.copy()));
    let output = stage.restore(&["--immediate", "--action", "pause"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("start it with: pg_ctl -D"), "{said}");
    assert_eq!(stage.copy().metadata().unwrap().mode() & 0o7777, 0o700);
    let settings = fs::read_to_string(stage.copy().join("postgresql.auto.conf")).unwrap();
    assert!(
        settings.contains("recovery_target = 'immediate'\nrecovery_target_action = 'pause'\n"),
        "{settings}"
    );
    assert!(settings.contains("wal fetch %f \"%p\"'"), "{settings}");
    assert!(settings.contains("archive_command"), "what was there stays: {settings}");
}

#[test]
fn the_folder_is_as_open_as_the_servers_was() {
    let stage = Stage::start();
    // What is in it keeps the modes that it was made with.
    let data = stage.server.path("data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
    stage.server.restart();
    stage.base();
    stage.mark(1);
    stage.server.switch();
    stage.restored(&["--latest"]);
    let mode = |name: &str| stage.copy().join(name).metadata().unwrap().mode() & 0o7777;
    assert_eq!((mode(""), mode("global"), mode("backup_manifest")), (0o750, 0o700, 0o640));
    assert_eq!(mode("recovery.signal"), 0o640);
    assert_eq!(stage.marks(), "1");
}

#[test]
fn a_cluster_that_keeps_its_settings_elsewhere_is_verified_all_the_same() {
    let stage = Stage::start();
    // As Debian has it: the folder of the data holds data alone.
    let (data, elsewhere) = (stage.server.path("data"), stage.server.path("postgresql.conf"));
    fs::rename(data.join("postgresql.conf"), &elsewhere).unwrap();
    stage.base();
    fs::rename(elsewhere, data.join("postgresql.conf")).unwrap();
    stage.mark(1);
    stage.server.switch();
    let document = stage.restored(&["--latest", "--verify"]);
    assert!(!stage.copy().join("postgresql.conf").exists());
    assert!(document["verified"].is_object(), "{document}");
}

#[test]
fn a_base_backup_that_is_killed_leaves_no_snapshot_and_a_server_that_knows_nothing_of_it() {
    let stage = Stage::start();
    let server = &stage.server;
    // What does not compress, so that packs fill up while it is read.
    server.sql("CREATE TABLE noise AS SELECT sha512(n::text::bytea) a FROM generate_series(1, 600000) n");
    let objects = || {
        let folders = ["data", "meta", "index", "leases", "roots"];
        let count = |name: &str| walk(&server.path("repository").join(name));
        folders.map(count).into_iter().sum::<usize>()
    };
    for more in [1, 2, 3] {
        let before = objects();
        let mut command = stage.vault();
        command.args(["snapshot", "base", "--max-rate", "40M"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = command.spawn().unwrap();
        wait_for("it to store something", || {
            objects() >= before + more || running.try_wait().unwrap().is_some()
        });
        running.kill().unwrap();
        running.wait().unwrap();
        let is_over = "SELECT count(*) FROM pg_stat_progress_basebackup";
        wait_for("the server to notice", || server.sql(is_over) == "0");
        run(stage.vault().args(["check", "--read-data"]));
    }
    let listed = run(stage.vault().args(["snapshots", "--json"]));
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 0, "{listed}");
    let id = stage.base();
    stage.mark(1);
    server.switch();
    let document = stage.restored(&["--latest"]);
    assert_eq!(document["base"]["snapshot"], id, "{document}");
    assert_eq!(stage.marks(), "1");
}

/// Files below a folder.
fn walk(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let count = |path: PathBuf| if path.is_dir() { walk(&path) } else { 1 };
    entries.flatten().map(|entry| count(entry.path())).sum()
}
