//! What can go wrong with PostgreSQL's tools and servers. No message shows a password: none is
//! ever in an argument, and what a tool says of a connection never holds one.

use std::io;

use crate::base::class::Class;
use crate::postgres::version::Version;

/// Why something with PostgreSQL failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection settings make no sense.
    #[error("{place}: {reason}")]
    Settings {
        /// Where they came from: `the connection URL`, `the connection string`.
        place: &'static str,
        /// What is wrong, without any value that could be secret.
        reason: String,
    },
    /// A program was not found.
    #[error("{program} was not found in {places}")]
    Missing {
        /// Its name.
        program: &'static str,
        /// Where it was looked for.
        places: String,
    },
    /// Only programs older than the server, or than the dump, were found.
    #[error("{program} {found} is older than {what} {needed}")]
    TooOld {
        /// Its name.
        program: &'static str,
        /// The newest version found.
        found: Version,
        /// `the server`, `the dump`.
        what: &'static str,
        /// The version it has to reach.
        needed: Version,
    },
    /// No connection to the server.
    #[error("no connection to {server}: {reason}")]
    Connect {
        /// The server, without secrets.
        server: String,
        /// What psql said.
        reason: String,
    },
    /// A program ended badly.
    #[error("{program} {status}{}{stderr}", if stderr.is_empty() { "" } else { ": " })]
    Failed {
        /// Its name.
        program: &'static str,
        /// `ended with status 1`, `was killed by signal 9`.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// A program could not be started, or its pipe or temporary file failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program answered something else than was asked for.
    #[error("PostgreSQL gave a strange answer about {0}")]
    Answer(&'static str),
    /// An option of pg_dump that this program sets itself.
    #[error("the pg_dump option {0} cannot be passed on")]
    Option(String),
    /// A file of roles and tablespaces holds what pg_dumpall does not write.
    #[error("globals.sql holds {0}, which pg_dumpall does not write there")]
    Script(&'static str),
    /// A throwaway cluster cannot run in this folder.
    #[error("no cluster can run in {folder}: {reason}")]
    Folder {
        /// The folder.
        folder: String,
        /// Why.
        reason: String,
    },
    /// PostgreSQL's client library was not found, or cannot be used.
    #[error("{file}, PostgreSQL's client library, cannot be opened: {reason}")]
    NoLibrary {
        /// Its file.
        file: &'static str,
        /// What the system's loader said.
        reason: String,
    },
    /// A variable of the environment would lead a connection elsewhere, and cannot be overruled.
    #[error("the environment variable {variable} would change a connection to a server of our own")]
    Environment {
        /// Its name.
        variable: String,
    },
    /// No replication connection to the server.
    #[error("no replication connection to {server}: {reason}")]
    Replication {
        /// The server, without secrets.
        server: String,
        /// What the client library or the server said.
        reason: String,
    },
    /// An open connection broke.
    #[error("the connection to {server} was lost: {reason}")]
    Lost {
        /// The server, without secrets.
        server: String,
        /// What the client library said.
        reason: String,
    },
    /// The server refused a command, or failed while it did it.
    #[error("the server says to {what}: {message}")]
    Refused {
        /// The command's first word: `BASE_BACKUP`.
        what: String,
        /// Five characters ("PostgreSQL Error Codes" in its manual); empty if the server gave none.
        code: String,
        /// The server's words.
        message: String,
    },
    /// The server is too old for what was asked of it.
    #[error("{what} needs PostgreSQL {needed} or newer, and the server is {found}")]
    OldServer {
        /// What was asked: `a base backup`.
        what: &'static str,
        /// Its version.
        found: Version,
        /// The first version that can do it.
        needed: Version,
    },
    /// A file of a cluster, or what a server sent as one, is not what PostgreSQL writes.
    #[error("{file}: {reason}")]
    File {
        /// Which one: `pg_control`, `backup_label`.
        file: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Error::Settings { .. } | Error::Option(_) | Error::Folder { .. } | Error::Environment { .. } => {
                Class::Usage
            }
            Error::Cancelled => Class::Interrupted,
            Error::Script(_) | Error::File { .. } => Class::Damaged,
            _ => Class::Failed,
        }
    }

    /// A hint for the user, if there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Missing { program: "initdb" | "pg_ctl", .. } => Some(
                "install the server, on Debian with `apt install postgresql`, or name its folder with --pg-bin-dir",
            ),
            Error::Missing { .. } => Some(
                "install the client programs, on Debian with `apt install postgresql-client`, or name their folder with --pg-bin-dir",
            ),
            Error::TooOld { .. } => Some(
                "install client programs of that version or a newer one, or name their folder with --pg-bin-dir",
            ),
            Error::Connect { .. } => Some(
                "check host, port, user and password; passwords come from PGPASSWORD, PGPASSFILE or the URL and are never asked for",
            ),
            Error::NoLibrary { .. } => Some(
                "install it, on Debian with `apt install libpq5`, or name the programs' folder with --pg-bin-dir",
            ),
            Error::Environment { .. } => Some("unset it for this command"),
            Error::Replication { .. } => Some(
                "the user needs the right (`ALTER ROLE name REPLICATION`) and a line for the database `replication` in pg_hba.conf, and the server max_wal_senders above 0; passwords come from PGPASSWORD, PGPASSFILE (database `replication`) or the URL and are never asked for",
            ),
            Error::Refused { code, .. } => refused_hint(code),
            Error::Option(_) => {
                Some("dumps are made in the custom format, without compression, to standard output")
            }
            Error::Folder { .. } => Some("choose another folder for temporary files with TMPDIR"),
            _ => None,
        }
    }

    /// An I/O error with what was tried.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
    /// The server's code for the error, if it was one of the server's ("PostgreSQL Error Codes").
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// What can be done about an error of the server's, where its words do not say it.
fn refused_hint(code: &str) -> Option<&'static str> {
    match code {
        // insufficient_privilege
        "42501" => Some("give the user the right, as a superuser: `ALTER ROLE name REPLICATION`"),
        // undefined_object
        "42704" => Some("the replication slot is gone: make it anew, and a base backup with it"),
        // object_in_use
        "55006" => Some("another receiver uses this slot: `SELECT * FROM pg_replication_slots` shows which"),
        // undefined_file
        "58P01" => Some("the server has removed this WAL: make a new base backup"),
        // configuration_limit_exceeded
        "53400" => Some("raise max_replication_slots or max_wal_senders of the server and restart it"),
        // too_many_connections
        "53300" => Some("raise max_wal_senders of the server and restart it, or end another receiver"),
        _ => None,
    }
}
