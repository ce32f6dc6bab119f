//! All names of a folder, sorted as bytes: the order of a snapshot's listings. They lie one behind
//! another in one arena, so that a folder of a million entries costs its names and 8 bytes for each.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{RawDir, SeekFrom};
use rustix::io::Errno;

use super::error::Error;
use super::folder::Folder;

/// One call's worth of entries: some hundreds.
const BUFFER: usize = 32 << 10;

/// The names of a folder, ascending as bytes, each once, without `.` and `..`.
#[derive(Clone, Debug, Default)]
pub struct Names {
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

/// Where a name lies in the arena: its offset in the upper 48 bits and its length in the lower 16.
#[derive(Clone, Copy, Debug)]
struct Entry(u64);

impl Entry {
    fn name(self, arena: &[u8]) -> &[u8] {
        let (from, len) = ((self.0 >> 16) as usize, (self.0 & 0xffff) as usize);
        &arena[from..from + len]
    }
}

impl Names {
    /// Reads all names of `folder`, from its beginning. What comes or goes meanwhile may be among
    /// them or not. Two threads must not read one `Folder` at once: its position is shared.
    pub fn read(folder: &Folder) -> Result<Self, Error> {
        let mut names = Names::default();
        let filled = names.fill(folder.as_fd());
        filled.map_err(|errno| Error::new("list", folder.path(), errno))?;
        names.sort();
        Ok(names)
    }

    fn fill(&mut self, folder: BorrowedFd<'_>) -> Result<(), Errno> {
        rustix::fs::seek(folder, SeekFrom::Start(0))?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(folder, &mut buffer);
        while let Some(entry) = entries.next() {
            self.push(entry?.file_name().to_bytes());
        }
        Ok(())
    }

    /// Adds a name at the end. The kernel's records have lengths of 16 bits, so names are shorter.
    fn push(&mut self, name: &[u8]) {
        if name != b"." && name != b".." {
            self.entries.push(Entry((self.arena.len() as u64) << 16 | (name.len() as u64 & 0xffff)));
            self.arena.extend_from_slice(name);
        }
    }

    /// Puts the names in order. A file system may show a name twice when entries move meanwhile.
    fn sort(&mut self) {
        let arena = &self.arena;
        self.entries.sort_unstable_by(|a, b| a.name(arena).cmp(b.name(arena)));
        self.entries.dedup_by(|a, b| a.name(arena) == b.name(arena));
        self.entries.shrink_to_fit();
        self.arena.shrink_to_fit();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The name at `index`, counted from 0.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.entries.get(index).map(|entry| entry.name(&self.arena))
    }

    /// Whether `name` is among them.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.entries.binary_search_by(|entry| entry.name(&self.arena).cmp(name)).is_ok()
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator {
        self.entries.iter().map(|entry| entry.name(&self.arena))
    }

    /// Drops those that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let arena = &self.arena;
        self.entries.retain(|entry| keep(entry.name(arena)));
    }
}

impl<'a> FromIterator<&'a [u8]> for Names {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(iter: I) -> Self {
        let mut names = Names::default();
        iter.into_iter().for_each(|name| names.push(name));
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::files::ErrorKind;
    use crate::files::testing::Tree;

    #[test]
    fn names_of_any_bytes_are_sorted_as_bytes() {
        let tree = Tree::new();
        let longest = [0xfe; 255];
        let names: [&[u8]; 10] =
            [b"b", b"a", b"\xff\xfe", b"B", b"a\nb", b" ", b"...", b"a.", "ä".as_bytes(), &longest];
        for name in names {
            fs::write(tree.path().join(OsStr::from_bytes(name)), b"").unwrap();
        }
        let folder = tree.folder();
        let read = Names::read(&folder).unwrap();
        let mut sorted = names.to_vec();
        sorted.sort_unstable();
        assert_eq!(read.iter().collect::<Vec<_>>(), sorted);
        assert_eq!((read.len(), read.is_empty()), (10, false));
        assert_eq!((read.get(0), read.get(9), read.get(10)), (Some(&b" "[..]), Some(&b"\xff\xfe"[..]), None));
        assert!(names.iter().all(|name| read.contains(name)));
        assert!(!read.contains(b".") && !read.contains(b"") && !read.contains(b"aa"));
        fs::remove_file(tree.at("b")).unwrap();
        assert!(!Names::read(&folder).unwrap().contains(b"b"), "a second reading begins anew");
    }

    #[test]
    fn an_empty_folder_and_one_that_is_gone() {
        let tree = Tree::new();
        fs::create_dir(tree.at("d")).unwrap();
        let folder = tree.folder().folder(b"d").unwrap();
        assert!(Names::read(&folder).unwrap().is_empty());
        fs::remove_dir(tree.at("d")).unwrap();
        match Names::read(&folder) {
            Ok(names) => assert!(names.is_empty()),
            Err(error) => assert_eq!(error.kind, ErrorKind::Vanished),
        }
    }

    #[test]
    fn a_big_folder_costs_its_names_and_eight_bytes_each() {
        let tree = Tree::new();
        let count = 3_000;
        (0..count).for_each(|i| tree.file(&format!("file {i}"), b""));
        let names = Names::read(&tree.folder()).unwrap();
        assert_eq!(names.len(), count);
        assert!(names.iter().is_sorted());
        let bytes: usize = names.iter().map(<[u8]>::len).sum();
        assert_eq!(names.arena.capacity() + names.entries.capacity() * size_of::<Entry>(), bytes + 8 * count);
    }

    #[test]
    fn names_shown_twice_are_kept_once() {
        let mut names: Names = [&b"b"[..], b"a", b"b", b"."].into_iter().collect();
        assert_eq!(names.iter().collect::<Vec<_>>(), [b"a", b"b"]);
        names.retain(|name| name != b"a");
        assert_eq!(names.iter().rev().collect::<Vec<_>>(), [b"b"]);
    }
}
