//! Questions to a server.

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::cluster::{Cluster, ClusterOptions};
use kamba_vault::postgres::connect::Settings;
use kamba_vault::postgres::error::Error;
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::tools::Tools;

use crate::support::{Db, tools};

#[test]
fn a_server_tells_what_it_is_and_holds() {
    let db = Db::start();
    let server = Server::new(&db.tools, &db.cluster.settings()).unwrap();
    let info = server.info().unwrap();
    assert_eq!(info.version, db.cluster.version());
    assert_eq!(info.database, "postgres");
    assert!(info.version_text.starts_with(&info.version.to_string()), "{}", info.version_text);

    assert!(!server.has_database("it's \"odd\"").unwrap());
    let odd = db.create("it's \"odd\"");
    assert!(server.has_database("it's \"odd\"").unwrap());
    assert_eq!(odd.info().unwrap().database, "it's \"odd\"");
    let databases = server.databases().unwrap();
    let names: Vec<&str> = databases.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["it's \"odd\"", "postgres", "template0", "template1"]);
    assert_eq!(databases[0].encoding, "UTF8");
    assert_eq!(databases[0].collate, "C");
    assert!(databases[0].bytes.unwrap() > 1_000_000);
    assert!(databases[2].is_template && !databases[2].allows_connections);

    let latin = kamba_vault::postgres::server::Database { encoding: "LATIN1".into(), ..databases[0].clone() };
    server.create_database("latin", Some(&latin)).unwrap();
    let made = server.databases().unwrap();
    assert_eq!(made.iter().find(|d| d.name == "latin").unwrap().encoding, "LATIN1");
}

#[test]
fn an_empty_database_is_told_from_one_in_use() {
    let db = Db::start();
    let server = db.create("one");
    let contents = server.contents().unwrap();
    assert_eq!((contents.objects, contents.example), (0, None));
    server.run(b"CREATE EXTENSION pg_stat_statements; CREATE TEMP TABLE t ();").unwrap();
    assert_eq!(server.contents().unwrap().objects, 0, "an extension's view is nobody's");
    server.run(b"SELECT lo_create(0) \\g /dev/null").unwrap();
    assert_eq!(server.contents().unwrap().objects, 1);
    server.run(b"CREATE TABLE \"Big\" (i int);").unwrap();
    let contents = server.contents().unwrap();
    assert_eq!((contents.objects, contents.example.as_deref()), (2, Some("public.\"Big\"")));
    let others = [
        ("CREATE SCHEMA s", "s"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "public.f"),
        ("CREATE TYPE e AS ENUM ('a')", "public.e"),
        ("CREATE TYPE c AS (i int)", "public.c"),
        ("CREATE TYPE r AS RANGE (subtype = date)", "public.r"),
        ("CREATE DOMAIN d AS int", "public.d"),
        ("CREATE VIEW v AS SELECT 1", "public.v"),
    ];
    for (number, (sql, name)) in others.into_iter().enumerate() {
        let server = db.create(&format!("other_{number}"));
        server.run(format!("{sql};").as_bytes()).unwrap();
        let contents = server.contents().unwrap();
        assert_eq!((contents.objects, contents.example.as_deref()), (1, Some(name)), "{sql}");
    }
}

#[test]
fn rows_are_counted_table_by_table() {
    let db = Db::start();
    let server = db.create("one");
    let sql = "CREATE SCHEMA \"s'\\\"; CREATE TABLE \"s'\\\".\"t'\\\"\"\" AS SELECT generate_series(1, 7);
        CREATE TABLE parent (i int); CREATE TABLE child () INHERITS (parent);
        INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2), (3);
        CREATE TABLE secret AS SELECT 1; ALTER TABLE secret ENABLE ROW LEVEL SECURITY;";
    server.run(sql.as_bytes()).unwrap();
    let tables: [(&[u8], &[u8]); 5] = [
        (b"public", b"child"),
        (b"s'\\", b"t'\\\""),
        (b"public", b"nothing"),
        (b"public", b"parent"),
        (b"public", b"secret"),
    ];
    let counts = server.row_counts(&tables, None).unwrap();
    assert_eq!(counts, [Some(2), Some(7), None, Some(1), Some(1)]);
    assert_eq!(server.row_counts(&[], None).unwrap(), []);

    let umlaut = "CREATE TABLE \"größe\" AS SELECT 1;";
    server.run(umlaut.as_bytes()).unwrap();
    let latin: [(&[u8], &[u8]); 1] = [(b"public", b"gr\xf6\xdfe")];
    assert_eq!(server.row_counts(&latin, Some("LATIN1")).unwrap(), [Some(1)]);

    // Counting a large table takes as long as it takes.
    server.run(b"CREATE TABLE large AS SELECT generate_series(1, 1000000); ALTER DATABASE one SET statement_timeout = 1;").unwrap();
    assert_eq!(server.row_counts(&[(b"public", b"large")], None).unwrap(), [Some(1_000_000)]);
}

#[test]
fn failures_say_what_failed() {
    let db = Db::start();
    let server = Server::new(&db.tools, &db.cluster.settings()).unwrap();
    let error = server.run(b"SELECT 1;\nSELECT 1/0;\n").unwrap_err();
    assert!(error.to_string().contains("division by zero"), "{error}");
    assert_eq!(error.class(), Class::Failed);

    let error = server.database("nowhere").info().unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
    assert!(error.to_string().contains("database \"nowhere\" does not exist"), "{error}");

    let settings = Settings::parse("postgres://me:topsecret@/x?host=/nowhere").unwrap();
    let error = Server::new(&db.tools, &settings).unwrap().info().unwrap_err();
    assert!(error.to_string().starts_with("no connection to x on /nowhere as me: "), "{error}");
    assert!(!error.to_string().contains("topsecret") && error.hint().is_some());
}

#[test]
fn a_cluster_survives_a_crash_and_leaves_nothing() {
    let db = Db::start();
    let server = db.create("one");
    server.run(b"CREATE TABLE t AS SELECT 1; CHECKPOINT;").unwrap();
    db.cluster.crash().unwrap();
    assert!(matches!(server.info(), Err(Error::Connect { .. })));
    db.cluster.restart(&Cancel::new()).unwrap();
    assert_eq!(server.row_counts(&[(b"public", b"t")], None).unwrap(), [Some(1)]);

    let folder = db.cluster.folder().to_owned();
    let pid: String = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    // Empty for a process that has ended and that nobody has asked about.
    let command_line = format!("/proc/{}/cmdline", pid.lines().next().unwrap());
    let is_running = || std::fs::read(&command_line).is_ok_and(|bytes| !bytes.is_empty());
    assert!(is_running());
    drop(db);
    assert!(!folder.exists());
    assert!(!is_running());
}

#[test]
fn a_cluster_needs_a_server_and_a_short_open_folder() {
    let dir = tempfile::tempdir().unwrap();
    let none = Tools::new(Some(dir.path().to_owned()), None, &Cancel::new());
    let options = ClusterOptions::default();
    let error = Cluster::start(&none, dir.path(), &options).err().unwrap();
    assert!(error.hint().unwrap().contains("apt install postgresql"), "{error}");

    let long = dir.path().join("x".repeat(100));
    std::fs::create_dir(&long).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let error = Cluster::start(&tools(), &long, &options).err().unwrap();
    assert!(error.to_string().contains("too long for a socket"), "{error}");
    assert_eq!(error.class(), Class::Usage);
    let error = Cluster::start(&tools(), &dir.path().join("nowhere"), &options).err().unwrap();
    assert!(matches!(error, Error::Folder { .. }), "{error}");
}
