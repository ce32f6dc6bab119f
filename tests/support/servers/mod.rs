//! Servers for tests: each is started on a free port of this machine in a temporary folder, and
//! killed with everything it started when it is dropped. A server that is not installed fails the
//! test that needs it.
#![allow(dead_code, reason = "each test binary needs some of them")]

pub mod proxy;
pub mod s3;
pub mod sftp;
pub mod webdav;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
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
        // Somebody else may take the port between the look and the start: then the server ends.
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
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                self.obituary = format!("ended with {status}: {log}");
                return false;
            }
            // Whoever else took the port answers there too.
            if listens(self.address.port(), self.process.id()) && TcpStream::connect(self.address).is_ok() {
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.obituary = format!("did not listen within {START_MAX:?}");
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

/// A port that nobody listened on a moment ago.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// An address that nobody listens at: the port is below those that are given out to whoever asks for
/// any, so no other test's server comes to it.
pub const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Whether a process of `group` listens on `port` of this machine.
fn listens(port: u16, group: u32) -> bool {
    const LISTENING: &str = "0A";
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let here = format!("0100007F:{port:04X}");
    // number: local remote state queues timer retransmits user timeout inode …
    let listener = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|socket| {
        socket.get(1).is_some_and(|local| *local == here) && socket.get(3) == Some(&LISTENING)
    });
    let Some(inode) = listener.and_then(|socket| socket.get(9).map(|inode| format!("socket:[{inode}]")))
    else {
        return false;
    };
    processes().filter(|process| process.group == group).any(|process| {
        let files = fs::read_dir(process.folder.join("fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == &*inode))
    })
}

/// A process of this machine, as `/proc` shows it.
pub struct Process {
    pub id: i32,
    pub parent: u32,
    pub group: u32,
    pub name: String,
    pub folder: PathBuf,
}

/// Every process of this machine.
pub fn processes() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        // pid (name) state parent group …
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (start, rest) = stat.rsplit_once(')')?;
        let (id, name) = start.split_once(" (")?;
        let mut rest = rest.split_whitespace().skip(1);
        let (parent, group) = (rest.next()?.parse().ok()?, rest.next()?.parse().ok()?);
        Some(Process { id: id.parse().ok()?, parent, group, name: name.to_owned(), folder: entry.path() })
    })
}

/// Waits until `done`; fails after a time that is ample on a busy machine.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < START_MAX, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
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

/// A small file system of its own, unmounted when it is dropped. Mounting needs root: asks sudo for it
/// otherwise, which must not have to ask for a password.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// A disk of `size` bytes.
    pub fn mount(size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let user = rustix::process::getuid().as_raw();
        let options = format!("size={size},uid={user},mode=700");
        as_root(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()))
            .unwrap();
        SmallDisk(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Lets nobody write any more.
    pub fn make_read_only(&self) {
        as_root(Command::new("mount").args(["-o", "remount,ro"]).arg(self.path())).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server may still look at it.
        let _ = as_root(Command::new("umount").arg("--lazy").arg(self.path()));
    }
}

/// Runs `command` as root.
fn as_root(command: &Command) -> Result<(), String> {
    let mut whole = match rustix::process::getuid().is_root() {
        true => Command::new(command.get_program()),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.arg("--non-interactive").arg(command.get_program());
            sudo
        }
    };
    let said = match whole.args(command.get_args()).output() {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    Err(format!("mounting needs root, or a sudo that asks for no password: {whole:?}: {said}"))
}
