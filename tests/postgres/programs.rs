//! Programs that end badly, and programs that are too old.

use std::io::Read;

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::archive::split::{SplitError, Splitter};
use kamba_vault::postgres::connect::Settings;
use kamba_vault::postgres::dump::{PassedOn, dump, dump_globals};
use kamba_vault::postgres::error::Error;
use kamba_vault::postgres::globals::globals_script;
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::tools::{Program, Tool, Tools};

use crate::shared::install::install_script;
use crate::support::{Db, Objects};

#[test]
fn a_pg_dump_older_than_the_server_is_refused() {
    let db = Db::start();
    let dir = tempfile::tempdir().unwrap();
    install_script("echo 'pg_dump (PostgreSQL) 9.6.24'", &dir.path().join("pg_dump"));
    let server = Server::new(&db.tools, &db.cluster.settings()).unwrap();
    let version = server.info().unwrap().version;
    let old = Tools::new(Some(dir.path().to_owned()), None, &Cancel::new());
    let error = old.find(Program::PgDump, "the server", version).unwrap_err();
    assert_eq!(error.to_string(), format!("pg_dump 9.6.24 is older than the server {version}"));
    // Without the folder, the one that fits is found.
    assert!(db.tools.find(Program::PgDump, "the server", version).unwrap().version >= version);
}

/// Reads a dump to its end through a splitter; how both ended.
fn read(
    tool: &Tool,
    settings: &Settings,
    cancel: &Cancel,
    after: impl Fn(u64),
) -> (Result<(), String>, Result<String, Error>) {
    let mut dump = dump(tool, settings, &PassedOn::default(), cancel).unwrap();
    let (mut splitter, mut objects) = (Splitter::new(), Objects::default());
    let mut buf = vec![0u8; 64 << 10];
    let mut total = 0;
    while let n @ 1.. = dump.read(&mut buf).unwrap() {
        splitter.push(&buf[..n], &mut objects).unwrap();
        total += n as u64;
        after(total);
    }
    let split = match splitter.finish(&mut objects) {
        Ok(_) => Ok(()),
        Err(error @ SplitError::EndsEarly { .. }) => Err(error.to_string()),
        Err(SplitError::Sink(never)) => match never {},
    };
    (split, dump.finish())
}

fn big(db: &Db) -> Settings {
    let server = db.create("big");
    server
        .run(b"CREATE TABLE t AS SELECT i, repeat('x', 100) AS x FROM generate_series(1, 200000) i;")
        .unwrap();
    server.settings().clone()
}

#[test]
fn a_killed_dump_ends_early_twice_over() {
    let db = Db::start();
    let settings = big(&db);
    // A pg_dump that is killed half way, and says nothing.
    let dir = tempfile::tempdir().unwrap();
    let real = db.tool(Program::PgDump);
    let file = dir.path().join("pg_dump");
    install_script(&format!("{} \"$@\" | head -c 3000000; kill -9 $$", real.path.display()), &file);
    let killed = Tool { path: file, ..real.clone() };
    let (split, ended) = read(&killed, &settings, &Cancel::new(), |_| {});
    let split = split.unwrap_err();
    assert_eq!(split, "the dump ends early: after 3000000 bytes, in the rows of public.t");
    assert_eq!(ended.unwrap_err().to_string(), "pg_dump was killed by signal 9");

    // A server that goes away.
    let once = std::cell::Cell::new(false);
    let (split, ended) = read(&real, &settings, &Cancel::new(), |_| {
        if !once.replace(true) {
            db.cluster.crash().unwrap();
        }
    });
    assert!(split.is_err());
    let error = ended.unwrap_err();
    assert!(error.to_string().starts_with("pg_dump ended with status 1: pg_dump: error: "), "{error}");
    assert_eq!(error.class(), Class::Failed);
}

#[test]
fn a_cancelled_dump_ends() {
    let db = Db::start();
    let settings = big(&db);
    let cancel = Cancel::new();
    let (_, ended) = read(&db.tool(Program::PgDump), &settings, &cancel, |_| {
        cancel.cancel();
        // The pipe holds a megabyte; the dump has twenty.
        std::thread::sleep(std::time::Duration::from_millis(20));
    });
    let error = ended.unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(error.class(), Class::Interrupted);
}

#[test]
fn passwords_reach_the_program_and_no_argument() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pg_dump");
    let seen = dir.path().join("seen");
    install_script(
        &format!("echo \"$PGPASSWORD\" \"$@\" > {}; tr '\\0' ' ' < /proc/$$/cmdline >> {0}", seen.display()),
        &file,
    );
    let tools = crate::support::tools();
    let version = tools.any(Program::PgDump).unwrap().version;
    let tool = Tool { program: Program::PgDump, path: file, version };
    let settings = Settings::parse("postgres://me:topsecret@db1/shop?sslmode=require").unwrap();
    let options = PassedOn::new(vec!["--schema-only".into()]).unwrap();
    dump(&tool, &settings, &options, &Cancel::new()).unwrap().finish().unwrap();
    let seen = std::fs::read_to_string(seen).unwrap();
    let (environment, arguments) = seen.split_once(' ').unwrap();
    assert_eq!(environment, "topsecret");
    assert!(!arguments.contains("topsecret"), "{arguments}");
    let want = "--format=custom --compress=0 --schema-only --no-password \
                --dbname=dbname='shop' host='db1' sslmode='require' user='me'";
    assert!(arguments.starts_with(want), "{arguments}");
}

#[test]
fn globals_are_dumped_with_and_without_passwords() {
    let db = Db::start();
    let server = Server::new(&db.tools, &db.cluster.settings()).unwrap();
    server.run(b"CREATE ROLE clerk LOGIN PASSWORD 'x';").unwrap();
    let tool = db.tool(Program::PgDumpall);
    let globals = |with_passwords| {
        let mut dump = dump_globals(&tool, &db.cluster.settings(), with_passwords, &Cancel::new()).unwrap();
        let mut sql = String::new();
        dump.read_to_string(&mut sql).unwrap();
        dump.finish().unwrap();
        sql
    };
    assert!(globals(true).contains("SCRAM-SHA-256$"));
    let without = globals(false);
    assert!(without.contains("CREATE ROLE clerk;") && !without.contains("SCRAM-SHA-256$"));

    // Onto a server where some of it exists, and something only the dump has.
    let sql = "CREATE ROLE \"o'dd \\ $x$\nname\" LOGIN; COMMENT ON ROLE clerk IS E'back\\\\slash';
        ALTER ROLE clerk SET search_path TO \"$user\", shop; GRANT pg_monitor TO clerk;";
    server.run(sql.as_bytes()).unwrap();
    let before = globals(true);
    server.run(b"DROP ROLE \"o'dd \\ $x$\nname\"; ALTER ROLE clerk PASSWORD 'other'; ALTER ROLE clerk RESET ALL;").unwrap();
    assert_ne!(globals(true), before);
    server.run(&globals_script(before.as_bytes()).unwrap()).unwrap();
    let lines = |sql: &str| -> Vec<String> {
        sql.lines().filter(|line| !line.contains("restrict ")).map(str::to_owned).collect()
    };
    assert_eq!(lines(&globals(true)), lines(&before));
}
