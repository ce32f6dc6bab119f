//! The file cache (D-6): what a snapshot of files knew of each folder's entries, so that an unchanged
//! file costs one `statx`. It is a SQLite file beside the index cache, with locks of its own, since a
//! walk writes to it for as long as it lasts. It may be deleted at any time (I-11).
//!
//! A folder's entries are encoded as in a tree chunk, in parts of bounded length, under a hash of the
//! folder's path and the id of the snapshot that they are from. They count only if that snapshot is
//! among those that were listed after the lease was taken; so what a session wrote that never
//! committed does not count, nor what is from a snapshot that is forgotten.
//!
//! It holds names and metadata of this machine's own files in plain, readable by their owner alone.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::base::id::SessionId;
use crate::repo::Error;
use crate::repo::index::cache::{connect, is_damaged, is_empty, remove_file_and_logs};

/// Raised whenever a table changes: an older file is thrown away.
const SCHEMA: i64 = 1;
const TABLES: &str = "
CREATE TABLE entries (folder BLOB NOT NULL, snapshot BLOB NOT NULL, part INTEGER NOT NULL, nodes BLOB NOT NULL);
CREATE UNIQUE INDEX entries_at ON entries (folder, snapshot, part);
CREATE TABLE writer (snapshot BLOB PRIMARY KEY) WITHOUT ROWID;
";
/// Bytes that wait to be written together.
const BATCH: usize = 1 << 20;
/// What a row costs beside its nodes.
const ROW: usize = 100;

/// What a folder is called here: a hash of its path.
pub type FolderKey = [u8; 32];

/// The first part of a folder's entries, and the snapshot that they are from.
#[derive(Debug)]
pub struct Found {
    /// Which snapshot.
    pub snapshot: SessionId,
    /// The nodes of part 0.
    pub nodes: Vec<u8>,
}

#[derive(Debug)]
enum Waiting {
    /// Nodes of a folder: its next part.
    Part(FolderKey, i64, Vec<u8>),
    /// All parts of the folder were put: those of other snapshots go.
    End(FolderKey),
}

/// The file cache, for one session.
#[derive(Debug)]
pub struct FileCache {
    conn: Connection,
    path: PathBuf,
    session: SessionId,
    live: HashSet<SessionId>,
    waiting: Vec<Waiting>,
    bytes: usize,
}

impl FileCache {
    /// Opens the cache in `dir`, or makes a new one, for `session`. Only what is from the snapshots
    /// `live` counts.
    pub fn open(dir: &Path, session: SessionId, live: HashSet<SessionId>) -> Result<Self, Error> {
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
        Ok(FileCache { conn, path, session, live, waiting: Vec::new(), bytes: 0 })
    }

    fn failed(&self, e: rusqlite::Error) -> Error {
        Error::Cache { path: self.path.display().to_string(), reason: e.to_string() }
    }

    /// The first part of what is known of `folder`, from a snapshot that counts.
    pub fn first(&self, folder: &FolderKey) -> Result<Option<Found>, Error> {
        let found = (|| {
            let mut rows = self
                .conn
                .prepare_cached("SELECT snapshot, nodes FROM entries WHERE folder = ?1 AND part = 0")?;
            let mut rows = rows.query([folder])?;
            while let Some(row) = rows.next()? {
                let snapshot = SessionId(row.get(0)?);
                if self.live.contains(&snapshot) {
                    return Ok(Some(Found { snapshot, nodes: row.get(1)? }));
                }
            }
            Ok(None)
        })();
        found.map_err(|e| self.failed(e))
    }

    /// A further part; `None` behind the last.
    pub fn part(
        &self,
        folder: &FolderKey,
        snapshot: &SessionId,
        part: u32,
    ) -> Result<Option<Vec<u8>>, Error> {
        let found = (|| {
            let mut row = self.conn.prepare_cached(
                "SELECT nodes FROM entries WHERE folder = ?1 AND snapshot = ?2 AND part = ?3",
            )?;
            row.query_row(params![folder, snapshot.0, part], |r| r.get(0)).optional()
        })();
        found.map_err(|e| self.failed(e))
    }

    /// Puts part number `part` of what this session knows of `folder`.
    pub fn put(&mut self, folder: &FolderKey, part: u32, nodes: Vec<u8>) -> Result<(), Error> {
        self.bytes += nodes.len() + ROW;
        self.waiting.push(Waiting::Part(*folder, part.into(), nodes));
        if self.bytes >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Says that all of `folder` was put, and read: what other snapshots knew of it may go.
    pub fn end(&mut self, folder: &FolderKey) {
        self.bytes += ROW;
        self.waiting.push(Waiting::End(*folder));
    }

    /// Writes what waits.
    pub fn flush(&mut self) -> Result<(), Error> {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let (session, path) = (self.session, &self.path);
        let written = (|| {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute("INSERT OR IGNORE INTO writer VALUES (?1)", [session.0])?;
            for item in &waiting {
                write(&tx, &session, item)?;
            }
            tx.commit()
        })();
        written.map_err(|e| Error::Cache { path: path.display().to_string(), reason: e.to_string() })
    }

    /// To be called once the session's snapshot exists: removes what can never count again.
    pub fn sweep(&mut self) -> Result<(), Error> {
        let (live, session) = (&self.live, self.session);
        let swept = (|| {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let writers: Vec<SessionId> = {
                let mut rows = tx.prepare("SELECT snapshot FROM writer")?;
                let rows = rows.query_map([], |r| r.get(0).map(SessionId))?;
                rows.collect::<Result<_, _>>()?
            };
            for dead in writers.iter().filter(|id| **id != session && !live.contains(*id)) {
                tx.execute("DELETE FROM entries WHERE snapshot = ?1", [dead.0])?;
                tx.execute("DELETE FROM writer WHERE snapshot = ?1", [dead.0])?;
            }
            tx.commit()
        })();
        swept.map_err(|e| self.failed(e))
    }
}

fn write(conn: &Connection, session: &SessionId, item: &Waiting) -> Result<(), rusqlite::Error> {
    match item {
        Waiting::Part(folder, part, nodes) => {
            let mut row = conn.prepare_cached("INSERT OR REPLACE INTO entries VALUES (?1, ?2, ?3, ?4)")?;
            row.execute(params![folder, session.0, part, nodes])?;
        }
        Waiting::End(folder) => {
            let mut rows = conn.prepare_cached("DELETE FROM entries WHERE folder = ?1 AND snapshot <> ?2")?;
            rows.execute(params![folder, session.0])?;
        }
    }
    Ok(())
}

/// `None` if the file has another schema.
fn open_file(path: &Path) -> Result<Option<Connection>, rusqlite::Error> {
    let mut conn = connect(path)?;
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

    fn open(dir: &Path, session: SessionId, live: &[SessionId]) -> FileCache {
        FileCache::open(dir, session, live.iter().copied().collect()).unwrap()
    }

    fn first(cache: &FileCache) -> Option<Vec<u8>> {
        cache.first(&[7; 32]).unwrap().map(|found| found.nodes)
    }

    #[test]
    fn only_what_is_from_a_snapshot_that_is_there_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = open(dir.path(), OLD, &[]);
        cache.put(&[7; 32], 0, b"zero".to_vec()).unwrap();
        cache.put(&[7; 32], 1, b"one".to_vec()).unwrap();
        cache.end(&[7; 32]);
        cache.flush().unwrap();
        assert_eq!(first(&cache), None, "its session has not committed yet");
        let mut cache = open(dir.path(), NEW, &[OLD]);
        assert_eq!(first(&cache).unwrap(), b"zero");
        assert_eq!(cache.part(&[7; 32], &OLD, 1).unwrap().unwrap(), b"one");
        assert_eq!(cache.part(&[7; 32], &OLD, 2).unwrap(), None);
        cache.put(&[7; 32], 0, b"new".to_vec()).unwrap();
        cache.flush().unwrap();
        assert_eq!(first(&cache).unwrap(), b"zero", "still being read");
        cache.end(&[7; 32]);
        cache.flush().unwrap();
        assert_eq!(first(&cache), None);
        assert_eq!(first(&open(dir.path(), OLD, &[NEW])).unwrap(), b"new");
    }

    #[test]
    fn what_can_never_count_again_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = open(dir.path(), OLD, &[]);
        cache.put(&[7; 32], 0, b"old".to_vec()).unwrap();
        cache.flush().unwrap();
        open(dir.path(), NEW, &[OLD]).sweep().unwrap();
        assert_eq!(first(&open(dir.path(), NEW, &[OLD])).unwrap(), b"old");
        open(dir.path(), NEW, &[]).sweep().unwrap();
        assert_eq!(first(&open(dir.path(), NEW, &[OLD])), None);
    }

    #[test]
    fn a_damaged_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("files.sqlite"), [7; 5000]).unwrap();
        assert_eq!(first(&open(dir.path(), NEW, &[OLD])), None);
    }
}
