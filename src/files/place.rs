//! Where a folder or file lies, for messages and patterns only: nothing is opened by it. The names
//! of a path are shared among all that lies below them, so that a folder thousands of levels deep
//! costs one name and not a path of a megabyte.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A path, as a chain from its last name up to the source.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Step>);

#[derive(Debug)]
struct Step {
    /// None: the source itself, whose name is the path that the user gave.
    parent: Option<Place>,
    name: Box<[u8]>,
    depth: usize,
}

impl Place {
    /// The source at `path`.
    pub fn source(path: &Path) -> Self {
        Place(Arc::new(Step { parent: None, name: path.as_os_str().as_bytes().into(), depth: 0 }))
    }

    /// The entry `name` of this folder.
    pub fn child(&self, name: &[u8]) -> Self {
        Place(Arc::new(Step { parent: Some(self.clone()), name: name.into(), depth: self.0.depth + 1 }))
    }

    /// Levels below the source.
    pub fn depth(&self) -> usize {
        self.0.depth
    }

    /// The whole path: what the user gave, and the names below.
    pub fn path(&self) -> PathBuf {
        let (source, names) = self.names();
        let mut path = PathBuf::from(OsStr::from_bytes(source));
        path.extend(names.iter().rev().map(|name| OsStr::from_bytes(name)));
        path
    }

    /// The path from the source; empty for the source itself.
    pub fn below(&self) -> PathBuf {
        let names: Vec<&[u8]> = self.names().1.into_iter().rev().collect();
        PathBuf::from(std::ffi::OsString::from_vec(names.join(&b'/')))
    }

    /// The source's name, and the names below it from the last one up.
    fn names(&self) -> (&[u8], Vec<&[u8]>) {
        let (mut names, mut step) = (Vec::with_capacity(self.0.depth), &*self.0);
        while let Some(parent) = &step.parent {
            names.push(&*step.name);
            step = &parent.0;
        }
        (&step.name, names)
    }
}

impl Drop for Step {
    /// One after another: the stack would not hold a chain as long as the deepest tree.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(place) = next {
            next = Arc::into_inner(place.0).and_then(|mut step| step.parent.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_put_together() {
        let source = Place::source(Path::new("/srv/./data"));
        assert_eq!((source.path(), source.below()), ("/srv/./data".into(), "".into()));
        let file = source.child(b"a").child(b"b");
        assert_eq!((file.path(), file.below()), ("/srv/./data/a/b".into(), "a/b".into()));
        assert_eq!(file.depth(), 2);
        assert_eq!(Place::source(Path::new("/")).child(b"etc").path(), Path::new("/etc"));
    }

    #[test]
    fn a_long_chain_is_dropped_without_a_deep_stack() {
        let mut place = Place::source(Path::new("/"));
        for _ in 0..1_000_000 {
            place = place.child(b"x");
        }
        drop(place);
    }
}
