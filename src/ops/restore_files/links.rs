//! Names of one file that has several. The first name that the walk meets becomes the file; the others
//! become links to it. Where that file is, is remembered for each group in a table that spills to
//! disk; names that come while it is still being written wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::files::write::Identity;
use crate::format::node::Node;
use crate::ops::restore_files::report::Action;
use crate::ops::restore_files::write::{FolderWork, Job};
use crate::repo::Error;
use crate::repo::index::Spill;

/// Names that may wait, all in all: each may hold a folder open.
const WAITING_MAX: usize = 128;

/// How often a wait looks whether everything stops.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the first name of a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct First {
    /// Absent in a dry run, while the file is not there.
    pub(super) identity: Option<Identity>,
    /// Its path from the target.
    pub(super) path: Vec<u8>,
}

impl First {
    /// Folder and name.
    pub(super) fn split(&self) -> (&[u8], &[u8]) {
        match self.path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&self.path[..at], &self.path[at + 1..]),
            None => (b"", &self.path),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let (device, inode) = self.identity.map_or((0, 0), |identity| (identity.device, identity.inode));
        let mut value = vec![u8::from(self.identity.is_some())];
        value.extend_from_slice(&device.to_le_bytes());
        value.extend_from_slice(&inode.to_le_bytes());
        value.extend_from_slice(&self.path);
        value
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (there, rest) = value.split_first()?;
        let (device, rest) = rest.split_first_chunk()?;
        let (inode, path) = rest.split_first_chunk()?;
        let identity = Identity { device: u64::from_le_bytes(*device), inode: u64::from_le_bytes(*inode) };
        Some(First { identity: (*there == 1).then_some(identity), path: path.to_vec() })
    }
}

/// A further name.
pub(super) struct Member {
    pub(super) folder: Arc<FolderWork>,
    pub(super) node: Node,
    pub(super) path: Vec<u8>,
    pub(super) action: Action,
}

/// What is known of a name's group.
pub(super) enum Known {
    /// Nothing: this is its first name.
    New,
    /// The file is there.
    There(First),
    /// It is being written; the member waits in the table.
    Waits,
}

/// All groups.
pub(super) struct Links {
    groups: Mutex<Groups>,
    done: Condvar,
}

struct Groups {
    there: Spill,
    writing: HashMap<Vec<u8>, Vec<Member>>,
    waiting: usize,
}

impl Links {
    pub(super) fn new() -> Result<Self, Error> {
        let groups = Groups { there: Spill::new()?, writing: HashMap::new(), waiting: 0 };
        Ok(Links { groups: Mutex::new(groups), done: Condvar::new() })
    }

    /// What is known of `group`. If its file is being written, the member that `member` makes waits
    /// for that.
    pub(super) fn look(&self, group: &[u8], member: impl FnOnce() -> Member) -> Result<Known, Error> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = groups.there.get(group)? {
            return First::decode(&value).map(Known::There).ok_or(Error::Worker);
        }
        match groups.writing.get_mut(group) {
            Some(waiting) => {
                waiting.push(member());
                groups.waiting += 1;
                Ok(Known::Waits)
            }
            None => Ok(Known::New),
        }
    }

    /// Where the file of `group` is, if one of its names came before.
    pub(super) fn find(&self, group: &[u8]) -> Result<Option<First>, Error> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let value = groups.there.get(group)?;
        value.map(|value| First::decode(&value).ok_or(Error::Worker)).transpose()
    }

    /// Whether enough names wait that those who write should catch up first.
    pub(super) fn are_many(&self) -> bool {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).waiting >= WAITING_MAX
    }

    /// Waits until no name waits any more, or everything stops.
    pub(super) fn wait(&self, job: &Job<'_>) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        while groups.waiting > 0 && !job.is_stopped() {
            groups = match self.done.wait_timeout(groups, LOOK_EVERY) {
                Ok((groups, _)) => groups,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// The first name of `group` is about to be written.
    pub(super) fn begin(&self, group: &[u8]) {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.writing.insert(group.to_vec(), Vec::new());
    }

    /// The file of `group` is there, or could not be made. Gives the names that waited for it.
    pub(super) fn end(&self, group: &[u8], first: Option<&First>) -> Result<Vec<Member>, Error> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let members = groups.writing.remove(group).unwrap_or_default();
        groups.waiting -= members.len();
        if let Some(first) = first {
            groups.there.put(group, &first.encode())?;
        }
        drop(groups);
        self.done.notify_all();
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_the_table() {
        for path in [&b"a"[..], b"srv/uploads/\xff.png"] {
            for identity in [None, Some(Identity { device: 7, inode: u64::MAX })] {
                let first = First { identity, path: path.to_vec() };
                assert_eq!(First::decode(&first.encode()), Some(first));
            }
        }
        let first = First { identity: None, path: b"a/b/c".to_vec() };
        assert_eq!(first.split(), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(First { path: b"c".to_vec(), ..first }.split(), (&b""[..], &b"c"[..]));
    }
}
