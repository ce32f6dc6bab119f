//! One connection to an SFTP server: the system's `ssh`, with the protocol on its standard input and
//! output. Many threads share it, each waiting for its own answers.
//!
//! `ssh` brings the user's configuration, keys and agent. It ends when this process does, however
//! that ends, because its input does. Two threads move the packets, so that nobody's wait can block
//! on a pipe: a connection on which no answer comes for a minute is given up.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use super::wire::{self, Reply, Request};
use crate::base::clock::Cancel;
use crate::storage::Context;
use crate::storage::error::ErrorKind;

/// Packets that wait to be sent; with the pieces of files that is a megabyte.
const QUEUE: usize = 32;
/// How soon a cancel is noticed.
const POLL: Duration = Duration::from_millis(50);
/// How long after a cancel to wait for room to tidy up.
const TIDY_MAX: Duration = Duration::from_secs(1);
/// How often, and how long, to look whether ssh has ended by itself: a second in all.
const END_POLLS: u32 = 200;
const END_POLL: Duration = Duration::from_millis(5);
/// Time for ssh to end after it was killed; what it started may hold on to its output.
const COMPLAINT_MAX: Duration = Duration::from_secs(2);
/// As much is kept of what ssh says last: a server's banner may come first.
const SAID_MAX: usize = 1 << 10;
/// What ssh says of failures that do not pass by themselves. Whatever else it says may be the network's.
const LASTING: [(&str, ErrorKind); 12] = [
    ("Permission denied", ErrorKind::Permission),
    ("Host key verification failed", ErrorKind::Permission),
    ("Too many authentication failures", ErrorKind::Permission),
    ("subsystem request failed", ErrorKind::Config),
    ("Can't open user config file", ErrorKind::Config),
    ("Bad configuration option", ErrorKind::Config),
    ("bad configuration options", ErrorKind::Config),
    ("missing argument", ErrorKind::Config),
    ("Bad owner or permissions", ErrorKind::Config),
    ("Bad port", ErrorKind::Config),
    ("Bad number", ErrorKind::Config),
    ("Unable to negotiate", ErrorKind::Config),
];

/// Why a request was not answered.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    pub(super) kind: ErrorKind,
    pub(super) reason: String,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    shared: Arc<Shared>,
    packets: Sender<Vec<u8>>,
    next_id: AtomicU32,
    extensions: Vec<String>,
    /// Time without any answer after which the connection counts as lost. ssh itself notices a silent
    /// network; this is for a server that hangs.
    stall_timeout: Duration,
    context: Context,
    child: Mutex<Child>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Answers so far: whether it is alive.
    answers: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    replies: HashMap<u32, Sender<Reply>>,
    ended: bool,
}

/// A request that was sent and not yet answered.
#[derive(Debug)]
pub(super) struct Ticket(Receiver<Reply>);

impl Session {
    /// Starts `ssh` and greets the server.
    pub(super) fn connect(
        mut ssh: Command,
        stall_timeout: Duration,
        context: &Context,
    ) -> Result<Self, Lost> {
        // Not in the terminal's group: a Ctrl-C is for us to answer.
        let spawned =
            ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn();
        let mut child = spawned.map_err(|error| Lost {
            kind: ErrorKind::Config,
            reason: format!("ssh cannot be started: {error}"),
        })?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Lost { kind: ErrorKind::Other, reason: "ssh has no pipes".to_owned() });
        };
        let (complaint, complaints) = bounded(1);
        start("ssh-errors", move || drop(complaint.send(what_it_says(errors))))?;
        let (packets, to_send) = bounded(QUEUE);
        let cancel = context.cancel.clone();
        start("sftp-send", move || send(input, &to_send, &cancel))?;
        let (greeting, greeted) = bounded(1);
        let shared = Arc::new(Shared { waiting: Mutex::default(), answers: AtomicU64::new(0) });
        let received = Arc::clone(&shared);
        start("sftp-receive", move || receive(output, &greeting, &received))?;
        let mut session = Session {
            shared,
            packets,
            next_id: AtomicU32::new(1),
            extensions: Vec::new(),
            stall_timeout,
            context: context.clone(),
            child: Mutex::new(child),
        };
        match session.queue(wire::init()).and_then(|()| session.wait_for(&greeted)) {
            Ok(Some(extensions)) => session.extensions = extensions,
            Ok(None) => {
                let _ = session.child().kill();
                let reason =
                    "what answers is no SFTP server: does the account's login shell print something?";
                return Err(Lost { kind: ErrorKind::Config, reason: reason.to_owned() });
            }
            Err(lost) if lost.kind == ErrorKind::Cancelled => return Err(lost),
            Err(lost) => return Err(session.why_not(lost, &complaints)),
        }
        Ok(session)
    }

    /// Whether the server offers `extension`.
    pub(super) fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|offered| offered == extension)
    }

    /// Whether it is of no use any more.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.waiting().ended
    }

    /// Sends a request without waiting for its answer.
    pub(super) fn send(&self, request: Request<'_>) -> Result<Ticket, Lost> {
        self.check_cancel()?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = bounded(1);
        {
            let mut waiting = self.shared.waiting();
            if waiting.ended {
                return Err(lost());
            }
            waiting.replies.insert(id, sender);
        }
        self.queue(request.encode(id))?;
        Ok(Ticket(receiver))
    }

    /// Sends a request whose answer matters to nobody, even after a cancel: a handle that stays open
    /// costs the server one of not so many. Waits for its turn, but after a cancel not for long.
    pub(super) fn tidy(&self, request: Request<'_>) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        if let Err((lost, packet)) = self.offer(request.encode(id))
            && lost.kind == ErrorKind::Cancelled
        {
            let _ = self.packets.send_timeout(packet, TIDY_MAX);
        }
    }

    /// Waits for the answer to a request.
    pub(super) fn wait(&self, ticket: &Ticket) -> Result<Reply, Lost> {
        self.wait_for(&ticket.0)
    }

    /// Sends a request and waits for its answer.
    pub(super) fn ask(&self, request: Request<'_>) -> Result<Reply, Lost> {
        let ticket = self.send(request)?;
        self.wait(&ticket)
    }

    fn check_cancel(&self) -> Result<(), Lost> {
        match self.context.cancel.is_cancelled() {
            false => Ok(()),
            true => Err(Lost { kind: ErrorKind::Cancelled, reason: "interrupted".to_owned() }),
        }
    }

    fn queue(&self, packet: Vec<u8>) -> Result<(), Lost> {
        self.offer(packet).map_err(|(lost, _)| lost)
    }

    /// Queues a packet, or gives it back with the reason.
    fn offer(&self, packet: Vec<u8>) -> Result<(), (Lost, Vec<u8>)> {
        let mut packet = packet;
        let mut patience = Patience::new(self);
        loop {
            match self.packets.send_timeout(packet, POLL) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Disconnected(back)) => return Err((lost(), back)),
                Err(SendTimeoutError::Timeout(back)) => packet = back,
            }
            if let Err(lost) = patience.check() {
                return Err((lost, packet));
            }
        }
    }

    fn wait_for<T>(&self, receiver: &Receiver<T>) -> Result<T, Lost> {
        let mut patience = Patience::new(self);
        loop {
            match receiver.recv_timeout(POLL) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
                Err(RecvTimeoutError::Timeout) => patience.check()?,
            }
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the server did not greet: ssh says it in words only.
    fn why_not(&self, lost: Lost, complaints: &Receiver<String>) -> Lost {
        // It may be alive still, if what it reached is no SFTP server.
        let _ = self.child().kill();
        let said = complaints.recv_timeout(COMPLAINT_MAX).unwrap_or_default();
        if said.is_empty() {
            return lost;
        }
        let lasting = LASTING.iter().find(|(words, _)| said.contains(words));
        let kind = lasting.map_or(ErrorKind::Temporary, |(_, kind)| *kind);
        Lost { kind, reason: format!("ssh says: {said}") }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // No more packets: what is left is sent, and ssh ends when its input does.
        self.packets = bounded(0).0;
        let mut child = self.child();
        for _ in 0..END_POLLS {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(END_POLL);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks for cancels and hanging servers during a wait.
struct Patience<'a> {
    session: &'a Session,
    answers: u64,
    since: Duration,
}

impl<'a> Patience<'a> {
    fn new(session: &'a Session) -> Self {
        let answers = session.shared.answers.load(Ordering::Relaxed);
        Patience { session, answers, since: session.context.timer.elapsed() }
    }

    fn check(&mut self) -> Result<(), Lost> {
        self.session.check_cancel()?;
        let (answers, now) =
            (self.session.shared.answers.load(Ordering::Relaxed), self.session.context.timer.elapsed());
        if answers != self.answers {
            (self.answers, self.since) = (answers, now);
        } else if now.saturating_sub(self.since) > self.session.stall_timeout {
            // The threads end with it.
            let _ = self.session.child().kill();
            let reason = format!("the server gave no answer for {:?}", self.session.stall_timeout);
            return Err(Lost { kind: ErrorKind::Temporary, reason });
        }
        Ok(())
    }
}

fn lost() -> Lost {
    Lost { kind: ErrorKind::Temporary, reason: "the connection was lost".to_owned() }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Lost> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| Lost { kind: ErrorKind::Other, reason: format!("no thread: {error}") })
}

/// What ssh complains about, in one line.
fn what_it_says(errors: ChildStderr) -> String {
    let mut said = Vec::new();
    let mut errors = BufReader::new(errors);
    // To the end, lest it blocks.
    while let Ok(more) = errors.fill_buf()
        && !more.is_empty()
    {
        said.extend_from_slice(more);
        let (read, old) = (more.len(), said.len().saturating_sub(SAID_MAX));
        said.drain(..old);
        errors.consume(read);
    }
    let said = String::from_utf8_lossy(&said);
    let plain: String = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Sends packets until the session is dropped or the connection breaks.
fn send(mut input: ChildStdin, packets: &Receiver<Vec<u8>>, cancel: &Cancel) {
    for packet in packets {
        // Nobody waits for its answer any more, and what tidies up comes after it.
        if cancel.is_cancelled() && wire::is_write(&packet) {
            continue;
        }
        if input.write_all(&packet).is_err() {
            return;
        }
    }
}

/// Hands answers to those who wait for them until the connection ends; first the server's extensions,
/// or `None` if what came first is no greeting.
fn receive(output: ChildStdout, greeting: &Sender<Option<Vec<String>>>, shared: &Shared) {
    let mut output = BufReader::with_capacity(64 << 10, output);
    let greeted = match read_packet(&mut output) {
        Ok(packet) => Some(wire::decode_version(&packet)),
        // Letters, read as the length of a packet.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(None),
        Err(_) => None,
    };
    let is_server = matches!(greeted, Some(Some(_)));
    if let Some(greeted) = greeted {
        let _ = greeting.send(greeted);
    }
    // Any error is the end of it: the stream cannot be found again.
    if is_server {
        while let Some((id, reply)) = read_packet(&mut output).ok().and_then(|packet| wire::decode(&packet)) {
            shared.answers.fetch_add(1, Ordering::Relaxed);
            let waiting = shared.waiting().replies.remove(&id);
            if let Some(waiting) = waiting {
                // Nobody may wait any more.
                let _ = waiting.send(reply);
            }
        }
    }
    let mut waiting = shared.waiting();
    waiting.ended = true;
    // Whoever waits is told by the end of the channel.
    waiting.replies.clear();
}

fn read_packet(output: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut len = [0u8; 4];
    output.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len);
    if len > wire::PACKET_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packet = vec![0; len as usize];
    output.read_exact(&mut packet)?;
    Ok(packet)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::base::monitor::Silent;

    /// OpenSSH's server without the network, and a folder for it.
    fn connect() -> (Session, tempfile::TempDir) {
        let context = Context::new(Cancel::new(), Arc::new(Silent));
        let server = Command::new("/usr/lib/openssh/sftp-server");
        let session = Session::connect(server, Duration::from_secs(60), &context).unwrap();
        (session, tempfile::tempdir().unwrap())
    }

    fn open(session: &Session, request: Request<'_>) -> Vec<u8> {
        match session.ask(request).unwrap() {
            Reply::Handle(handle) => handle,
            other => unreachable!("{other:?}"),
        }
    }

    fn signal(session: &Session, signal: Signal) {
        kill_process(Pid::from_child(&session.child()), signal).unwrap();
    }

    /// How often the server has `path` open, after it has answered everything so far.
    fn open_at_server(session: &Session, path: &Path) -> usize {
        session.ask(Request::Stat("/")).unwrap();
        let folder = format!("/proc/{}/fd", session.child().id());
        let files = fs::read_dir(folder).unwrap().flatten();
        files.filter(|file| fs::read_link(file.path()).is_ok_and(|to| to == path)).count()
    }

    /// Stops the server and lets `run` while the queue is full of pieces of a file; then wakes it.
    fn while_the_queue_is_full(session: &Session, folder: &Path, run: impl FnOnce() + Send) {
        let handle = open(session, Request::OpenNew(folder.join("file").to_str().unwrap()));
        signal(session, Signal::STOP);
        thread::scope(|scope| {
            let fill = scope.spawn(|| {
                for piece in 0..64 {
                    let write = Request::Write { handle: &handle, offset: piece << 15, bytes: &[7; 1 << 15] };
                    if session.send(write).is_err() {
                        return;
                    }
                }
            });
            while !session.packets.is_full() {
                assert!(!fill.is_finished(), "the queue takes everything");
                thread::sleep(Duration::from_millis(1));
            }
            let run = scope.spawn(run);
            // Much longer than a look at the queue takes.
            thread::sleep(POLL * 6);
            signal(session, Signal::CONT);
            run.join().unwrap();
            fill.join().unwrap();
        });
    }

    #[test]
    fn a_handle_is_closed_however_slow_the_link() {
        let (session, folder) = connect();
        let path = folder.path().to_str().unwrap();
        let handle = open(&session, Request::OpenRead(path));
        assert_eq!(open_at_server(&session, folder.path()), 1);
        while_the_queue_is_full(&session, folder.path(), || session.tidy(Request::Close(&handle)));
        assert_eq!(open_at_server(&session, folder.path()), 0);
    }

    #[test]
    fn after_a_cancel_what_was_begun_is_removed_and_not_written_on() {
        let (session, folder) = connect();
        let begun = folder.path().join("begun");
        fs::write(&begun, b"x").unwrap();
        while_the_queue_is_full(&session, folder.path(), || {
            session.context.cancel.cancel();
            session.tidy(Request::Remove(begun.to_str().unwrap()));
        });
        let began = std::time::Instant::now();
        while begun.exists() {
            assert!(began.elapsed() < Duration::from_secs(60), "it is never removed");
            thread::sleep(Duration::from_millis(1));
        }
        // What the pipe and the sender held when it was cancelled, and no more.
        assert!(fs::metadata(folder.path().join("file")).unwrap().size() <= 8 << 15);
    }
}
