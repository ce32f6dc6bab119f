//! PostgreSQL's own programs: where they are and whether they are new enough. pg_dump refuses a
//! server newer than itself, and pg_restore an archive newer than itself, so both are chosen by
//! version before anything is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::clock::Cancel;
use crate::postgres::error::Error;
use crate::postgres::process::Running;
use crate::postgres::version::Version;

/// Folders that hold a folder of programs per version: Debian, Red Hat, Homebrew on two kinds of
/// Mac, and PostgreSQL's own default. The part with `*` is searched.
const HOMES: [&str; 5] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
];

/// One of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Makes dumps.
    PgDump,
    /// Dumps roles and tablespaces.
    PgDumpall,
    /// Restores dumps.
    PgRestore,
    /// Asks questions.
    Psql,
    /// Makes a cluster.
    Initdb,
    /// Starts and stops one.
    PgCtl,
    /// Checks tables and indexes.
    PgAmcheck,
}

impl Program {
    /// The name of its file.
    pub fn name(self) -> &'static str {
        match self {
            Program::PgDump => "pg_dump",
            Program::PgDumpall => "pg_dumpall",
            Program::PgRestore => "pg_restore",
            Program::Psql => "psql",
            Program::Initdb => "initdb",
            Program::PgCtl => "pg_ctl",
            Program::PgAmcheck => "pg_amcheck",
        }
    }
}

/// A program that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// What it is.
    pub program: Program,
    /// Its file.
    pub path: PathBuf,
    /// What it says it is.
    pub version: Version,
}

/// Where programs are looked for.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    folder: Option<PathBuf>,
    path: Vec<PathBuf>,
    cancel: Cancel,
}

impl Tools {
    /// Programs of `folder` alone, if one is given; else those in `path` (the variable PATH),
    /// then those in the usual places.
    pub fn new(folder: Option<PathBuf>, path: Option<OsString>, cancel: &Cancel) -> Self {
        let path = path.map(|path| split_path(&path)).unwrap_or_default();
        Tools { folder, path, cancel: cancel.clone() }
    }

    /// What ends the programs that are started.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The folder that was named as the only one.
    pub fn named_folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Every folder in which programs are looked for, in that order.
    pub fn folders(&self) -> Vec<PathBuf> {
        match &self.folder {
            Some(folder) => vec![folder.clone()],
            None => self.path.iter().cloned().chain(homes()).collect(),
        }
    }

    /// Finds a program: the first in PATH, whatever its version.
    pub fn any(&self, program: Program) -> Result<Tool, Error> {
        self.find(program, "any version", Version(0))
    }

    /// Finds a program that is not older than `needed`, the version of `what` (`the server`): the
    /// first in PATH if it will do, else the newest.
    pub fn find(&self, program: Program, what: &'static str, needed: Version) -> Result<Tool, Error> {
        let will_do = |tool: &Tool| tool.version.major() >= needed.major();
        let mut found: Vec<Tool> = Vec::new();
        let mut failure = None;
        let mut take = |folder: &Path| match self.probe(program, folder) {
            Some(Ok(tool)) => Some(tool),
            Some(Err(error)) => {
                failure.get_or_insert(error);
                None
            }
            None => None,
        };
        for folder in self.folder.as_ref().map_or(&self.path[..], std::slice::from_ref) {
            match take(folder) {
                Some(tool) if will_do(&tool) => return Ok(tool),
                Some(tool) => found.push(tool),
                None => {}
            }
        }
        if self.folder.is_none() {
            found.extend(homes().iter().filter_map(|folder| take(folder)));
        }
        match found.into_iter().max_by_key(|tool| tool.version) {
            Some(tool) if will_do(&tool) => Ok(tool),
            Some(tool) => Err(Error::TooOld { program: program.name(), found: tool.version, what, needed }),
            None => Err(failure.unwrap_or_else(|| self.missing(program))),
        }
    }

    /// Finds the program that was installed with another.
    pub fn beside(&self, tool: &Tool, program: Program) -> Result<Tool, Error> {
        let folder = tool.path.parent().unwrap_or(Path::new("/"));
        let missing = || Error::Missing { program: program.name(), places: folder.display().to_string() };
        self.probe(program, folder).unwrap_or_else(|| Err(missing()))
    }

    /// The program in a folder, asked for its version; `None` if it is not there.
    fn probe(&self, program: Program, folder: &Path) -> Option<Result<Tool, Error>> {
        let path = folder.join(program.name());
        path.is_file().then(|| {
            let version = self.version(program, &path)?;
            Ok(Tool { program, path, version })
        })
    }

    fn version(&self, program: Program, path: &Path) -> Result<Version, Error> {
        let mut command = Command::new(path);
        command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running::start(program.name(), &mut command, &self.cancel)?;
        let answer = running.answer(1 << 10)?;
        running.wait_for_success()?;
        Version::parse(&String::from_utf8_lossy(&answer)).ok_or(Error::Answer("its version"))
    }

    fn missing(&self, program: Program) -> Error {
        let places = match &self.folder {
            Some(folder) => folder.display().to_string(),
            None => format!("PATH or {}", HOMES[0]),
        };
        Error::Missing { program: program.name(), places }
    }
}

/// The folders of a PATH variable. Empty ones, which mean the current folder, are left out.
fn split_path(path: &OsString) -> Vec<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let folders = path.as_bytes().split(|b| *b == b':').filter(|folder| !folder.is_empty());
    folders.map(|folder| PathBuf::from(std::ffi::OsStr::from_bytes(folder))).collect()
}

/// The usual places that exist.
fn homes() -> Vec<PathBuf> {
    let mut homes = Vec::new();
    for pattern in HOMES {
        let Some((before, after)) = pattern.split_once('*') else {
            homes.push(PathBuf::from(pattern));
            continue;
        };
        let Some((folder, prefix)) = before.rsplit_once('/') else { continue };
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut names: Vec<OsString> = entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        names.sort();
        for name in names.iter().filter_map(|name| name.to_str()).filter(|name| name.starts_with(prefix)) {
            homes.push(PathBuf::from(format!("{folder}/{name}{after}")));
        }
    }
    homes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::{Program, Tools};
    use crate::base::clock::Cancel;
    use crate::postgres::error::Error;
    use crate::postgres::version::Version;

    /// A pg_dump that says it is of this version.
    fn fake(folder: &Path, version: &str) {
        std::fs::create_dir_all(folder).unwrap();
        let text = folder.join("text");
        std::fs::write(&text, format!("#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}'\n")).unwrap();
        // Another process writes what is started: ours may be copied by a test beside this one while it has
        // the file open for writing, and the kernel does not start such a file.
        let mut install = std::process::Command::new("install");
        assert!(install.args(["-m", "755"]).args([text, folder.join("pg_dump")]).status().unwrap().success());
    }

    #[test]
    fn the_first_in_path_that_is_new_enough_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        fake(&old, "12.4");
        fake(&new, "99.1 (Somewhere)");
        let path = std::ffi::OsString::from(format!("/nowhere::{}:{}", old.display(), new.display()));
        let tools = Tools::new(None, Some(path), &Cancel::new());
        assert_eq!(tools.any(Program::PgDump).unwrap().path, old.join("pg_dump"));
        let needed = |n| tools.find(Program::PgDump, "the server", Version(n));
        assert_eq!(needed(120_022).unwrap().path, old.join("pg_dump"), "a later minor release will do");
        assert_eq!(needed(980_000).unwrap().path, new.join("pg_dump"));
        let error = needed(1_000_000).unwrap_err();
        assert_eq!(error.to_string(), "pg_dump 99.1 is older than the server 100.0");
        assert!(error.hint().unwrap().contains("--pg-bin-dir"));
    }

    #[test]
    fn a_folder_that_is_named_is_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), "12.4");
        let tools = Tools::new(Some(dir.path().to_owned()), Some("/usr/bin".into()), &Cancel::new());
        let error = tools.find(Program::PgDump, "the server", Version(150_018)).unwrap_err();
        assert_eq!(error.to_string(), "pg_dump 12.4 is older than the server 15.18");
        let error = tools.any(Program::Psql).unwrap_err();
        assert!(matches!(error, Error::Missing { program: "psql", .. }), "{error}");
    }
}
