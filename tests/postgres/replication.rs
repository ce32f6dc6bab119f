//! The replication protocol against a real server.

use std::fs;
use std::process::Command;
use std::time::Duration;

use kamba_vault::base::clock::{Cancel, Clock, SystemClock};
use kamba_vault::postgres::base_backup::{self, BaseBackup, Options};
use kamba_vault::postgres::connect::Settings;
use kamba_vault::postgres::error::Error;
use kamba_vault::postgres::libpq::Library;
use kamba_vault::postgres::lsn::Lsn;
use kamba_vault::postgres::replication::Replication;
use kamba_vault::postgres::replication::stream::{self, Stream};

use crate::inside::{append, base_backup_options, connect, data, library, on_data, on_data_stopped, sql};
use crate::support::{Db, output};

/// Bytes of a WAL segment of these clusters.
const SEGMENT: u64 = 16 << 20;

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

/// Reads a stream up to `until`, and says so to the server.
fn read_until(stream: &mut Stream<'_>, from: Lsn, until: Lsn) -> Vec<u8> {
    let mut wal = Vec::new();
    while from.plus(wal.len() as u64) < until {
        match stream.next_event(Duration::from_secs(10)).unwrap() {
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
    assert_eq!(replication.look_up_slot("keeper").unwrap(), None);
    replication.create_slot("keeper", false).unwrap();
    let error = replication.create_slot("keeper", false).unwrap_err();
    assert_eq!(error.code(), Some("42710"), "{error}");
    let slot = replication.read_slot("keeper").unwrap().unwrap();
    let from = Lsn(slot.restart.unwrap().0 / SEGMENT * SEGMENT);
    assert_eq!(slot.timeline, Some(1));
    // As older servers are asked.
    assert_eq!(replication.look_up_slot("keeper").unwrap(), Some(slot));
    sql(&db, "SELECT pg_create_physical_replication_slot('idle')");
    let idle = replication.look_up_slot("idle").unwrap();
    assert_eq!((idle, idle.unwrap().restart), (replication.read_slot("idle").unwrap(), None));
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
    while !is_answer(stream.next_event(Duration::from_secs(10)).unwrap()) {}
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
            match stream.next_event(Duration::from_secs(1)).unwrap() {
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

    // Without a slot the server keeps nothing for us.
    for _ in 0..3 {
        sql(&db, "SELECT pg_switch_wal()");
        sql(&db, "CHECKPOINT");
    }
    let mut stream = replication.stream(None, Lsn(SEGMENT), 1).unwrap();
    let error = loop {
        match stream.next_event(Duration::from_secs(10)) {
            Ok(event) => assert!(matches!(event, stream::Event::Keepalive { .. } | stream::Event::Idle)),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Some("58P01"), "{error}");
    assert!(error.hint().unwrap().contains("a new base backup"));
    assert!(replication.identify().is_ok(), "the connection is free again");
}

#[test]
fn connections_move_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let db = Db::start();
    let mut replication = connect(&db);
    is_send(&replication);
    let there = std::thread::spawn(move || replication.identify().unwrap().system).join().unwrap();
    assert_eq!(there, connect(&db).identify().unwrap().system);
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
    let kept = replication.look_up_slot("keeper").unwrap();
    assert_eq!((kept.unwrap().timeline, kept), (Some(1), replication.read_slot("keeper").unwrap()));
    let mut stream = replication.stream(Some("keeper"), from, 1).unwrap();
    let mut end = from;
    let next = loop {
        match stream.next_event(Duration::from_secs(10)).unwrap() {
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
    assert!(
        matches!(stream.next_event(Duration::ZERO), Ok(stream::Event::EndOfTimeline(again)) if again == next)
    );
    let history = replication.timeline_history(2).unwrap();
    assert_eq!(history.name, "00000002.history");
    assert!(history.content.starts_with(format!("1\t{end}\t").as_bytes()));

    let mut stream = replication.stream(Some("keeper"), end, 1).unwrap();
    let again = stream.next_event(Duration::from_secs(10)).unwrap();
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
        match stream.next_event(Duration::from_secs(3600)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Cancelled), "{error}");
    canceller.join().unwrap();
    drop(replication);

    // A server that has so much to say that nobody ever waits for it.
    let cancel = Cancel::new();
    let mut replication = Replication::connect(&library(&db), &db.cluster.settings(), &cancel).unwrap();
    let mut backup = BaseBackup::begin(&mut replication, &base_backup_options()).unwrap();
    for _ in 0..100 {
        assert!(backup.next_event().is_ok());
    }
    cancel.cancel();
    assert!(matches!(backup.next_event().err(), Some(Error::Cancelled)));
    drop(replication);

    // A checkpoint that takes its time, which is five minutes.
    append(&db, "postgresql.conf", "checkpoint_timeout = '1h'\ncheckpoint_completion_target = 1\n");
    sql(&db, "SELECT pg_reload_conf()");
    sql(&db, "CREATE TABLE rows AS SELECT n, repeat('x', 500) FROM generate_series(1, 20000) n");
    let cancel = Cancel::new();
    let mut replication = Replication::connect(&library(&db), &db.cluster.settings(), &cancel).unwrap();
    let canceller = after(&cancel);
    let begun = BaseBackup::begin(&mut replication, &Options { fast: false, ..base_backup_options() });
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

/// Names a server to the next test when it runs as its own child, in an environment that it must not listen
/// to; it answers on standard output.
const CHILD: &str = "KAMBA_TEST_ENVIRONMENT_CHILD";

#[test]
#[allow(clippy::print_stdout)]
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
        let options = Options { label: label.to_owned(), max_rate: rate, ..base_backup_options() };
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
