//! Small files that wait to be written, so that they go in the order in which their contents lie in the
//! repository. The walk meets them by name; where they were stored in another order, as those of a base
//! backup are, which come as the server reads its folders, neighbours in a segment would otherwise be
//! asked for one by one, and the segment decoded for each.
//!
//! They wait as their stored records: tens of thousands take a few megabytes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::ops::Error;
use crate::ops::restore_files::report::Action;
use crate::ops::restore_files::write::{BATCH_FOLDERS, Batch, FileWork, FolderWork, Job, Piece, Pieces};
use crate::repo;
use crate::repo::index::Place;
use crate::repo::read::ChunkReader;

/// Memory that the files of one window may take.
const WINDOW_BYTES: usize = 16 << 20;
/// Content of a small file at most. What lies beside that of a larger one is mostly its own.
const SMALL: u64 = 512 << 10;

/// A file that waits.
struct Waiting {
    /// Its first chunk, if it has one.
    first: Option<ChunkId>,
    /// Where its content begins, as far as that is known.
    place: Option<Place>,
    /// Held until it goes.
    folder: Arc<FolderWork>,
    action: Action,
    /// Where its record lies.
    start: usize,
    len: usize,
}

/// Files on their way in.
#[derive(Default)]
pub(super) struct Window {
    records: Vec<u8>,
    files: Vec<Waiting>,
    folders: usize,
}

/// Files on their way out.
#[derive(Default)]
pub(super) struct Sorted {
    records: Vec<u8>,
    files: VecDeque<Waiting>,
}

/// Whether a file may wait in a window.
pub(super) fn is_small(node: &Node) -> bool {
    let has_list = node.content.iter().any(|entry| matches!(entry, ListEntry::List { .. }));
    node.size.is_some_and(|size| size <= SMALL) && !has_list
}

impl Window {
    /// Whether it has to be taken before a file in `folder` can be added: it has grown too large, or holds
    /// too many folders open.
    pub(super) fn is_full_for(&self, folder: &Arc<FolderWork>) -> bool {
        let bytes = self.records.len() + self.files.len() * size_of::<Waiting>();
        bytes >= WINDOW_BYTES || self.folders >= BATCH_FOLDERS && self.is_another(folder)
    }

    fn is_another(&self, folder: &Arc<FolderWork>) -> bool {
        self.files.last().is_none_or(|last| !Arc::ptr_eq(&last.folder, folder))
    }

    /// Adds a file.
    pub(super) fn add(&mut self, folder: Arc<FolderWork>, node: &Node, action: Action) {
        self.folders += usize::from(self.is_another(&folder));
        folder.hold();
        let first = node.content.iter().find_map(|entry| match entry {
            ListEntry::Chunk { id, .. } => Some(*id),
            _ => None,
        });
        let start = self.records.len();
        node.encode(&mut self.records);
        let len = self.records.len() - start;
        self.files.push(Waiting { first, place: None, folder, action, start, len });
    }

    /// Takes the files out, by their places.
    pub(super) fn take(&mut self, reader: &ChunkReader) -> Sorted {
        let Window { records, mut files, .. } = std::mem::take(self);
        let firsts: Vec<ChunkId> = files.iter().filter_map(|file| file.first).collect();
        // A chunk that cannot be found is told of by those who read it.
        let places = reader.first_places(&firsts).unwrap_or_default();
        for (file, place) in files.iter_mut().filter(|file| file.first.is_some()).zip(places) {
            file.place = place;
        }
        files.sort_by_key(|file| file.place);
        Sorted { records, files: files.into() }
    }
}

impl Sorted {
    /// The next files, as many as make a batch; none if there are no more. A segment is not shared between
    /// two batches, unless it holds a great many files.
    pub(super) fn next_batch(&mut self, job: &Job<'_>) -> Result<Option<Batch>, Error> {
        let mut batch = Batch::default();
        let segment = |place: Option<Place>| place.map(|place| (place.pack, place.segment));
        let mut last = None;
        while let Some(file) = self.files.front() {
            let this = segment(file.place);
            if batch.has_share_of(if this == last { 4 } else { 1 }) {
                break;
            }
            last = this;
            if let Some(file) = self.files.pop_front() {
                self.add(job, &mut batch, file)?;
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }

    fn add(&self, job: &Job<'_>, batch: &mut Batch, waiting: Waiting) -> Result<(), Error> {
        let Waiting { mut place, folder, action, start, len, .. } = waiting;
        let record = self.records.get(start..start + len).unwrap_or_default();
        let mut node = Node::decode(record).map_err(repo::Error::format("an entry that waits"))?;
        let content = std::mem::take(&mut node.content);
        let mut path = folder.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&node.name);
        let file = FileWork::new(Arc::clone(&folder), node, path, action);
        let mut pieces = Pieces::new(file, content);
        while let Some(piece) = pieces.next(job)? {
            let place = if matches!(piece, Piece::Chunk { .. }) { place.take() } else { None };
            batch.add(&pieces.file, piece, place);
        }
        folder.release(job);
        Ok(())
    }
}
