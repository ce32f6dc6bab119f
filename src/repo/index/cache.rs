//! The index cache: one SQLite file per repository and machine. It answers "where is this chunk",
//! is brought up to date from the repository's index parts, and may be deleted at any time (I-11).
//! It holds ids, wrapped keys and places: no plaintext and no key that opens anything by itself.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};

use rusqlite::{Connection, OptionalExtension, params};

use crate::base::id::{ChunkId, ObjectHash, PackId, RepositoryId};
use crate::repo::Error;
use crate::repo::index::filter::{Filter, PAGE};
use crate::repo::index::pack_info::PackInfo;

/// Raised whenever a table changes: an older file is thrown away and rebuilt.
const SCHEMA: i64 = 1;

const TABLES: &str = "
CREATE TABLE part (name BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE pack (no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, info BLOB NOT NULL);
CREATE TABLE chunk (id BLOB, place INTEGER, PRIMARY KEY (id, place)) WITHOUT ROWID;
CREATE TABLE filter (page INTEGER PRIMARY KEY, bits BLOB NOT NULL);
CREATE TABLE object (name TEXT PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE count (what TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO count VALUES ('chunks', 0);
INSERT INTO count VALUES ('generation', 0);
";

/// A chunk's place: pack number in this cache, segment, ordinal inside it. Packed into one integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Number of the pack in this cache.
    pub pack: u32,
    /// Segment of the pack.
    pub segment: u32,
    /// Chunk of the segment.
    pub ordinal: u16,
}

impl Place {
    /// One integer that sorts by pack, segment, ordinal.
    pub fn pack_up(self) -> i64 {
        i64::from(self.pack) << 27 | i64::from(self.segment) << 10 | i64::from(self.ordinal)
    }

    /// The reverse of `pack_up`.
    pub fn unpack(n: i64) -> Self {
        Place { pack: (n >> 27) as u32, segment: (n >> 10 & 0x1ffff) as u32, ordinal: (n & 0x3ff) as u16 }
    }
}

/// One row to load.
pub type Row = (ChunkId, i64);

/// Takes rows one after another.
pub type TakeRow<'t> = &'t mut dyn FnMut(Row) -> Result<(), Error>;

/// The cache.
pub struct Cache {
    path: PathBuf,
    /// The one connection that writes; readers take theirs from the pool.
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    filter: RwLock<Filter>,
    /// Raised in the file by every load; another value there means that another process loaded.
    generation: AtomicI64,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cache({})", self.path.display())
    }
}

impl Cache {
    /// Opens the cache of repository `id` below `dir`, or makes a new one. A file of another
    /// schema, or one that SQLite finds damaged, is replaced.
    pub fn open(dir: &Path, id: &RepositoryId) -> Result<Self, Error> {
        let dir = dir.join(id.to_hex());
        let fail = |path: &Path, reason: String| Error::Cache { path: path.display().to_string(), reason };
        make_private_dir(&dir).map_err(|e| fail(&dir, e.to_string()))?;
        let path = dir.join("index.sqlite");
        match Self::open_file(&path) {
            Ok(Some(cache)) => Ok(cache),
            Ok(None) | Err(_) => {
                remove_file_and_logs(&path).map_err(|e| fail(&path, e.to_string()))?;
                let made = Self::open_file(&path).map_err(|e| fail(&path, e.to_string()))?;
                made.ok_or_else(|| fail(&path, "a new file has an old schema".into()))
            }
        }
    }

    /// `None` if the file has another schema.
    fn open_file(path: &Path) -> Result<Option<Self>, rusqlite::Error> {
        let mut conn = connect(path)?;
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i64 = tx.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        let empty: bool =
            tx.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_master)", [], |r| r.get(0))?;
        if version == 0 && empty {
            tx.execute_batch(TABLES)?;
            tx.pragma_update(None, "user_version", SCHEMA)?;
        } else if version != SCHEMA {
            return Ok(None);
        }
        tx.commit()?;
        let filter = load_filter(&conn)?;
        let generation = AtomicI64::new(count(&conn, "generation")?);
        Ok(Some(Cache {
            path: path.to_owned(),
            writer: Mutex::new(conn),
            readers: Mutex::new(Vec::new()),
            filter: RwLock::new(filter),
            generation,
        }))
    }

    /// Turns a SQLite error into ours.
    pub(super) fn failed(&self, e: rusqlite::Error) -> Error {
        Error::Cache { path: self.path.display().to_string(), reason: e.to_string() }
    }

    fn poisoned(&self) -> Error {
        Error::Cache {
            path: self.path.display().to_string(),
            reason: "a thread failed while using it".into(),
        }
    }

    pub(super) fn writer(&self) -> Result<MutexGuard<'_, Connection>, Error> {
        self.writer.lock().map_err(|_| self.poisoned())
    }

    /// The folder that holds the cache, for temporary files that belong to it.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Runs `f` on a read connection of its own.
    fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>) -> Result<T, Error> {
        let pooled = self.readers.lock().map_err(|_| self.poisoned())?.pop();
        let conn = match pooled {
            Some(conn) => conn,
            None => connect(&self.path).map_err(|e| self.failed(e))?,
        };
        let result = f(&conn).map_err(|e| self.failed(e));
        self.readers.lock().map_err(|_| self.poisoned())?.push(conn);
        result
    }

    /// Names of the index parts that are loaded.
    pub fn parts(&self) -> Result<HashSet<ObjectHash>, Error> {
        self.read(|c| {
            let mut rows = c.prepare_cached("SELECT name FROM part")?;
            let names = rows.query_map([], |r| r.get::<_, [u8; 32]>(0).map(ObjectHash))?;
            names.collect()
        })
    }

    /// Whether the chunk is known. Nearly free for chunks that are not.
    pub fn contains(&self, id: &ChunkId) -> Result<bool, Error> {
        if !self.filter.read().map_err(|_| self.poisoned())?.maybe(id) {
            return Ok(false);
        }
        self.read(|c| {
            let mut found = c.prepare_cached("SELECT 1 FROM chunk WHERE id = ?1 LIMIT 1")?;
            found.exists([id.0])
        })
    }

    /// Every place where the chunk is, oldest pack first.
    pub fn places(&self, id: &ChunkId) -> Result<Vec<Place>, Error> {
        self.read(|c| {
            let mut rows = c.prepare_cached("SELECT place FROM chunk WHERE id = ?1 ORDER BY place")?;
            let places = rows.query_map([id.0], |r| r.get(0).map(Place::unpack))?;
            places.collect()
        })
    }

    /// What the index says of pack number `no`.
    pub fn pack(&self, no: u32) -> Result<Option<PackInfo>, Error> {
        let found = self.read(|c| {
            let mut row = c.prepare_cached("SELECT id, info FROM pack WHERE no = ?1")?;
            row.query_row([no], |r| Ok((PackId(r.get(0)?), r.get::<_, Vec<u8>>(1)?))).optional()
        })?;
        found.map(|(id, bytes)| self.decode_pack(id, &bytes)).transpose()
    }

    fn decode_pack(&self, id: PackId, bytes: &[u8]) -> Result<PackInfo, Error> {
        PackInfo::decode(id, bytes).ok_or_else(|| Error::Cache {
            path: self.path.display().to_string(),
            reason: format!("pack {id} is garbled"),
        })
    }

    /// Calls `each` for every pack, in order of number.
    pub fn each_pack(&self, each: &mut dyn FnMut(u32, PackInfo) -> Result<(), Error>) -> Result<(), Error> {
        let mut next = 0;
        loop {
            let found = self.read(|c| {
                let mut row =
                    c.prepare_cached("SELECT no, id, info FROM pack WHERE no >= ?1 ORDER BY no LIMIT 1")?;
                row.query_row([next], |r| Ok((r.get(0)?, PackId(r.get(1)?), r.get::<_, Vec<u8>>(2)?)))
                    .optional()
            })?;
            let Some((no, id, bytes)) = found else { return Ok(()) };
            each(no, self.decode_pack(id, &bytes)?)?;
            next = no + 1;
        }
    }

    /// Number of packs and of chunk places.
    pub fn counts(&self) -> Result<(u64, u64), Error> {
        self.read(|c| {
            let packs: i64 = c.query_row("SELECT count(*) FROM pack", [], |r| r.get(0))?;
            Ok((packs.max(0) as u64, count_chunks(c)?))
        })
    }

    /// How many chunks the index says are in each pack, by its number.
    pub fn chunks_by_pack(&self) -> Result<HashMap<u32, u64>, Error> {
        self.read(|c| {
            let mut counts = HashMap::new();
            let mut rows = c.prepare("SELECT place FROM chunk")?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                *counts.entry(Place::unpack(row.get(0)?).pack).or_insert(0) += 1;
            }
            Ok(counts)
        })
    }

    /// A small immutable object kept here, such as a root.
    pub fn object(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        self.read(|c| {
            let mut row = c.prepare_cached("SELECT bytes FROM object WHERE name = ?1")?;
            row.query_row([name], |r| r.get(0)).optional()
        })
    }

    /// Names of the small objects kept here that begin with `prefix`.
    pub fn objects(&self, prefix: &str) -> Result<Vec<String>, Error> {
        self.read(|c| {
            let mut rows = c.prepare_cached("SELECT name FROM object WHERE name >= ?1 ORDER BY name")?;
            let names = rows.query_map([prefix], |r| r.get::<_, String>(0))?;
            let ours = |name: &Result<String, _>| name.as_ref().map_or(true, |n| n.starts_with(prefix));
            names.take_while(ours).collect()
        })
    }

    /// Keeps a small immutable object.
    pub fn keep_object(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let conn = self.writer()?;
        let kept = conn.execute("INSERT OR IGNORE INTO object VALUES (?1, ?2)", params![name, bytes]);
        kept.map(drop).map_err(|e| self.failed(e))
    }

    /// Empties everything that came from index parts: some of them are gone from the repository.
    pub fn clear(&self) -> Result<(), Error> {
        let mut conn = self.writer()?;
        let cleared = (|| {
            let tx = conn.transaction()?;
            tx.execute_batch(
                "DELETE FROM part; DELETE FROM pack; DELETE FROM chunk; DELETE FROM filter;
                 UPDATE count SET n = 0 WHERE what = 'chunks';
                 UPDATE count SET n = n + 1 WHERE what = 'generation';",
            )?;
            tx.commit()
        })();
        cleared.map_err(|e| self.failed(e))?;
        *self.filter.write().map_err(|_| self.poisoned())? = Filter::new(1);
        Ok(())
    }

    /// Adds parts, packs and rows in one transaction. `rows` are handed in id order by `feed`,
    /// which calls its argument once per row: random inserts would thrash (D-5). Nothing is added
    /// and the answer is `false` if another load came between since `generation`, when the packs
    /// were numbered: their numbers may be taken.
    pub(super) fn load(
        &self,
        generation: i64,
        parts: &[ObjectHash],
        packs: &[(u32, PackId, Vec<u8>)],
        rows: u64,
        feed: &mut dyn FnMut(TakeRow<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut conn = self.writer()?;
        let mut filter = self.filter.write().map_err(|_| self.poisoned())?;
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
        let tx = tx.map_err(|e| self.failed(e))?;
        if count(&tx, "generation").map_err(|e| self.failed(e))? != generation {
            return Ok(false);
        }
        let known = self.take_over_others_work(&tx, &mut filter).map_err(|e| self.failed(e))?;
        if known + rows > Filter::capacity(filter.pages()) {
            *filter = grown_filter(&tx, known + rows).map_err(|e| self.failed(e))?;
        }
        {
            let mut add =
                tx.prepare("INSERT OR IGNORE INTO pack VALUES (?1, ?2, ?3)").map_err(|e| self.failed(e))?;
            for (no, id, info) in packs {
                add.execute(params![no, id.0, info]).map_err(|e| self.failed(e))?;
            }
        }
        let mut added = 0;
        {
            let mut add =
                tx.prepare("INSERT OR IGNORE INTO chunk VALUES (?1, ?2)").map_err(|e| self.failed(e))?;
            feed(&mut |(id, place)| {
                filter.insert(&id);
                added += add.execute(params![id.0, place]).map_err(|e| self.failed(e))?;
                Ok(())
            })?;
        }
        (|| {
            let mut add = tx.prepare("INSERT OR IGNORE INTO part VALUES (?1)")?;
            for part in parts {
                add.execute([part.0])?;
            }
            drop(add);
            tx.execute("UPDATE count SET n = n + ?1 WHERE what = 'chunks'", [added as i64])?;
            tx.execute("UPDATE count SET n = n + 1 WHERE what = 'generation'", [])?;
            save_filter(&tx, &mut filter)?;
            let generation = count(&tx, "generation")?;
            tx.commit()?;
            self.generation.store(generation, Ordering::Relaxed);
            Ok(true)
        })()
        .map_err(|e| self.failed(e))
    }

    /// If another process loaded parts since, its filter is the one to go on from. Returns how
    /// many chunk rows there are.
    fn take_over_others_work(&self, tx: &Connection, filter: &mut Filter) -> Result<u64, rusqlite::Error> {
        if count(tx, "generation")? != self.generation.load(Ordering::Relaxed) {
            *filter = load_filter(tx)?;
        }
        count_chunks(tx)
    }

    /// The cache's generation and the number that the next new pack gets.
    pub(super) fn next_pack(&self) -> Result<(i64, u32), Error> {
        self.read(|c| {
            // One statement sees one state, whatever other processes do meanwhile.
            c.query_row(
                "SELECT (SELECT n FROM count WHERE what = 'generation'),
                        (SELECT coalesce(max(no) + 1, 0) FROM pack)",
                [],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
        })
    }

    /// The number of a pack that is known.
    pub fn pack_number(&self, id: &PackId) -> Result<Option<u32>, Error> {
        self.read(|c| {
            let mut row = c.prepare_cached("SELECT no FROM pack WHERE id = ?1")?;
            row.query_row([id.0], |r| r.get(0)).optional()
        })
    }
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(std::time::Duration::from_secs(60))?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // A cache may lose its last transactions in a power cut, but must not tear: NORMAL in WAL mode.
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "cache_size", -16_384)?;
    conn.pragma_update(None, "temp_store", "FILE")?;
    Ok(conn)
}

fn count(conn: &Connection, what: &str) -> Result<i64, rusqlite::Error> {
    conn.query_row("SELECT n FROM count WHERE what = ?1", [what], |r| r.get(0))
}

fn count_chunks(conn: &Connection) -> Result<u64, rusqlite::Error> {
    count(conn, "chunks").map(|n| n.max(0) as u64)
}

fn load_filter(conn: &Connection) -> Result<Filter, rusqlite::Error> {
    let pages: u32 = conn.query_row("SELECT count(*) FROM filter", [], |r| r.get(0))?;
    let mut filter = Filter::new(pages.max(1) as usize);
    let mut rows = conn.prepare("SELECT page, bits FROM filter")?;
    let mut rows = rows.query([])?;
    let mut whole = true;
    while let Some(row) = rows.next()? {
        whole &= filter.load(row.get::<_, u32>(0)? as usize, row.get_ref(1)?.as_blob()?);
    }
    // A filter that does not fit its own page count is rebuilt from the chunks.
    if whole { Ok(filter) } else { grown_filter(conn, count_chunks(conn)?) }
}

fn grown_filter(conn: &Connection, keys: u64) -> Result<Filter, rusqlite::Error> {
    let mut filter = Filter::new(Filter::pages_for(keys));
    let mut rows = conn.prepare("SELECT id FROM chunk")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        filter.insert(&ChunkId(row.get(0)?));
    }
    Ok(filter)
}

fn save_filter(conn: &Connection, filter: &mut Filter) -> Result<(), rusqlite::Error> {
    let mut save = conn.prepare("INSERT OR REPLACE INTO filter VALUES (?1, ?2)")?;
    filter.drain_dirty(|page, bits| {
        debug_assert_eq!(bits.len(), PAGE);
        save.execute(params![page as i64, bits]).map(drop)
    })?;
    conn.execute("DELETE FROM filter WHERE page >= ?1", [filter.pages() as i64]).map(drop)
}

fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn remove_file_and_logs(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(PathBuf::from(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}
