//! Bringing the cache up to date: list the parts, fetch those it lacks, load their rows in id
//! order. A few rows are sorted in memory; many are spread over files by their first byte and
//! sorted file by file, so that memory stays bounded however large the repository (D-5).

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};

use crate::base::clock::Cancel;
use crate::base::id::{ChunkId, ObjectHash};
use crate::base::monitor::{Count, Monitor};
use crate::format::index::{IndexPart, PackRecord};
use crate::format::name::{INDEX, ObjectName, index_name};
use crate::repo::index::cache::{Cache, Place, Row, TakeRow};
use crate::repo::index::pack_info::PackInfo;
use crate::repo::index::part::read_part;
use crate::repo::{Error, Repository};

/// Rows sorted in memory: 40 MB.
const ROWS_IN_MEMORY: usize = 1 << 20;
/// Files that more rows are spread over.
const BUCKETS: usize = 64;
/// Bytes of one spread row.
const ROW_LEN: usize = 40;

/// How often a load starts again because another process emptied the cache at the same time.
const ATTEMPTS: u32 = 100;

/// Brings the cache up to date with the repository. Parts that cannot be read are named to
/// `monitor` and left out: what they held is then stored again, and `check` reports them.
pub fn refresh(repo: &Repository, monitor: &dyn Monitor, cancel: &Cancel) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        let listed = list_parts(repo)?;
        let cache = repo.index();
        let mut loaded = cache.parts()?;
        if !loaded.is_subset(&listed) {
            // Parts went away: packs they named may be gone too. Rare, so start over.
            cache.clear()?;
            loaded.clear();
        }
        let mut missing: Vec<ObjectHash> = listed.difference(&loaded).copied().collect();
        missing.sort_unstable();
        if missing.is_empty() {
            return cache.catch_up();
        }
        if load_parts(repo, missing, monitor, cancel)? {
            return Ok(());
        }
    }
    Err(busy(repo.index()))
}

/// Loads `missing`; `false` if the cache was emptied meanwhile.
fn load_parts(
    repo: &Repository,
    missing: Vec<ObjectHash>,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<bool, Error> {
    monitor.phase("loading the index", Count::Items, Some(missing.len() as u64));
    let mut load = Load::new(repo.index())?;
    for id in missing {
        if cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        match read_part(repo, &id) {
            Ok(plain) => match IndexPart::decode(&plain) {
                Ok(part) => load.add(id, &part)?,
                Err(e) => monitor.warn(&format!("{} is left out: {e}", index_name(&id))),
            },
            Err(e) if e.is_of_backend() => return Err(e),
            Err(e) => monitor.warn(&format!("an index part is left out: {e}")),
        }
        monitor.add(Count::Items, 1);
    }
    load.finish()
}

fn busy(cache: &Cache) -> Error {
    Error::Cache {
        path: cache.dir().display().to_string(),
        reason: "other processes keep emptying it".into(),
    }
}

fn list_parts(repo: &Repository) -> Result<HashSet<ObjectHash>, Error> {
    let mut listed = HashSet::new();
    repo.backend().list(INDEX, &mut |entry| {
        if let Some(ObjectName::Index(id)) = ObjectName::parse(&entry.name) {
            listed.insert(id);
        }
    })?;
    Ok(listed)
}

/// Adds a part that this process wrote.
pub fn add_records(cache: &Cache, part: ObjectHash, packs: &[PackRecord]) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        let mut load = Load::new(cache)?;
        let numbers = cache.number_packs(&mut packs.iter().map(PackInfo::new))?;
        for (record, pack) in packs.iter().zip(numbers) {
            for (segment, at) in (0u32..).zip(record.directory.segments()) {
                for (ordinal, chunk) in (0u16..).zip(record.directory.chunks_of(at)) {
                    load.push((chunk.id, Place { pack, segment, ordinal }.pack_up()))?;
                }
            }
        }
        load.parts.push(part);
        if load.finish()? {
            return Ok(());
        }
    }
    Err(busy(cache))
}

/// Rows on their way into the cache.
struct Load<'c> {
    cache: &'c Cache,
    clears: i64,
    parts: Vec<ObjectHash>,
    rows: Vec<Row>,
    spread: Option<Spread>,
}

impl<'c> Load<'c> {
    fn new(cache: &'c Cache) -> Result<Self, Error> {
        Ok(Load { cache, clears: cache.clears()?, parts: Vec::new(), rows: Vec::new(), spread: None })
    }

    fn add(&mut self, id: ObjectHash, part: &IndexPart<'_>) -> Result<(), Error> {
        let packs = part.packs();
        let numbers = self.cache.number_packs(&mut packs.iter().map(|p| PackInfo::new(&part.record(p))))?;
        for row in part.rows() {
            let pack = numbers.get(row.pack as usize).copied().ok_or(Error::Worker)?;
            let place = Place { pack, segment: row.segment, ordinal: row.ordinal };
            self.push((row.id, place.pack_up()))?;
        }
        self.parts.push(id);
        Ok(())
    }

    fn push(&mut self, row: Row) -> Result<(), Error> {
        self.rows.push(row);
        if self.rows.len() >= ROWS_IN_MEMORY {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<(), Error> {
        let fail = |e: std::io::Error| cache_error(self.cache, e);
        let spread = match &mut self.spread {
            Some(spread) => spread,
            None => self.spread.insert(Spread::new(self.cache).map_err(fail)?),
        };
        for row in self.rows.drain(..) {
            spread.push(&row).map_err(fail)?;
        }
        Ok(())
    }

    /// `false` if the cache was emptied meanwhile: nothing was added.
    fn finish(mut self) -> Result<bool, Error> {
        if self.spread.is_some() {
            self.spill()?;
        }
        let rows = self.spread.as_ref().map_or(self.rows.len() as u64, |s| s.count);
        let (cache, spread, mut own) = (self.cache, &mut self.spread, std::mem::take(&mut self.rows));
        cache.load(self.clears, &self.parts, rows, &mut |take| match spread {
            None => {
                own.sort_unstable();
                own.drain(..).try_for_each(&mut *take)
            }
            Some(spread) => spread.drain(cache, take),
        })
    }
}

fn cache_error(cache: &Cache, e: std::io::Error) -> Error {
    Error::Cache { path: cache.dir().display().to_string(), reason: e.to_string() }
}

/// Rows in unnamed files, by the first bits of their ids.
struct Spread {
    buckets: Vec<BufWriter<File>>,
    count: u64,
}

impl Spread {
    fn new(cache: &Cache) -> std::io::Result<Self> {
        let make = |_| tempfile::tempfile_in(cache.dir()).map(|f| BufWriter::with_capacity(64 << 10, f));
        Ok(Spread { buckets: (0..BUCKETS).map(make).collect::<Result<_, _>>()?, count: 0 })
    }

    fn push(&mut self, (id, place): &Row) -> std::io::Result<()> {
        let bucket = &mut self.buckets[usize::from(id.0[0]) * BUCKETS / 256];
        bucket.write_all(&id.0)?;
        bucket.write_all(&place.to_le_bytes())?;
        self.count += 1;
        Ok(())
    }

    /// Hands out all rows in id order, one bucket in memory at a time.
    fn drain(&mut self, cache: &Cache, take: TakeRow<'_>) -> Result<(), Error> {
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = Vec::new();
        for bucket in self.buckets.drain(..) {
            let read = (|| {
                let mut file = bucket.into_inner().map_err(|e| e.into_error())?;
                file.seek(SeekFrom::Start(0))?;
                bytes.clear();
                file.read_to_end(&mut bytes)
            })();
            read.map_err(|e| cache_error(cache, e))?;
            let (found, _) = bytes.as_chunks::<ROW_LEN>();
            rows.extend(found.iter().filter_map(|row| {
                let (id, place) = row.split_first_chunk::<32>()?;
                Some((ChunkId(*id), i64::from_le_bytes(*place.first_chunk()?)))
            }));
            rows.sort_unstable();
            rows.drain(..).try_for_each(&mut *take)?;
        }
        Ok(())
    }
}
