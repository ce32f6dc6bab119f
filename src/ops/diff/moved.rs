//! Which of the removed entries came back under another name: folders with the same listing, files
//! with the same content, or with the same inode if that was made at the same time. Held are candidates up to a limit; the caller settles before it is passed.

use std::collections::HashMap;

use crate::format::list::ListEntry;
use crate::format::node::Node;

/// How many candidates with the same content are looked at for one with the same name.
const LOOKED_AT: usize = 16;

/// An entry that is in one of the two snapshots only.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its path.
    pub path: Vec<u8>,
    /// Its node.
    pub node: Node,
}

impl Candidate {
    /// About what it takes in memory.
    pub fn cost(&self) -> usize {
        let node = &self.node;
        let lists = (node.content.len() + node.children.len()) * size_of::<ListEntry>();
        let xattrs: usize =
            node.meta.xattrs.iter().map(|x| size_of_val(x) + x.name.len() + x.value.len()).sum();
        let link = node.meta.link_target.as_ref().map_or(0, Vec::len);
        size_of::<Candidate>() + self.path.len() + 2 * node.name.len() + lists + xattrs + link
    }

    fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or(&self.path)
    }

    /// Equal in those that are the same file of a file system, whatever it holds now: an inode alone
    /// would not do, since a new file may get that of one that is gone.
    pub fn inode(&self) -> Option<[u8; 32]> {
        let (kind, meta) = (self.node.kind, &self.node.meta);
        let (inode, btime) = (meta.inode?, meta.btime?);
        let mut key = [0; 32];
        key[..8].copy_from_slice(&kind.to_u64().to_le_bytes());
        key[8..16].copy_from_slice(&inode.to_le_bytes());
        key[16..24].copy_from_slice(&btime.0.to_le_bytes());
        Some(key)
    }

    /// Equal in those that hold the same; `None` if it holds nothing.
    pub fn content(&self) -> Option<[u8; 32]> {
        let node = &self.node;
        if node.content.is_empty() && node.children.is_empty() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&node.kind.to_u64().to_le_bytes());
        for (part, entries) in [(1, &node.content), (2, &node.children)] {
            for entry in entries {
                let (tag, id) = match entry {
                    ListEntry::Chunk { id, .. } => (1, &id.0[..]),
                    ListEntry::Hole { .. } => (2, &[][..]),
                    ListEntry::Zeros { .. } => (3, &[][..]),
                    ListEntry::List { id, .. } => (4, &id.0[..]),
                };
                hasher.update(&[part, tag]).update(&entry.content_len().to_le_bytes()).update(id);
            }
        }
        Some(*hasher.finalize().as_bytes())
    }
}

/// What became of removed and added entries.
#[derive(Debug, Default)]
pub struct Matched {
    /// Old and new place of what moved.
    pub moved: Vec<(Candidate, Candidate)>,
    /// What is gone.
    pub gone: Vec<Candidate>,
    /// What came.
    pub came: Vec<Candidate>,
}

/// Pairs removed with added entries of the same `key`, those of the same name first.
pub fn match_up(
    gone: Vec<Candidate>,
    came: Vec<Candidate>,
    key: fn(&Candidate) -> Option<[u8; 32]>,
) -> Matched {
    let mut matched = Matched::default();
    let mut by_key: HashMap<[u8; 32], Vec<Candidate>> = HashMap::new();
    // The last of a list is taken first: so they go in order.
    for candidate in gone.into_iter().rev() {
        match key(&candidate) {
            Some(key) => by_key.entry(key).or_default().push(candidate),
            None => matched.gone.push(candidate),
        }
    }
    for new in came {
        let same = key(&new).and_then(|key| by_key.get_mut(&key)).filter(|same| !same.is_empty());
        let Some(same) = same else {
            matched.came.push(new);
            continue;
        };
        let last = same.len() - 1;
        let named = (0..same.len()).rev().take(LOOKED_AT).find(|at| same[*at].name() == new.name());
        matched.moved.push((same.remove(named.unwrap_or(last)), new));
    }
    matched.gone.extend(by_key.into_values().flatten());
    matched
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::base::id::ChunkId;
    use crate::format::node::NodeType;

    fn file(path: &str, seed: u8) -> Candidate {
        let content = vec![ListEntry::Chunk { len: 5, id: ChunkId([seed; 32]) }];
        let node = Node { size: Some(5), content, ..Node::new("n", NodeType::File) };
        Candidate { path: path.into(), node }
    }

    fn paths(matched: &Matched) -> Vec<(String, String)> {
        let text = |candidate: &Candidate| String::from_utf8_lossy(&candidate.path).into_owned();
        matched.moved.iter().map(|(old, new)| (text(old), text(new))).collect()
    }

    #[test]
    fn the_same_name_is_preferred() {
        let gone = vec![file("a/x", 1), file("a/y", 1), file("a/z", 2)];
        let came = vec![file("b/y", 1), file("b/w", 1), file("b/z", 3)];
        let matched = match_up(gone, came, Candidate::content);
        assert_eq!(paths(&matched), [("a/y".into(), "b/y".into()), ("a/x".into(), "b/w".into())]);
        assert_eq!((matched.gone.len(), matched.came.len()), (1, 1));
    }

    #[test]
    fn what_holds_nothing_has_not_moved() {
        let empty = |path: &str| {
            let node = Node { size: Some(0), ..Node::new("n", NodeType::File) };
            Candidate { path: path.into(), node }
        };
        let matched = match_up(vec![empty("a")], vec![empty("b")], Candidate::content);
        assert!(matched.moved.is_empty());
        assert_eq!((matched.gone.len(), matched.came.len()), (1, 1));
    }

    #[test]
    fn an_inode_is_the_same_if_it_was_made_at_the_same_time() {
        let with = |path: &str, seed, btime| {
            let mut candidate = file(path, seed);
            (candidate.node.meta.inode, candidate.node.meta.btime) = (Some(7), btime);
            candidate
        };
        let moved = |old, new| {
            let matched = match_up(vec![with("a", 1, old)], vec![with("b", 2, new)], Candidate::inode);
            matched.moved.len()
        };
        assert_eq!(moved(Some(Timestamp(1)), Some(Timestamp(1))), 1);
        assert_eq!(moved(Some(Timestamp(1)), Some(Timestamp(2))), 0);
        assert_eq!(moved(None, None), 0);
    }
}
