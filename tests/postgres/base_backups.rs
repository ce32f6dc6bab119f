//! Base backups of a real server: what comes, what it is worth, and what a restored cluster makes of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::base_backup::{BaseBackup, End, Event, Start};
use kamba_vault::postgres::control::{self, Control, State, invalidate_checkpoint};
use kamba_vault::postgres::error::Error;
use kamba_vault::postgres::label::{self, BackupLabel};
use kamba_vault::postgres::lsn::Lsn;
use kamba_vault::postgres::page::{self, PAGE, PAGES_PER_FILE, RelationFile, Verdict};
use kamba_vault::postgres::replication::Replication;
use kamba_vault::postgres::replication::stream;
use kamba_vault::postgres::tar;

use crate::inside::{
    append, as_owner, base_backup_options, beside_pg_ctl, connect, data, folder_of_the_server, hand_over,
    library, on_data, on_data_stopped, sql,
};
use crate::support::{Db, output};

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
    take_from(&mut connect(db), into)
}

fn take_from(replication: &mut Replication, into: &Path) -> Taken {
    let mut backup = BaseBackup::begin(replication, &base_backup_options()).unwrap();
    let mut files: BTreeMap<Option<u32>, Vec<(tar_entry::Owned, Vec<u8>)>> = BTreeMap::new();
    let (mut reader, mut current, mut manifest) = (None::<tar::Reader>, None, Vec::new());
    let mut progress = 0;
    let end = loop {
        match backup.next_event().unwrap() {
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
    assert!(matches!(backup.next_event(), Err(Error::Answer(_))), "nothing follows the end");
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
        // Without that, no standby could be backed up.
        append(db, "postgresql.conf", "full_page_writes = on\n");
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
    let label = BackupLabel::parse(&fs::read(base.join("backup_label")).unwrap()).unwrap();
    assert_eq!((label.start, label.timeline), (taken.start.start, 1));
    assert!(label.label == "it's a label" && label.method == "streamed" && !label.from_standby);
    assert!(label.checkpoint > label.start && label.incremental_from.is_none());
    let map = label::parse_map(&fs::read(base.join("tablespace_map")).unwrap()).unwrap();
    assert_eq!(map, [label::Link { oid: there.oid.unwrap(), location: there.location.clone() }]);
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

#[test]
fn a_control_file_says_what_pg_controldata_says() {
    let db = with_checksums();
    on_data(&db, "pg_ctl", &["stop", "--wait", "--silent", "--mode=fast"]);
    let control = Control::parse(&fs::read(data(&db).join(control::PATH)).unwrap()).unwrap();
    let said = on_data(&db, "pg_controldata", &[]);
    let field = |name: &str| {
        let mut fields = said.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(found, _)| *found == name).expect(name).1.trim().to_owned()
    };
    let cases = [
        ("pg_control version number", control.control_version.to_string()),
        ("Catalog version number", control.catalog_version.to_string()),
        ("Database system identifier", control.system.to_string()),
        ("Latest checkpoint location", control.checkpoint.to_string()),
        ("Latest checkpoint's REDO location", control.redo.to_string()),
        ("Latest checkpoint's TimeLineID", control.timeline.to_string()),
        ("Minimum recovery ending location", control.minimum_recovery.to_string()),
        ("Backup start location", control.backup_start.to_string()),
        ("Database block size", control.block_size.to_string()),
        ("Blocks per segment of large relation", control.pages_per_file.to_string()),
        ("Bytes per WAL segment", control.segment_size.to_string()),
        ("Data page checksum version", u32::from(control.checksums).to_string()),
    ];
    for (name, value) in cases {
        assert_eq!(field(name), value, "{name}");
    }
    assert_eq!((control.state, control.wal_level), (State::ShutDown, 1));
}

#[test]
fn without_its_label_a_restored_cluster_does_not_start() {
    let db = with_checksums();
    let restored = folder_of_the_server(&db, "restored");
    let taken = take(&db, &restored);
    sql(&db, "INSERT INTO rows SELECT * FROM rows");
    sql(&db, "SELECT pg_switch_wal()");
    let base = &taken.folders[&None];
    // Before the server stops: its last checkpoint takes WAL away.
    for entry in fs::read_dir(data(&db).join("pg_wal")).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), base.join("pg_wal").join(entry.file_name())).unwrap();
        }
    }
    on_data(&db, "pg_ctl", &["stop", "--wait", "--silent", "--mode=fast"]);
    let mut control = fs::read(base.join(control::PATH)).unwrap();
    assert_eq!(Control::parse(&control).unwrap().state, State::Running);
    invalidate_checkpoint(&mut control).unwrap();
    fs::write(base.join(control::PATH), control).unwrap();
    fs::set_permissions(base, fs::Permissions::from_mode(0o700)).unwrap();
    hand_over(&db, &restored);
    let _stopped = Stopped(&db, base.clone());
    let start = || {
        let mut command = as_owner(&db, "pg_ctl");
        command.args(["start", "--wait", "--silent", "--log"]).arg(restored.join("log"));
        command.arg("--pgdata").arg(base).output().unwrap().status.success()
    };
    fs::rename(base.join("backup_label"), restored.join("aside")).unwrap();
    let started_without = start();
    let log = fs::read_to_string(restored.join("log")).unwrap();
    fs::rename(restored.join("aside"), base.join("backup_label")).unwrap();
    let started_with = !started_without && start();
    let log_with = fs::read_to_string(restored.join("log")).unwrap();
    let rows = started_with.then(|| sql(&db, "SELECT count(*) FROM rows"));
    assert!(!started_without && log.contains("could not locate a valid checkpoint record"), "{log}");
    assert_eq!(rows.as_deref(), Some("6000"), "with its label it recovers to the end of the WAL: {log_with}");
}

/// Makes a standby of the cluster in this folder, with its own socket there, and starts it.
fn start_standby(db: &Db, folder: &Path) -> PathBuf {
    let base = take(db, folder).folders.remove(&None).unwrap();
    let settings = format!(
        "unix_socket_directories = '{}'\nprimary_conninfo = 'host={} port=5432 user=postgres'\n",
        folder.display(),
        db.cluster.folder().display()
    );
    fs::write(base.join("postgresql.auto.conf"), settings).unwrap();
    fs::write(base.join("standby.signal"), "").unwrap();
    fs::set_permissions(&base, fs::Permissions::from_mode(0o700)).unwrap();
    hand_over(db, folder);
    let mut start = as_owner(db, "pg_ctl");
    start.args(["start", "--wait", "--silent", "--log"]).arg(folder.join("log"));
    output(start.arg("--pgdata").arg(&base));
    base
}

/// Stops a server that a test started beside its cluster, also when the test fails.
struct Stopped<'a>(&'a Db, PathBuf);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let mut stop = as_owner(self.0, "pg_ctl");
        // It fails if the server has stopped before.
        let _ = stop.args(["stop", "--mode=immediate", "--silent", "--pgdata"]).arg(&self.1).output();
    }
}

#[test]
fn a_standby_is_backed_up_and_streams_across_its_promotion() {
    let db = with_checksums();
    let folder = folder_of_the_server(&db, "standby");
    let base = start_standby(&db, &folder);
    let standby = Stopped(&db, base);
    let settings = db.cluster.settings().with_host(folder.to_str().unwrap());
    let connect = || Replication::connect(&library(&db), &settings, &Cancel::new()).unwrap();
    let into = tempfile::tempdir().unwrap();
    let taken = take_from(&mut connect(), into.path());
    let label = fs::read(taken.folders[&None].join("backup_label")).unwrap();
    assert!(BackupLabel::parse(&label).unwrap().from_standby);
    assert!(taken.pages.is_empty() && taken.fine > 100 && !taken.end.corrupt);
    let control = fs::read(taken.folders[&None].join(control::PATH)).unwrap();
    assert_eq!(Control::parse(&control).unwrap().state, State::ArchiveRecovery);

    let mut replication = connect();
    let from = replication.identify().unwrap().position;
    let mut stream = replication.stream(None, from, 1).unwrap();
    sql(&db, "INSERT INTO rows SELECT * FROM rows");
    let until: Lsn = sql(&db, "SELECT pg_current_wal_insert_lsn()").parse().unwrap();
    let (mut end, mut promoted) = (from, false);
    let next = loop {
        match stream.next_event(Duration::from_secs(1)).unwrap() {
            stream::Event::Data { start, bytes } => {
                assert_eq!(start, end);
                end = end.plus(bytes.len() as u64);
            }
            stream::Event::EndOfTimeline(next) => break next,
            stream::Event::Stopped => panic!("the standby has stopped"),
            stream::Event::Keepalive { .. } | stream::Event::Idle => {}
        }
        if end >= until && !promoted {
            output(as_owner(&db, "pg_ctl").args(["promote", "--silent", "--pgdata"]).arg(&standby.1));
            promoted = true;
        }
    };
    assert!(promoted && (next.timeline, next.switch) == (2, end), "{next:?} instead of {end}");
    assert_eq!(replication.identify().unwrap().timeline, 2, "the connection goes on");
}
