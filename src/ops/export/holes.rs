//! Files with holes: where their data lie, in whole blocks, as archives want it.

use std::collections::VecDeque;

use crate::archive::tar::{BLOCK, Map};
use crate::format::list::ListEntry;
use crate::format::node::Node;
use crate::repo::Error;
use crate::repo::read::{ChunkReader, Entries};

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// So many bytes that are stored.
    Data(u64),
    /// So many zeros that are not: what a hole has of a block that it shares.
    Zeros(u64),
    /// So many bytes that the archive need not have.
    Gap(u64),
}

/// The parts of a file in order.
pub(super) struct Parts<'r> {
    reader: &'r ChunkReader,
    entries: Entries,
    offset: u64,
    size: u64,
    waiting: VecDeque<Part>,
}

impl<'r> Parts<'r> {
    pub(super) fn new(reader: &'r ChunkReader, node: &Node) -> Self {
        let (entries, size) = (Entries::new(node.content.clone()), node.size.unwrap_or(0));
        Parts { reader, entries, offset: 0, size, waiting: VecDeque::new() }
    }

    pub(super) fn next(&mut self) -> Result<Option<Part>, Error> {
        loop {
            if let Some(part) = self.waiting.pop_front() {
                return Ok(Some(part));
            }
            let Some(entry) = self.entries.next(self.reader)? else { return Ok(None) };
            let start = self.offset;
            self.offset = start.saturating_add(entry.content_len());
            match entry {
                ListEntry::Hole { .. } => self.waiting.extend(hole(start, self.offset, self.size)),
                _ => self.waiting.push_back(Part::Data(entry.content_len())),
            }
        }
    }
}

/// The parts of a hole from `start` to `end` in a file of `size` bytes.
fn hole(start: u64, end: u64, size: u64) -> impl Iterator<Item = Part> {
    let from = start.checked_next_multiple_of(BLOCK).unwrap_or(end);
    let to = if end == size { end } else { end - end % BLOCK };
    let parts = match from < to {
        true => [Part::Zeros(from - start), Part::Gap(to - from), Part::Zeros(end - to)],
        false => [Part::Zeros(end - start), Part::Zeros(0), Part::Zeros(0)],
    };
    parts.into_iter().filter(|part| *part != Part::Zeros(0))
}

/// Calls `each` with place and length of every span of data, one after the other with a gap between; after a gap at
/// the end with an empty one there. `false` if there is no gap at all.
pub(super) fn spans(
    reader: &ChunkReader,
    node: &Node,
    each: &mut dyn FnMut(u64, u64),
) -> Result<bool, Error> {
    let mut parts = Parts::new(reader, node);
    let (mut offset, mut len, mut has_gap) = (0u64, 0u64, false);
    while let Some(part) = parts.next()? {
        match part {
            Part::Data(more) | Part::Zeros(more) => len += more,
            Part::Gap(gap) => {
                if len > 0 {
                    each(offset, len);
                }
                (offset, len, has_gap) = (offset + len + gap, 0, true);
            }
        }
    }
    // Without it a reader would not know of a gap at the end.
    if len > 0 || has_gap {
        each(offset, len);
    }
    Ok(has_gap)
}

/// The map of a file with holes; nothing if it has none.
pub(super) fn map(reader: &ChunkReader, node: &Node) -> Result<Option<Map>, Error> {
    let may = |entry: &ListEntry| matches!(entry, ListEntry::Hole { .. } | ListEntry::List { .. });
    if !node.content.iter().any(may) {
        return Ok(None);
    }
    let mut map = Map::default();
    let has_gap = spans(reader, node, &mut |offset, len| map.count(offset, len))?;
    Ok(has_gap.then_some(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_left_out_as_far_as_it_has_whole_blocks() {
        let parts = |start, end, size| hole(start, end, size).collect::<Vec<_>>();
        assert_eq!(parts(0, 1024, 5000), [Part::Gap(1024)]);
        assert_eq!(parts(500, 1100, 5000), [Part::Zeros(12), Part::Gap(512), Part::Zeros(76)]);
        assert_eq!(parts(500, 600, 5000), [Part::Zeros(100)]);
        assert_eq!(parts(512, 600, 600), [Part::Gap(88)]);
        assert_eq!(parts(513, 600, 600), [Part::Zeros(87)]);
        assert_eq!(parts(u64::MAX - 5, u64::MAX, u64::MAX), [Part::Zeros(5)]);
    }
}
