//! Inodes: which number stands for what. A number is made from where a thing is and what it is called, so
//! it is the same after the next mount; names of one file with several share one. The table holds what the
//! kernel knows and nothing more: a few words for each, never a node.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use crate::crypto::StreamHasher;
use crate::mount::catalog::Known;
use crate::mount::namespace::Spot;

/// The number of the mount's top, which the kernel fixes.
pub const TOP: u64 = 1;

/// What an inode is.
#[derive(Clone, Debug)]
pub enum What {
    /// A folder above the snapshots.
    Spot(Spot),
    /// A symbolic link up there, and where it points.
    Link(Arc<str>),
    /// A snapshot's top.
    Root(Arc<Known>),
    /// Something in a snapshot: where in the listing of its parent it stands.
    Child {
        /// The number of the snapshot's top.
        root: u64,
        /// Page of the parent's listing.
        page: u32,
        /// Place on that page.
        at: u32,
        /// What all names of a file with several have in common; 0 for what has one.
        link: u64,
    },
}

/// What the table says of an inode.
#[derive(Clone, Debug)]
pub struct Inode {
    /// The number of the folder that it was found in.
    pub parent: u64,
    /// What it is.
    pub what: What,
}

struct Record {
    inode: Inode,
    /// How often the kernel was told of it, less how often it forgot.
    lookups: u64,
    /// How many others here have it as their parent: while they are known, so is it.
    children: u64,
}

/// All inodes that the kernel knows.
#[derive(Default)]
pub struct Inodes {
    records: HashMap<u64, Record>,
}

impl Inodes {
    /// A table with the top in it, which is never forgotten.
    pub fn new(top: What) -> Self {
        let record = Record { inode: Inode { parent: TOP, what: top }, lookups: 1, children: 1 };
        Inodes { records: HashMap::from([(TOP, record)]) }
    }

    /// The inode with this number.
    pub fn get(&self, number: u64) -> Option<Inode> {
        self.records.get(&number).map(|record| record.inode.clone())
    }

    /// Says that the kernel is told of `inode`, and the number that it has: `wanted`, unless something
    /// else has that.
    pub fn look_up(&mut self, wanted: u64, inode: Inode) -> u64 {
        let (mut number, parent) = (wanted.max(TOP + 1), inode.parent);
        loop {
            match self.records.entry(number) {
                Slot::Vacant(slot) => {
                    slot.insert(Record { inode, lookups: 1, children: 0 });
                    break;
                }
                Slot::Occupied(mut slot) if is_same(&slot.get().inode, &inode) => {
                    slot.get_mut().lookups += 1;
                    return number;
                }
                Slot::Occupied(_) => number = number.wrapping_add(1).max(TOP + 1),
            }
        }
        if let Some(record) = self.records.get_mut(&parent) {
            record.children += 1;
        }
        number
    }

    /// The number of `inode`, if the kernel was told of it: `wanted`, unless something else has that. Until this
    /// too is forgotten once, the number stands for nothing else.
    pub fn hold(&mut self, wanted: u64, inode: &Inode) -> Option<u64> {
        let mut number = wanted.max(TOP + 1);
        loop {
            let record = self.records.get_mut(&number)?;
            if is_same(&record.inode, inode) {
                record.lookups += 1;
                return Some(number);
            }
            number = number.wrapping_add(1).max(TOP + 1);
        }
    }

    /// Says that the kernel forgot `times` of the times that it was told of an inode.
    pub fn forget(&mut self, mut number: u64, times: u64) {
        let Some(record) = self.records.get_mut(&number) else { return };
        record.lookups = record.lookups.saturating_sub(times);
        // Not by recursion: whoever wrote the snapshot decides how deep its folders are.
        while let Some(record) = self.records.get(&number)
            && record.lookups == 0
            && record.children == 0
            && number != TOP
        {
            let parent = record.inode.parent;
            self.records.remove(&number);
            match self.records.get_mut(&parent) {
                Some(record) => record.children = record.children.saturating_sub(1),
                None => break,
            }
            number = parent;
        }
    }
}

/// Whether two are the same thing, found perhaps by two names.
fn is_same(a: &Inode, b: &Inode) -> bool {
    match (&a.what, &b.what) {
        (What::Spot(a), What::Spot(b)) => a == b,
        (What::Link(x), What::Link(y)) => x == y && a.parent == b.parent,
        (What::Root(x), What::Root(y)) => x.id() == y.id() && a.parent == b.parent,
        (
            What::Child { root: a_root, page: a_page, at: a_at, link: a_link },
            What::Child { root, page, at, link },
        ) => {
            let in_one_place = (a.parent, a_page, a_at) == (b.parent, page, at);
            a_root == root && a_link == link && (*link != 0 || in_one_place)
        }
        _ => false,
    }
}

/// The number that the child called `name` of an inode should have.
pub fn number_of(parent: u64, name: &[u8]) -> u64 {
    hashed(b"name", parent, name).0
}

/// The number that all names of a file should have, in the snapshot whose top has the number `root`, and
/// what they have in common besides.
pub fn number_of_links(root: u64, group: &[u8]) -> (u64, u64) {
    let (number, link) = hashed(b"link", root, group);
    (number, link | 1)
}

/// The number that a child of `parent` should have, by its name and, if it has several, by what they have in
/// common; and what its inode says.
pub fn child_of(
    root: u64,
    parent: u64,
    (name, group): (&[u8], Option<&[u8]>),
    (page, at): (usize, usize),
) -> (u64, Inode) {
    let (wanted, link) = match group {
        Some(group) => number_of_links(root, group),
        None => (number_of(parent, name), 0),
    };
    let what = What::Child { root, page: page as u32, at: at as u32, link };
    (wanted, Inode { parent, what })
}

fn hashed(kind: &[u8; 4], above: u64, name: &[u8]) -> (u64, u64) {
    let mut hasher = StreamHasher::plain();
    hasher.update(kind);
    hasher.update(&above.to_le_bytes());
    hasher.update(name);
    let hash = hasher.finish();
    let (first, rest) = hash.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    let second = rest.first_chunk::<8>().unwrap_or(&[0; 8]);
    // Programs that count in signed numbers see no negative ones.
    (u64::from_le_bytes(*first) >> 1, u64::from_le_bytes(*second))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn child(parent: u64, at: u32, link: u64) -> Inode {
        Inode { parent, what: What::Child { root: TOP, page: 0, at, link } }
    }

    #[test]
    fn a_parent_stays_as_long_as_what_was_found_in_it() {
        let mut inodes = Inodes::new(What::Spot(Spot::Top));
        let folder = inodes.look_up(number_of(TOP, b"a"), child(TOP, 0, 0));
        let file = inodes.look_up(number_of(folder, b"b"), child(folder, 0, 0));
        assert_eq!(inodes.look_up(number_of(folder, b"b"), child(folder, 0, 0)), file);
        inodes.forget(folder, 1);
        assert!(inodes.get(folder).is_some());
        inodes.forget(file, 1);
        assert_eq!(inodes.get(file).unwrap().parent, folder);
        inodes.forget(file, 1);
        assert!(inodes.get(file).is_none() && inodes.get(folder).is_none());
        inodes.forget(TOP, 1_000);
        assert!(inodes.get(TOP).is_some() && inodes.records.len() == 1);
    }

    #[test]
    fn a_chain_of_any_depth_is_forgotten() {
        let mut inodes = Inodes::new(What::Spot(Spot::Top));
        let mut parent = TOP;
        for _ in 0..200_000 {
            let number = inodes.look_up(number_of(parent, b"x"), child(parent, 0, 0));
            if parent != TOP {
                inodes.forget(parent, 1);
            }
            parent = number;
        }
        inodes.forget(parent, 1);
        assert_eq!(inodes.records.len(), 1);
    }

    #[test]
    fn two_things_never_share_a_number() {
        let mut inodes = Inodes::new(What::Spot(Spot::Top));
        for (at, wanted) in [5, 5, 5, 0, u64::MAX, u64::MAX].into_iter().enumerate() {
            let inode = child(TOP, at as u32, 0);
            let number = inodes.look_up(wanted, inode.clone());
            assert_eq!(inodes.look_up(wanted, inode), number);
        }
        assert_eq!(inodes.records.len(), 7);
        assert!(inodes.get(TOP).is_some_and(|top| matches!(top.what, What::Spot(Spot::Top))));
    }

    #[test]
    fn names_of_one_file_share_a_number_and_those_of_two_do_not() {
        let mut inodes = Inodes::new(What::Spot(Spot::Top));
        let (number, link) = number_of_links(TOP, b"group");
        let first = inodes.look_up(number, child(TOP, 0, link));
        assert_eq!(inodes.look_up(number, child(TOP, 9, link)), first);
        assert_ne!(inodes.look_up(number, child(TOP, 9, link ^ 2)), first);
        // The kernel was told of it twice.
        inodes.forget(first, 1);
        assert!(inodes.get(first).is_some());
    }
}
