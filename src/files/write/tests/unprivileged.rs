//! What somebody who is not root gets: all that they may have, and a list of the rest. Rights belong
//! to threads on Linux, so each test does its work in one that has given them up.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::{Gid, Uid};

use super::{
    REPLACING, acl, capability, done, file_node, get_xattr, is_root, meta, mode, names, node, xattr,
};
use crate::files::write::{Made, Match, Target, What};
use crate::format::node::{FileMeta, NodeType};

const USER: u32 = 54321;

/// Does `work` as a user without rights, in a folder of their own that root has prepared. The
/// folder's parents are open to all.
fn as_user(prepare: impl FnOnce(&Path), work: impl FnOnce(PathBuf) + Send) {
    if !is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = temp.path().join("target");
    fs::create_dir(&path).unwrap();
    prepare(&path);
    chown(&path, Some(USER), Some(USER)).unwrap();
    thread::scope(|scope| {
        let working = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            assert!(fs::read("/etc/shadow").is_err(), "the rights are gone");
            work(path.clone());
        });
        working.join().unwrap();
    });
}

#[test]
fn an_owner_that_cannot_be_given_is_a_problem() {
    as_user(
        |_| (),
        |path| {
            let target = Target::open(&path, REPLACING).unwrap();
            let make = |meta: &FileMeta| {
                let problems = done(target.root().file(b"x").unwrap().finish(0, meta).unwrap());
                (problems.iter().map(|p| p.what.clone()).collect::<Vec<_>>(), mode(&path.join("x")))
            };
            assert_eq!(make(&meta(0o640)), (vec![], 0o640));
            assert_eq!(make(&meta(0o6755)), (vec![], 0o6755), "one's own file may be setuid");
            let others = FileMeta { uid: Some(0), gid: Some(0), ..meta(0o6755) };
            assert_eq!(make(&others), (vec![What::Owner, What::Group, What::SetId], 0o755));
            let group = FileMeta { gid: Some(0), ..meta(0o6755) };
            assert_eq!(make(&group), (vec![What::Group, What::SetId], 0o4755));
            let capable = FileMeta {
                uid: Some(0),
                xattrs: vec![xattr("security.capability", &capability())],
                ..meta(0o755)
            };
            assert_eq!(make(&capable), (vec![What::Owner, What::Capability], 0o755));
            let stat = fs::metadata(path.join("x")).unwrap();
            assert_eq!((stat.uid(), stat.mtime()), (USER, super::THEN / 1_000_000_000));
        },
    );
}

#[test]
fn attributes_come_before_a_mode_that_forbids_them() {
    as_user(
        |_| (),
        |path| {
            let target = Target::open(&path, REPLACING).unwrap();
            let wanted = FileMeta {
                xattrs: vec![
                    xattr("system.posix_acl_access", &acl(4321)),
                    xattr("trusted.no", b"x"),
                    xattr("user.yes", b"x"),
                ],
                ..meta(0o440)
            };
            let problems = done(target.root().file(b"x").unwrap().finish(0, &wanted).unwrap());
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].what, What::Xattr(b"trusted.no".to_vec()));
            assert_eq!(get_xattr(&path.join("x"), "user.yes").unwrap(), b"x");
            assert_eq!(get_xattr(&path.join("x"), "system.posix_acl_access").unwrap(), acl(4321));

            // The same on a file that is there and cannot be written, or even opened.
            let after = file_node(0, FileMeta { xattrs: vec![xattr("user.yes", b"other")], ..meta(0) });
            for _ in 0..2 {
                let Match::Same { identity, .. } = target.root().matches(b"x", &after).unwrap() else {
                    panic!("its content is the same");
                };
                assert_eq!(target.root().repair(b"x", &after, identity).unwrap(), []);
                assert_eq!(mode(&path.join("x")), 0);
            }
            rustix::fs::chmod(path.join("x"), 0o400.into()).unwrap();
            assert_eq!(get_xattr(&path.join("x"), "user.yes").unwrap(), b"other");
            assert_eq!(get_xattr(&path.join("x"), "system.posix_acl_access"), None);
        },
    );
}

#[test]
fn folders_of_ones_own_are_opened_up_and_closed_again() {
    let prepare = |path: &Path| {
        for (name, mode) in [("shut", 0o000), ("readonly", 0o555), ("kept", 0o500)] {
            fs::create_dir_all(path.join(name).join("inner")).unwrap();
            fs::write(path.join(name).join("inner/file"), "x").unwrap();
            chown(path.join(name).join("inner/file"), Some(USER), Some(USER)).unwrap();
            for folder in [path.join(name).join("inner"), path.join(name)] {
                chown(&folder, Some(USER), Some(USER)).unwrap();
                fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
        fs::create_dir(path.join("roots")).unwrap();
        fs::set_permissions(path.join("roots"), fs::Permissions::from_mode(0o700)).unwrap();
    };
    as_user(prepare, |path| {
        let target = Target::open(&path, REPLACING).unwrap();
        for (name, before) in [("shut", 0o000), ("readonly", 0o555)] {
            let folder = target.root().folder(name.as_bytes()).unwrap();
            super::put(folder.file(b"new").unwrap(), b"new");
            assert_eq!(mode(&path.join(name)), before | 0o700);
            assert_eq!(folder.finish(&FileMeta::default()), []);
            assert_eq!(mode(&path.join(name)), before);
            // Whatever lies in it can go.
            assert_eq!(target.root().remove(name.as_bytes()).unwrap(), 4);
        }
        let folder = target.root().folder(b"kept").unwrap();
        assert_eq!(folder.finish(&meta(0o511)), []);
        assert_eq!(mode(&path.join("kept")), 0o511);
        assert!(target.root().folder(b"roots").is_err());
        assert_eq!(names(&path), ["kept", "roots"]);
    });
}

#[test]
fn devices_are_refused_and_said() {
    as_user(
        |_| (),
        |path| {
            let target = Target::open(&path, REPLACING).unwrap();
            for kind in [NodeType::CharDevice, NodeType::BlockDevice] {
                let device = Some(rustix::fs::makedev(8, 0));
                let made =
                    target.root().entry(b"x", &node(kind, FileMeta { device, ..meta(0o666) })).unwrap();
                let Made::Refused(problem) = made else { panic!("{made:?}") };
                assert_eq!(problem.what, What::Entry(kind.to_u64()));
            }
            for kind in [NodeType::Fifo, NodeType::Socket] {
                assert_eq!(done(target.root().entry(b"x", &node(kind, meta(0o640))).unwrap()), []);
                assert_eq!(mode(&path.join("x")), 0o640);
            }
            assert_eq!(done(target.root().entry(b"link", &super::symlink(b"/etc/shadow")).unwrap()), []);
        },
    );
}
