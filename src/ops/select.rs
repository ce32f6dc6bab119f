//! Which snapshot is meant. The command line parses the words (`latest@db=shop`); the meaning is here.

use crate::base::clock::Timestamp;
use crate::base::id::SessionId;
use crate::format::root::SnapshotKind;
use crate::repo::Error;
use crate::repo::roots::Snapshot;

/// Which snapshot is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one whose id begins like this: lower-case hexadecimal.
    Id(String),
    /// The newest of those that match, or one some steps before it.
    Latest {
        /// Steps back from the newest.
        back: u32,
        /// What it has to match.
        filters: Vec<Filter>,
    },
    /// The newest not after a time, of those that match.
    At {
        /// The time.
        time: Timestamp,
        /// What it has to match.
        filters: Vec<Filter>,
    },
}

/// One condition on a snapshot: equal to the value exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A database in the snapshot.
    Db(String),
    /// The host that it was made on.
    Host(String),
    /// One of its tags.
    Tag(String),
    /// Its kind.
    Kind(SnapshotKind),
    /// One of its sources: a path, a stream's name.
    Source(String),
}

impl Filter {
    /// Whether `snapshot` meets the condition.
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        let root = &snapshot.root;
        match self {
            Filter::Db(name) => root.kind == SnapshotKind::Database && root.sources.contains(name),
            Filter::Host(host) => root.host.as_ref() == Some(host),
            Filter::Tag(tag) => root.tags.contains(tag),
            Filter::Kind(kind) => root.kind == *kind,
            Filter::Source(source) => root.sources.contains(source),
        }
    }
}

/// The snapshot that `which` means among `snapshots`, which are ordered by time, oldest first.
/// `wanted` is what the user wrote.
pub fn select<'s>(snapshots: &'s [Snapshot], which: &Which, wanted: &str) -> Result<&'s Snapshot, Error> {
    let none = || Error::NoSnapshot { wanted: wanted.to_owned() };
    let all_match = |filters: &[Filter], s: &Snapshot| filters.iter().all(|f| f.matches(s));
    match which {
        Which::Id(prefix) => {
            let matching = |s: &&Snapshot| id_starts(&s.id, prefix);
            let count = snapshots.iter().filter(matching).count();
            match count {
                0 => Err(none()),
                1 => snapshots.iter().find(matching).ok_or_else(none),
                _ => Err(Error::Ambiguous { wanted: wanted.to_owned(), count }),
            }
        }
        Which::Latest { back, filters } => {
            snapshots.iter().rev().filter(|s| all_match(filters, s)).nth(*back as usize).ok_or_else(none)
        }
        Which::At { time, filters } => {
            let mut older = snapshots.iter().rev().filter(|s| s.root.started <= *time);
            older.find(|s| all_match(filters, s)).ok_or_else(none)
        }
    }
}

fn id_starts(id: &SessionId, prefix: &str) -> bool {
    !prefix.is_empty() && id.to_hex().starts_with(prefix)
}
