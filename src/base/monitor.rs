//! How the library tells the outside what it is doing. It never prints: the command line turns
//! these calls into bars, lines or JSON, and the tests into assertions.

use std::sync::Mutex;

/// What kind of thing a count counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Count {
    /// Bytes read from the source (plaintext).
    SourceBytes,
    /// Source bytes that were not known to the repository.
    NewBytes,
    /// Bytes written to the backend.
    StoredBytes,
    /// Bytes restored or verified (plaintext).
    DoneBytes,
    /// Files, tables, streams or objects finished.
    Items,
}

/// Receives progress. Every method may be called from any thread; none may block for long.
pub trait Monitor: Send + Sync {
    /// A new phase begins, called `name` ("reading", "checking packs"). Its bar counts `unit`, up
    /// to `total` if that is known. Counts reported from here on belong to this phase.
    fn phase(&self, name: &str, unit: Count, total: Option<u64>) {
        let _ = (name, unit, total);
    }
    /// `n` more of `count` are done.
    fn add(&self, count: Count, n: u64) {
        let _ = (count, n);
    }
    /// What is being worked on now: a path, a table.
    fn item(&self, name: &str) {
        let _ = name;
    }
    /// Something the user should know, in a full sentence without a full stop at its end.
    fn note(&self, message: &str) {
        let _ = message;
    }
    /// Something is wrong but work goes on, likewise.
    fn warn(&self, message: &str) {
        let _ = message;
    }
}

/// A monitor that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {}

/// A monitor that keeps what it was told, for tests.
#[derive(Debug, Default)]
pub struct Recorder {
    lines: Mutex<Vec<String>>,
}

impl Recorder {
    /// Everything noted and warned so far, in order.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().map(|l| l.clone()).unwrap_or_default()
    }

    fn push(&self, line: String) {
        if let Ok(mut lines) = self.lines.lock() {
            lines.push(line);
        }
    }
}

impl Monitor for Recorder {
    fn note(&self, message: &str) {
        self.push(format!("note: {message}"));
    }
    fn warn(&self, message: &str) {
        self.push(format!("warn: {message}"));
    }
}
