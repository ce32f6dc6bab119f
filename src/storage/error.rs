//! What can go wrong in a backend: what failed, on which object, where, and whether trying again
//! helps. Messages carry the words of the system or service, never credentials.

use crate::base::class::Class;

/// Why an operation on an object failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such object.
    NotFound,
    /// The name is taken by other bytes.
    Exists,
    /// The object is shorter than the range asked for.
    Truncated,
    /// The object is larger than the caller allows.
    TooLarge,
    /// No space, or over quota. Permanent.
    Full,
    /// The service refuses us. Permanent.
    Permission,
    /// Network, timeout, server error: worth another try.
    Temporary,
    /// The location or its options make no sense. Permanent.
    Config,
    /// The work was cancelled.
    Cancelled,
    /// Anything else. Permanent.
    Other,
}

/// A failed storage operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action} {object}{at}{location}: {reason}", at = if object.is_empty() { "" } else { " at " })]
pub struct Error {
    /// The class of failure.
    pub kind: ErrorKind,
    /// What was tried: `read`, `create`, `list`, `stat`, `delete`, `open`.
    pub action: &'static str,
    /// The object's name, or the prefix; empty if the whole location is meant.
    pub object: String,
    /// The backend's location.
    pub location: String,
    /// Why, in the words of the system or service.
    pub reason: String,
}

impl Error {
    /// An error about `object`, which `action` was tried on at `location`.
    pub fn new(
        kind: ErrorKind,
        action: &'static str,
        object: impl Into<String>,
        location: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Error { kind, action, object: object.into(), location: location.into(), reason: reason.into() }
    }

    /// The name that was to be created is taken by other bytes.
    pub(super) fn exists(object: &str, location: String) -> Self {
        Error::new(ErrorKind::Exists, "create", object, location, "the name is taken by other bytes")
    }

    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        match self.kind {
            ErrorKind::Config => Class::Usage,
            ErrorKind::Cancelled => Class::Interrupted,
            ErrorKind::Truncated | ErrorKind::TooLarge => Class::Damaged,
            _ => Class::Failed,
        }
    }

    /// A hint for the user, if there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::Full => {
                Some("free some space and run the same command again: what was stored is reused")
            }
            ErrorKind::Permission => Some("check the credentials and what they may do at this location"),
            ErrorKind::Temporary => {
                Some("check the network and run the same command again: what was stored is reused")
            }
            _ => None,
        }
    }
}
