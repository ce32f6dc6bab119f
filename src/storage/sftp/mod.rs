//! Objects in a folder that an SSH server serves.
//!
//! A library's sftp service would not do: it renames with replacement wherever OpenSSH offers that
//! and never syncs. Here an object is written to a temporary name, synced (`fsync@openssh.com`), given
//! its name by the protocol's plain rename, which refuses a name that is taken (I-4), and its folder
//! is synced. Where the server cannot sync, durability is the server's.
//!
//! Not here: retries. A connection that broke is made anew by the next call.

mod listing;
mod session;
mod wire;

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use self::listing::Listing;
use self::session::{Lost, Session, Ticket};
use self::wire::{Attributes, Reply, Request, Status};
use super::error::{Error, ErrorKind};
use super::limit::{Direction, Limiter};
use super::name;
use super::url::{Settings, SftpPlace};
use super::{Backend, Context, CreateIfAbsent, Entry, Options};
use crate::base::id::hex;
use crate::base::secret::PASSWORD_VARIABLE;

/// Bytes of a file in one packet: what every server takes.
const PIECE: usize = 32 << 10;
/// Requests of one transfer on their way at once: two megabytes, so that distance costs little.
const AHEAD: usize = 64;
/// Options of ssh that the settings may give.
const SETTINGS: [&str; 4] = [ACCEPT_NEW, "config", "key", "known_hosts"];
/// Whether a host that nobody knows yet is trusted, and remembered.
const ACCEPT_NEW: &str = "accept_new_host";

/// A folder that an SSH server serves.
#[derive(Debug)]
pub(super) struct Sftp {
    place: SftpPlace,
    settings: Settings,
    limiter: Arc<Limiter>,
    context: Context,
    stall_timeout: Duration,
    session: Mutex<Option<Arc<Session>>>,
    /// Folders that this process knows to exist, and to be durable.
    folders: Mutex<HashSet<String>>,
    /// Whether the server can sync a folder.
    syncs_folders: OnceLock<bool>,
}

/// A refusal by the server, or the loss of the connection.
#[derive(Clone, Debug)]
enum Failed {
    Status(Status, String),
    Lost(Lost),
    /// The answer does not fit the question.
    Nonsense,
    Error(Error),
}

impl From<Lost> for Failed {
    fn from(lost: Lost) -> Self {
        Failed::Lost(lost)
    }
}

type Outcome<T> = Result<T, Failed>;

impl Sftp {
    /// Prepares for `place`; the first call connects.
    pub(super) fn open(
        place: &SftpPlace,
        options: &Options,
        limiter: &Arc<Limiter>,
        context: &Context,
    ) -> Result<Self, Error> {
        let settings = place.settings.clone().or(&options.settings);
        let refuse = |reason| Err(Error::new(ErrorKind::Config, "open", "", place.to_string(), reason));
        if let Some((key, _)) = settings.iter().find(|(key, _)| !SETTINGS.contains(key)) {
            return refuse(format!("there is no option \"{key}\" for it; there are {}", SETTINGS.join(", ")));
        }
        if settings.get(ACCEPT_NEW).is_some_and(|value| !["true", "false"].contains(&value)) {
            return refuse(format!("{ACCEPT_NEW} is true or false"));
        }
        Ok(Sftp {
            place: place.clone(),
            settings,
            limiter: Arc::clone(limiter),
            context: context.clone(),
            stall_timeout: options.stall_timeout,
            session: Mutex::default(),
            folders: Mutex::default(),
            syncs_folders: OnceLock::new(),
        })
    }

    fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.env_remove(PASSWORD_VARIABLE);
        ssh.args(["-x", "-a", "-T", "-o", "BatchMode=yes", "-o", "ClearAllForwardings=yes"]);
        // Below this level it does not say why the two sides cannot agree, or who closed the connection.
        ssh.args(["-o", "PermitLocalCommand=no", "-o", "LogLevel=INFO", "-o", "ConnectTimeout=20"]);
        ssh.args(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]);
        if let Some(config) = self.settings.get("config") {
            ssh.args(["-F", config]);
        }
        if let Some(key) = self.settings.get("key") {
            ssh.args(["-i", key, "-o", "IdentitiesOnly=yes"]);
        }
        if let Some(file) = self.settings.get("known_hosts") {
            ssh.args(["-o", &format!("UserKnownHostsFile=\"{file}\"")]);
        }
        if self.settings.get(ACCEPT_NEW) == Some("true") {
            ssh.args(["-o", "StrictHostKeyChecking=accept-new"]);
        }
        if let Some(user) = &self.place.user {
            ssh.args(["-l", user]);
        }
        if let Some(port) = self.place.port {
            ssh.args(["-p", &port.to_string()]);
        }
        // An address of version 6 stands in brackets in a URL only.
        let host = self.place.host.trim_start_matches('[').trim_end_matches(']');
        ssh.args(["-s", "--", host, "sftp"]);
        ssh
    }

    /// The connection, made if there is none.
    fn session(&self) -> Outcome<Arc<Session>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        match &*session {
            Some(session) if !session.has_ended() => Ok(Arc::clone(session)),
            _ => {
                *session = None;
                let connected = Arc::new(Session::connect(self.ssh(), self.stall_timeout, &self.context)?);
                *session = Some(Arc::clone(&connected));
                Ok(connected)
            }
        }
    }

    /// The server's path of an object, of a folder with its slash, or of the root.
    fn path(&self, name: &str) -> String {
        // The server begins in the user's home.
        let root = self.place.path.strip_prefix("~/").unwrap_or(&self.place.path);
        match name.trim_end_matches('/') {
            "" => root.to_owned(),
            name => format!("{root}/{name}"),
        }
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Outcome<()> {
        let session = self.session()?;
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.make_folder(&session, folder)?;
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(|_| Failed::Nonsense)?;
        let temporary = format!("{}/.tmp-{}", self.path(folder), hex(&random));
        let folder = self.open_to_sync(&session, &self.path(folder))?;
        let written = self
            .write(&session, &temporary, bytes)
            .and_then(|()| done(session.ask(Request::Rename { from: &temporary, to: &self.path(name) })?));
        let created = match written {
            Err(Failed::Status(Status::Failure, said)) => self.explain_failure(&session, name, bytes, &said),
            written => written,
        };
        // Of an object that was there already too: whoever made it may not have come to this.
        let synced = self.sync_opened_folder(&session, folder);
        if created.is_err() {
            // Left over if the connection is lost; no listing shows it.
            session.tidy(Request::Remove(&temporary));
        }
        created.and(synced)
    }

    /// Writes a new file and makes it durable.
    fn write(&self, session: &Session, path: &str, bytes: &[u8]) -> Outcome<()> {
        let handle = handle(session.ask(Request::OpenNew(path))?)?;
        let mut sent = VecDeque::new();
        let mut written = self.send_pieces(session, &handle, bytes, &mut sent);
        // Servers keep to the order of requests on one file: no need to wait in between.
        if written.is_ok() && session.has(wire::FSYNC) {
            written = session
                .send(Request::Sync(&handle))
                .map(|ticket| sent.push_back(ticket))
                .map_err(Failed::from);
        }
        if let Err(failed) = written {
            // A file that is open keeps its space even after it was removed.
            session.tidy(Request::Close(&handle));
            return Err(failed);
        }
        sent.push_back(session.send(Request::Close(&handle))?);
        sent.iter().try_for_each(|ticket| done(session.wait(ticket)?))
    }

    fn send_pieces(
        &self,
        session: &Session,
        handle: &[u8],
        bytes: &[u8],
        sent: &mut VecDeque<Ticket>,
    ) -> Outcome<()> {
        let mut offset = 0;
        for piece in bytes.chunks(PIECE) {
            if sent.len() >= AHEAD
                && let Some(ticket) = sent.pop_front()
            {
                done(session.wait(&ticket)?)?;
            }
            self.limiter.wait(Direction::Up, piece.len() as u64);
            sent.push_back(session.send(Request::Write { handle, offset, bytes: piece })?);
            offset += piece.len() as u64;
        }
        Ok(())
    }

    /// A creation failed for a reason that the protocol has no word for: finds the reason.
    fn explain_failure(&self, session: &Session, name: &str, bytes: &[u8], said: &str) -> Outcome<()> {
        if self.size(session, name)?.is_some() {
            // As after a reply that was lost: it may be ours.
            let mut there = Vec::new();
            let size = bytes.len() as u64;
            let same = self.read(session, name, 0..size + 1, &mut there)? == size && there == bytes;
            return match same {
                true => self.sync_existing(session, name),
                false => Err(Failed::Error(Error::exists(name, self.location()))),
            };
        }
        if session.has(wire::STATVFS)
            && let Reply::Space(left) = session.ask(Request::Space(&self.path("")))?
            && left < bytes.len() as u64 + PIECE as u64
        {
            let reason = "no space is left on the server";
            return Err(Failed::Error(Error::new(ErrorKind::Full, "create", name, self.location(), reason)));
        }
        Err(Failed::Status(Status::Failure, said.to_owned()))
    }

    /// Makes an object durable that somebody else made: they may not have come to this, or have died.
    fn sync_existing(&self, session: &Session, name: &str) -> Outcome<()> {
        if !session.has(wire::FSYNC) {
            return Ok(());
        }
        match sync_and_close(session, &session.send(Request::OpenRead(&self.path(name)))?)? {
            Reply::Status(Status::Ok, _) => Ok(()),
            // Not every server can sync a file that is open for reading only.
            Reply::Status(Status::Unsupported | Status::PermissionDenied, _) => Ok(()),
            refused => done(refused),
        }
    }

    /// Makes `folder` and those above it, the root included, unless this process knows them.
    fn make_folder(&self, session: &Session, folder: &str) -> Outcome<()> {
        if self.known().contains(folder) {
            return Ok(());
        }
        let root = self.path("");
        let path = self.path(folder);
        // From the root on, and above it where that is missing.
        let first = if self.known().contains("") { root.len() + 1 } else { 1 };
        let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at >= first);
        let ends: Vec<usize> = ends.chain([path.len()]).collect();
        for end in ends {
            let made = &path[..end];
            match session.ask(Request::MakeFolder(made))? {
                Reply::Status(Status::Ok, _) => {}
                // It has no word for a name that is taken either.
                reply => match session.ask(Request::Stat(made))? {
                    Reply::Attributes(there) if there.is_folder() != Some(false) => {}
                    _ => return done(reply),
                },
            }
            let parent = made.rsplit_once('/').map_or(".", |(parent, _)| parent);
            let parent = if parent.is_empty() { "/" } else { parent };
            if made.len() > root.len() {
                self.sync_folder(session, parent)?;
            } else {
                // Above our folder it may not be ours to sync; then it was there before us.
                sync_and_close(session, &session.send(Request::OpenRead(parent))?)?;
            }
        }
        let mut known = self.known();
        known.extend(folder.match_indices('/').map(|(at, _)| folder[..at].to_owned()));
        known.extend([String::new(), folder.to_owned()]);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a folder's entries durable.
    fn sync_folder(&self, session: &Session, path: &str) -> Outcome<()> {
        let opened = self.open_to_sync(session, path)?;
        self.sync_opened_folder(session, opened)
    }

    /// Begins to open a folder that will have to be synced, if the server can do that at all: it is
    /// tried on the root first. OpenSSH opens a folder like a file.
    fn open_to_sync(&self, session: &Session, path: &str) -> Outcome<Option<Ticket>> {
        if !session.has(wire::FSYNC) {
            return Ok(None);
        }
        let can = match self.syncs_folders.get() {
            Some(can) => *can,
            None => {
                let opened = session.send(Request::OpenRead(&self.path("")))?;
                match sync_and_close(session, &opened)? {
                    Reply::Status(Status::Ok, _) => *self.syncs_folders.get_or_init(|| true),
                    Reply::Status(Status::Unsupported, _) => *self.syncs_folders.get_or_init(|| false),
                    // It has no other word for a file system without that than for a failure, which
                    // may pass: the next creation tries again.
                    _ => false,
                }
            }
        };
        Ok(if can { Some(session.send(Request::OpenRead(path))?) } else { None })
    }

    fn sync_opened_folder(&self, session: &Session, opened: Option<Ticket>) -> Outcome<()> {
        let Some(opened) = opened else { return Ok(()) };
        match sync_and_close(session, &opened)? {
            Reply::Status(Status::Ok, _) => Ok(()),
            Reply::Status(status, said) => {
                Err(Failed::Status(status, format!("syncing a folder failed: {said}")))
            }
            _ => Err(Failed::Nonsense),
        }
    }

    /// Appends what there is of `range` and returns how much that was.
    fn read(&self, session: &Session, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Outcome<u64> {
        let handle = handle(session.ask(Request::OpenRead(&self.path(name)))?)?;
        let read = self.read_open(session, &handle, range, into);
        session.tidy(Request::Close(&handle));
        read
    }

    fn read_open(
        &self,
        session: &Session,
        handle: &[u8],
        range: Range<u64>,
        into: &mut Vec<u8>,
    ) -> Outcome<u64> {
        let start = into.len();
        // Requests on their way, each with the offset at which it ends.
        let mut sent = VecDeque::new();
        let mut asked = range.start;
        loop {
            while asked < range.end && sent.len() < AHEAD {
                let len = (range.end - asked).min(PIECE as u64) as u32;
                let ticket = session.send(Request::Read { handle, offset: asked, len })?;
                asked += u64::from(len);
                sent.push_back((ticket, asked));
            }
            let read = (into.len() - start) as u64;
            let Some((ticket, end)) = sent.pop_front() else { return Ok(read) };
            let at = range.start + read;
            match session.wait(&ticket)? {
                Reply::Data(data) if !data.is_empty() && data.len() as u64 <= end - at => {
                    self.limiter.wait(Direction::Down, data.len() as u64);
                    into.extend_from_slice(&data);
                    let at = at + data.len() as u64;
                    if at < end {
                        // An answer may be shorter than was asked for: the rest comes first.
                        let rest = Request::Read { handle, offset: at, len: (end - at) as u32 };
                        sent.push_front((session.send(rest)?, end));
                    }
                }
                Reply::Status(Status::EndOfFile, _) => return Ok(read),
                Reply::Status(status, said) => return Err(Failed::Status(status, said)),
                _ => return Err(Failed::Nonsense),
            }
        }
    }

    fn size(&self, session: &Session, name: &str) -> Outcome<Option<u64>> {
        match session.ask(Request::Stat(&self.path(name)))? {
            Reply::Attributes(found) if found.is_file() != Some(false) => {
                found.size.map(Some).ok_or(Failed::Nonsense)
            }
            Reply::Attributes(_) | Reply::Status(Status::NoSuchFile, _) => Ok(None),
            Reply::Status(status, said) => Err(Failed::Status(status, said)),
            _ => Err(Failed::Nonsense),
        }
    }

    fn fail(&self, action: &'static str, object: &str, failed: Failed) -> Error {
        let (kind, reason) = match failed {
            Failed::Error(error) => return Error { action, ..error },
            Failed::Lost(lost) => (lost.kind, lost.reason),
            Failed::Nonsense => (ErrorKind::Other, "the server's answer makes no sense".to_owned()),
            Failed::Status(Status::NoSuchFile, _) => {
                (ErrorKind::NotFound, "there is no such object".to_owned())
            }
            Failed::Status(Status::PermissionDenied, said) => (ErrorKind::Permission, said),
            Failed::Status(_, said) => (ErrorKind::Other, format!("the server says: {said}")),
        };
        Error::new(kind, action, object, self.location(), reason)
    }

    fn truncated(&self, name: &str, end: u64, wanted: u64) -> Error {
        let reason = format!("it ends at {end}, before {wanted}");
        Error::new(ErrorKind::Truncated, "read", name, self.location(), reason)
    }

    fn missing(&self, name: &str) -> Error {
        self.fail("read", name, Failed::Status(Status::NoSuchFile, String::new()))
    }
}

impl Backend for Sftp {
    fn location(&self) -> String {
        self.place.to_string()
    }

    fn create_if_absent(&self) -> CreateIfAbsent {
        CreateIfAbsent::Atomic
    }

    fn is_local(&self) -> bool {
        false
    }

    fn get(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        name::check("read", name, &self.location())?;
        let mut bytes = Vec::new();
        let read = || {
            let session = self.session()?;
            let handle = handle(session.ask(Request::OpenRead(&self.path(name)))?)?;
            let found = attributes(session.ask(Request::StatHandle(&handle))?);
            let read = match found {
                Ok(found) if found.is_file() == Some(false) => Ok(None),
                // One more than is allowed, so that a file without a size is found too large as well.
                Ok(found) if found.size.is_none_or(|size| size <= max) => {
                    let end = found.size.unwrap_or(max.saturating_add(1));
                    match self.read_open(&session, &handle, 0..end, &mut bytes) {
                        Ok(got) if found.size.is_some_and(|size| got < size) => {
                            Err(Failed::Error(self.truncated(name, got, end)))
                        }
                        read => read.map(Some),
                    }
                }
                Ok(found) => Ok(found.size),
                Err(failed) => Err(failed),
            };
            session.tidy(Request::Close(&handle));
            read
        };
        match { read }().map_err(|failed| self.fail("read", name, failed))? {
            None => Err(self.missing(name)),
            Some(size) if size > max => {
                let reason = format!("it has {size} bytes where at most {max} are allowed");
                Err(Error::new(ErrorKind::TooLarge, "read", name, self.location(), reason))
            }
            Some(_) => Ok(bytes),
        }
    }

    fn get_range(&self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<(), Error> {
        name::check("read", name, &self.location())?;
        if range.start >= range.end {
            return match self.stat(name).map_err(|error| Error { action: "read", ..error })? {
                None => Err(self.missing(name)),
                Some(size) if size < range.end => Err(self.truncated(name, size, range.end)),
                Some(_) => Ok(()),
            };
        }
        let start = into.len();
        let read = self.session().and_then(|session| self.read(&session, name, range.clone(), into));
        match read {
            Ok(got) if got == range.end - range.start => Ok(()),
            Ok(got) => {
                into.truncate(start);
                Err(self.truncated(name, range.start + got, range.end))
            }
            Err(failed) => {
                into.truncate(start);
                Err(self.fail("read", name, failed))
            }
        }
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        name::check("create", name, &self.location())?;
        self.create(name, bytes).map_err(|failed| match self.fail("create", name, failed) {
            error if error.kind == ErrorKind::NotFound => {
                self.known().clear();
                Error { kind: ErrorKind::Other, reason: "its folder is missing".into(), ..error }
            }
            error => error,
        })
    }

    fn prepare(&self, name: &str) -> Result<(), Error> {
        name::check("create", name, &self.location())?;
        let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
        let made = self.session().and_then(|session| self.make_folder(&session, folder));
        made.map_err(|failed| self.fail("create", name, failed))
    }

    fn make_durable(&self, name: &str) -> Result<(), Error> {
        name::check("sync", name, &self.location())?;
        let sync = || {
            let session = self.session()?;
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            // Whoever made the folder may not have come to sync its entry.
            self.make_folder(&session, folder)?;
            self.sync_existing(&session, name)?;
            self.sync_folder(&session, &self.path(folder))
        };
        sync().map_err(|failed| self.fail("sync", name, failed))
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        name::check_prefix(prefix, &self.location())?;
        let mut list = || {
            let session = self.session()?;
            Listing::new(self, &session, prefix).run(each)
        };
        list().map_err(|failed| self.fail("list", prefix, failed))
    }

    fn stat(&self, name: &str) -> Result<Option<u64>, Error> {
        name::check("stat", name, &self.location())?;
        let size = self.session().and_then(|session| self.size(&session, name));
        size.map_err(|failed| self.fail("stat", name, failed))
    }

    fn delete(&self, name: &str) -> Result<(), Error> {
        name::check("delete", name, &self.location())?;
        let delete = || {
            let session = self.session()?;
            match session.ask(Request::Remove(&self.path(name)))? {
                Reply::Status(Status::NoSuchFile, _) => Ok(()),
                reply => {
                    done(reply)?;
                    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                    self.sync_folder(&session, &self.path(folder))
                }
            }
        };
        delete().map_err(|failed| self.fail("delete", name, failed))
    }
}

fn done(reply: Reply) -> Outcome<()> {
    match reply {
        Reply::Status(Status::Ok, _) => Ok(()),
        Reply::Status(status, said) => Err(Failed::Status(status, said)),
        _ => Err(Failed::Nonsense),
    }
}

fn handle(reply: Reply) -> Outcome<Vec<u8>> {
    match reply {
        Reply::Handle(handle) => Ok(handle),
        reply => done(reply).and(Err(Failed::Nonsense)),
    }
}

fn attributes(reply: Reply) -> Outcome<Attributes> {
    match reply {
        Reply::Attributes(found) => Ok(found),
        reply => done(reply).and(Err(Failed::Nonsense)),
    }
}

/// Syncs and closes a file or folder that is being opened. Answers what the server says to the first
/// of these that it refuses, or to the sync.
fn sync_and_close(session: &Session, opened: &Ticket) -> Outcome<Reply> {
    let handle = match session.wait(opened)? {
        Reply::Handle(handle) => handle,
        refused => return Ok(refused),
    };
    let synced = session.ask(Request::Sync(&handle));
    session.tidy(Request::Close(&handle));
    Ok(synced?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::storage::Place;

    #[test]
    fn an_address_of_version_6_is_given_to_ssh_as_it_is() {
        let Place::Sftp(place) = Place::parse("sftp://me@[::1]:2222/x").unwrap() else { unreachable!() };
        let context = Context::simulated();
        let limiter = Arc::new(Limiter::new(None, None, &context));
        let sftp = Sftp::open(&place, &Options::default(), &limiter, &context).unwrap();
        let ssh = sftp.ssh();
        let arguments: Vec<_> = ssh.get_args().map(|argument| argument.to_str().unwrap()).collect();
        assert!(arguments.ends_with(&["-l", "me", "-p", "2222", "-s", "--", "::1", "sftp"]), "{arguments:?}");
        assert_eq!(sftp.location(), "sftp://me@[::1]:2222/x");
    }
}
