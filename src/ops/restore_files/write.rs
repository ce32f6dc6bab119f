//! The work that is done by all cores: contents are read and written batch by batch. A batch holds
//! many small files or a part of a large one; whoever is done with the last part of a file finishes
//! it, and whoever is done with the last entry of a folder gives the folder its metadata.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crossbeam_channel::Receiver;

use crate::base::clock::Cancel;
use crate::base::id::ChunkId;
use crate::base::monitor::{Count, Monitor};
use crate::files::write::{Folder, Identity, Made, NewFile, Target, is_sealed};
use crate::format::list::ListEntry;
use crate::format::node::{FileMeta, Node};
use crate::ops::Error;
use crate::ops::restore_files::links::{First, Links, Member};
use crate::ops::restore_files::report::{Action, Ledger, Severity};
use crate::repo;
use crate::repo::index::Place;
use crate::repo::read::{BatchReader, ChunkReader, Entries, Wanted};

/// Plaintext of one batch, about.
const BATCH_BYTES: u64 = 2 << 20;
/// Files of one batch.
const BATCH_FILES: usize = 256;
/// Folders that one batch may hold open.
pub(super) const BATCH_FOLDERS: usize = 16;
/// What a batch wrote of one file, from which on the disk is to begin with it. What is shorter is better written
/// together with its neighbours.
const STORE_BYTES: u64 = 1 << 20;
/// Zeros that are written at once.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What all threads of a restore share.
pub(super) struct Job<'a> {
    pub(super) reader: Arc<ChunkReader>,
    pub(super) target: Option<Target>,
    pub(super) ledger: Ledger<'a>,
    pub(super) links: Links,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) cancel: &'a Cancel,
    stopped: AtomicBool,
    /// Whether something is to be sealed in the end.
    seals: AtomicBool,
    why: Mutex<Option<Error>>,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        reader: Arc<ChunkReader>,
        target: Option<Target>,
        ledger: Ledger<'a>,
        monitor: &'a dyn Monitor,
        cancel: &'a Cancel,
    ) -> Result<Self, Error> {
        let [stopped, seals] = [false; 2].map(AtomicBool::new);
        let (links, why) = (Links::new()?, Mutex::new(None));
        Ok(Job { reader, target, ledger, links, monitor, cancel, stopped, seals, why })
    }

    /// Whether something happened after which nothing more is to be done.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.cancel.is_cancelled()
    }

    /// Stops everything; the first reason counts.
    pub(super) fn stop(&self, error: Error) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Takes note of an entry that is to be restored.
    pub(super) fn meets(&self, meta: &FileMeta) {
        if is_sealed(meta) {
            self.seals.store(true, Ordering::Relaxed);
        }
    }

    /// Whether something is to be sealed in the end.
    pub(super) fn seals(&self) -> bool {
        self.seals.load(Ordering::Relaxed)
    }

    /// Why everything was stopped, if it was.
    pub(super) fn outcome(&self) -> Result<(), Error> {
        match self.why.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None if self.cancel.is_cancelled() => Err(repo::Error::Interrupted.into()),
            None => Ok(()),
        }
    }
}

/// An open folder that something is being restored to.
pub(super) struct FolderWork {
    pub(super) folder: Folder,
    /// Its path from the target.
    pub(super) path: Vec<u8>,
    /// What it gets in the end; absent if it keeps what it has.
    meta: Option<FileMeta>,
    parent: Option<Arc<FolderWork>>,
    /// Entries that are not done yet, folders among them, and the walk itself.
    left: AtomicUsize,
    /// Whether its metadata have to be set: they differ, or something in it was changed.
    touched: AtomicBool,
}

impl FolderWork {
    pub(super) fn new(
        folder: Folder,
        path: Vec<u8>,
        meta: Option<FileMeta>,
        parent: Option<Arc<FolderWork>>,
    ) -> Arc<Self> {
        if let Some(parent) = &parent {
            parent.hold();
        }
        let (left, touched) = (AtomicUsize::new(1), AtomicBool::new(folder.is_new()));
        Arc::new(FolderWork { folder, path, meta, parent, left, touched })
    }

    /// One more thing has to be done before the folder is finished.
    pub(super) fn hold(&self) {
        self.left.fetch_add(1, Ordering::AcqRel);
    }

    /// Its metadata are not, or will not be, right.
    pub(super) fn touch(&self) {
        self.touched.store(true, Ordering::Release);
    }

    /// Something is done. After the last thing the folder is finished, and so perhaps those above.
    pub(super) fn release(&self, job: &Job<'_>) {
        let mut folder = self;
        while folder.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            if let Some(meta) = folder.meta.as_ref().filter(|_| folder.touched.load(Ordering::Acquire)) {
                job.ledger.problems(&folder.path, &folder.folder.finish(meta));
            }
            match &folder.parent {
                Some(parent) => folder = parent,
                None => return,
            }
        }
    }
}

/// A file that is being written.
pub(super) struct FileWork {
    folder: Arc<FolderWork>,
    node: Node,
    path: Vec<u8>,
    action: Action,
    /// Parts that are not done yet, and its planning.
    left: AtomicUsize,
    file: RwLock<Option<NewFile>>,
    failed: AtomicBool,
}

impl FileWork {
    pub(super) fn new(folder: Arc<FolderWork>, node: Node, path: Vec<u8>, action: Action) -> Arc<Self> {
        folder.hold();
        let (left, file, failed) = (AtomicUsize::new(1), RwLock::new(None), AtomicBool::new(false));
        Arc::new(FileWork { folder, node, path, action, left, file, failed })
    }

    /// Makes the file unless that was done.
    fn begin(&self, job: &Job<'_>) -> Result<(), Error> {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if file.is_some() || self.has_failed() {
            return Ok(());
        }
        match self.folder.folder.file(&self.node.name) {
            Ok(new) => *file = Some(new),
            Err(error) => {
                self.failed.store(true, Ordering::Release);
                job.ledger.failed(&self.path, error)?;
            }
        }
        Ok(())
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn write(&self, job: &Job<'_>, bytes: &[u8], offset: u64) -> Result<(), Error> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = file.as_ref().filter(|_| !self.has_failed()) else { return Ok(()) };
        job.monitor.add(Count::DoneBytes, bytes.len() as u64);
        match file.write_at(bytes, offset) {
            Err(error) if !self.failed.swap(true, Ordering::AcqRel) => job.ledger.failed(&self.path, error),
            _ => Ok(()),
        }
    }

    /// Has the disk begin with a part that was written, if that is worth while.
    fn begin_storing(&self, range: Range<u64>) {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = file.as_ref().filter(|_| range.end.saturating_sub(range.start) >= STORE_BYTES) {
            file.begin_storing(range);
        }
    }

    fn write_zeros(&self, job: &Job<'_>, offset: u64, len: u64) -> Result<(), Error> {
        let mut done = 0;
        while done < len && !job.is_stopped() && !self.has_failed() {
            let part = (len - done).min(ZEROS.len() as u64);
            self.write(job, &ZEROS[..part as usize], offset + done)?;
            done += part;
        }
        Ok(())
    }

    /// Its content is damaged, or the list of it.
    pub(super) fn damage(&self, job: &Job<'_>, error: repo::Error) -> Result<(), Error> {
        match self.failed.swap(true, Ordering::AcqRel) {
            false => job.ledger.damaged(&self.path, error),
            true => Ok(()),
        }
    }

    /// A part of it is done, or its planning. After the last the file gets its name.
    pub(super) fn release(&self, job: &Job<'_>) -> Result<(), Error> {
        if self.left.fetch_sub(1, Ordering::AcqRel) != 1 || job.is_stopped() {
            return Ok(());
        }
        let identity = self.finish(job)?;
        if let Some(group) = &self.node.meta.link_group {
            let first = identity.map(|identity| First { identity: Some(identity), path: self.path.clone() });
            for member in job.links.end(group, first.as_ref())? {
                match &first {
                    Some(first) => link(job, &member, first)?,
                    None => job.ledger.tell(
                        Severity::Failed,
                        &member.path,
                        "hard link",
                        format!("{} could not be restored", String::from_utf8_lossy(&self.path)),
                    ),
                }
                member.folder.release(job);
            }
        }
        self.folder.release(job);
        Ok(())
    }

    fn finish(&self, job: &Job<'_>) -> Result<Option<Identity>, Error> {
        let file = self.file.write().unwrap_or_else(PoisonError::into_inner).take();
        self.folder.touch();
        let Some(file) = file.filter(|_| !self.has_failed()) else { return Ok(None) };
        let size = self.node.size.unwrap_or(0);
        let made = match file.finish(size, &self.node.meta) {
            Ok(made) => made,
            Err(error) => {
                job.ledger.failed(&self.path, error)?;
                return Ok(None);
            }
        };
        job.ledger.wrote(size);
        Ok(made_of(job, &self.folder, &self.path, self.action, made))
    }
}

/// Notes what became of an entry.
pub(super) fn made_of(
    job: &Job<'_>,
    folder: &FolderWork,
    path: &[u8],
    action: Action,
    made: Made,
) -> Option<Identity> {
    folder.touch();
    match made {
        Made::Done { identity, problems } => {
            job.ledger.did(action, path);
            job.ledger.problems(path, &problems);
            job.monitor.add(Count::Items, 1);
            Some(identity)
        }
        Made::Refused(problem) => {
            job.ledger.refused(path, &problem);
            None
        }
    }
}

/// Makes a further name of a file. Where there cannot be one, it becomes a file of its own.
pub(super) fn link(job: &Job<'_>, member: &Member, first: &First) -> Result<(), Error> {
    let (Some(identity), Some(target)) = (first.identity, &job.target) else { return Ok(()) };
    let (folder, name) = first.split();
    let found = match folder == member.folder.path.as_slice() {
        true => Ok(Some(member.folder.folder.clone())),
        false => target.find(folder),
    };
    let linked = match found {
        Ok(Some(first)) => Some(member.folder.folder.link(&member.node.name, &first, name, identity)),
        // A folder that is finished may be closed to us.
        Ok(None) | Err(_) => None,
    };
    match linked {
        Some(Ok(made @ Made::Done { .. })) => {
            made_of(job, &member.folder, &member.path, member.action, made);
            return Ok(());
        }
        Some(Err(error)) => return job.ledger.failed(&member.path, error),
        Some(Ok(made)) => job.ledger.problems(&member.path, made.problems()),
        None => job.ledger.tell(
            Severity::Lacking,
            &member.path,
            "hard link",
            "the folder of its first name cannot be reached".into(),
        ),
    }
    write_alone(job, member)
}

/// Writes a name of a file as a file of its own, here and now.
fn write_alone(job: &Job<'_>, member: &Member) -> Result<(), Error> {
    let mut node = member.node.clone();
    let content = std::mem::take(&mut node.content);
    // It is a group of its own now.
    node.meta.link_group = None;
    let alone = FileWork::new(member.folder.clone(), node, member.path.clone(), member.action);
    let mut reader = BatchReader::new(Arc::clone(&job.reader));
    let (mut batch, mut pieces) = (Batch::default(), Pieces::new(alone, content));
    while let Some(piece) = pieces.next(job)? {
        if batch.is_full() {
            batch.run(job, &mut reader)?;
        }
        batch.add(&pieces.file, piece, None);
    }
    batch.run(job, &mut reader)
}

/// A piece of a file.
pub(super) enum Piece {
    /// Nothing: the file only has to be there.
    Empty,
    Chunk {
        id: ChunkId,
        len: u32,
        offset: u64,
    },
    Zeros {
        offset: u64,
        len: u64,
    },
}

/// A file's content, piece by piece. Holes are left out: what is never written stays one.
pub(super) struct Pieces {
    pub(super) file: Arc<FileWork>,
    entries: Entries,
    offset: u64,
    begun: bool,
}

impl Pieces {
    pub(super) fn new(file: Arc<FileWork>, content: Vec<ListEntry>) -> Self {
        Pieces { file, entries: Entries::new(content), offset: 0, begun: false }
    }

    /// The next piece. After the last one the file is planned: it is released when its pieces are done.
    pub(super) fn next(&mut self, job: &Job<'_>) -> Result<Option<Piece>, Error> {
        if !std::mem::replace(&mut self.begun, true) {
            return Ok(Some(Piece::Empty));
        }
        let next = self.next_of_content(job);
        let file = &self.file;
        let ended = match next {
            Ok(Some(piece)) => return Ok(Some(piece)),
            Ok(None) => check_len(&file.node, self.offset, &file.path),
            Err(error) => Err(error),
        };
        match ended {
            Err(error) if !job.is_stopped() => file.damage(job, error)?,
            _ => (),
        }
        file.release(job).map(|()| None)
    }

    fn next_of_content(&mut self, job: &Job<'_>) -> Result<Option<Piece>, repo::Error> {
        while !job.is_stopped() {
            let Some(entry) = self.entries.next(&job.reader)? else { break };
            let offset = self.offset;
            self.offset = offset.saturating_add(entry.content_len());
            match entry {
                ListEntry::Chunk { id, len } => return Ok(Some(Piece::Chunk { id, len, offset })),
                ListEntry::Zeros { len } => return Ok(Some(Piece::Zeros { offset, len })),
                ListEntry::Hole { .. } | ListEntry::List { .. } => (),
            }
        }
        Ok(None)
    }
}

/// Demands that a file's lists have as many bytes as its node says.
pub(super) fn check_len(node: &Node, len: u64, path: &[u8]) -> Result<(), repo::Error> {
    match node.size {
        Some(size) if size != len => {
            let reason = format!("its lists have {len} bytes where it should have {size}");
            Err(repo::Error::damaged(String::from_utf8_lossy(path), reason))
        }
        _ => Ok(()),
    }
}

/// What one thread does at once.
#[derive(Default)]
pub(super) struct Batch {
    parts: Vec<Part>,
    chunks: Vec<Wanted>,
    /// The part of each chunk and its place in the file.
    places: Vec<(usize, u64)>,
    bytes: u64,
    folders: usize,
}

/// What a batch has of one file.
struct Part {
    file: Arc<FileWork>,
    zeros: Vec<(u64, u64)>,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.has_share_of(1) || self.folders > BATCH_FOLDERS
    }

    /// Whether it has as much as `shares` batches should have, in however many folders.
    pub(super) fn has_share_of(&self, shares: usize) -> bool {
        self.bytes >= BATCH_BYTES * shares as u64 || self.parts.len() >= BATCH_FILES * shares
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Adds a piece, which is at `place` in the repository if that is known. Those of one file come one
    /// after another.
    pub(super) fn add(&mut self, file: &Arc<FileWork>, piece: Piece, place: Option<Place>) {
        if self.parts.last().is_none_or(|part| !Arc::ptr_eq(&part.file, file)) {
            let folder = self.parts.last().map(|part| &part.file.folder);
            self.folders += usize::from(folder.is_none_or(|folder| !Arc::ptr_eq(folder, &file.folder)));
            file.left.fetch_add(1, Ordering::AcqRel);
            self.parts.push(Part { file: Arc::clone(file), zeros: Vec::new() });
        }
        match piece {
            Piece::Empty => (),
            Piece::Chunk { id, len, offset } => {
                self.chunks.push(Wanted { id, len, place });
                self.places.push((self.parts.len() - 1, offset));
                self.bytes += u64::from(len);
            }
            Piece::Zeros { offset, len } => {
                if let Some(part) = self.parts.last_mut() {
                    part.zeros.push((offset, len));
                }
                self.bytes = self.bytes.saturating_add(len);
            }
        }
    }

    /// Reads and writes all of it, and leaves it empty.
    pub(super) fn run(&mut self, job: &Job<'_>, reader: &mut BatchReader) -> Result<(), Error> {
        let Batch { parts, chunks, places, .. } = std::mem::take(self);
        // The part that is being written, and once its file is there, what was written of it.
        let (mut at, mut written) = (0, None);
        reader.read(&chunks, &mut |number, chunk| {
            if job.is_stopped() {
                return Err(Error::from(repo::Error::Interrupted));
            }
            let (part, offset) = places[number];
            while at < part {
                parts[at].end(job, written.take())?;
                at += 1;
            }
            if written.is_none() {
                parts[at].begin(job)?;
            }
            let written = written.get_or_insert(offset..offset);
            match chunk {
                Ok(bytes) => {
                    written.end = offset + bytes.len() as u64;
                    parts[at].file.write(job, bytes, offset)
                }
                Err(error) => parts[at].file.damage(job, error),
            }
        })?;
        parts[at..].iter().try_for_each(|part| part.end(job, written.take()))
    }
}

impl Part {
    /// Makes the file and writes what needs no reading.
    fn begin(&self, job: &Job<'_>) -> Result<(), Error> {
        self.file.begin(job)?;
        self.zeros.iter().try_for_each(|(offset, len)| self.file.write_zeros(job, *offset, *len))
    }

    /// All of the part is done, and this `written`; the file of a part without chunks is not even there.
    fn end(&self, job: &Job<'_>, written: Option<Range<u64>>) -> Result<(), Error> {
        match written {
            Some(range) => self.file.begin_storing(range),
            None => self.begin(job)?,
        }
        self.file.release(job)
    }
}

/// One of the threads that write: until there are no more batches. After a failure they are only
/// taken, so that nobody waits to hand them over.
pub(super) fn work(job: &Job<'_>, batches: &Receiver<Batch>) {
    let mut reader = BatchReader::new(Arc::clone(&job.reader));
    for mut batch in batches {
        if job.is_stopped() {
            continue;
        }
        if let Err(error) = batch.run(job, &mut reader) {
            job.stop(error);
        }
    }
}
