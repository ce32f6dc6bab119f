//! `restore db`: a dump back into a database, through `pg_restore`. Streams from the repository
//! into it; only several jobs at once need a file. Afterwards the rows of every table are counted
//! and compared with what was counted when the dump was made.

use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use crate::base::clock::Cancel;
use crate::base::monitor::{Count, Monitor};
use crate::ops::Error;
use crate::ops::snapshot::GLOBALS;
use crate::postgres::archive::name::decode;
use crate::postgres::archive::select::Selection;
use crate::postgres::archive::toc::Head;
use crate::postgres::connect::Settings;
use crate::postgres::globals::globals_script;
use crate::postgres::restore::{RestoreOptions, restore_file, restore_stream};
use crate::postgres::server::{self, Server};
use crate::postgres::tools::{Program, Tool, Tools};
use crate::repo;
use crate::vfs::{Database, Entry, EntryKind, View};

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

/// What was restored.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// The database restored into.
    pub database: String,
    /// Bytes of the dump handed to pg_restore.
    pub bytes: u64,
    /// Tables whose rows were counted.
    pub tables: Vec<TableResult>,
}

impl Restored {
    /// Fails if a table has other rows than the snapshot.
    pub fn verify(&self) -> Result<(), Error> {
        match self.tables.iter().filter(|t| !t.matches()).count() {
            0 => Ok(()),
            count => Err(Error::Mismatch { database: self.database.clone(), count }),
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
    let target = request.settings.database().unwrap_or(&database.info().database).to_owned();
    let settings = request.settings.with_database(&target);
    let server = job.prepare(view, &settings, &target)?;
    let pg_restore = request.tools.find(Program::PgRestore, "the dump", dump_version(database))?;
    let mut options = request.options.clone();
    if let (Some(selection), Some(head)) = (&selection, &head) {
        options.use_list = Some(selection.use_list(head));
    }
    monitor.phase("restoring", Count::DoneBytes, Some(database.dump_len()));
    let bytes = match request.jobs.get() {
        1 => job.stream(&pg_restore, &settings, &options, selection.as_ref())?,
        _ => job.file(&pg_restore, &settings, &options)?,
    };
    let tables = match request.options.schema_only {
        true => Vec::new(),
        false => job.compare(&server, head.as_ref(), selection.as_ref())?,
    };
    Ok(Restored { database: target, bytes, tables })
}

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
        let exact = tables.iter().find(|t| format!("{}.{}", t.schema, t.name) == text);
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

    /// Creates the database, restores globals, and refuses to write over what is there.
    fn prepare(&self, view: &View, settings: &Settings, target: &str) -> Result<Server, Error> {
        let (tools, request) = (&self.request.tools, self.request);
        if request.globals {
            self.globals(view, &Server::new(tools, &settings.with_database("postgres"))?)?;
        }
        if request.create {
            let admin = Server::new(tools, &settings.with_database("postgres"))?;
            if !admin.has_database(target)? {
                admin.create_database(target, self.like(&admin)?.as_ref())?;
            }
        }
        let server = Server::new(tools, settings)?;
        let contents = server.contents()?;
        if contents.objects > 0 && !request.into_nonempty && !request.options.clean {
            let example = contents.example.map_or_else(String::new, |name| format!(", {name} among them"));
            return Err(Error::NotEmpty { database: target.into(), objects: contents.objects, example });
        }
        Ok(server)
    }

    /// What a new database should be like: as the dumped one was.
    fn like(&self, admin: &Server) -> Result<Option<server::Database>, Error> {
        let info = self.database.info();
        let template = admin.databases()?.into_iter().find(|d| d.name == "template0");
        Ok(template.map(|template| {
            let recorded = info.locale_provider.as_deref().and_then(server::provider);
            let (provider, locale, icu_rules) = match (recorded, template.provider) {
                (Some(recorded), Some(_)) => (Some(recorded), info.locale.clone(), info.icu_rules.clone()),
                _ => (template.provider, template.locale, template.icu_rules),
            };
            server::Database {
                encoding: info.encoding.clone(),
                collate: info.collate.clone().unwrap_or(template.collate),
                ctype: info.ctype.clone().unwrap_or(template.ctype),
                provider,
                locale,
                icu_rules,
                ..template
            }
        }))
    }

    fn globals(&self, view: &View, server: &Server) -> Result<(), Error> {
        let found = view.find(GLOBALS.as_bytes())?.filter(|entry| entry.kind == EntryKind::File);
        let entry = found.ok_or_else(|| Error::Usage {
            message: format!("the snapshot has no {GLOBALS}"),
            hint: Some("`snapshot db --globals` keeps roles and settings beside the databases"),
        })?;
        let mut sql = Vec::new();
        view.write(&entry, &mut sql, &crate::base::monitor::Silent)?;
        Ok(server.run(&globals_script(&sql)?)?)
    }

    fn stream(
        &self,
        pg_restore: &Tool,
        settings: &Settings,
        options: &RestoreOptions,
        selection: Option<&Selection>,
    ) -> Result<u64, Error> {
        let temp = &self.request.temp;
        let mut running = restore_stream(pg_restore, settings, options, temp, self.cancel)?;
        let filter = selection.map(|s| {
            let ids = s.dump_ids.clone();
            Box::new(move |id: u32| ids.contains(&id)) as Box<dyn FnMut(u32) -> bool>
        });
        let mut out = Counted { out: &mut running, monitor: self.monitor };
        let written = match options.clean {
            true => self.database.write_for_clean(false, filter, &mut out),
            false => self.database.write_dump(filter, &mut out),
        };
        match written {
            Ok(bytes) => self.warned(running.finish()?, bytes),
            // pg_restore went away: what it says is the reason.
            Err(e @ repo::Error::Sink { .. }) => {
                running.finish()?;
                Err(e.into())
            }
            Err(e) => Err(e.into()),
        }
    }

    fn file(&self, pg_restore: &Tool, settings: &Settings, options: &RestoreOptions) -> Result<u64, Error> {
        let temp = &self.request.temp;
        let fail = |source| Error::Output { what: "the temporary dump".into(), source };
        let mut file = tempfile::Builder::new().prefix("kamba-vault-").tempfile_in(temp).map_err(fail)?;
        let mut out = Counted { out: file.as_file_mut(), monitor: self.monitor };
        let bytes = match options.clean {
            true => self.database.write_for_clean(true, None, &mut out)?,
            false => self.database.write_seekable(&mut out)?,
        };
        let (path, jobs): (&Path, _) = (file.path(), self.request.jobs);
        self.monitor.phase("restoring with several jobs", Count::Items, None);
        let warnings = restore_file(pg_restore, settings, options, path, jobs, temp, self.cancel)?;
        self.warned(warnings, bytes)
    }

    fn warned(&self, warnings: String, bytes: u64) -> Result<u64, Error> {
        warnings.lines().for_each(|line| self.monitor.warn(line));
        Ok(bytes)
    }

    /// Counts the rows of every restored table.
    fn compare(
        &self,
        server: &Server,
        head: Option<&Head>,
        selection: Option<&Selection>,
    ) -> Result<Vec<TableResult>, Error> {
        let info = self.database.info();
        let restored = |key: &(Vec<u8>, Vec<u8>)| match (selection, head) {
            (Some(selection), Some(head)) => head.entries().any(|e| {
                selection.dump_ids.contains(&e.dump_id()) && e.namespace() == key.0 && e.tag() == key.1
            }),
            _ => true,
        };
        let mut wanted = Vec::new();
        for table in &info.tables {
            if let (Some(rows), Some(key)) = (table.rows, table_key(&table.node))
                && restored(&key)
            {
                wanted.push((format!("{}.{}", table.schema, table.name), rows, key));
            }
        }
        self.monitor.phase("counting rows", Count::Items, Some(wanted.len() as u64));
        let keys: Vec<(&[u8], &[u8])> = wanted.iter().map(|(_, _, (s, t))| (&s[..], &t[..])).collect();
        let found = server.row_counts(&keys, Some(&info.encoding))?;
        let results = wanted.into_iter().zip(found);
        Ok(results.map(|((table, expected, _), found)| TableResult { table, expected, found }).collect())
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
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.out.write(bytes)?;
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
