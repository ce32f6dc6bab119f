//! Two listings side by side. Where both stand at the beginning of the same list or tree chunk, it is
//! passed over unread; since listings are cut by their names, that is so soon after a change.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::format::tree::TreeReader;
use crate::repo::Error;
use crate::repo::read::{ChunkReader, Entries};
use crate::vfs::read_nodes;

/// What stands next, by name.
#[derive(Debug)]
pub enum Met {
    /// Only in the old listing.
    Old(Node),
    /// Only in the new listing.
    New(Node),
    /// In both; they may be equal.
    Both(Box<(Node, Node)>),
}

/// Two listings.
pub struct Pair {
    old: Side,
    new: Side,
}

struct Side {
    entries: Entries,
    listing: TreeReader,
    nodes: VecDeque<Node>,
}

impl Pair {
    /// The listings that these entries begin.
    pub fn new(old: Vec<ListEntry>, new: Vec<ListEntry>) -> Self {
        Pair { old: Side::new(old), new: Side::new(new) }
    }

    /// The next name of either that is not in a chunk of both.
    pub fn next(&mut self, reader: &ChunkReader) -> Result<Option<Met>, Error> {
        let Pair { old, new } = self;
        if old.nodes.is_empty() && new.nodes.is_empty() {
            pass_equal(&mut old.entries, &mut new.entries, reader)?;
        }
        old.fill(reader)?;
        new.fill(reader)?;
        let order = match (old.nodes.front(), new.nodes.front()) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.name.cmp(&new.name),
        };
        let old = if order.is_le() { old.nodes.pop_front() } else { None };
        let new = if order.is_ge() { new.nodes.pop_front() } else { None };
        Ok(match (old, new) {
            (Some(old), Some(new)) => Some(Met::Both(Box::new((old, new)))),
            (Some(old), None) => Some(Met::Old(old)),
            (None, new) => new.map(Met::New),
        })
    }
}

impl Side {
    fn new(entries: Vec<ListEntry>) -> Self {
        Side { entries: Entries::new(entries), listing: TreeReader::new(), nodes: VecDeque::new() }
    }

    /// Reads the next chunk if all nodes of the one before were taken.
    fn fill(&mut self, reader: &ChunkReader) -> Result<(), Error> {
        while self.nodes.is_empty() {
            match self.entries.next(reader)? {
                None => return Ok(()),
                Some(ListEntry::Chunk { id, len }) => {
                    self.nodes = read_nodes(reader, &mut self.listing, &id, len)?.into();
                }
                Some(_) => return Err(Error::damaged("a directory", "its listing has a hole")),
            }
        }
        Ok(())
    }
}

/// Passes over what both have next. Lists that differ are opened: what they list may not.
fn pass_equal(old: &mut Entries, new: &mut Entries, reader: &ChunkReader) -> Result<(), Error> {
    while let (Some(before), Some(after)) = (old.peek(), new.peek()) {
        if before == after {
            old.skip();
            new.skip();
            continue;
        }
        match depth(&before).cmp(&depth(&after)) {
            Ordering::Greater => old.open(reader)?,
            Ordering::Less => new.open(reader)?,
            Ordering::Equal if depth(&before) == 0 => return Ok(()),
            Ordering::Equal => {
                old.open(reader)?;
                new.open(reader)?;
            }
        }
    }
    Ok(())
}

/// How many lists stand between an entry and content.
fn depth(entry: &ListEntry) -> u8 {
    match entry {
        ListEntry::List { depth, .. } => depth.saturating_add(1),
        _ => 0,
    }
}
