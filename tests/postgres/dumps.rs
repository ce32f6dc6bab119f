//! Real dumps, split and put together again.

use kamba_vault::postgres::archive::schema::schema_sql;
use kamba_vault::postgres::archive::seekable::patch_head;
use kamba_vault::postgres::shop::Shop;
use kamba_vault::postgres::tools::Program;

use crate::support::{Db, output, split_and_rejoin};

#[test]
fn a_shop_comes_back_byte_for_byte_with_every_option() {
    let db = Db::start();
    let server = db.create("shop");
    Shop::create(&server, 0.05, 1).unwrap();
    let dump = db.dump(server.settings(), &[]);
    let (objects, summary) = split_and_rejoin(&dump);

    let rows = |table: &str| {
        let found = summary.tables.iter().find(|t| &*t.name == table.as_bytes()).unwrap();
        assert_eq!(&*found.schema, b"public");
        found.rows
    };
    assert_eq!(rows("orders"), Some(10_000));
    assert_eq!(rows("customers"), Some(3_000));
    assert_eq!(rows("returns"), Some(0), "an empty table");
    assert_eq!(rows("visits_early").unwrap() + rows("visits_late").unwrap(), 3_333, "partitions");
    assert_eq!(rows("Weird. name/%"), Some(40));
    assert_eq!(summary.large_objects, 2);
    assert_eq!(objects.data()["large object 1004000"][..21], *b"%PDF-1.7 invoice 4000");
    let copied = db.run(Program::Psql, server.settings(), &["-c", "COPY products TO STDOUT"]);
    assert_eq!(objects.table("public.products").as_bytes(), copied, "the object is what COPY gives");

    // What cannot be told from rows is told apart by the archive's framing alone.
    for options in [
        &["--inserts"][..],
        &["--rows-per-insert=100"],
        &["--schema-only"],
        &["--data-only"],
        &["--no-blobs"],
        &["--load-via-partition-root"],
        &["--table=orders", "--table=order_lines"],
        &["--exclude-table-data=orders"],
        &["--section=data"],
        &["--section=pre-data", "--section=post-data"],
        &["--clean", "--if-exists", "--create", "--encoding=LATIN1"],
    ] {
        // An encoding that lacks a character is an error of PostgreSQL's, so without that table.
        let extra = if options.contains(&"--encoding=LATIN1") {
            &["--exclude-table-data=c*", "--exclude-table-data=o*"][..]
        } else {
            &[]
        };
        let dump = db.dump(server.settings(), &[options, extra].concat());
        let (_, summary) = split_and_rejoin(&dump);
        if options[0].contains("insert") {
            assert!(summary.tables.iter().all(|t| t.rows.is_none()), "{options:?}");
        }
    }
}

#[test]
fn an_empty_database_and_odd_values_come_back() {
    let db = Db::start();
    let empty = db.create("empty");
    let (objects, summary) = split_and_rejoin(&db.dump(empty.settings(), &[]));
    assert_eq!((objects.all.len(), summary.tables.len()), (1, 0), "only a head");

    let odd = db.create("odd");
    let sql = r#"
        CREATE SCHEMA "a.b"; CREATE SCHEMA a;
        CREATE TABLE "a.b"."c" (x int); CREATE TABLE a."b.c" (x int);
        INSERT INTO "a.b"."c" VALUES (1); INSERT INTO a."b.c" VALUES (2), (3);
        CREATE TABLE lines (t text, b bytea);
        INSERT INTO lines VALUES (E'one\ntwo\r\nthree\\n\t', '\x00ff0a0d5c2e0a'), (E'\\.', NULL), (E'\\.\n\n\n', ''), ('', '\x0a');
        CREATE TABLE single (t text);
        INSERT INTO single SELECT '' FROM generate_series(1, 1000);
        CREATE TABLE nothing ();
        INSERT INTO nothing SELECT FROM generate_series(1, 1000);
        CREATE TABLE wide (i int, t text);
        INSERT INTO wide SELECT i, repeat('0123456789', i * 4000) FROM generate_series(1, 30) i;
        CREATE TABLE "new
line" (x int); INSERT INTO "new
line" VALUES (7);
        SELECT lo_create(3000000000), lo_from_bytea(4, '\x01') \g /dev/null
    "#;
    odd.run(sql.as_bytes()).unwrap();
    let (objects, summary) = split_and_rejoin(&db.dump(odd.settings(), &[]));
    assert_eq!(objects.table("a%2Eb.c"), "1\n");
    assert_eq!(objects.table("a.b%2Ec"), "2\n3\n");
    assert_eq!(summary.tables.len(), 7);
    let rows = |name: &[u8]| summary.tables.iter().find(|t| &*t.name == name).unwrap().rows;
    assert_eq!(rows(b"lines"), Some(4));
    assert_eq!(rows(b"single"), Some(1000));
    assert_eq!(rows(b"nothing"), Some(1000));
    assert_eq!(rows(b"wide"), Some(30));
    assert_eq!(objects.table("public.new%0Aline"), "7\n");
    assert_eq!(objects.data()["large object 3000000000"], b"");
    assert_eq!(objects.data()["large object 4"], b"\x01");
    split_and_rejoin(&db.dump(odd.settings(), &["--inserts"]));
}

#[test]
fn objects_stay_the_same_while_dump_ids_change() {
    let db = Db::start();
    let server = db.create("shop");
    let mut shop = Shop::create(&server, 0.02, 2).unwrap();
    let first = split_and_rejoin(&db.dump(server.settings(), &[]));
    let second = split_and_rejoin(&db.dump(server.settings(), &[]));
    assert_eq!(first.0.all[1..], second.0.all[1..], "nothing changed");
    assert_eq!(first.0.recipe, second.0.recipe);

    let sql =
        "CREATE FUNCTION a() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE aaa AS SELECT 1 AS x;";
    server.run(sql.as_bytes()).unwrap();
    let third = split_and_rejoin(&db.dump(server.settings(), &[]));
    let ids = |of: &kamba_vault::postgres::archive::split::Summary| -> Vec<u32> {
        of.blocks.iter().map(|b| b.dump_id).collect()
    };
    assert_ne!(ids(&first.1), ids(&third.1)[1..], "dump ids moved");
    let (before, mut after) = (first.0.data(), third.0.data());
    assert_eq!(after.remove("public.aaa"), Some(&b"1\n"[..]));
    assert!(before == after, "and objects did not");

    // A day changes what it says and no more.
    shop.a_day(1).unwrap();
    let next = split_and_rejoin(&db.dump(server.settings(), &[]));
    assert_eq!(next.0.table("public.products"), first.0.table("public.products"));
    assert_eq!(next.0.table("public.Weird%2E name%2F%25"), first.0.table("public.Weird%2E name%2F%25"));
    let rows = |table: &str| next.0.table(table).lines().count();
    assert_eq!(rows("public.orders"), 4_000 + 20);
    let changed = changed_rows(first.0.table("public.customers"), next.0.table("public.customers"));
    assert!((10..50).contains(&changed), "2 % of 1,200 customers: {changed}");
    shop.harsh_day(2).unwrap();
    let harsh = split_and_rejoin(&db.dump(server.settings(), &[]));
    for (table, new) in [("products", 1), ("payments", 0), ("order_lines", 0)] {
        let table = format!("public.{table}");
        let changed = changed_rows(next.0.table(&table), harsh.0.table(&table));
        assert!(changed > new, "{table}: {changed}");
    }
}

/// How many rows of the second are not in the first.
fn changed_rows(before: &str, after: &str) -> usize {
    let before: std::collections::HashSet<&str> = before.lines().collect();
    after.lines().filter(|row| !before.contains(row)).count()
}

#[test]
fn a_shop_is_the_same_wherever_it_is_made() {
    let db = Db::start();
    let dumps = ["one", "two"].map(|name| {
        let server = db.create(name);
        let mut shop = Shop::create(&server, 0.01, 3).unwrap();
        shop.a_day(1).unwrap();
        shop.harsh_day(2).unwrap();
        split_and_rejoin(&db.dump(server.settings(), &[]))
    });
    let [one, two] = &dumps;
    let mut tables: Vec<_> = one.0.data().into_keys().collect();
    tables.retain(|name| one.0.data()[name] != two.0.data()[name]);
    assert_eq!(tables, [""; 0], "tables that differ");
    let server = db.create("three");
    Shop::create(&server, 0.01, 4).unwrap();
    let other = split_and_rejoin(&db.dump(server.settings(), &[]));
    assert_ne!(other.0.table("public.orders"), one.0.table("public.orders"), "the seed counts");
}

#[test]
fn with_offsets_it_is_what_pg_dump_writes_to_a_file() {
    let db = Db::start();
    let server = db.create("shop");
    Shop::create(&server, 0.02, 1).unwrap();
    let file = db.cluster.folder().join("file.dump");
    let argument = format!("--file={}", file.display());
    db.run(Program::PgDump, server.settings(), &["-Fc", "-Z0", &argument]);
    let mut of_file = std::fs::read(&file).unwrap();
    let dump = db.dump(server.settings(), &[]);
    let (_, summary) = split_and_rejoin(&dump);
    let head = summary.head.unwrap();
    let mut patched = [patch_head(&head, &summary.blocks), dump[head.len()..].to_vec()].concat();
    // Both heads hold the time at which they were made: seven integers after the fixed part, whose
    // last field, the compression, became a single byte with version 1.15.
    let ints = head.header().ints.width();
    let time = 11 + if head.header().minor >= 15 { 1 } else { ints };
    for bytes in [&mut patched, &mut of_file] {
        bytes[time..time + 7 * ints].fill(0);
    }
    assert!(patched == of_file);
}

#[test]
fn the_schema_reads_as_pg_restore_prints_it() {
    let db = Db::start();
    let server = db.create("shop");
    Shop::create(&server, 0.01, 1).unwrap();
    let sql = r#"
        CREATE ROLE "the reader"; GRANT SELECT ON orders TO "the reader";
        CREATE TABLE "order" (i int); ALTER TABLE "order" OWNER TO "the reader";
        CREATE MATERIALIZED VIEW monthly AS SELECT count(*) FROM orders;
        COMMENT ON COLUMN orders.total IS 'with tax';
        CREATE FUNCTION f(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
        ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON orders USING (true);
    "#;
    server.run(sql.as_bytes()).unwrap();
    let dump = db.dump(server.settings(), &[]);
    let (_, summary) = split_and_rejoin(&dump);
    let file = db.cluster.folder().join("archive");
    std::fs::write(&file, &dump).unwrap();
    let mut restore = std::process::Command::new(&db.tool(Program::PgRestore).path);
    restore.args(["--schema-only", "--file=-"]).arg(&file);
    let want = output(&mut restore);
    let lines = |sql: &[u8]| -> Vec<String> {
        let text = String::from_utf8(sql.to_vec()).unwrap();
        // Newer minor releases add lines with a random word that guard psql.
        let kept = text.lines().filter(|line| !line.is_empty() && !line.contains("restrict "));
        kept.map(str::to_owned).collect()
    };
    let ours = schema_sql(&summary.head.unwrap());
    let (ours, want) = (lines(&ours), lines(&want));
    let different = ours.iter().zip(&want).position(|(a, b)| a != b);
    let around = different.map(|at| (&ours[at.saturating_sub(3)..(at + 3).min(ours.len())], &want[at..]));
    assert_eq!(around, None);
    assert_eq!(ours.len(), want.len());
}
