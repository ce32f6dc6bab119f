//! Restoring through pg_restore: from a stream, or from a file with several jobs. pg_restore goes
//! on after most errors and counts them; a restore with any is a failed one.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use tempfile::NamedTempFile;

use crate::base::clock::Cancel;
use crate::postgres::connect::Settings;
use crate::postgres::error::Error;
use crate::postgres::process::Running;
use crate::postgres::tools::Tool;

/// What to restore, and how.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// Only the entries of this list (`Selection::use_list`).
    pub use_list: Option<Vec<u8>>,
    /// Definitions, no rows.
    pub schema_only: bool,
    /// Rows, no definitions.
    pub data_only: bool,
    /// With `data_only`: without checking foreign keys, whose tables may come in any order. Takes
    /// a superuser.
    pub disable_triggers: bool,
    /// Drop what is to be restored first, if it is there. Wants a head from `patch_for_clean`.
    pub clean: bool,
    /// Create the dump's database. The settings name another one to connect to.
    pub create: bool,
    /// Everything or nothing. Not with `create` or several jobs.
    pub single_transaction: bool,
    /// Let everything belong to the user who restores.
    pub no_owner: bool,
    /// Leave out privileges.
    pub no_privileges: bool,
}

impl RestoreOptions {
    fn arguments(&self) -> impl Iterator<Item = &'static str> {
        let flags = [
            (self.schema_only, "--schema-only"),
            (self.data_only, "--data-only"),
            (self.disable_triggers, "--disable-triggers"),
            (self.clean, "--clean"),
            (self.clean, "--if-exists"),
            (self.create, "--create"),
            // A table that could not be created is there already: its rows would be there twice.
            (!self.data_only, "--no-data-for-failed-tables"),
            (self.single_transaction, "--single-transaction"),
            (self.no_owner, "--no-owner"),
            (self.no_privileges, "--no-privileges"),
        ];
        flags.into_iter().filter(|(set, _)| *set).map(|(_, argument)| argument)
    }
}

/// A running restore: write the archive, then `finish`.
pub struct Restore {
    stdin: Option<ChildStdin>,
    running: Running,
    /// Deleted when the restore is over.
    _list: Option<NamedTempFile>,
}

/// Starts a restore of an archive that is written to it. It is read in order and once, so a list
/// must keep the archive's order. `temp` is a folder for the list.
pub fn restore_stream(
    pg_restore: &Tool,
    settings: &Settings,
    options: &RestoreOptions,
    temp: &Path,
    cancel: &Cancel,
) -> Result<Restore, Error> {
    start(pg_restore, settings, options, (Stdio::piped(), &[]), temp, cancel)
}

/// The standard input of a process as a file that it can open again, each time at its beginning.
const STDIN_FILE: &str = "/proc/self/fd/0";

/// Restores an archive from a file, with several jobs at once. Returns pg_restore's warnings. The
/// file needs no name: one without leaves nothing behind, whatever happens.
pub fn restore_file(
    pg_restore: &Tool,
    settings: &Settings,
    options: &RestoreOptions,
    archive: File,
    jobs: NonZeroU32,
    temp: &Path,
    cancel: &Cancel,
) -> Result<String, Error> {
    let arguments = [format!("--jobs={jobs}"), "--".into(), STDIN_FILE.into()];
    start(pg_restore, settings, options, (archive.into(), &arguments), temp, cancel)?.finish()
}

fn start(
    pg_restore: &Tool,
    settings: &Settings,
    options: &RestoreOptions,
    (stdin, last_arguments): (Stdio, &[String]),
    temp: &Path,
    cancel: &Cancel,
) -> Result<Restore, Error> {
    let mut command = Command::new(&pg_restore.path);
    command
        .args(["--format=custom", "--no-password"])
        .arg(format!("--dbname={}", settings.connection_string()))
        .args(options.arguments());
    let list = match &options.use_list {
        Some(list) => {
            let file = list_file(list, temp).map_err(Error::io("writing the list for pg_restore"))?;
            command.arg("--use-list").arg(file.path());
            Some(file)
        }
        None => None,
    };
    command.args(last_arguments).stdin(stdin).stdout(Stdio::null());
    settings.apply(&mut command);
    let mut running = Running::start("pg_restore", &mut command, cancel)?;
    Ok(Restore { stdin: running.stdin(), running, _list: list })
}

fn list_file(list: &[u8], temp: &Path) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("kamba-vault-list-").tempfile_in(temp)?;
    file.write_all(list)?;
    Ok(file)
}

impl Restore {
    /// Ends the archive and waits for pg_restore. Fails if it counted any error; returns its
    /// warnings. When a write failed before, this says why.
    pub fn finish(mut self) -> Result<String, Error> {
        drop(self.stdin.take());
        Ok(self.running.wait_for_success()?.stderr)
    }
}

impl Write for Restore {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.stdin {
            Some(stdin) => stdin.write(buf),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
