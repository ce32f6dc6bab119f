//! A small HTTP/1.1 proxy that spoils what passes through it: it drops a header, loses replies,
//! answers in the server's place, or never. It understands just as much of HTTP as that needs: heads,
//! and bodies with a length; every connection carries one request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It passes.
    Pass,
    /// It passes while no other request of this fate does.
    Alone,
    /// It passes without this header (in lower case).
    Without(&'static str),
    /// The server gets it, and the client never hears of it.
    LoseReply,
    /// The server never gets it; the client gets this status.
    Answer(u16),
    /// Nobody ever hears of it again.
    Hang,
    /// The server gets it only after this time.
    Late(Duration),
    /// The server never gets it; the client gets an error whose explanation has this many bytes.
    Explain(usize),
    /// The server gets it; of its reply the client gets this many bytes.
    CutReply(usize),
}

type Decides = Box<dyn FnMut(&str, &str) -> Fate + Send>;

/// A running proxy; it ends with the process.
pub struct Proxy {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Passes requests on to `server` as `decide` wants, given method and path.
    pub fn start(server: SocketAddr, decide: impl FnMut(&str, &str) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let decide: Arc<Mutex<Decides>> = Arc::new(Mutex::new(Box::new(decide)));
        let turn: Arc<Mutex<()>> = Arc::default();
        let log = Arc::clone(&seen);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (decide, turn, log) = (Arc::clone(&decide), Arc::clone(&turn), Arc::clone(&log));
                // A connection that breaks is what this is for.
                thread::spawn(move || pass(client, server, &decide, &turn, &log));
            }
        });
        Proxy { address, seen }
    }

    /// `METHOD path` of every request so far.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn pass(
    client: TcpStream,
    server: SocketAddr,
    decide: &Mutex<Decides>,
    turn: &Mutex<()>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            break;
        }
        head.push(line);
    }
    let mut words = head[0].split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    log.lock().unwrap().push(format!("{method} {path}"));
    let fate = (decide.lock().unwrap())(method, path);
    let named = |line: &str, name: &str| line.to_ascii_lowercase().starts_with(&format!("{name}:"));
    let length = head.iter().find(|line| named(line, "content-length"));
    let length = length.and_then(|line| line.split(':').nth(1)?.trim().parse().ok()).unwrap_or(0u64);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    let mut client = client;
    if matches!(fate, Fate::Hang) {
        // Until the client gives up.
        client.read_to_end(&mut Vec::new())?;
        return Ok(());
    }
    if let Fate::Answer(status) = fate {
        let answer = format!("HTTP/1.1 {status} Spoilt\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return client.write_all(answer.as_bytes());
    }
    if let Fate::Explain(bytes) = fate {
        let answer = format!("HTTP/1.1 400 Spoilt\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n");
        client.write_all(answer.as_bytes())?;
        return client.write_all(&vec![b' '; bytes]);
    }
    if let Fate::Late(time) = fate {
        thread::sleep(time);
    }
    let dropped = |line: &str| {
        named(line, "connection") || matches!(fate, Fate::Without(header) if named(line, header))
    };
    let _turn = matches!(fate, Fate::Alone).then(|| turn.lock().unwrap());
    let mut onward = TcpStream::connect(server)?;
    for line in head.iter().filter(|line| !dropped(line)) {
        onward.write_all(line.as_bytes())?;
    }
    onward.write_all(b"Connection: close\r\n\r\n")?;
    onward.write_all(&body)?;
    let mut reply = Vec::new();
    onward.read_to_end(&mut reply)?;
    let given = match fate {
        Fate::LoseReply => 0,
        Fate::CutReply(bytes) => bytes.min(reply.len()),
        _ => reply.len(),
    };
    client.write_all(&reply[..given])?;
    client.shutdown(Shutdown::Both)
}
