//! A repository, a place for trees, and the program run by some user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::install::install;
use crate::look::Look;
use crate::maker::{NOBODY, Owner};
use crate::program::{self, Run, Sandbox, wait_for};

/// Where trees are made: the file system of temporary files, and one in memory.
pub fn places() -> Vec<PathBuf> {
    let memory = PathBuf::from("/dev/shm");
    let mut places = vec![std::env::temp_dir()];
    places.extend(memory.is_dir().then_some(memory));
    places
}

/// A repository and a folder for trees.
pub struct Vault {
    sandbox: Sandbox,
    work: tempfile::TempDir,
    user: Owner,
}

impl Vault {
    /// A repository of `user`, and a folder of theirs in `place`.
    pub fn new(place: &Path, user: Owner) -> Self {
        let vault = Vault { sandbox: Sandbox::empty(), work: tempfile::tempdir_in(place).unwrap(), user };
        if user == Owner::Nobody {
            for folder in [vault.sandbox.home.path(), vault.work.path()] {
                std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            // Where it was built, others may not look.
            install(Path::new(env!("CARGO_BIN_EXE_kamba-vault")), &vault.sandbox.path("program"));
        }
        vault.run(&["init"]).text();
        vault
    }

    /// The path of something in the folder for trees.
    pub fn path(&self, name: &str) -> PathBuf {
        self.work.path().canonicalize().unwrap().join(name)
    }

    /// The folder of the repository.
    pub fn path_of_repository(&self) -> PathBuf {
        self.sandbox.path("repository")
    }

    /// The files of the repository.
    pub fn stored(&self) -> usize {
        let data = self.path_of_repository();
        if data.is_dir() { walked(&data) } else { 0 }
    }

    pub fn program(&self) -> Command {
        let mut command = self.sandbox.program();
        if self.user == Owner::Nobody {
            let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
            let environment: Vec<_> = command
                .get_envs()
                .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
                .collect();
            command = Command::new("setpriv");
            command.env_clear().envs(environment).stdin(std::process::Stdio::null());
            command.args(user).arg(self.sandbox.path("program"));
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Run {
        program::finish(self.program().args(args))
    }

    /// Snapshots a tree; what the program says of it.
    pub fn snapshot(&self, tree: &Path) -> Value {
        self.run(&["snapshot", "files", "--json", tree.to_str().unwrap()]).json()
    }

    /// Restores what is at `tree` in a snapshot, to `target`.
    pub fn restore(&self, snapshot: &str, tree: &Path, target: &Path, more: &[&str]) -> Run {
        let from = format!("{snapshot}:{}", tree.to_str().unwrap());
        let args = [
            "restore",
            "files",
            &from,
            "-q",
            "--json",
            "--numeric-ids",
            "--target",
            target.to_str().unwrap(),
        ];
        self.run(&[&args, more].concat())
    }
}

fn walked(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { walked(&entry.path()) } else { 1 }).sum()
}

/// Waits until the last change of what was seen lies so far back that the next one can be told from it.
pub fn settle(look: &Look) {
    let last = look.values().map(|seen| seen.ctime.0).max().unwrap();
    wait_for("the time", || {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 > last + 3
    });
}
