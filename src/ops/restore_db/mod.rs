//! `restore db`: a dump back into a database, through `pg_restore`. Streams from the repository
//! into it; only several jobs at once need a file. Afterwards the rows of every table are counted
//! and compared with what was counted when the dump was made.

mod compare;
mod target;

pub use compare::TableResult;

use std::io::{Seek, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;

use crate::base::clock::Cancel;
use crate::base::monitor::{Count, Monitor};
use crate::ops::Error;
use crate::postgres::archive::name::decode;
use crate::postgres::archive::reframe::Filter;
use crate::postgres::archive::select::Selection;
use crate::postgres::archive::toc::Head;
use crate::postgres::connect::Settings;
use crate::postgres::error::Error as PostgresError;
use crate::postgres::restore::{RestoreOptions, restore_file, restore_stream};
use crate::postgres::tools::{Program, Tool, Tools};
use crate::repo;
use crate::vfs::{Database, Entry, View};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// How to reach the server, with the database to restore into.
    pub settings: Settings,
    /// Where pg_restore and psql are.
    pub tools: Tools,
    /// Only these tables, each `SCHEMA.TABLE` or, where no schema has another of that name, `TABLE`.
    pub tables: Vec<String>,
    /// Create the database first.
    pub create: bool,
    /// First restore roles and settings, if the snapshot has them.
    pub globals: bool,
    /// Restore into a database that is not empty.
    pub into_nonempty: bool,
    /// Connections at once.
    pub jobs: NonZeroU32,
    /// A folder for temporary files: the dump, when there are several jobs.
    pub temp: PathBuf,
    /// What pg_restore is told.
    pub options: RestoreOptions,
}

/// What was restored.
#[derive(Debug, Default)]
pub struct Restored {
    /// The database restored into.
    pub database: String,
    /// Bytes of the dump handed to pg_restore.
    pub bytes: u64,
    /// Tables whose rows were counted.
    pub tables: Vec<TableResult>,
    /// What pg_restore could not do. It went on, so the rest may well be there.
    pub failure: Option<PostgresError>,
}

impl Restored {
    /// Whether every table has as many rows as in the snapshot; `None` if there was nothing to
    /// compare.
    pub fn matches(&self) -> Option<bool> {
        (!self.tables.is_empty()).then(|| self.tables.iter().all(TableResult::matches))
    }

    /// Fails if pg_restore did, or if a table has other rows than the snapshot.
    pub fn verify(self) -> Result<(), Error> {
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        match self.tables.iter().filter(|t| !t.matches()).count() {
            0 => Ok(()),
            count => Err(Error::Mismatch { database: self.database, count }),
        }
    }
}

/// The database called `name` in a snapshot, or its only one.
pub fn find_database(view: &View, name: Option<&str>) -> Result<Entry, Error> {
    let mut databases = Vec::new();
    view.children(&view.root(), &mut |entry| {
        let wanted = name.is_none_or(|name| entry.name == name.trim_matches('/').as_bytes());
        if wanted && view.database(&entry).is_some() {
            databases.push(entry);
        }
        Ok(())
    })?;
    let names = |all: &[Entry]| {
        let names: Vec<_> = all.iter().map(|e| String::from_utf8_lossy(&e.name).into_owned()).collect();
        names.join(", ")
    };
    match <[Entry; 1]>::try_from(databases) {
        Ok([only]) => Ok(only),
        Err(none) if none.is_empty() => Err(Error::Usage {
            message: match name {
                Some(name) => format!("the snapshot has no database {name:?}"),
                None => "the snapshot has no database".into(),
            },
            hint: Some("`kamba-vault ls SNAPSHOT` shows what is in it"),
        }),
        Err(many) => Err(Error::Usage {
            message: format!("the snapshot has several databases: {}", names(&many)),
            hint: Some("name one after a colon: SNAPSHOT:DATABASE"),
        }),
    }
}

/// Restores the database that `entry` is.
pub fn restore_db(
    view: &View,
    entry: &Entry,
    request: &RestoreRequest,
    monitor: &dyn Monitor,
    cancel: &Cancel,
) -> Result<Restored, Error> {
    let Some(database) = view.database(entry) else {
        return Err(Error::Usage { message: "this is no database".into(), hint: None });
    };
    let job = Job { database, request, monitor, cancel };
    let head = database.head()?;
    let selection = job.selection(head.as_ref())?;
    let pg_restore = request.tools.find(Program::PgRestore, "the dump", dump_version(database))?;
    let target = request.settings.database().unwrap_or(&database.info().database).to_owned();
    let settings = request.settings.with_database(&target);
    let server = job.prepare(view, &pg_restore, head.as_ref(), (&target, &settings))?;
    let mut options = request.options.clone();
    if let (Some(selection), Some(head)) = (&selection, &head) {
        options.use_list = Some(selection.use_list(head));
    }
    monitor.phase("restoring", Count::DoneBytes, Some(database.dump_len()));
    let (bytes, ended) = match request.jobs.get() {
        1 => job.stream(&pg_restore, &settings, &options, selection.as_ref())?,
        _ => job.file(&pg_restore, &settings, &options)?,
    };
    let failure = match pg_restore_failed(ended)? {
        Ok(warnings) => {
            warnings.lines().for_each(|line| monitor.warn(line));
            None
        }
        Err(failure) => Some(failure),
    };
    let tables = match request.options.schema_only {
        true => Vec::new(),
        false => match job.compare(&server, head.as_ref(), selection.as_ref()) {
            // If pg_restore failed, that is the reason for this as well.
            Err(_) if failure.is_some() => Vec::new(),
            tables => tables?,
        },
    };
    Ok(Restored { database: target, bytes, tables, failure })
}

/// How pg_restore ended: with its warnings, or with errors that it counted while it went on.
/// Everything else stops a restore.
fn pg_restore_failed(
    ended: Result<String, PostgresError>,
) -> Result<Result<String, PostgresError>, PostgresError> {
    match ended {
        Ok(warnings) => Ok(Ok(warnings)),
        Err(failure @ PostgresError::Failed { .. }) => Ok(Err(failure)),
        Err(error) => Err(error),
    }
}

/// Bytes written to pg_restore, and how it ended.
type Ran = (u64, Result<String, PostgresError>);

fn dump_version(database: &Database) -> crate::postgres::version::Version {
    use crate::postgres::version::Version;
    Version::parse(&database.info().dump_version).unwrap_or(Version(0))
}

struct Job<'a> {
    database: &'a Database,
    request: &'a RestoreRequest,
    monitor: &'a dyn Monitor,
    cancel: &'a Cancel,
}

impl Job<'_> {
    /// The entries of the tables that were asked for; `None` for everything.
    fn selection(&self, head: Option<&Head>) -> Result<Option<Selection>, Error> {
        if self.request.tables.is_empty() {
            return Ok(None);
        }
        let usage = |message| Error::Usage {
            message,
            hint: Some("`kamba-vault ls SNAPSHOT:DATABASE/tables` shows the tables"),
        };
        let Some(head) = head.filter(|_| self.database.info().split) else {
            return Err(usage("this dump was stored as it is, so single tables cannot be taken out".into()));
        };
        let mut wanted = Vec::new();
        for text in &self.request.tables {
            wanted
                .push(self.table_named(text).ok_or_else(|| usage(format!("the dump has no table {text}")))?);
        }
        let pairs: Vec<(&[u8], &[u8])> = wanted.iter().map(|(s, t)| (&s[..], &t[..])).collect();
        let selection = Selection::of_tables(head, &pairs);
        match selection.missing.first() {
            Some(place) => Err(usage(format!("the dump has no table {}", self.request.tables[*place]))),
            None => Ok(Some(selection)),
        }
    }

    /// Schema and name, in the dump's encoding, of the table that `text` means.
    fn table_named(&self, text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
        let tables = &self.database.info().tables;
        // Also as `ls` shows it: the only way to write a name that is not UTF-8 in the dump.
        let exact = tables.iter().find(|t| {
            t.node.strip_suffix(".copy") == Some(text) || format!("{}.{}", t.schema, t.name) == text
        });
        let found = exact.or_else(|| {
            let mut named = tables.iter().filter(|t| t.name == text);
            named.next().filter(|_| named.next().is_none())
        });
        match found {
            Some(table) => table_key(&table.node),
            // A table without rows of its own, such as a partitioned one, is known to the head alone.
            None => text.split_once('.').map(|(s, t)| (s.into(), t.into())),
        }
    }

    fn stream(
        &self,
        pg_restore: &Tool,
        settings: &Settings,
        options: &RestoreOptions,
        selection: Option<&Selection>,
    ) -> Result<Ran, Error> {
        let temp = &self.request.temp;
        let mut running = restore_stream(pg_restore, settings, options, temp, self.cancel)?;
        let mut out = Counted { out: &mut running, monitor: self.monitor, bytes: 0 };
        let filter = self.filter(options, selection);
        let written = match options.clean {
            true => self.database.write_for_clean(false, filter, &mut out),
            false => self.database.write_dump(filter, &mut out),
        };
        let bytes = out.bytes;
        match written {
            Ok(bytes) => Ok((bytes, running.finish())),
            // pg_restore closed its end: it failed and says why, or definitions were all it wanted.
            Err(e @ repo::Error::Sink { .. }) => match running.finish() {
                Ok(_) if !options.schema_only => Err(e.into()),
                ended => Ok((bytes, ended)),
            },
            Err(e) => Err(e.into()),
        }
    }

    /// Which data blocks pg_restore is to get; `None` for all.
    fn filter(&self, options: &RestoreOptions, selection: Option<&Selection>) -> Option<Filter<'static>> {
        // A dump that was not taken apart has no blocks that could be left out.
        if options.schema_only && self.database.info().split {
            return Some(Box::new(|_| false));
        }
        let ids = selection?.dump_ids.clone();
        Some(Box::new(move |id| ids.contains(&id)))
    }

    fn file(&self, pg_restore: &Tool, settings: &Settings, options: &RestoreOptions) -> Result<Ran, Error> {
        let temp = &self.request.temp;
        let fail = |source| Error::Output { what: "the temporary dump".into(), source };
        // Without a name: the plaintext is gone as soon as nobody has it open.
        let mut file = tempfile::tempfile_in(temp).map_err(fail)?;
        let mut out = Counted { out: &mut file, monitor: self.monitor, bytes: 0 };
        let bytes = match options.clean {
            true => self.database.write_for_clean(true, None, &mut out)?,
            false => self.database.write_seekable(&mut out)?,
        };
        file.rewind().map_err(fail)?;
        self.monitor.phase("restoring with several jobs", Count::Items, None);
        let jobs = self.request.jobs;
        Ok((bytes, restore_file(pg_restore, settings, options, file, jobs, temp, self.cancel)))
    }
}

/// Schema and name in the dump's encoding, from the name of a table's node.
fn table_key(node: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (schema, name) = node.strip_suffix(".copy")?.split_once('.')?;
    Some((decode(schema)?, decode(name)?))
}

/// Reports bytes as they go out.
struct Counted<'a, W: Write> {
    out: &'a mut W,
    monitor: &'a dyn Monitor,
    bytes: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.bytes += n as u64;
        self.monitor.add(Count::DoneBytes, n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_name_tables() {
        assert_eq!(table_key("public.orders.copy"), Some((b"public".to_vec(), b"orders".to_vec())));
        assert_eq!(table_key("a%2Ex.b.copy"), Some((b"a.x".to_vec(), b"b".to_vec())));
        assert_eq!(table_key("orders"), None);
    }
}
