//! What earlier snapshots knew of the entries that a walk meets (D-6): from the file cache, and where
//! that has no listing of a folder, from the parent's tree. Both are read along with the walk, in order
//! of names, so neither has to fit in memory. And the way back: the walk's listings go into the cache.
//!
//! Nothing here decides that an entry is unchanged, and nothing here can fail a snapshot: what cannot
//! be read is not known.

use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::base::monitor::Monitor;
use crate::files::stat::Stat;
use crate::format::list::ListEntry;
use crate::format::node::{Node, NodeType};
use crate::ops::snapshot::files::entry::Output;
use crate::ops::snapshot::files::rows::Rows;
use crate::repo;
use crate::repo::index::{FileCache, FileKey, FolderKey};
use crate::repo::read::ChunkReader;
use crate::vfs::Children;

/// Where earlier snapshots are read.
pub struct Known<'a> {
    /// The file cache, unless it failed.
    pub cache: Option<FileCache>,
    /// Reads the parent's tree, if there is one and this key may read it.
    pub parent: Option<(ChunkReader, Vec<ListEntry>)>,
    /// Is told when the cache or the parent fail.
    pub monitor: &'a dyn Monitor,
    /// Whether this walk's listings go into the cache.
    pub keeps: bool,
}

/// What is known of one folder's entries.
pub struct Earlier {
    name: Vec<u8>,
    rows: Option<Rows>,
    parent: InParent,
    kept: Kept,
}

/// What becomes known of a folder's entries.
pub struct Kept {
    key: FolderKey,
    /// Whether the listing goes into the cache: all of it is wanted.
    wanted: bool,
    /// Chunks of the listing that there were, and whether they are all as they are in the cache already.
    chunks: u32,
    same: bool,
}

/// The folder in the parent's tree.
enum InParent {
    /// Nobody has asked yet.
    Unasked,
    /// It is not there.
    Absent,
    There(Box<Cursor>),
}

/// A folder of the parent, read up to some name.
struct Cursor {
    children: Children,
    next: Option<Node>,
}

impl Earlier {
    /// The key of the folder `name` in this one.
    fn child_key(&self, name: &[u8]) -> FolderKey {
        crate::crypto::hash(&[&self.kept.key[..], name].concat())
    }

    /// Whether whatever was found last is in the index for certain.
    pub fn is_certain(&self) -> bool {
        self.rows.as_ref().is_some_and(|rows| rows.listing.certain)
    }

    /// Whether the cache has nothing of the folder, so that whatever was found last is from the parent.
    pub fn is_uncached(&self) -> bool {
        self.rows.is_none()
    }

    /// The record of what was found last, if it was in the cache; and what `Known::store` needs.
    pub fn parts(&mut self) -> (Option<&Rows>, &mut Kept) {
        (self.rows.as_ref(), &mut self.kept)
    }
}

impl Known<'_> {
    /// What is known of the root, whose listing is to be kept if it is `whole`.
    pub fn root(&mut self, whole: bool) -> Earlier {
        self.folder(crate::crypto::hash(b"/"), b"", whole)
    }

    /// The same of the folder `name` in `above`.
    pub fn child(&mut self, above: &Earlier, name: &[u8], whole: bool) -> Earlier {
        self.folder(above.child_key(name), name, whole)
    }

    fn folder(&mut self, key: FolderKey, name: &[u8], whole: bool) -> Earlier {
        let found = self.cache.as_ref().map(|cache| cache.listing(&key));
        let found = found.and_then(|found| self.in_cache(found)).flatten();
        let rows = found.map(|(listing, first)| Rows::new(listing, first));
        let parent = if self.parent.is_some() { InParent::Unasked } else { InParent::Absent };
        let kept = Kept { key, wanted: self.keeps && whole, chunks: 0, same: rows.is_some() };
        Earlier { name: name.to_vec(), rows, parent, kept }
    }

    /// The result of a use of the cache; one that fails is not used any more.
    fn in_cache<T>(&mut self, result: Result<T, crate::repo::Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                self.monitor.note(&format!("unchanged files are looked for in the parent alone: {e}"));
                self.cache = None;
                None
            }
        }
    }

    /// What an earlier snapshot knew of the entry `name` in the innermost of `folders`, which are those
    /// that the walk is in, from the root. Names must ascend.
    pub fn find(&mut self, folders: &mut [Earlier], name: &[u8]) -> Option<Node> {
        let (last, _) = folders.split_last_mut()?;
        if last.rows.is_some() {
            return self.find_in_rows(last, name);
        }
        self.resolve(folders);
        let (last, _) = folders.split_last_mut()?;
        self.find_in_parent(last, name)
    }

    fn find_in_rows(&mut self, folder: &mut Earlier, name: &[u8]) -> Option<Node> {
        folder.rows.as_mut()?.find(name, |listing, place| {
            let chunk = self.cache.as_ref()?.chunk(listing, place);
            self.in_cache(chunk)?
        })
    }

    /// The content that the file `stat` is to follow, of which an earlier snapshot knew `node` under its name:
    /// what it held when it was read last, were it by another name; or else what the node has.
    pub fn followed(&mut self, node: Option<Node>, stat: &Stat) -> Vec<ListEntry> {
        let key = key_of(stat);
        let is_moved = match &node {
            None => true,
            // One that is known to be another, which took over the name.
            Some(node) => key.born.is_some() && node.meta.inode.is_some_and(|inode| inode != stat.inode),
        };
        let moved = self.cache.as_ref().filter(|_| is_moved).map(|cache| cache.content(key, stat.size));
        let moved = moved.and_then(|found| self.in_cache(found)).flatten();
        moved.or(node.map(|node| node.content)).unwrap_or_default()
    }

    /// Keeps what the file `stat` holds, for when it is moved.
    pub fn keep(&mut self, stat: &Stat, content: &[ListEntry]) {
        if self.keeps && stat.kind == NodeType::File {
            self.put(|cache| cache.put_content(key_of(stat), stat.size, content));
        }
    }

    /// Finds the folders in the parent's tree, from the first that nobody has asked for there.
    fn resolve(&mut self, folders: &mut [Earlier]) {
        let asked = folders.iter().rposition(|folder| !matches!(folder.parent, InParent::Unasked));
        let from = asked.map_or(0, |asked| asked + 1);
        for at in from..folders.len() {
            let name = folders[at].name.clone();
            let children = match at.checked_sub(1) {
                None => self.parent.as_ref().map(|(_, root)| root.clone()),
                Some(above) => {
                    let node = self.find_in_parent(&mut folders[above], &name);
                    node.filter(|node| node.kind == NodeType::Directory).map(|node| node.children)
                }
            };
            folders[at].parent = match children {
                Some(entries) => {
                    InParent::There(Box::new(Cursor { children: Children::new(entries), next: None }))
                }
                None => InParent::Absent,
            };
        }
    }

    fn find_in_parent(&self, folder: &mut Earlier, name: &[u8]) -> Option<Node> {
        let (reader, _) = self.parent.as_ref()?;
        let InParent::There(cursor) = &mut folder.parent else { return None };
        match cursor.find(reader, name) {
            Ok(found) => found,
            Err(e) => {
                self.monitor.note(&format!("files are read because the parent cannot be: {e}"));
                folder.parent = InParent::Absent;
                None
            }
        }
    }

    /// Passes by the folder `name` in `folder`.
    pub fn pass(&mut self, folder: &mut Earlier, name: &[u8]) {
        self.find_in_rows(folder, name);
    }

    /// Stores a chunk of a folder's listing in `output`, unless it is as it was, and keeps it for the next
    /// snapshot.
    pub fn store(
        &mut self,
        output: &Output<'_>,
        (rows, kept): (Option<&Rows>, &mut Kept),
        kind: ChunkKind,
        bytes: &[u8],
    ) -> Result<ChunkId, repo::Error> {
        if kind != ChunkKind::Tree {
            return output.store(kind, bytes);
        }
        let same = rows.and_then(|rows| rows.same(bytes));
        let id = match same {
            Some(id) if rows.is_some_and(|rows| rows.listing.certain) => output.pass(id),
            _ => output.store(kind, bytes)?,
        };
        if !kept.wanted {
            return Ok(id);
        }
        self.differ(kept, rows, same.is_some());
        if !kept.same {
            self.put(|cache| cache.put(&kept.key, kept.chunks, id, bytes));
        }
        kept.chunks += 1;
        Ok(id)
    }

    /// Notes whether a folder's listing goes on as in the cache. When it no longer does, what was so far
    /// becomes the beginning of a new one.
    fn differ(&mut self, kept: &mut Kept, rows: Option<&Rows>, same: bool) {
        if !kept.same || same {
            return;
        }
        kept.same = false;
        if let Some(rows) = rows.filter(|_| kept.chunks > 0) {
            self.put(|cache| cache.copy(&kept.key, rows.listing, kept.chunks));
        }
    }

    /// Says that all of a folder was stored.
    pub fn end(&mut self, mut folder: Earlier) {
        let (rows, kept) = folder.parts();
        if !kept.wanted {
            return;
        }
        self.differ(kept, rows, rows.is_some_and(|rows| rows.listing.chunks == kept.chunks));
        match rows {
            Some(rows) if kept.same => self.put(|cache| cache.take(rows.listing)),
            None if kept.chunks == 0 => {}
            _ => self.put(|cache| cache.end(&kept.key, kept.chunks)),
        }
    }

    fn put(&mut self, put: impl FnOnce(&mut FileCache) -> Result<(), repo::Error>) {
        let put = self.cache.as_mut().map_or(Ok(()), put);
        self.in_cache(put);
    }
}

fn key_of(stat: &Stat) -> FileKey {
    FileKey { inode: stat.inode, born: stat.btime.map(|time| time.0) }
}

impl Cursor {
    /// The entry `name`, which may be asked for twice.
    fn find(&mut self, reader: &ChunkReader, name: &[u8]) -> Result<Option<Node>, crate::repo::Error> {
        loop {
            if self.next.is_none() {
                self.next = self.children.next(reader)?;
            }
            match &self.next {
                Some(node) if node.name.as_slice() < name => self.next = None,
                Some(node) if node.name == name => return Ok(Some(node.clone())),
                _ => return Ok(None),
            }
        }
    }
}
