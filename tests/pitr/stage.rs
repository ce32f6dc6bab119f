//! A server with a base backup in its repository, commits after it that are known by every name that a target may
//! have, and a folder `copy` to restore to.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::server::{Archiving, run};

/// A commit, by what a target may be called.
pub struct Commit {
    pub time: String,
    pub lsn: String,
    pub xid: String,
    pub name: String,
}

pub struct Stage {
    pub server: Archiving,
}

impl Stage {
    /// A server with a table of marks and a table with a load of changes.
    pub fn start() -> Self {
        let stage = Stage { server: Archiving::start() };
        stage.server.sql("CREATE TABLE mark (id int PRIMARY KEY)");
        stage.server.sql("CREATE TABLE t (id int PRIMARY KEY, what text)");
        stage.server.sql("INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 5000) n");
        stage
    }

    /// The program, as the server's user, with the server as libpq's default.
    pub fn vault(&self) -> Command {
        let mut command = self.server.vault();
        command.env("PGHOST", self.server.cluster.folder()).env("PGPORT", "5432").env("PGUSER", "postgres");
        command.env("PATH", "/usr/bin:/bin").arg("--no-progress");
        command
    }

    /// Makes a base backup while rows change; its id.
    pub fn base(&self) -> String {
        let made = std::thread::scope(|scope| {
            scope.spawn(|| {
                self.server.sql(
                    "DO $$ BEGIN FOR n IN 1..300 LOOP \
                     UPDATE t SET what = what || 'x' WHERE id % 50 = n % 50; COMMIT; END LOOP; END $$",
                );
            });
            run(self.vault().args(["snapshot", "base", "--json"]))
        });
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        made["id"].as_str().unwrap().to_owned()
    }

    /// Commits a mark, and changes beside it.
    pub fn mark(&self, id: u32) -> Commit {
        let server = &self.server;
        server.sql(&format!("UPDATE t SET what = what || '{id}' WHERE id % 9 = {id}"));
        let xid = server.sql(&format!("INSERT INTO mark VALUES ({id}) RETURNING pg_current_xact_id()"));
        let xid = xid.lines().next().unwrap().to_owned();
        let time = server.sql("SELECT clock_timestamp()");
        let name = format!("after {id}");
        let lsn = server.sql("SELECT pg_current_wal_insert_lsn()");
        server.sql(&format!("SELECT pg_create_restore_point('{name}')"));
        Commit { time, lsn, xid, name }
    }

    /// The program as the user who runs the tests.
    pub fn vault_as_self(&self) -> Command {
        let mut command = Command::new(self.server.path("kamba-vault"));
        command.env_clear().env("HOME", self.server.path("another home")).env("PATH", "/usr/bin:/bin");
        command
            .env("KAMBA_REPO", self.server.path("repository"))
            .env("KAMBA_KEY_FILE", self.server.path("key"));
        command.arg("--no-progress");
        command
    }

    pub fn copy(&self) -> PathBuf {
        self.server.path("copy")
    }

    /// `restore pitr` to the folder `copy`.
    pub fn restore(&self, arguments: &[&str]) -> Output {
        let mut command = self.vault();
        command.args(["restore", "pitr", "--target"]).arg(self.copy()).args(arguments);
        command.output().unwrap()
    }

    /// The same, which must succeed; its document.
    #[track_caller]
    pub fn restored(&self, arguments: &[&str]) -> Value {
        let output = self.restore(&[arguments, &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {:?} {said}", output.status);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The same, which must be refused with this status; what it said.
    #[track_caller]
    pub fn refused(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.restore(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        // Long lines are broken for the eye.
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Further settings of the copy: a port of its own.
    pub fn configure(&self, more: &str) {
        let file = self.copy().join("postgresql.conf");
        let mut settings = fs::read_to_string(&file).unwrap();
        settings.push_str(&format!("\nport = 5433\n{more}\n"));
        fs::write(file, settings).unwrap();
    }

    /// Starts the copy, without archiving, lets it recover, and answers its marks, and whether its other rows
    /// are the server's of that moment can be told by `rows`.
    #[track_caller]
    pub fn marks(&self) -> String {
        self.marks_with(|| ()).0
    }

    /// The same, and what `ask` has for an answer while the copy runs.
    #[track_caller]
    pub fn marks_with<T>(&self, ask: impl FnOnce() -> T) -> (String, T) {
        self.configure("archive_mode = off");
        if let Err(said) = self.server.recover_copy() {
            panic!("{said}");
        }
        let answers = (self.ask_marks(), ask());
        self.server.stop_copy();
        answers
    }

    pub fn ask_marks(&self) -> String {
        self.server.ask_copy("SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM mark")
    }

    /// The objects of WAL that `work` adds, the smallest first.
    pub fn added(&self, work: impl FnOnce()) -> Vec<PathBuf> {
        let before = self.server.objects();
        work();
        let mut added = self.server.objects();
        added.retain(|object| !before.contains(object));
        added.sort_by_key(|object| fs::metadata(object).unwrap().len());
        added
    }
}
