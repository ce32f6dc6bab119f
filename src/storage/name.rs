//! Object names: which strings may name an object or a folder, checked before any of them becomes
//! a path or a URL. A name that could leave the repository's folder never reaches a backend.

use super::error::{Error, ErrorKind};

/// Parts of one name: the layout uses three, and a listing that follows links stays finite.
pub const PARTS_MAX: usize = 8;
/// Bytes of one part: every file system and service takes that much.
pub const PART_LEN_MAX: usize = 200;

/// Whether `part` may stand between two slashes. A part begins with no dot: such names are
/// temporary files of ours, or somebody else's.
pub fn is_part(part: &str) -> bool {
    (1..=PART_LEN_MAX).contains(&part.len())
        && !part.starts_with('.')
        && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// Whether `name` may name an object: `[a-z0-9._-]` parts, none of which begins with a dot.
pub fn is_name(name: &str) -> bool {
    name.split('/').count() <= PARTS_MAX && name.split('/').all(is_part)
}

/// Fails unless `name` may name an object.
pub(super) fn check(action: &'static str, name: &str, location: &str) -> Result<(), Error> {
    match is_name(name) {
        true => Ok(()),
        false => Err(refused(action, name, location, "this is not a valid object name")),
    }
}

/// Fails unless `prefix` is empty or a folder's name with a slash at its end.
pub(super) fn check_prefix(prefix: &str, location: &str) -> Result<(), Error> {
    match prefix.is_empty() || prefix.strip_suffix('/').is_some_and(is_name) {
        true => Ok(()),
        false => Err(refused("list", prefix, location, "this is not a valid folder name")),
    }
}

fn refused(action: &'static str, name: &str, location: &str, reason: &str) -> Error {
    // Escaped and cut: the name may be hostile, and the message goes to a terminal.
    let shown: String = name.chars().take(80).collect::<String>().escape_debug().collect();
    Error::new(ErrorKind::Other, action, format!("\"{shown}\""), location, reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_plain_relative_names_pass() {
        for good in ["config", "data/3f/3fa9", "a/b/c/d/e/f/g/h", "x.y-z_0", &"n".repeat(PART_LEN_MAX)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/..",
            "../a",
            "a/./b",
            ".tmp-1",
            "a/.tmp-1",
            "A",
            "a b",
            "a\0b",
            "a\nb",
            "a\\b",
            "ä",
            "a%2fb",
            "a:b",
            "~",
            "a/b/c/d/e/f/g/h/i",
            &"n".repeat(PART_LEN_MAX + 1),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_prefix_is_a_folder() {
        for good in ["", "data/", "data/3f/"] {
            assert!(check_prefix(good, "here").is_ok(), "{good}");
        }
        for bad in ["/", "data", "../", "data//", ".tmp/"] {
            assert!(check_prefix(bad, "here").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_name_is_shown_harmless() {
        let error = check("read", "\u{1b}[2Jx", "here").unwrap_err();
        assert_eq!(error.to_string(), "cannot read \"\\u{1b}[2Jx\" at here: this is not a valid object name");
    }
}
