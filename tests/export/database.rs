//! Dumps of databases and streams in archives: every file with the bytes that `cat` has for it.

use std::collections::BTreeMap;
use std::process::Command;

use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::cluster::{Cluster, ClusterOptions};
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::tools::Tools;

use crate::program::{Sandbox, finish};

/// The files of a tar by name, as Python reads them.
fn read(sandbox: &Sandbox, tar: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let (archive, folder) = (sandbox.path("archive.tar"), tempfile::tempdir().unwrap());
    std::fs::write(&archive, tar).unwrap();
    let extract = ["-x", "-p", "-f", archive.to_str().unwrap(), "-C", folder.path().to_str().unwrap()];
    finish(Command::new("tar").args(extract)).text();
    let below =
        |path: &std::path::Path| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
    let mode = |path: &std::path::Path| {
        std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o7777
    };
    let files = crate::program::files(folder.path());
    files.iter().map(|path| (below(path), (mode(path), std::fs::read(path).unwrap()))).collect()
}

#[test]
fn a_database_is_all_that_is_shown_of_it_but_twice_the_same() {
    let tools = Tools::new(None, std::env::var_os("PATH"), &Cancel::new());
    let options = ClusterOptions { may_lose_data: true, settings: Vec::new() };
    let cluster = Cluster::start(&tools, &std::env::temp_dir(), &options).unwrap();
    Server::new(&tools, &cluster.settings()).unwrap().create_database("shop", None).unwrap();
    let shop = Server::new(&tools, &cluster.settings().with_database("shop")).unwrap();
    shop.run(
        b"CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 90000) n;
          CREATE TABLE \"a/b\" AS SELECT 1 AS one; CREATE TABLE empty (i int);
          SELECT lo_from_bytea(4711, 'a large object');",
    )
    .unwrap();
    let sandbox = Sandbox::new();
    let mut command = sandbox.program();
    command.env("PGHOST", cluster.folder()).env("PGPORT", "5432").env("PGUSER", "postgres");
    let globals = ["--no-progress", "snapshot", "db", "--dbname", "shop", "--globals"];
    finish(command.args(globals)).text();

    let export = sandbox.run(&["--no-progress", "export", "latest"]);
    assert_eq!(export.status, 0, "{export:?}");
    let note = "note: 4 entries left out: made of what stands beside it (first: shop/database.seekable.dump)";
    assert!(export.stderr.contains(note), "{export:?}");
    let files = read(&sandbox, &export.stdout);
    let listed = sandbox.run(&["ls", "--recursive", "--json", "latest"]);
    let entries = listed.text().lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let files_shown = entries.filter(|entry| entry["kind"] == "file");
    let paths = files_shown.map(|entry| entry["path"].as_str().unwrap().to_owned());
    let is_once = |path: &String| !path.ends_with(".csv") && !path.ends_with(".seekable.dump");
    let shown: Vec<String> = paths.filter(is_once).collect();
    assert_eq!(files.keys().cloned().collect::<Vec<_>>(), shown);
    assert!(shown.len() > 7 && shown.iter().any(|path| path == "globals.sql"));
    for (path, (mode, bytes)) in &files {
        assert!(*bytes == sandbox.run(&["cat", &format!("latest:{path}")]).stdout, "{path}");
        assert_eq!(*mode, 0o600, "{path}");
    }
    // A zip has the same.
    let zip = sandbox.path("archive.zip");
    sandbox.run(&["-q", "export", "latest", "-o", zip.to_str().unwrap()]).text();
    let program = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; \
                   print(*(i.filename for i in z.infolist() if not i.is_dir()), sep='\\n')";
    let names = finish(Command::new("python3").args(["-c", program]).arg(&zip));
    assert_eq!(names.text().lines().collect::<Vec<_>>(), shown);
}

#[test]
fn a_stream_is_a_file() {
    let sandbox = Sandbox::new();
    sandbox.feed(b"the stream", &["snapshot", "stdin", "--name", "a.json"]).text();
    let export = sandbox.run(&["export", "latest"]);
    assert_eq!((export.status, export.stderr.as_str()), (0, ""));
    let file = (0o600, b"the stream".to_vec());
    assert_eq!(read(&sandbox, &export.stdout), BTreeMap::from([("a.json".to_owned(), file)]));
}
