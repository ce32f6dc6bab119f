//! What can go wrong with a repository: which object, what about it, what to do.

use crate::base::class::Class;
use crate::base::id::{ChunkId, PackId, SessionId};
use crate::format::name::CONFIG;
use crate::{crypto, format, storage};

/// A failed repository operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backend failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// An object's bytes do not follow the format.
    #[error("{object} {}: {source}", if source.is_newer() { "cannot be read" } else { "is damaged" })]
    Format {
        /// Its name.
        object: String,
        /// What is wrong.
        source: format::Error,
    },
    /// An object's seal, signature or wrapped key does not hold.
    #[error("{object} is damaged or forged: {source}")]
    Crypto {
        /// Its name.
        object: String,
        /// What is wrong.
        source: crypto::Error,
    },
    /// A value for which the format has no room.
    #[error("the {} cannot be written: {}", .0.what, .0.reason)]
    Unwritable(format::Error),
    /// An object is sealed with keys that this keyring does not have yet, or no longer.
    #[error("{object} is of key epoch {epoch}, which this key does not have")]
    UnknownEpoch {
        /// Its name.
        object: String,
        /// The epoch that its header names.
        epoch: u32,
    },
    /// The spool of received WAL cannot be read or written.
    #[error("the spool file {path} failed: {source}")]
    Spool {
        /// Which file or folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else is at work where only one may be.
    #[error("{what} is in use by another process")]
    InUse {
        /// What.
        what: String,
    },
    /// An object contradicts itself or another.
    #[error("{object} is damaged: {reason}")]
    Damaged {
        /// Its name.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// No configuration object: not a repository.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// Where was looked.
        location: String,
    },
    /// `init` found one already.
    #[error("there is a repository at {location} already")]
    AlreadyThere {
        /// Where.
        location: String,
    },
    /// No keyslot opens with what was given.
    #[error(
        "wrong password or key: none of the {slots} keyslots at {location} opens with it{}",
        if *skipped > 0 { format!("; {skipped} more were not tried") } else { String::new() }
    )]
    WrongKey {
        /// Slots of the repository that were looked at.
        slots: usize,
        /// Those for which no key was derived any more, because so many ask for a passphrase.
        skipped: usize,
        /// Where.
        location: String,
    },
    /// The keyring lacks a key that the operation needs.
    #[error("this key may not {action}: its role is {role}")]
    Denied {
        /// What was asked for.
        action: &'static str,
        /// The role's name.
        role: &'static str,
    },
    /// A snapshot selector matched nothing.
    #[error("no snapshot matches {wanted}")]
    NoSnapshot {
        /// As the user wrote it.
        wanted: String,
    },
    /// A prefix matches several snapshots.
    #[error("{wanted} matches {count} snapshots")]
    Ambiguous {
        /// As the user wrote it.
        wanted: String,
        /// How many.
        count: usize,
    },
    /// The chunk is in no index part.
    #[error("chunk {id} is in no pack that the index knows")]
    MissingChunk {
        /// Which.
        id: ChunkId,
    },
    /// Every copy of the chunk is damaged or unreachable.
    #[error("chunk {id} in pack {pack} cannot be read: {reason}")]
    BadChunk {
        /// Which.
        id: ChunkId,
        /// Where the last copy tried is.
        pack: PackId,
        /// Why.
        reason: String,
    },
    /// The repository is in use by a later version of the program.
    #[error("{object} is of a later version: this program may read the repository but not write to it")]
    Newer {
        /// What showed it.
        object: String,
    },
    /// Another session took this one's name: it was fenced while it slept.
    #[error("session {session} was fenced: it had been silent for so long that its data may be gone")]
    Fenced {
        /// This session.
        session: SessionId,
    },
    /// The root's creation failed in a way that leaves open whether it happened.
    #[error("whether snapshot {session} was made is not known: {source}")]
    Unsure {
        /// The session, and so the snapshot.
        session: SessionId,
        /// How the creation failed.
        source: storage::Error,
    },
    /// A pack that was just written does not read back: a codec bug or bad memory.
    #[error("a pack did not read back as it was written ({reason}); it was not stored")]
    SelfCheck {
        /// What differs.
        reason: String,
    },
    /// The local index cache failed.
    #[error("the index cache {path} failed: {reason}")]
    Cache {
        /// The SQLite file or its folder.
        path: String,
        /// Why.
        reason: String,
    },
    /// Compression or decompression failed.
    #[error("{0}")]
    Codec(String),
    /// Reading the source failed.
    #[error("reading {what} failed: {source}")]
    Source {
        /// What was read.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// Writing what was read failed.
    #[error("writing {what} failed: {source}")]
    Sink {
        /// What was written.
        what: String,
        /// Why.
        source: std::io::Error,
    },
    /// A thread of the pipeline ended without saying why.
    #[error("a worker thread ended unexpectedly")]
    Worker,
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A request that cannot be met as it was put.
    #[error("{0}")]
    Usage(String),
}

/// A value that cannot be written: what is built while storing a list or a tree.
impl From<format::Error> for Error {
    fn from(source: format::Error) -> Self {
        Error::Unwritable(source)
    }
}

impl Error {
    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Error::Storage(source) | Error::Unsure { source, .. } => source.class(),
            Error::Format { source, .. } => source.class(),
            Error::Crypto { source, .. } => source.class(),
            Error::Damaged { .. } | Error::MissingChunk { .. } | Error::BadChunk { .. } => Class::Damaged,
            Error::NoRepository { .. } => Class::NoRepository,
            Error::Unwritable(source) => match source.reason {
                format::Reason::TooLarge { .. } => Class::Usage,
                _ => Class::Internal,
            },
            Error::WrongKey { .. } | Error::UnknownEpoch { .. } => Class::WrongKey,
            Error::Denied { .. } => Class::Denied,
            Error::Fenced { .. } | Error::InUse { .. } => Class::InUse,
            Error::Interrupted => Class::Interrupted,
            Error::Worker => Class::Internal,
            Error::AlreadyThere { .. }
            | Error::Newer { .. }
            | Error::SelfCheck { .. }
            | Error::Cache { .. }
            | Error::Codec(_)
            | Error::Spool { .. }
            | Error::Source { .. }
            | Error::Sink { .. }
            | Error::NoSnapshot { .. } => Class::Failed,
            Error::Ambiguous { .. } | Error::Usage(_) => Class::Usage,
        }
    }

    /// Whether the backend failed, so that nothing is known of the object asked for. An object that is
    /// gone, cut off, larger than it may be or unreadable (a bad sector) is damaged instead, and hides
    /// no other.
    pub fn is_of_backend(&self) -> bool {
        use storage::ErrorKind::{NotFound, Other, TooLarge, Truncated};
        match self {
            Error::Storage(e) => match e.kind {
                NotFound | Truncated | TooLarge => false,
                Other => e.action != "read",
                _ => true,
            },
            _ => false,
        }
    }

    /// Whether the error is about stored data, so that another copy may do, and other objects can be read:
    /// not about the backend, this machine, or the key.
    pub fn is_about_data(&self) -> bool {
        let of_here = matches!(
            self,
            Error::Interrupted
                | Error::Denied { .. }
                | Error::Cache { .. }
                | Error::Source { .. }
                | Error::Spool { .. }
                | Error::InUse { .. }
                | Error::Worker
        );
        !of_here && !self.is_of_backend()
    }

    /// What the error is about, if it is one thing that is stored: mostly an object's name.
    pub fn object(&self) -> Option<&str> {
        match self {
            Error::Storage(e) => Some(&e.object),
            Error::Format { object, .. }
            | Error::Crypto { object, .. }
            | Error::UnknownEpoch { object, .. }
            | Error::Damaged { object, .. } => Some(object),
            Error::NoRepository { .. } => Some(CONFIG),
            _ => None,
        }
    }

    /// A hint for the user, if there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Storage(e) => e.hint(),
            Error::Format { source, .. } => source.hint(),
            Error::NoRepository { .. } => Some("create one with `kamba-vault init`, or check --repo"),
            Error::WrongKey { .. } => Some("check the passphrase and --key-file; capitals and layout count"),
            Error::Unwritable(source) if matches!(source.reason, format::Reason::TooLarge { .. }) => {
                Some("use a shorter name or text")
            }
            Error::UnknownEpoch { .. } => {
                Some("the keys were changed since this key was made, or the object's header is damaged")
            }
            Error::NoSnapshot { .. } | Error::Ambiguous { .. } => Some("`kamba-vault snapshots` lists them"),
            Error::Damaged { .. }
            | Error::Crypto { .. }
            | Error::MissingChunk { .. }
            | Error::BadChunk { .. } => Some("`kamba-vault check --read-data` names all that is hurt"),
            Error::Newer { .. } => Some("use the version that wrote it, or a later one"),
            Error::Unsure { .. } => Some("`kamba-vault snapshots` shows whether it is there"),
            Error::Fenced { .. } => Some("run the same command again: it starts a new session"),
            Error::SelfCheck { .. } => Some("test this machine's memory; nothing stored was harmed"),
            Error::Cache { .. } => {
                Some("the cache can be deleted at any time: it is rebuilt from the repository")
            }
            _ => None,
        }
    }

    /// Turns a format error into one that names its object.
    pub fn format(object: &str) -> impl FnOnce(format::Error) -> Error + '_ {
        move |source| Error::Format { object: object.to_owned(), source }
    }

    /// Turns a crypto error into one that names its object.
    pub fn crypto(object: &str) -> impl FnOnce(crypto::Error) -> Error + '_ {
        move |source| Error::Crypto { object: object.to_owned(), source }
    }

    /// A contradiction in `object`.
    pub fn damaged(object: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Damaged { object: object.into(), reason: reason.into() }
    }
}
