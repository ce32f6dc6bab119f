//! Files of a stored database read at any place: the dumps, and tables as CSV.

use std::path::Path;

use kamba_vault::ops::snapshot::Made;
use kamba_vault::postgres::connect::Settings;
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::tools::Program;
use kamba_vault::vfs::{OpenFile, ReadCache, View};

use crate::shared::{Vault, noise};
use crate::support::Db;
use crate::vault::{cat, snapshot, view};

/// Values that are hard to write, and tables that are hard to name.
const NASTY: &str = r#"
    CREATE TABLE nasty (n int, t text, b bytea, a text[], "odd, ""name""" text, g int GENERATED ALWAYS AS (n) STORED);
    INSERT INTO nasty VALUES
        (1, NULL, NULL, NULL, NULL), (2, '', '', '{}', ''), (3, 'a,b', '\x00ff0a2c22', '{"a,b",NULL,"c\"d"}', '"'),
        (4, E'a\nb', '\x5c2e', '{{1,2},{3,4}}', E'\r'), (5, E'\t\\N\b\f\v\\', '\x', '{"\\"}', '\N'),
        (6, '\.', NULL, '{\\.}', '\.'), (7, 'naïve ☃ 𝄞', NULL, NULL, ' '), (8, '"', NULL, NULL, ',');
    CREATE TABLE lone ("\." text);
    INSERT INTO lone VALUES (NULL), (''), ('\.'), ('.'), ('x'), (E'\n'), ('\N');
    CREATE TABLE nothing ();
    INSERT INTO nothing DEFAULT VALUES;
    INSERT INTO nothing DEFAULT VALUES;
    CREATE TABLE none (n int, t text);
    CREATE TABLE long AS SELECT repeat('x', 2500000) || s AS t FROM (VALUES (''), (','), (E'\n'), (E'\t')) v (s);
    CREATE TABLE many AS SELECT n, md5(n::text) AS t, CASE WHEN n % 3 = 0 THEN 'a, b' END AS u
        FROM generate_series(1, 150000) n;
    SELECT lo_from_bytea(16001, convert_to(repeat('large object ', 100000), 'UTF8'));
    SELECT lo_from_bytea(16002, '');
"#;

fn snapshot_nasty(db: &Db, vault: &Vault) -> (Server, Made) {
    let server = db.create("shop");
    server.run(NASTY.as_bytes()).unwrap();
    let made = snapshot(&vault.repo, db, |_| {});
    (server, made)
}

fn open(view: &View, path: &str) -> OpenFile {
    let entry = view.find(path.as_bytes()).unwrap().unwrap_or_else(|| panic!("no {path}"));
    view.open(&entry, &ReadCache::new(4 << 20)).unwrap()
}

fn read(file: &OpenFile, offset: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    file.read_at(offset, len, &mut out).unwrap();
    out
}

/// What `\copy … csv header` gives.
fn copied(db: &Db, settings: &Settings, table: &str, folder: &Path) -> Vec<u8> {
    let file = folder.join("copied.csv");
    let command = format!("\\copy {table} to '{}' csv header", file.display());
    db.run(Program::Psql, settings, &["-X", "-v", "ON_ERROR_STOP=1", "-c", &command]);
    std::fs::read(file).unwrap()
}

#[test]
fn tables_are_shown_as_the_csv_that_postgresql_writes() {
    let (db, vault, folder) = (Db::start(), Vault::new(), tempfile::tempdir().unwrap());
    let (server, made) = snapshot_nasty(&db, &vault);
    let view = view(&vault.repo, &made);
    for table in ["nasty", "lone", "nothing", "none", "long", "many"] {
        let wanted = copied(&db, server.settings(), table, folder.path());
        let path = format!("shop/tables/public.{table}.csv");
        assert!(cat(&vault.repo, &made, &path) == wanted, "{table} differs");
        let file = open(&view, &path);
        assert_eq!(file.size(), None);
        assert_places(&file, &wanted, table);
    }
    let entry = view.find(b"shop/tables").unwrap().unwrap();
    let mut names = Vec::new();
    view.children(&entry, &mut |entry| {
        names.push(String::from_utf8(entry.name).unwrap());
        Ok(())
    })
    .unwrap();
    let tables = ["lone", "long", "many", "nasty", "none", "nothing"];
    let both = |t: &&str| [format!("public.{t}.copy"), format!("public.{t}.csv")];
    assert_eq!(names, tables.iter().flat_map(both).collect::<Vec<_>>());
}

/// Reads forwards, backwards and at random, and compares.
fn assert_places(file: &OpenFile, data: &[u8], what: &str) {
    let part = |offset: usize, len: usize| &data[offset.min(data.len())..data.len().min(offset + len)];
    let check = |offset: usize, len: usize| {
        let got = read(file, offset as u64, len);
        assert!(got == part(offset, len), "{what}: {len} bytes at {offset} differ");
    };
    let step = 700_001;
    (0..=data.len() / step).for_each(|n| check(n * step, step));
    (0..=data.len() / step).rev().for_each(|n| check(n * step, 5_000));
    let numbers = noise(7, 400);
    for at in numbers.chunks_exact(4) {
        let offset = u32::from_le_bytes(at.try_into().unwrap()) as usize % (data.len() + 1);
        check(offset, 70_000);
    }
    check(data.len(), 1);
    check(data.len() + 1, 1);
}

#[test]
fn dumps_read_at_any_place_as_from_the_start() {
    let (db, vault) = (Db::start(), Vault::new());
    let (_, made) = snapshot_nasty(&db, &vault);
    let view = view(&vault.repo, &made);
    for name in ["database.dump", "database.seekable.dump", "schema.sql", "info.json"] {
        let path = format!("shop/{name}");
        let wanted = cat(&vault.repo, &made, &path);
        let file = open(&view, &path);
        assert_eq!(file.size(), Some(wanted.len() as u64), "{name}");
        let entry = view.find(path.as_bytes()).unwrap().unwrap();
        assert_eq!(entry.size, file.size(), "{name}");
        assert_places(&file, &wanted, name);
        // A file that nobody read before, at one place in its middle.
        let middle = wanted.len() * 2 / 3;
        assert!(
            read(&open(&view, &path), middle as u64, 1000)
                == wanted[middle..(middle + 1000).min(wanted.len())]
        );
    }
}
