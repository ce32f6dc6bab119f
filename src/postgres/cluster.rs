//! A throwaway cluster: a server of its own in a temporary folder, reached through a socket there
//! and by nobody else. For the demo, tests, benchmarks and restore drills.
//!
//! PostgreSQL refuses to run as root, so root hands the folder to another user and starts the
//! server as that one.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::base::clock::Cancel;
use crate::postgres::connect::Settings;
use crate::postgres::error::Error;
use crate::postgres::process::Running;
use crate::postgres::tools::{Program, Tool, Tools};
use crate::postgres::version::Version;

/// Longest path of a socket on Linux (`sockaddr_un`), less the name that the server gives it.
const FOLDER_LEN_MAX: usize = 107 - "/.s.PGSQL.5432".len();

/// Who runs the server when root may not: the user that packages create, else one that is
/// everywhere.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// How a cluster is made.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// Whether the server may forget what it wrote when the machine fails. Much faster.
    pub may_lose_data: bool,
    /// Further lines of `postgresql.conf`: names and values.
    pub settings: Vec<(String, String)>,
}

/// A running cluster. Dropped, it is stopped and deleted.
pub struct Cluster {
    folder: Option<TempDir>,
    path: PathBuf,
    pg_ctl: Tool,
    user: Option<User>,
}

/// The user that runs the server.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// Makes and starts a cluster in a new folder below `parent`.
    pub fn start(tools: &Tools, parent: &Path, options: &ClusterOptions) -> Result<Self, Error> {
        let initdb = tools.any(Program::Initdb)?;
        let pg_ctl = tools.beside(&initdb, Program::PgCtl)?;
        let user =
            if rustix::process::geteuid().is_root() { Some(server_user(tools.cancel())?) } else { None };
        let refuse =
            |reason: &str| Error::Folder { folder: parent.display().to_string(), reason: reason.into() };
        let parent = parent.canonicalize().map_err(|error| refuse(&error.to_string()))?;
        if user.is_some_and(|user| !is_open_to(user, &parent)) {
            return Err(refuse("the user who runs the server cannot reach it"));
        }
        let folder = tempfile::Builder::new()
            .prefix("kamba-pg-")
            .tempdir_in(&parent)
            .map_err(|error| refuse(&error.to_string()))?;
        let path = folder.path().to_owned();
        if path.as_os_str().len() > FOLDER_LEN_MAX {
            return Err(refuse("its path is too long for a socket"));
        }
        if let Some(user) = user {
            chown(&path, Some(user.uid), Some(user.gid)).map_err(|error| refuse(&error.to_string()))?;
        }
        let cluster = Cluster { folder: Some(folder), path, pg_ctl, user };
        cluster.init(&initdb, tools.cancel())?;
        cluster.configure(options)?;
        cluster.boot(tools.cancel())?;
        Ok(cluster)
    }

    /// How to reach its database `postgres`, as its superuser.
    pub fn settings(&self) -> Settings {
        let folder = self.path.to_string_lossy();
        let settings = Settings::new().alone().with_host(&folder).with_port(5432);
        settings.with_user("postgres").with_database("postgres")
    }

    /// Its folder: the data in `data`, the server's messages in `log`, and the socket.
    pub fn folder(&self) -> &Path {
        &self.path
    }

    /// The version of its server.
    pub fn version(&self) -> Version {
        self.pg_ctl.version
    }

    /// The program that stops it: `pg_ctl -D FOLDER/data stop`.
    pub fn pg_ctl(&self) -> &Path {
        &self.pg_ctl.path
    }

    /// Stops it as an administrator would, and deletes it.
    pub fn stop(mut self) -> Result<(), Error> {
        let stopped = self.control("fast");
        let deleted = self.folder.take().map_or(Ok(()), TempDir::close);
        stopped?;
        deleted.map_err(Error::io("deleting a throwaway cluster"))
    }

    /// Kills it as a failing machine would: it leaves everything, and `restart` recovers it.
    pub fn crash(&self) -> Result<(), Error> {
        self.control("immediate")
    }

    /// Starts it again.
    pub fn restart(&self, cancel: &Cancel) -> Result<(), Error> {
        self.boot(cancel)
    }

    /// Leaves it running and in its place. Returns its folder.
    pub fn keep(mut self) -> PathBuf {
        if let Some(folder) = self.folder.take() {
            // The returned path is the one that `path` holds.
            let _ = folder.keep();
        }
        self.path.clone()
    }

    fn init(&self, initdb: &Tool, cancel: &Cancel) -> Result<(), Error> {
        let mut command = self.command(initdb);
        command
            .args(["--username=postgres", "--auth-local=trust", "--auth-host=reject", "--no-sync"])
            // The same everywhere, whatever this machine speaks.
            .args(["--encoding=UTF8", "--locale=C", "--no-instructions"])
            .arg("--pgdata")
            .arg(self.path.join("data"));
        Running::start("initdb", &mut command, cancel)?.wait_for_success().map(drop)
    }

    fn configure(&self, options: &ClusterOptions) -> Result<(), Error> {
        let folder = self.path.to_string_lossy();
        let mut lines = String::from("\n# Set by kamba-vault for a throwaway cluster.\n");
        let mut set = |name: &str, value: &str| {
            lines.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        };
        set("listen_addresses", "");
        set("unix_socket_directories", &folder);
        set("unix_socket_permissions", "0700");
        set("port", "5432");
        if options.may_lose_data {
            for name in ["fsync", "synchronous_commit", "full_page_writes"] {
                set(name, "off");
            }
        }
        for (name, value) in &options.settings {
            set(name, value);
        }
        let file = self.path.join("data/postgresql.conf");
        let what = || Error::io("configuring a throwaway cluster");
        let mut config = std::fs::read_to_string(&file).map_err(what())?;
        config.push_str(&lines);
        std::fs::write(&file, config).map_err(what())
    }

    fn boot(&self, cancel: &Cancel) -> Result<(), Error> {
        let mut command = self.command(&self.pg_ctl);
        command.args(["start", "--wait", "--silent", "--timeout=120", "--log"]).arg(self.path.join("log"));
        command.arg("--pgdata").arg(self.path.join("data"));
        let started = Running::start("pg_ctl", &mut command, cancel)?.wait_for_success();
        started.map(drop).map_err(|error| match error {
            Error::Failed { program, status, stderr } => {
                let log = std::fs::read_to_string(self.path.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(3).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                Error::Failed { program, status, stderr: format!("{stderr} {}", last.join(" ")) }
            }
            other => other,
        })
    }

    fn control(&self, mode: &str) -> Result<(), Error> {
        let mut command = self.command(&self.pg_ctl);
        command.args(["stop", "--wait", "--silent", "--timeout=60"]).arg(format!("--mode={mode}"));
        command.arg("--pgdata").arg(self.path.join("data"));
        // A cancel is no reason to leave a server behind.
        Running::start("pg_ctl", &mut command, &Cancel::new())?.wait_for_success().map(drop)
    }

    /// A command as the server's user, in a folder that this user may read.
    fn command(&self, tool: &Tool) -> Command {
        let mut command = Command::new(&tool.path);
        command.current_dir(&self.path).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.folder.is_some() && self.path.join("data/postmaster.pid").exists() {
            // Nothing can be done about a server that does not stop; its folder goes all the same.
            let _ = self.control("immediate");
        }
    }
}

/// Whether every folder down to this one lets the user through.
fn is_open_to(user: User, folder: &Path) -> bool {
    let lets_through = |m: std::fs::Metadata| {
        m.mode() & 0o001 != 0
            || (m.uid() == user.uid && m.mode() & 0o100 != 0)
            || (m.gid() == user.gid && m.mode() & 0o010 != 0)
    };
    folder.ancestors().all(|folder| folder.metadata().is_ok_and(lets_through))
}

/// The first of `USERS` that this machine knows.
fn server_user(cancel: &Cancel) -> Result<User, Error> {
    for name in USERS {
        if let (Some(uid), Some(gid)) = (id("-u", name, cancel)?, id("-g", name, cancel)?) {
            return Ok(User { uid, gid });
        }
    }
    let status = format!("knows neither {}", USERS.join(" nor "));
    Err(Error::Failed { program: "id", status, stderr: String::new() })
}

/// Asks `id`, which knows users of every source.
fn id(which: &str, user: &str, cancel: &Cancel) -> Result<Option<u32>, Error> {
    let mut command = Command::new("id");
    command.args([which, user]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running::start("id", &mut command, cancel)?;
    let answer = running.answer(100)?;
    let ended = running.wait()?;
    let number = String::from_utf8_lossy(&answer).trim().parse().ok();
    Ok(number.filter(|_| ended.status.success()))
}
