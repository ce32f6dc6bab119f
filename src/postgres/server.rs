//! Questions to a server, asked through psql: it connects exactly as pg_dump will, with services,
//! password files, TLS and sockets. Statements go through its standard input, never an argument.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::base::limits::PSQL_ANSWER_MAX;
use crate::postgres::connect::Settings;
use crate::postgres::error::Error;
use crate::postgres::lsn::Lsn;
use crate::postgres::process::{Running, describe};
use crate::postgres::tools::{Program, Tool, Tools};
use crate::postgres::version::Version;

/// The status with which psql says that there is no connection ("Exit Status" in its manual).
const NO_CONNECTION: i32 = 2;

/// The databases that every server has, in the order in which pg_dumpall tries them.
pub(super) const MAINTENANCE: [&str; 2] = ["postgres", "template1"];

/// What users made, with its name: neither the system's, nor temporary, nor an extension's. A type
/// that belongs to a relation, or is the array or range of another, is no thing of its own.
const OF_USERS: &str = "WITH things (class, oid, namespace, name) AS ( \
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, relnamespace, relname FROM pg_catalog.pg_class \
        WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') \
    UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, pronamespace, proname \
        FROM pg_catalog.pg_proc p WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
        WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'i') \
    UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid, typnamespace, typname \
        FROM pg_catalog.pg_type t WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
        WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'i') \
    UNION ALL SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, oid, oid, NULL \
        FROM pg_catalog.pg_namespace WHERE nspname <> 'public'), \
    of_users (name) AS (SELECT pg_catalog.concat_ws('.', pg_catalog.quote_ident(n.nspname), pg_catalog.quote_ident(t.name)) \
    FROM things t JOIN pg_catalog.pg_namespace n ON n.oid = t.namespace \
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT EXISTS (SELECT FROM \
    pg_catalog.pg_depend d WHERE d.classid = t.class AND d.objid = t.oid AND d.deptype = 'e'))";

/// A server, reached through one of its databases.
#[derive(Clone, Debug)]
pub struct Server {
    psql: Tool,
    tools: Tools,
    settings: Settings,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version.
    pub version: Version,
    /// Its version in its own words: `15.18 (Debian 15.18-0+deb12u1)`.
    pub version_text: String,
    /// The database that the settings lead to.
    pub database: String,
}

/// A database of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its encoding: `UTF8`.
    pub encoding: String,
    /// How text is sorted.
    pub collate: String,
    /// How characters are classified.
    pub ctype: String,
    /// Whose rules those are, since PostgreSQL 15: `libc`, `icu`, `builtin`.
    pub provider: Option<&'static str>,
    /// The locale of a provider other than `libc`.
    pub locale: Option<String>,
    /// Rules added to an ICU locale.
    pub icu_rules: Option<String>,
    /// Bytes on disk; `None` without the right to connect to it.
    pub bytes: Option<u64>,
    /// Whether anybody may connect to it.
    pub allows_connections: bool,
    /// Whether it is a template.
    pub is_template: bool,
    /// False if dropping it was begun and not ended: nothing but that can be done with it.
    pub is_valid: bool,
}

/// What a database holds that users made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Schemas, relations, functions, types and large objects.
    pub objects: u64,
    /// One of them.
    pub example: Option<String>,
}

/// How far a server is that recovers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Whether it still does.
    pub in_recovery: bool,
    /// Whether it waits, at its target.
    pub paused: bool,
    /// How far it has replayed the WAL.
    pub replayed: Option<Lsn>,
    /// The time of the last commit that it replayed, in its words.
    pub last_commit: Option<String>,
}

/// One row of an answer.
type Row = Vec<Vec<u8>>;

impl Server {
    /// A server to be asked with any psql that there is. Nothing is connected yet.
    pub fn new(tools: &Tools, settings: &Settings) -> Result<Self, Error> {
        let psql = tools.any(Program::Psql)?;
        Ok(Server { psql, tools: tools.clone(), settings: settings.clone() })
    }

    /// A server as such, whichever of its databases leads to it: the one that the settings name,
    /// else those that every server has unless somebody dropped them.
    pub fn anywhere(tools: &Tools, settings: &Settings) -> Result<Self, Error> {
        match settings.database() {
            Some(_) => Server::new(tools, settings),
            None => Server::maintenance(tools, settings),
        }
    }

    /// A server through a database that is nobody's own, for work on others.
    pub fn maintenance(tools: &Tools, settings: &Settings) -> Result<Self, Error> {
        let [first, second] = MAINTENANCE.map(|name| Server::new(tools, &settings.with_database(name)));
        let first = first?;
        match first.info() {
            // What is wrong with the first may well be wrong with the second: the first is told.
            Err(error @ Error::Connect { .. }) => {
                let second = second?;
                second.info().map(|_| second).map_err(|_| error)
            }
            asked => asked.map(|_| first),
        }
    }

    /// The same server through another database.
    pub fn database(&self, name: &str) -> Self {
        Server { settings: self.settings.with_database(name), ..self.clone() }
    }

    /// The settings it is reached by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Version and database.
    pub fn info(&self) -> Result<ServerInfo, Error> {
        let sql = "SELECT pg_catalog.current_setting('server_version_num'), \
                   pg_catalog.current_setting('server_version'), pg_catalog.current_database();";
        let row = self.one_row(sql, 3, "itself")?;
        let version = text(&row[0]).parse().map(Version).map_err(|_| Error::Answer("its version"))?;
        Ok(ServerInfo { version, version_text: text(&row[1]), database: text(&row[2]) })
    }

    /// How far it is with recovering.
    pub fn recovery(&self) -> Result<Recovery, Error> {
        let sql = "SELECT r, CASE WHEN r THEN pg_catalog.pg_is_wal_replay_paused() END, \
                   pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_last_xact_replay_timestamp() \
                   FROM pg_catalog.pg_is_in_recovery() r;";
        let row = self.one_row(sql, 4, "its recovery")?;
        let some = |cell: &[u8]| (!cell.is_empty()).then(|| text(cell));
        Ok(Recovery {
            in_recovery: row[0] == b"t",
            paused: row[1] == b"t",
            replayed: some(&row[2]).and_then(|lsn| lsn.parse().ok()),
            last_commit: some(&row[3]),
        })
    }

    /// All databases, by name.
    pub fn databases(&self) -> Result<Vec<Database>, Error> {
        // Columns that some versions lack are asked for by way of JSON.
        let sql = "SELECT d.datname, pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, \
                   CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') \
                   THEN pg_catalog.pg_database_size(d.oid) END, d.datallowconn, d.datistemplate, d.datconnlimit = -2, \
                   j.d OPERATOR(pg_catalog.->>) 'datlocprovider', \
                   coalesce(j.d OPERATOR(pg_catalog.->>) 'datlocale', j.d OPERATOR(pg_catalog.->>) 'daticulocale'), \
                   j.d OPERATOR(pg_catalog.->>) 'daticurules' \
                   FROM pg_catalog.pg_database d, LATERAL (SELECT pg_catalog.to_jsonb(d)) j(d) ORDER BY d.datname;";
        let rows = self.ask(sql, None, 11, "its databases")?;
        let some = |cell: &[u8]| (!cell.is_empty()).then(|| text(cell));
        let database = |row: &Row| Database {
            name: text(&row[0]),
            encoding: text(&row[1]),
            collate: text(&row[2]),
            ctype: text(&row[3]),
            bytes: text(&row[4]).parse().ok(),
            allows_connections: row[5] == b"t",
            is_template: row[6] == b"t",
            is_valid: row[7] != b"t",
            provider: provider(&text(&row[8])),
            locale: some(&row[9]),
            icu_rules: some(&row[10]),
        };
        Ok(rows.iter().map(database).collect())
    }

    /// What users made in the database of the settings.
    pub fn contents(&self) -> Result<Contents, Error> {
        let sql = format!(
            "{OF_USERS} SELECT (SELECT count(*) FROM of_users) \
             + (SELECT count(*) FROM pg_catalog.pg_largeobject_metadata), (SELECT min(name) FROM of_users);"
        );
        let row = self.one_row(&sql, 2, "what its database holds")?;
        let objects = text(&row[0]).parse().map_err(|_| Error::Answer("what its database holds"))?;
        Ok(Contents { objects, example: (!row[1].is_empty()).then(|| text(&row[1])) })
    }

    /// The rows of tables, each a schema and a name in `encoding` (of the dump that names them;
    /// else UTF-8), without those of tables that inherit from them. `None` for a table that is
    /// not there.
    pub fn row_counts(
        &self,
        tables: &[(&[u8], &[u8])],
        encoding: Option<&str>,
    ) -> Result<Vec<Option<u64>>, Error> {
        let mut counts = vec![None; tables.len()];
        if tables.is_empty() {
            return Ok(counts);
        }
        // Counting takes as long as it takes, whatever the role or the database is set to.
        let mut sql = b"SET standard_conforming_strings = on; SET row_security = off;\n\
            SET statement_timeout = 0; SET lock_timeout = 0;\n\
            SELECT pg_catalog.format('SELECT %s, count(*) FROM ONLY %I.%I', w.place, n.nspname, c.relname) \
            FROM (VALUES "
            .to_vec();
        for (place, (schema, name)) in tables.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            sql.extend_from_slice(format!("{comma}\n({place}, ").as_bytes());
            push_literal(&mut sql, schema);
            sql.push(b',');
            push_literal(&mut sql, name);
            sql.push(b')');
        }
        sql.extend_from_slice(
            b") AS w(place, schema, name) JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema::text \
              JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name::text \
              WHERE c.relkind IN ('r', 'p', 'm', 'f') ORDER BY w.place\n\\gexec\n",
        );
        let what = "the rows of its tables";
        for row in self.ask(&sql, encoding, 2, what)? {
            let place: usize = text(&row[0]).parse().map_err(|_| Error::Answer(what))?;
            let count = text(&row[1]).parse().map_err(|_| Error::Answer(what))?;
            *counts.get_mut(place).ok_or(Error::Answer(what))? = Some(count);
        }
        Ok(counts)
    }

    /// Whether the server has a database of this name.
    pub fn has_database(&self, name: &str) -> Result<bool, Error> {
        Ok(self.databases()?.iter().any(|database| database.name == name))
    }

    /// Creates a database from the empty template, as it was said to be where it came from. Text
    /// sorted by rules that this server lacks is an error of PostgreSQL's.
    pub fn create_database(&self, name: &str, like: Option<&Database>) -> Result<(), Error> {
        let mut sql = format!("CREATE DATABASE {} TEMPLATE template0", quote_identifier(name)).into_bytes();
        if let Some(like) = like {
            for (option, value) in like.options() {
                sql.extend_from_slice(format!(" {option} ").as_bytes());
                push_literal(&mut sql, value.as_bytes());
            }
        }
        sql.extend_from_slice(b";\n");
        self.run(&sql)
    }

    /// Whether our role may read the passwords of roles, which takes a superuser if nobody granted it.
    pub fn reads_passwords(&self) -> Result<bool, Error> {
        let sql = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT');";
        Ok(self.one_row(sql, 1, "our rights")?[0] == b"t")
    }

    /// Runs statements, up to the first that fails.
    pub fn run(&self, sql: &[u8]) -> Result<(), Error> {
        self.psql(sql, None).map(drop)
    }

    fn one_row(&self, sql: &str, columns: usize, what: &'static str) -> Result<Row, Error> {
        let mut rows = self.ask(sql, None, columns, what)?;
        match rows.pop() {
            Some(row) if rows.is_empty() => Ok(row),
            _ => Err(Error::Answer(what)),
        }
    }

    /// The rows of an answer. Cells end in a zero byte, which no value can hold.
    fn ask(
        &self,
        sql: impl AsRef<[u8]>,
        encoding: Option<&str>,
        columns: usize,
        what: &'static str,
    ) -> Result<Vec<Row>, Error> {
        let answer = self.psql(sql.as_ref(), encoding)?;
        let Some(cells) = answer.strip_suffix(b"\0") else {
            return if answer.is_empty() { Ok(Vec::new()) } else { Err(Error::Answer(what)) };
        };
        let cells: Vec<Vec<u8>> = cells.split(|b| *b == 0).map(<[u8]>::to_vec).collect();
        if !cells.len().is_multiple_of(columns) {
            return Err(Error::Answer(what));
        }
        Ok(cells.chunks(columns).map(<[Vec<u8>]>::to_vec).collect())
    }

    fn psql(&self, sql: &[u8], encoding: Option<&str>) -> Result<Vec<u8>, Error> {
        let mut command = Command::new(&self.psql.path);
        self.settings.apply(&mut command);
        command
            .args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"])
            .args(["--field-separator-zero", "--record-separator-zero", "--set=ON_ERROR_STOP=1", "--file=-"])
            .arg(format!("--dbname={}", self.settings.connection_string()))
            .env("PGCLIENTENCODING", encoding.unwrap_or("UTF8"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut running = Running::start("psql", &mut command, self.tools.cancel())?;
        let stdin = running.stdin();
        let answer = std::thread::scope(|scope| {
            // psql answers while it still reads, so both pipes have to move.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(sql)));
            running.answer(PSQL_ANSWER_MAX)
        })?;
        let ended = running.wait()?;
        match ended.status.code() {
            Some(0) => Ok(answer),
            Some(NO_CONNECTION) => {
                let reason = ended.stderr.strip_prefix("psql: error: ").unwrap_or(&ended.stderr).to_owned();
                Err(Error::Connect { server: self.settings.to_string(), reason })
            }
            _ => Err(Error::Failed { program: "psql", status: describe(ended.status), stderr: ended.stderr }),
        }
    }
}

impl Database {
    /// What `CREATE DATABASE` is told, for a database that is like this one.
    fn options(&self) -> Vec<(&'static str, &str)> {
        let mut options =
            vec![("ENCODING", &*self.encoding), ("LC_COLLATE", &*self.collate), ("LC_CTYPE", &*self.ctype)];
        // Servers before PostgreSQL 15 know no providers, and have none but libc.
        options.extend(self.provider.map(|provider| ("LOCALE_PROVIDER", provider)));
        let name = if self.provider == Some("icu") { "ICU_LOCALE" } else { "BUILTIN_LOCALE" };
        options.extend(self.locale.as_deref().map(|locale| (name, locale)));
        options.extend(self.icu_rules.as_deref().map(|rules| ("ICU_RULES", rules)));
        options
    }
}

/// Providers with their letters in `pg_database.datlocprovider`.
const PROVIDERS: [(&str, &str); 3] = [("c", "libc"), ("i", "icu"), ("b", "builtin")];

/// The provider that a letter or a name means.
pub fn provider(text: &str) -> Option<&'static str> {
    PROVIDERS.iter().find(|(letter, name)| text == *letter || text == *name).map(|(_, name)| *name)
}

/// An identifier in double quotes.
fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal; `standard_conforming_strings` is on.
fn push_literal(sql: &mut Vec<u8>, value: &[u8]) {
    sql.push(b'\'');
    for byte in value {
        if *byte == b'\'' {
            sql.push(b'\'');
        }
        sql.push(*byte);
    }
    sql.push(b'\'');
}

fn text(cell: &[u8]) -> String {
    String::from_utf8_lossy(cell).into_owned()
}
