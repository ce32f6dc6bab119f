//! Metadata of every kind of entry, compared with what the system says of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::IFlags;

use super::{
    REPLACING, acl, capability, done, file_node, get_xattr, is_root, meta, mode, node, symlink, target,
    whats, xattr,
};
use crate::base::clock::Timestamp;
use crate::files::write::{Difference, Folder, Made, Match, Options, Target, What};
use crate::format::node::{FileMeta, Node, NodeType};

/// Makes an empty file, and gives the problems of it.
fn file(folder: &Folder, name: &str, meta: &FileMeta) -> Vec<What> {
    whats(&done(folder.file(name.as_bytes()).unwrap().finish(0, meta).unwrap()))
}

fn flags(path: &Path) -> IFlags {
    rustix::fs::ioctl_getflags(fs::File::open(path).unwrap()).unwrap()
}

#[test]
fn every_kind_gets_owner_mode_and_times() {
    if !is_root() {
        return;
    }
    let (_temp, path, target) = target(REPLACING);
    let given =
        |mode| FileMeta { uid: Some(1234), gid: Some(2345), atime: Some(Timestamp(THEN_READ)), ..meta(mode) };
    const THEN_READ: i64 = -3;
    let device = rustix::fs::makedev(1, 3);
    let special = |kind, mode| {
        let device = matches!(kind, NodeType::CharDevice | NodeType::BlockDevice).then_some(device);
        node(kind, FileMeta { device, ..given(mode) })
    };
    let nodes = [
        ("fifo", special(NodeType::Fifo, 0o620)),
        ("socket", special(NodeType::Socket, 0o777)),
        ("char", special(NodeType::CharDevice, 0o666)),
        ("block", special(NodeType::BlockDevice, 0o4600)),
        (
            "link",
            Node { meta: FileMeta { link_target: Some(vec![b'x'; 4095]), ..given(0o777) }, ..symlink(b"") },
        ),
        ("file", file_node(0, given(0o6755))),
        ("folder", node(NodeType::Directory, given(0o7777))),
    ];
    for (name, node) in &nodes {
        let root = target.root();
        let problems = match node.kind {
            NodeType::File => file(root, name, &node.meta),
            NodeType::Directory => {
                let folder = root.folder(name.as_bytes()).unwrap();
                file(&folder, "inside", &meta(0o600));
                assert_eq!(mode(&path.join(name)), 0o700, "private until it is finished");
                whats(&folder.finish(&node.meta))
            }
            _ => whats(&done(root.entry(name.as_bytes(), node).unwrap())),
        };
        assert_eq!(problems, [], "{name}");
    }
    for (name, node) in &nodes {
        let stat = fs::symlink_metadata(path.join(name)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (1234, 2345), "{name}");
        assert_eq!(stat.mode() & 0o7777, node.meta.mode.unwrap(), "{name}");
        let at = |seconds: i64, nanos: i64| Some(Timestamp(seconds * 1_000_000_000 + nanos));
        assert_eq!(at(stat.mtime(), stat.mtime_nsec()), node.meta.mtime, "{name}");
        assert_eq!(at(stat.atime(), stat.atime_nsec()), node.meta.atime, "{name}");
        if node.meta.device.is_some() {
            assert_eq!(stat.rdev(), device, "{name}");
        }
        let found = target.root().matches(name.as_bytes(), node).unwrap();
        assert!(matches!(&found, Match::Same { metadata, .. } if metadata.is_empty()), "{name}: {found:?}");
    }
    assert_eq!(fs::read_link(path.join("link")).unwrap().as_os_str().len(), 4095);
}

#[test]
fn times_reach_beyond_the_usual() {
    let (_temp, path, target) = target(REPLACING);
    for nanos in [-1, -150_000_000_000_000_001, 0, 4_102_444_800_123_456_789, 1] {
        let wanted = FileMeta { mtime: Some(Timestamp(nanos)), ..meta(0o600) };
        assert_eq!(file(target.root(), "x", &wanted), []);
        let stat = fs::metadata(path.join("x")).unwrap();
        assert_eq!(stat.mtime() * 1_000_000_000 + stat.mtime_nsec(), nanos);
        let found = target.root().matches(b"x", &file_node(0, wanted)).unwrap();
        assert!(matches!(&found, Match::Same { metadata, .. } if metadata.is_empty()), "{nanos}: {found:?}");
    }
}

#[test]
fn attributes_acls_and_capabilities_come_back() {
    if !is_root() {
        return;
    }
    let (_temp, path, target) = target(REPLACING);
    let wanted = FileMeta {
        uid: Some(1234),
        xattrs: vec![
            xattr("security.capability", &capability()),
            xattr("system.posix_acl_access", &acl(4321)),
            xattr("trusted.t", b"\0\xff"),
            xattr("user.empty", b""),
            xattr("user.large", &[7; 2000]),
        ],
        ..meta(0o640)
    };
    assert_eq!(file(target.root(), "file", &wanted), []);
    let mut folder = wanted.clone();
    folder.xattrs[0] = xattr("system.posix_acl_default", &acl(1111));
    folder.xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    let made = target.root().folder(b"folder").unwrap();
    assert_eq!(made.finish(&folder), []);
    let mut link = symlink(b"nowhere");
    link.meta.xattrs = vec![xattr("trusted.link", b"on the link itself")];
    assert_eq!(done(target.root().entry(b"link", &link).unwrap()), []);
    for (name, meta) in [("file", &wanted), ("folder", &folder), ("link", &link.meta)] {
        for xattr in &meta.xattrs {
            let attribute = str::from_utf8(&xattr.name).unwrap();
            let there = get_xattr(&path.join(name), attribute);
            assert_eq!(there.as_ref(), Some(&xattr.value), "{name}: {attribute}");
        }
    }
    let found = target.root().matches(b"file", &file_node(0, wanted)).unwrap();
    assert!(matches!(&found, Match::Same { metadata, .. } if metadata.is_empty()), "{found:?}");
    let found = target.root().matches(b"link", &link).unwrap();
    assert!(matches!(&found, Match::Same { metadata, .. } if metadata.is_empty()), "{found:?}");
}

#[test]
fn what_the_snapshot_does_not_have_goes() {
    if !is_root() {
        return;
    }
    let (_temp, path, target) = target(REPLACING);
    let before = FileMeta {
        xattrs: vec![
            xattr("security.capability", &capability()),
            xattr("system.posix_acl_access", &acl(4321)),
            xattr("trusted.machine", b"stays"),
            xattr("user.kept", b"old"),
            xattr("user.old", b"x"),
        ],
        ..meta(0o644)
    };
    assert_eq!(file(target.root(), "x", &before), []);
    let after = file_node(0, FileMeta { xattrs: vec![xattr("user.kept", b"new")], ..meta(0o604) });
    let Match::Same { identity, metadata, .. } = target.root().matches(b"x", &after).unwrap() else {
        panic!("its content is the same");
    };
    let [kept, old] = [&b"user.kept"[..], b"user.old"].map(|name| What::Xattr(name.to_vec()));
    assert_eq!(metadata, [What::Mode, What::Acl, What::Capability, kept, old]);
    assert_eq!(target.root().repair(b"x", &after, identity).unwrap(), []);
    let at = path.join("x");
    for gone in ["security.capability", "system.posix_acl_access", "user.old"] {
        assert_eq!(get_xattr(&at, gone), None, "{gone}");
    }
    assert_eq!(get_xattr(&at, "user.kept").unwrap(), b"new");
    assert_eq!(get_xattr(&at, "trusted.machine").unwrap(), b"stays");
    assert_eq!(mode(&at), 0o604);

    // Nothing differs any more, and putting it on again does not even move the time of change.
    let ctime = |stat: fs::Metadata| (stat.ctime(), stat.ctime_nsec());
    let changed = ctime(fs::metadata(&at).unwrap());
    let found = target.root().matches(b"x", &after).unwrap();
    assert!(matches!(&found, Match::Same { metadata, .. } if metadata.is_empty()), "{found:?}");
    assert_eq!(target.root().repair(b"x", &after, identity).unwrap(), []);
    assert_eq!(ctime(fs::metadata(&at).unwrap()), changed);
}

#[test]
fn a_folder_gives_nothing_on_that_the_snapshot_does_not_have() {
    let (_temp, path, _) = target(REPLACING);
    rustix::fs::setxattr(&path, "system.posix_acl_default", &acl(4321), rustix::fs::XattrFlags::empty())
        .unwrap();
    let target = Target::open(&path, REPLACING).unwrap();
    assert_eq!(file(target.root(), "file", &meta(0o640)), []);
    let folder = target.root().folder(b"folder").unwrap();
    assert_eq!(file(&folder, "file", &meta(0o640)), []);
    assert_eq!(done(target.root().entry(b"fifo", &node(NodeType::Fifo, meta(0o640))).unwrap()), []);
    assert_eq!(folder.finish(&meta(0o750)), []);
    for name in ["file", "folder", "folder/file", "fifo"] {
        for acl in ["system.posix_acl_access", "system.posix_acl_default"] {
            assert_eq!(get_xattr(&path.join(name), acl), None, "{name}");
        }
    }
    assert_eq!(mode(&path.join("folder")), 0o750);
    assert_eq!(mode(&path.join("folder/file")), 0o640);
}

#[test]
fn nothing_is_setuid_for_an_owner_that_is_not_known() {
    let (_temp, path, target) = target(REPLACING);
    for uid in [None, Some(u32::MAX)] {
        let wanted = FileMeta { uid, ..meta(0o4755) };
        assert_eq!(file(target.root(), "x", &wanted), [What::SetId]);
        assert_eq!(mode(&path.join("x")), 0o755);
    }
    let wanted =
        FileMeta { gid: None, xattrs: vec![xattr("security.capability", &capability())], ..meta(0o6755) };
    assert_eq!(file(target.root(), "x", &wanted), [What::SetId, What::Capability]);
    assert_eq!(mode(&path.join("x")), 0o4755);
    assert_eq!(get_xattr(&path.join("x"), "security.capability"), None);
}

#[test]
fn setuid_goes_when_the_owner_changes_and_no_mode_is_known() {
    if !is_root() {
        return;
    }
    let (_temp, path, target) = target(REPLACING);
    let folder = target.root().folder(b"x").unwrap();
    assert_eq!(folder.finish(&meta(0o6755)), []);
    let found = target.root().folder(b"x").unwrap();
    assert_eq!(found.finish(&FileMeta { uid: Some(1234), ..FileMeta::default() }), []);
    assert_eq!(mode(&path.join("x")), 0o755);
}

#[test]
fn owners_go_by_name_where_it_exists() {
    if !is_root() {
        return;
    }
    let (_temp, path, numbers) = target(REPLACING);
    let names = Target::open(&path, Options { numeric_ids: false, ..REPLACING }).unwrap();
    let wanted = FileMeta { user: Some("root".to_owned()), uid: Some(77), ..meta(0o4755) };
    assert_eq!(file(names.root(), "x", &wanted), []);
    assert_eq!((fs::metadata(path.join("x")).unwrap().uid(), mode(&path.join("x"))), (0, 0o4755));
    assert_eq!(file(numbers.root(), "x", &wanted), []);
    assert_eq!((fs::metadata(path.join("x")).unwrap().uid(), mode(&path.join("x"))), (77, 0o4755));
}

#[test]
fn flags_come_back_and_those_that_forbid_changes_when_it_is_sealed() {
    if !is_root() {
        return;
    }
    let (_temp, path, target) = target(REPLACING);
    let bits = |flags: IFlags| Some(u64::from(flags.bits()));
    let probe = fs::File::create(path.join("probe")).unwrap();
    if rustix::fs::ioctl_setflags(&probe, IFlags::NODUMP).is_err() {
        return; // A file system without flags.
    }
    let all = IFlags::NODUMP | IFlags::NOATIME | IFlags::IMMUTABLE | IFlags::APPEND;
    let wanted = FileMeta { inode_flags: bits(all), ..meta(0o600) };
    assert_eq!(file(target.root(), "x", &wanted), []);
    let free = |flags: IFlags| flags & (all | IFlags::SYNC);
    assert_eq!(free(flags(&path.join("x"))), IFlags::NODUMP | IFlags::NOATIME);
    let found = target.root().matches(b"x", &file_node(0, wanted)).unwrap();
    assert!(matches!(&found, Match::Same { metadata, .. } if *metadata == [What::Flags]), "{found:?}");
    // Others are taken away again.
    let less = file_node(0, FileMeta { inode_flags: bits(IFlags::NODUMP), ..meta(0o600) });
    let Match::Same { identity, metadata, .. } = target.root().matches(b"x", &less).unwrap() else {
        panic!("its content is the same");
    };
    assert_eq!(metadata, [What::Flags]);
    assert_eq!(target.root().repair(b"x", &less, identity).unwrap(), []);
    assert_eq!(free(flags(&path.join("x"))), IFlags::NODUMP);

    let folder = target.root().folder(b"sealed").unwrap();
    let wanted = FileMeta { inode_flags: bits(IFlags::IMMUTABLE), ..meta(0o700) };
    assert_eq!([file(&folder, "y", &wanted), whats(&folder.finish(&wanted))].concat(), []);
    // Until it is sealed, all may be done with it.
    let (inner, outer) = (file_node(0, wanted.clone()), node(NodeType::Directory, wanted));
    let inner = folder.seal(b"y", &inner).unwrap();
    let problems: Vec<_> = inner.into_iter().chain(target.root().seal(b"sealed", &outer).unwrap()).collect();
    let (y, sealed) = (path.join("sealed/y"), path.join("sealed"));
    // Not everywhere may root do that.
    let may = rustix::fs::ioctl_setflags(&probe, IFlags::APPEND).is_ok();
    let seen = [&y, &sealed].map(|path| flags(path).contains(IFlags::IMMUTABLE));
    for path in [&sealed, &y] {
        let open = fs::File::open(path).unwrap();
        rustix::fs::ioctl_setflags(&open, flags(path) - IFlags::IMMUTABLE).unwrap();
    }
    let _ = rustix::fs::ioctl_setflags(&probe, IFlags::empty());
    assert_eq!(problems.is_empty(), may, "{problems:?}");
    assert_eq!(seen, [may; 2]);
}

#[test]
fn comparing_says_what_differs() {
    let (_temp, path, target) = target(REPLACING);
    let root = target.root();
    let was = file_node(3, meta(0o644));
    assert_eq!(root.matches(b"x", &was).unwrap(), Match::Absent);
    let new = root.file(b"x").unwrap();
    new.write_at(b"abc", 0).unwrap();
    let Made::Done { identity, .. } = new.finish(3, &was.meta).unwrap() else { panic!("refused") };
    let same = |metadata: Vec<What>| Match::Same { identity, linked: false, untouched: false, metadata };
    assert_eq!(root.matches(b"x", &was).unwrap(), same(vec![]));
    let different = |found, why| Match::Different { found, why };
    let file = NodeType::File;
    assert_eq!(root.matches(b"x", &file_node(4, meta(0o644))).unwrap(), different(file, Difference::Size));
    let later = |nanos| FileMeta { mtime: nanos, ..meta(0o644) };
    for time in [Some(Timestamp(super::THEN + 1)), None] {
        let found = root.matches(b"x", &file_node(3, later(time))).unwrap();
        assert_eq!(found, different(file, Difference::Mtime));
    }
    assert_eq!(root.matches(b"x", &symlink(b"y")).unwrap(), different(file, Difference::Kind));
    let folder = node(NodeType::Directory, meta(0o755));
    assert_eq!(root.matches(b"x", &folder).unwrap(), different(file, Difference::Kind));
    let owned = FileMeta { uid: Some(77), gid: Some(88), atime: Some(Timestamp(5)), ..meta(0o600) };
    let found = root.matches(b"x", &file_node(3, owned)).unwrap();
    assert_eq!(found, same(vec![What::Owner, What::Group, What::Mode, What::Times]));

    done(root.entry(b"link", &symlink(b"here")).unwrap());
    let link = |to: &[u8]| root.matches(b"link", &symlink(to)).unwrap();
    assert!(matches!(link(b"here"), Match::Same { metadata, .. } if metadata.is_empty()));
    assert_eq!(link(b"there"), different(NodeType::Symlink, Difference::LinkTarget));

    // Something else took the name between comparing and mending.
    fs::remove_file(path.join("x")).unwrap();
    fs::create_dir(path.join("x")).unwrap();
    root.repair(b"x", &was, identity).unwrap_err();
    root.repair(b"gone", &was, identity).unwrap_err();
}
