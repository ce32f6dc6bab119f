//! One entry becomes a node: taken over from an earlier snapshot if it is unchanged, else described
//! and read. What goes wrong with an entry costs that entry, not the snapshot: it is said, counted,
//! and stands in its node.

use crate::base::clock::Timestamp;
use crate::base::id::ChunkId;
use crate::base::kind::ChunkKind;
use crate::base::limits;
use crate::files::Error as FileError;
use crate::files::source::{Change, Region, Source};
use crate::files::stat::Stat;
use crate::format::list::ListEntry;
use crate::format::node::{Node, NodeType};
use crate::repo;
use crate::repo::read::ChunkReader;
use crate::repo::session::Session;

/// How close to the present a time makes an entry uncertain: a change in the same tick of the file
/// system's clock would not show, and some tick in two seconds (D-6).
const UNCERTAIN: i64 = 2_000_000_000;

/// Where what is read goes.
pub enum Output<'s> {
    /// Into a session.
    Session {
        /// It.
        session: &'s Session,
        /// Reads lists that the repository has.
        reader: Box<ChunkReader>,
    },
    /// Nowhere: nothing is read, and every entry is what its size says.
    Plan,
}

/// What was read of a file.
pub struct Content {
    /// Its content list.
    pub entries: Vec<ListEntry>,
    /// Bytes that were read, holes apart.
    pub read: u64,
    /// Why it was not read to its end.
    pub failure: Option<FileError>,
}

impl Output<'_> {
    /// Stores a chunk of the tree.
    pub fn store(&self, kind: ChunkKind, bytes: &[u8]) -> Result<ChunkId, repo::Error> {
        match self {
            Output::Session { session, .. } => session.store(kind, bytes),
            Output::Plan => Ok(ChunkId([0; 32])),
        }
    }

    /// Whether all of an earlier snapshot's content is still known, if that is not `certain`.
    pub fn knows(&self, content: &[ListEntry], certain: bool) -> Result<bool, repo::Error> {
        match self {
            Output::Session { session, .. } if certain => {
                session.pass(content.len());
                Ok(true)
            }
            Output::Session { session, reader } => session.knows(content, reader),
            Output::Plan => Ok(true),
        }
    }

    /// Takes over a chunk of the tree that is known for certain.
    pub fn pass(&self, id: ChunkId) -> ChunkId {
        if let Output::Session { session, .. } = self {
            session.pass(1);
        }
        id
    }

    /// Reads a file, holes as holes, beside what it held earlier, if that is known.
    pub fn read(&self, source: &mut Source, earlier: Vec<ListEntry>) -> Result<Content, repo::Error> {
        let Output::Session { session, .. } = self else {
            let len = source.stat().size;
            let entries = if len == 0 { Vec::new() } else { vec![ListEntry::Hole { len }] };
            return Ok(Content { entries, read: len, failure: None });
        };
        let mut stream = session.stream_after(earlier).expecting(source.stat().size);
        let (mut read, mut failure) = (0, None);
        loop {
            match source.next_region() {
                Ok(None) => break,
                Ok(Some(Region::Hole { len })) => stream.hole(len)?,
                Ok(Some(Region::Data { .. })) => match stream.fill(|space| source.read(space))? {
                    Ok(n) => read += n as u64,
                    Err(e) => {
                        failure = Some(e);
                        break;
                    }
                },
                Err(e) => {
                    failure = Some(e);
                    break;
                }
            }
        }
        Ok(Content { entries: stream.finish()?.entries, read, failure })
    }
}

/// Whether an earlier snapshot's node says what is there now, as far as that can be told without
/// reading it. Device numbers are not compared: they change over reboots.
pub fn is_unchanged(node: &Node, stat: &Stat) -> bool {
    let meta = &node.meta;
    node.kind == stat.kind
        && (node.kind != NodeType::File || node.size == Some(stat.size))
        && meta.ctime == Some(stat.ctime)
        && meta.mtime == Some(stat.mtime)
        && meta.inode == Some(stat.inode)
        && meta.problem.is_none()
        // The same file seen through a mount that maps owners is another.
        && (meta.uid, meta.gid, meta.mode) == (Some(stat.uid), Some(stat.gid), Some(stat.mode))
}

/// Marks a node as one that may be taken for unchanged later, unless a change could go unseen.
/// `now` is when reading it began.
pub fn make_certain(node: &mut Node, stat: &Stat, now: Timestamp) {
    let settled = |time: Timestamp| now.0.saturating_sub(time.0) >= UNCERTAIN;
    // A time of change that lies ahead was set, and is as good as one that lies back.
    let mtime_settled = settled(stat.mtime) || stat.mtime.0.saturating_sub(now.0) >= UNCERTAIN;
    if node.meta.problem.is_none() && settled(stat.ctime) && mtime_settled {
        node.meta.ctime = Some(stat.ctime);
        node.meta.inode = Some(stat.inode);
    }
}

/// What a change means for what was read, if it is one of the content.
pub fn change_in_words(change: Change) -> Option<&'static str> {
    match change {
        Change::Shrank => Some("it shrank while it was read"),
        Change::Grew => Some("it grew while it was read"),
        Change::Written => Some("it was written to while it was read"),
        Change::Touched => None,
    }
}

/// Adds to what a node says could not be read, as much as fits.
pub fn add_problem(node: &mut Node, problem: &str) {
    let mut text = node.meta.problem.take().map_or_else(String::new, |text| text + "; ");
    text.push_str(problem);
    let mut end = text.len().min(limits::NAME_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    node.meta.problem = Some(text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn stat(mtime: i64, ctime: i64) -> Stat {
        let dir = tempfile::tempdir().unwrap();
        let folder = crate::files::folder::Folder::open(dir.path(), Default::default()).unwrap();
        Stat { mtime: Timestamp(mtime), ctime: Timestamp(ctime), ..folder.stat_self().unwrap() }
    }

    #[test]
    fn what_changed_a_moment_ago_is_uncertain() {
        let now = 1_000 * SECOND;
        for (mtime, ctime, certain) in [
            (0, now - 2 * SECOND, true),
            (0, now - 2 * SECOND + 1, false),
            (0, now, false),
            (0, now + 5 * SECOND, false),
            (now - SECOND, now - 9 * SECOND, false),
            (now + SECOND, now - 9 * SECOND, false),
            (now + 2 * SECOND, now - 9 * SECOND, true),
            (i64::MIN, i64::MIN, true),
        ] {
            let mut node = Node::new("f", NodeType::Symlink);
            make_certain(&mut node, &stat(mtime, ctime), Timestamp(now));
            assert_eq!(node.meta.ctime.is_some(), certain, "{mtime} {ctime}");
            assert_eq!(node.meta.inode.is_some(), certain);
        }
        let mut node = Node::new("f", NodeType::Symlink);
        add_problem(&mut node, "it is strange");
        make_certain(&mut node, &stat(0, 0), Timestamp(now));
        assert_eq!(node.meta.ctime, None, "what was not read is read again");
    }

    #[test]
    fn all_must_be_equal_but_the_device() {
        let stat = Stat { kind: NodeType::File, size: 5, ..stat(0, 0) };
        let hole = vec![ListEntry::Hole { len: 5 }];
        let mut node = Node::with_content("f", NodeType::File, hole).unwrap();
        (node.meta.mode, node.meta.uid, node.meta.gid) = (Some(stat.mode), Some(stat.uid), Some(stat.gid));
        node.meta.mtime = Some(stat.mtime);
        assert!(!is_unchanged(&node, &stat), "it is not certain");
        make_certain(&mut node, &stat, Timestamp(10 * SECOND));
        assert!(is_unchanged(&node, &stat));
        let other = Timestamp(1);
        for changed in [
            Stat { kind: NodeType::Fifo, ..stat.clone() },
            Stat { size: 6, ..stat.clone() },
            Stat { mtime: other, ..stat.clone() },
            Stat { ctime: other, ..stat.clone() },
            Stat { inode: stat.inode + 1, ..stat.clone() },
            Stat { uid: stat.uid + 1, ..stat.clone() },
            Stat { mode: stat.mode ^ 1, ..stat.clone() },
        ] {
            assert!(!is_unchanged(&node, &changed), "{changed:?}");
        }
        assert!(is_unchanged(&node, &Stat { device: stat.device + 1, ..stat.clone() }));
        add_problem(&mut node, "it is strange");
        assert!(!is_unchanged(&node, &stat));
    }

    #[test]
    fn problems_add_up_as_far_as_they_fit() {
        let mut node = Node::new("f", NodeType::Symlink);
        add_problem(&mut node, "a");
        add_problem(&mut node, "b");
        assert_eq!(node.meta.problem.as_deref(), Some("a; b"));
        add_problem(&mut node, &"ü".repeat(limits::NAME_MAX));
        node.check().unwrap();
        assert!(node.meta.problem.unwrap().len() >= limits::NAME_MAX - 1);
    }
}
