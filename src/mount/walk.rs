//! Who goes through folders in order, and what is therefore handed to the kernel before it is asked for. What
//! the kernel has it does not ask for, so that nothing would be heard of a reader who gets all: now and then
//! a file is left out, and who asks for it is seen to go on. As long as that is so, more is handed out.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::node::{Node, NodeType};
use crate::mount::kept::Kept;
use crate::vfs::Page;

/// Longest file that is handed out: of longer ones the parts are read ahead while they are read.
pub const LONGEST: u64 = 512 << 10;
/// Bytes that may be handed out after the second file that was asked for in order; more with each that follows.
const FIRST: u64 = 128 << 10;
/// Bytes that may be handed out, at most, until a reader is seen to go on.
const MOST: u64 = 4 << 20;
/// Of what may be handed out, the part after which a file is left out.
const PROBES: u64 = 4;
/// Files, and bytes, that are looked up together.
const SPAN: (usize, u64) = (32, 256 << 10);
/// What a file costs besides its bytes.
const EACH: u64 = 4 << 10;
/// Folders that are remembered.
const FOLDERS: usize = 256;

/// Page of a folder's listing, and place there.
pub type Place = (usize, usize);

/// Finds a page of a folder.
pub type Look<'l> = &'l mut dyn FnMut(usize) -> Option<Page>;

/// Neighbours on a page, of which the files that [`is_handed_out`] names are to be handed out.
pub struct Span {
    /// Their folder.
    pub folder: u64,
    /// The page.
    pub page: Page,
    /// Its number.
    pub number: usize,
    /// Which of its nodes.
    pub range: Range<usize>,
    /// How far the reader came.
    passed: Arc<AtomicU64>,
}

impl Span {
    /// Whether the reader is beyond the node at this place of the page.
    pub fn is_passed(&self, at: usize) -> bool {
        self.passed.load(Ordering::Relaxed) > packed((self.number, at))
    }
}

/// A folder that somebody reads.
#[derive(Clone, Default)]
struct Reading {
    /// The first place of which nothing was decided.
    next: Place,
    /// The last file that was asked for.
    last: Option<Place>,
    /// What follows it.
    passed: Arc<AtomicU64>,
    /// Places beyond it, and how many bytes had been handed out, in all folders, before what stands there.
    marks: Vec<(Place, u64)>,
}

/// What was seen of readers.
pub struct Walk {
    folders: Kept<u64, Reading>,
    /// The folder that was listed last.
    listed: u64,
    /// Files that were asked for in order, less those that were not.
    seen: u32,
    /// Bytes that were handed out.
    handed: u64,
    /// Bytes that may still be.
    left: u64,
    /// Bytes handed out since a file was left out.
    since: u64,
}

impl Default for Walk {
    fn default() -> Self {
        Walk { folders: Kept::new(FOLDERS), listed: 0, seen: 0, handed: 0, left: 0, since: 0 }
    }
}

/// Whether a node is a file that may be handed out.
pub fn is_handed_out(node: &Node) -> bool {
    node.kind == NodeType::File && node.size.is_some_and(|size| (1..=LONGEST).contains(&size))
}

fn packed((page, at): Place) -> u64 {
    (page as u64) << 32 | at as u64
}

fn after((page, at): Place) -> Place {
    (page, at + 1)
}

impl Walk {
    /// Says that the kernel was told of the children of `folder` before `end`. What is to be handed out of
    /// them.
    pub fn listed(&mut self, folder: u64, end: Place, look: Look<'_>) -> Vec<Span> {
        self.listed = folder;
        let reading = self.folders.get(&folder).unwrap_or_default();
        self.go_on(folder, reading, Some(end), look)
    }

    /// Says that the first bytes of the file at a place of `folder` were asked for. What is to be handed out of
    /// those that follow.
    pub fn asked(&mut self, folder: u64, at: Place, look: Look<'_>) -> Vec<Span> {
        let known = self.folders.get(&folder);
        let is_first = known.as_ref().is_none_or(|known| known.last.is_none() && known.next == (0, 0));
        let mut reading = known.unwrap_or_default();
        let again = reading.last.is_some_and(|last| at <= last);
        // Of who begins somewhere nothing is known yet, unless the folder has just been listed.
        if !(is_first && self.listed != folder) {
            let in_order = !again && leaves_none(reading.next, at, look);
            let mark = reading.marks.iter().rev().find(|(place, _)| *place <= at);
            let ahead = mark.or(reading.marks.first()).map_or(0, |(_, before)| self.handed - before);
            self.count(in_order, ahead);
        }
        reading.marks.retain(|(place, _)| *place > at);
        reading.next = if again { after(at) } else { reading.next.max(after(at)) };
        reading.last = Some(at);
        reading.passed.store(packed(after(at)), Ordering::Relaxed);
        self.go_on(folder, reading, None, look)
    }

    /// Counts a file that was asked for, whose reader has so many bytes before them.
    fn count(&mut self, in_order: bool, ahead: u64) {
        if !in_order {
            (self.seen, self.left) = (self.seen / 2, self.left / 2);
            return;
        }
        self.seen = self.seen.saturating_add(1);
        self.left = self.allowed().saturating_sub(ahead);
    }

    /// Bytes that may be handed out to a reader of whom so much was seen.
    fn allowed(&self) -> u64 {
        match self.seen {
            0 | 1 => 0,
            seen => FIRST.saturating_mul(1 << (seen - 2).min(30)).min(MOST),
        }
    }

    /// Decides of what follows, up to `end` if that is given.
    fn go_on(&mut self, folder: u64, mut reading: Reading, end: Option<Place>, look: Look<'_>) -> Vec<Span> {
        let mut spans = Vec::new();
        let is_before = |place| end.is_none_or(|end| place < end);
        while self.left >= EACH
            && is_before(reading.next)
            && let Some(page) = look(reading.next.0)
        {
            let (number, mut from) = reading.next;
            let mut taken = 0;
            reading.marks.push((reading.next, self.handed));
            let passed = &reading.passed;
            let mut add = |range: Range<usize>| {
                let (page, passed) = (page.clone(), passed.clone());
                if !range.is_empty() {
                    spans.push(Span { folder, page, number, range, passed });
                }
            };
            let mut at = from;
            while at < page.len() && is_before((number, at)) {
                let decided = self.decide(&page[at]);
                if matches!(decided, Decided::TooMuch) {
                    break;
                }
                if let Decided::Taken(cost) = decided {
                    taken += cost;
                }
                let is_full = at + 1 - from >= SPAN.0 || taken >= SPAN.1;
                let is_left = matches!(decided, Decided::LeftOut);
                at += 1;
                if is_full || is_left {
                    let end = if is_left { at - 1 } else { at };
                    add(from..end);
                    (from, taken) = (at, 0);
                    reading.marks.push(((number, end), self.handed));
                }
            }
            add(from..at);
            let is_done = at == page.len();
            reading.next = if is_done { (number + 1, 0) } else { (number, at) };
            if !is_done {
                break;
            }
        }
        self.folders.keep(folder, reading);
        spans
    }

    fn decide(&mut self, node: &Node) -> Decided {
        if !is_handed_out(node) {
            if node.size.is_some_and(|size| size > LONGEST) {
                // Its reader is heard of anyway.
                self.since = 0;
            }
            return Decided::Nothing;
        }
        if self.since >= self.allowed() / PROBES {
            self.since = 0;
            return Decided::LeftOut;
        }
        let cost = node.size.unwrap_or(0).next_multiple_of(EACH) + EACH;
        if cost > self.left {
            return Decided::TooMuch;
        }
        self.left -= cost;
        self.handed += cost;
        self.since += cost;
        Decided::Taken(cost)
    }
}

enum Decided {
    /// It is none that could be handed out.
    Nothing,
    /// It is handed out, for so many bytes.
    Taken(u64),
    /// It is left out, so that its reader is heard of.
    LeftOut,
    /// More must not be handed out now.
    TooMuch,
}

/// Whether there is no file from `from` to `to` that somebody who reads in order would have asked for.
fn leaves_none(from: Place, to: Place, look: Look<'_>) -> bool {
    if to.0 > from.0 + 1 {
        return false;
    }
    (from.0..=to.0).all(|number| {
        let Some(page) = look(number) else { return false };
        let start = if number == from.0 { from.1 } else { 0 };
        let end = if number == to.0 { to.1 } else { page.len() };
        page.get(start..end.max(start)).is_some_and(|nodes| !nodes.iter().any(is_handed_out))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A folder of as many files of so many bytes.
    fn page(files: usize, size: u64) -> Page {
        let node = |at| Node { size: Some(size), ..Node::new(format!("{at:05}"), NodeType::File) };
        Arc::new((0..files).map(node).collect())
    }

    fn looks(page: &Page) -> impl FnMut(usize) -> Option<Page> {
        let page = page.clone();
        move |number| (number == 0).then(|| page.clone())
    }

    fn places(spans: &[Span]) -> Vec<usize> {
        spans.iter().flat_map(|span| span.range.clone()).collect()
    }

    #[test]
    fn who_goes_on_in_order_asks_for_few() {
        let page = page(4000, 10 << 10);
        let (mut walk, mut handed, mut asked) = (Walk::default(), vec![false; 4000], 0);
        assert!(walk.listed(7, (0, 4000), &mut looks(&page)).is_empty());
        for at in 0..4000 {
            if !handed[at] {
                asked += 1;
                for place in places(&walk.asked(7, (0, at), &mut looks(&page))) {
                    assert!(place > at && !handed[place]);
                    handed[place] = true;
                }
            }
            let ahead = handed[at..].iter().filter(|handed| **handed).count();
            assert!(ahead as u64 * (16 << 10) <= MOST, "{ahead} are ahead of {at}");
        }
        assert!((40..80).contains(&asked), "{asked}");
    }

    #[test]
    fn it_goes_on_in_the_next_folder() {
        let (mut walk, many) = (Walk::default(), page(100, 4096));
        walk.listed(1, (0, 100), &mut looks(&many));
        (0..8).for_each(|at| drop(walk.asked(1, (0, at), &mut looks(&many))));
        let few = page(5, 4096);
        assert_eq!(places(&walk.listed(2, (0, 3), &mut looks(&few))), [0, 1, 2]);
        // What was decided once is not decided again.
        assert_eq!(places(&walk.listed(2, (0, 5), &mut looks(&few))), [3, 4]);
        assert!(walk.listed(2, (0, 5), &mut looks(&few)).is_empty());
        // Nobody goes on: no more than was allowed.
        let handed = (3..400).map(|folder| places(&walk.listed(folder, (0, 5), &mut looks(&few))).len());
        assert!(handed.sum::<usize>() as u64 * 8192 <= MOST);
        assert!(walk.listed(400, (0, 5), &mut looks(&few)).is_empty());
    }

    #[test]
    fn who_reads_anywhere_gets_nothing() {
        let page = page(1000, 4096);
        let mut walk = Walk::default();
        walk.listed(1, (0, 1000), &mut looks(&page));
        for step in 0..1000 {
            let at = step * 617 % 1000;
            assert!(walk.asked(1, (0, at), &mut looks(&page)).is_empty(), "{at}");
        }
        // Nor who takes the first of each folder that was listed before.
        (2..60).for_each(|folder| drop(walk.listed(folder, (0, 1000), &mut looks(&page))));
        for folder in 2..59 {
            assert!(walk.asked(folder, (0, 0), &mut looks(&page)).is_empty(), "{folder}");
        }
    }

    #[test]
    fn the_reader_is_not_handed_what_it_passed() {
        let page = page(100, 4096);
        let mut walk = Walk::default();
        walk.listed(1, (0, 100), &mut looks(&page));
        let spans: Vec<Span> = (0..3).flat_map(|at| walk.asked(1, (0, at), &mut looks(&page))).collect();
        let (first, last) = (spans.first().unwrap(), spans.last().unwrap());
        assert!(first.is_passed(2) && !first.is_passed(3));
        walk.asked(1, (0, 9), &mut looks(&page));
        assert!(first.is_passed(9) && !last.is_passed(10));
    }

    #[test]
    fn long_files_and_what_is_none_are_passed_over() {
        let mut nodes: Vec<Node> = (*page(20, 4096)).clone();
        nodes[5].size = Some(LONGEST + 1);
        nodes[6].size = Some(0);
        nodes[7] = Node::new("00007", NodeType::Symlink);
        let page = Arc::new(nodes);
        let mut walk = Walk::default();
        walk.listed(1, (0, 20), &mut looks(&page));
        let handed: Vec<usize> =
            (0..3).flat_map(|at| places(&walk.asked(1, (0, at), &mut looks(&page)))).collect();
        assert!(handed.contains(&8));
        assert!(page.iter().enumerate().all(|(at, node)| is_handed_out(node) != (5..8).contains(&at)));
    }
}
