//! What can go wrong when files are written: what was tried, on which path, and what the system said;
//! and the smaller things that do not stop a restore, told apart by what they concern.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::base::class::Class;
use crate::format::node::NodeType;

/// Why something could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The name is none that an entry of a folder may have.
    Name,
    /// The node lacks what its type needs.
    Node,
    /// Something else has that name, and replacing is not allowed.
    Exists,
    /// No space, or over quota.
    Full,
    /// Somebody else changed the entry meanwhile.
    Changed,
    /// Anything else that the system refuses.
    System,
}

/// A failed operation on the live tree.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {reason}", path.display())]
pub struct Error {
    /// The class of failure.
    pub kind: ErrorKind,
    /// What was tried: `create`, `open`, `write`, `remove`.
    pub action: &'static str,
    /// The path it was tried on.
    pub path: PathBuf,
    /// Why it failed.
    pub reason: io::Error,
}

impl Error {
    /// A refusal of the system.
    pub(super) fn system(action: &'static str, path: PathBuf, reason: io::Error) -> Self {
        let full = matches!(reason.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let kind = if full { ErrorKind::Full } else { ErrorKind::System };
        Error { kind, action, path, reason }
    }

    /// A refusal of our own, in our words.
    pub(super) fn own(kind: ErrorKind, action: &'static str, path: PathBuf, says: &'static str) -> Self {
        let reason = match kind {
            ErrorKind::Exists => io::ErrorKind::AlreadyExists,
            ErrorKind::Changed => io::ErrorKind::Other,
            _ => io::ErrorKind::InvalidInput,
        };
        Error { kind, action, path, reason: io::Error::new(reason, says) }
    }

    /// Whether the disk, or what the user may have of it, is full.
    pub fn is_full(&self) -> bool {
        self.kind == ErrorKind::Full
    }

    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        match self.kind {
            ErrorKind::Name | ErrorKind::Node => Class::Damaged,
            ErrorKind::Exists => Class::Usage,
            ErrorKind::Full | ErrorKind::Changed | ErrorKind::System => Class::Failed,
        }
    }

    /// A hint for the user, if there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::Full => {
                Some("free some space and run the same command again: what was restored is left alone")
            }
            ErrorKind::System if self.reason.kind() == io::ErrorKind::PermissionDenied => {
                Some("restore to a folder of your own, or as root")
            }
            _ => None,
        }
    }
}

/// What a problem, or a difference, is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Who owns it.
    Owner,
    /// Its group.
    Group,
    /// Its permission bits.
    Mode,
    /// Setuid and setgid alone.
    SetId,
    /// When it was changed or read.
    Times,
    /// Its POSIX ACL.
    Acl,
    /// Its capabilities.
    Capability,
    /// An extended attribute, by name.
    Xattr(Vec<u8>),
    /// The flags of its inode.
    Flags,
    /// That it is another name of a file.
    HardLink,
    /// That it is there at all; the type by number ([`NodeType::to_u64`]).
    Entry(u64),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::Owner => "owner",
            What::Group => "group",
            What::Mode => "permissions",
            What::SetId => "setuid and setgid",
            What::Times => "times",
            What::Acl => "ACL",
            What::Capability => "capabilities",
            What::Xattr(name) => {
                return write!(f, "extended attribute {}", String::from_utf8_lossy(name));
            }
            What::Flags => "inode flags",
            What::HardLink => "hard link",
            What::Entry(kind) => match NodeType::from_u64(*kind) {
                NodeType::Symlink => "symbolic link",
                NodeType::Fifo => "fifo",
                NodeType::Socket => "socket",
                NodeType::CharDevice => "character device",
                NodeType::BlockDevice => "block device",
                _ => "entry of an unknown type",
            },
        })
    }
}

/// Something that could not be restored and does not stop the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is missing or not as it was.
    pub what: What,
    /// Why.
    pub reason: String,
}

impl Problem {
    /// What the system refused.
    pub(super) fn system(what: What, errno: Errno) -> Self {
        Problem { what, reason: text(errno) }
    }

    /// What we refused.
    pub(super) fn own(what: What, reason: &str) -> Self {
        Problem { what, reason: reason.to_owned() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

/// The system's words without the number that the standard library adds.
fn text(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let error = |errno: Errno| Error::system("write", PathBuf::from("/srv/a"), errno.into());
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            assert!(error(errno).is_full(), "{errno}");
            assert_eq!(error(errno).class(), Class::Failed);
            assert!(error(errno).hint().is_some_and(|hint| hint.contains("space")));
        }
        let denied = error(Errno::ACCESS);
        assert!(!denied.is_full());
        assert_eq!(denied.to_string(), "cannot write /srv/a: Permission denied (os error 13)");
        let exists = Error::own(ErrorKind::Exists, "create", PathBuf::from("/srv/b"), "a file has that name");
        assert_eq!(exists.class(), Class::Usage);
        assert_eq!(exists.to_string(), "cannot create /srv/b: a file has that name");
    }

    #[test]
    fn problems_say_what_and_why() {
        let problem = Problem::system(What::Xattr(b"user.a".to_vec()), Errno::OPNOTSUPP);
        assert_eq!(problem.to_string(), "extended attribute user.a: Operation not supported");
        let kind = What::Entry(NodeType::BlockDevice.to_u64());
        assert_eq!(Problem::system(kind, Errno::PERM).to_string(), "block device: Operation not permitted");
    }
}
