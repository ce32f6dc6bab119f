//! A restored cluster, started only to be looked at: on a socket in a private folder, for nobody else; without
//! archiving, so that no WAL of a trial gets among the real ones; and it never opens for writing. Stopped again,
//! it is as ready to be started for good as it was.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::base::clock::Cancel;
use crate::postgres::connect::Settings;
use crate::postgres::error::Error;
use crate::postgres::process::Running;
use crate::postgres::tools::{Program, Tool, Tools};
use crate::postgres::version::Version;

/// The file that keeps a server waiting for more WAL instead of opening where it ends.
const STANDBY_SIGNAL: &str = "standby.signal";
/// The cluster's settings, unless it keeps them elsewhere.
const CONFIG: &str = "postgresql.conf";
/// Settings for a cluster that keeps its own elsewhere, as Debian's do. A server that recovers must allow for as
/// many of everything as the one that wrote the WAL did (`CheckRequiredParameterValues` in `xlogrecovery.c`),
/// so these are far above what is usual.
const SETTINGS: &str = "max_connections = 1000\nmax_worker_processes = 256\nmax_wal_senders = 256\n\
    max_prepared_transactions = 1000\nmax_locks_per_transaction = 256\n";
/// The file that a server's process makes first of all.
const PID_FILE: &str = "postmaster.pid";
/// How often it is looked for.
const TICK: Duration = Duration::from_millis(50);
/// How often, before a server that says nothing counts as gone, and one that has said something and no more.
const TICKS: (u32, u32) = (1200, 100);
/// Lines of the server's messages that an error shows.
const LOG_LINES: usize = 4;

/// How the cluster is started.
#[derive(Clone, Debug)]
pub struct Look<'a> {
    /// Its folder.
    pub data: &'a Path,
    /// Its server's version.
    pub version: Version,
    /// Whether it would open where the WAL ends, having no target: then it waits there.
    pub waits_at_the_end: bool,
    /// A folder for the socket and the server's messages.
    pub temp: &'a Path,
    /// The superuser.
    pub role: &'a str,
}

/// The running server. Dropped, it is stopped.
pub struct Recovering {
    data: PathBuf,
    private: TempDir,
    pg_ctl: Tool,
    owner: Option<(u32, u32)>,
    role: String,
    has_signal: bool,
    is_over: bool,
}

impl Recovering {
    /// Starts it. It need not be reachable yet, but its process is there, or has said why it is not.
    pub fn start(tools: &Tools, look: &Look<'_>) -> Result<Self, Error> {
        let pg_ctl = tools.find(Program::PgCtl, "the cluster", look.version)?;
        let refuse =
            |folder: &Path, reason: String| Error::Folder { folder: folder.display().to_string(), reason };
        if pg_ctl.version.major() != look.version.major() {
            let reason = format!("it is of PostgreSQL {}, and pg_ctl of {}", look.version, pg_ctl.version);
            return Err(refuse(look.data, reason));
        }
        let owner = look.data.metadata().map_err(|error| refuse(look.data, error.to_string()))?;
        if owner.uid() == 0 {
            let reason = "it belongs to root, as whom no server runs: give it to its user with chown -R";
            return Err(refuse(look.data, reason.to_owned()));
        }
        let owner = rustix::process::geteuid().is_root().then(|| (owner.uid(), owner.gid()));
        let private = tempfile::Builder::new().prefix("kamba-look-").tempdir_in(look.temp);
        let private = private.map_err(|error| refuse(look.temp, error.to_string()))?;
        std::fs::write(private.path().join("pg_hba.conf"), "local all all trust\n")
            .and_then(|()| std::fs::write(private.path().join(CONFIG), SETTINGS))
            .and_then(|()| match owner {
                Some((uid, gid)) => chown(private.path(), Some(uid), Some(gid)),
                None => Ok(()),
            })
            .map_err(|error| refuse(private.path(), error.to_string()))?;
        let mut server = Recovering {
            data: look.data.to_owned(),
            private,
            pg_ctl,
            owner,
            role: look.role.to_owned(),
            has_signal: false,
            is_over: false,
        };
        if look.waits_at_the_end {
            let file = look.data.join(STANDBY_SIGNAL);
            std::fs::write(&file, "").map_err(|error| refuse(look.data, error.to_string()))?;
            server.has_signal = true;
            if let Some((uid, gid)) = owner {
                chown(&file, Some(uid), Some(gid)).map_err(|error| refuse(look.data, error.to_string()))?;
            }
        }
        server.boot(tools.cancel())?;
        Ok(server)
    }

    /// How to reach it.
    pub fn settings(&self) -> Settings {
        let settings = Settings::new().alone().with_host(&self.private.path().to_string_lossy());
        settings.with_port(5432).with_user(&self.role).with_database("postgres")
    }

    /// Whether its process is there.
    pub fn is_running(&self) -> bool {
        self.data.join(PID_FILE).exists()
    }

    /// The last of its messages.
    pub fn last_words(&self) -> String {
        let log = std::fs::read(self.private.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join(" | ")
    }

    /// The program that checks relations, if it was installed with the server.
    pub fn amcheck(&self, tools: &Tools) -> Option<Tool> {
        tools.beside(&self.pg_ctl, Program::PgAmcheck).ok()
    }

    /// Stops it, and leaves the folder as it was to be started.
    pub fn stop(mut self) -> Result<(), Error> {
        self.halt()
    }

    fn boot(&self, cancel: &Cancel) -> Result<(), Error> {
        let private = self.private.path().to_string_lossy();
        let settings = [
            ("listen_addresses", ""),
            ("unix_socket_directories", &*private),
            ("unix_socket_permissions", "0700"),
            ("port", "5432"),
            ("hba_file", &*format!("{private}/pg_hba.conf")),
            ("archive_mode", "off"),
            ("hot_standby", "on"),
            ("recovery_target_action", "pause"),
            ("wal_retrieve_retry_interval", "500ms"),
            ("ssl", "off"),
            ("logging_collector", "off"),
            ("log_destination", "stderr"),
        ];
        // pg_ctl hands them to a shell.
        let config = format!("{private}/{CONFIG}");
        let elsewhere = (!self.data.join(CONFIG).exists()).then_some(("config_file", &*config));
        let options: Vec<String> = settings
            .iter()
            .chain(&elsewhere)
            .map(|(name, value)| format!("-c {name}='{}'", value.replace('\'', "'\\''")))
            .collect();
        let mut command = self.command();
        command.args(["start", "--no-wait", "--silent", "--log"]).arg(self.private.path().join("log"));
        command.arg("--options").arg(options.join(" "));
        Running::start("pg_ctl", &mut command, cancel)?.wait_for_success()?;
        self.wait_for_process(cancel)
    }

    /// pg_ctl returns before the server's process has begun, which takes a while on a busy machine.
    fn wait_for_process(&self, cancel: &Cancel) -> Result<(), Error> {
        let (mut silent, mut said) = (0, 0);
        for _ in 0..TICKS.0 {
            if self.is_running() || silent >= TICKS.1 {
                break;
            }
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            std::thread::sleep(TICK);
            let log = self.private.path().join("log").metadata().map_or(0, |log| log.len());
            silent = if log > 0 && log == said { silent + 1 } else { 0 };
            said = log;
        }
        Ok(())
    }

    fn halt(&mut self) -> Result<(), Error> {
        if self.is_over {
            return Ok(());
        }
        self.is_over = true;
        let mut command = self.command();
        command.args(["stop", "--wait", "--silent", "--timeout=600", "--mode=fast"]);
        let stopped = match self.is_running() {
            // A cancel is no reason to leave a server behind.
            true => Running::start("pg_ctl", &mut command, &Cancel::new())?.wait_for_success().map(drop),
            false => Ok(()),
        };
        if self.has_signal {
            let gone = std::fs::remove_file(self.data.join(STANDBY_SIGNAL));
            gone.map_err(Error::io(format!("removing {STANDBY_SIGNAL}")))?;
        }
        stopped
    }

    /// pg_ctl as the folder's owner.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.pg_ctl.path);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        command.arg("--pgdata").arg(&self.data);
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Recovering {
    fn drop(&mut self) {
        // Nothing can be done here about a server that does not stop.
        let _ = self.halt();
    }
}
