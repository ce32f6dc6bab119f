//! Databases through the repository: dumped, taken apart, stored, put together, restored, counted.

use std::num::NonZeroU32;
use std::sync::Arc;

use kamba_vault::base::monitor::Recorder;
use kamba_vault::postgres::connect::Settings;
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::shop::Shop;
use kamba_vault::postgres::tools::Program;
use kamba_vault::storage::{Backend, Record};

use crate::shared::{Vault, assert_clean, folder, noise, open};
use crate::support::Db;
use crate::vault::{cat, passed_on, restore, restore_well, snapshot, try_snapshot};

/// The lines of a database as SQL, sorted: PostgreSQL promises no order of rows. Without the
/// token that pg_dump makes up anew each time.
fn contents(server: &Server, db: &Db) -> Vec<String> {
    let sql = db.run(Program::PgDump, server.settings(), &["--format=plain"]);
    let sql = String::from_utf8(sql).unwrap();
    let mut lines: Vec<_> = sql.lines().filter(|l| !l.contains("restrict ")).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_shop_is_snapshotted_changed_and_restored() {
    let db = Db::start();
    let server = db.create("shop");
    let mut shop = Shop::create(&server, 0.02, 7).unwrap();
    let vault = Vault::new();
    let first = snapshot(&vault.repo, &db, |_| {});
    assert!(first.items > 5 && first.source_bytes > 500_000, "{first:?}");
    let unchanged = snapshot(&vault.repo, &db, |_| {});
    assert!(unchanged.added.new_bytes < first.added.new_bytes / 10, "{unchanged:?}");
    shop.a_day(1).unwrap();
    let second = snapshot(&vault.repo, &db, |r| r.globals = true);
    assert!(second.added.new_bytes > 0);
    assert_clean(&vault.repo);
    // Streamed, and with several jobs from a file.
    for (name, jobs) in [("copy_one", 1), ("copy_many", 3)] {
        let restored =
            restore_well(&vault.repo, &second, &db, name, |r| r.jobs = NonZeroU32::new(jobs).unwrap());
        assert!(restored.tables.len() > 5, "{restored:?}");
        let copy = server.database(name);
        let (there, here) = (contents(&server, &db), contents(&copy, &db));
        let differing = there.iter().zip(&here).find(|(a, b)| a != b);
        assert_eq!(differing, None, "{name} differs");
        assert_eq!(there.len(), here.len());
    }
    // Into what is not empty only when that is said.
    let (refused, _) = restore(&vault.repo, &second, &db, "copy_one", |_| {});
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("not empty"), "{refused}");
    restore_well(&vault.repo, &second, &db, "copy_one", |r| r.options.clean = true);
    // One lost table.
    let copy = server.database("copy_one");
    copy.run(b"DROP TABLE order_lines CASCADE;").unwrap();
    let restored = restore_well(&vault.repo, &second, &db, "copy_one", |r| {
        r.tables = vec!["public.order_lines".into()];
        r.into_nonempty = true;
    });
    assert_eq!(restored.tables.len(), 1);
    restore_well(&vault.repo, &second, &db, "copy_two", |r| r.globals = true);
}

#[test]
fn the_exact_bytes_and_single_tables_come_out() {
    let db = Db::start();
    Shop::create(&db.create("shop"), 0.02, 7).unwrap();
    let vault = Vault::new();
    for options in [&[][..], &["--inserts"], &["--schema-only"]] {
        let made = snapshot(&vault.repo, &db, |r| r.passed_on = passed_on(options));
        let dump = cat(&vault.repo, &made, "shop/database.dump");
        let again = db.dump(&db.cluster.settings().with_database("shop"), options);
        // The header's time apart, which is in the first hundred bytes.
        assert!(dump.len() == again.len() && dump[100..] == again[100..], "{options:?}");
        let schema = String::from_utf8(cat(&vault.repo, &made, "shop/schema.sql")).unwrap();
        assert!(schema.contains("CREATE TABLE public.orders"));
        let info = String::from_utf8(cat(&vault.repo, &made, "shop/info.json")).unwrap();
        assert!(info.contains("\"database\":\"shop\""), "{info}");
        if options.is_empty() {
            let rows = cat(&vault.repo, &made, "shop/tables/public.orders.copy");
            assert!(rows.ends_with(b"\n") && !rows.ends_with(b"\\.\n"));
        }
    }
    assert_clean(&vault.repo);
}

#[test]
fn a_table_that_was_renamed_follows_itself() {
    let db = Db::start();
    let server = db.create("shop");
    let sql = "CREATE TABLE orders AS SELECT i, md5(i::text) AS token FROM generate_series(1, 30000) i;
        CREATE TABLE customers AS SELECT i, md5((i + 50000)::text) FROM generate_series(1, 9000) i;";
    server.run(sql.as_bytes()).unwrap();
    let vault = Vault::new();
    let _ = snapshot(&vault.repo, &db, |_| {});
    // What changed is at the end then, and the rest is what was left of each of the pages.
    let a_day = |table: &str, day: u32| {
        let sql = format!("UPDATE {table} SET token = md5(token) WHERE i > 2000 AND i % 60 = {day};");
        server.run(sql.as_bytes()).unwrap();
    };
    for day in 0..3 {
        a_day("orders", day);
        let _ = snapshot(&vault.repo, &db, |_| {});
    }
    server.run(b"ALTER TABLE orders RENAME TO purchases;").unwrap();
    a_day("purchases", 3);
    let made = snapshot(&vault.repo, &db, |_| {});
    let added = &made.added;
    assert!(added.new_bytes > 800_000, "{added:?}");
    assert!(added.delta_bytes > added.new_bytes * 8 / 10, "{added:?}");
    assert!(added.coded_bytes < added.new_bytes / 10, "{added:?}");
    restore_well(&vault.repo, &made, &db, "copy", |_| {});
    assert_eq!(contents(&server, &db), contents(&server.database("copy"), &db));
    assert_clean(&vault.repo);
}

#[test]
fn a_single_table_is_restored_without_reading_the_rest() {
    let db = Db::start();
    let server = db.create("shop");
    let sql = "CREATE TABLE small AS SELECT i FROM generate_series(1, 1000) i;
        CREATE TABLE large (bytes bytea); ALTER TABLE large ALTER bytes SET STORAGE EXTERNAL;";
    server.run(sql.as_bytes()).unwrap();
    insert_noise(&server, "large", 4 << 20);
    let vault = Vault::new();
    let made = snapshot(&vault.repo, &db, |_| {});
    assert!(made.added.stored_bytes > 4 << 20, "{made:?}");
    // A machine that never saw the repository, whose reads are counted.
    let (record, cache) = (Arc::new(Record::totals_only(vault.backend.clone())), folder());
    let repo = open(&(record.clone() as Arc<dyn Backend>), cache.path());
    restore_well(&repo, &made, &db, "copy", |r| r.tables = vec!["public.small".into()]);
    let read = record.bytes_read();
    assert!(read < 1 << 20, "{read} bytes were read");
}

/// A row of so many bytes that do not compress; as text a dump has twice as many.
fn insert_noise(server: &Server, table: &str, len: usize) {
    let hex: String = noise(1, len).iter().map(|byte| format!("{byte:02x}")).collect();
    server.run(format!("INSERT INTO {table} VALUES ('\\x{hex}');").as_bytes()).unwrap();
}

#[test]
fn every_database_needs_no_name_and_leaves_out_what_can_only_be_dropped() {
    let db = Db::start();
    let server = db.create("shop");
    for name in ["broken", "template_of_mine"] {
        db.create(name);
    }
    let sql = "CREATE ROLE backup SUPERUSER LOGIN; ALTER DATABASE template_of_mine IS_TEMPLATE true;
        UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken';";
    server.run(sql.as_bytes()).unwrap();
    let vault = Vault::new();
    let monitor = Arc::new(Recorder::default());
    // There is no database that is called as this role is.
    let made = try_snapshot(&vault.repo, &db, monitor.clone(), |r| {
        let server = Settings::new().alone().with_host(&db.cluster.folder().to_string_lossy());
        r.settings = server.with_port(5432).with_user("backup");
        r.databases = Vec::new();
        r.all = true;
    });
    assert_eq!(made.unwrap().sources, ["postgres", "shop"]);
    let lines = monitor.lines();
    assert!(lines.len() == 1 && lines[0].contains("database broken is left out"), "{lines:?}");
}

#[test]
fn the_dump_says_in_which_encoding_its_names_are() {
    let db = Db::start();
    let server = db.create("shop");
    server.run("CREATE TABLE \"größe\" AS SELECT 1;".as_bytes()).unwrap();
    let vault = Vault::new();
    let made = snapshot(&vault.repo, &db, |r| r.passed_on = passed_on(&["--encoding=LATIN1"]));
    let restored = restore_well(&vault.repo, &made, &db, "copy", |_| {});
    assert_eq!(restored.tables.len(), 1);
    // Its name as `ls` shows it.
    let one = restore_well(&vault.repo, &made, &db, "one", |r| r.tables = vec!["public.gr%F6%DFe".into()]);
    assert_eq!(one.tables.len(), 1);
}
