//! The index cache: one SQLite file per repository and machine. It answers "where is this chunk",
//! is brought up to date from the repository's index parts, and may be deleted at any time (I-11).
//! It holds ids, wrapped keys and places: no plaintext and no key that opens anything by itself.
//!
//! Several processes may use one file at once. Each load raises its *generation*, so that the others
//! know their filters to be old; each emptying raises its *clears*, so that nobody goes on with
//! numbers of packs, or answers, from before. Clears begin at random, so that those of a file that was
//! deleted are not those of the next one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};
use std::time::Duration;

use rusqlite::ErrorCode::DatabaseBusy;
use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Statement, params};

use crate::base::id::{ChunkId, ObjectHash, PackId, RepositoryId, hex};
use crate::crypto;
use crate::repo::Error;
use crate::repo::index::filter::Filter;
use crate::repo::index::pack_info::PackInfo;

/// Raised whenever a table changes: an older file is thrown away and rebuilt.
const SCHEMA: i64 = 3;

const TABLES: &str = "
CREATE TABLE part (name BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE pack (no INTEGER PRIMARY KEY, id BLOB NOT NULL, size INTEGER NOT NULL,
                   digest BLOB NOT NULL, info BLOB NOT NULL, UNIQUE (id, digest));
CREATE TABLE chunk (id BLOB, place INTEGER, PRIMARY KEY (id, place)) WITHOUT ROWID;
CREATE TABLE filter (page INTEGER PRIMARY KEY, bits BLOB NOT NULL);
CREATE TABLE object (name TEXT PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE count (what TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO count VALUES ('chunks', 0);
INSERT INTO count VALUES ('generation', 0);
INSERT INTO count VALUES ('clears', random() / 2);
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

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(60);
/// Between two looks where SQLite does not wait by itself.
const BUSY_LOOK: Duration = Duration::from_millis(5);
/// Ids that go into the filter under one lock.
const FILTER_BATCH: usize = 4096;

/// The places of a chunk, oldest pack first.
const PLACES: &str = "SELECT place FROM chunk WHERE id = ?1 ORDER BY place";

/// Looks chunks up, one after another, in one state of the cache.
pub struct Look<'c> {
    row: CachedStatement<'c>,
    cache: &'c Cache,
}

impl Look<'_> {
    /// Appends every place where the chunk is, oldest pack first.
    pub fn append(&mut self, id: &ChunkId, places: &mut Vec<Place>) -> Result<(), Error> {
        append_places(&mut self.row, id, places).map_err(|e| self.cache.failed(e))
    }
}

fn append_places(
    row: &mut Statement<'_>,
    id: &ChunkId,
    places: &mut Vec<Place>,
) -> Result<(), rusqlite::Error> {
    let mut rows = row.query([id.0])?;
    while let Some(row) = rows.next()? {
        places.push(Place::unpack(row.get(0)?));
    }
    Ok(())
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
    /// Opens the cache of repository `id` at `location` below `dir`, or makes a new one: copies of
    /// one repository at two places hold different chunks. A file of another schema, or one that
    /// SQLite finds damaged, is replaced; one that is merely busy or out of reach is not.
    pub fn open(dir: &Path, id: &RepositoryId, location: &str) -> Result<Self, Error> {
        let place = crypto::hash(location.as_bytes());
        let dir = dir.join(format!("{}-{}", id.to_hex(), hex(&place[..4])));
        let fail = |path: &Path, reason: String| Error::Cache { path: path.display().to_string(), reason };
        make_private_dir(&dir).map_err(|e| fail(&dir, e.to_string()))?;
        let path = dir.join("index.sqlite");
        match Self::open_file(&path) {
            Ok(Some(cache)) => return Ok(cache),
            Ok(None) => {}
            Err(e) if is_damaged(&e) => {}
            Err(e) => return Err(fail(&path, e.to_string())),
        }
        remove_file_and_logs(&path).map_err(|e| fail(&path, e.to_string()))?;
        let made = Self::open_file(&path).map_err(|e| fail(&path, e.to_string()))?;
        made.ok_or_else(|| fail(&path, "a new file has an old schema".into()))
    }

    /// `None` if the file has another schema.
    fn open_file(path: &Path) -> Result<Option<Self>, rusqlite::Error> {
        let mut conn = connect(path)?;
        // Looking comes first: it waits for nobody, while another process loads for minutes.
        if is_empty(&conn)? {
            let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            if is_empty(&tx)? {
                tx.execute_batch(TABLES)?;
                tx.pragma_update(None, "user_version", SCHEMA)?;
            }
            tx.commit()?;
        }
        if conn.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0))? != SCHEMA {
            return Ok(None);
        }
        let generation = AtomicI64::new(count(&conn, "generation")?);
        let filter = load_filter(&conn)?;
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
        let mut places = Vec::new();
        self.read(|c| {
            let mut row = c.prepare_cached(PLACES)?;
            append_places(&mut row, id, &mut places)
        })?;
        Ok(places)
    }

    /// Has `each` look up many chunks with one look at the file.
    pub fn look(&self, each: &mut dyn FnMut(&mut Look<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.read(|c| {
            let looking = c.unchecked_transaction()?;
            let looked = each(&mut Look { row: c.prepare_cached(PLACES)?, cache: self });
            looking.commit()?;
            Ok(looked)
        })?
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

    /// Keeps a small immutable object in place of what was kept by that name. Does not wait while
    /// another process writes: it can be fetched again.
    pub fn keep_object(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let conn = self.writer()?;
        let kept = (|| {
            conn.busy_timeout(Duration::ZERO)?;
            let kept = conn.execute("INSERT OR REPLACE INTO object VALUES (?1, ?2)", params![name, bytes]);
            conn.busy_timeout(BUSY)?;
            kept
        })();
        kept.map(drop).map_err(|e| self.failed(e))
    }

    /// Empties everything that came from index parts: some of them are gone from the repository.
    pub fn clear(&self) -> Result<(), Error> {
        let mut conn = self.writer()?;
        let cleared = (|| {
            let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            tx.execute_batch(
                "DELETE FROM part; DELETE FROM pack; DELETE FROM chunk; DELETE FROM filter;
                 UPDATE count SET n = 0 WHERE what = 'chunks';
                 UPDATE count SET n = n + 1 WHERE what IN ('generation', 'clears');",
            )?;
            let generation = count(&tx, "generation")?;
            tx.commit()?;
            Ok(generation)
        })();
        let generation = cleared.map_err(|e| self.failed(e))?;
        *self.filter.write().map_err(|_| self.poisoned())? = Filter::new(1);
        self.generation.store(generation, Ordering::Relaxed);
        Ok(())
    }

    /// A number that every emptying raises. While it stays, no chunk that was known becomes unknown, and
    /// what was read before another value is no longer so.
    pub fn clears(&self) -> Result<i64, Error> {
        self.read(|c| count(c, "clears"))
    }

    /// If other processes loaded parts since, takes over what they added to the filter.
    pub fn catch_up(&self) -> Result<(), Error> {
        let conn = self.writer()?;
        self.take_over_others_work(&conn)
    }

    fn take_over_others_work(&self, conn: &Connection) -> Result<(), Error> {
        let generation = count(conn, "generation").map_err(|e| self.failed(e))?;
        if generation != self.generation.load(Ordering::Relaxed) {
            let filter = load_filter(conn).map_err(|e| self.failed(e))?;
            *self.filter.write().map_err(|_| self.poisoned())? = filter;
            self.generation.store(generation, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Numbers for packs, as their rows of the index describe them: the old one where this very
    /// description is known already. Two parts that describe one pack differently give it two
    /// numbers: which of them is right, only reading shows.
    pub(super) fn number_packs(&self, packs: &mut dyn Iterator<Item = PackInfo>) -> Result<Vec<u32>, Error> {
        let mut conn = self.writer()?;
        let numbered = (|| {
            let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let numbers = {
                let mut known = tx.prepare_cached("SELECT no FROM pack WHERE id = ?1 AND digest = ?2")?;
                let mut add = tx.prepare_cached(
                    "INSERT INTO pack (id, size, digest, info) VALUES (?1, ?2, ?3, ?4) RETURNING no",
                )?;
                let number = |pack: PackInfo| {
                    let info = pack.encode();
                    let digest = crypto::hash(&info);
                    let found = known.query_row(params![pack.id.0, digest], |r| r.get(0)).optional()?;
                    match found {
                        Some(number) => Ok(number),
                        None => {
                            let row = params![pack.id.0, pack.size as i64, digest, info];
                            add.query_row(row, |r| r.get(0))
                        }
                    }
                };
                packs.map(number).collect::<Result<Vec<u32>, rusqlite::Error>>()?
            };
            tx.commit()?;
            Ok(numbers)
        })();
        numbered.map_err(|e| self.failed(e))
    }

    /// Adds parts and their rows in one transaction. Rows are handed in id order by `feed`, which
    /// calls its argument once per row: random inserts would thrash (D-5). Nothing is added and the
    /// answer is `false` if the cache was emptied since it had been so `clears` times: the packs'
    /// numbers went with it.
    pub(super) fn load(
        &self,
        clears: i64,
        parts: &[ObjectHash],
        rows: u64,
        feed: &mut dyn FnMut(TakeRow<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut conn = self.writer()?;
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
        let tx = tx.map_err(|e| self.failed(e))?;
        if count(&tx, "clears").map_err(|e| self.failed(e))? != clears {
            return Ok(false);
        }
        self.take_over_others_work(&tx)?;
        self.make_room(&tx, rows)?;
        let mut added = 0;
        {
            let mut add =
                tx.prepare("INSERT OR IGNORE INTO chunk VALUES (?1, ?2)").map_err(|e| self.failed(e))?;
            let mut ids = Vec::with_capacity(FILTER_BATCH);
            feed(&mut |(id, place)| {
                added += add.execute(params![id.0, place]).map_err(|e| self.failed(e))?;
                ids.push(id);
                if ids.len() == FILTER_BATCH { self.filter_in(&mut ids) } else { Ok(()) }
            })?;
            self.filter_in(&mut ids)?;
        }
        let generation = (|| {
            let mut add = tx.prepare("INSERT OR IGNORE INTO part VALUES (?1)")?;
            for part in parts {
                add.execute([part.0])?;
            }
            drop(add);
            tx.execute("UPDATE count SET n = n + ?1 WHERE what = 'chunks'", [added as i64])?;
            tx.execute("UPDATE count SET n = n + 1 WHERE what = 'generation'", [])?;
            count(&tx, "generation")
        })();
        let generation = generation.map_err(|e| self.failed(e))?;
        self.save_filter(&tx)?;
        tx.commit().map_err(|e| self.failed(e))?;
        self.generation.store(generation, Ordering::Relaxed);
        Ok(true)
    }

    /// Adds ids to the filter. They may be there before their rows are: a "maybe" too many is only
    /// looked up in vain, while readers must not wait for the transaction.
    fn filter_in(&self, ids: &mut Vec<ChunkId>) -> Result<(), Error> {
        let mut filter = self.filter.write().map_err(|_| self.poisoned())?;
        ids.drain(..).for_each(|id| filter.insert(&id));
        Ok(())
    }

    /// Replaces the filter by a larger one if `rows` more would be too many for it.
    fn make_room(&self, conn: &Connection, rows: u64) -> Result<(), Error> {
        let wanted = count_chunks(conn).map_err(|e| self.failed(e))? + rows;
        let pages = self.filter.read().map_err(|_| self.poisoned())?.pages();
        if wanted > Filter::capacity(pages) {
            let grown = grown_filter(conn, wanted).map_err(|e| self.failed(e))?;
            *self.filter.write().map_err(|_| self.poisoned())? = grown;
        }
        Ok(())
    }

    /// Writes the filter's changed pages. Only the holder of the writing connection changes the
    /// filter, so readers need not wait meanwhile.
    fn save_filter(&self, conn: &Connection) -> Result<(), Error> {
        let changed = self.filter.write().map_err(|_| self.poisoned())?.take_dirty();
        let filter = self.filter.read().map_err(|_| self.poisoned())?;
        let saved = (|| {
            let mut save = conn.prepare_cached("INSERT OR REPLACE INTO filter VALUES (?1, ?2)")?;
            for page in changed {
                save.execute(params![page as i64, filter.page(page)])?;
            }
            conn.execute("DELETE FROM filter WHERE page >= ?1", [filter.pages() as i64])
        })();
        saved.map(drop).map_err(|e| self.failed(e))
    }

    /// Calls `each` with number, id and size of every pack.
    pub fn each_pack_size(&self, each: &mut dyn FnMut(u32, PackId, u64)) -> Result<(), Error> {
        self.read(|c| {
            let mut rows = c.prepare_cached("SELECT no, id, size FROM pack")?;
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                each(row.get(0)?, PackId(row.get(1)?), row.get::<_, i64>(2)? as u64);
            }
            Ok(())
        })
    }
}

pub(super) fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(BUSY)?;
    // Otherwise SQLite plans a question again whenever other values are asked for.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    use_log(&conn)?;
    // A cache may lose its last transactions in a power cut, but must not tear: NORMAL in WAL mode.
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "cache_size", -16_384)?;
    conn.pragma_update(None, "temp_store", "FILE")?;
    Ok(conn)
}

/// Has the file written through a log (SQLite's "WAL mode"). Of several who want to be the first, SQLite lets one and
/// has the others fail instead of wait: each holds what the next one needs.
fn use_log(conn: &Connection) -> Result<(), rusqlite::Error> {
    let mut left = BUSY;
    loop {
        match conn.pragma_update(None, "journal_mode", "WAL") {
            Err(e) if e.sqlite_error_code() == Some(DatabaseBusy) && !left.is_zero() => {
                std::thread::sleep(BUSY_LOOK);
                left = left.saturating_sub(BUSY_LOOK);
            }
            done => return done,
        }
    }
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

pub(super) fn is_empty(conn: &Connection) -> Result<bool, rusqlite::Error> {
    conn.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_master)", [], |r| r.get(0))
}

/// Whether the file is no database, or a broken one.
pub(super) fn is_damaged(e: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(e.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
        // A file of ours whose rows are not what they should be is as good as broken.
        || matches!(e, rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::QueryReturnedNoRows)
}

/// Makes a folder that only its owner may look into.
pub fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

pub(super) fn remove_file_and_logs(path: &Path) -> std::io::Result<()> {
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
