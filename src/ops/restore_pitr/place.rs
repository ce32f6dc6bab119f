//! Where a cluster is restored to: the target's folder and those of its tablespaces. All that can be refused is
//! refused here, before the first byte.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

use crate::base::class::Class;
use crate::base::units;
use crate::files::write::is_leftover;
use crate::format::base_backup::BaseBackup;
use crate::ops::Error;
use crate::ops::restore_pitr::refused;
use crate::postgres::control;
use crate::postgres::wal::owner::Owner;

/// The file that says that a restore has begun and not ended.
pub const MARKER: &str = "kamba-vault.restoring";

/// What is in a folder that is to be restored to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Empty,
    /// A restore of this cluster that did not come to its end.
    Interrupted,
    /// This cluster.
    Cluster,
}

/// A tablespace and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its oid.
    pub oid: u32,
    /// Where it lay.
    pub from: Vec<u8>,
    /// Where it goes.
    pub to: PathBuf,
    /// Whether it is there already.
    pub is_there: bool,
}

/// What the marker says.
pub fn marker_text(system: u64, snapshot: &str) -> String {
    format!(
        "This folder is being restored by kamba-vault, and no cluster yet.\nsystem {system}\nsnapshot {snapshot}\n"
    )
}

/// Whose cluster an interrupted restore was of.
fn marked_system(folder: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(folder.join(MARKER)).ok()?;
    text.lines().find_map(|line| line.strip_prefix("system ")?.parse().ok())
}

/// What is in the target, if `system` may be restored there.
pub fn target(folder: &Path, system: u64, delta: bool) -> Result<State, Error> {
    let shown = folder.display();
    if is_empty(folder)? {
        return Ok(State::Empty);
    }
    let control = folder.join(control::PATH);
    let marked = marked_system(folder);
    if !delta {
        return Err(match (marked, control.exists()) {
            (Some(_), _) => refused(
                Class::Usage,
                format!("{shown} holds a restore that was interrupted"),
                "go on with it with --delta",
            ),
            (None, true) => refused(
                Class::Usage,
                format!("{shown} holds a cluster"),
                "choose a folder that is empty or not there, or restore what differs with --delta",
            ),
            (None, false) => refused(
                Class::Usage,
                format!("{shown} is not empty"),
                "choose a folder that is empty or not there",
            ),
        });
    }
    let found = marked.or_else(|| Owner::of_data_folder(folder).system);
    match found {
        Some(found) if found == system => {}
        Some(found) => {
            return Err(refused(
                Class::Usage,
                format!("{shown} holds cluster {found}, and the base backup is of cluster {system}"),
                "choose another folder, or the base backup with --system-id or --base",
            ));
        }
        None => {
            return Err(refused(
                Class::Usage,
                format!("{shown} is not empty and holds no cluster: it has no {}", control::PATH),
                "choose a folder that is empty or not there",
            ));
        }
    }
    if let Some(pid) = running(folder) {
        return Err(refused(
            Class::Usage,
            format!("a server runs in {shown}: process {pid}, as its postmaster.pid says"),
            "stop it first: `pg_ctl stop -D` with that folder; if there is none, delete postmaster.pid",
        ));
    }
    Ok(if marked.is_some() { State::Interrupted } else { State::Cluster })
}

/// The process that a cluster's `postmaster.pid` names, if it lives (`CreateLockFile` in `miscinit.c`).
fn running(folder: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(folder.join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    let pid = pid.checked_abs()?;
    match test_kill_process(Pid::from_raw(pid)?) {
        // It is another user's, but there.
        Ok(()) | Err(rustix::io::Errno::PERM) => Some(pid),
        Err(_) => None,
    }
}

/// Where the tablespaces go: to the folders that `wanted` names, else to where they lay.
pub fn tablespaces(
    base: &BaseBackup,
    target: &Path,
    state: State,
    wanted: &[(u32, PathBuf)],
) -> Result<Vec<Placed>, Error> {
    let mut by_oid: BTreeMap<u32, &PathBuf> = BTreeMap::new();
    for (oid, folder) in wanted {
        if by_oid.insert(*oid, folder).is_some() {
            return Err(usage(format!("tablespace {oid} was given two folders"), ""));
        }
        if !base.tablespaces.iter().any(|t| t.oid == *oid) {
            let all: Vec<String> = base.tablespaces.iter().map(|t| t.oid.to_string()).collect();
            let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
            return Err(usage(format!("the base backup has no tablespace {oid}"), &format!("it has {all}")));
        }
    }
    let mut placed: Vec<Placed> = Vec::new();
    for tablespace in &base.tablespaces {
        let recorded = PathBuf::from(OsStr::from_bytes(&tablespace.location));
        let to = by_oid.get(&tablespace.oid).map_or(recorded, |folder| (*folder).clone());
        let is_there = check(tablespace.oid, &to, target, state, &placed)?;
        placed.push(Placed { oid: tablespace.oid, from: tablespace.location.clone(), to, is_there });
    }
    Ok(placed)
}

/// Whether the tablespace is there already; an error if its folder cannot be taken.
fn check(oid: u32, folder: &Path, target: &Path, state: State, others: &[Placed]) -> Result<bool, Error> {
    let shown = folder.display();
    let elsewhere = format!("give it another folder with --tablespace {oid}=DIR");
    if !folder.is_absolute() || folder.as_os_str().as_bytes().contains(&b'\n') {
        return Err(usage(
            format!("tablespace {oid} cannot be in {shown:?}: that is no absolute path"),
            &elsewhere,
        ));
    }
    let (own, target) = (resolved(folder), resolved(target));
    if own.starts_with(&target) || target.starts_with(&own) {
        let message = format!("tablespace {oid} cannot be in {shown}, which is in the target or around it");
        return Err(usage(message, &elsewhere));
    }
    for other in others {
        let taken = resolved(&other.to);
        if own.starts_with(&taken) || taken.starts_with(&own) {
            let message = format!("tablespaces {} and {oid} cannot share {shown}", other.oid);
            return Err(usage(message, &elsewhere));
        }
    }
    if is_empty(folder)? {
        return Ok(false);
    }
    // Only what the target itself calls its tablespace is known to be that.
    let link = std::fs::read_link(target.join("pg_tblspc").join(oid.to_string()));
    if state != State::Empty && link.is_ok_and(|link| link == *folder) {
        return Ok(true);
    }
    Err(usage(format!("the folder of tablespace {oid}, {shown}, is not empty"), &elsewhere))
}

/// A path with the links on its way resolved, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(there), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return there.join(rest);
        }
    }
    path.to_owned()
}

/// Whether a folder holds nothing, or is not there. What a restore leaves that was killed while it wrote its
/// first file, the marker, is nothing.
fn is_empty(folder: &Path) -> Result<bool, Error> {
    let is_left = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| is_leftover(entry.file_name().as_bytes()))
    };
    match std::fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.all(is_left)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(refused(
            Class::Failed,
            format!("{} cannot be looked into: {error}", folder.display()),
            "choose another folder, or run this as a user who may",
        )),
    }
}

/// Fails if all the file systems together have less room than the cluster takes.
pub fn room(target: &Path, tablespaces: &[Placed], bytes: u64) -> Result<(), Error> {
    let folders = std::iter::once(target).chain(tablespaces.iter().map(|t| t.to.as_path()));
    let mut free: BTreeMap<u64, u64> = BTreeMap::new();
    for folder in folders {
        let there = folder.ancestors().find_map(|at| Some((at, at.metadata().ok()?)));
        let Some((there, meta)) = there else { continue };
        let Ok(stat) = rustix::fs::statvfs(there) else { continue };
        free.insert(meta.dev(), stat.f_bavail.saturating_mul(stat.f_frsize));
    }
    let all = free.values().fold(0u64, |sum, free| sum.saturating_add(*free));
    if free.is_empty() || all >= bytes {
        return Ok(());
    }
    let message = format!(
        "the cluster has {} and there is room for {} at {}",
        units::bytes(bytes),
        units::bytes(all),
        target.display()
    );
    Err(refused(
        Class::Failed,
        message,
        "choose a folder with more room, or move tablespaces with --tablespace",
    ))
}

fn usage(message: String, hint: &str) -> Error {
    refused(Class::Usage, message, hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::format::base_backup::Tablespace;

    fn cluster(folder: &Path, system: u64) {
        std::fs::create_dir_all(folder.join("global")).unwrap();
        std::fs::write(folder.join(control::PATH), system.to_le_bytes()).unwrap();
    }

    #[test]
    fn only_an_empty_folder_or_the_cluster_itself_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("empty")).unwrap();
        std::fs::create_dir(at("full")).unwrap();
        std::fs::write(at("full/file"), "x").unwrap();
        cluster(&at("own"), 7);
        std::fs::create_dir(at("half")).unwrap();
        std::fs::write(at("half").join(MARKER), marker_text(7, "abc")).unwrap();
        for name in ["empty", "absent"] {
            assert_eq!(target(&at(name), 7, false).unwrap(), State::Empty);
            assert_eq!(target(&at(name), 7, true).unwrap(), State::Empty);
        }
        let refusal = |name: &str, system, delta| target(&at(name), system, delta).unwrap_err().to_string();
        assert!(refusal("full", 7, false).ends_with("full is not empty"));
        assert!(refusal("full", 7, true).contains("holds no cluster"));
        assert!(refusal("own", 7, false).ends_with("holds a cluster"));
        assert!(refusal("own", 8, true).contains("holds cluster 7, and the base backup is of cluster 8"));
        assert!(refusal("half", 7, false).ends_with("interrupted"));
        assert!(refusal("half", 8, true).contains("holds cluster 7"));
        assert_eq!(target(&at("own"), 7, true).unwrap(), State::Cluster);
        assert_eq!(target(&at("half"), 7, true).unwrap(), State::Interrupted);
        assert!(refusal("own/global/pg_control", 7, false).contains("cannot be looked into"));
    }

    #[test]
    fn a_folder_with_a_server_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        cluster(dir.path(), 7);
        let pid = std::process::id();
        std::fs::write(dir.path().join("postmaster.pid"), format!("{pid}\n/data\n")).unwrap();
        let error = target(dir.path(), 7, true).unwrap_err().to_string();
        assert!(error.contains(&format!("process {pid}")), "{error}");
        std::fs::write(dir.path().join("postmaster.pid"), "2147483647\n").unwrap();
        assert_eq!(target(dir.path(), 7, true).unwrap(), State::Cluster);
    }

    #[test]
    fn tablespaces_get_folders_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let tablespace =
            |oid, name: &str| Tablespace { oid, location: at(name).as_os_str().as_bytes().to_vec() };
        let base = BaseBackup {
            tablespaces: vec![tablespace(5, "fast"), tablespace(6, "slow")],
            ..BaseBackup::default()
        };
        let place = |wanted: &[(u32, PathBuf)], state| tablespaces(&base, &at("data"), state, wanted);
        let placed = place(&[(6, at("new"))], State::Empty).unwrap();
        assert_eq!((&placed[0].to, &placed[1].to, placed[1].is_there), (&at("fast"), &at("new"), false));
        let refusal = |wanted: &[(u32, PathBuf)]| place(wanted, State::Empty).unwrap_err().to_string();
        assert!(refusal(&[(7, at("x"))]).contains("no tablespace 7"));
        assert!(refusal(&[(6, at("x")), (6, at("y"))]).contains("two folders"));
        assert!(refusal(&[(6, "x".into())]).contains("no absolute path"));
        assert!(refusal(&[(6, at("data/x"))]).contains("in the target or around it"));
        assert!(refusal(&[(6, dir.path().into())]).contains("in the target or around it"));
        assert!(refusal(&[(6, at("fast/x"))]).contains("cannot share"));
        // A link that leads into the target.
        std::fs::create_dir(at("data")).unwrap();
        std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
        assert!(refusal(&[(6, at("link/x"))]).contains("in the target or around it"));
        // Where it lay there is something: only the target's own link tells that it is the tablespace.
        std::fs::create_dir_all(at("fast/PG_15")).unwrap();
        std::fs::create_dir_all(at("data/pg_tblspc")).unwrap();
        assert!(place(&[], State::Cluster).unwrap_err().to_string().contains("is not empty"));
        std::os::unix::fs::symlink(at("fast"), at("data/pg_tblspc/5")).unwrap();
        assert!(place(&[], State::Cluster).unwrap()[0].is_there);
        assert!(place(&[], State::Empty).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        room(&dir.path().join("a/b"), &[], 1).unwrap();
        let error = room(dir.path(), &[], u64::MAX).unwrap_err().to_string();
        assert!(error.contains("there is room for"), "{error}");
    }
}
