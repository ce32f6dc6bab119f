//! The folders above the snapshots: `snapshots/` has each of them, `latest/` is the newest, and the others
//! point to them by host, kind, tag and database. All of it is made from the catalog when somebody looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::format::root::SnapshotKind;
use crate::mount::catalog::Known;
use crate::mount::inode::What;
use crate::ops::snapshot::database_node;

/// Bytes of a name here at most: what every file system can take.
const NAME_MAX: usize = 255;
/// The name of what points to the newest.
const LATEST: &str = "latest";
/// The folder that has all snapshots.
const SNAPSHOTS: &str = "snapshots";

/// A folder above the snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// The top of the mount.
    Top,
    /// All snapshots.
    Snapshots,
    /// All that snapshots can be sorted by in one way.
    By(Way),
    /// Snapshots that have something in common.
    Of(Way, Arc<str>),
}

/// A way to sort snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the machine that they were made on.
    Host,
    /// By what was snapshotted.
    Kind,
    /// By each of their tags.
    Tag,
    /// By each of their databases.
    Database,
}

impl Way {
    const ALL: [Way; 4] = [Way::Database, Way::Host, Way::Kind, Way::Tag];

    fn folder(self) -> &'static str {
        match self {
            Way::Host => "by-host",
            Way::Kind => "by-kind",
            Way::Tag => "by-tag",
            Way::Database => "by-database",
        }
    }

    /// What a snapshot is found under.
    fn keys(self, known: &Known) -> Vec<String> {
        let root = &known.snapshot.root;
        match self {
            Way::Host => root.host.iter().cloned().collect(),
            Way::Kind => vec![root.kind.to_string()],
            Way::Tag => root.tags.clone(),
            Way::Database if root.kind == SnapshotKind::Database => root.sources.clone(),
            Way::Database => Vec::new(),
        }
    }
}

impl Spot {
    /// What is in it, by name, if these are the snapshots, oldest first.
    pub fn children(&self, known: &[Arc<Known>]) -> BTreeMap<String, What> {
        match self {
            Spot::Top => top(known),
            Spot::Snapshots => {
                known.iter().map(|known| (known.folder.clone(), What::Root(known.clone()))).collect()
            }
            Spot::By(way) => {
                let keys = known.iter().flat_map(|known| way.keys(known));
                keys.map(|key| (file_name(&key), What::Spot(Spot::Of(*way, key.into())))).collect()
            }
            Spot::Of(way, key) => pointers(*way, key, known),
        }
    }
}

fn top(known: &[Arc<Known>]) -> BTreeMap<String, What> {
    let mut children: BTreeMap<_, _> =
        Way::ALL.iter().map(|way| (way.folder().to_owned(), What::Spot(Spot::By(*way)))).collect();
    children.insert(SNAPSHOTS.to_owned(), What::Spot(Spot::Snapshots));
    if let Some(newest) = known.last() {
        children.insert(LATEST.to_owned(), What::Root(newest.clone()));
    }
    children
}

fn pointers(way: Way, key: &str, known: &[Arc<Known>]) -> BTreeMap<String, What> {
    let inside = match way {
        Way::Database => format!("/{}", database_node(key)),
        Way::Host | Way::Kind | Way::Tag => String::new(),
    };
    let mut children = BTreeMap::new();
    for known in known.iter().filter(|known| way.keys(known).iter().any(|k| k == key)) {
        let target: Arc<str> = format!("../../{SNAPSHOTS}/{}{inside}", known.folder).into();
        // Oldest first: the newest stays.
        children.insert(LATEST.to_owned(), What::Link(target.clone()));
        children.insert(known.folder.clone(), What::Link(target));
    }
    children
}

/// `text` as the name of a file: what no name may have is written as `%` and two digits, and a long one is
/// cut, its hash in place of the rest.
fn file_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '/' | '%' => name.push_str(&format!("%{:02x}", u32::from(c))),
            c if c.is_ascii_control() => name.push_str(&format!("%{:02x}", u32::from(c))),
            c => name.push(c),
        }
    }
    if name.is_empty() || name.chars().all(|c| c == '.') {
        name = name.replace('.', "%2e") + if name.is_empty() { "%" } else { "" };
    }
    if name.len() > NAME_MAX {
        let hash = blake3::hash(text.as_bytes()).to_hex();
        let end = (0..=NAME_MAX - 17).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        name = format!("{}%{}", &name[..end], &hash[..16]);
    }
    name
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::file_name;

    #[test]
    fn whatever_a_tag_is_its_folder_has_a_name() {
        let cases = [
            ("daily", "daily"),
            ("a/b", "a%2fb"),
            ("50%", "50%25"),
            ("a\n\0", "a%0a%00"),
            (".", "%2e"),
            ("..", "%2e%2e"),
            ("", "%"),
            ("...", "%2e%2e%2e"),
            (".hidden", ".hidden"),
        ];
        for (text, name) in cases {
            assert_eq!(file_name(text), name);
        }
        let (long, other) = ("ü".repeat(300), "ü".repeat(301));
        assert!(file_name(&long).len() <= 255 && file_name(&long) != file_name(&other));
        assert!(file_name(&"/".repeat(200)).len() <= 255);
    }
}
