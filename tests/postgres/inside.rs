//! The inside of a throwaway cluster: its data folder, the server's own programs, connections for
//! replication.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::base_backup::Options;
use kamba_vault::postgres::libpq::Library;
use kamba_vault::postgres::replication::Replication;
use kamba_vault::postgres::tools::Program;

use crate::support::{Db, output};

pub fn library(db: &Db) -> Library {
    Library::open(&db.tools).unwrap()
}

pub fn connect(db: &Db) -> Replication {
    Replication::connect(&library(db), &db.cluster.settings(), &Cancel::new()).unwrap()
}

pub fn sql(db: &Db, statement: &str) -> String {
    let settings = db.cluster.settings();
    let answer = db.run(Program::Psql, &settings, &["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement]);
    String::from_utf8(answer).unwrap().trim().to_owned()
}

pub fn data(db: &Db) -> PathBuf {
    db.cluster.folder().join("data")
}

/// A program of the server's: what PATH finds may be a link to some of them only.
pub fn beside_pg_ctl(db: &Db, program: &str) -> PathBuf {
    db.cluster.pg_ctl().canonicalize().unwrap().with_file_name(program)
}

/// One of PostgreSQL's programs, run as the owner of the data: most refuse to run as root.
pub fn as_owner(db: &Db, program: &str) -> Command {
    let owner = data(db).metadata().unwrap();
    let mut command = Command::new(beside_pg_ctl(db, program));
    command.current_dir(db.cluster.folder());
    if rustix::process::geteuid().is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command
}

/// The same on the data folder.
pub fn on_data(db: &Db, program: &str, arguments: &[&str]) -> String {
    let output = output(as_owner(db, program).args(arguments).arg("--pgdata").arg(data(db)));
    String::from_utf8(output).unwrap()
}

/// A folder that the server may write to.
pub fn folder_of_the_server(db: &Db, name: &str) -> PathBuf {
    let path = db.cluster.folder().join(name);
    fs::create_dir(&path).unwrap();
    hand_over(db, &path);
    path
}

/// Makes a folder and all in it the server's.
pub fn hand_over(db: &Db, folder: &Path) {
    let owner = data(db).metadata().unwrap();
    output(Command::new("chown").arg("-R").arg(format!("{}:{}", owner.uid(), owner.gid())).arg(folder));
}

pub fn append(db: &Db, file: &str, text: &str) {
    let path = data(db).join(file);
    let mut all = fs::read_to_string(&path).unwrap();
    all.push_str(text);
    fs::write(path, all).unwrap();
}

/// Stops the server, does something, starts it again.
pub fn on_data_stopped(db: &Db, act: impl FnOnce(&Db)) {
    on_data(db, "pg_ctl", &["stop", "--wait", "--silent", "--mode=fast"]);
    act(db);
    db.cluster.restart(&Cancel::new()).unwrap();
}

/// How the base backups of these tests are made.
pub fn base_backup_options() -> Options {
    let label = "it's a label".to_owned();
    Options { label, fast: true, wait_for_archive: true, max_rate: None, verify_checksums: true }
}
