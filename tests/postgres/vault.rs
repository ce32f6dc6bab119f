//! Databases of a test's cluster, snapshotted into a repository and restored from it.

use std::num::NonZeroU32;
use std::sync::Arc;

use kamba_vault::base::clock::Cancel;
use kamba_vault::base::monitor::{Monitor, Recorder, Silent};
use kamba_vault::ops;
use kamba_vault::ops::look;
use kamba_vault::ops::restore_db::{RestoreRequest, Restored, find_database, restore_db};
use kamba_vault::ops::select::Which;
use kamba_vault::ops::snapshot::{DbRequest, Made, snapshot_db};
use kamba_vault::postgres::dump::PassedOn;
use kamba_vault::postgres::restore::RestoreOptions;
use kamba_vault::repo::Repository;
use kamba_vault::vfs::View;

use crate::shared::provenance;
use crate::support::Db;

/// Snapshots the database `shop`, or what `change` makes of that.
pub fn try_snapshot(
    repo: &Repository,
    db: &Db,
    monitor: Arc<dyn Monitor>,
    change: impl FnOnce(&mut DbRequest),
) -> Result<Made, ops::Error> {
    let mut wanted = DbRequest {
        settings: db.cluster.settings(),
        tools: db.tools.clone(),
        databases: vec!["shop".into()],
        all: false,
        globals: false,
        passed_on: PassedOn::default(),
    };
    change(&mut wanted);
    snapshot_db(repo, &provenance(), &wanted, monitor, &Cancel::new())
}

/// The same, with nothing to complain about.
pub fn snapshot(repo: &Repository, db: &Db, change: impl FnOnce(&mut DbRequest)) -> Made {
    let monitor = Arc::new(Recorder::default());
    let made = try_snapshot(repo, db, monitor.clone(), change).unwrap();
    assert_eq!(monitor.lines(), Vec::<String>::new());
    made
}

pub fn passed_on(options: &[&str]) -> PassedOn {
    PassedOn::new(options.iter().map(Into::into).collect()).unwrap()
}

pub fn view(repo: &Repository, made: &Made) -> View {
    let which = Which::Id(made.id.to_hex());
    let found = look::find(repo, &which, "it", &Silent, &Cancel::new()).unwrap();
    look::view(repo, &found, &Silent, &Cancel::new()).unwrap()
}

pub fn try_cat(repo: &Repository, made: &Made, path: &str) -> Result<Vec<u8>, kamba_vault::repo::Error> {
    let view = view(repo, made);
    let entry = view.find(path.as_bytes())?.unwrap_or_else(|| panic!("no {path}"));
    let mut out = Vec::new();
    view.write(&entry, &mut out, &Silent)?;
    Ok(out)
}

pub fn cat(repo: &Repository, made: &Made, path: &str) -> Vec<u8> {
    try_cat(repo, made, path).unwrap()
}

/// Restores into the new database `name`, or as `change` makes of that. With what was said.
pub fn restore(
    repo: &Repository,
    made: &Made,
    db: &Db,
    name: &str,
    change: impl FnOnce(&mut RestoreRequest),
) -> (Result<Restored, ops::Error>, Vec<String>) {
    let mut wanted = RestoreRequest {
        settings: db.cluster.settings().with_database(name),
        tools: db.tools.clone(),
        tables: vec![],
        create: true,
        globals: false,
        into_nonempty: false,
        jobs: NonZeroU32::MIN,
        temp: std::env::temp_dir(),
        options: RestoreOptions::default(),
    };
    change(&mut wanted);
    let view = view(repo, made);
    let entry = find_database(&view, None).unwrap();
    let monitor = Recorder::default();
    let restored = restore_db(&view, &entry, &wanted, &monitor, &Cancel::new());
    (restored, monitor.lines())
}

/// The same, with nothing to complain about.
pub fn restore_well(
    repo: &Repository,
    made: &Made,
    db: &Db,
    name: &str,
    change: impl FnOnce(&mut RestoreRequest),
) -> Restored {
    let (restored, lines) = restore(repo, made, db, name, change);
    let restored = restored.unwrap();
    assert_eq!(lines, Vec::<String>::new());
    assert!(restored.failure.is_none(), "{restored:?}");
    assert_ne!(restored.matches(), Some(false), "{restored:?}");
    restored
}
