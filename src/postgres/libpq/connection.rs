//! A connection to a server. Statements are sent and their results waited for in ticks, so that a cancel
//! ends any wait; a connection that is dropped in the middle of something asks the server to stop.

use std::ffi::{CString, c_char, c_int, c_void};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::clock::Cancel;
use crate::base::limits::SERVER_NOTICES_MAX;
use crate::postgres::connect::Settings;
use crate::postgres::error::Error;
use crate::postgres::libpq::parameters::Parameters;
use crate::postgres::libpq::raw::{Functions, Library, PgCancel, PgConn};
use crate::postgres::libpq::rows::{Copied, PgAnswer, Rows, Status, text};
use crate::postgres::version::Version;

/// How long a wait lasts before the cancel is looked at.
const TICK: Duration = Duration::from_millis(50);

/// Ticks that a dropped connection gives to asking the server to stop: a second.
const GRACE_TICKS: u32 = 20;

/// `PQTRANS_ACTIVE`: a statement is under way.
const ACTIVE: c_int = 1;

/// A connection that is closed when it is dropped.
struct Handle {
    pq: Arc<Functions>,
    conn: NonNull<PgConn>,
}

// SAFETY: a connection may be used by any thread, by one at a time ("Behavior in Threaded Programs" in
// libpq's manual), and this value is its only owner.
unsafe impl Send for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the connection is this value's own, and nothing uses it afterwards.
        unsafe { (self.pq.finish)(self.conn.as_ptr()) }
    }
}

/// What the server said without being asked.
type Notices = Mutex<Vec<String>>;

/// A connection.
pub struct Connection {
    handle: Handle,
    notices: Arc<Notices>,
    server: String,
    cancel: Cancel,
}

/// One of a statement's results.
pub enum Answer {
    /// Rows.
    Rows(Rows),
    /// The statement, or a part of it, is done.
    Done,
    /// The server now sends a copy: [`Connection::copied`].
    CopyOut,
    /// The server now waits for a copy, or for the end of ours.
    CopyIn,
    /// Both.
    CopyBoth,
}

/// What there is of a copy.
pub enum CopyStep {
    /// A piece.
    Piece(Copied),
    /// Nothing yet.
    Idle,
    /// The end: results follow.
    End,
}

impl Connection {
    /// Connects; `extra` are parameters that the settings do not have. A cancel gives up at once.
    pub fn open(
        library: &Library,
        settings: &Settings,
        extra: &[(&str, &str)],
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let parameters = Parameters::new(settings, extra)?;
        if settings.is_alone() {
            parameters.refuse_environment(&library.pq)?;
        }
        let server = settings.to_string();
        let handle = connect(&library.pq, parameters, cancel)?
            .ok_or_else(|| Error::Connect { server: server.clone(), reason: "out of memory".to_owned() })?;
        let connection = Connection { handle, notices: Arc::default(), server, cancel: cancel.clone() };
        // SAFETY: the connection is open or failed, but not finished: both have a status.
        if unsafe { (connection.pq().status)(connection.raw()) } != 0 {
            return Err(Error::Connect { server: connection.server.clone(), reason: connection.message() });
        }
        let notices = Arc::as_ptr(&connection.notices).cast_mut().cast::<c_void>();
        // SAFETY: the notices are behind an Arc that lives as long as the connection, so the pointer
        // is good whenever the library calls back; a connection that is open can be made non-blocking.
        unsafe {
            (connection.pq().set_notice_processor)(connection.raw(), keep_notice, notices);
            (connection.pq().set_nonblocking)(connection.raw(), 1);
        }
        Ok(connection)
    }

    /// The server's version.
    pub fn version(&self) -> Version {
        // SAFETY: the connection is open.
        Version(u32::try_from(unsafe { (self.pq().server_version)(self.raw()) }).unwrap_or(0))
    }

    /// A parameter that the server reports by itself: `in_hot_standby`, `server_version`.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let name = CString::new(name).ok()?;
        // SAFETY: the connection is open, the name ends in a zero byte; the answer is null or text that
        // lives until the library is called again.
        let value = unsafe { (self.pq().parameter_status)(self.raw(), name.as_ptr()) };
        (!value.is_null()).then(|| text(value))
    }

    /// The server, for people.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// What the server has said since this was last asked. Very many are cut off.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for rows and nothing else.
    pub fn rows(&mut self, statement: &str) -> Result<Rows, Error> {
        self.send(statement)?;
        let what = command(statement);
        let answer = self.answer(what)?;
        let rows = match answer {
            Some(Answer::Rows(rows)) => rows,
            _ => return Err(Error::Answer("a question")),
        };
        self.end(what)?;
        Ok(rows)
    }

    /// Sends a statement. Its answers come from [`Connection::answer`], until there is none.
    pub fn send(&mut self, statement: &str) -> Result<(), Error> {
        let statement = CString::new(statement).map_err(|_| Error::Answer("a statement with a zero byte"))?;
        // SAFETY: the connection is open; the statement ends in a zero byte and is copied.
        if unsafe { (self.pq().send_query)(self.raw(), statement.as_ptr()) } != 1 {
            return Err(self.lost());
        }
        self.flush()
    }

    /// The next answer to the statement `what`; `None` when there are no more. A server's error is an
    /// error, and the end of the statement.
    pub fn answer(&mut self, what: &str) -> Result<Option<Answer>, Error> {
        let Some(answer) = self.result()? else { return Ok(None) };
        Ok(Some(match answer.status() {
            Status::Rows => Answer::Rows(Rows::new(answer)),
            Status::Done => Answer::Done,
            Status::CopyOut => Answer::CopyOut,
            Status::CopyIn => Answer::CopyIn,
            Status::CopyBoth => Answer::CopyBoth,
            Status::Failed if self.is_broken() => return Err(self.lost()),
            Status::Failed => {
                // The connection takes no other statement before this one's last result.
                while self
                    .result()?
                    .is_some_and(|rest| matches!(rest.status(), Status::Failed | Status::Done))
                {
                }
                return Err(answer.error(what));
            }
        }))
    }

    /// The next result, waiting for it.
    fn result(&mut self) -> Result<Option<PgAnswer>, Error> {
        // SAFETY: the connection is open.
        while unsafe { (self.pq().is_busy)(self.raw()) } != 0 {
            self.wait(PollFlags::IN)?;
            self.consume()?;
        }
        // SAFETY: the connection is open, and not busy, so this does not wait.
        let result = NonNull::new(unsafe { (self.pq().get_result)(self.raw()) });
        Ok(result.map(|result| PgAnswer::new(&self.handle.pq, result)))
    }

    /// Reads the answers to `what` to their end: none of them may carry anything.
    pub fn end(&mut self, what: &str) -> Result<(), Error> {
        while let Some(answer) = self.answer(what)? {
            if !matches!(answer, Answer::Done) {
                return Err(Error::Answer("the end of a command"));
            }
        }
        Ok(())
    }

    /// What there is of a copy, waiting for it at most `wait`, rounded up to a tick.
    pub fn copied(&mut self, wait: Duration) -> Result<CopyStep, Error> {
        // A server that always has something leaves nothing to wait for.
        self.check_cancel()?;
        let mut ticks = wait.as_millis().div_ceil(TICK.as_millis());
        loop {
            if let Some(step) = self.try_copied()? {
                return Ok(step);
            }
            // What the library holds of a TLS record is not seen by a wait on the socket.
            self.consume()?;
            if let Some(step) = self.try_copied()? {
                return Ok(step);
            }
            if ticks == 0 {
                return Ok(CopyStep::Idle);
            }
            ticks -= 1;
            self.wait(PollFlags::IN)?;
        }
    }

    fn try_copied(&mut self) -> Result<Option<CopyStep>, Error> {
        let mut buffer: *mut c_char = std::ptr::null_mut();
        // SAFETY: the connection is open; the library writes a pointer into `buffer`, which is ours to free,
        // exactly if it answers a length.
        let length = unsafe { (self.pq().get_copy_data)(self.raw(), &raw mut buffer, 1) };
        match (length, NonNull::new(buffer)) {
            (0, _) => Ok(None),
            (-1, _) => Ok(Some(CopyStep::End)),
            (length, Some(buffer)) if length > 0 => {
                let length = usize::try_from(length).unwrap_or(0);
                Ok(Some(CopyStep::Piece(Copied::new(&self.handle.pq, buffer, length))))
            }
            _ => Err(self.lost()),
        }
    }

    /// Sends a piece of a copy, and has it on its way when it returns.
    pub fn put(&mut self, piece: &[u8]) -> Result<(), Error> {
        let length = c_int::try_from(piece.len()).map_err(|_| Error::Answer("a piece that is too long"))?;
        loop {
            // SAFETY: the connection is open; the piece is so long, and copied before this returns.
            match unsafe { (self.pq().put_copy_data)(self.raw(), piece.as_ptr().cast(), length) } {
                1 => return self.flush(),
                0 => self.flush()?,
                _ => return Err(self.lost()),
            }
        }
    }

    /// Ends our side of a copy.
    pub fn put_end(&mut self) -> Result<(), Error> {
        loop {
            // SAFETY: the connection is open; null says that the copy ends well.
            match unsafe { (self.pq().put_copy_end)(self.raw(), std::ptr::null()) } {
                1 => return self.flush(),
                0 => self.flush()?,
                _ => return Err(self.lost()),
            }
        }
    }

    /// Waits until all that was to be sent is with the system.
    fn flush(&mut self) -> Result<(), Error> {
        loop {
            // SAFETY: the connection is open.
            match unsafe { (self.pq().flush)(self.raw()) } {
                0 => return Ok(()),
                1 => {
                    // The server may wait for us to read before it reads.
                    if self.wait(PollFlags::IN | PollFlags::OUT)?.contains(PollFlags::IN) {
                        self.consume()?;
                    }
                }
                _ => return Err(self.lost()),
            }
        }
    }

    fn consume(&mut self) -> Result<(), Error> {
        // SAFETY: the connection is open.
        if unsafe { (self.pq().consume_input)(self.raw()) } == 1 { Ok(()) } else { Err(self.lost()) }
    }

    /// Waits a tick at most for the socket.
    fn wait(&self, want: PollFlags) -> Result<PollFlags, Error> {
        self.check_cancel()?;
        // SAFETY: the connection is open.
        let socket = unsafe { (self.pq().socket)(self.raw()) };
        if socket < 0 {
            return Err(self.lost());
        }
        // SAFETY: the socket is the connection's, which is not closed before this returns.
        let socket = unsafe { BorrowedFd::borrow_raw(socket) };
        let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
        let mut all = [PollFd::from_borrowed_fd(socket, want)];
        match poll(&mut all, Some(&tick)) {
            // A signal is a reason to look at the cancel again.
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(all[0].revents()),
            Err(error) => Err(Error::io("waiting for the server")(error.into())),
        }
    }

    fn check_cancel(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn is_broken(&self) -> bool {
        // SAFETY: the connection is not finished: it has a status.
        unsafe { (self.pq().status)(self.raw()) != 0 }
    }

    fn lost(&self) -> Error {
        Error::Lost { server: self.server.clone(), reason: self.message() }
    }

    /// What the library says of the last failure.
    fn message(&self) -> String {
        // SAFETY: the connection is not finished; the text lives until the library is called again.
        text(unsafe { (self.pq().error_message)(self.raw()) })
    }

    fn pq(&self) -> &Functions {
        &self.handle.pq
    }

    fn raw(&self) -> *mut PgConn {
        self.handle.conn.as_ptr()
    }

    /// Asks the server to stop what it does: else it would notice only when it next sends something, and a
    /// base backup can wait for a checkpoint for minutes. The request has a connection of its own, which
    /// may hang; nobody waits for it long.
    fn ask_to_stop(&self) {
        // SAFETY: the connection is not finished.
        let request = unsafe { (self.pq().get_cancel)(self.raw()) };
        let Some(request) = NonNull::new(request) else { return };
        let request = StopRequest { pq: Arc::clone(&self.handle.pq), request };
        let (tell, told) = crossbeam_channel::bounded::<()>(1);
        let spawned = std::thread::Builder::new().spawn(move || {
            request.send();
            // Nobody may be waiting any more.
            let _ = tell.send(());
        });
        if spawned.is_ok() {
            let _ = told.recv_timeout(TICK * GRACE_TICKS);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the connection is not finished before its handle is dropped, after this.
        let doing = unsafe { (self.pq().transaction_status)(self.raw()) };
        if doing == ACTIVE && !self.is_broken() {
            self.ask_to_stop();
        }
    }
}

/// A request to stop, which knows all that it needs of its connection.
struct StopRequest {
    pq: Arc<Functions>,
    request: NonNull<PgCancel>,
}

// SAFETY: the request is a copy of what the connection knew; `PQcancel` may be called from any thread.
unsafe impl Send for StopRequest {}

impl StopRequest {
    fn send(&self) {
        let mut reason: [c_char; 256] = [0; 256];
        // SAFETY: the request lives as long as this value; the library writes at most so many bytes.
        unsafe { (self.pq.cancel)(self.request.as_ptr(), reason.as_mut_ptr(), 256) };
    }
}

impl Drop for StopRequest {
    fn drop(&mut self) {
        // SAFETY: the request is this value's own, and nothing uses it afterwards.
        unsafe { (self.pq.free_cancel)(self.request.as_ptr()) }
    }
}

/// Connects on a thread of its own: looking up a name and connecting wait without an end that we could
/// set, and the library tries one host after another, each for `connect_timeout`. A cancel leaves the
/// thread to itself.
fn connect(pq: &Arc<Functions>, parameters: Parameters, cancel: &Cancel) -> Result<Option<Handle>, Error> {
    let (tell, told) = crossbeam_channel::bounded(1);
    let pq = Arc::clone(pq);
    let connecting = std::thread::Builder::new().name("connect".into()).spawn(move || {
        let (keywords, values) = parameters.pointers();
        // SAFETY: both lists end in a null and point to texts that end in a zero byte; `parameters` owns
        // them and lives until after the call, which copies them. 0: dbname is only a name.
        let conn = unsafe { (pq.connect)(keywords.as_ptr(), values.as_ptr(), 0) };
        // If nobody waits any more, the handle closes the connection.
        let _ = tell.send(NonNull::new(conn).map(|conn| Handle { pq, conn }));
    });
    connecting.map_err(Error::io("starting a thread"))?;
    loop {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match told.recv_timeout(TICK) {
            Ok(handle) => return Ok(handle),
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => {}
            Err(crossbeam_channel::RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// Keeps a notice: called by the library, in the thread that uses the connection.
unsafe extern "C" fn keep_notice(notices: *mut c_void, message: *const c_char) {
    // SAFETY: the pointer is to the notices of the connection that this is called for: see `open`.
    let notices = unsafe { &*notices.cast::<Notices>() };
    let mut notices = notices.lock().unwrap_or_else(PoisonError::into_inner);
    if notices.len() < SERVER_NOTICES_MAX {
        notices.push(text(message));
    }
}

/// The first word of a statement, for messages.
fn command(statement: &str) -> &str {
    statement.split([' ', '(']).next().unwrap_or(statement)
}
