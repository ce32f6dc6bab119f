//! The pages of relation files as they stream by: each one's checksum is verified, whatever pieces it
//! comes in. What is wrong is known for certain only at the end: see [`Verdict::is_corrupt`].

use crate::postgres::lsn::Lsn;
use crate::postgres::page::{RelationFile, Verdict, verify};

/// Pages that may be corrupt and are remembered one by one; others are counted.
const KEPT: usize = 10_000;

/// A page that may be corrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its file, from the data folder on.
    pub path: String,
    /// Its number in the relation.
    pub block: u32,
    verdict: Verdict,
}

/// Verifies pages.
pub struct Pages {
    page_size: usize,
    pages_per_file: u32,
    start: Lsn,
    /// The file's path and the number of the page that comes next; none if it has no such pages.
    at: Option<(String, u32)>,
    /// The beginning of a page that came in more than one piece.
    part: Vec<u8>,
    suspects: Vec<Suspect>,
    /// Corrupt pages beyond those that are kept.
    more: u64,
}

impl Pages {
    /// Of a cluster with such pages, in a base backup that began at `start`.
    pub fn new(page_size: u32, pages_per_file: u32, start: Lsn) -> Self {
        let page_size = page_size as usize;
        let part = Vec::with_capacity(page_size);
        Pages { page_size, pages_per_file, start, at: None, part, suspects: Vec::new(), more: 0 }
    }

    /// A file begins; `relation` if it is one of a relation.
    pub fn begin(&mut self, path: &str, relation: Option<RelationFile>) {
        self.part.clear();
        self.at = relation.map(|file| (path.to_owned(), file.first_block(self.pages_per_file)));
    }

    /// Bytes of the file.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if self.at.is_none() {
            return;
        }
        if !self.part.is_empty() {
            let (first, rest) = bytes.split_at(bytes.len().min(self.page_size - self.part.len()));
            self.part.extend_from_slice(first);
            bytes = rest;
            if self.part.len() == self.page_size {
                let part = std::mem::take(&mut self.part);
                self.page(&part);
                self.part = part;
                self.part.clear();
            }
        }
        let pages = bytes.chunks_exact(self.page_size);
        let rest = pages.remainder();
        pages.for_each(|page| self.page(page));
        self.part.extend_from_slice(rest);
    }

    /// The file ends; what is left is less than a page. A server that is extending a file may have sent it
    /// so, and its WAL makes it whole.
    pub fn end(&mut self) {
        self.at = None;
    }

    /// Pages that are corrupt, now that the base backup ended at `stop`, and how many more there are. The
    /// server looks at each page as well, and reads what it finds wrong a second time: if it found none
    /// (`confirmed` is false), then what seemed so was being written, and its WAL repairs it. But it passes
    /// over pages whose position lies ahead.
    pub fn corrupt(self, stop: Lsn, confirmed: bool) -> (Vec<Suspect>, u64) {
        let mut suspects = self.suspects;
        suspects.retain(|Suspect { verdict, .. }| {
            verdict.is_corrupt(stop) && (confirmed || matches!(verdict, Verdict::AfterStart(_)))
        });
        (suspects, if confirmed { self.more } else { 0 })
    }

    fn page(&mut self, page: &[u8]) {
        let Some((path, block)) = &mut self.at else { return };
        let verdict = verify(page, *block, self.start);
        match verdict {
            Verdict::Fine | Verdict::New => {}
            _ if self.suspects.len() < KEPT => {
                self.suspects.push(Suspect { path: path.clone(), block: *block, verdict });
            }
            Verdict::AfterStart(_) => {}
            Verdict::Corrupt { .. } | Verdict::NotZero | Verdict::Short => self.more += 1,
        }
        *block = block.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::page::{Fork, PAGE, PAGES_PER_FILE, checksum};

    const START: Lsn = Lsn(1000);

    /// A page whose position is `position`.
    fn page(fill: u8, block: u32, position: u32) -> Vec<u8> {
        let mut page = vec![fill; PAGE];
        page[..4].fill(0);
        page[4..8].copy_from_slice(&position.to_le_bytes());
        let sum = checksum(&page, block);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        page
    }

    fn corrupt(bytes: &[u8], segment: u32, piece: usize, stop: Lsn) -> Vec<u32> {
        let mut pages = Pages::new(PAGE as u32, PAGES_PER_FILE, START);
        let file = RelationFile { database: 5, number: 6, fork: Fork::Main, segment };
        pages.begin("PG_VERSION", None);
        pages.push(b"15\n");
        pages.end();
        pages.begin("base/5/6", Some(file));
        bytes.chunks(piece).for_each(|piece| pages.push(piece));
        pages.end();
        let (found, more) = pages.corrupt(stop, true);
        assert!(more == 0 && found.iter().all(|suspect| suspect.path == "base/5/6"));
        found.iter().map(|suspect| suspect.block).collect()
    }

    #[test]
    fn pages_are_found_whatever_pieces_they_come_in() {
        for segment in [0, 2] {
            let first = segment * PAGES_PER_FILE;
            let good: Vec<u8> = (0..6).flat_map(|n| page(n as u8 + 1, first + n, 500)).collect();
            let mut bad = good.clone();
            bad[PAGE + 3000] ^= 1;
            bad[PAGE * 4 + 8] ^= 1;
            for piece in [100, 8192, 10_000, 32_768, usize::MAX] {
                assert!(corrupt(&good, segment, piece, START).is_empty());
                assert_eq!(corrupt(&bad, segment, piece, START), [first + 1, first + 4]);
                let torn = &bad[..bad.len() - 100];
                assert_eq!(corrupt(torn, segment, piece, START), [first + 1, first + 4]);
            }
        }
    }

    #[test]
    fn what_was_written_meanwhile_is_replayed() {
        let mut torn = page(7, 0, 1500);
        torn[5000] ^= 1;
        assert!(corrupt(&torn, 0, PAGE, Lsn(1500)).is_empty());
        assert_eq!(corrupt(&torn, 0, PAGE, Lsn(1499)), [0], "no position is after the end");
        assert!(corrupt(&vec![0; PAGE * 2], 0, PAGE, START).is_empty());
        let mut pages = Pages::new(PAGE as u32, PAGES_PER_FILE, START);
        let file = RelationFile { database: 5, number: 6, fork: Fork::Main, segment: 0 };
        pages.begin("base/5/6", Some(file));
        let mut old = page(7, 0, 500);
        old[5000] ^= 1;
        pages.push(&old);
        pages.push(&torn);
        let (found, _) = pages.corrupt(Lsn(1499), false);
        assert_eq!(
            found.iter().map(|suspect| suspect.block).collect::<Vec<_>>(),
            [1],
            "the server read it again"
        );
    }
}
