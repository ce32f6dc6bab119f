//! Servers that are not what they should be: too old, broken, or up to something. They speak the protocol
//! ("Frontend/Backend Protocol" in PostgreSQL's manual) from a script.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use kamba_vault::base::clock::Cancel;
use kamba_vault::postgres::base_backup::{BaseBackup, End, Event};
use kamba_vault::postgres::connect::Settings;
use kamba_vault::postgres::error::Error;
use kamba_vault::postgres::libpq::Library;
use kamba_vault::postgres::lsn::Lsn;
use kamba_vault::postgres::replication::Replication;
use kamba_vault::postgres::replication::stream;

use crate::inside::base_backup_options;
use crate::support::tools;

/// A message: its kind, its length, its bytes.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn copy(body: &[u8]) -> Vec<u8> {
    message(b'd', body)
}

/// Rows of text; an empty value is null.
fn rows(rows: &[&[&str]]) -> Vec<u8> {
    let columns = rows.first().map_or(0, |row| row.len());
    let mut all = (columns as u16).to_be_bytes().to_vec();
    for _ in 0..columns {
        all.extend(b"column\0");
        // No table, type 25 (text), of any size, as text.
        all.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0]);
    }
    let mut all = message(b'T', &all);
    for row in rows {
        let mut body = (row.len() as u16).to_be_bytes().to_vec();
        for value in *row {
            let length = if value.is_empty() { u32::MAX } else { value.len() as u32 };
            body.extend(length.to_be_bytes());
            body.extend(value.as_bytes());
        }
        all.extend(message(b'D', &body));
    }
    all.extend(message(b'C', b"SELECT\0"));
    all
}

fn error(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0VERROR\0C{code}\0M{text}\0\0").as_bytes())
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// A server that says these things, one to each statement, and then goes.
fn serve(version: &'static str, script: Vec<Vec<u8>>) -> (Settings, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings::new().alone().with_host("127.0.0.1").with_user("postgres");
    let settings = settings.with_port(listener.local_addr().unwrap().port());
    let server = std::thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        let mut length = [0; 4];
        client.read_exact(&mut length).unwrap();
        skip(&mut client, u32::from_be_bytes(length) as usize - 4);
        let parameter = format!("server_version\0{version}\0");
        let hello = [message(b'R', &[0; 4]), message(b'S', parameter.as_bytes()), ready()];
        client.write_all(&hello.concat()).unwrap();
        for said in script {
            // Statements come, and what ends a copy; only the first are answered.
            while read_kind(&mut client) != Some(b'Q') {}
            client.write_all(&said).unwrap();
        }
    });
    (settings, server)
}

fn read_kind(client: &mut TcpStream) -> Option<u8> {
    let mut head = [0; 5];
    client.read_exact(&mut head).unwrap();
    skip(client, u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4);
    Some(head[0])
}

fn skip(client: &mut TcpStream, len: usize) {
    client.read_exact(&mut vec![0; len]).unwrap();
}

fn connect(settings: &Settings) -> Result<Replication, Error> {
    Replication::connect(&Library::open(&tools()).unwrap(), settings, &Cancel::new())
}

/// What a base backup from a server comes to that says this.
fn back_up(said: &[Vec<u8>]) -> Result<End, Error> {
    let (settings, server) = serve("15.4", vec![said.concat()]);
    let mut replication = connect(&settings).unwrap();
    let result = BaseBackup::begin(&mut replication, &base_backup_options()).and_then(|mut backup| {
        loop {
            if let Event::End(end) = backup.next_event()? {
                return Ok(end);
            }
        }
    });
    server.join().unwrap();
    result
}

fn start() -> Vec<u8> {
    rows(&[&["1/28", "3"]])
}

fn tablespaces() -> Vec<u8> {
    rows(&[&["16384", "/space", "7"], &["", "", "9"]])
}

fn copy_out() -> Vec<u8> {
    message(b'H', &[0, 0, 0])
}

/// The copy of a base backup with one tablespace, in messages.
fn good_copy() -> Vec<Vec<u8>> {
    let messages: [&[u8]; 8] = [
        b"n16384.tar\0/space\0",
        b"dtar",
        b"p\0\0\0\0\0\0\x10\0",
        b"nbase.tar\0\0",
        b"dtar",
        b"dtar",
        b"m",
        b"d{}",
    ];
    messages.iter().map(|message| copy(message)).collect()
}

fn good() -> Vec<Vec<u8>> {
    let head = [start(), tablespaces(), copy_out()];
    let tail = [message(b'c', b""), rows(&[&["1/128", "4"]]), message(b'C', b"SELECT\0"), ready()];
    [&head[..], &good_copy(), &tail].concat()
}

#[test]
fn a_server_that_is_too_old_is_told_so() {
    let (settings, server) = serve("12.17", Vec::new());
    let error = connect(&settings).err().unwrap();
    assert_eq!(error.to_string(), "replication needs PostgreSQL 13.0 or newer, and the server is 12.17");
    server.join().unwrap();
    let (settings, server) = serve("14.9", Vec::new());
    let mut replication = connect(&settings).unwrap();
    let error = BaseBackup::begin(&mut replication, &base_backup_options()).err().unwrap();
    assert_eq!(error.to_string(), "a base backup needs PostgreSQL 15.0 or newer, and the server is 14.9");
    server.join().unwrap();
}

#[test]
fn answers_that_make_no_sense_are_errors() {
    let identities: [&[&[&str]]; 6] = [
        &[&["x", "1", "0/1", ""]],
        &[&["1", "-1", "0/1", ""]],
        &[&["1", "1", "0", ""]],
        &[&["", "1", "0/1", ""]],
        &[&["1", "1"]],
        &[&["1", "1", "0/1", ""], &["1", "1", "0/1", ""]],
    ];
    let script = identities.iter().map(|identity| [rows(identity), ready()].concat());
    let (settings, server) = serve("15.4", script.collect());
    let mut replication = connect(&settings).unwrap();
    for identity in identities {
        let error = replication.identify().unwrap_err();
        assert_eq!(error.to_string(), "PostgreSQL gave a strange answer about who it is", "{identity:?}");
    }
    server.join().unwrap();

    let sizes = ["15MB", "2GB", "x", "512kB"];
    let script = sizes.iter().map(|size| [rows(&[&[*size]]), ready()].concat());
    let (settings, server) = serve("15.4", script.collect());
    let mut replication = connect(&settings).unwrap();
    for size in sizes {
        assert!(matches!(replication.wal_segment_size(), Err(Error::Answer(_))), "{size}");
    }
    server.join().unwrap();
    // It is gone.
    assert!(matches!(replication.identify(), Err(Error::Lost { .. })));
}

#[test]
fn a_base_backup_is_whole_or_an_error() {
    let end = back_up(&good()).unwrap();
    assert_eq!(end, End { stop: Lsn(0x1_0000_0128), timeline: 4, corrupt: false });
    let all = good();
    // The connection breaks before any of its messages.
    for len in 0..all.len() {
        let error = back_up(&all[..len]).unwrap_err();
        assert!(matches!(error, Error::Lost { .. }), "{len}: {error}");
    }
    let first = 3;
    let swapped = |a: usize, b: usize| {
        let mut all = all.clone();
        all.swap(first + a, first + b);
        all
    };
    let with = |at: usize, message: &[u8]| {
        let mut all = all.clone();
        all[first + at] = copy(message);
        all
    };
    let without = |at: usize| {
        let mut all = all.clone();
        all.remove(first + at);
        all
    };
    let cases = [
        ("data before its tar", swapped(0, 1)),
        ("tablespaces in another order", swapped(0, 3)),
        ("a tar after the manifest", swapped(3, 6)),
        ("no first tar", without(0)),
        ("no last tar", without(3)),
        ("no manifest", without(6)),
        ("another tablespace", with(0, b"n16385.tar\0/space\0")),
        ("another folder", with(0, b"n16384.tar\0/other\0")),
        ("a name of another kind", with(0, b"n../../x.tar\0/space\0")),
        ("a compressed tar", with(0, b"n16384.tar.gz\0/space\0")),
        ("a name without an end", with(0, b"n16384.tar\0/space")),
        ("something behind a name", with(0, b"n16384.tar\0/space\0x")),
        ("a third tar", with(4, b"nbase.tar\0\0")),
        ("an odd progress", with(2, b"p1")),
        ("an odd manifest", with(6, b"mx")),
        ("an unknown message", with(1, b"?")),
    ];
    for (what, said) in cases {
        let error = back_up(&said).unwrap_err();
        assert!(matches!(error, Error::Answer(_)), "{what}: {error}");
    }
    let odd_heads = [
        vec![rows(&[&["1/x", "3"]])],
        vec![rows(&[&["1/28", ""]])],
        vec![rows(&[])],
        vec![start(), rows(&[])],
        vec![start(), rows(&[&["x", "/space", "7"]])],
        vec![start(), rows(&[&["16384", "/space", "-1"]])],
        vec![start(), tablespaces(), rows(&[])],
        vec![copy_out()],
    ];
    for said in odd_heads {
        let error = back_up(&said).unwrap_err();
        assert!(matches!(error, Error::Answer(_)), "{error}");
    }
}

#[test]
fn a_server_that_fails_says_why() {
    let failing = [error("58030", "could not read file \"base/5/1259\""), ready()];
    let all = good();
    for len in [0, 3, 5, 9] {
        let error = back_up(&[&all[..len], &failing].concat()).unwrap_err();
        assert_eq!(error.code(), Some("58030"), "{error}");
        assert_eq!(error.to_string(), "the server says to BASE_BACKUP: could not read file \"base/5/1259\"");
    }
    let rows = all.len() - 2;
    let end = back_up(&[&all[..rows], &[error("XX001", "checksum"), ready()]].concat()).unwrap();
    assert!(end.corrupt);
    let end = back_up(&[&all[..rows], &[error("XX000", "something"), ready()]].concat()).unwrap_err();
    assert_eq!(end.code(), Some("XX000"), "another error is no end");
}

#[test]
fn wal_comes_in_its_form_or_not_at_all() {
    let copy_both = message(b'W', &[0, 0, 0]);
    let header = [0; 24];
    let odd: [&[u8]; 6] =
        [b"w", b"k", b"x0123456789", b"k0123456789abcdefgh", &header, b"w0123456789abcdefghijkl"];
    for said in odd {
        let (settings, server) = serve("15.4", vec![[copy_both.clone(), copy(said)].concat()]);
        let mut replication = connect(&settings).unwrap();
        let mut stream = replication.stream(None, Lsn(0), 1).unwrap();
        let result = stream.next_event(Duration::from_secs(10));
        assert!(matches!(result, Err(Error::Answer(_))), "{said:?}");
        server.join().unwrap();
    }
    let data = [b"w\0\0\0\x01\0\0\0\0", &[0; 16][..], b"wal"].concat();
    let next = rows(&[&["x", "0/1"]]);
    let said = [copy_both.clone(), copy(&data), message(b'c', b""), next, ready()].concat();
    let (settings, server) = serve("15.4", vec![said]);
    let mut replication = connect(&settings).unwrap();
    let mut stream = replication.stream(None, Lsn(0), 1).unwrap();
    let wait = Duration::from_secs(10);
    let Ok(stream::Event::Data { start, bytes }) = stream.next_event(wait) else { panic!("no data") };
    assert_eq!((start, &*bytes), (Lsn(1 << 32), &b"wal"[..]));
    assert!(matches!(stream.next_event(wait), Err(Error::Answer(_))), "a timeline that is no number");
    server.join().unwrap();
}
