//! Results of many lines, as a walk finds them: gathered into blocks, and the walk is broken off
//! when nobody reads them any more.

use crate::cli::context::Context;
use crate::cli::exit::Failure;
use crate::ops;
use crate::repo;

/// Lines are gathered up to this many bytes before they are written.
const BLOCK: usize = 64 << 10;

/// Lines on their way to standard output.
pub struct Lines<'c> {
    context: &'c Context,
    gathered: String,
    stopped: Option<Result<(), Failure>>,
}

impl<'c> Lines<'c> {
    /// None so far.
    pub fn new(context: &'c Context) -> Self {
        Lines { context, gathered: String::new(), stopped: None }
    }

    /// Adds `line`, which ends in a line feed. Fails when there is no use in going on.
    pub fn push(&mut self, line: &str) -> Result<(), ops::Error> {
        self.gathered.push_str(line);
        if self.gathered.len() < BLOCK {
            return Ok(());
        }
        let written = self.context.output.text(&self.gathered);
        self.gathered.clear();
        if written.is_ok() && !self.context.output.reader_gone() {
            return Ok(());
        }
        self.stopped = Some(written);
        Err(ops::Error::Repo(repo::Error::Interrupted))
    }

    /// Writes what is left once the walk has ended as `walked` says; `None` if it was broken off
    /// because the reader has seen enough.
    pub fn finish<T>(self, walked: Result<T, ops::Error>) -> Result<Option<T>, Failure> {
        // Why the walk was broken off says more than that it was.
        if let Some(written) = self.stopped {
            return written.map(|()| None);
        }
        // What was found before a failure is right.
        self.context.output.text(&self.gathered)?;
        Ok(Some(walked?))
    }
}
