//! Servers for tests: each is started on a free port of this machine in a temporary folder, and
//! killed with everything it started when it is dropped. A server that is not installed fails the
//! test that needs it.
#![allow(dead_code, reason = "each test binary needs some of them")]

pub mod proxy;
pub mod s3;
pub mod sftp;
pub mod webdav;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server process and its folder.
pub struct Server {
    pub address: SocketAddr,
    pub folder: TempDir,
    process: Child,
    /// Why it ended, if it did.
    obituary: String,
}

/// Long enough for a busy machine; a server that needs it is broken.
const START_MAX: Duration = Duration::from_secs(60);

impl Server {
    /// Starts what `command` makes of a port and a folder, and waits until it accepts connections.
    pub fn start(command: impl Fn(u16, &Path) -> Command) -> Self {
        let mut obituaries = Vec::new();
        // Somebody else may take the port between the look and the start.
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            let log = File::create(folder.path().join("log")).unwrap();
            let mut command = command(port, folder.path());
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
            // A group of its own, as some servers are scripts that start the real one.
            let spawned = command.process_group(0).spawn();
            let process = spawned.unwrap_or_else(|error| panic!("{command:?} is needed: {error}"));
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut server = Server { address, folder, process, obituary: String::new() };
            if server.answers() {
                return server;
            }
            obituaries.push(std::mem::take(&mut server.obituary));
        }
        panic!("the server did not start: {obituaries:?}");
    }

    fn answers(&mut self) -> bool {
        let began = Instant::now();
        while began.elapsed() < START_MAX {
            if let Some(status) = self.process.try_wait().unwrap() {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                self.obituary = format!("ended with {status}: {log}");
                return false;
            }
            if TcpStream::connect(self.address).is_ok() {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.process.wait();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// An address that nobody listens at.
pub fn free_port_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

/// Sends one request and returns the status and the answer's body.
pub fn request(to: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// A small file system of its own, unmounted when it is dropped. Needs root, as mounting does.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// A disk of `size` bytes.
    pub fn mount(size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).status();
        assert!(mounted.unwrap().success(), "mounting needs root");
        SmallDisk(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Lets nobody write any more.
    pub fn make_read_only(&self) {
        let done = Command::new("mount").args(["-o", "remount,ro"]).arg(self.path()).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server may still look at it.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
