//! Where a recovery is to end, in PostgreSQL's terms ("Recovery Target" in its manual).

use std::fmt;

use crate::base::clock::Timestamp;
use crate::ops::restore_pitr::when;
use crate::postgres::lsn::Lsn;

/// Where a recovery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Where the WAL ends.
    Latest,
    /// At the last commit of that time or before.
    Time(Timestamp),
    /// At the first record from this position on.
    Lsn(Lsn),
    /// At the end of this transaction, its number as `pg_current_xact_id` or `txid_current` gives it.
    Xid(u64),
    /// At the point that `pg_create_restore_point` made.
    Name(String),
    /// As soon as the base backup is consistent.
    Immediate,
}

/// Longest name of a restore point (`MAXFNAMELEN` less its zero byte, `xlog_internal.h`).
pub const NAME_MAX: usize = 63;

/// Which timeline the recovery follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimelineWish {
    /// The newest that there is.
    #[default]
    Latest,
    /// The base backup's own.
    Current,
    /// This one.
    Number(u32),
}

/// What the server does when it has come to the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Open for writing, on a new timeline.
    #[default]
    Promote,
    /// Wait, open for reading.
    Pause,
    /// Shut down.
    Shutdown,
}

impl Action {
    /// The value of `recovery_target_action`.
    pub fn setting(self) -> &'static str {
        match self {
            Action::Promote => "promote",
            Action::Pause => "pause",
            Action::Shutdown => "shutdown",
        }
    }
}

impl Target {
    /// The setting that asks for it, with its value; `None` for the end of the WAL.
    pub fn setting(&self) -> Option<(&'static str, String)> {
        match self {
            Target::Latest => None,
            Target::Time(time) => Some(("recovery_target_time", when::postgres(*time))),
            Target::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
            // The WAL has the lower half alone, without the epoch.
            Target::Xid(xid) => Some(("recovery_target_xid", (xid & u64::from(u32::MAX)).to_string())),
            Target::Name(name) => Some(("recovery_target_name", name.clone())),
            Target::Immediate => Some(("recovery_target", "immediate".to_owned())),
        }
    }

    /// Whether the target itself can be left out (`recovery_target_inclusive`).
    pub fn can_be_exclusive(&self) -> bool {
        matches!(self, Target::Time(_) | Target::Lsn(_) | Target::Xid(_))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Latest => write!(f, "the end of the WAL"),
            Target::Time(time) => write!(f, "{}", when::postgres(*time)),
            Target::Lsn(lsn) => write!(f, "position {lsn}"),
            Target::Xid(xid) => write!(f, "transaction {xid}"),
            Target::Name(name) => write!(f, "restore point {name:?}"),
            Target::Immediate => write!(f, "the end of the base backup"),
        }
    }
}
