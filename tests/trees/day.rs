//! What happens to a tree in a day, and what a comparison of before and after must say of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

use crate::look::{Look, Seen};
use crate::maker::{set_mode, set_mtime, set_xattr};

/// A file that has other bytes after the day, and the same size and time as before.
pub const EDITED: &str = "edited";

/// Lets a day pass.
pub fn pass(top: &Path) {
    let at = |name: &str| top.join(name);
    let was = at(EDITED).symlink_metadata().unwrap();
    fs::File::options().write(true).open(at(EDITED)).unwrap().write_all_at(b"EDITED", 100).unwrap();
    set_mtime(&at(EDITED), was.mtime(), was.mtime_nsec());
    fs::rename(at("moved"), at("place/moved elsewhere")).unwrap();
    fs::remove_file(at("to a link")).unwrap();
    symlink("/etc/passwd", at("to a link")).unwrap();
    fs::remove_file(at("to a folder")).unwrap();
    fs::create_dir(at("to a folder")).unwrap();
    fs::write(at("to a folder/below"), "what was a file is a folder").unwrap();
    fs::remove_dir_all(at("flips")).unwrap();
    symlink("/etc", at("flips")).unwrap();
    fs::remove_file(at("link to a folder")).unwrap();
    fs::write(at("link to a folder"), "a file now").unwrap();
    set_mode(&at("private"), 0o600);
    set_xattr(&at("noted"), "user.note", b"other");
    fs::hard_link(at("linked anew"), at("names/new name")).unwrap();
    fs::File::options().write(true).open(at("cut")).unwrap().set_len(1234).unwrap();
    fs::remove_file(at("gone")).unwrap();
    fs::File::options().append(true).open(at("longer")).unwrap().write_all(b"and more").unwrap();
    fs::remove_file(at("names/page again")).unwrap();
    fs::remove_dir(at("empty folder/and another")).unwrap();
    fs::write(at("appeared"), "this was not there").unwrap();
}

/// The changes that lead from one look to the other, by path, in the words of `diff`.
pub fn changes(before: &Look, after: &Look) -> BTreeMap<Vec<u8>, &'static str> {
    let mut changes = BTreeMap::new();
    for (path, was) in before {
        match after.get(path) {
            None => drop(changes.insert(path.clone(), "removed")),
            Some(now) => drop(change(was, now).map(|change| changes.insert(path.clone(), change))),
        }
    }
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        changes.insert(path.clone(), "added");
    }
    // The one that is told as such.
    assert_eq!(changes.remove(&b"moved"[..]), Some("removed"));
    assert_eq!(changes.insert(b"place/moved elsewhere".to_vec(), "renamed"), Some("added"));
    changes
}

fn change(was: &Seen, now: &Seen) -> Option<&'static str> {
    let group = |seen: &Seen| (seen.names > 1).then_some(seen.inode);
    if was.kind != now.kind {
        return Some("type");
    }
    if (was.size, &was.content, &was.target) != (now.size, &now.content, &now.target) {
        return Some("content");
    }
    let meta = |seen: &Seen| (seen.mode, seen.uid, seen.gid, seen.mtime, seen.device, group(seen));
    (meta(was) != meta(now) || was.xattrs != now.xattrs).then_some("metadata")
}

/// How many entries but folders need not be looked into again.
pub fn unchanged(before: &Look, after: &Look) -> u64 {
    let same = |path: &Vec<u8>, now: &Seen| {
        before.get(path).is_some_and(|was| {
            (was.kind, was.size, was.mode, was.mtime, was.ctime, was.inode)
                == (now.kind, now.size, now.mode, now.mtime, now.ctime, now.inode)
        })
    };
    after.iter().filter(|(path, now)| !now.kind.is_dir() && same(path, now)).count() as u64
}
