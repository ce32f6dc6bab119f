//! A table of a moment: keys and values of which there may be more than memory should hold, such as
//! the hard links that a walk has met. It is a database of SQLite's own without a name, which stays in
//! memory while it is small, goes to disk when it is not, and is gone with its owner.

use rusqlite::{Connection, OptionalExtension, params};

use crate::repo::Error;

/// What of it stays in memory, in KiB.
const MEMORY_KIB: i64 = 4 << 10;

/// A table of bytes by bytes.
#[derive(Debug)]
pub struct Spill(Connection);

impl Spill {
    /// An empty table.
    pub fn new() -> Result<Self, Error> {
        let made = (|| {
            let conn = Connection::open("")?;
            conn.pragma_update(None, "cache_size", -MEMORY_KIB)?;
            conn.pragma_update(None, "journal_mode", "OFF")?;
            conn.pragma_update(None, "synchronous", "OFF")?;
            conn.execute_batch("CREATE TABLE kept (key BLOB PRIMARY KEY, value BLOB NOT NULL)")?;
            Ok(conn)
        })();
        made.map(Spill).map_err(failed)
    }

    /// What was put under `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let found = (|| {
            let mut row = self.0.prepare_cached("SELECT value FROM kept WHERE key = ?1")?;
            row.query_row([key], |r| r.get(0)).optional()
        })();
        found.map_err(failed)
    }

    /// Puts `value` under `key`, in place of what was there.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let put = (|| {
            let mut row = self.0.prepare_cached("INSERT OR REPLACE INTO kept VALUES (?1, ?2)")?;
            row.execute(params![key, value])
        })();
        put.map(drop).map_err(failed)
    }
}

fn failed(e: rusqlite::Error) -> Error {
    Error::Cache { path: "for what is kept during this run".into(), reason: e.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_put_is_there_until_it_is_replaced() {
        let spill = Spill::new().unwrap();
        assert_eq!(spill.get(b"a").unwrap(), None);
        spill.put(b"a", b"1").unwrap();
        spill.put(b"b", &vec![7; 100_000]).unwrap();
        spill.put(b"a", b"2").unwrap();
        assert_eq!(spill.get(b"a").unwrap().unwrap(), b"2");
        assert_eq!(spill.get(b"b").unwrap().unwrap(), vec![7; 100_000]);
    }
}
