//! From the walk to those who write. Small files wait in a [`Window`] and go by where their contents lie;
//! larger ones go at once, in as many batches as they need. While one window is handed over, the next
//! fills: the walk gives away what the writers have room for, and waits for them only when it is a whole
//! window ahead.
//!
//! Of two threads that write to one file each waits for the other, for a file has one lock. So long files go
//! side by side, as many as there are threads, a batch of each in turn.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};

use crate::format::node::Node;
use crate::ops::Error;
use crate::ops::restore_files::report::Action;
use crate::ops::restore_files::window::{Sorted, Window, is_small};
use crate::ops::restore_files::write::{Batch, FileWork, FolderWork, Job, Pieces};
use crate::repo;

/// Content of a file from which on it goes beside others: several batches.
const LONG: u64 = 16 << 20;

/// What hands files over.
pub(super) struct Outlet<'j, 'a> {
    job: &'j Job<'a>,
    batches: Sender<Batch>,
    /// Pieces of files that are neither small nor long.
    large: Batch,
    /// Long files, the next one's turn first.
    long: VecDeque<Pieces>,
    window: Window,
    sorted: Sorted,
    /// A batch for which there was no room.
    next: Option<Batch>,
}

impl<'j, 'a> Outlet<'j, 'a> {
    pub(super) fn new(job: &'j Job<'a>, batches: Sender<Batch>) -> Self {
        let (large, long) = (Batch::default(), VecDeque::new());
        let (window, sorted) = (Window::default(), Sorted::default());
        Outlet { job, batches, large, long, window, sorted, next: None }
    }

    /// Hands over the content of a file, now or later.
    pub(super) fn file(
        &mut self,
        folder: Arc<FolderWork>,
        node: Node,
        path: &[u8],
        action: Action,
    ) -> Result<(), Error> {
        if !is_small(&node) {
            return self.large(folder, node, path, action);
        }
        if self.window.is_full_for(&folder) {
            self.turn()?;
        }
        self.window.add(folder, &node, action);
        self.feed()
    }

    fn large(
        &mut self,
        folder: Arc<FolderWork>,
        mut node: Node,
        path: &[u8],
        action: Action,
    ) -> Result<(), Error> {
        let content = std::mem::take(&mut node.content);
        let is_long = node.size.is_some_and(|size| size >= LONG);
        let file = FileWork::new(folder, node, path.to_vec(), action);
        let mut pieces = Pieces::new(file, content);
        if is_long {
            // The queue has room for as many batches as there are threads.
            while self.long.len() >= self.batches.capacity().unwrap_or(1) {
                self.send_long()?;
            }
            self.long.push_back(pieces);
            return Ok(());
        }
        while let Some(piece) = pieces.next(self.job)? {
            if self.large.is_full() {
                self.send_large()?;
            }
            self.large.add(&pieces.file, piece, None);
        }
        Ok(())
    }

    /// Sends a batch of the long file whose turn it is.
    fn send_long(&mut self) -> Result<(), Error> {
        let Some(mut pieces) = self.long.pop_front() else { return Ok(()) };
        let mut batch = Batch::default();
        let has_more = loop {
            match pieces.next(self.job)? {
                Some(piece) => batch.add(&pieces.file, piece, None),
                None => break false,
            }
            if batch.is_full() {
                break true;
            }
        };
        if has_more {
            self.long.push_back(pieces);
        }
        self.send(batch)
    }

    /// Hands over all that is gathered.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.turn()?;
        self.drain()?;
        while !self.long.is_empty() {
            self.send_long()?;
        }
        self.send_large()
    }

    /// Sends what is sorted, and sorts the window, which may then be filled again.
    fn turn(&mut self) -> Result<(), Error> {
        self.drain()?;
        self.sorted = self.window.take(&self.job.reader);
        Ok(())
    }

    /// Sends of what is sorted as much as there is room for.
    fn feed(&mut self) -> Result<(), Error> {
        while let Some(batch) = self.next_batch()? {
            match self.batches.try_send(batch) {
                Ok(()) => {}
                Err(TrySendError::Full(batch)) => {
                    self.next = Some(batch);
                    break;
                }
                Err(TrySendError::Disconnected(_)) => return Err(gone()),
            }
        }
        Ok(())
    }

    /// Sends all that is sorted.
    fn drain(&mut self) -> Result<(), Error> {
        while let Some(batch) = self.next_batch()? {
            self.send(batch)?;
        }
        Ok(())
    }

    fn next_batch(&mut self) -> Result<Option<Batch>, Error> {
        match self.next.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.sorted.next_batch(self.job),
        }
    }

    fn send_large(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.large);
        self.send(batch)
    }

    fn send(&self, batch: Batch) -> Result<(), Error> {
        if batch.is_empty() { Ok(()) } else { self.batches.send(batch).map_err(|_| gone()) }
    }
}

/// If nobody takes a batch any more, those who did say why.
fn gone() -> Error {
    repo::Error::Worker.into()
}
