//! Which entries are wanted: patterns as in a `.gitignore`, matched against paths from what is
//! restored, without a slash in front.

use crate::files::exclude::Exclude;
use crate::ops::Error;

/// What the user wants of a snapshot.
#[derive(Debug)]
pub(super) struct Filter {
    include: Exclude,
    exclude: Exclude,
}

impl Filter {
    pub(super) fn new(include: &[String], exclude: &[String]) -> Result<Self, Error> {
        let patterns = |patterns: &[String]| Exclude::new(patterns, [] as [&str; 0]);
        Ok(Filter { include: patterns(include)?, exclude: patterns(exclude)? })
    }

    /// Whether everything is wanted that is not excluded.
    pub(super) fn wants_all(&self) -> bool {
        self.include.is_empty()
    }

    /// Whether an entry is wanted by its own path. All below a folder that is wanted is so too.
    pub(super) fn wants(&self, path: &[u8], is_folder: bool) -> bool {
        self.wants_all() || self.include.is_excluded(path, is_folder)
    }

    /// Whether an entry, and all below it, is not to be looked at.
    pub(super) fn excludes(&self, path: &[u8], is_folder: bool) -> bool {
        self.exclude.is_excluded(path, is_folder)
    }
}
