//! Flags that forbid changes come back last: after other names of such a file, and after everything in
//! such a folder.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use kamba_vault::format::node::FileMeta;
use kamba_vault::ops::restore_files::{FilesRequest, Severity};
use rustix::fs::IFlags;

use crate::support::Vault;
use crate::tree::{Heard, Item, Tree, file, meta, restore, to, try_restore};

fn flags(path: &Path) -> IFlags {
    fs::File::open(path).map_or(IFlags::empty(), |file| rustix::fs::ioctl_getflags(&file).unwrap())
        & (IFlags::IMMUTABLE | IFlags::APPEND)
}

fn set_flags(path: &Path, flags: IFlags) -> bool {
    fs::File::open(path).is_ok_and(|file| rustix::fs::ioctl_setflags(&file, flags).is_ok())
}

/// A folder that is opened up again, to be removed.
struct Target(tempfile::TempDir);

const SEALED: [(&str, IFlags); 5] = [
    ("srv/log", IFlags::APPEND),
    ("srv/log/app.log", IFlags::APPEND),
    ("srv/one", IFlags::IMMUTABLE),
    ("srv/two", IFlags::IMMUTABLE),
    ("srv", IFlags::IMMUTABLE),
];

impl Target {
    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        for (name, _) in SEALED {
            set_flags(&self.at(name), IFlags::empty());
        }
    }
}

fn sealed(flag: IFlags, meta: FileMeta) -> FileMeta {
    FileMeta { inode_flags: Some(flag.bits().into()), ..meta }
}

#[test]
fn flags_that_forbid_changes_come_last_or_are_told() {
    let target = Target(tempfile::tempdir().unwrap());
    // Not everywhere may root do that.
    fs::write(target.at("probe"), "").unwrap();
    let may =
        set_flags(&target.at("probe"), IFlags::IMMUTABLE) && set_flags(&target.at("probe"), IFlags::empty());
    let mut tree = Tree::default();
    let mut log = Tree::default();
    log.put("app.log", Item::File(sealed(IFlags::APPEND, meta(0o640)), b"one line".to_vec()));
    log.put("free", file("free"));
    let mut srv = Tree::default();
    let pair = FileMeta { link_group: Some(b"pair".to_vec()), ..sealed(IFlags::IMMUTABLE, meta(0o444)) };
    srv.put("log", Item::Folder(sealed(IFlags::APPEND, meta(0o755)), log));
    srv.put("one", Item::File(pair.clone(), b"one".to_vec()));
    srv.put("two", Item::File(pair, b"one".to_vec()));
    tree.put("srv", Item::Folder(sealed(IFlags::IMMUTABLE, meta(0o755)), srv));
    let vault = Vault::new();
    let id = tree.commit(&vault.repo, "/srv");

    let report = try_restore(&vault.repo, &id, &to(target.0.path()), &Heard::default()).unwrap();
    assert_eq!(report.created, 6);
    let stat = |name: &str| target.at(name).metadata().unwrap();
    assert_eq!((stat("srv/one").ino(), stat("srv/one").nlink()), (stat("srv/two").ino(), 2));
    assert_eq!(fs::read(target.at("srv/log/app.log")).unwrap(), b"one line");
    if !may {
        let severity =
            if rustix::process::geteuid().is_root() { Severity::Lacking } else { Severity::NotRoot };
        // Two names of one file are told twice.
        assert_eq!(report.troubles, [((severity, "inode flags".to_owned()), 5)].into());
        return;
    }
    assert!(report.troubles.is_empty(), "{report:#?}");
    let found = SEALED.map(|(name, _)| (name, flags(&target.at(name))));
    assert_eq!(found, SEALED);
    assert_eq!(flags(&target.at("srv/log/free")), IFlags::empty());

    // Once more there is nothing to do; what lost its flag gets it again, and nothing else.
    let again = restore(&vault.repo, &id, &FilesRequest { verify: true, ..to(target.0.path()) });
    assert_eq!((again.unchanged, again.verified), (6, 4));
    assert!(set_flags(&target.at("srv/one"), IFlags::empty()));
    let mended =
        restore(&vault.repo, &id, &FilesRequest { path: Some("/srv/one".into()), ..to(&target.at("srv")) });
    assert_eq!((mended.repaired, flags(&target.at("srv/two"))), (1, IFlags::IMMUTABLE));
}
