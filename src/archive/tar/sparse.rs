//! Where the data of a file with holes lie (GNU tar's "PAX Format, Version 1.0"): a map in front of the data, of
//! decimal numbers, a line each. It may be long, so it is first measured and then written, span by span.

use super::BLOCK;

/// A map of which the spans are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Map {
    spans: u64,
    /// Bytes of all lines but the first.
    lines: u64,
    /// Bytes of data.
    data: u64,
}

impl Map {
    /// Counts a span of data: `len` bytes at `offset`.
    pub fn count(&mut self, offset: u64, len: u64) {
        self.spans += 1;
        self.lines += digits(offset) + digits(len) + 2;
        self.data += len;
    }

    /// Bytes of the map with its padding and of the data.
    pub fn packed(&self) -> u64 {
        self.len().next_multiple_of(BLOCK).saturating_add(self.data)
    }

    /// Bytes of the map.
    pub fn len(&self) -> u64 {
        digits(self.spans) + 1 + self.lines
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.spans == 0
    }

    /// Appends its first line.
    pub fn begin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{}\n", self.spans).as_bytes());
    }

    /// Appends the lines of a span.
    pub fn span(offset: u64, len: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{offset}\n{len}\n").as_bytes());
    }
}

fn digits(number: u64) -> u64 {
    u64::from(number.checked_ilog10().unwrap_or(0)) + 1
}
