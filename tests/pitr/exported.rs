//! A base backup as an archive: what tar makes of it is a cluster that starts, without this program.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Stdio};

use crate::server::run;
use crate::stage::Stage;

#[test]
fn an_exported_cluster_starts() {
    let stage = Stage::start();
    let server = &stage.server;
    let (space, target) = (server.path("space"), server.path("extracted"));
    run(server.command("mkdir".as_ref()).arg(&space).arg(&target));
    server.sql(&format!("CREATE TABLESPACE space LOCATION '{}'", space.display()));
    server.sql("CREATE TABLE far TABLESPACE space AS SELECT n FROM generate_series(1, 1000) n");
    stage.base();
    stage.mark(1);
    server.switch();

    let mut export = stage.vault();
    export.args(["export", "latest"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut export = export.spawn().unwrap();
    let mut tar = server.command("tar".as_ref());
    run(tar.args(["-x", "-p", "-C"]).arg(&target).stdin(export.stdout.take().unwrap()));
    let export = export.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&export.stderr);
    assert!(export.status.success() && said.contains("remove that before it starts"), "{said}");

    let copy = target.join("pgdata");
    let verify = fs::canonicalize(server.cluster.pg_ctl()).unwrap().with_file_name("pg_verifybackup");
    run(Command::new(verify).arg("-n").arg(&copy));
    // As the export says, and as PostgreSQL's manual does.
    fs::remove_file(copy.join("tablespace_map")).unwrap();
    run(server.command("touch".as_ref()).arg(copy.join("recovery.signal")));
    symlink(&copy, stage.copy()).unwrap();
    let fetch = server.command_line("repository", "wal fetch %f %p");
    stage.configure(&format!("restore_command = '{fetch}'\nrecovery_target_timeline = 'latest'"));
    assert_eq!(stage.marks_with(|| server.ask_copy("SELECT count(*) FROM far")), ("1".into(), "1000".into()));
    // It lies where the archive had it, and is the copy's own.
    let link = fs::read_dir(copy.join("pg_tblspc")).unwrap().next().unwrap().unwrap().path();
    let lies = fs::canonicalize(link).unwrap();
    assert!(lies.starts_with(fs::canonicalize(target.join("tablespaces")).unwrap()), "{lies:?}");
    assert_eq!(fs::metadata(lies).unwrap().uid(), fs::metadata(copy).unwrap().uid());
}
