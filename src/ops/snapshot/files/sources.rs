//! The sources: absolute paths, merged into one trie, so that a tree has one root, what lies in two
//! sources is kept once, and every folder above a source is a folder of the snapshot.
//!
//! Paths are taken as they are named: links in them are not resolved, and a link that is named itself
//! is kept as a link. Only a path with `..` in it is resolved up to there, since what `..` means
//! depends on the links before it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::files;
use crate::ops::Error;

/// A folder of the trie, or a source.
#[derive(Debug, Default)]
pub struct Trie {
    /// Whether this is a source: all of it is wanted.
    pub wanted: bool,
    /// What leads to sources below.
    pub children: BTreeMap<Vec<u8>, Trie>,
}

impl Trie {
    /// The trie of these sources, and their absolute paths in order. Each must be there.
    pub fn new(sources: &[PathBuf]) -> Result<(Self, Vec<PathBuf>), Error> {
        if sources.is_empty() {
            return Err(Error::Usage {
                message: "no source was given".into(),
                hint: Some("name at least one path, or a file of paths with --files-from"),
            });
        }
        let (mut trie, mut paths) = (Trie::default(), Vec::new());
        for source in sources {
            let path = absolute(source).map_err(|e| files::Error::new("use", source.clone(), e))?;
            // What is misspelled must not become a snapshot of nothing.
            std::fs::symlink_metadata(&path).map_err(|e| files::Error::new("use", path.clone(), e))?;
            trie.add(&path);
            paths.push(path);
        }
        paths.sort();
        paths.dedup();
        Ok((trie, paths))
    }

    fn add(&mut self, path: &Path) {
        let mut at = self;
        for component in path.components() {
            if let Component::Normal(name) = component {
                at = at.children.entry(name.as_bytes().to_vec()).or_default();
            }
        }
        at.wanted = true;
    }
}

/// The absolute path without `.` and `..` and needless slashes.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let components: Vec<Component<'_>> = path.components().collect();
    let up = components.iter().rposition(|component| *component == Component::ParentDir);
    let (mut made, rest) = match up {
        Some(up) => (components[..=up].iter().collect::<PathBuf>().canonicalize()?, &components[up + 1..]),
        None => (PathBuf::from("/"), &components[..]),
    };
    made.extend(rest.iter().filter_map(|component| match component {
        Component::Normal(name) => Some(*name),
        _ => None::<&OsStr>,
    }));
    Ok(made)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_become_absolute_and_are_merged() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a/b", top.join("link")).unwrap();
        let named =
            [top.join("a"), top.join("a//b/./"), top.join("link"), top.join("link/../b"), top.join("a")];
        let (trie, paths) = Trie::new(&named).unwrap();
        assert_eq!(paths, [top.join("a"), top.join("a/b"), top.join("link")]);
        let mut at = &trie;
        for component in top.components().skip(1) {
            assert!(!at.wanted);
            at = &at.children[component.as_os_str().as_bytes()];
        }
        assert_eq!(at.children.len(), 2);
        assert!(at.children[&b"a"[..]].wanted && at.children[&b"a"[..]].children[&b"b"[..]].wanted);
    }

    #[test]
    fn a_source_that_is_not_there_is_refused() {
        assert!(Trie::new(&[]).is_err());
        let error = Trie::new(&["/no/such/place".into()]).unwrap_err();
        assert!(error.to_string().starts_with("cannot use /no/such/place: "), "{error}");
    }
}
