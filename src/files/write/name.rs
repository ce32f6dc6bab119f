//! Names of entries: which are allowed below a target, and those of files that are being written.
//!
//! Every name that reaches the system goes through [`is_entry`]: one component, never a path. The
//! format has checked names already; a restore does not rest on it.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Begins the names of files that are still being written.
const TEMPORARY: &[u8] = b".kamba-restore-";
/// The name of a file that lies in a target while the run that made it, or one that goes on, is at work.
pub(super) const UNFINISHED: &[u8] = b".kamba-restore-is-unfinished";
/// Digits that follow.
const DIGITS: usize = 16;

/// Whether an entry of a folder may have this name.
pub(super) fn is_entry(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// Whether this is the name of a file that is being written, or that an interrupted run left over.
pub fn is_temporary(name: &[u8]) -> bool {
    name.strip_prefix(TEMPORARY).is_some_and(|digits| {
        digits.len() == DIGITS && digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Whether this is the name of what an interrupted run may leave beside what it restored.
pub fn is_leftover(name: &[u8]) -> bool {
    is_temporary(name) || name == UNFINISHED
}

/// Names for files that are being written. They only have to be free, which creation checks; that
/// nobody can guess them keeps others from taking them first.
#[derive(Debug, Default)]
pub(super) struct Temporaries {
    keys: RandomState,
    count: AtomicU64,
}

impl Temporaries {
    /// A name that has not been handed out yet.
    pub(super) fn next(&self) -> Vec<u8> {
        let number = self.keys.hash_one(self.count.fetch_add(1, Ordering::Relaxed));
        let mut name = TEMPORARY.to_vec();
        name.extend_from_slice(format!("{number:016x}").as_bytes());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_components_are_names() {
        for bad in [&b""[..], b".", b"..", b"/", b"a/b", b"/etc", b"../x", b"a\0", b"\0"] {
            assert!(!is_entry(bad), "{bad:?}");
        }
        for good in [&b"..."[..], b".a", b"\xff\xfe", b"\n", b" ", b"-rf", b"a\\b"] {
            assert!(is_entry(good), "{good:?}");
        }
    }

    #[test]
    fn temporary_names_are_known_again_and_nothing_else_is() {
        let names = Temporaries::default();
        let (a, b) = (names.next(), names.next());
        assert!(is_temporary(&a) && is_temporary(&b) && a != b);
        for other in [&b".kamba-restore-"[..], b".kamba-restore-0123456789ABCDEF", b"x", b""] {
            assert!(!is_temporary(other), "{other:?}");
        }
        assert!(!is_temporary(&[&a[..], b"0"].concat()) && !is_temporary(&a[1..]));
    }
}
