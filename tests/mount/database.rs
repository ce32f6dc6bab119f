//! PostgreSQL's own tools, on databases and clusters in a mount.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::cluster::{Cluster, ClusterOptions};
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::tools::{Program, Tools};

use crate::maker::Dice;
use crate::program::{Run, finish};
use crate::scene::{Mounted, Scene, output};

const SHOP: &str = r#"
    CREATE TABLE customers (id int PRIMARY KEY, name text, note text);
    CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, note text, payload bytea);
    CREATE INDEX orders_customer ON orders (customer);
    INSERT INTO customers SELECT i, 'customer ' || i, CASE i % 7 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'a,b'
        WHEN 3 THEN 'say "x"' WHEN 4 THEN E'two\nlines' WHEN 5 THEN E'\\.' ELSE E'tab\there' END
        FROM generate_series(1, 3000) i;
    INSERT INTO orders SELECT i, 1 + i % 3000, md5(i::text), decode(md5(i::text), 'hex')
        FROM generate_series(1, 40000) i;
    SELECT lo_from_bytea(4711, 'a large object');
"#;

struct Stage {
    scene: Scene,
    cluster: Cluster,
    tools: Tools,
}

impl Stage {
    fn new() -> Self {
        let tools = Tools::new(None, std::env::var_os("PATH"), &Cancel::new());
        let settings = vec![("wal_level".to_owned(), "replica".to_owned())];
        let options = ClusterOptions { may_lose_data: true, settings };
        let cluster = Cluster::start(&tools, &std::env::temp_dir(), &options).unwrap();
        let stage = Stage { scene: Scene::new(), cluster, tools };
        stage.server("postgres").create_database("shop", None).unwrap();
        stage.server("shop").run(SHOP.as_bytes()).unwrap();
        stage
    }

    fn server(&self, database: &str) -> Server {
        Server::new(&self.tools, &self.cluster.settings().with_database(database)).unwrap()
    }

    fn connected(&self, mut command: Command) -> Command {
        command.env("PGHOST", self.cluster.folder()).env("PGPORT", "5432").env("PGUSER", "postgres");
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        finish(self.connected(self.scene.sandbox.program()).arg("--no-progress").args(args))
    }

    /// One of PostgreSQL's programs.
    fn tool(&self, program: Program) -> Command {
        let found = self.tools.find(program, "the server", self.cluster.version()).unwrap();
        self.connected(Command::new(found.path))
    }

    fn mounted(&self) -> (Mounted, PathBuf) {
        (self.scene.mount(&["latest"]), self.scene.path("mnt"))
    }
}

#[test]
fn a_database_is_restored_and_looked_into_from_the_mount() {
    let stage = Stage::new();
    stage.run(&["snapshot", "db", "--dbname", "shop"]).text();
    let (mounted, top) = stage.mounted();
    let shop = top.join("shop");
    let dump = shop.join("database.dump");
    let exact = stage.scene.sandbox.run(&["cat", "latest:shop/database.dump"]).stdout;
    assert_eq!(fs::metadata(&dump).unwrap().len(), exact.len() as u64);
    assert!(fs::read(&dump).unwrap() == exact);
    let seekable = stage.scene.sandbox.run(&["cat", "latest:shop/database.seekable.dump"]).stdout;

    let list = output(stage.tool(Program::PgRestore).arg("-l").arg(&dump));
    assert!(String::from_utf8_lossy(&list).contains("TABLE DATA public orders"));
    // At any place, from whatever place before.
    for (name, bytes) in [("database.dump", &exact), ("database.seekable.dump", &seekable)] {
        let (file, mut dice) = (fs::File::open(shop.join(name)).unwrap(), Dice(3));
        let mut read = vec![0; 50_000];
        for _ in 0..60 {
            let at = dice.roll(bytes.len() as u64) as usize;
            let len = read.len().min(bytes.len() - at);
            file.read_exact_at(&mut read[..len], at as u64).unwrap();
            assert!(read[..len] == bytes[at..at + len], "{name} at {at}");
        }
    }

    // In parallel, straight from the mount.
    stage.server("postgres").create_database("copy", None).unwrap();
    let mut restore = stage.tool(Program::PgRestore);
    output(restore.args(["-j4", "--dbname", "copy"]).arg(shop.join("database.seekable.dump")));
    let counts = |database: &str| {
        let tables: [(&[u8], &[u8]); 2] = [(b"public", b"customers"), (b"public", b"orders")];
        stage.server(database).row_counts(&tables, None).unwrap()
    };
    assert_eq!(counts("copy"), counts("shop"));
    assert_eq!(counts("copy"), [Some(3000), Some(40_000)]);
    // One table alone.
    let rows = output(stage.tool(Program::PgRestore).args(["-a", "-t", "customers", "-f", "-"]).arg(&dump));
    assert_eq!(String::from_utf8_lossy(&rows).matches("customer 17\t").count(), 1);

    let info: serde_json::Value = serde_json::from_slice(&fs::read(shop.join("info.json")).unwrap()).unwrap();
    assert!(info.to_string().contains("40000"), "{info}");
    let schema = fs::read_to_string(shop.join("schema.sql")).unwrap();
    assert!(schema.contains("CREATE TABLE public.orders"));
    assert_eq!(fs::metadata(shop.join("schema.sql")).unwrap().len(), schema.len() as u64);
    assert!(fs::read_dir(shop.join("large-objects")).unwrap().count() > 0);
    assert_eq!(mounted.log(), "");
}

#[test]
fn tables_are_text_and_csv() {
    let stage = Stage::new();
    stage.run(&["snapshot", "db", "--dbname", "shop"]).text();
    let (mounted, top) = stage.mounted();
    let tables = top.join("shop/tables");
    let listed: BTreeMap<String, u64> = fs::read_dir(&tables)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
        })
        .collect();
    let names: Vec<&str> = listed.keys().map(String::as_str).collect();
    let all = ["public.customers.copy", "public.customers.csv", "public.orders.copy", "public.orders.csv"];
    assert_eq!(names, all);
    let psql =
        |command: &str| output(stage.tool(Program::Psql).args(["-X", "-q", "-d", "shop", "-c", command]));
    for table in ["customers", "orders"] {
        let copy = psql(&format!("\\copy {table} to stdout"));
        assert!(fs::read(tables.join(format!("public.{table}.copy"))).unwrap() == copy);
        let csv = psql(&format!("\\copy {table} to stdout csv header"));
        let file = tables.join(format!("public.{table}.csv"));
        assert!(output(Command::new("cat").arg(&file)) == csv, "{table}");
        output(Command::new("cp").arg(&file).arg(stage.scene.path("copy.csv")));
        assert!(fs::read(stage.scene.path("copy.csv")).unwrap() == csv);
        let lines = output(Command::new("grep").args(["-c", ""]).arg(&file));
        let wanted = csv.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(String::from_utf8(lines).unwrap().trim(), wanted.to_string());
    }
    assert_eq!(mounted.log(), "");
}

#[test]
fn a_cluster_is_verified_where_it_lies() {
    let stage = Stage::new();
    let space = stage.cluster.folder().join("space");
    fs::create_dir(&space).unwrap();
    let data = fs::metadata(stage.cluster.folder().join("data")).unwrap();
    use std::os::unix::fs::MetadataExt;
    std::os::unix::fs::chown(&space, Some(data.uid()), Some(data.gid())).unwrap();
    let sql = format!("CREATE TABLESPACE space LOCATION '{}'", space.display());
    stage.server("postgres").run(sql.as_bytes()).unwrap();
    stage
        .server("shop")
        .run(b"CREATE TABLE far (i int) TABLESPACE space; INSERT INTO far VALUES (1);")
        .unwrap();
    // The server notes that it archives no WAL.
    assert_eq!(stage.run(&["snapshot", "base"]).status, 0);
    let (mounted, top) = stage.mounted();
    let verify = stage.cluster.pg_ctl().canonicalize().unwrap().with_file_name("pg_verifybackup");
    output(Command::new(verify).arg("-n").arg(top.join("pgdata")));
    // The tablespace is that of the snapshot.
    let link = fs::read_dir(top.join("pgdata/pg_tblspc")).unwrap().next().unwrap().unwrap().path();
    assert!(fs::canonicalize(&link).unwrap().starts_with(top.join("tablespaces")));
    assert_eq!(mounted.log(), "");
}
