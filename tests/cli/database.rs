//! Databases from the command line, against a real server: snapshot, look, restore, compare.

use std::process::Command;

use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::cluster::{Cluster, ClusterOptions};
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::tools::{Program, Tools};
use serde_json::{Value, json};

use crate::program::{Run, Sandbox, finish};

struct Stage {
    sandbox: Sandbox,
    cluster: Cluster,
    tools: Tools,
}

const SHOP: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, note text);
    CREATE INDEX orders_customer ON orders (customer);
    CREATE TABLE \"odd \n name\" (id int);
    INSERT INTO customers SELECT i, 'customer ' || i FROM generate_series(1, 500) i;
    INSERT INTO orders SELECT i, 1 + i % 500, md5(i::text) FROM generate_series(1, 5000) i;
";

impl Stage {
    fn new() -> Self {
        let tools = Tools::new(None, std::env::var_os("PATH"), &Cancel::new());
        let options = ClusterOptions { may_lose_data: true, settings: Vec::new() };
        let cluster = Cluster::start(&tools, &std::env::temp_dir(), &options).unwrap();
        let stage = Stage { sandbox: Sandbox::new(), cluster, tools };
        stage.server("postgres").create_database("shop", None).unwrap();
        stage.server("shop").run(SHOP.as_bytes()).unwrap();
        stage
    }

    fn server(&self, database: &str) -> Server {
        Server::new(&self.tools, &self.cluster.settings().with_database(database)).unwrap()
    }

    fn program(&self) -> Command {
        let mut command = self.sandbox.program();
        // On a busy machine it would tell of what takes long, where a test wants to see nothing.
        command.arg("--no-progress");
        command.env("PGHOST", self.cluster.folder()).env("PGPORT", "5432").env("PGUSER", "postgres");
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        finish(self.program().args(args))
    }

    fn restore(&self, args: &[&str]) -> Run {
        self.run(&[&["restore", "db", "latest", "--json"], args].concat())
    }

    fn rows(&self, database: &str, table: &str) -> Option<u64> {
        self.server(database).row_counts(&[(b"public", table.as_bytes())], None).unwrap()[0]
    }
}

/// The tables of a restore's document, by name.
fn tables(document: &Value) -> Vec<(&str, u64)> {
    let tables = document["tables"].as_array().unwrap();
    tables.iter().map(|t| (t["table"].as_str().unwrap(), t["found"].as_u64().unwrap())).collect()
}

#[test]
fn a_database_is_stored_looked_into_and_restored() {
    let stage = Stage::new();
    let made = stage.run(&["snapshot", "db", "--dbname", "shop", "--globals", "--json"]).json();
    assert_eq!((&made["kind"], &made["sources"]), (&json!("db"), &json!(["shop"])));
    let listed = stage.run(&["snapshots", "--kind", "db", "--path", "shop", "--json"]).json();
    assert_eq!(listed[0]["id"], made["id"]);

    let names = stage.run(&["ls", "-R", "latest@db=shop"]);
    for name in ["shop/\n", "shop/database.dump\n", "shop/tables/public.orders.copy\n", "globals.sql\n"] {
        assert!(names.text().contains(name), "{name} in {}", names.text());
    }
    let copy = stage.run(&["cat", "latest@db=shop:shop/tables/public.orders.copy"]);
    assert_eq!(copy.text().lines().filter(|line| line.contains('\t')).count(), 5000);
    let dump = stage.run(&["cat", "latest:shop/database.dump"]).stdout;
    std::fs::write(stage.sandbox.path("dump"), dump).unwrap();
    let pg_restore = stage.tools.any(Program::PgRestore).unwrap().path;
    let contents = finish(Command::new(pg_restore).arg("--list").arg(stage.sandbox.path("dump")));
    assert!(contents.text().contains("TABLE DATA public orders"), "{}", contents.text());

    let restored = stage.restore(&["--dbname", "copy", "--create"]).json();
    assert_eq!((&restored["database"], &restored["matches"]), (&json!("copy"), &json!(true)));
    let want = [("public.customers", 500), ("public.odd \n name", 0), ("public.orders", 5000)];
    assert_eq!(tables(&restored), want);
    let jobs = stage.restore(&["--dbname", "jobs", "--create", "--jobs", "2", "--globals"]).json();
    assert_eq!(tables(&jobs), want);
    assert_eq!(stage.rows("jobs", "orders"), Some(5000));
    let schema = stage.restore(&["--dbname", "schema", "--create", "--schema-only"]).json();
    assert_eq!((&schema["tables"], &schema["matches"]), (&json!([]), &Value::Null));
    assert_eq!(stage.rows("schema", "orders"), Some(0));
    let human = stage.run(&["restore", "db", "latest:shop", "--dbname", "human", "--create", "--no-owner"]);
    // The dump holds the server's own words on its version.
    let size =
        human.text().split_once(" from ").and_then(|(_, rest)| rest.split_once(" KiB")).unwrap().0.to_owned();
    insta::assert_snapshot!(human.text().replace(&size, "[size]"), @r"
    table                  snapshot  restored
    public.customers            500       500  ok
    public.odd \u{a} name         0         0  ok
    public.orders              5000      5000  ok
    restored human from [size] KiB of dump: 3 tables with 5500 rows
    ");
}

#[test]
fn what_is_there_is_not_overwritten_unasked() {
    let stage = Stage::new();
    stage.run(&["snapshot", "db", "--dbname", "shop"]).text();
    let refused = stage.restore(&["--dbname", "shop"]);
    assert!(refused.failed(2).contains("not empty") && refused.stderr.contains("--yes"), "{refused:?}");

    stage.server("shop").run(b"DROP TABLE orders; DELETE FROM customers WHERE id > 400;").unwrap();
    let table = stage.restore(&["--dbname", "shop", "--table", "public.orders", "--yes"]);
    // The table is back; its foreign key is not, for customers are missing.
    assert_eq!(table.status, 1, "{table:?}");
    assert_eq!(stage.rows("shop", "orders"), Some(5000));

    let clean = stage.restore(&["--dbname", "shop", "--clean"]).json();
    assert_eq!(clean["matches"], true, "{clean}");
    assert_eq!(stage.rows("shop", "customers"), Some(500));

    // Rows on top of rows: what is in the table afterwards is not what is in the snapshot.
    stage.server("shop").run(b"DELETE FROM orders; INSERT INTO orders VALUES (-1);").unwrap();
    let more = stage.restore(&["--dbname", "shop", "--table", "public.orders", "--data-only", "--yes"]);
    assert_eq!(more.status, 20, "{more:?}");
    assert!(more.stderr.contains("does not match the snapshot"), "{more:?}");
    let document: Value = serde_json::from_slice(&more.stdout).unwrap();
    assert_eq!(
        document["tables"],
        json!([
            {"table": "public.orders", "expected": 5000, "found": 5001, "matches": false}
        ])
    );
}

#[test]
fn all_databases_are_one_snapshot_and_are_told_apart() {
    let stage = Stage::new();
    stage.server("postgres").create_database("it's \"odd\"", None).unwrap();
    let made = stage.run(&["snapshot", "db", "--all-databases", "--json"]).json();
    assert_eq!(made["sources"], json!(["it's \"odd\"", "postgres", "shop"]));
    let several = stage.restore(&["--dbname", "copy", "--create"]);
    assert!(several.failed(2).contains("several databases"), "{several:?}");
    let named = stage.run(&["restore", "db", "latest:shop", "--dbname", "copy", "--create", "--json"]);
    assert_eq!(named.json()["database"], "copy");
    let none = stage.run(&["restore", "db", "latest:none", "--dbname", "copy"]);
    assert!(none.failed(2).contains("no database"), "{none:?}");
}

#[test]
fn a_dump_that_fails_leaves_no_snapshot_and_no_password_anywhere() {
    let stage = Stage::new();
    for name in ["", "postgres://me:hunter2@localhost/shop"] {
        let wrong = stage.run(&["snapshot", "db", "--dbname", name]);
        assert!(!wrong.failed(2).contains("hunter2"), "{wrong:?}");
    }
    let missing = stage.run(&["snapshot", "db", "--dbname", "none"]);
    assert_eq!((missing.status, missing.stdout.len()), (1, 0), "{missing:?}");
    let broken = stage.run(&["snapshot", "db", "--dbname", "shop", "--", "--table", "none"]);
    assert!(broken.failed(1).contains("pg_dump"), "{broken:?}");
    let elsewhere = stage.run(&["snapshot", "db", "--dbname", "shop", "--", "--file=/tmp/x"]);
    assert_eq!(elsewhere.status, 2, "{elsewhere:?}");
    let argument = stage.run(&["snapshot", "db", "--url", "postgres://me:hunter2@localhost/shop"]);
    assert!(!argument.failed(2).contains("hunter2"), "{argument:?}");
    let unreachable = finish(
        stage
            .program()
            .env("DATABASE_URL", "postgres://me:hunter2@127.0.0.1:1/shop")
            .args(["snapshot", "db"]),
    );
    assert!(!unreachable.failed(1).contains("hunter2"), "{unreachable:?}");
    assert!(unreachable.stderr.contains("127.0.0.1"), "{unreachable:?}");
    assert!(stage.sandbox.snapshots().is_empty());
}

#[test]
fn roles_without_their_passwords_make_an_incomplete_snapshot() {
    let stage = Stage::new();
    let sql = "CREATE ROLE backup LOGIN; CREATE ROLE clerk PASSWORD 'x'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO backup;";
    stage.server("shop").run(sql.as_bytes()).unwrap();
    let as_backup = |args: &[&str]| finish(stage.program().env("PGUSER", "backup").args(args));
    let made = as_backup(&["snapshot", "db", "--dbname", "shop", "--globals", "--json"]);
    assert_eq!(made.status, 3, "{made:?}");
    assert!(made.stderr.contains("without passwords"), "{made:?}");
    let document: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(document["incomplete"], true);
    let listed = stage.run(&["snapshots"]);
    assert!(listed.text().contains("[incomplete]"), "{}", listed.text());
    let sql = stage.run(&["cat", "latest:globals.sql"]);
    assert!(sql.text().contains("CREATE ROLE clerk;") && !sql.text().contains("SCRAM"), "{}", sql.text());

    // What is no lack of a right is a failure.
    let whole = stage.run(&["snapshot", "db", "--dbname", "shop", "--globals", "--json"]);
    assert_eq!(whole.json()["incomplete"], false);
    stage.server("postgres").create_database("globals.sql", None).unwrap();
    let taken = stage.run(&["snapshot", "db", "--all-databases", "--globals"]);
    assert!(taken.failed(2).contains("a database is called globals.sql"), "{taken:?}");
}
