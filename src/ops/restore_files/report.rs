//! What a restore did and what it could not do: counts of everything, the first few troubles by name,
//! and each of them to whoever listens.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::class::Class;
use crate::files::write::{self, Problem, What};
use crate::ops::Error;
use crate::repo;

/// Troubles that a report names.
const NAMED: usize = 20;

/// Paths of entries that were left out that are remembered: verifying tells the others a second time.
const REMEMBERED: usize = 100_000;

/// What is done to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was not there.
    Create,
    /// Something else had its name.
    Overwrite,
    /// Only its metadata were not right.
    Repair,
    /// The snapshot does not have it.
    Delete,
}

/// How bad a trouble is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Stored data is damaged: the entry is left out.
    Damaged,
    /// A restored entry is not what the snapshot says, or not any more.
    Differs,
    /// The entry could not be restored.
    Failed,
    /// Something of the entry's metadata is missing.
    Lacking,
    /// The snapshot does not have all of the entry.
    Incomplete,
    /// The same, and a user without root's rights cannot have it otherwise.
    NotRoot,
    /// Something is mounted there, so it was not deleted.
    Mounted,
}

/// What went wrong with one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// How bad it is.
    pub severity: Severity,
    /// The entry's path from what is restored.
    pub path: Vec<u8>,
    /// What it is about: `content`, `owner`, `block device`.
    pub what: String,
    /// Why.
    pub reason: String,
}

/// Hears of everything, from any thread.
pub trait Observer: Sync {
    /// Something was done, or in a dry run would be, to the entry at `path`.
    fn action(&self, action: Action, path: &[u8]) {
        let _ = (action, path);
    }
    /// Something went wrong.
    fn trouble(&self, trouble: &Trouble) {
        let _ = trouble;
    }
}

/// Hears of nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deaf;

impl Observer for Deaf {}

/// What was done, or in a dry run would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries that were not there.
    pub created: u64,
    /// Entries in whose place was something else.
    pub overwritten: u64,
    /// Entries of which only metadata were not right.
    pub repaired: u64,
    /// Entries that were right already.
    pub unchanged: u64,
    /// Entries that the snapshot does not have, each folder counted as one.
    pub deleted: u64,
    /// Bytes of files that were written, holes included.
    pub bytes: u64,
    /// Files that were read back and found right.
    pub verified: u64,
    /// How often each thing went wrong.
    pub troubles: BTreeMap<(Severity, String), u64>,
    /// The first troubles.
    pub first: Vec<Trouble>,
}

impl Report {
    /// Takes over what another restore did, of which this one was a part.
    pub fn add(&mut self, other: Report) {
        self.created += other.created;
        self.overwritten += other.overwritten;
        self.repaired += other.repaired;
        self.unchanged += other.unchanged;
        self.deleted += other.deleted;
        self.bytes += other.bytes;
        self.verified += other.verified;
        for (trouble, count) in other.troubles {
            *self.troubles.entry(trouble).or_default() += count;
        }
        let room = NAMED.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }

    /// How many troubles of that severity there are.
    pub fn count(&self, severity: Severity) -> u64 {
        self.troubles.iter().filter(|((of, _), _)| *of == severity).map(|(_, count)| count).sum()
    }
}

/// A report in the making.
pub(super) struct Ledger<'a> {
    report: Mutex<Report>,
    /// Entries that were not restored, as far as they are remembered.
    left_out: Mutex<HashSet<Vec<u8>>>,
    /// Kinds of metadata that could not be set, so that nobody wonders when they differ.
    missing: Mutex<Vec<What>>,
    observer: &'a dyn Observer,
    is_root: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Ledger<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        Ledger {
            report: Mutex::default(),
            left_out: Mutex::default(),
            missing: Mutex::default(),
            observer,
            is_root,
        }
    }

    pub(super) fn finish(self) -> Report {
        self.report.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was done.
    pub(super) fn did(&self, action: Action, path: &[u8]) {
        let mut report = lock(&self.report);
        *match action {
            Action::Create => &mut report.created,
            Action::Overwrite => &mut report.overwritten,
            Action::Repair => &mut report.repaired,
            Action::Delete => &mut report.deleted,
        } += 1;
        drop(report);
        self.observer.action(action, path);
    }

    pub(super) fn unchanged(&self) {
        lock(&self.report).unchanged += 1;
    }

    pub(super) fn wrote(&self, bytes: u64) {
        lock(&self.report).bytes += bytes;
    }

    pub(super) fn verified(&self) {
        lock(&self.report).verified += 1;
    }

    pub(super) fn trouble(&self, trouble: Trouble) {
        self.observer.trouble(&trouble);
        if trouble.severity <= Severity::Failed {
            let mut left_out = lock(&self.left_out);
            if left_out.len() < REMEMBERED {
                left_out.insert(trouble.path.clone());
            }
        }
        let mut report = lock(&self.report);
        *report.troubles.entry((trouble.severity, trouble.what.clone())).or_default() += 1;
        if report.first.len() < NAMED {
            report.first.push(trouble);
        }
    }

    /// An entry, or what is below a folder, could not be read from the repository. An error that is
    /// no damage ends everything.
    pub(super) fn damaged(&self, path: &[u8], error: repo::Error) -> Result<(), Error> {
        if error.class() != Class::Damaged || error.is_of_backend() {
            return Err(error.into());
        }
        self.tell(Severity::Damaged, path, "content", error.to_string());
        Ok(())
    }

    /// An entry could not be written. A full disk ends everything: nothing else would fit either.
    pub(super) fn failed(&self, path: &[u8], error: write::Error) -> Result<(), Error> {
        if error.is_full() {
            return Err(error.into());
        }
        self.tell(Severity::Failed, path, "entry", error.to_string());
        Ok(())
    }

    /// An entry that the system does not let this user make.
    pub(super) fn refused(&self, path: &[u8], problem: &Problem) {
        self.tell(Severity::Failed, path, &problem.what.to_string(), problem.reason.clone());
    }

    /// Metadata that could not be set.
    pub(super) fn problems(&self, path: &[u8], problems: &[Problem]) {
        for problem in problems {
            let mut missing = lock(&self.missing);
            if !missing.contains(&problem.what) {
                missing.push(problem.what.clone());
            }
            drop(missing);
            let severity = if !self.is_root && needs_root(&problem.what) {
                Severity::NotRoot
            } else {
                Severity::Lacking
            };
            self.tell(severity, path, &problem.what.to_string(), problem.reason.clone());
        }
    }

    /// Whether this kind of metadata could not be set somewhere, which was told then.
    pub(super) fn is_missing(&self, what: &What) -> bool {
        let missing = lock(&self.missing);
        // Without its owner a file gets no setuid bit, which then shows in its mode.
        missing.contains(what) || (*what == What::Mode && missing.contains(&What::SetId))
    }

    /// Whether it is known already that the entry is not there as it should be.
    pub(super) fn was_left_out(&self, path: &[u8]) -> bool {
        lock(&self.left_out).contains(path)
    }

    pub(super) fn tell(&self, severity: Severity, path: &[u8], what: &str, reason: String) {
        self.trouble(Trouble { severity, path: path.to_vec(), what: what.to_owned(), reason });
    }
}

/// What only root may set.
fn needs_root(what: &What) -> bool {
    match what {
        What::Owner | What::Group | What::SetId | What::Capability | What::Flags => true,
        What::Xattr(name) => name.starts_with(b"trusted.") || name.starts_with(b"security."),
        _ => false,
    }
}
