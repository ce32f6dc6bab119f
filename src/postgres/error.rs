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
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Error::Settings { .. } | Error::Option(_) | Error::Folder { .. } => Class::Usage,
            Error::Cancelled => Class::Interrupted,
            Error::Script(_) => Class::Damaged,
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
}
