//! The comparison after a restore: the rows of every table, counted, next to what was counted when
//! the dump was made.

use std::collections::HashSet;

use crate::base::monitor::Count;
use crate::ops::Error;
use crate::ops::restore_db::{Job, table_key};
use crate::postgres::archive::database::encoding;
use crate::postgres::archive::select::Selection;
use crate::postgres::archive::toc::Head;
use crate::postgres::server::Server;

/// One table, compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableResult {
    /// Schema and name.
    pub table: String,
    /// Rows in the snapshot.
    pub expected: u64,
    /// Rows in the database now; `None` if the table is not there.
    pub found: Option<u64>,
}

impl TableResult {
    /// Whether the rows are as many as they were.
    pub fn matches(&self) -> bool {
        self.found == Some(self.expected)
    }
}

impl Job<'_> {
    /// Counts the rows of every restored table.
    pub(super) fn compare(
        &self,
        server: &Server,
        head: Option<&Head>,
        selection: Option<&Selection>,
    ) -> Result<Vec<TableResult>, Error> {
        let info = self.database.info();
        let selected: Option<HashSet<(&[u8], &[u8])>> = head.zip(selection).map(|(head, selection)| {
            let entries = head.entries().filter(|e| selection.dump_ids.contains(&e.dump_id()));
            entries.map(|e| (e.namespace(), e.tag())).collect()
        });
        let mut wanted = Vec::new();
        for table in &info.tables {
            if let (Some(rows), Some(key)) = (table.rows, table_key(&table.node))
                && selected.as_ref().is_none_or(|selected| selected.contains(&(&key.0[..], &key.1[..])))
            {
                wanted.push((format!("{}.{}", table.schema, table.name), rows, key));
            }
        }
        self.monitor.phase("counting rows", Count::Items, Some(wanted.len() as u64));
        let keys: Vec<(&[u8], &[u8])> = wanted.iter().map(|(_, _, (s, t))| (&s[..], &t[..])).collect();
        // The dump's encoding is not the database's if pg_dump was told so.
        let encoding = head.and_then(encoding).unwrap_or(&info.encoding);
        let found = server.row_counts(&keys, Some(encoding))?;
        let results = wanted.into_iter().zip(found);
        Ok(results.map(|((table, expected, _), found)| TableResult { table, expected, found }).collect())
    }
}
