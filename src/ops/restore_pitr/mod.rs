//! `restore pitr`: a whole cluster as it was at any moment, ready to be started. First the [`plan`]: which base
//! backup, which timeline, which WAL, all of it there, and a place to put it; whatever can be refused is refused
//! before a byte is written. Then [`execute()`]: the base backup's files, and settings by which the server
//! itself replays the WAL up to the target when it is started.
//!
//! Until the last step the folder has no `pg_control`, so nobody can start what is half a cluster, and the one
//! that comes then has no usable checkpoint: a server that does not find `backup_label` refuses to start.

pub mod base;
mod execute;
mod leftover;
mod needs;
mod place;
mod plan;
mod settings;
mod shelf;
pub mod target;
mod timeline;
pub mod verify;
pub mod when;

pub use base::{Candidate, Choice};
pub use execute::{Restored, execute};
pub use needs::{Found, Gap, Partial};
pub use place::{MARKER, Placed, State};
pub use plan::{Plan, plan};
pub use target::{Action, Target, TimelineWish};

use std::ffi::OsString;
use std::path::PathBuf;

use crate::base::class::Class;
use crate::base::id::SessionId;
use crate::ops::Error;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct PitrRequest {
    /// The folder to restore to: an absolute path.
    pub target: PathBuf,
    /// Where the recovery ends.
    pub goal: Target,
    /// Whether it ends right before that.
    pub exclusive: bool,
    /// The timeline that it follows.
    pub timeline: TimelineWish,
    /// What the server does then.
    pub action: Action,
    /// The base backup, if it was named.
    pub base: Option<SessionId>,
    /// The cluster, if it was named.
    pub system: Option<u64>,
    /// Folders of tablespaces, by oid.
    pub tablespaces: Vec<(u32, PathBuf)>,
    /// Restore only what differs, over what is there.
    pub delta: bool,
    /// Restore although WAL is missing between what is there.
    pub allow_gap: bool,
    /// Restore over WAL that the repository does not have.
    pub discard_wal: bool,
    /// Owners by number.
    pub numeric_ids: bool,
    /// The words of a command that fetches WAL from this repository, up to `wal fetch`.
    pub fetch: Vec<OsString>,
}

/// A recovery that cannot be as it was asked for, with what to do about it.
fn refused(class: Class, message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::Recovery { class, message: message.into(), hint: hint.into() }
}
