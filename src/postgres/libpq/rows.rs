//! What a server answers: rows, errors and pieces of a copy. Each owns memory of the library's and
//! gives it back.

use std::ffi::{CStr, c_char, c_int};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::base::limits::TOOL_STDERR_MAX;
use crate::postgres::error::Error;
use crate::postgres::libpq::raw::{Functions, PgResult};

/// Fields of an error (`PG_DIAG_*` in PostgreSQL's `postgres_ext.h`).
const SQLSTATE: u8 = b'C';
const PRIMARY: u8 = b'M';
const DETAIL: u8 = b'D';

/// Kinds of results (`ExecStatusType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Done,
    Rows,
    CopyOut,
    CopyIn,
    CopyBoth,
    Failed,
}

/// A result of any kind.
pub(super) struct PgAnswer {
    pq: Arc<Functions>,
    result: NonNull<PgResult>,
}

// SAFETY: a result belongs to nobody else, and the library keeps nothing of it in the thread that made it
// ("Behavior in Threaded Programs" in libpq's manual: results can be passed around freely).
unsafe impl Send for PgAnswer {}

impl Drop for PgAnswer {
    fn drop(&mut self) {
        // SAFETY: the result is this value's own, and nothing uses it afterwards.
        unsafe { (self.pq.clear)(self.result.as_ptr()) }
    }
}

impl PgAnswer {
    /// Takes over what `PQgetResult` gave.
    pub(super) fn new(pq: &Arc<Functions>, result: NonNull<PgResult>) -> Self {
        PgAnswer { pq: Arc::clone(pq), result }
    }

    /// Its kind.
    pub(super) fn status(&self) -> Status {
        // SAFETY: the result lives as long as this value.
        match unsafe { (self.pq.result_status)(self.result.as_ptr()) } {
            1 => Status::Done,
            2 => Status::Rows,
            3 => Status::CopyOut,
            4 => Status::CopyIn,
            8 => Status::CopyBoth,
            _ => Status::Failed,
        }
    }

    /// The server's error, as an answer to `what`: `CREATE_REPLICATION_SLOT`.
    pub(super) fn error(&self, what: &str) -> Error {
        let code = self.field(SQLSTATE).unwrap_or_default();
        let message = match (self.field(PRIMARY), self.field(DETAIL)) {
            (Some(primary), Some(detail)) => format!("{primary} ({detail})"),
            (Some(primary), None) => primary,
            // An error of the library's own: a connection that broke has no fields.
            // SAFETY: the result lives as long as this value, and the text as long as the result.
            (None, _) => text(unsafe { (self.pq.result_error_message)(self.result.as_ptr()) }),
        };
        Error::Refused { what: what.to_owned(), code, message }
    }

    fn field(&self, field: u8) -> Option<String> {
        // SAFETY: the result lives as long as this value; a field that it lacks is null.
        let field = unsafe { (self.pq.result_error_field)(self.result.as_ptr(), c_int::from(field)) };
        (!field.is_null()).then(|| text(field))
    }
}

/// Rows of text.
pub struct Rows(PgAnswer);

impl Rows {
    pub(super) fn new(answer: PgAnswer) -> Self {
        Rows(answer)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        // SAFETY: the result lives as long as this value.
        usize::try_from(unsafe { (self.0.pq.row_count)(self.0.result.as_ptr()) }).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        // SAFETY: the result lives as long as this value.
        usize::try_from(unsafe { (self.0.pq.column_count)(self.0.result.as_ptr()) }).unwrap_or(0)
    }

    /// The name of a column, if there is such a column.
    pub fn name(&self, column: usize) -> Option<String> {
        let (_, column) = self.place(0, column, false)?;
        // SAFETY: the result lives as long as this value; the column is one of its columns.
        let name = unsafe { (self.0.pq.column_name)(self.0.result.as_ptr(), column) };
        (!name.is_null()).then(|| text(name))
    }

    /// A value; `None` if it is null, or there is no such place.
    pub fn value(&self, row: usize, column: usize) -> Option<&[u8]> {
        let (row, column) = self.place(row, column, true)?;
        let result = self.0.result.as_ptr();
        // SAFETY: the result lives as long as this value, and row and column are within it. What the
        // library answers is memory of the result's, so long, and the slice borrows from `self`.
        unsafe {
            if (self.0.pq.is_null)(result, row, column) != 0 {
                return None;
            }
            let length = usize::try_from((self.0.pq.length)(result, row, column)).ok()?;
            let value = (self.0.pq.value)(result, row, column).cast::<u8>();
            (!value.is_null()).then(|| std::slice::from_raw_parts(value, length))
        }
    }

    /// A value that is text; `None` also if it is not UTF-8.
    pub fn text(&self, row: usize, column: usize) -> Option<&str> {
        std::str::from_utf8(self.value(row, column)?).ok()
    }

    /// A value that reads as a `T`; else the server's answer about `what` is strange.
    pub fn parse<T: std::str::FromStr>(
        &self,
        row: usize,
        column: usize,
        what: &'static str,
    ) -> Result<T, Error> {
        self.text(row, column).and_then(|text| text.parse().ok()).ok_or(Error::Answer(what))
    }

    fn place(&self, row: usize, column: usize, within: bool) -> Option<(c_int, c_int)> {
        let exists = column < self.columns() && (!within || row < self.len());
        exists.then_some((c_int::try_from(row).ok()?, c_int::try_from(column).ok()?))
    }
}

/// A piece of a copy: the library's own buffer, not copied again.
pub struct Copied {
    pq: Arc<Functions>,
    buffer: NonNull<c_char>,
    length: usize,
}

// SAFETY: the buffer is memory that nobody else has, and it may be given back by any thread.
unsafe impl Send for Copied {}

impl Copied {
    /// Takes over what `PQgetCopyData` gave.
    pub(super) fn new(pq: &Arc<Functions>, buffer: NonNull<c_char>, length: usize) -> Self {
        Copied { pq: Arc::clone(pq), buffer, length }
    }
}

impl Deref for Copied {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the library allocated so many bytes at least and wrote them, and nothing writes to them
        // again while this value owns them.
        unsafe { std::slice::from_raw_parts(self.buffer.as_ptr().cast::<u8>(), self.length) }
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        // SAFETY: the buffer came from `PQgetCopyData`, which says to free it so, and is used no more.
        unsafe { (self.pq.free)(self.buffer.as_ptr().cast()) }
    }
}

/// A text of the library's: one line, its end if it is very long.
pub(super) fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: what the library hands out as text ends in a zero byte and is not changed by this thread
    // before it has been copied.
    let bytes = unsafe { CStr::from_ptr(text) }.to_bytes();
    let last = &bytes[bytes.len().saturating_sub(TOOL_STDERR_MAX)..];
    let lines = String::from_utf8_lossy(last);
    let lines: Vec<&str> = lines.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}
