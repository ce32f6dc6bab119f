//! Tests of descriptions: everything that Linux keeps, read back as raw bytes.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use rustix::fs::{CWD, FileType, IFlags, Mode, OFlags, XattrFlags};

use super::*;
use crate::base::clock::Timestamp;
use crate::files::ErrorKind;
use crate::files::stat::device_number;
use crate::files::testing::{Tree, as_nobody, is_root, set_mtime};
use crate::format::node::Node;

/// The entry `name`, opened if it can be.
fn describe(tree: &Tree, name: &str) -> Described {
    let (folder, name, describer) = (tree.folder(), name.as_bytes(), Describer::new(false));
    let stat = folder.stat(name).unwrap();
    match stat.kind {
        NodeType::Directory => describer.folder(&folder.folder(name).unwrap(), &stat),
        NodeType::File => describer.file(&folder.open_file(name).unwrap()),
        _ => describer.entry(&folder, name, &stat).unwrap(),
    }
}

fn set_xattr(tree: &Tree, file: &str, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(tree.at(file), name, value, XattrFlags::empty()).unwrap();
}

/// Attributes but those of a security module, which are not the test's.
fn xattrs(described: &Described) -> Vec<(&str, &[u8])> {
    let pairs = described.meta.xattrs.iter().map(|x| (std::str::from_utf8(&x.name).unwrap(), &x.value[..]));
    pairs.filter(|(name, _)| *name != "security.selinux").collect()
}

/// An ACL as the kernel codes it: version 2, then tag, permissions and id of each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

#[test]
fn a_file_is_described_in_full() {
    let tree = Tree::new();
    tree.file("f", b"abc");
    fs::set_permissions(tree.at("f"), fs::Permissions::from_mode(0o6751)).unwrap();
    set_mtime(&tree.at("f"), Timestamp(-5));
    let stat = tree.folder().stat(b"f").unwrap();
    let Described { meta, problems } = describe(&tree, "f");
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!((meta.mode, meta.uid, meta.gid), (Some(0o6751), Some(stat.uid), Some(stat.gid)));
    assert_eq!((meta.mtime, meta.atime, meta.btime), (Some(Timestamp(-5)), None, stat.btime));
    assert_eq!((meta.link_target, meta.device, meta.link_group), (None, None, None));
    if is_root() {
        assert_eq!((meta.user.as_deref(), meta.group.as_deref()), (Some("root"), Some("root")));
    }
    let with = Describer::new(true).entry(&tree.folder(), b"f", &stat).unwrap();
    assert_eq!(with.meta.atime, Some(stat.atime));
}

#[test]
fn owners_without_a_name_have_a_number() {
    let describer = Describer::new(false);
    let asked = std::cell::Cell::new(0);
    let ask = |_| {
        asked.set(asked.get() + 1);
        None
    };
    assert_eq!(cached(&describer.users, 4_000_000_000, ask), None);
    assert_eq!(cached(&describer.users, 4_000_000_000, ask), None);
    assert_eq!(asked.get(), 1, "what has no name is remembered too");
    assert_eq!(cached(&describer.users, 7, |_| Some("a\u{fffd}".to_owned())), None);
    assert_eq!(user_name(0).as_deref(), Some("root"));
    assert_eq!(user_name(4_000_000_000), None);
    assert_eq!(group_name(4_000_000_000), None);
}

#[test]
fn links_and_special_files_have_what_is_theirs() {
    let tree = Tree::new();
    tree.link("link", "no/such\nplace");
    tree.fifo("fifo");
    tree.socket("socket");
    let link = describe(&tree, "link");
    assert_eq!(link.meta.link_target.as_deref(), Some(&b"no/such\nplace"[..]));
    for name in ["link", "fifo", "socket"] {
        let Described { meta, problems } = describe(&tree, name);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((meta.device, meta.inode_flags), (None, None));
        assert_eq!(meta.link_target.is_some(), name == "link");
    }
    let dev = Folder::open("/dev".as_ref(), Default::default()).unwrap();
    let null = Describer::new(false).entry(&dev, b"null", &dev.stat(b"null").unwrap()).unwrap();
    assert_eq!(null.meta.device, Some(device_number(1, 3)));
    if is_root() {
        let device = device_number(259, 70_000);
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, tree.at("disk"), FileType::BlockDevice, mode, device).unwrap();
        assert_eq!(describe(&tree, "disk").meta.device, Some(device));
    }
}

#[test]
fn a_link_replaced_before_it_is_read_is_an_error() {
    let tree = Tree::new();
    tree.link("x", "target");
    let (folder, describer) = (tree.folder(), Describer::new(false));
    let stat = folder.stat(b"x").unwrap();
    fs::remove_file(tree.at("x")).unwrap();
    assert_eq!(describer.entry(&folder, b"x", &stat).unwrap_err().kind, ErrorKind::Vanished);
    tree.file("x", b"");
    assert_eq!(describer.entry(&folder, b"x", &stat).unwrap_err().kind, ErrorKind::OtherType);
}

#[test]
fn attributes_are_kept_as_they_are() {
    let tree = Tree::new();
    tree.file("f", b"");
    fs::create_dir(tree.at("d")).unwrap();
    let long = vec![9; 1_500];
    let values: [(&str, &[u8]); 4] =
        [("user.b", b"\0\xff"), ("user.a", b""), ("user.long", &long), ("user.\u{e4}", b"x")];
    for name in ["f", "d"] {
        values.iter().for_each(|(key, value)| set_xattr(&tree, name, key, value));
        let described = describe(&tree, name);
        assert!(described.problems.is_empty(), "{:?}", described.problems);
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        assert_eq!(xattrs(&described), sorted);
        let node = Node { meta: described.meta, ..Node::new("x", NodeType::Directory) };
        node.check().unwrap();
    }
    // Without opening it the same is found.
    let stat = tree.folder().stat(b"f").unwrap();
    let unopened = Describer::new(false).entry(&tree.folder(), b"f", &stat).unwrap();
    assert_eq!(unopened.meta.xattrs, describe(&tree, "f").meta.xattrs);
}

#[test]
fn acls_are_kept_as_raw_bytes() {
    const NONE: u32 = u32::MAX;
    let tree = Tree::new();
    tree.file("f", b"");
    fs::create_dir(tree.at("d")).unwrap();
    let entries = [(0x01, 6, NONE), (0x02, 4, 1234), (0x04, 4, NONE), (0x10, 6, NONE), (0x20, 0, NONE)];
    let acl = acl(&entries);
    set_xattr(&tree, "f", "system.posix_acl_access", &acl);
    set_xattr(&tree, "d", "system.posix_acl_default", &acl);
    assert_eq!(xattrs(&describe(&tree, "f")), [("system.posix_acl_access", &acl[..])]);
    assert_eq!(xattrs(&describe(&tree, "d")), [("system.posix_acl_default", &acl[..])]);
    assert_eq!(describe(&tree, "f").meta.mode, Some(0o660), "the group's bits are the mask");
}

#[test]
fn root_reads_all_namespaces() {
    if !is_root() {
        return;
    }
    let tree = Tree::new();
    tree.file("f", b"");
    tree.link("l", "f");
    tree.fifo("p");
    // cap_net_bind_service, permitted and effective.
    let mut capability = 0x0200_0001_u32.to_le_bytes().to_vec();
    capability.extend([1024_u32, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes));
    set_xattr(&tree, "f", "security.capability", &capability);
    for name in ["f", "l", "p"] {
        set_xattr(&tree, name, "trusted.kamba", b"t");
    }
    let (capability, trusted) = (("security.capability", &capability[..]), ("trusted.kamba", &b"t"[..]));
    assert_eq!(xattrs(&describe(&tree, "f")), [capability, trusted]);
    assert_eq!(xattrs(&describe(&tree, "l")), [trusted], "the link's own");
    assert_eq!(xattrs(&describe(&tree, "p")), [trusted]);
    as_nobody(|| assert_eq!(xattrs(&describe(&tree, "f")), [capability]));
}

#[test]
fn attributes_that_may_not_be_read_are_problems() {
    let tree = Tree::new();
    tree.file("f", b"");
    set_xattr(&tree, "f", "user.a", b"x");
    if is_root() {
        chown(tree.at("f"), Some(65534), Some(65534)).unwrap();
    }
    fs::set_permissions(tree.at("f"), fs::Permissions::from_mode(0o000)).unwrap();
    as_nobody(|| {
        let folder = tree.folder();
        let described = Describer::new(false).entry(&folder, b"f", &folder.stat(b"f").unwrap()).unwrap();
        assert_eq!((described.meta.mode, xattrs(&described)), (Some(0), vec![]));
        let said: Vec<String> = described.problems.iter().map(ToString::to_string).collect();
        let path = tree.at("f");
        let expected = format!(
            "cannot read the extended attribute user.a of {}: Permission denied (os error 13)",
            path.display()
        );
        assert_eq!(said, [expected]);
        assert_eq!(described.problems[0].kind, ErrorKind::Denied);
    });
}

#[test]
fn paths_of_any_length_have_attributes() {
    let tree = Tree::new();
    let mut folder = tree.folder();
    for _ in 0..50 {
        let name = [b'n'; 100];
        rustix::fs::mkdirat(&folder, &name[..], Mode::from_raw_mode(0o755)).unwrap();
        folder = folder.folder(&name).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&folder, "f", flags, Mode::from_raw_mode(0o644)).unwrap();
    rustix::fs::fsetxattr(&file, "user.a", b"x", XattrFlags::empty()).unwrap();
    let described = Describer::new(false).entry(&folder, b"f", &folder.stat(b"f").unwrap()).unwrap();
    assert!(described.problems.is_empty(), "{:?}", described.problems);
    assert_eq!(xattrs(&described), [("user.a", &b"x"[..])]);
}

#[test]
fn flags_that_a_user_sets_are_kept() {
    let tree = Tree::new();
    tree.file("f", b"");
    fs::create_dir(tree.at("d")).unwrap();
    for name in ["f", "d"] {
        assert_eq!(describe(&tree, name).meta.inode_flags, None, "extents and such are not the user's");
        let file = fs::File::open(tree.at(name)).unwrap();
        let set = rustix::fs::ioctl_getflags(&file)
            .and_then(|flags| rustix::fs::ioctl_setflags(&file, flags | IFlags::NODUMP));
        let flags = set.is_ok().then_some(u64::from(IFlags::NODUMP.bits()));
        assert_eq!(describe(&tree, name).meta.inode_flags, flags);
    }
}
