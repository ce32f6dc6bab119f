//! What can go wrong with a command as a whole.

use crate::base::class::Class;
use crate::{files, postgres, repo, storage};

/// A failed command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository.
    #[error(transparent)]
    Repo(#[from] repo::Error),
    /// PostgreSQL or one of its tools.
    #[error(transparent)]
    Postgres(#[from] postgres::error::Error),
    /// Writing to the live file tree.
    #[error(transparent)]
    Write(#[from] files::write::Error),
    /// The live file tree.
    #[error(transparent)]
    Files(#[from] files::Error),
    /// A command whose output was to be snapshotted.
    #[error("no snapshot was made: {command} {how}{stderr}")]
    Command {
        /// The program.
        command: String,
        /// How it ended: `exited with status 3`, `was killed by signal 9`.
        how: String,
        /// The end of what it said, or nothing.
        stderr: String,
    },
    /// A command whose output was to be snapshotted could not be started.
    #[error("{command} cannot be started: {source}")]
    Start {
        /// The program.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// A source that gave nothing.
    #[error("no snapshot was made: {name} gave no output")]
    Empty {
        /// The stream.
        name: String,
    },
    /// The parts of a dump do not rejoin to it.
    #[error("no snapshot was made: the parts of the dump of {database} do not rejoin to its bytes")]
    Proof {
        /// The database.
        database: String,
    },
    /// A dump is not whole, or was not taken apart right.
    #[error("no snapshot was made: {reason}")]
    Split {
        /// What is wrong.
        reason: String,
    },
    /// What a server sent is no whole base backup.
    #[error("no snapshot was made: the base backup is not whole: {reason}")]
    BaseBackup {
        /// What is wrong.
        reason: String,
    },
    /// A restored database differs from the snapshot.
    #[error("{database} does not match the snapshot: {} other row counts", counted(*count as u64, "table has", "tables have"))]
    Mismatch {
        /// The database restored into.
        database: String,
        /// Tables that differ.
        count: usize,
    },
    /// A database to restore into that holds something already.
    #[error("{database} is not empty: it has {}{example}", counted(*objects, "object", "objects"))]
    NotEmpty {
        /// The database.
        database: String,
        /// How many tables, views, sequences and large objects.
        objects: u64,
        /// `, public.orders among them`, or nothing.
        example: String,
    },
    /// A request that cannot be met as it was put.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// What to do instead.
        hint: Option<&'static str>,
    },
    /// There is nothing at that path of the snapshot.
    #[error("{snapshot} has no {path}")]
    NoPath {
        /// The snapshot.
        snapshot: String,
        /// The path.
        path: String,
    },
    /// A file of WAL that is refused.
    #[error("{message}")]
    Wal {
        /// Which, and why.
        message: String,
        /// What to do, if that is known.
        hint: Option<&'static str>,
    },
    /// A recovery of a cluster that cannot be as it was asked for.
    #[error("{message}")]
    Recovery {
        /// What a caller can do about it.
        class: Class,
        /// What stands in its way.
        message: String,
        /// What to do; perhaps empty.
        hint: String,
    },
    /// Reading a source failed.
    #[error("reading {path} failed: {source}")]
    Input {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Writing output failed.
    #[error("writing {what} failed: {source}")]
    Output {
        /// What was written.
        what: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A number with the form of the words that goes with it.
fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

impl From<storage::Error> for Error {
    fn from(e: storage::Error) -> Self {
        Error::Repo(e.into())
    }
}

impl Error {
    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Error::Repo(e) => e.class(),
            Error::Postgres(e) => e.class(),
            Error::Files(e) => e.class(),
            Error::Write(e) => e.class(),
            Error::Mismatch { .. } => Class::Damaged,
            Error::Recovery { class, .. } => *class,
            Error::Usage { .. } | Error::NotEmpty { .. } => Class::Usage,
            Error::Proof { .. } => Class::Internal,
            Error::Command { .. }
            | Error::Start { .. }
            | Error::Split { .. }
            | Error::BaseBackup { .. }
            | Error::Empty { .. }
            | Error::NoPath { .. }
            | Error::Wal { .. }
            | Error::Input { .. }
            | Error::Output { .. } => Class::Failed,
        }
    }

    /// A hint for the user, if there is one.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::Repo(e) => e.hint(),
            Error::Files(e) => e.hint(),
            Error::Postgres(e) => e.hint(),
            Error::Write(e) => e.hint(),
            Error::Empty { .. } => Some("if nothing is what you expect, pass --allow-empty"),
            Error::NotEmpty { .. } => Some(
                "restore into a new database with --create, drop what is there with --clean, or say --yes",
            ),
            Error::Usage { hint, .. } | Error::Wal { hint, .. } => *hint,
            Error::Recovery { hint, .. } => Some(hint.as_str()).filter(|hint| !hint.is_empty()),
            Error::NoPath { .. } => Some("`kamba-vault ls SNAPSHOT` shows what is in it"),
            Error::Mismatch { .. } => Some("the table above says which; the snapshot itself is unharmed"),
            _ => None,
        }
    }
}
