//! Copies of packs that this machine wrote, for a repository that is far away or that its key may not
//! read: what changes is coded against them (D-2). They lie below the cache folder, encrypted as they
//! are in the repository; each begins with its pack's key, sealed to this machine's signer, since a
//! writer's keyring does not open what it wrote.
//!
//! Correctness never depends on them: a pack without a copy, or with one that is damaged, only means
//! that what would be coded against it is stored whole. Bounded: packs that were used longest ago go.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::base::id::PackId;
use crate::base::secret::Secret32;
use crate::repo::index::make_private_dir;
use crate::repo::keys::{Keys, SEALED_KEY_LEN};

/// Where they lie below the folder of the repository's cache.
const FOLDER: &str = "packs";
/// How names of files begin that are being written.
const TEMPORARY: &str = "new-";
/// From this age on, such a file is what a killed writer left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(86_400);

/// The copies.
pub struct Copies {
    dir: PathBuf,
    /// Bytes that all of them may take.
    limit: u64,
    /// When this session began: what it uses or adds has this age.
    now: SystemTime,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    packs: HashMap<PackId, Copy>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Copy {
    size: u64,
    used: SystemTime,
}

impl std::fmt::Debug for Copies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Copies({})", self.dir.display())
    }
}

impl Copies {
    /// The copies below `cache`, at most `limit` bytes of them, for a session that begins `now`.
    pub fn open(cache: &Path, limit: u64, now: SystemTime) -> io::Result<Self> {
        let dir = cache.join(FOLDER);
        make_private_dir(&dir)?;
        let table = look(&dir, now)?;
        let copies = Copies { dir, limit, now, table: Mutex::new(table) };
        if let Ok(mut table) = copies.table.lock() {
            // The limit may be lower than it was, and another process may have added some meanwhile.
            copies.make_room(&mut table, 0);
        }
        Ok(copies)
    }

    /// Keeps a copy of a pack, unless there is only room where this session's own are.
    pub fn keep(&self, id: &PackId, sealed_key: &[u8; SEALED_KEY_LEN], pack: &[u8]) -> io::Result<()> {
        let size = (sealed_key.len() + pack.len()) as u64;
        let fits = self.table.lock().is_ok_and(|mut table| self.make_room(&mut table, size));
        if !fits {
            return Ok(());
        }
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.dir)?;
        file.write_all(sealed_key)?;
        file.write_all(pack)?;
        file.as_file().set_modified(self.now)?;
        file.persist(self.path(id)).map_err(|e| e.error)?;
        if let Ok(mut table) = self.table.lock() {
            table.add(*id, Copy { size, used: self.now });
        }
        Ok(())
    }

    /// The key of a pack with this header, if there is a copy.
    pub fn key(&self, id: &PackId, keys: &Keys, header: &[u8; 64]) -> Option<Secret32> {
        let mut sealed = [0; SEALED_KEY_LEN];
        self.file(id)?.read_exact_at(&mut sealed, 0).ok()?;
        keys.open_own_key(header, &sealed)
    }

    /// Appends the bytes of a pack at `range`; whether there is a copy that has them.
    pub fn read(&self, id: &PackId, range: Range<u64>, into: &mut Vec<u8>) -> bool {
        let Some(file) = self.file(id) else { return false };
        let start = into.len();
        into.resize(start + range.end.saturating_sub(range.start) as usize, 0);
        let there = file.read_exact_at(&mut into[start..], SEALED_KEY_LEN as u64 + range.start).is_ok();
        if !there {
            into.truncate(start);
        }
        there
    }

    /// Drops a copy that turned out to be damaged.
    pub fn forget(&self, id: &PackId) {
        if let Ok(mut table) = self.table.lock() {
            self.remove(&mut table, id);
        }
    }

    /// A copy's file, which counts as used.
    fn file(&self, id: &PackId) -> Option<File> {
        let mut table = self.table.lock().ok()?;
        let copy = table.packs.get_mut(id)?;
        // Another process may have dropped it.
        let Ok(file) = File::open(self.path(id)) else {
            self.remove(&mut table, id);
            return None;
        };
        if copy.used != self.now {
            copy.used = self.now;
            // A copy whose age cannot be noted goes earlier than it might.
            let _ = file.set_modified(self.now);
        }
        Some(file)
    }

    /// Drops those used longest ago until `size` more bytes fit; whether they do.
    fn make_room(&self, table: &mut Table, size: u64) -> bool {
        while table.bytes.saturating_add(size) > self.limit {
            let of_before = table.packs.iter().filter(|(_, copy)| copy.used != self.now);
            let Some(oldest) = of_before.min_by_key(|(_, copy)| copy.used).map(|(id, _)| *id) else {
                return false;
            };
            self.remove(table, &oldest);
        }
        true
    }

    fn remove(&self, table: &mut Table, id: &PackId) {
        if let Some(gone) = table.packs.remove(id) {
            table.bytes -= gone.size;
        }
        // One that stays is found again by the next session.
        let _ = fs::remove_file(self.path(id));
    }

    fn path(&self, id: &PackId) -> PathBuf {
        self.dir.join(id.to_hex())
    }
}

impl Table {
    fn add(&mut self, id: PackId, copy: Copy) {
        self.bytes += copy.size;
        if let Some(before) = self.packs.insert(id, copy) {
            self.bytes -= before.size;
        }
    }
}

/// What lies in `dir`; what killed writers left there goes.
fn look(dir: &Path, now: SystemTime) -> io::Result<Table> {
    let mut table = Table::default();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // Another process may drop it in this moment.
        let Ok(metadata) = entry.metadata() else { continue };
        let (name, used) = (entry.file_name(), metadata.modified()?);
        let name = name.to_string_lossy();
        if let Some(id) = PackId::from_hex(&name) {
            table.add(id, Copy { size: metadata.len(), used });
        } else if name.starts_with(TEMPORARY) && now.duration_since(used).is_ok_and(|age| age > LEFT_BEHIND) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEY: [u8; SEALED_KEY_LEN] = [3; SEALED_KEY_LEN];

    fn day(n: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(n * 86_400)
    }

    fn has(copies: &Copies, n: u8) -> bool {
        let mut bytes = vec![9];
        let there = copies.read(&PackId([n; 32]), 10..20, &mut bytes);
        assert_eq!(bytes.len(), if there { 11 } else { 1 });
        assert!(!there || bytes[1..] == [n; 10], "{n}");
        there
    }

    #[test]
    fn what_was_used_longest_ago_goes() {
        let (folder, limit) = (tempfile::tempdir().unwrap(), 5 * 1048);
        let keep = |copies: &Copies, n: u8| copies.keep(&PackId([n; 32]), &KEY, &[n; 1000]).unwrap();
        let first = Copies::open(folder.path(), limit, day(1)).unwrap();
        (1..8).for_each(|n| keep(&first, n));
        // Those of one session do not drive each other out.
        assert_eq!((1..8).map(|n| has(&first, n)).filter(|has| *has).count(), 5);
        assert!(has(&first, 1) && !has(&first, 6));

        let second = Copies::open(folder.path(), limit, day(2)).unwrap();
        assert!(has(&second, 1) && has(&second, 3));
        keep(&second, 8);
        keep(&second, 9);
        let third = Copies::open(folder.path(), limit, day(3)).unwrap();
        let there: Vec<u8> = (1..10).filter(|n| third.file(&PackId([*n; 32])).is_some()).collect();
        assert!(there.len() == 5 && [1, 3, 8, 9].iter().all(|n| there.contains(n)), "{there:?}");

        let small = Copies::open(folder.path(), 1048, day(4)).unwrap();
        assert_eq!((1..10).filter(|n| has(&small, *n)).count(), 1);
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 1);
        assert!(small.keep(&PackId([10; 32]), &KEY, &[10; 2000]).is_ok() && !has(&small, 10));
    }

    #[test]
    fn what_is_cut_off_or_gone_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let copies = Copies::open(folder.path(), 1 << 20, day(1)).unwrap();
        (1..4).for_each(|n| copies.keep(&PackId([n; 32]), &KEY, &[n; 1000]).unwrap());
        let path = |n: u8| copies.path(&PackId([n; 32]));
        File::options().write(true).open(path(1)).unwrap().set_len(60).unwrap();
        fs::remove_file(path(2)).unwrap();
        assert!(!has(&copies, 1) && !has(&copies, 2) && has(&copies, 3));
        copies.forget(&PackId([3; 32]));
        assert!(!has(&copies, 3) && !path(3).exists());
    }

    #[test]
    fn what_killed_writers_left_goes() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join(FOLDER);
        fs::create_dir(&dir).unwrap();
        for (name, age) in [("new-old", 1), ("new-young", 9), ("something", 1)] {
            File::create(dir.join(name)).unwrap().set_modified(day(age)).unwrap();
        }
        Copies::open(folder.path(), 1 << 20, day(9)).unwrap();
        let left = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<_> = left.collect();
        left.sort();
        assert_eq!(left, ["new-young", "something"]);
    }
}
