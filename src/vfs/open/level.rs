//! One list of a content, to be searched by offset.

use crate::format::list::ListEntry;

/// The entries of one list.
pub struct Level {
    entries: Vec<ListEntry>,
    /// Where each of them ends, counted from where the list begins.
    ends: Vec<u64>,
}

impl Level {
    /// The level of these entries, whose lengths were summed up before.
    pub fn new(entries: Vec<ListEntry>) -> Self {
        let ends = entries.iter().scan(0u64, |end, entry| {
            *end = end.saturating_add(entry.content_len());
            Some(*end)
        });
        Level { ends: ends.collect(), entries }
    }

    /// Bytes of content that it stands for.
    pub fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether its entries may stand in a list of this depth.
    pub fn is_of_depth(&self, depth: u8) -> bool {
        self.entries.iter().all(|entry| match entry {
            ListEntry::List { depth: below, .. } => below.checked_add(1) == Some(depth),
            _ => depth == 0,
        })
    }

    /// Bytes of memory that it takes.
    pub fn cost(&self) -> usize {
        self.entries.capacity() * size_of::<ListEntry>() + self.ends.capacity() * size_of::<u64>() + 128
    }

    /// The entry at `offset`, and where it begins.
    pub fn at(&self, offset: u64) -> Option<(ListEntry, u64)> {
        let number = self.ends.partition_point(|end| *end <= offset);
        let entry = self.entries.get(number)?;
        Some((*entry, if number == 0 { 0 } else { self.ends[number - 1] }))
    }
}
