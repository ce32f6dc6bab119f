//! What a restore does to a database that is there, to one that is not, and to the cluster.

use std::num::NonZeroU32;

use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::error::Error as PostgresError;
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::tools::{Program, Tools};

use crate::shared::Vault;
use crate::support::Db;
use crate::vault::{passed_on, restore, restore_well, snapshot};

/// The answer to a question, without its last newline.
fn ask(db: &Db, server: &Server, sql: &str) -> String {
    let answer = db.run(Program::Psql, server.settings(), &["--no-psqlrc", "-Atc", sql]);
    String::from_utf8(answer).unwrap().trim_end().to_owned()
}

/// Customers and orders that point at them: more than a megabyte.
fn two_tables(db: &Db) -> Server {
    let server = db.create("shop");
    let sql = "CREATE TABLE customers (id int PRIMARY KEY, name text);
        CREATE TABLE orders (id serial PRIMARY KEY, customer int REFERENCES customers, note text);
        INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 1000) i;
        INSERT INTO orders (customer, note) SELECT 1 + i % 1000, md5(i::text) || md5((-i)::text) FROM generate_series(1, 30000) i;";
    server.run(sql.as_bytes()).unwrap();
    server
}

#[test]
fn definitions_alone_come_back_from_any_dump() {
    let db = Db::start();
    let server = two_tables(&db);
    let vault = Vault::new();
    for (number, options) in [&[][..], &["--inserts"]].into_iter().enumerate() {
        let made = snapshot(&vault.repo, &db, |r| r.passed_on = passed_on(options));
        assert!(made.source_bytes > 2 << 20, "{made:?}");
        for (jobs, clean) in [(1, false), (1, true), (2, false)] {
            let name = format!("schema_{number}_{jobs}_{clean}");
            let restored = restore_well(&vault.repo, &made, &db, &name, |r| {
                r.options.schema_only = true;
                r.options.clean = clean;
                r.jobs = NonZeroU32::new(jobs).unwrap();
            });
            assert_eq!(restored.matches(), None);
            let copy = server.database(&name);
            assert_eq!(copy.row_counts(&[(b"public", b"orders")], None).unwrap(), [Some(0)]);
        }
        let one = format!("one_{number}");
        restore_well(&vault.repo, &made, &db, &one, |r| {
            r.options.schema_only = true;
            r.tables = vec!["customers".into()];
        });
        assert_eq!(server.database(&one).contents().unwrap().objects, 1);
    }
}

#[test]
fn a_table_comes_back_once_and_alone() {
    let db = Db::start();
    let server = two_tables(&db);
    let vault = Vault::new();
    let made = snapshot(&vault.repo, &db, |_| {});
    // Others' foreign keys stay where they are.
    let alone =
        restore_well(&vault.repo, &made, &db, "alone", |r| r.tables = vec!["public.customers".into()]);
    assert_eq!(alone.tables.len(), 1);
    assert_eq!(server.database("alone").contents().unwrap().objects, 1);

    // A table that is there and stays there keeps the rows that it has.
    for clean in [false, true] {
        let (restored, _) = restore(&vault.repo, &made, &db, "shop", |r| {
            r.tables = vec!["public.customers".into()];
            r.options.clean = clean;
            r.into_nonempty = true;
        });
        let restored = restored.unwrap();
        // pg_restore counted errors, and what is there was compared all the same.
        assert!(matches!(restored.failure, Some(PostgresError::Failed { .. })), "{restored:?}");
        assert_eq!((restored.tables.len(), restored.matches()), (1, Some(true)), "{restored:?}");
        assert!(restored.verify().unwrap_err().to_string().starts_with("pg_restore ended with status 1"));
        assert_eq!(server.row_counts(&[(b"public", b"customers")], None).unwrap(), [Some(1000)]);
    }
    // Its own foreign key comes with a table.
    server.run(b"DROP TABLE orders;").unwrap();
    restore_well(&vault.repo, &made, &db, "shop", |r| {
        r.tables = vec!["public.orders".into()];
        r.into_nonempty = true;
    });
    let keys =
        "SELECT count(*) FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype IN ('f', 'p')";
    assert_eq!(ask(&db, &server, keys), "2");
}

/// What belongs to a database as a whole.
const ITSELF: &str = "SELECT pg_encoding_to_char(encoding), datcollate, to_jsonb(d)->>'datlocprovider', \
    coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale'), datconnlimit, datdba::regrole, datacl, \
    shobj_description(d.oid, 'pg_database'), (SELECT array_agg((setrole, setconfig) ORDER BY setrole) \
    FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) FROM pg_database d WHERE datname = current_database()";

#[test]
fn a_created_database_is_what_it_was() {
    let db = Db::start();
    let postgres = Server::new(&db.tools, &db.cluster.settings()).unwrap();
    let collation = if postgres.databases().unwrap()[0].provider.is_some() {
        "LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' "
    } else {
        ""
    };
    let sql = format!(
        "CREATE ROLE keeper; CREATE ROLE clerk; CREATE DATABASE shop TEMPLATE template0 {collation}OWNER keeper;
         ALTER DATABASE shop SET search_path TO 'DATABASE shop', public; ALTER DATABASE shop CONNECTION LIMIT 50;
         ALTER ROLE clerk IN DATABASE shop SET work_mem = '5MB'; REVOKE ALL ON DATABASE shop FROM PUBLIC;
         GRANT CONNECT ON DATABASE shop TO clerk; COMMENT ON DATABASE shop IS 'the DATABASE shop; it''s \\ \"all\"';"
    );
    postgres.run(sql.as_bytes()).unwrap();
    let shop = postgres.database("shop");
    shop.run(b"CREATE TABLE public.t AS SELECT 1;").unwrap();
    let want = ask(&db, &shop, ITSELF);
    assert!(want.contains("keeper") && want.contains("5MB") && want.contains("all"), "{want}");
    let vault = Vault::new();
    let made = snapshot(&vault.repo, &db, |_| {});
    let odd = "it's \"odd\"";
    for name in ["copy", odd, "größe"] {
        restore_well(&vault.repo, &made, &db, name, |_| {});
        assert_eq!(ask(&db, &shop.database(name), ITSELF), want, "{name}");
    }
    restore_well(&vault.repo, &made, &db, "mine", |r| {
        r.options.no_owner = true;
        r.options.no_privileges = true;
    });
    let mine = ask(&db, &shop.database("mine"), ITSELF);
    assert!(!mine.contains("keeper") && !mine.contains("=c/") && mine.contains("all"), "{mine}");

    // Under its own name, where a role is gone: a warning, and the rest is there.
    postgres.run(b"DROP DATABASE shop; DROP DATABASE copy;").unwrap();
    postgres
        .run(
            format!("DROP DATABASE {}; DROP DATABASE \"größe\"; DROP ROLE clerk;", "\"it's \"\"odd\"\"\"")
                .as_bytes(),
        )
        .unwrap();
    let (restored, lines) = restore(&vault.repo, &made, &db, "shop", |_| {});
    restored.unwrap().verify().unwrap();
    assert!(lines.iter().any(|line| line.contains("role \"clerk\" does not exist")), "{lines:?}");
    let got = ask(&db, &shop, ITSELF);
    assert!(got.contains("keeper") && got.contains("all"), "{got}");
}

#[test]
fn what_is_refused_changes_nothing() {
    let db = Db::start();
    let server = two_tables(&db);
    server.run(b"CREATE ROLE late;").unwrap();
    let vault = Vault::new();
    let made = snapshot(&vault.repo, &db, |r| r.globals = true);
    server.run(b"DROP ROLE late;").unwrap();
    let late = "SELECT count(*) FROM pg_roles WHERE rolname = 'late'";
    let (refused, _) = restore(&vault.repo, &made, &db, "shop", |r| r.globals = true);
    assert!(refused.unwrap_err().to_string().contains("not empty"));
    assert_eq!(ask(&db, &server, late), "0", "no role was made");

    // Without a pg_restore that will do, no database is made either.
    let programs = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(db.tool(Program::Psql).path, programs.path().join("psql")).unwrap();
    let (refused, _) = restore(&vault.repo, &made, &db, "copy", |r| {
        r.globals = true;
        r.tools = Tools::new(Some(programs.path().to_owned()), None, &Cancel::new());
    });
    assert!(refused.unwrap_err().to_string().contains("pg_restore was not found"));
    assert_eq!(ask(&db, &server, late), "0");
    assert!(!server.has_database("copy").unwrap());
    restore_well(&vault.repo, &made, &db, "copy", |r| r.globals = true);
    assert_eq!(ask(&db, &server, late), "1");
}
