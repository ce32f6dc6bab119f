//! Files opened for reading at any place, by several threads at once: what a mounted file system asks
//! for. Stored content is found through its lists, of which only those on the way are read; what is made
//! while it is read is made from the last place that is known before the one asked for.

mod ahead;
mod cache;
mod content;
mod csv;
mod dump;
mod holes;
mod level;
mod replay;
mod streams;

use std::sync::Arc;

use crate::base::id::ChunkId;
use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::repo::Error;
use crate::repo::read::ChunkReader;
use crate::vfs::Database;

pub use cache::ReadCache;
use content::Content;
use csv::Csv;
use dump::Dump;
pub use holes::Sought;
use replay::Replay;

/// Which dump of a database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As `pg_dump` wrote it.
    Exact,
    /// With offsets filled in.
    Seekable,
}

/// A file that can be read at any place, by any number of threads.
pub struct OpenFile(Bytes);

enum Bytes {
    /// In memory, whole.
    Here(Vec<u8>),
    Stored(Content),
    Dump {
        replay: Replay<Arc<Dump>>,
        size: u64,
    },
    Csv(Replay<Arc<Csv>>),
}

impl OpenFile {
    /// What is in memory already.
    pub(super) fn here(bytes: Vec<u8>) -> Self {
        OpenFile(Bytes::Here(bytes))
    }

    /// The content of a stored `node`.
    pub(super) fn stored(
        reader: Arc<ChunkReader>,
        cache: Arc<ReadCache>,
        node: &Node,
    ) -> Result<Self, Error> {
        Content::open(reader, cache, node).map(|content| OpenFile(Bytes::Stored(content)))
    }

    /// The contents of stored nodes, whose chunks are looked up together.
    pub(super) fn all_stored(
        reader: &Arc<ChunkReader>,
        cache: &Arc<ReadCache>,
        nodes: &[&Node],
    ) -> Result<Vec<Result<Self, Error>>, Error> {
        let chunk = |entry: &ListEntry| match entry {
            ListEntry::Chunk { id, .. } => Some(*id),
            ListEntry::Hole { .. } | ListEntry::Zeros { .. } | ListEntry::List { .. } => None,
        };
        let ids: Vec<ChunkId> = nodes.iter().flat_map(|node| &node.content).filter_map(chunk).collect();
        let mut places = ids.iter().zip(reader.first_places(&ids)?);
        let open = |node: &&Node| {
            let count = node.content.iter().filter_map(chunk).count();
            let own = places.by_ref().take(count).filter_map(|(id, place)| Some((*id, place?))).collect();
            let content = Content::open_placed(reader.clone(), cache.clone(), node, own);
            content.map(|content| OpenFile(Bytes::Stored(content)))
        };
        Ok(nodes.iter().map(open).collect())
    }

    /// The dump of a database.
    pub(super) fn dump(database: &Arc<Database>, cache: Arc<ReadCache>, form: Form) -> Result<Self, Error> {
        if database.is_plain()? {
            return Self::stored(database.reader().clone(), cache, &database.required("rest")?);
        }
        let (cancel, size) = (database.cancel().clone(), database.dump_len());
        let dump = Arc::new(Dump::new(database.clone(), cache, form)?);
        Ok(OpenFile(Bytes::Dump { replay: Replay::new(dump, cancel), size }))
    }

    /// The rows of a table of a database, stored as `node`, as CSV.
    pub(super) fn csv(database: &Database, cache: Arc<ReadCache>, node: &Node) -> Result<Self, Error> {
        let columns = database.columns(&node.name)?;
        let rows = Content::open(database.reader().clone(), cache, node)?;
        let replay = Replay::new(Arc::new(Csv::new(rows, columns)), database.cancel().clone());
        Ok(OpenFile(Bytes::Csv(replay)))
    }

    /// Its length in bytes; `None` if that is known only once it was read.
    pub fn size(&self) -> Option<u64> {
        match &self.0 {
            Bytes::Here(bytes) => Some(bytes.len() as u64),
            Bytes::Stored(content) => Some(content.size()),
            Bytes::Dump { size, .. } => Some(*size),
            Bytes::Csv(_) => None,
        }
    }

    /// Appends the `len` bytes at `offset` to `out`; fewer only where the file ends before. After an
    /// error nothing was appended.
    pub fn read_at(&self, offset: u64, len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let before = out.len();
        let read = match &self.0 {
            Bytes::Here(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                out.extend_from_slice(&bytes[start..start + len.min(bytes.len() - start)]);
                Ok(())
            }
            Bytes::Stored(content) => content.read_at(offset, len, out),
            Bytes::Dump { size, .. } if offset >= *size => Ok(()),
            Bytes::Dump { replay, .. } => replay.read_at(offset, len, out),
            Bytes::Csv(replay) => replay.read_at(offset, len, out),
        };
        read.inspect_err(|_| out.truncate(before))
    }

    /// The first place from `offset` on that is of the kind `sought`, if there is one. What is made while it is
    /// read has no holes.
    pub fn seek(&self, offset: u64, sought: Sought) -> Result<Option<u64>, Error> {
        match (&self.0, self.size()) {
            (Bytes::Stored(content), _) => content.seek(offset, sought),
            (_, Some(size)) if offset >= size => Ok(None),
            (_, Some(size)) if sought == Sought::Hole => Ok(Some(size)),
            _ => Ok((sought == Sought::Data).then_some(offset)),
        }
    }
}
