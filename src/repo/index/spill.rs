//! A table of keys and values that stays in memory while it is small and goes to disk when it grows:
//! to a private SQLite file that is gone as soon as nobody has it open. It lives for one command, so
//! it is never synced, and nothing of it is kept.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use crate::repo::Error;

/// What an entry takes beside its bytes.
const ENTRY_COST: usize = 100;

/// The table.
#[derive(Debug)]
pub struct Spill {
    recent: HashMap<Vec<u8>, Vec<u8>>,
    cost: usize,
    most: usize,
    disk: Option<Connection>,
}

impl Spill {
    /// A table that takes about `most` bytes of memory.
    pub fn new(most: usize) -> Self {
        Spill { recent: HashMap::new(), cost: 0, most, disk: None }
    }

    /// Puts a value, in place of the one before if there was one.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.cost += key.len() + value.len() + ENTRY_COST;
        self.recent.insert(key.to_vec(), value.to_vec());
        if self.cost < self.most { Ok(()) } else { self.flush().map_err(failed) }
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match (self.recent.get(key), &self.disk) {
            (Some(value), _) => Ok(Some(value.clone())),
            (None, None) => Ok(None),
            (None, Some(disk)) => look_up(disk, key).map_err(failed),
        }
    }

    fn flush(&mut self) -> Result<(), rusqlite::Error> {
        let disk = match &mut self.disk {
            Some(disk) => disk,
            none => none.insert(create()?),
        };
        let mut recent: Vec<_> = self.recent.drain().collect();
        recent.sort();
        self.cost = 0;
        let tx = disk.transaction()?;
        let mut insert = tx.prepare_cached("INSERT OR REPLACE INTO spill VALUES (?1, ?2)")?;
        for (key, value) in recent {
            insert.execute([key, value])?;
        }
        drop(insert);
        tx.commit()
    }
}

fn look_up(disk: &Connection, key: &[u8]) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    let mut select = disk.prepare_cached("SELECT value FROM spill WHERE key = ?1")?;
    select.query_row([key], |row| row.get(0)).optional()
}

/// An empty name means a file in the folder for temporary files, which nobody else can open.
fn create() -> Result<Connection, rusqlite::Error> {
    let disk = Connection::open("")?;
    disk.pragma_update(None, "journal_mode", "OFF")?;
    disk.pragma_update(None, "synchronous", "OFF")?;
    disk.execute_batch("CREATE TABLE spill (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")?;
    Ok(disk)
}

fn failed(e: rusqlite::Error) -> Error {
    Error::Cache { path: "for a large table, a temporary file".into(), reason: e.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_put_is_found_in_memory_and_on_disk() {
        let mut spill = Spill::new(2000);
        for n in 0..1000u32 {
            spill.put(&n.to_be_bytes(), format!("value {n}").as_bytes()).unwrap();
        }
        assert!(spill.disk.is_some() && spill.recent.len() < 20);
        spill.put(&7u32.to_be_bytes(), b"another").unwrap();
        for n in [0, 1, 500, 999u32] {
            assert_eq!(spill.get(&n.to_be_bytes()).unwrap(), Some(format!("value {n}").into_bytes()));
        }
        assert_eq!(spill.get(&7u32.to_be_bytes()).unwrap().as_deref(), Some(&b"another"[..]));
        assert_eq!(spill.get(b"none").unwrap(), None);
        assert_eq!(Spill::new(10).get(b"none").unwrap(), None);
    }
}
