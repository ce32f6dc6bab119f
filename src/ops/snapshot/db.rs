//! `snapshot db`: one or more databases through `pg_dump`, taken apart while they stream, so that
//! a table dedupes by its rows whatever surrounds it. The split is proven before the commit: what
//! the parts rejoin to has the hash of what was read (I-3).

use std::io::Read;
use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::id::hex;
use crate::base::monitor::{Count, Monitor};
use crate::crypto::StreamHasher;
use crate::format::database::{BlockInfo, DatabaseInfo, TableInfo};
use crate::format::node::{FileMeta, Node, NodeType};
use crate::format::root::SnapshotKind;
use crate::ops::Error;
use crate::ops::snapshot::parts::Parts;
use crate::ops::snapshot::{Gathered, Made, Provenance, directory, earlier, in_session};
use crate::postgres::archive::name::{encode, table_file};
use crate::postgres::archive::shadow::{Shadow, ShadowError};
use crate::postgres::archive::split::{SplitError, Splitter, Summary};
use crate::postgres::connect::Settings;
use crate::postgres::dump::{PassedOn, dump, dump_globals};
use crate::postgres::server::{Database, Server, ServerInfo};
use crate::postgres::tools::{Program, Tool, Tools};
use crate::repo::session::Session;
use crate::repo::{self, Repository};

/// Bytes of the dump read at a time.
const READ: usize = 1 << 20;
/// Name of the file of roles and settings.
pub const GLOBALS: &str = "globals.sql";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct DbRequest {
    /// How to reach the server.
    pub settings: Settings,
    /// Where pg_dump and psql are.
    pub tools: Tools,
    /// The databases; none for the one that the settings lead to.
    pub databases: Vec<String>,
    /// All but templates and those that allow no connections.
    pub all: bool,
    /// Also roles, tablespaces and settings of the cluster.
    pub globals: bool,
    /// Options for pg_dump.
    pub passed_on: PassedOn,
}

/// Snapshots databases.
pub fn snapshot_db(
    repo: &Repository,
    provenance: &Provenance,
    request: &DbRequest,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Made, Error> {
    // What can be refused is refused before a lease is taken.
    let server = match request.all {
        true => Server::anywhere(&request.tools, &request.settings)?,
        false => Server::new(&request.tools, &request.settings)?,
    };
    let info = server.info()?;
    let databases = choose(request, &info, server.databases()?, &*monitor)?;
    if request.globals && databases.iter().any(|d| database_node(&d.name) == GLOBALS) {
        return Err(Error::Usage {
            message: format!("a database is called {GLOBALS}, as the file of roles and tablespaces is"),
            hint: Some("leave out --globals, or rename the database"),
        });
    }
    let pg_dump = request.tools.find(Program::PgDump, "the server", info.version)?;
    let pg_dumpall = match request.globals {
        true => Some(request.tools.find(Program::PgDumpall, "the server", info.version)?),
        false => None,
    };
    in_session(repo, provenance, monitor, cancel, |session| {
        let total = databases.iter().map(|d| d.bytes.unwrap_or(0)).sum::<u64>();
        let mut gathering =
            Gathering { session, provenance, request, cancel, repo, info: &info, bytes: 0, items: 0 };
        // The size on the server is no more than a hint: indexes are in it, and no dump has them.
        session.monitor().phase("dumping", Count::SourceBytes, (total > 0).then_some(total));
        let mut nodes = Vec::new();
        for database in &databases {
            nodes.push(gathering.database(&pg_dump, database)?);
        }
        // Passwords of roles take the right to read them: without it, all the rest is stored.
        let with_passwords = pg_dumpall.is_none() || server.reads_passwords()?;
        if let Some(tool) = &pg_dumpall {
            nodes.push(gathering.globals(tool, with_passwords)?);
        }
        Ok(Gathered {
            kind: SnapshotKind::Database,
            sources: databases.iter().map(|d| d.name.clone()).collect(),
            children: directory(session, nodes)?,
            meta: FileMeta::default(),
            source_bytes: gathering.bytes,
            items: gathering.items,
            end_unverified: false,
            incomplete: !with_passwords,
            base: None,
        })
    })
}

/// The databases asked for, as the server describes them.
fn choose(
    request: &DbRequest,
    info: &ServerInfo,
    there: Vec<Database>,
    monitor: &dyn Monitor,
) -> Result<Vec<Database>, Error> {
    if request.all {
        let (chosen, invalid): (Vec<_>, Vec<_>) =
            there.into_iter().filter(|d| d.allows_connections && !d.is_template).partition(|d| d.is_valid);
        for database in invalid {
            monitor.warn(&format!(
                "database {} is left out: dropping it was begun, and it can only be dropped",
                database.name
            ));
        }
        return Ok(chosen);
    }
    let own = std::slice::from_ref(&info.database);
    let names = if request.databases.is_empty() { own } else { &request.databases };
    let mut chosen: Vec<Database> = Vec::new();
    for name in names {
        let found = there.iter().find(|d| d.name == *name).ok_or_else(|| Error::Usage {
            message: format!("the server has no database {name:?}"),
            hint: Some("`psql --list` shows the server's databases"),
        })?;
        if !chosen.contains(found) {
            chosen.push(found.clone());
        }
    }
    Ok(chosen)
}

/// The name of a database's node: its own, unless it could not be a name or be taken for a coded one.
pub fn database_node(name: &str) -> String {
    let plain = Node::new(name, NodeType::Database).check_name().is_ok() && !name.contains('%');
    if plain { name.to_owned() } else { encode(name.as_bytes()) }
}

/// Takes a piece of the dump.
type Each<'e> = &'e mut dyn FnMut(&[u8]) -> Result<(), ShadowError<repo::Error>>;

struct Gathering<'a> {
    session: &'a Session,
    provenance: &'a Provenance,
    request: &'a DbRequest,
    cancel: &'a Cancel,
    repo: &'a Repository,
    info: &'a ServerInfo,
    bytes: u64,
    items: u64,
}

impl Gathering<'_> {
    /// Dumps one database into a node.
    fn database(&mut self, pg_dump: &Tool, database: &Database) -> Result<Node, Error> {
        let started = self.repo.clock().now();
        let settings = self.request.settings.with_database(&database.name);
        let mut running = dump(pg_dump, &settings, &self.request.passed_on, self.cancel)?;
        let mut read = StreamHasher::plain();
        let mut joined = StreamHasher::plain();
        let mut splitter = Splitter::new();
        let node = database_node(&database.name);
        let earlier = earlier(self.session, self.provenance, SnapshotKind::Database, &database.name);
        let parts = Parts::new(self.session, earlier.folder(&node));
        let mut shadow = Shadow::new(parts, |bytes: &[u8]| joined.update(bytes));
        let mut buffer = vec![0; READ];
        let streamed = self.stream(&mut running, &mut buffer, &mut |bytes| {
            read.update(bytes);
            splitter.push(bytes, &mut shadow)
        });
        // If pg_dump failed, what it says is the reason, whatever the stream looked like.
        let failed_to_stream = matches!(streamed, Err(Error::Repo(_)));
        if !failed_to_stream {
            let warnings = running.finish()?;
            self.warn(&warnings);
        }
        streamed?;
        let summary = splitter.finish(&mut shadow).map_err(split_error)?;
        let (parts, _, _) = shadow.finish().map_err(shadow_error)?;
        let hash = read.finish();
        if joined.finish() != hash {
            return Err(Error::Proof { database: database.name.clone() });
        }
        if let Some(reason) = &summary.fallback {
            self.session.monitor().warn(&format!(
                "the dump of {} is stored as it is, because it was not understood: {reason}",
                database.name
            ));
        }
        self.bytes += summary.bytes;
        self.items += summary.tables.len() as u64;
        let described = parts.finish(node.as_bytes(), |objects| {
            let info = self.describe(pg_dump, database, &summary, objects, started.0, hash);
            info.encode().map_err(repo::Error::from)
        });
        Ok(described?)
    }

    /// Reads the dump to its end.
    fn stream(&self, source: &mut dyn Read, buffer: &mut [u8], each: Each<'_>) -> Result<(), Error> {
        loop {
            self.session.check()?;
            match source.read(buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    each(&buffer[..n]).map_err(shadow_error)?;
                    self.session.monitor().add(Count::SourceBytes, n as u64);
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(repo::Error::Source { what: "the dump".into(), source }.into()),
            }
        }
    }

    fn describe(
        &self,
        pg_dump: &Tool,
        database: &Database,
        summary: &Summary,
        objects: Vec<String>,
        started: i64,
        hash: [u8; 32],
    ) -> DatabaseInfo {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let head = summary.head.as_deref();
        DatabaseInfo {
            database: database.name.clone(),
            encoding: database.encoding.clone(),
            collate: Some(database.collate.clone()),
            ctype: Some(database.ctype.clone()),
            locale_provider: database.provider.map(str::to_owned),
            locale: database.locale.clone(),
            icu_rules: database.icu_rules.clone(),
            size: database.bytes.unwrap_or(0),
            server_version: self.info.version_text.clone(),
            dump_version: head.map_or_else(|| pg_dump.version.to_string(), |h| text(h.dump_version())),
            archive_version: head.map(|h| format!("1.{}", h.header().minor)),
            dump_arguments: self
                .request
                .passed_on
                .options()
                .iter()
                .map(|o| o.to_string_lossy().into_owned())
                .collect(),
            started,
            ended: self.repo.clock().now().0,
            exit_status: 0,
            dump_bytes: summary.bytes,
            dump_hash: hex(&hash),
            split: summary.fallback.is_none(),
            objects,
            tables: summary
                .tables
                .iter()
                .map(|t| TableInfo {
                    schema: text(&t.schema),
                    name: text(&t.name),
                    node: table_file(&t.schema, &t.name),
                    rows: t.rows,
                    bytes: t.bytes,
                })
                .collect(),
            blocks: summary
                .blocks
                .iter()
                .map(|b| BlockInfo { dump_id: b.dump_id, offset: b.offset })
                .collect(),
        }
    }

    /// Roles and settings of the cluster.
    fn globals(&mut self, pg_dumpall: &Tool, with_passwords: bool) -> Result<Node, Error> {
        if !with_passwords {
            let role = "this role may not read them";
            self.session.monitor().warn(&format!("{GLOBALS} is without passwords of roles: {role}"));
        }
        let mut running = dump_globals(pg_dumpall, &self.request.settings, with_passwords, self.cancel)?;
        let mut sql = Vec::new();
        let read = running.read_to_end(&mut sql);
        // If pg_dumpall failed, what it says is the reason.
        let warnings = running.finish()?;
        self.warn(&warnings);
        read.map_err(|source| repo::Error::Source { what: GLOBALS.into(), source })?;
        let mut stream = self.session.stream();
        stream.write(&sql)?;
        let content = stream.finish()?;
        self.bytes += sql.len() as u64;
        self.items += 1;
        Ok(Node::with_content(GLOBALS, NodeType::Globals, content.entries).map_err(repo::Error::from)?)
    }

    fn warn(&self, warnings: &str) {
        warnings.lines().for_each(|line| self.session.monitor().warn(line));
    }
}

fn shadow_error(e: ShadowError<repo::Error>) -> Error {
    match e {
        ShadowError::Sink(e) => e.into(),
        ShadowError::Split(reason) => Error::Split { reason: reason.to_owned() },
    }
}

fn split_error(e: SplitError<ShadowError<repo::Error>>) -> Error {
    match e {
        SplitError::Sink(e) => shadow_error(e),
        early @ SplitError::EndsEarly { .. } => Error::Split { reason: early.to_string() },
    }
}
