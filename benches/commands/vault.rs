//! The program under test, as whole commands: the release binary that was built with this bench.
//! A key file alone unlocks its repositories, so that no password is stretched at every start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use kamba_vault::base::clock::SystemClock;
use kamba_vault::crypto::SystemRandom;
use kamba_vault::repo::{Credentials, Environment, Repository, read_key_file};
use kamba_vault::storage::Backend;

use crate::measure::{Result, Run, run};

/// How the program is called in the table.
pub const NAME: &str = "kamba-vault";

/// A repository in a folder, with its key and its cache beside it.
pub struct Vault {
    folder: PathBuf,
}

impl Vault {
    /// The repository that was made below `folder`.
    pub fn at(folder: PathBuf) -> Self {
        Vault { folder }
    }

    /// A new repository below `folder`.
    pub fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let vault = Vault::at(folder.to_owned());
        run(Run::new(vault.command(&["init"])))?;
        Ok(vault)
    }

    /// The program on this repository.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kamba-vault"));
        command.arg("--repo").arg(self.repository()).arg("--key-file").arg(self.key_file());
        command.arg("--cache-dir").arg(self.cache()).arg("--no-progress").args(arguments);
        for variable in ["KAMBA_PASSWORD", "KAMBA_PASSWORD_FILE", "KAMBA_PASSWORD_COMMAND", "KAMBA_CONFIG"] {
            command.env_remove(variable);
        }
        // Nor a configuration file of the user's.
        command.env("HOME", &self.folder).env("XDG_CONFIG_HOME", &self.folder);
        command
    }

    /// Where its objects are.
    pub fn repository(&self) -> PathBuf {
        self.folder.join("repository")
    }

    /// Where its index cache is.
    pub fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.join("key")
    }

    /// Opens it through the library, at `backend` and with a cache of its own.
    pub fn open(&self, backend: Arc<dyn Backend>, cache: &Path) -> Result<Repository> {
        let key = read_key_file(&std::fs::read(self.key_file())?)?;
        let credentials = Credentials { passphrase: None, key_file: Some(key) };
        let environment = Environment {
            backend,
            cache_dir: cache.to_owned(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            copies_limit: 0,
        };
        Ok(Repository::open(environment, &credentials)?)
    }
}

/// Bytes of all files below `folder`.
pub fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        size += if about.is_dir() { size_of(&entry.path())? } else { about.len() };
    }
    Ok(size)
}
