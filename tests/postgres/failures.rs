//! Dumps that fail, in the middle too: no snapshot, a clear error, and the next run reuses what was
//! stored. And snapshots that were damaged: what is lost is said, the rest comes back.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kamba_vault::base::class::Class;
use kamba_vault::base::clock::Cancel;
use kamba_vault::base::monitor::{Count, Monitor, Silent};
use kamba_vault::ops::look;
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::shop::Shop;
use kamba_vault::postgres::tools::Program;
use kamba_vault::repo::Repository;
use kamba_vault::storage::{Backend, Local};

use crate::shared::{Vault, assert_clean, folder, init, names, open, wait_for};
use crate::shared_servers::SmallDisk;
use crate::support::Db;
use crate::vault::{passed_on, restore, restore_well, snapshot, try_cat, try_snapshot};

/// Does something once, as soon as so many bytes of the dump were read. pg_dump waits meanwhile.
struct Midway {
    after: u64,
    read: AtomicU64,
    act: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Midway {
    fn new(after: u64, act: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(Midway { after, read: AtomicU64::new(0), act: Mutex::new(Some(Box::new(act))) })
    }
}

impl Monitor for Midway {
    fn add(&self, count: Count, n: u64) {
        if count == Count::SourceBytes && self.read.fetch_add(n, Ordering::SeqCst) + n >= self.after {
            // The guard goes before the act begins.
            let act = self.act.lock().unwrap().take();
            act.into_iter().for_each(|act| act());
        }
    }
}

/// A table of so many rows, 70 bytes each, in the database `shop`.
fn big(db: &Db, rows: u32) -> Server {
    let server = db.create("shop");
    let sql = format!(
        "CREATE TABLE big AS SELECT i, md5(i::text) || md5((-i)::text) AS t FROM generate_series(1, {rows}) i;"
    );
    server.run(sql.as_bytes()).unwrap();
    server
}

fn no_snapshots(repo: &Repository) {
    assert!(look::snapshots(repo, &[], None, &Cancel::new()).unwrap().snapshots.is_empty());
}

/// The processes called pg_dump that were started for this cluster.
fn dumps_of(db: &Db) -> Vec<i32> {
    let place = db.cluster.folder().to_string_lossy().into_owned();
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |pid: &i32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        let program = command.split('\0').next().unwrap_or_default();
        program.ends_with("/pg_dump") && command.contains(&place)
    };
    pids.filter(is_ours).collect()
}

#[test]
fn a_dump_that_ends_midway_leaves_no_snapshot_and_serves_the_next() {
    let db = Arc::new(Db::start());
    // More than a pack before the end, and after it more than the pipe and the socket between the
    // server and us hold.
    let server = big(&db, 1_000_000);
    let whole = snapshot(&Vault::new().repo, &db, |_| {}).added.new_bytes;

    let killed = {
        let db = db.clone();
        move || {
            let pids = dumps_of(&db);
            assert_eq!(pids.len(), 1);
            let pid = rustix::process::Pid::from_raw(pids[0]).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    };
    let cut_off = {
        let server = server.clone();
        move || {
            let sql = b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg_dump' \\g /dev/null\n";
            server.run(sql).unwrap();
        }
    };
    let crashed = {
        let db = db.clone();
        move || db.cluster.crash().unwrap()
    };
    type Act = Box<dyn FnOnce() + Send>;
    // The last one takes the server down.
    let acts: [(Act, &str); 3] = [
        (Box::new(killed), "pg_dump was killed by signal 9"),
        (Box::new(cut_off), "pg_dump ended with status 1"),
        (Box::new(crashed), "pg_dump ended with status 1"),
    ];
    for (number, (act, reason)) in acts.into_iter().enumerate() {
        let vault = Vault::new();
        let memory = vault.memory.clone();
        // What is stored by then is what a busy machine found time for: at least a pack, before the end.
        let act = move || {
            wait_for("a pack is stored", || !names(&*memory, "data/").is_empty());
            act();
        };
        let failed = try_snapshot(&vault.repo, &db, Midway::new(60 << 20, act), |_| {}).unwrap_err();
        assert!(failed.to_string().contains(reason), "{failed}");
        assert_eq!(failed.class(), Class::Failed);
        no_snapshots(&vault.repo);
        assert_clean(&vault.repo);
        if number == 2 {
            db.cluster.restart(&Cancel::new()).unwrap();
        }
        let next = snapshot(&vault.repo, &db, |_| {});
        let new = next.added.new_bytes;
        assert!(new < whole * 3 / 4, "{new} of {whole} bytes were new after: {reason}");
        assert_clean(&vault.repo);
    }
}

#[test]
fn a_full_disk_leaves_no_snapshot_and_serves_the_next() {
    let db = Db::start();
    // More than a pack: what was stored of the second one is lost.
    big(&db, 900_000);
    let whole = snapshot(&Vault::new().repo, &db, |_| {}).added;
    let disk = SmallDisk::mount(whole.stored_bytes * 4 / 5);
    let backend: Arc<dyn Backend> = Arc::new(Local::open(disk.path().join("repository")).unwrap());
    init(&backend);
    let cache = folder();
    let repo = open(&backend, cache.path());
    let failed = try_snapshot(&repo, &db, Arc::new(Silent), |_| {}).unwrap_err();
    assert_eq!(failed.class(), Class::Failed);
    assert!(failed.to_string().contains("space"), "{failed}");
    no_snapshots(&repo);
    let grown = format!("remount,size={}", whole.stored_bytes * 3);
    assert!(Command::new("mount").args(["-o", &grown]).arg(disk.path()).status().unwrap().success());
    assert_clean(&repo);
    let next = snapshot(&repo, &db, |_| {});
    assert!(next.added.new_bytes < whole.new_bytes * 4 / 5, "{next:?} after {whole:?}");
    assert_clean(&repo);
}

#[test]
fn a_dump_that_cannot_begin_leaves_no_snapshot() {
    let db = Db::start();
    let server = db.create("shop");
    Shop::create(&server, 0.01, 7).unwrap();
    let vault = Vault::new();
    // A lock that the dump cannot get in time, held until its holder's input ends.
    let mut psql = Command::new(db.tool(Program::Psql).path);
    let mut holder = psql
        .args(["--no-psqlrc", "--quiet", &format!("--dbname={}", server.settings().connection_string())])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = holder.stdin.take().unwrap();
    input.write_all(b"BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE;\n").unwrap();
    let held = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass \
                AND mode = 'AccessExclusiveLock' AND granted";
    let deadline = Instant::now() + Duration::from_secs(60);
    while db.run(Program::Psql, server.settings(), &["-Atc", held]) != b"1\n" {
        assert!(Instant::now() < deadline, "the lock is not taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    let options = passed_on(&["--lock-wait-timeout=100"]);
    let failed = try_snapshot(&vault.repo, &db, Arc::new(Silent), |r| r.passed_on = options).unwrap_err();
    assert!(failed.to_string().contains("pg_dump ended with status 1"), "{failed}");
    drop(input);
    assert!(holder.wait().unwrap().success());

    let nowhere = try_snapshot(&vault.repo, &db, Arc::new(Silent), |r| r.databases = vec!["nowhere".into()]);
    assert!(nowhere.unwrap_err().to_string().contains("nowhere"));
    db.cluster.crash().unwrap();
    let failed = try_snapshot(&vault.repo, &db, Arc::new(Silent), |_| {}).unwrap_err();
    assert!(failed.to_string().starts_with("no connection to postgres on "), "{failed}");
    no_snapshots(&vault.repo);
    assert_clean(&vault.repo);
}

#[test]
fn of_a_damaged_snapshot_the_rest_comes_back() {
    let db = Db::start();
    let server = db.create("shop");
    let sql = "CREATE TABLE first AS SELECT md5(i::text) t FROM generate_series(1, 200000) i;
        CREATE TABLE second AS SELECT md5((-i)::text) t FROM generate_series(1, 200000) i;";
    server.run(sql.as_bytes()).unwrap();
    let vault = Vault::new();
    let made = snapshot(&vault.repo, &db, |_| {});
    let largest =
        names(&*vault.backend, "data/").into_iter().max_by_key(|name| vault.backend.stat(name).unwrap());
    let pack = largest.unwrap();
    let mut bytes = vault.backend.get(&pack, u64::MAX).unwrap();
    // The first table's rows stand before the second's.
    let quarter = bytes.len() / 4;
    bytes[quarter] ^= 1;
    vault.memory.overwrite(&pack, &bytes);
    let vault = vault.elsewhere();
    assert_eq!(
        try_cat(&vault.repo, &made, "shop/tables/public.first.copy").unwrap_err().class(),
        Class::Damaged
    );

    let (all, _) = restore(&vault.repo, &made, &db, "all", |_| {});
    let error = all.unwrap_err();
    assert_eq!(error.class(), Class::Damaged, "{error}");
    assert!(
        error.to_string().contains("database shop is damaged: its tables/public.first.copy: "),
        "{error}"
    );
    let second = restore_well(&vault.repo, &made, &db, "one", |r| r.tables = vec!["second".into()]);
    assert_eq!(second.tables[0].found, Some(200_000));
}
