//! Why bytes could not be read as what they should be: which kind of thing, where in it, and what
//! is wrong. Whoever read the bytes adds the object's name.

use crate::base::class::Class;

/// What is wrong with some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The bytes end before the value does.
    #[error("its end is missing, {missing} bytes or more")]
    Truncated {
        /// How many bytes are missing at least.
        missing: u64,
    },
    /// Bytes follow that do not belong to it.
    #[error("its end is followed by {extra} bytes that do not belong to it")]
    Trailing {
        /// How many.
        extra: u64,
    },
    /// It does not begin (or end) as our objects do.
    #[error("it is not an object of a kamba-vault repository")]
    BadMagic,
    /// It is an object of another kind.
    #[error("it is an object of kind {found} where kind {want} belongs")]
    WrongKind {
        /// The kind asked for.
        want: u8,
        /// The kind found.
        found: u8,
    },
    /// A newer program wrote it, for readers that know at least this version.
    #[error("it needs a program that reads format version {least_read}")]
    TooNew {
        /// The least format version that a reader must know.
        least_read: u8,
    },
    /// Sealed with algorithms that this program does not know.
    #[error("it uses the unknown set of algorithms {0}")]
    UnknownSuite(u8),
    /// A length or count is above its limit (I-9).
    #[error("{what} is above its limit: {len}, where {max} is allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its length or count.
        len: u64,
        /// The limit.
        max: u64,
    },
    /// The value could be written in another way, and this is not the one allowed.
    #[error("{0} is not in its canonical form")]
    NotCanonical(&'static str),
    /// An attribute that must be understood, and is not known to this program.
    #[error("it carries attribute {tag}, which this program does not know but must")]
    UnknownCritical {
        /// The attribute's tag.
        tag: u64,
    },
    /// An attribute that must be there is missing.
    #[error("it lacks its {0}")]
    Missing(&'static str),
    /// A value that makes no sense here, or two that contradict each other.
    #[error("{0}")]
    Inconsistent(&'static str),
}

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {what} (at byte {offset}): {reason}", if self.is_newer() { "unreadable" } else { "damaged" })]
pub struct Error {
    /// The kind of thing that was being read: `header`, `pack directory`, `node`.
    pub what: &'static str,
    /// Where in it reading stopped, in bytes from its beginning.
    pub offset: u64,
    /// What is wrong there.
    pub reason: Reason,
}

impl Error {
    /// An error about `what` as a whole, at its beginning.
    pub fn new(what: &'static str, reason: Reason) -> Self {
        Error { what, offset: 0, reason }
    }

    /// Whether nothing is damaged, as far as can be told, but a newer program is needed.
    pub fn is_newer(&self) -> bool {
        matches!(
            self.reason,
            Reason::TooNew { .. } | Reason::UnknownSuite(_) | Reason::UnknownCritical { .. }
        )
    }

    /// What a caller can do about it.
    pub fn class(&self) -> Class {
        if self.is_newer() { Class::Failed } else { Class::Damaged }
    }

    /// A hint for the user, if there is one.
    pub fn hint(&self) -> Option<&'static str> {
        match self.reason {
            _ if self.is_newer() => Some("a newer kamba-vault wrote this: use that version or a later one"),
            Reason::BadMagic => Some("the file was damaged, or something else was put in its place"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_program_is_asked_for_where_nothing_is_damaged() {
        let newer = Error::new("header", Reason::TooNew { least_read: 2 });
        assert_eq!(newer.class(), Class::Failed);
        assert_eq!(
            newer.to_string(),
            "unreadable header (at byte 0): it needs a program that reads format version 2"
        );
        assert!(newer.hint().is_some_and(|hint| hint.contains("newer")));
        let damaged = Error::new("node", Reason::Truncated { missing: 3 });
        assert_eq!((damaged.class(), damaged.hint()), (Class::Damaged, None));
        assert_eq!(damaged.to_string(), "damaged node (at byte 0): its end is missing, 3 bytes or more");
    }
}
