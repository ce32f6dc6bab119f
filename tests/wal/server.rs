//! Servers that archive into a repository, and copies of their clusters that recover from it. The servers may
//! run as another user than the tests do, so all of it lies in the cluster's folder and is theirs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::cluster::{Cluster, ClusterOptions};
use kamba_vault::postgres::tools::Tools;

use crate::support::install::install;

/// A server with `archive_command`, and its repository.
pub struct Archiving {
    pub cluster: Cluster,
    programs: PathBuf,
}

impl Archiving {
    /// A new cluster with small segments of WAL, and a new repository.
    pub fn start() -> Self {
        let tools = Tools::new(None, std::env::var_os("PATH"), &Cancel::new());
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let settings = vec![
            set("archive_mode", "on"),
            set("wal_level", "replica"),
            set("autovacuum", "off"),
            set("max_wal_senders", "4"),
        ];
        let options = ClusterOptions { may_lose_data: true, settings };
        let cluster = Cluster::start(&tools, &std::env::temp_dir(), &options).expect("a throwaway cluster");
        let programs = fs::canonicalize(cluster.pg_ctl()).unwrap().parent().unwrap().to_owned();
        let server = Archiving { cluster, programs };
        let binary = server.path("kamba-vault");
        install(Path::new(env!("CARGO_BIN_EXE_kamba-vault")), &binary);
        run(server.vault().arg("init"));
        server.archive_to("repository");
        server
    }

    /// Sets `archive_command` for a repository in the cluster's folder.
    pub fn archive_to(&self, repository: &str) {
        let command = self.command_line(repository, "wal push %p");
        self.sql(&format!("ALTER SYSTEM SET archive_command = '{command}'"));
        self.sql("SELECT pg_reload_conf()");
    }

    /// A command line of the program for the server's shell.
    pub fn command_line(&self, repository: &str, arguments: &str) -> String {
        let (home, binary) = (self.path("home"), self.path("kamba-vault"));
        format!(
            "env HOME={} KAMBA_REPO={} KAMBA_KEY_FILE={} {} {arguments}",
            home.display(),
            self.path(repository).display(),
            self.path("key").display(),
            binary.display()
        )
    }

    /// A file or folder beside the cluster's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.cluster.folder().join(name)
    }

    /// A command as the server's user, who may reach everything here.
    pub fn command(&self, program: &Path) -> Command {
        let owner = fs::metadata(self.cluster.folder().join("data")).unwrap();
        let mut command = Command::new(program);
        command.current_dir(self.cluster.folder());
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        command
    }

    /// The program with the repository and its key in the environment.
    pub fn vault(&self) -> Command {
        let mut command = self.command(&self.path("kamba-vault"));
        command.env_clear().env("HOME", self.path("home"));
        command.env("KAMBA_REPO", self.path("repository")).env("KAMBA_KEY_FILE", self.path("key"));
        command
    }

    /// One of PostgreSQL's programs for the server, or for the copy.
    fn program(&self, name: &str, port: u16) -> Command {
        // Beside the server's, or wherever the shell finds it.
        let own = self.programs.join(name);
        let mut command = self.command(if own.exists() { &own } else { Path::new(name) });
        command.args(["--username=postgres", &format!("--port={port}")]);
        command.arg(format!("--host={}", self.cluster.folder().display()));
        command
    }

    fn psql(&self, port: u16, statement: &str) -> Command {
        let mut psql = self.program("psql", port);
        psql.args([
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            "--dbname=postgres",
        ]);
        psql.arg("--command").arg(statement);
        psql
    }

    fn ask(&self, port: u16, statement: &str) -> String {
        answer(&run(&mut self.psql(port, statement)))
    }

    /// Asks the server.
    pub fn sql(&self, statement: &str) -> String {
        self.ask(5432, statement)
    }

    /// Ends the present segment and waits until it is archived; its name.
    pub fn switch(&self) -> String {
        let name = self.sql("SELECT pg_walfile_name(pg_current_wal_lsn() - 1)");
        self.sql("SELECT pg_switch_wal()");
        let archived = format!("SELECT last_archived_wal >= '{name}' FROM pg_stat_archiver");
        for _ in 0..6000 {
            if self.sql(&archived) == "t" {
                return name;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{name} was not archived: {}", fs::read_to_string(self.path("log")).unwrap());
    }

    /// How to reach it as this role.
    pub fn url(&self, role: &str) -> String {
        format!("postgresql://{role}@/postgres?host={}", self.cluster.folder().display())
    }

    /// Stops it as an administrator does, and starts it again.
    pub fn restart(&self) {
        let mut command = self.command(self.cluster.pg_ctl());
        command.args(["restart", "--wait", "--silent", "--mode=fast", "--log"]).arg(self.path("log"));
        run(command.arg("--pgdata").arg(self.path("data")).stdout(Stdio::null()).stderr(Stdio::null()));
    }

    /// Takes a base backup into the folder `copy`, without its WAL.
    pub fn copy(&self) {
        let mut backup = self.program("pg_basebackup", 5432);
        run(backup
            .args(["--checkpoint=fast", "--wal-method=none", "--no-manifest", "-D"])
            .arg(self.path("copy")));
    }

    /// Lets the copy recover with this `restore_command`.
    pub fn prepare_copy(&self, restore_command: &str) {
        let data = self.path("copy");
        let mut settings = fs::read_to_string(data.join("postgresql.conf")).unwrap();
        settings.push_str(&format!(
            "\nport = 5433\narchive_mode = off\nrestore_command = '{restore_command}'\n\
             recovery_target_action = 'promote'\n"
        ));
        fs::write(data.join("postgresql.conf"), settings).unwrap();
        fs::write(data.join("recovery.signal"), "").unwrap();
    }

    /// Starts the copy and waits until it has recovered; if it ends instead, what it said.
    pub fn recover_copy(&self) -> Result<(), String> {
        let log = self.path("copy.log");
        let _ = fs::remove_file(&log);
        let mut command = self.command(self.cluster.pg_ctl());
        command.args(["start", "--wait", "--silent", "--timeout=120", "--log"]).arg(&log);
        let started = command.arg("--pgdata").arg(self.path("copy")).output().unwrap();
        // It takes connections when it is consistent, and may fail after that.
        let mut runs = started.status.success();
        for _ in 0..6000 {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let recovers = self.psql(5433, "SELECT pg_is_in_recovery()").output().unwrap();
            match (runs, answer(&recovers).as_str()) {
                (true, "f") => return Ok(()),
                (false, _) => return Err(said),
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(20));
            runs = self.path("copy/postmaster.pid").exists();
        }
        panic!("the copy neither recovered nor ended: {}", fs::read_to_string(log).unwrap());
    }

    /// Asks the copy.
    pub fn ask_copy(&self, statement: &str) -> String {
        self.ask(5433, statement)
    }

    /// The objects of all WAL files, which hold what they hold in order of their times.
    pub fn objects(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.path("repository/wal")).unwrap().map(|entry| entry.unwrap().path());
        let objects =
            folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
        let mut objects: Vec<PathBuf> = objects.collect();
        objects.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        objects
    }

    /// Stops the copy, if it runs, as a failing machine would.
    pub fn stop_copy(&self) {
        if self.path("copy/postmaster.pid").exists() {
            let mut command = self.command(self.cluster.pg_ctl());
            command
                .args(["stop", "--wait", "--silent", "--mode=immediate", "--pgdata"])
                .arg(self.path("copy"));
            let _ = command.output();
        }
    }
}

impl Drop for Archiving {
    fn drop(&mut self) {
        self.stop_copy();
    }
}

fn answer(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

/// Runs a command that must end well.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}
