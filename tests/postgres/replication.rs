//! The replication protocol and base backups, against a real server.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kamba_vault::base::clock::{Cancel, Clock, SystemClock};
use kamba_vault::postgres::base_backup::{self, BaseBackup, End, Event, Options, Start};
use kamba_vault::postgres::connect::Settings;
use kamba_vault::postgres::error::Error;
use kamba_vault::postgres::libpq::Library;
use kamba_vault::postgres::lsn::Lsn;
use kamba_vault::postgres::page::{self, PAGE, PAGES_PER_FILE, RelationFile, Verdict};
use kamba_vault::postgres::replication::Replication;
use kamba_vault::postgres::replication::stream::{self, Stream};
use kamba_vault::postgres::tar;
use kamba_vault::postgres::tools::Program;

use crate::support::{Db, output};

/// Bytes of a WAL segment of these clusters.
const SEGMENT: u64 = 16 << 20;

fn library(db: &Db) -> Library {
    Library::open(&db.tools).unwrap()
}

fn connect(db: &Db) -> Replication {
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

/// One of PostgreSQL's programs on the data folder, as its owner: most refuse to run as root.
pub fn on_data(db: &Db, program: &str, arguments: &[&str]) -> String {
    let owner = data(db).metadata().unwrap();
    let mut command = Command::new(beside_pg_ctl(db, program));
    command.args(arguments).arg("--pgdata").arg(data(db)).current_dir(db.cluster.folder());
    if rustix::process::geteuid().is_root() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    String::from_utf8(output(&mut command)).unwrap()
}

/// A folder that the server may write to.
pub fn folder_of_the_server(db: &Db, name: &str) -> PathBuf {
    let path = db.cluster.folder().join(name);
    fs::create_dir(&path).unwrap();
    let owner = data(db).metadata().unwrap();
    std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    path
}

pub fn append(db: &Db, file: &str, text: &str) {
    let path = data(db).join(file);
    let mut all = fs::read_to_string(&path).unwrap();
    all.push_str(text);
    fs::write(path, all).unwrap();
}

fn options() -> Options {
    let label = "it's a label".to_owned();
    Options { label, fast: true, wait_for_archive: true, max_rate: None, verify_checksums: true }
}

/// A base backup that was read.
struct Taken {
    start: Start,
    end: End,
    notices: Vec<String>,
    /// Folders by the tablespaces' OIDs, with their tars unpacked; the data folder is that of `None`.
    folders: BTreeMap<Option<u32>, PathBuf>,
    /// What was said of pages, if not that they are fine or new.
    pages: Vec<(String, u32, Verdict)>,
    fine: usize,
}

/// Reads a base backup into a folder.
fn take(db: &Db, into: &Path) -> Taken {
    let mut replication = connect(db);
    let mut backup = BaseBackup::begin(&mut replication, &options()).unwrap();
    let mut files: BTreeMap<Option<u32>, Vec<(tar_entry::Owned, Vec<u8>)>> = BTreeMap::new();
    let (mut reader, mut current, mut manifest) = (None::<tar::Reader>, None, Vec::new());
    let mut progress = 0;
    let end = loop {
        match backup.next().unwrap() {
            Event::Archive { oid, .. } => {
                if let Some(reader) = reader.replace(tar::Reader::new()) {
                    reader.finish().unwrap();
                }
                current = Some(oid);
            }
            Event::Data(piece) => {
                let list = files.entry(current.unwrap()).or_default();
                let mut sink = |event: tar::Event<'_>| -> Result<(), tar::Error> {
                    match event {
                        tar::Event::Entry(entry) => list.push((tar_entry::owned(&entry), Vec::new())),
                        tar::Event::Data(bytes) => list.last_mut().unwrap().1.extend_from_slice(bytes),
                        tar::Event::EndOfEntry => {
                            let (entry, bytes) = list.last().unwrap();
                            assert_eq!(entry.size, bytes.len() as u64);
                        }
                    }
                    Ok(())
                };
                reader.as_mut().unwrap().push(&piece, &mut sink).unwrap();
            }
            Event::Manifest(piece) => manifest.extend_from_slice(&piece),
            Event::Progress(done) => {
                assert!(done >= progress);
                progress = done;
            }
            Event::End(end) => break end,
        }
    };
    reader.unwrap().finish().unwrap();
    let (start, notices) = (backup.start().clone(), backup.take_notices());
    assert!(matches!(backup.next(), Err(Error::Answer(_))), "nothing follows the end");
    let mut taken = Taken { start, end, notices, folders: BTreeMap::new(), pages: Vec::new(), fine: 0 };
    for (oid, entries) in &files {
        let folder = into.join(oid.map_or("base".to_owned(), |oid| oid.to_string()));
        fs::create_dir(&folder).unwrap();
        entries.iter().for_each(|(entry, bytes)| tar_entry::write(&folder, entry, bytes));
        taken.folders.insert(*oid, folder);
        for (entry, bytes) in entries {
            taken.look_at_pages(entry, bytes);
        }
    }
    // Links to the tablespaces, which are in `tablespace_map` and not in the tar, as they are here.
    for (oid, folder) in taken.folders.iter().filter_map(|(oid, folder)| Some(((*oid)?, folder))) {
        let link = taken.folders[&None].join(format!("pg_tblspc/{oid}"));
        std::os::unix::fs::symlink(folder, link).unwrap();
    }
    fs::write(taken.folders[&None].join("backup_manifest"), &manifest).unwrap();
    taken
}

impl Taken {
    fn look_at_pages(&mut self, entry: &tar_entry::Owned, bytes: &[u8]) {
        let Some(file) = RelationFile::parse(entry.path.as_bytes()) else { return };
        for (block, page) in (file.first_block(PAGES_PER_FILE)..).zip(bytes.chunks(PAGE)) {
            match page::verify(page, block, self.start.start) {
                Verdict::Fine => self.fine += 1,
                Verdict::New => {}
                verdict => self.pages.push((entry.path.clone(), block, verdict)),
            }
        }
    }
}

mod tar_entry {
    use super::{Path, PermissionsExt, fs, tar};

    pub struct Owned {
        pub path: String,
        pub link: Option<String>,
        pub folder: bool,
        pub size: u64,
        pub mode: u32,
    }

    pub fn owned(entry: &tar::Entry<'_>) -> Owned {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let link = match entry.kind {
            tar::Kind::Link(target) => Some(text(target)),
            _ => None,
        };
        let folder = entry.kind == tar::Kind::Folder;
        Owned { path: text(entry.path), link, folder, size: entry.size, mode: entry.mode }
    }

    pub fn write(below: &Path, entry: &Owned, bytes: &[u8]) {
        let path = below.join(&entry.path);
        match (&entry.link, entry.folder) {
            (Some(target), _) => return std::os::unix::fs::symlink(target, path).unwrap(),
            (None, true) => fs::create_dir(&path).unwrap(),
            (None, false) => fs::write(&path, bytes).unwrap(),
        }
        fs::set_permissions(path, fs::Permissions::from_mode(entry.mode)).unwrap();
    }
}

/// A cluster with checksums and a table whose pages are all on disk.
pub fn with_checksums() -> Db {
    let db = Db::start();
    on_data_stopped(&db, |db| {
        on_data(db, "pg_checksums", &["--enable", "--no-sync"]);
    });
    sql(
        &db,
        "CREATE TABLE rows AS SELECT n, repeat(md5(n::text), 20) AS text FROM generate_series(1, 3000) n",
    );
    sql(&db, "CREATE INDEX ON rows (n)");
    sql(&db, "VACUUM rows");
    sql(&db, "CHECKPOINT");
    db
}

/// Stops the server, does something, starts it again.
pub fn on_data_stopped(db: &Db, act: impl FnOnce(&Db)) {
    on_data(db, "pg_ctl", &["stop", "--wait", "--silent", "--mode=fast"]);
    act(db);
    db.cluster.restart(&Cancel::new()).unwrap();
}

#[test]
fn who_the_server_is_and_what_it_is_set_to() {
    let db = Db::start();
    let mut replication = connect(&db);
    let control = on_data(&db, "pg_controldata", &[]);
    let field = |name: &str| {
        let line = control.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(':').unwrap().1.trim().to_owned()
    };
    let identity = replication.identify().unwrap();
    assert_eq!(identity.system.to_string(), field("Database system identifier"));
    assert_eq!(identity.timeline, 1);
    assert!(identity.position >= field("Latest checkpoint location").parse().unwrap());
    assert_eq!(replication.version(), db.cluster.version());
    assert_eq!(u64::from(replication.wal_segment_size().unwrap()), SEGMENT);
    assert_eq!(replication.block_size().unwrap(), 8192);
    assert!(!replication.data_checksums().unwrap());
    let error = replication.timeline_history(7).unwrap_err();
    assert!(
        error.to_string().starts_with("the server says to TIMELINE_HISTORY: could not open file"),
        "{error}"
    );
    let error = replication.show("nothing; DROP").unwrap_err();
    assert!(matches!(error, Error::Answer(_)));
    assert_eq!(replication.identify().unwrap().system, identity.system, "an error ends no connection");
}

#[test]
fn a_base_backup_is_what_postgresql_verifies() {
    let db = with_checksums();
    let space = folder_of_the_server(&db, "space");
    sql(&db, &format!("CREATE TABLESPACE elsewhere LOCATION '{}'", space.display()));
    sql(&db, "CREATE TABLE there TABLESPACE elsewhere AS SELECT * FROM rows");
    sql(&db, "CREATE UNLOGGED TABLE forgotten AS SELECT * FROM rows");
    let into = tempfile::tempdir().unwrap();
    let taken = take(&db, into.path());
    assert_eq!(taken.start.tablespaces.len(), 2);
    let there = &taken.start.tablespaces[0];
    assert_eq!(there.location, space.as_os_str().as_encoded_bytes());
    assert!(there.size > 1 << 20 && taken.start.tablespaces[1].oid.is_none());
    assert!(taken.end.stop > taken.start.start && !taken.end.corrupt);
    assert_eq!((taken.start.timeline, taken.end.timeline), (1, 1));
    assert_eq!(taken.pages, []);
    assert!(taken.fine > 700, "{} pages", taken.fine);
    let base = &taken.folders[&None];
    let label = fs::read_to_string(base.join("backup_label")).unwrap();
    assert!(label.contains("LABEL: it's a label\n"), "{label}");
    assert!(label.contains(&format!("START WAL LOCATION: {} ", taken.start.start)), "{label}");
    let verify = beside_pg_ctl(&db, "pg_verifybackup");
    output(Command::new(&verify).arg("--no-parse-wal").arg(base));
    let victim = base.join("PG_VERSION");
    fs::write(victim, "16\n").unwrap();
    assert!(!Command::new(verify).arg("--no-parse-wal").arg(base).output().unwrap().status.success());
}

#[test]
fn a_corrupt_page_is_found_by_us_and_by_the_server() {
    let db = with_checksums();
    let file = sql(&db, "SELECT pg_relation_filepath('rows')");
    on_data_stopped(&db, |db| {
        let path = data(db).join(&file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3 * PAGE + 5000] ^= 1;
        fs::write(path, bytes).unwrap();
    });
    let into = tempfile::tempdir().unwrap();
    let taken = take(&db, into.path());
    assert!(taken.end.corrupt);
    let names_it = |notice: &String| notice.contains(&format!("{file}\", block 3:"));
    assert!(taken.notices.iter().any(names_it), "{:?}", taken.notices);
    let [(path, block, verdict)] = &taken.pages[..] else { panic!("{:?}", taken.pages) };
    assert_eq!((path, *block), (&file, 3));
    assert!(matches!(verdict, Verdict::Corrupt { .. }) && verdict.is_corrupt(taken.end.stop));
}

/// Reads a stream up to `until`, and says so to the server.
fn read_until(stream: &mut Stream<'_>, from: Lsn, until: Lsn) -> Vec<u8> {
    let mut wal = Vec::new();
    while from.plus(wal.len() as u64) < until {
        match stream.next(Duration::from_secs(10)).unwrap() {
            stream::Event::Data { start, bytes } => {
                assert_eq!(start, from.plus(wal.len() as u64), "nothing is left out");
                wal.extend_from_slice(&bytes);
            }
            stream::Event::Keepalive { .. } => {}
            _ => panic!("the stream ends before {until}"),
        }
    }
    let end = from.plus(wal.len() as u64);
    stream.send_status(end, end, Lsn(0), SystemClock.now(), true).unwrap();
    wal
}

/// WAL as it is in the server's files.
fn wal_files(db: &Db, timeline: u32, from: Lsn, len: usize) -> Vec<u8> {
    let (mut all, begin) = (Vec::new(), from.0 / SEGMENT * SEGMENT);
    for segment in begin / SEGMENT..=(from.0 + len as u64 - 1) / SEGMENT {
        let per_id = (1 << 32) / SEGMENT;
        let name = format!("{timeline:08X}{:08X}{:08X}", segment / per_id, segment % per_id);
        all.extend(fs::read(data(db).join("pg_wal").join(name)).unwrap());
    }
    let skip = usize::try_from(from.0 - begin).unwrap();
    all[skip..skip + len].to_vec()
}

fn position(db: &Db) -> Lsn {
    sql(db, "SELECT pg_current_wal_flush_lsn()").parse().unwrap()
}

#[test]
fn commits_stream_by_a_slot_until_the_server_stops() {
    let db = Db::start();
    let mut replication = connect(&db);
    assert_eq!(replication.read_slot("keeper").unwrap(), None);
    replication.create_slot("keeper", false).unwrap();
    let error = replication.create_slot("keeper", false).unwrap_err();
    assert_eq!(error.code(), Some("42710"), "{error}");
    let slot = replication.read_slot("keeper").unwrap().unwrap();
    let from = Lsn(slot.restart.unwrap().0 / SEGMENT * SEGMENT);
    assert_eq!(slot.timeline, Some(1));
    let mut stream = replication.stream(Some("keeper"), from, 1).unwrap();
    sql(&db, "CREATE TABLE rows (n int)");
    let mut wal = read_until(&mut stream, from, position(&db));
    for n in 0..3 {
        sql(&db, &format!("INSERT INTO rows SELECT generate_series(1, {n}000)"));
        let at = from.plus(wal.len() as u64);
        wal.extend(read_until(&mut stream, at, position(&db)));
    }
    assert!(wal == wal_files(&db, 1, from, wal.len()), "the WAL is what is in the server's files");
    // The answer to the last status; then the server knows.
    let is_answer = |event| matches!(event, stream::Event::Keepalive { .. });
    while !is_answer(stream.next(Duration::from_secs(10)).unwrap()) {}
    let flushed =
        sql(&db, "SELECT flush_lsn FROM pg_stat_replication WHERE application_name = 'kamba-vault'");
    assert_eq!(flushed.parse(), Ok(from.plus(wal.len() as u64)));
    let mut other = connect(&db);
    let error = other.stream(Some("keeper"), from, 1).err().unwrap();
    assert!(error.code() == Some("55006") && error.hint().is_some(), "{error}");

    stream.stop().unwrap();
    assert_eq!(replication.identify().unwrap().timeline, 1, "a stopped stream leaves its connection free");
    let at = from.plus(wal.len() as u64);
    let mut stream = replication.stream(Some("keeper"), at, 1).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| on_data(&db, "pg_ctl", &["stop", "--wait", "--silent", "--mode=fast"]));
        let mut end = at;
        loop {
            // The server waits for the last of its WAL to be safe here.
            match stream.next(Duration::from_secs(1)).unwrap() {
                stream::Event::Data { start, bytes } => end = start.plus(bytes.len() as u64),
                stream::Event::Stopped => break,
                _ => {}
            }
            stream.send_status(end, end, Lsn(0), SystemClock.now(), false).unwrap();
        }
    });
    let error = replication.identify().unwrap_err();
    assert!(matches!(error, Error::Lost { .. }), "{error}");
    db.cluster.restart(&Cancel::new()).unwrap();
    let mut replication = connect(&db);
    replication.drop_slot("keeper", true).unwrap();
    assert_eq!(replication.read_slot("keeper").unwrap(), None);
    let error = replication.stream(Some("keeper"), at, 1).err().unwrap();
    assert_eq!(error.code(), Some("42704"), "{error}");
}

#[test]
fn a_timeline_ends_where_the_next_begins() {
    let db = Db::start();
    let mut replication = connect(&db);
    replication.create_slot("keeper", false).unwrap();
    let slot = replication.read_slot("keeper").unwrap().unwrap();
    let from = Lsn(slot.restart.unwrap().0 / SEGMENT * SEGMENT);
    sql(&db, "CREATE TABLE rows AS SELECT generate_series(1, 1000)");
    drop(replication);
    // Recovery that finds no archive ends the WAL that there is, and begins another timeline.
    on_data_stopped(&db, |db| {
        append(db, "postgresql.conf", "restore_command = 'false'\n");
        fs::write(data(db).join("recovery.signal"), "").unwrap();
    });
    sql(&db, "INSERT INTO rows VALUES (1)");
    let mut replication = connect(&db);
    assert_eq!(replication.identify().unwrap().timeline, 2);
    let mut stream = replication.stream(Some("keeper"), from, 1).unwrap();
    let mut end = from;
    let next = loop {
        match stream.next(Duration::from_secs(10)).unwrap() {
            stream::Event::Data { start, bytes } => {
                assert_eq!(start, end);
                end = end.plus(bytes.len() as u64);
            }
            stream::Event::EndOfTimeline(next) => break next,
            stream::Event::Keepalive { .. } => {}
            _ => panic!("the stream ends otherwise"),
        }
    };
    assert_eq!((next.timeline, next.switch), (2, end), "all of the timeline came");
    assert!(matches!(stream.next(Duration::ZERO), Ok(stream::Event::EndOfTimeline(again)) if again == next));
    let history = replication.timeline_history(2).unwrap();
    assert_eq!(history.name, "00000002.history");
    assert!(history.content.starts_with(format!("1\t{end}\t").as_bytes()));

    let mut stream = replication.stream(Some("keeper"), end, 1).unwrap();
    let again = stream.next(Duration::from_secs(10)).unwrap();
    assert!(matches!(again, stream::Event::EndOfTimeline(again) if again == next), "nothing to send");
    let begin = Lsn(end.0 / SEGMENT * SEGMENT);
    let mut stream = replication.stream(Some("keeper"), begin, 2).unwrap();
    let wal = read_until(&mut stream, begin, position(&db));
    assert!(wal == wal_files(&db, 2, begin, wal.len()));
}

#[test]
fn a_cancel_ends_every_wait() {
    let db = Db::start();
    let cancel = Cancel::new();
    let mut replication = Replication::connect(&library(&db), &db.cluster.settings(), &cancel).unwrap();
    let from = replication.identify().unwrap().position;
    let mut stream = replication.stream(None, Lsn(from.0 / SEGMENT * SEGMENT), 1).unwrap();
    let after = |cancel: &Cancel| {
        let cancel = cancel.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            cancel.cancel();
        })
    };
    let canceller = after(&cancel);
    let error = loop {
        match stream.next(Duration::from_secs(3600)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Cancelled), "{error}");
    canceller.join().unwrap();
    drop(replication);

    // A checkpoint that takes its time, which is five minutes.
    append(&db, "postgresql.conf", "checkpoint_timeout = '1h'\ncheckpoint_completion_target = 1\n");
    sql(&db, "SELECT pg_reload_conf()");
    sql(&db, "CREATE TABLE rows AS SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n");
    let cancel = Cancel::new();
    let mut replication = Replication::connect(&library(&db), &db.cluster.settings(), &cancel).unwrap();
    let canceller = after(&cancel);
    let begun = BaseBackup::begin(&mut replication, &Options { fast: false, ..options() });
    assert!(matches!(begun.err(), Some(Error::Cancelled)));
    canceller.join().unwrap();
    drop(replication);
    let left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'";
    while sql(&db, left) != "0" {
        // The server was told, and stops by itself: without that, this loop would not end.
        std::thread::sleep(Duration::from_millis(50));
    }

    // Somebody who listens and says nothing.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings::new().alone().with_host("127.0.0.1").with_user("postgres");
    let settings = settings.with_port(deaf.local_addr().unwrap().port());
    let cancel = Cancel::new();
    let canceller = after(&cancel);
    let connected = Replication::connect(&library(&db), &settings, &cancel);
    assert!(matches!(connected.err(), Some(Error::Cancelled)));
    canceller.join().unwrap();
}

#[test]
fn who_may_not_replicate_is_told_what_to_type() {
    let db = Db::start();
    sql(
        &db,
        "SET password_encryption = 'scram-sha-256'; CREATE ROLE receiver LOGIN REPLICATION PASSWORD 'right'",
    );
    sql(&db, "CREATE ROLE plain LOGIN; CREATE ROLE stranger LOGIN REPLICATION");
    let rules = "local replication receiver scram-sha-256\nlocal replication plain trust\n\
        local replication postgres trust\nlocal postgres postgres trust\n";
    fs::write(data(&db).join("pg_hba.conf"), rules).unwrap();
    sql(&db, "SELECT pg_reload_conf()");
    let host = db.cluster.folder().display().to_string();
    let attempt = |user: &str, password: &str, host: &str| {
        let settings = format!("host='{host}' port=5432 user={user} password='{password}'");
        let settings = Settings::parse(&settings).unwrap().alone();
        Replication::connect(&library(&db), &settings, &Cancel::new())
    };
    attempt("receiver", "right", &host).unwrap().identify().unwrap();
    let cases = [
        ("receiver", "wr0ng", &host[..], "password authentication failed"),
        ("receiver", "", &host, "no password supplied"),
        ("plain", "", &host, "replication"),
        ("stranger", "", &host, "no pg_hba.conf entry for replication connection"),
        ("receiver", "right", "nowhere.invalid", "could not translate host name"),
        ("receiver", "right", "/nowhere", "No such file or directory"),
    ];
    for (user, password, host, want) in cases {
        let error = attempt(user, password, host).err().unwrap();
        let text = error.to_string();
        assert!(text.starts_with("no replication connection to ") && text.contains(want), "{user}: {text}");
        assert!(password.is_empty() || !text.contains(password), "{text}");
        assert!(error.hint().unwrap().contains("ALTER ROLE"), "{text}");
    }
}

/// Run by the next test, in an environment that it must not listen to.
const CHILD: &str = "KAMBA_TEST_ENVIRONMENT_CHILD";

#[test]
fn the_environment_has_no_say_in_a_server_of_our_own() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let tools = crate::support::tools();
        let settings = Settings::new().alone().with_host(folder.to_str().unwrap());
        let settings = settings.with_port(5432).with_user("postgres").with_database("postgres");
        match Replication::connect(&Library::open(&tools).unwrap(), &settings, &Cancel::new()) {
            Ok(mut replication) => println!("connected to {}", replication.identify().unwrap().system),
            Err(error) => println!("{error}"),
        }
        return;
    }
    let db = Db::start();
    let child = |variables: &[(&str, &str)]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--exact",
            "--nocapture",
            "replication::the_environment_has_no_say_in_a_server_of_our_own",
        ]);
        command.env(CHILD, db.cluster.folder()).envs(variables.iter().copied());
        String::from_utf8(output(&mut command)).unwrap()
    };
    let connected = format!("connected to {}", connect(&db).identify().unwrap().system);
    let overruled = [
        ("PGHOST", "nowhere.invalid"),
        ("PGPORT", "1"),
        ("PGUSER", "nobody"),
        ("PGDATABASE", "nothing"),
        ("PGOPTIONS", "-c nonsense=1"),
        ("PGSSLMODE", "verify-full"),
        ("PGGSSENCMODE", "require"),
        ("PGCHANNELBINDING", "require"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGAPPNAME", "x"),
        ("PGSSLROOTCERT", "/nowhere"),
        ("PGCLIENTENCODING", "nonsense"),
        ("PGPASSFILE", "/nowhere"),
    ];
    let said = child(&overruled);
    assert!(said.contains(&connected), "{said}");
    for (variable, value) in
        [("PGHOSTADDR", "127.0.0.1"), ("PGREQUIREPEER", "nobody"), ("PGSERVICE", "other")]
    {
        let said = child(&[(variable, value)]);
        assert!(said.contains(&format!("the environment variable {variable} would change")), "{said}");
    }
}

#[test]
fn what_cannot_be_asked_for_is_refused_before_it_is() {
    let db = Db::start();
    let mut replication = connect(&db);
    for name in ["", "Keeper", "a-b", "x\" PHYSICAL; --", &"x".repeat(64)] {
        let error = replication.create_slot(name, true).unwrap_err();
        assert!(error.to_string().starts_with("the replication slot: a name has"), "{error}");
    }
    for (label, rate) in [("two\nlines", None), ("x", Some(31)), ("x", Some(u32::MAX))] {
        let options = Options { label: label.to_owned(), max_rate: rate, ..options() };
        let error = BaseBackup::begin(&mut replication, &options).err().unwrap();
        assert!(error.to_string().starts_with("the base backup: its "), "{error}");
    }
    assert!(base_backup::RATE.contains(&32));
    replication.create_slot("short_lived", true).unwrap();
    drop(replication);
    let mut replication = connect(&db);
    // The server ends the connection, and with it the slot, soon after we have.
    while replication.read_slot("short_lived").unwrap().is_some() {
        std::thread::sleep(Duration::from_millis(20));
    }
}
