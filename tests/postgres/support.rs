//! A cluster for a test, dumps of it, and their objects kept in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Cursor, Read};
use std::process::Command;

use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::archive::join::join;
use kamba_vault::postgres::archive::name::encode;
use kamba_vault::postgres::archive::reframe::Filter;
use kamba_vault::postgres::archive::shadow::Shadow;
use kamba_vault::postgres::archive::split::{ObjectEnd, ObjectKey, Sink, Splitter, Summary};
use kamba_vault::postgres::cluster::{Cluster, ClusterOptions};
use kamba_vault::postgres::connect::Settings;
use kamba_vault::postgres::dump::{PassedOn, dump};
use kamba_vault::postgres::server::Server;
use kamba_vault::postgres::tools::{Program, Tool, Tools};

pub struct Db {
    pub tools: Tools,
    pub cluster: Cluster,
}

pub fn tools() -> Tools {
    Tools::new(None, std::env::var_os("PATH"), &Cancel::new())
}

impl Db {
    pub fn start() -> Self {
        let tools = tools();
        // What vacuum frees, later rows fill: without it, the order of rows is always the same.
        let settings = vec![("autovacuum".to_owned(), "off".to_owned())];
        let options = ClusterOptions { may_lose_data: true, settings };
        let cluster = Cluster::start(&tools, &std::env::temp_dir(), &options).expect("a throwaway cluster");
        Db { tools, cluster }
    }

    /// A new database.
    pub fn create(&self, name: &str) -> Server {
        let server = Server::new(&self.tools, &self.cluster.settings()).unwrap();
        server.create_database(name, None).unwrap();
        server.database(name)
    }

    pub fn tool(&self, program: Program) -> Tool {
        self.tools.find(program, "the server", self.cluster.version()).unwrap()
    }

    /// The bytes of a dump through a pipe.
    pub fn dump(&self, settings: &Settings, options: &[&str]) -> Vec<u8> {
        let passed_on = PassedOn::new(options.iter().map(Into::into).collect()).unwrap();
        let mut dump = dump(&self.tool(Program::PgDump), settings, &passed_on, &Cancel::new()).unwrap();
        let mut bytes = Vec::new();
        dump.read_to_end(&mut bytes).unwrap();
        dump.finish().unwrap();
        bytes
    }

    /// Runs one of PostgreSQL's programs on a database; its standard output.
    pub fn run(&self, program: Program, settings: &Settings, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new(&self.tool(program).path);
        command.args(arguments).arg(format!("--dbname={}", settings.connection_string()));
        output(&mut command)
    }
}

/// Standard output of a command that must end well.
pub fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The split of a dump.
#[derive(Default)]
pub struct Objects {
    pub all: Vec<(ObjectKey, Vec<u8>)>,
    pub recipe: Vec<u8>,
}

impl Sink for Objects {
    type Error = Infallible;

    fn object_begin(&mut self, key: &ObjectKey) -> Result<(), Infallible> {
        self.all.push((key.clone(), Vec::new()));
        Ok(())
    }
    fn object_bytes(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.all.last_mut().unwrap().1.extend_from_slice(bytes);
        Ok(())
    }
    fn object_end(&mut self, _: &ObjectEnd) -> Result<(), Infallible> {
        Ok(())
    }
    fn recipe(&mut self, operations: &[u8]) -> Result<(), Infallible> {
        self.recipe.extend_from_slice(operations);
        Ok(())
    }
}

impl Objects {
    /// The objects of tables and large objects.
    pub fn data(&self) -> BTreeMap<String, &[u8]> {
        let data = self.all.iter().filter(|(key, _)| !matches!(key, ObjectKey::Head));
        data.map(|(key, bytes)| (name(key), bytes.as_slice())).collect()
    }

    pub fn table(&self, name: &str) -> &str {
        std::str::from_utf8(self.data()[name]).unwrap()
    }

    pub fn join(&self, filter: Option<Filter<'_>>) -> Vec<u8> {
        let mut out = Vec::new();
        let open = |i: usize| Ok(Box::new(Cursor::new(&self.all[i].1)) as Box<dyn Read>);
        join(Cursor::new(&self.recipe), open, filter, &mut out).unwrap();
        out
    }
}

fn name(key: &ObjectKey) -> String {
    match key {
        ObjectKey::Table { schema, name } => {
            format!("{}.{}", encode(schema), encode(name))
        }
        ObjectKey::LargeObject { oid } => format!("large object {oid}"),
        other => format!("{other:?}"),
    }
}

/// Splits a dump, in uneven portions, and holds the shadow against it.
pub fn split(bytes: &[u8]) -> (Objects, Summary) {
    let mut seen = Vec::with_capacity(bytes.len());
    let mut shadow = Shadow::new(Objects::default(), |part: &[u8]| seen.extend_from_slice(part));
    let mut splitter = Splitter::new();
    for portion in bytes.chunks(99_991) {
        splitter.push(portion, &mut shadow).unwrap();
    }
    let summary = splitter.finish(&mut shadow).unwrap();
    let (objects, _, length) = shadow.finish().unwrap();
    assert_eq!(length, bytes.len() as u64);
    assert!(seen == bytes, "the shadow sees the dump");
    assert_eq!(summary.fallback, None);
    (objects, summary)
}

/// Splits a dump and asserts that it comes back.
pub fn split_and_rejoin(bytes: &[u8]) -> (Objects, Summary) {
    let (objects, summary) = split(bytes);
    assert!(objects.join(None) == bytes, "the rejoined dump is the dump");
    (objects, summary)
}
