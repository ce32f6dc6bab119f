//! Why nothing is mounted.

use std::io;
use std::path::PathBuf;

use crate::base::class::Class;
use crate::ops;

/// Why a mount could not be made, or not be ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository.
    #[error(transparent)]
    Ops(#[from] ops::Error),
    /// The folder to mount on is none that can be used.
    #[error("{} {reason}", path.display())]
    Place {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The folder to mount on cannot be looked at.
    #[error("cannot look at {}: {source}", path.display())]
    Look {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot mount on {}: {source}", path.display())]
    Refused {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The mount ended by itself.
    #[error("the mount on {} ended: {source}", path.display())]
    Ended {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Error::Ops(error) => error.class(),
            Error::Place { .. } => Class::Usage,
            Error::Look { .. } | Error::Refused { .. } | Error::Ended { .. } => Class::Failed,
        }
    }

    /// What the user could try, without a full stop.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::Ops(error) => error.hint(),
            Error::Place { hint, .. } => Some(hint),
            Error::Refused { source, .. } => Some(refused_hint(source)),
            Error::Look { .. } | Error::Ended { .. } => None,
        }
    }
}

fn refused_hint(source: &io::Error) -> &'static str {
    let text = source.to_string();
    if text.contains("user_allow_other") {
        return "write the line user_allow_other into /etc/fuse.conf, or leave out --allow-other";
    }
    match source.kind() {
        io::ErrorKind::NotFound => {
            "FUSE is missing: `modprobe fuse` loads it, and the package fuse3 has fusermount3 for users other \
             than root; without it, `kamba-vault export` and `restore files` give the same files"
        }
        _ => "users other than root need the package fuse3, and the folder must be theirs",
    }
}
