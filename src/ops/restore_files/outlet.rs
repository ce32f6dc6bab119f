//! From the walk to those who write. Small files wait in a [`Window`] and go by where their contents lie;
//! larger ones go at once, in as many batches as they need. While one window is handed over, the next
//! fills: the walk gives away what the writers have room for, and waits for them only when it is a whole
//! window ahead.

use std::sync::Arc;

use crossbeam_channel::{Sender, TrySendError};

use crate::format::node::Node;
use crate::ops::Error;
use crate::ops::restore_files::report::Action;
use crate::ops::restore_files::window::{Sorted, Window, is_small};
use crate::ops::restore_files::write::{Batch, FileWork, FolderWork, Job, plan};
use crate::repo;

/// What hands files over.
pub(super) struct Outlet<'j, 'a> {
    job: &'j Job<'a>,
    batches: Sender<Batch>,
    /// Pieces of files that are not small.
    large: Batch,
    window: Window,
    sorted: Sorted,
    /// A batch for which there was no room.
    next: Option<Batch>,
}

impl<'j, 'a> Outlet<'j, 'a> {
    pub(super) fn new(job: &'j Job<'a>, batches: Sender<Batch>) -> Self {
        let (large, window, sorted) = (Batch::default(), Window::default(), Sorted::default());
        Outlet { job, batches, large, window, sorted, next: None }
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
        self.window.add(&self.job.reader, folder, &node, action);
        self.feed()
    }

    fn large(
        &mut self,
        folder: Arc<FolderWork>,
        mut node: Node,
        path: &[u8],
        action: Action,
    ) -> Result<(), Error> {
        let job = self.job;
        let content = std::mem::take(&mut node.content);
        let file = FileWork::new(folder, node, path.to_vec(), action);
        plan(job, &file, content, &mut |file, piece| {
            if self.large.is_full() {
                self.send_large()?;
            }
            self.large.add(file, piece, None);
            Ok(())
        })?;
        file.release(job)
    }

    /// Hands over all that is gathered.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.turn()?;
        self.drain()?;
        self.send_large()
    }

    /// Sends what is sorted, and sorts the window, which may then be filled again.
    fn turn(&mut self) -> Result<(), Error> {
        self.drain()?;
        self.sorted = self.window.take();
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
            self.batches.send(batch).map_err(|_| gone())?;
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
        if self.large.is_empty() {
            return Ok(());
        }
        self.batches.send(std::mem::take(&mut self.large)).map_err(|_| gone())
    }
}

/// If nobody takes a batch any more, those who did say why.
fn gone() -> Error {
    repo::Error::Worker.into()
}
