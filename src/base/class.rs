//! The broad class of an error: what the caller can do about it. Each layer has typed errors of
//! its own; all of them answer `class()`, and the command line maps the class to an exit status.

/// What kind of failure an error is, and so what the user should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The request itself is wrong: bad arguments, a refused precondition (exit status 2).
    Usage,
    /// The operation failed for a reason outside: disk full, network, a tool that failed (1).
    Failed,
    /// No repository at this place (10).
    NoRepository,
    /// Somebody else is at work there, or this session was fenced (11).
    InUse,
    /// Wrong password or key file (12).
    WrongKey,
    /// The keyring's role lacks the right (13).
    Denied,
    /// Stored data is damaged, or a restore does not match (20).
    Damaged,
    /// Interrupted by the user (130).
    Interrupted,
    /// An inconsistency inside the program: the only class that asks for a bug report (1).
    Internal,
}

impl Class {
    /// The process exit status for this class, as documented in the README.
    pub fn exit_status(self) -> u8 {
        match self {
            Class::Usage => 2,
            Class::Failed | Class::Internal => 1,
            Class::NoRepository => 10,
            Class::InUse => 11,
            Class::WrongKey => 12,
            Class::Denied => 13,
            Class::Damaged => 20,
            Class::Interrupted => 130,
        }
    }
}
