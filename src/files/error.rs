//! What can go wrong with a live file: what was tried, on which path, and what the system said.
//! A tree that changes while it is walked gives such errors too; their kind tells them apart.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::base::class::Class;

/// Why something with a file failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such entry, or no longer.
    Vanished,
    /// There is an entry of another type, such as a link where a folder was.
    OtherType,
    /// The system does not let this user do it.
    Denied,
    /// A pattern cannot be understood.
    Pattern,
    /// Anything else.
    Other,
}

/// A failed operation on a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct Error {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// What was tried: `open`, `list`, `read the attribute user.x of`.
    pub action: Cow<'static, str>,
    /// What it was tried on: the path that the user gave and the names below it.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl Error {
    /// `action` failed on `path`; the kind follows from what the system said.
    pub fn new(action: impl Into<Cow<'static, str>>, path: PathBuf, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        Error { kind: kind(&source), action: action.into(), path, source }
    }

    /// `action` needs a `wanted`, and `path` is none, or no longer.
    pub fn other_type(action: impl Into<Cow<'static, str>>, path: PathBuf, wanted: &'static str) -> Self {
        let source = io::Error::other(format!("it is not a {wanted}"));
        Error { kind: ErrorKind::OtherType, ..Error::new(action, path, source) }
    }

    /// A pattern, or a file of them, that cannot be understood.
    pub(super) fn pattern(action: impl Into<Cow<'static, str>>, path: PathBuf, reason: String) -> Self {
        let source = io::Error::new(io::ErrorKind::InvalidInput, reason);
        Error { kind: ErrorKind::Pattern, ..Error::new(action, path, source) }
    }

    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        match self.kind {
            ErrorKind::Pattern => Class::Usage,
            _ => Class::Failed,
        }
    }

    /// A hint for the user, if there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::Denied => Some("run this as root, or as a user who may read it"),
            ErrorKind::Pattern => Some("patterns are those of gitignore; \\ takes a character as it is"),
            _ => None,
        }
    }
}

fn kind(source: &io::Error) -> ErrorKind {
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::STALE) => ErrorKind::Vanished,
        // A link is met with NOTDIR or LOOP, a socket or a device without a driver with NXIO.
        Some(Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => ErrorKind::OtherType,
        Some(Errno::ACCESS | Errno::PERM) => ErrorKind::Denied,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_was_tried_on_what() {
        let error = Error::new("open", "/srv/a".into(), Errno::NOENT);
        assert_eq!(error.to_string(), "cannot open /srv/a: No such file or directory (os error 2)");
        assert_eq!((error.kind, error.class()), (ErrorKind::Vanished, Class::Failed));
        let error = Error::other_type("read", "/srv/a".into(), "regular file");
        assert_eq!(error.to_string(), "cannot read /srv/a: it is not a regular file");
        assert_eq!((error.kind, error.hint()), (ErrorKind::OtherType, None));
        let error = Error::pattern("use the pattern", "{a".into(), "it does not end".to_owned());
        assert_eq!(error.to_string(), "cannot use the pattern {a: it does not end");
        assert_eq!(error.class(), Class::Usage);
        assert_eq!(Error::new("open", "/".into(), Errno::ACCESS).kind, ErrorKind::Denied);
    }
}
