//! Databases through the repository: dumped, taken apart, stored, put together, restored, counted.

use std::num::NonZeroU32;
use std::sync::Arc;

use kamba_vault::base::clock::{Cancel, SystemClock};
use kamba_vault::base::monitor::{Recorder, Silent};
use kamba_vault::base::secret::Secret32;
use kamba_vault::codec::Level;
use kamba_vault::crypto::SystemRandom;
use kamba_vault::ops::check::{ReadData, check};
use kamba_vault::ops::look;
use kamba_vault::ops::restore_db::{RestoreRequest, find_database, restore_db};
use kamba_vault::ops::select::Which;
use kamba_vault::ops::snapshot::{DbRequest, Made, Provenance, snapshot_db};
use kamba_vault::postgres::dump::PassedOn;
use kamba_vault::postgres::restore::RestoreOptions;
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::shop::Shop;
use kamba_vault::postgres::tools::Program;
use kamba_vault::repo::{self, Credentials, Environment, InitOptions, Repository};
use kamba_vault::storage::{Backend, Memory};
use kamba_vault::vfs::View;
use tempfile::TempDir;

use crate::support::Db;

struct Vault {
    repo: Repository,
    _cache: TempDir,
}

impl Vault {
    fn new() -> Self {
        let backend: Arc<dyn Backend> = Arc::new(Memory::new());
        let credentials = Credentials { passphrase: None, key_file: Some(Secret32([3; 32])) };
        let options = InitOptions { chunk_avg: 16 << 10, ..InitOptions::default() };
        repo::init(&*backend, &credentials, &options, &SystemClock, &SystemRandom).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let environment = Environment {
            backend,
            cache_dir: cache.path().to_owned(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
        };
        Vault { repo: Repository::open(environment, &credentials).unwrap(), _cache: cache }
    }

    fn snapshot(&self, db: &Db, request: impl FnOnce(&mut DbRequest)) -> Result<Made, String> {
        let mut wanted = DbRequest {
            settings: db.cluster.settings(),
            tools: db.tools.clone(),
            databases: vec!["shop".into()],
            all: false,
            globals: false,
            passed_on: PassedOn::default(),
        };
        request(&mut wanted);
        let provenance = Provenance {
            host: "test".into(),
            user: None,
            tags: vec![],
            description: None,
            program: "test".into(),
            level: Level::DEFAULT,
        };
        let monitor = Arc::new(Recorder::default());
        let made = snapshot_db(&self.repo, &provenance, &wanted, monitor.clone(), &Cancel::new());
        assert_eq!(monitor.lines(), Vec::<String>::new());
        made.map_err(|e| e.to_string())
    }

    fn view(&self, made: &Made) -> View {
        let which = Which::Id(made.id.to_hex());
        let found = look::find(&self.repo, &which, "it", &Silent, &Cancel::new()).unwrap();
        look::view(&self.repo, &found, &Silent, &Cancel::new()).unwrap()
    }

    fn cat(&self, made: &Made, path: &str) -> Vec<u8> {
        let view = self.view(made);
        let entry = view.find(path.as_bytes()).unwrap().unwrap_or_else(|| panic!("no {path}"));
        let mut out = Vec::new();
        view.write(&entry, &mut out, &Silent).unwrap();
        out
    }

    fn check(&self) {
        let report = check(&self.repo, ReadData::All, &Silent, &Cancel::new()).unwrap();
        assert!(report.is_clean(), "{report:?}");
    }
}

fn request(db: &Db, name: &str) -> RestoreRequest {
    RestoreRequest {
        settings: db.cluster.settings().with_database(name),
        tools: db.tools.clone(),
        tables: vec![],
        create: true,
        globals: false,
        into_nonempty: false,
        jobs: NonZeroU32::MIN,
        temp: std::env::temp_dir(),
        options: RestoreOptions { exit_on_error: true, ..RestoreOptions::default() },
    }
}

/// The lines of a database as SQL, sorted: PostgreSQL promises no order of rows. Without the
/// token that pg_dump makes up anew each time.
fn contents(server: &Server, db: &Db) -> Vec<String> {
    let sql = db.run(Program::PgDump, server.settings(), &["--format=plain"]);
    let sql = String::from_utf8(sql).unwrap();
    let mut lines: Vec<_> = sql.lines().filter(|l| !l.contains("restrict ")).map(str::to_owned).collect();
    lines.sort();
    lines
}

fn shop(db: &Db) -> (Server, Shop) {
    let server = db.create("shop");
    let shop = Shop::create(&server, 0.02, 7).unwrap();
    (server, shop)
}

#[test]
fn a_shop_is_snapshotted_changed_and_restored() {
    let db = Db::start();
    let (server, mut shop) = shop(&db);
    let vault = Vault::new();
    let first = vault.snapshot(&db, |_| {}).unwrap();
    assert!(first.items > 5 && first.source_bytes > 500_000, "{first:?}");
    let unchanged = vault.snapshot(&db, |_| {}).unwrap();
    assert!(unchanged.added.new_bytes < first.added.new_bytes / 10, "{unchanged:?}");
    shop.a_day(1).unwrap();
    let second = vault.snapshot(&db, |r| r.globals = true).unwrap();
    assert!(second.added.new_bytes > 0);
    vault.check();
    let restore = |made: &Made, name: &str, change: &dyn Fn(&mut RestoreRequest)| {
        let view = vault.view(made);
        let entry = find_database(&view, None).unwrap();
        let mut wanted = request(&db, name);
        change(&mut wanted);
        restore_db(&view, &entry, &wanted, &Silent, &Cancel::new())
    };
    // Streamed, and with several jobs from a file.
    for (name, jobs) in [("copy_one", 1), ("copy_many", 3)] {
        let restored = restore(&second, name, &|r| r.jobs = NonZeroU32::new(jobs).unwrap()).unwrap();
        assert!(restored.tables.len() > 5, "{restored:?}");
        restored.verify().unwrap();
        let copy = server.database(name);
        let (there, here) = (contents(&server, &db), contents(&copy, &db));
        let differing = there.iter().zip(&here).find(|(a, b)| a != b);
        assert_eq!(differing, None, "{name} differs");
        assert_eq!(there.len(), here.len());
    }
    // Into what is not empty only when that is said.
    let refused = restore(&second, "copy_one", &|_| {}).unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
    restore(&second, "copy_one", &|r| r.options.clean = true).unwrap().verify().unwrap();
    // One lost table, with rows that differ noticed.
    let copy = server.database("copy_one");
    copy.run(b"DROP TABLE order_lines CASCADE;").unwrap();
    let restored = restore(&second, "copy_one", &|r| {
        r.tables = vec!["public.order_lines".into()];
        r.into_nonempty = true;
    });
    let restored = restored.unwrap();
    restored.verify().unwrap();
    assert_eq!(restored.tables.len(), 1);
    restore(&second, "copy_two", &|r| r.globals = true).unwrap().verify().unwrap();
}

#[test]
fn the_exact_bytes_and_single_tables_come_out() {
    let db = Db::start();
    let (_, _) = shop(&db);
    let vault = Vault::new();
    for options in [&[][..], &["--inserts"], &["--schema-only"]] {
        let passed = PassedOn::new(options.iter().map(Into::into).collect()).unwrap();
        let made = vault.snapshot(&db, |r| r.passed_on = passed).unwrap();
        let dump = vault.cat(&made, "shop/database.dump");
        let again = db.dump(&db.cluster.settings().with_database("shop"), options);
        // The header's time apart, which is in the first hundred bytes.
        assert!(dump.len() == again.len() && dump[100..] == again[100..], "{options:?}");
        let schema = String::from_utf8(vault.cat(&made, "shop/schema.sql")).unwrap();
        assert!(schema.contains("CREATE TABLE public.orders"));
        let info = String::from_utf8(vault.cat(&made, "shop/info.json")).unwrap();
        assert!(info.contains("\"database\":\"shop\""), "{info}");
        if options.is_empty() {
            let rows = vault.cat(&made, "shop/tables/public.orders.copy");
            assert!(rows.ends_with(b"\n") && !rows.ends_with(b"\\.\n"));
        }
    }
    vault.check();
}

#[test]
fn a_dump_that_fails_leaves_no_snapshot() {
    let db = Db::start();
    let (server, _) = shop(&db);
    let vault = Vault::new();
    // A lock that the dump cannot get in time.
    let settings = server.settings().clone();
    let blocker = std::thread::spawn(move || {
        let tools = crate::support::tools();
        let server = Server::new(&tools, &settings).unwrap();
        let _ = server.run(b"BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT;");
    });
    std::thread::sleep(std::time::Duration::from_millis(800));
    let passed = PassedOn::new(vec!["--lock-wait-timeout=200".into()]).unwrap();
    let failed = vault.snapshot(&db, |r| r.passed_on = passed).unwrap_err();
    assert!(failed.contains("pg_dump"), "{failed}");
    blocker.join().unwrap();
    assert!(vault.snapshot(&db, |r| r.databases = vec!["nowhere".into()]).unwrap_err().contains("nowhere"));
    db.cluster.crash().unwrap();
    let failed = vault.snapshot(&db, |_| {}).unwrap_err();
    assert!(!failed.is_empty());
    let listing = look::snapshots(&vault.repo, &[], None, &Cancel::new()).unwrap();
    assert!(listing.snapshots.is_empty());
    vault.check();
}
