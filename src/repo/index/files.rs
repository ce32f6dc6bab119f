//! The file cache (D-6): the folders' listings of this machine's snapshots, so that an unchanged file
//! costs one `statx`, and an unchanged folder is neither encoded nor hashed nor stored anew. It is a
//! SQLite file beside the index cache, with locks of its own, since a walk writes to it for as long as
//! it lasts. It may be deleted at any time (I-11).
//!
//! A listing is kept as its tree chunks, with their ids, under a hash of the folder's path, and is never
//! edited: it is replaced whole, or taken over by a later snapshot that has the same. It counts only if
//! the snapshot that has it is among those that were listed after the lease was taken; so what a session
//! wrote that never committed does not count, nor what is from a snapshot that is forgotten.
//!
//! What a listing names was in the index when its snapshot was committed. It still is, and need not be
//! asked for, as long as the index cache was not emptied since: its `clears` stand beside the snapshot.
//!
//! Beside the listings stand the contents of files by their inodes, so that one that was moved can be
//! stored as what changed in it. They are put where a file is read, and nowhere else. Nothing is taken
//! for known by them, so they may be old, or of another file.
//!
//! It holds names and metadata of this machine's own files in plain, readable by their owner alone.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::base::id::{ChunkId, SessionId};
use crate::base::limits::LIST_INLINE_MAX;
use crate::format::list::{ListEntry, decode_entries, encode_entries};
use crate::format::wire::Reader;
use crate::repo::Error;
use crate::repo::index::cache::{connect, is_damaged, is_empty, remove_file_and_logs};

/// Raised whenever a table changes: an older file is thrown away.
const SCHEMA: i64 = 3;
/// Numbers are never given twice. A chunk's is that of its listing, times 2^24, plus its place there.
const TABLES: &str = "
CREATE TABLE writer (no INTEGER PRIMARY KEY AUTOINCREMENT, snapshot BLOB NOT NULL UNIQUE, clears INTEGER);
CREATE TABLE listing (no INTEGER PRIMARY KEY AUTOINCREMENT, folder BLOB NOT NULL, writer INTEGER NOT NULL,
                      chunks INTEGER NOT NULL);
CREATE INDEX listing_of ON listing (folder);
CREATE TABLE chunk (no INTEGER PRIMARY KEY, id BLOB NOT NULL, nodes BLOB NOT NULL);
CREATE TABLE content (slot INTEGER PRIMARY KEY, inode INTEGER NOT NULL, born INTEGER, entries BLOB NOT NULL);
";
/// Bytes that wait to be written together.
const BATCH: usize = 1 << 20;
/// What a row costs beside its nodes.
const ROW: usize = 100;
/// Pages that stay in memory, in KiB: the upper ones of the tables, since no listing is read twice.
const PAGES_KIB: i64 = 2 << 10;

/// Contents that there is room for, each in the slot that its inode's lowest bits say: 20 MB of short
/// ones. Files are gone without a word, so what stands there is overwritten and never cleared away.
const SLOTS: u64 = 1 << 17;
/// Files that are shorter are not worth a slot.
const CONTENT_MIN: u64 = 16 << 10;

/// What a folder is called here: a hash of its path.
pub type FolderKey = [u8; 32];

/// A folder's listing that counts.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    number: i64,
    /// How many chunks it has.
    pub chunks: u32,
    /// Whether all that it names is in the index for certain.
    pub certain: bool,
}

/// A chunk of a listing.
#[derive(Debug)]
pub struct ListingChunk {
    /// Its id in the repository.
    pub id: ChunkId,
    /// Its plaintext.
    pub nodes: Vec<u8>,
}

/// Which file of a file system: an inode is given again when its file is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKey {
    /// Its inode.
    pub inode: u64,
    /// When it was made, in nanoseconds, if that is known.
    pub born: Option<i64>,
}

#[derive(Debug)]
enum Waiting {
    /// The chunk at a place of a folder's new listing.
    Chunk(FolderKey, u32, ListingChunk),
    /// The first chunks of it are those of another listing.
    Copy(FolderKey, Listing, u32),
    /// It has so many chunks: the folder's other listings go.
    End(FolderKey, u32),
    /// A listing is this session's too.
    Take(Listing),
    /// The entries of a file's content.
    Content(FileKey, Vec<u8>),
}

/// The file cache, for one session.
#[derive(Debug)]
pub struct FileCache {
    conn: Connection,
    path: PathBuf,
    session: SessionId,
    live: HashSet<SessionId>,
    /// Numbers of the live snapshots, and whether what they name is in the index for certain.
    writers: HashMap<i64, bool>,
    waiting: Vec<Waiting>,
    bytes: usize,
}

impl FileCache {
    /// Opens the cache in `dir`, or makes a new one, for `session`. Only what is from the snapshots
    /// `live` counts, and it is certain if it was so with the index cache's `clears`.
    pub fn open(
        dir: &Path,
        session: SessionId,
        live: HashSet<SessionId>,
        clears: Option<i64>,
    ) -> Result<Self, Error> {
        let path = dir.join("files.sqlite");
        let fail = |reason: String| Error::Cache { path: path.display().to_string(), reason };
        let conn = match open_file(&path) {
            Ok(Some(conn)) => conn,
            Err(e) if !is_damaged(&e) => return Err(fail(e.to_string())),
            Ok(None) | Err(_) => {
                remove_file_and_logs(&path).map_err(|e| fail(e.to_string()))?;
                let made = open_file(&path).map_err(|e| fail(e.to_string()))?;
                made.ok_or_else(|| fail("a new file has an old schema".into()))?
            }
        };
        let writers = writers(&conn).map_err(|e| fail(e.to_string()))?.into_iter();
        let counts = writers.filter(|writer| live.contains(&writer.snapshot));
        let writers = counts.map(|w| (w.number, w.clears.is_some() && w.clears == clears)).collect();
        Ok(FileCache { conn, path, session, live, writers, waiting: Vec::new(), bytes: 0 })
    }

    fn failed(&self, e: rusqlite::Error) -> Error {
        Error::Cache { path: self.path.display().to_string(), reason: e.to_string() }
    }

    /// For questions: one transaction for many of them, for each would take and leave locks of its own.
    fn reading(&self) -> Result<&Connection, rusqlite::Error> {
        if self.conn.is_autocommit() {
            self.conn.execute_batch("BEGIN")?;
        }
        Ok(&self.conn)
    }

    /// For changes, after which questions see what others changed meanwhile.
    fn writing(&mut self) -> Result<Transaction<'_>, rusqlite::Error> {
        if !self.conn.is_autocommit() {
            self.conn.execute_batch("COMMIT")?;
        }
        self.conn.transaction_with_behavior(TransactionBehavior::Immediate)
    }

    /// What is known of `folder` from a snapshot that counts, and its first chunk.
    pub fn listing(&self, folder: &FolderKey) -> Result<Option<(Listing, ListingChunk)>, Error> {
        let found = (|| {
            let mut rows =
                self.reading()?.prepare_cached("SELECT no, writer, chunks FROM listing WHERE folder = ?1")?;
            let mut rows = rows.query([folder])?;
            while let Some(row) = rows.next()? {
                if let Some(&certain) = self.writers.get(&row.get(1)?) {
                    return Ok(Some(Listing { number: row.get(0)?, chunks: row.get(2)?, certain }));
                }
            }
            Ok(None)
        })();
        let Some(listing) = found.map_err(|e| self.failed(e))? else { return Ok(None) };
        Ok(self.chunk(&listing, 0)?.map(|first| (listing, first)))
    }

    /// The chunk at `place` of a listing, unless that is gone.
    pub fn chunk(&self, listing: &Listing, place: u32) -> Result<Option<ListingChunk>, Error> {
        let found = (|| {
            let mut row = self.reading()?.prepare_cached("SELECT id, nodes FROM chunk WHERE no = ?1")?;
            row.query_row([first_chunk(listing.number) + i64::from(place)], |r| {
                Ok(ListingChunk { id: ChunkId(r.get(0)?), nodes: r.get(1)? })
            })
            .optional()
        })();
        found.map_err(|e| self.failed(e))
    }

    /// Puts the chunk at `place` of what this session has as the listing of `folder`.
    pub fn put(&mut self, folder: &FolderKey, place: u32, id: ChunkId, nodes: &[u8]) -> Result<(), Error> {
        self.bytes += nodes.len();
        self.wait(Waiting::Chunk(*folder, place, ListingChunk { id, nodes: nodes.to_vec() }))
    }

    /// Puts, as the first `chunks` of it, those of another listing.
    pub fn copy(&mut self, folder: &FolderKey, from: Listing, chunks: u32) -> Result<(), Error> {
        self.wait(Waiting::Copy(*folder, from, chunks))
    }

    /// Says that all `chunks` of it were put: what other snapshots knew of the folder may go.
    pub fn end(&mut self, folder: &FolderKey, chunks: u32) -> Result<(), Error> {
        self.wait(Waiting::End(*folder, chunks))
    }

    /// Says that this session has the very same listing.
    pub fn take(&mut self, listing: Listing) -> Result<(), Error> {
        self.wait(Waiting::Take(listing))
    }

    /// The top entries of what the file `key`, which has `len` bytes now, held when it was read last, as
    /// far as is known.
    pub fn content(&self, key: FileKey, len: u64) -> Result<Option<Vec<ListEntry>>, Error> {
        if self.writers.is_empty() || len < CONTENT_MIN {
            return Ok(None);
        }
        let found = (|| {
            let mut row = self.reading()?.prepare_cached(
                "SELECT entries FROM content WHERE slot = ?1 AND inode = ?2 AND born IS ?3",
            )?;
            let row = row.query_row(params![slot(key), key.inode as i64, key.born], |r| r.get(0));
            row.optional()
        })();
        let found: Option<Vec<u8>> = found.map_err(|e| self.failed(e))?;
        let entries = |bytes: Vec<u8>| {
            decode_entries(Reader::new("content in the file cache", &bytes), LIST_INLINE_MAX).ok()
        };
        Ok(found.and_then(entries))
    }

    /// Puts what the file `key` of `len` bytes holds.
    pub fn put_content(&mut self, key: FileKey, len: u64, entries: &[ListEntry]) -> Result<(), Error> {
        if len < CONTENT_MIN {
            return Ok(());
        }
        let mut bytes = Vec::new();
        encode_entries(entries, &mut bytes);
        self.bytes += bytes.len();
        self.wait(Waiting::Content(key, bytes))
    }

    fn wait(&mut self, item: Waiting) -> Result<(), Error> {
        self.bytes += ROW;
        self.waiting.push(item);
        if self.bytes >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Writes what waits.
    pub fn flush(&mut self) -> Result<(), Error> {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let session = self.session;
        let written = (|| {
            let tx = self.writing()?;
            tx.execute("INSERT OR IGNORE INTO writer (snapshot) VALUES (?1)", [session.0])?;
            let writer =
                tx.query_row("SELECT no FROM writer WHERE snapshot = ?1", [session.0], |r| r.get(0))?;
            for item in &waiting {
                write(&tx, writer, item)?;
            }
            tx.commit()
        })();
        written.map_err(|e| self.failed(e))
    }

    /// To be called once the session's snapshot exists: removes what can never count again. All that the
    /// snapshot names is in the index, whose `clears` are these, unless that is not certain.
    pub fn sweep(mut self, clears: Option<i64>) -> Result<(), Error> {
        let (live, session) = (std::mem::take(&mut self.live), self.session);
        let swept = (|| {
            let tx = self.writing()?;
            tx.execute("UPDATE writer SET clears = ?2 WHERE snapshot = ?1", params![session.0, clears])?;
            let dead = |writer: &Writer| writer.snapshot != session && !live.contains(&writer.snapshot);
            for writer in writers(&tx)?.into_iter().filter(dead) {
                remove(&tx, "SELECT no FROM listing WHERE writer = ?1", params![writer.number])?;
                tx.execute("DELETE FROM writer WHERE no = ?1", [writer.number])?;
            }
            tx.commit()
        })();
        swept.map_err(|e| self.failed(e))
    }
}

/// A snapshot that wrote here.
struct Writer {
    number: i64,
    snapshot: SessionId,
    /// The index cache's when all that it names was there.
    clears: Option<i64>,
}

fn writers(conn: &Connection) -> Result<Vec<Writer>, rusqlite::Error> {
    let mut rows = conn.prepare("SELECT no, snapshot, clears FROM writer")?;
    let rows = rows.query_map([], |r| {
        Ok(Writer { number: r.get(0)?, snapshot: SessionId(r.get(1)?), clears: r.get(2)? })
    })?;
    rows.collect()
}

fn slot(key: FileKey) -> i64 {
    (key.inode % SLOTS) as i64
}

fn first_chunk(listing: i64) -> i64 {
    listing << 24
}

fn write(conn: &Connection, writer: i64, item: &Waiting) -> Result<(), rusqlite::Error> {
    match item {
        Waiting::Chunk(folder, place, ListingChunk { id, nodes }) => {
            let at = first_chunk(number(conn, writer, folder)?) + i64::from(*place);
            let mut row = conn.prepare_cached("INSERT OR REPLACE INTO chunk VALUES (?1, ?2, ?3)")?;
            row.execute(params![at, id.0, nodes])?;
        }
        Waiting::Copy(folder, from, chunks) => {
            let (from, to) = (first_chunk(from.number), first_chunk(number(conn, writer, folder)?));
            let mut rows = conn.prepare_cached(
                "INSERT OR REPLACE INTO chunk SELECT no - ?1 + ?2, id, nodes FROM chunk
                 WHERE no >= ?1 AND no < ?1 + ?3",
            )?;
            rows.execute(params![from, to, chunks])?;
        }
        Waiting::End(folder, chunks) => {
            let number = number(conn, writer, folder)?;
            let mut row = conn.prepare_cached("UPDATE listing SET chunks = ?2 WHERE no = ?1")?;
            row.execute(params![number, chunks])?;
            remove(conn, "SELECT no FROM listing WHERE folder = ?1 AND no <> ?2", params![folder, number])?;
        }
        Waiting::Take(listing) => {
            let mut row = conn.prepare_cached("UPDATE listing SET writer = ?2 WHERE no = ?1")?;
            row.execute(params![listing.number, writer])?;
        }
        Waiting::Content(key, entries) => {
            let mut row = conn.prepare_cached("INSERT OR REPLACE INTO content VALUES (?1, ?2, ?3, ?4)")?;
            row.execute(params![slot(*key), key.inode as i64, key.born, entries])?;
        }
    }
    Ok(())
}

/// The number of the listing of `folder` that `writer` is putting.
fn number(conn: &Connection, writer: i64, folder: &FolderKey) -> Result<i64, rusqlite::Error> {
    let mut row = conn.prepare_cached("SELECT no FROM listing WHERE folder = ?1 AND writer = ?2")?;
    if let Some(number) = row.query_row(params![folder, writer], |r| r.get(0)).optional()? {
        return Ok(number);
    }
    let mut row = conn.prepare_cached("INSERT INTO listing (folder, writer, chunks) VALUES (?1, ?2, 0)")?;
    row.insert(params![folder, writer])
}

/// Removes the listings that `which` selects.
fn remove(conn: &Connection, which: &str, params: &[&dyn rusqlite::ToSql]) -> Result<(), rusqlite::Error> {
    let mut rows = conn.prepare_cached(which)?;
    let numbers = rows.query_map(params, |r| r.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    for number in numbers {
        let (from, to) = (first_chunk(number), first_chunk(number + 1));
        conn.prepare_cached("DELETE FROM chunk WHERE no >= ?1 AND no < ?2")?.execute([from, to])?;
        conn.prepare_cached("DELETE FROM listing WHERE no = ?1")?.execute([number])?;
    }
    Ok(())
}

/// `None` if the file has another schema.
fn open_file(path: &Path) -> Result<Option<Connection>, rusqlite::Error> {
    let mut conn = connect(path)?;
    conn.pragma_update(None, "cache_size", -PAGES_KIB)?;
    if is_empty(&conn)? {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if is_empty(&tx)? {
            tx.execute_batch(TABLES)?;
            tx.pragma_update(None, "user_version", SCHEMA)?;
        }
        tx.commit()?;
    }
    let schema = conn.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0))?;
    Ok((schema == SCHEMA).then_some(conn))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const OLD: SessionId = SessionId([1; 16]);
    const NEW: SessionId = SessionId([2; 16]);

    const FOLDER: FolderKey = [7; 32];

    fn open(dir: &Path, session: SessionId, live: &[SessionId]) -> FileCache {
        FileCache::open(dir, session, live.iter().copied().collect(), Some(5)).unwrap()
    }

    /// Keeps `chunks` as the folder's listing.
    fn keep(cache: &mut FileCache, chunks: &[&[u8]]) {
        for (place, nodes) in (0..).zip(chunks) {
            cache.put(&FOLDER, place, ChunkId([nodes[0]; 32]), nodes).unwrap();
        }
        cache.end(&FOLDER, chunks.len() as u32).unwrap();
        cache.flush().unwrap();
    }

    /// The chunks of the folder's listing.
    fn kept(cache: &FileCache) -> Option<Vec<Vec<u8>>> {
        let (listing, first) = cache.listing(&FOLDER).unwrap()?;
        assert_eq!(first.id, ChunkId([first.nodes[0]; 32]));
        let chunk = |place| cache.chunk(&listing, place).unwrap().unwrap().nodes;
        assert!(cache.chunk(&listing, listing.chunks).unwrap().is_none());
        Some((0..listing.chunks).map(chunk).collect())
    }

    #[test]
    fn only_what_is_from_a_snapshot_that_is_there_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = open(dir.path(), OLD, &[]);
        keep(&mut cache, &[b"zero", b"one"]);
        assert_eq!(kept(&cache), None, "its session has not committed yet");
        let mut cache = open(dir.path(), NEW, &[OLD]);
        assert_eq!(kept(&cache).unwrap(), [b"zero".to_vec(), b"one".to_vec()]);
        cache.put(&FOLDER, 0, ChunkId([b'n'; 32]), b"new").unwrap();
        cache.flush().unwrap();
        assert_eq!(kept(&cache).unwrap().len(), 2, "still being read");
        cache.end(&FOLDER, 1).unwrap();
        cache.flush().unwrap();
        assert_eq!(kept(&cache), None);
        assert_eq!(kept(&open(dir.path(), OLD, &[NEW])).unwrap(), [b"new"]);
    }

    #[test]
    fn what_is_taken_over_is_of_the_snapshot_that_took_it() {
        let dir = tempfile::tempdir().unwrap();
        keep(&mut open(dir.path(), OLD, &[]), &[b"zero", b"one"]);
        let mut cache = open(dir.path(), NEW, &[OLD]);
        let (listing, _) = cache.listing(&FOLDER).unwrap().unwrap();
        cache.take(listing).unwrap();
        cache.flush().unwrap();
        assert_eq!(kept(&open(dir.path(), OLD, &[NEW])).unwrap().len(), 2);
        assert_eq!(kept(&open(dir.path(), OLD, &[OLD])), None);
    }

    #[test]
    fn a_listing_begins_as_another_and_leaves_that_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        keep(&mut open(dir.path(), OLD, &[]), &[b"zero", b"one", b"two"]);
        let mut cache = open(dir.path(), NEW, &[OLD]);
        let (listing, _) = cache.listing(&FOLDER).unwrap().unwrap();
        cache.copy(&FOLDER, listing, 2).unwrap();
        cache.put(&FOLDER, 2, ChunkId([b'n'; 32]), b"new").unwrap();
        cache.flush().unwrap();
        assert_eq!(kept(&cache).unwrap(), [b"zero".to_vec(), b"one".to_vec(), b"two".to_vec()]);
        cache.end(&FOLDER, 3).unwrap();
        cache.flush().unwrap();
        let cache = open(dir.path(), OLD, &[NEW]);
        assert_eq!(kept(&cache).unwrap(), [b"zero".to_vec(), b"one".to_vec(), b"new".to_vec()]);
        assert!(cache.chunk(&listing, 0).unwrap().is_none(), "the other one is gone");
    }

    #[test]
    fn what_was_in_the_index_is_certain_until_that_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let certain = |clears| {
            let cache = FileCache::open(dir.path(), NEW, [OLD].into(), clears).unwrap();
            cache.listing(&FOLDER).unwrap().unwrap().0.certain
        };
        let mut cache = open(dir.path(), OLD, &[]);
        keep(&mut cache, &[b"zero"]);
        assert!(!certain(Some(5)), "nobody has said so yet");
        cache.sweep(Some(5)).unwrap();
        assert!(certain(Some(5)));
        assert!(!certain(Some(6)) && !certain(None));
        open(dir.path(), OLD, &[]).sweep(None).unwrap();
        assert!(!certain(Some(5)) && !certain(None), "some of it is not in the index");
    }

    #[test]
    fn what_can_never_count_again_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        keep(&mut open(dir.path(), OLD, &[]), &[b"old"]);
        open(dir.path(), NEW, &[OLD]).sweep(None).unwrap();
        assert_eq!(kept(&open(dir.path(), NEW, &[OLD])).unwrap(), [b"old"]);
        open(dir.path(), NEW, &[]).sweep(None).unwrap();
        assert_eq!(kept(&open(dir.path(), NEW, &[OLD])), None);
    }

    #[test]
    fn contents_are_found_by_the_file_that_holds_them() {
        let dir = tempfile::tempdir().unwrap();
        let content = |byte| vec![ListEntry::Chunk { len: 20_000, id: ChunkId([byte; 32]) }];
        let key = FileKey { inode: 5, born: Some(7) };
        let again = FileKey { inode: 5 + SLOTS, ..key };
        let mut cache = open(dir.path(), OLD, &[]);
        keep(&mut cache, &[b"zero"]);
        cache.put_content(key, 20_000, &content(1)).unwrap();
        cache.put_content(FileKey { inode: 6, born: None }, 100, &content(2)).unwrap();
        cache.flush().unwrap();
        assert_eq!(cache.content(key, 20_000).unwrap(), None, "no snapshot is there that could have it");
        let mut cache = open(dir.path(), NEW, &[OLD]);
        assert_eq!(cache.content(key, 20_000).unwrap(), Some(content(1)));
        assert_eq!(cache.content(FileKey { born: Some(8), ..key }, 20_000).unwrap(), None);
        assert_eq!(cache.content(FileKey { born: None, ..key }, 20_000).unwrap(), None);
        assert_eq!(cache.content(FileKey { inode: 6, born: None }, 20_000).unwrap(), None, "it is short");
        cache.put_content(again, 20_000, &content(3)).unwrap();
        cache.flush().unwrap();
        assert_eq!(cache.content(again, 19).unwrap(), None, "it became short");
        assert_eq!(cache.content(again, 20_000).unwrap(), Some(content(3)));
        assert_eq!(cache.content(key, 20_000).unwrap(), None, "its place is taken");
    }

    #[test]
    fn a_damaged_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("files.sqlite"), [7; 5000]).unwrap();
        assert_eq!(kept(&open(dir.path(), NEW, &[OLD])), None);
    }
}
