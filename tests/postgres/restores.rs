//! Restores through the real pg_restore.

use std::fs::File;
use std::io::{Seek, Write};
use std::num::NonZeroU32;

use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::archive::clean::patch_for_clean;
use kamba_vault::postgres::archive::seekable::patch_head;
use kamba_vault::postgres::archive::select::Selection;
use kamba_vault::postgres::connect::Settings;
use kamba_vault::postgres::error::Error;
use kamba_vault::postgres::restore::{RestoreOptions, restore_file, restore_stream};
use kamba_vault::postgres::shop::Shop;
use kamba_vault::postgres::tools::Program;

use crate::support::{Db, split_and_rejoin};

fn restore(db: &Db, settings: &Settings, options: &RestoreOptions, archive: &[u8]) -> Result<String, Error> {
    let tool = db.tool(Program::PgRestore);
    let mut restore = restore_stream(&tool, settings, options, db.cluster.folder(), &Cancel::new())?;
    let written = restore.write_all(archive);
    let ended = restore.finish();
    if ended.is_ok() {
        written.unwrap();
    }
    ended
}

fn restore_jobs(db: &Db, settings: &Settings, archive: &[u8]) -> Result<String, Error> {
    let tool = db.tool(Program::PgRestore);
    let (jobs, temp) = (NonZeroU32::new(2).unwrap(), db.cluster.folder());
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(archive).unwrap();
    file.rewind().unwrap();
    restore_file(&tool, settings, &RestoreOptions::default(), file, jobs, temp, &Cancel::new())
}

#[test]
fn a_rejoined_dump_restores_from_a_pipe_and_with_jobs() {
    let db = Db::start();
    let server = db.create("shop");
    Shop::create(&server, 0.02, 1).unwrap();
    let (objects, summary) = split_and_rejoin(&db.dump(server.settings(), &[]));
    let archive = objects.join(None);

    let piped = db.create("piped");
    restore(&db, piped.settings(), &RestoreOptions::default(), &archive).unwrap();
    let (restored, _) = split_and_rejoin(&db.dump(piped.settings(), &[]));
    assert!(restored.data() == objects.data(), "the restored database dumps the same");

    let head = summary.head.unwrap();
    let seekable = [patch_head(&head, &summary.blocks), archive[head.len()..].to_vec()].concat();
    let jobs = db.create("jobs");
    restore_jobs(&db, jobs.settings(), &seekable).unwrap();
    let tables: Vec<(&[u8], &[u8])> = summary.tables.iter().map(|t| (&*t.schema, &*t.name)).collect();
    let counts = jobs.row_counts(&tables, Some("UTF8")).unwrap();
    let want: Vec<Option<u64>> = summary.tables.iter().map(|t| t.rows).collect();
    assert_eq!(counts, want);

    let schema = db.create("schema");
    let options = RestoreOptions { schema_only: true, ..RestoreOptions::default() };
    // The head alone is enough.
    restore(&db, schema.settings(), &options, head.bytes()).unwrap();
    assert_eq!(schema.row_counts(&[(b"public", b"orders")], None).unwrap(), [Some(0)]);
    let options = RestoreOptions { data_only: true, disable_triggers: true, ..RestoreOptions::default() };
    restore(&db, schema.settings(), &options, &archive).unwrap();
    assert_eq!(schema.row_counts(&tables, None).unwrap(), want);

    let options = RestoreOptions { clean: true, single_transaction: true, ..RestoreOptions::default() };
    let mut cleaned = archive.clone();
    patch_for_clean(&head, &mut cleaned[..head.len()]);
    restore(&db, schema.settings(), &options, &cleaned).unwrap();
    assert_eq!(schema.row_counts(&tables, None).unwrap(), want);
    let (again, _) = split_and_rejoin(&db.dump(schema.settings(), &[]));
    assert!(again.data() == objects.data(), "over itself");

    server.database("postgres").run(b"DROP DATABASE shop WITH (FORCE);").unwrap();
    let options = RestoreOptions { create: true, ..RestoreOptions::default() };
    restore(&db, &db.cluster.settings(), &options, &archive).unwrap();
    assert_eq!(server.row_counts(&tables, None).unwrap(), want, "in its own name");
}

#[test]
fn one_lost_table_comes_back_from_two_objects() {
    let db = Db::start();
    let server = db.create("shop");
    Shop::create(&server, 0.02, 1).unwrap();
    let (objects, summary) = split_and_rejoin(&db.dump(server.settings(), &[]));
    server.run(b"DROP TABLE order_lines; DROP TABLE visits;").unwrap();

    let head = summary.head.unwrap();
    let lost: [(&[u8], &[u8]); 2] = [(b"public", b"order_lines"), (b"public", b"visits")];
    let selection = Selection::of_tables(&head, &lost);
    assert!(selection.missing.is_empty());
    let ids = selection.dump_ids.clone();
    let some = objects.join(Some(Box::new(move |id| ids.contains(&id))));
    assert!(some.len() < objects.join(None).len() / 2, "only their rows are read");
    let options = RestoreOptions { use_list: Some(selection.use_list(&head)), ..RestoreOptions::default() };
    restore(&db, server.settings(), &options, &some).unwrap();

    let (restored, _) = split_and_rejoin(&db.dump(server.settings(), &[]));
    assert!(restored.data() == objects.data());
    // With all that belongs to them: keys, partitions, foreign keys.
    let whole = db.create("whole");
    restore(&db, whole.settings(), &RestoreOptions::default(), &objects.join(None)).unwrap();
    let [schema, want] = [&server, &whole].map(|server| {
        let sql = db.run(Program::PgDump, server.settings(), &["--schema-only", "--restrict-key=x"]);
        let lines = String::from_utf8(sql).unwrap();
        lines.lines().map(str::to_owned).collect::<std::collections::BTreeSet<String>>()
    });
    let different: Vec<_> = schema.symmetric_difference(&want).collect();
    assert_eq!(different, [""; 0]);
}

#[test]
fn a_restore_with_errors_fails_and_says_why() {
    let db = Db::start();
    let server = db.create("shop");
    server
        .run(b"CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 200000);")
        .unwrap();
    let (objects, _) = split_and_rejoin(&db.dump(server.settings(), &[]));
    let archive = objects.join(None);
    let error =
        restore(&db, server.settings(), &RestoreOptions::default(), &archive).unwrap_err().to_string();
    assert!(error.starts_with("pg_restore ended with status 1: "), "{error}");
    assert!(error.contains("relation \"t\" already exists"), "{error}");
    let nowhere = server.settings().with_database("nowhere");
    let error = restore(&db, &nowhere, &RestoreOptions::default(), &archive).unwrap_err().to_string();
    assert!(error.contains("database \"nowhere\" does not exist"), "{error}");
}
