//! The environment and what else a process finds out about itself: the only place that reads it.
//! Everything else is told what it needs, so tests can hand in an environment of their own.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::base::secret::PASSWORD_VARIABLE;
use crate::cli::exit::Failure;

/// The repository's URL.
pub const REPO: &str = "KAMBA_REPO";
/// The passphrase itself.
pub const PASSWORD: &str = PASSWORD_VARIABLE;
/// A file whose first line is the passphrase.
pub const PASSWORD_FILE: &str = "KAMBA_PASSWORD_FILE";
/// A command that prints the passphrase.
pub const PASSWORD_COMMAND: &str = "KAMBA_PASSWORD_COMMAND";
/// A key file.
pub const KEY_FILE: &str = "KAMBA_KEY_FILE";
/// Where the index cache lives.
pub const CACHE_DIR: &str = "KAMBA_CACHE_DIR";
/// How large the base cache may get.
pub const BASE_CACHE: &str = "KAMBA_BASE_CACHE";
/// Where received WAL waits for the repository.
pub const SPOOL_DIR: &str = "KAMBA_SPOOL_DIR";
/// The configuration file.
pub const CONFIG: &str = "KAMBA_CONFIG";
/// A PostgreSQL connection URL.
pub const DATABASE_URL: &str = "DATABASE_URL";

/// This process's arguments, its own name first.
pub fn arguments() -> Vec<OsString> {
    std::env::args_os().collect()
}

type Lookup = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// What a process finds around itself.
pub struct Environment {
    get: Box<Lookup>,
}

impl std::fmt::Debug for Environment {
    // Its values may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment(…)")
    }
}

impl Environment {
    /// This process's environment.
    pub fn of_process() -> Self {
        Environment { get: Box::new(|name| std::env::var_os(name)) }
    }

    /// An environment of just these variables.
    #[cfg(test)]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        let pairs: std::collections::HashMap<String, OsString> =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
        Environment { get: Box::new(move |name| pairs.get(name).cloned()) }
    }

    /// A variable's value; set but empty counts as unset, as the shell's `VAR= command` means it.
    pub fn raw(&self, name: &str) -> Option<OsString> {
        (self.get)(name).filter(|value| !value.is_empty())
    }

    /// A variable as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    /// A variable as text. Its value does not show in the error: it may be secret.
    pub fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        self.raw(name)
            .map(|value| value.into_string().map_err(|_| Failure::usage(format!("{name} is not UTF-8"))))
            .transpose()
    }

    /// The folder for configuration below the user's home (XDG base directory specification).
    pub fn user_config_dir(&self) -> Option<PathBuf> {
        self.user_dir("XDG_CONFIG_HOME", ".config")
    }

    /// The folder for caches below the user's home, likewise.
    pub fn user_cache_dir(&self) -> Option<PathBuf> {
        self.user_dir("XDG_CACHE_HOME", ".cache")
    }

    /// The folder for what a program must not lose, below the user's home.
    pub fn user_state_dir(&self) -> Option<PathBuf> {
        self.user_dir("XDG_STATE_HOME", ".local/state")
    }

    /// Whether this process may do everything.
    pub fn is_root(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    /// This machine's name (uname(2)).
    pub fn host(&self) -> String {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }

    /// The user's name as the login left it.
    pub fn user(&self) -> Option<String> {
        let name = self.raw("USER").or_else(|| self.raw("LOGNAME"))?;
        Some(name.to_string_lossy().into_owned())
    }

    /// The variable that says where programs are looked for.
    pub fn search_path(&self) -> Option<OsString> {
        self.raw("PATH")
    }

    /// Whether a program of this name is found there.
    pub fn in_path(&self, program: &str) -> bool {
        let path = self.search_path().unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    }

    /// The folder for temporary files.
    pub fn temp_dir(&self) -> PathBuf {
        self.path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"))
    }

    /// The file of this very program.
    pub fn program(&self) -> Result<PathBuf, Failure> {
        std::env::current_exe().map_err(|e| Failure::io("find this program's own file", &e))
    }

    fn user_dir(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        // The specification: a relative path in these variables is invalid and to be ignored.
        let named = self.path(variable).filter(|path| path.is_absolute());
        named.or_else(|| self.path("HOME").map(|home| home.join(below_home)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn empty_is_unset_and_relative_xdg_folders_are_ignored() {
        let env = Environment::of(&[(REPO, ""), ("HOME", "/home/u"), ("XDG_CACHE_HOME", "tmp")]);
        assert_eq!(env.text(REPO).unwrap(), None);
        assert_eq!(env.user_cache_dir().unwrap(), PathBuf::from("/home/u/.cache"));
        let env = Environment::of(&[("XDG_CACHE_HOME", "/c")]);
        assert_eq!(env.user_cache_dir().unwrap(), PathBuf::from("/c"));
        assert_eq!(env.user_config_dir(), None);
    }

    #[test]
    fn a_secret_shows_neither_in_errors_nor_in_debug() {
        use std::os::unix::ffi::OsStringExt;
        let env = Environment { get: Box::new(|_| Some(OsString::from_vec(b"hunter2\xff".to_vec()))) };
        let failure = env.text(PASSWORD).unwrap_err();
        assert!(!failure.render().contains("hunter2"));
        assert!(!format!("{env:?}").contains("hunter2"));
    }
}
