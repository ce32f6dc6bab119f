//! `snapshot base`: clusters through the repository, held against what PostgreSQL's own programs say.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::monitor::{Monitor, Recorder, Silent};
use kamba_vault::format::root::SnapshotKind;
use kamba_vault::ops;
use kamba_vault::ops::look;
use kamba_vault::ops::restore_files::{Deaf, FilesRequest, restore_files};
use kamba_vault::ops::select::Which;
use kamba_vault::ops::snapshot::{BaseRequest, Made, snapshot_base};
use kamba_vault::postgres::page::PAGE;
use kamba_vault::repo::{Repository, roots};

use crate::base_backups::with_checksums;
use crate::inside::{beside_pg_ctl, data, folder_of_the_server, on_data_stopped, sql};
use crate::shared::{Faulty, Vault, assert_clean, provenance};
use crate::support::Db;

fn try_base(
    repo: &Repository,
    db: &Db,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Made, ops::Error> {
    let request = BaseRequest {
        settings: db.cluster.settings(),
        tools: db.tools.clone(),
        fast: true,
        wait_for_archive: true,
        max_rate: None,
    };
    snapshot_base(repo, &provenance(), &request, monitor, cancel)
}

/// A base backup with nothing to complain about.
fn base(repo: &Repository, db: &Db) -> Made {
    let monitor = Arc::new(Recorder::default());
    let made = try_base(repo, db, monitor.clone(), &Cancel::new()).unwrap();
    // Nobody archives here.
    let complaints: Vec<_> = monitor.lines().into_iter().filter(|line| line.starts_with("warn")).collect();
    let [about_wal] = &complaints[..] else { panic!("{complaints:?}") };
    assert!(about_wal.contains("does not have WAL 0000000100000000000000"), "{about_wal}");
    assert!(!made.incomplete && !made.end_unverified);
    made
}

/// Writes the folder `path` of a snapshot to `target`.
fn write_back(repo: &Repository, made: &Made, path: &str, target: &Path) {
    let which = Which::Id(made.id.to_hex());
    let found = look::find(repo, &which, "it", &Silent, &Cancel::new()).unwrap();
    let request =
        FilesRequest { path: Some(path.into()), target: target.to_owned(), ..FilesRequest::default() };
    let report = restore_files(repo, &found, &request, &Deaf, &Silent, &Cancel::new()).unwrap();
    assert_eq!(report.troubles.len(), 0, "{report:?}");
}

/// Whether PostgreSQL finds all in `pgdata` that its manifest lists, and as it lists it.
fn verifies(db: &Db, pgdata: &Path) -> bool {
    let program = beside_pg_ctl(db, "pg_verifybackup");
    let output = Command::new(program).arg("--no-parse-wal").arg(pgdata).output().unwrap();
    output.status.success()
}

#[test]
fn a_cluster_comes_back_file_by_file_and_costs_what_changed() {
    let db = with_checksums();
    let space = folder_of_the_server(&db, "space");
    sql(&db, &format!("CREATE TABLESPACE elsewhere LOCATION '{}'", space.display()));
    sql(&db, "CREATE TABLE there TABLESPACE elsewhere AS SELECT * FROM rows");
    let vault = Vault::new();
    let first = base(&vault.repo, &db);
    let described = first.base.clone().unwrap();
    let system = sql(&db, "SELECT system_identifier FROM pg_control_system()");
    assert_eq!((described.system.to_string(), described.timeline), (system.clone(), 1));
    assert!(described.has_checksums() && !described.is_from_standby());
    assert!(described.start < described.stop && described.corrupt_pages == 0);
    assert_eq!(described.tablespaces[0].location, space.as_os_str().as_encoded_bytes());
    assert_eq!((first.kind, &first.sources), (SnapshotKind::BaseBackup, &vec![system]));
    let listed = roots::list(&vault.repo, &Cancel::new()).unwrap().snapshots;
    assert_eq!(listed[0].root.base, first.base);

    sql(&db, "UPDATE rows SET n = n + 1 WHERE n % 500 = 0");
    sql(&db, "UPDATE there SET n = n + 1 WHERE n % 500 = 0");
    let second = base(&vault.repo, &db);
    assert!(second.source_bytes >= first.source_bytes);
    let (before, after) = (&first.added, &second.added);
    assert!(after.new_bytes < before.new_bytes / 4, "{before:?} {after:?}");
    assert!(after.coded_bytes < before.coded_bytes / 10, "{before:?} {after:?}");
    assert!(after.delta_bytes > after.new_bytes / 2, "{after:?}");
    assert_clean(&vault.repo);

    let into = tempfile::tempdir().unwrap();
    for (n, made) in [first, second].iter().enumerate() {
        let pgdata = into.path().join(n.to_string());
        write_back(&vault.repo, made, "pgdata", &pgdata);
        // The server makes the link from the map when it recovers.
        let oid = described.tablespaces[0].oid;
        let map = fs::read_to_string(pgdata.join("tablespace_map")).unwrap();
        assert_eq!(map, format!("{oid} {}\n", space.display()));
        let link = pgdata.join(format!("pg_tblspc/{oid}"));
        write_back(&vault.repo, made, &format!("tablespaces/{oid}"), &link);
        assert!(verifies(&db, &pgdata));
        assert!(pgdata.join("backup_label").exists() && pgdata.join("pg_wal").exists());
        fs::write(pgdata.join("global/pg_control"), "no").unwrap();
        assert!(!verifies(&db, &pgdata));
    }
}

#[test]
fn a_corrupt_page_is_named_and_the_rest_is_stored() {
    let db = with_checksums();
    let file = sql(&db, "SELECT pg_relation_filepath('rows')");
    on_data_stopped(&db, |db| {
        let path = data(db).join(&file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[7 * PAGE + 4000] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    let (vault, monitor) = (Vault::new(), Arc::new(Recorder::default()));
    let made = try_base(&vault.repo, &db, monitor.clone(), &Cancel::new()).unwrap();
    assert!(made.incomplete);
    assert_eq!(made.base.as_ref().unwrap().corrupt_pages, 1);
    let want = format!("warn: {file}: page 7 is corrupt: its checksum is wrong");
    assert!(monitor.lines().contains(&want), "{:?}", monitor.lines());
    // As it is: who restores it has what there was.
    let into = tempfile::tempdir().unwrap();
    let pgdata = into.path().join("pgdata");
    write_back(&vault.repo, &made, "pgdata", &pgdata);
    assert_eq!(fs::read(pgdata.join(&file)).unwrap(), fs::read(data(&db).join(&file)).unwrap());
    assert_clean(&vault.repo);
}

#[test]
fn a_base_backup_that_dies_at_any_step_leaves_none_or_a_whole_one() {
    let db = with_checksums();
    for steps in 0.. {
        let mut died = false;
        for last_has_effect in [false, true] {
            let faulty = Faulty::new();
            faulty.fault.crash_after(steps, last_has_effect);
            let made = try_base(&faulty.repo, &db, Arc::new(Silent), &Cancel::new());
            died |= faulty.fault.has_crashed();
            let next = Vault::of(faulty.memory.clone());
            assert_clean(&next.repo);
            let there = roots::list(&next.repo, &Cancel::new()).unwrap().snapshots.len();
            assert!(there <= 1 && (made.is_err() || there == 1), "step {steps}");
            // The server is not left in a base backup, and gives the next.
            let running = "SELECT count(*) FROM pg_stat_progress_basebackup";
            crate::shared::wait_for("the server to stop sending", || sql(&db, running) == "0");
            base(&next.repo, &db);
            let listed = roots::list(&next.repo, &Cancel::new()).unwrap().snapshots.len();
            assert_eq!(listed, there + 1);
            assert_clean(&next.repo);
        }
        if !died {
            assert!(steps >= 5, "lease, packs, index part, root, lease: {steps} steps");
            return;
        }
    }
}

/// Cancels once so many bytes were read.
struct After(Cancel, std::sync::atomic::AtomicI64);

impl Monitor for After {
    fn add(&self, _: kamba_vault::base::monitor::Count, n: u64) {
        if self.1.fetch_sub(n as i64, std::sync::atomic::Ordering::Relaxed) < 0 {
            self.0.cancel();
        }
    }
}

#[test]
fn what_does_not_end_well_is_no_snapshot() {
    let db = with_checksums();
    let vault = Vault::new();
    let cancel = Cancel::new();
    let monitor = Arc::new(After(cancel.clone(), (5 << 20).into()));
    let failure = try_base(&vault.repo, &db, monitor, &cancel).unwrap_err();
    assert!(failure.to_string().contains("interrupted"), "{failure}");
    assert!(roots::list(&vault.repo, &Cancel::new()).unwrap().snapshots.is_empty());
    // The server is not left in a base backup.
    let running = "SELECT count(*) FROM pg_stat_progress_basebackup";
    crate::shared::wait_for("the server to stop sending", || sql(&db, running) == "0");
    base(&vault.repo, &db);
    assert_clean(&vault.repo);
}
