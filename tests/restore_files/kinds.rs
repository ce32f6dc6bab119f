//! Every kind of entry comes back as it was.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use kamba_vault::base::clock::Timestamp;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{FileMeta, Node, NodeType};

use crate::support::{self, Vault, noise, rows};
use crate::tree::{
    Item, THEN, Tree, at, chunk, commit, file, linked, look, meta, restore, special, symlink, to, xattr,
};

fn get_xattr(path: &Path, name: &str) -> Vec<u8> {
    let mut value = vec![0; 70_000];
    let len = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
    value.truncate(len);
    value
}

#[test]
fn every_kind_of_entry_comes_back() {
    let root = rustix::process::geteuid().is_root();
    let odd = b"od\xffd \n name";
    let device = FileMeta { device: Some(rustix::fs::makedev(1, 3)), ..meta(0o620) };
    let early = FileMeta { mtime: Some(Timestamp(-1_000_000_007)), ..meta(0o4711) };
    let late = FileMeta { mtime: Some(Timestamp(4_500_000_000_000_000_001)), ..meta(0o600) };
    let tagged = FileMeta { xattrs: vec![xattr("user.a", b""), xattr("user.b", &[7; 3000])], ..meta(0o644) };
    let (big, small) = (noise(1, 5_000_000), rows(2, 700));
    let mut tree = Tree::default();
    tree.put("srv/empty", file(""))
        .put("srv/small", Item::File(early, small.clone()))
        .put("srv/big", Item::File(late, big.clone()))
        .put("srv/tagged", Item::File(tagged, b"tagged".to_vec()))
        .put([&b"srv/"[..], odd].concat(), file("odd"))
        .put("srv/dangling", symlink("no/where"))
        .put("srv/long", symlink(vec![b'x'; 4095]))
        .put("srv/fifo", special(NodeType::Fifo, meta(0o622)))
        .put("srv/socket", special(NodeType::Socket, meta(0o755)))
        .put("srv/closed", Item::Folder(meta(0o1500), Tree::default()))
        .put("srv/closed/inside", file("inside"))
        .put("srv/empty folder", Item::Folder(meta(0o2777), Tree::default()));
    if root {
        let mut owned = meta(0o2755);
        (owned.uid, owned.gid) = (Some(12_345), Some(54_321));
        tree.put("srv/null", special(NodeType::CharDevice, device))
            .put("srv/owned", Item::File(owned, vec![1]));
    }
    let Vault { repo, cache: _cache, .. } = Vault::new();
    let id = tree.commit(&repo, "/srv");
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("new/target");
    let report =
        restore(&repo, &id, &kamba_vault::ops::restore_files::FilesRequest { verify: true, ..to(&target) });
    let entries = if root { 15 } else { 13 };
    assert_eq!((report.created, report.unchanged), (entries, 0));
    assert_eq!(report.bytes, 5_000_000 + 700 + 6 + 3 + 6 + u64::from(root));

    let srv = target.join("srv");
    let stat = |name: &[u8]| at(&srv, name).symlink_metadata().unwrap();
    let mode = |name: &str| stat(name.as_bytes()).mode() & 0o7777;
    assert_eq!(fs::read(srv.join("small")).unwrap(), small);
    assert!(fs::read(srv.join("big")).unwrap() == big);
    assert_eq!(fs::read(srv.join("empty")).unwrap(), b"");
    assert_eq!(fs::read(at(&srv, odd)).unwrap(), b"odd");
    assert_eq!(fs::read(srv.join("closed/inside")).unwrap(), b"inside");
    assert_eq!((mode("small"), mode("closed"), mode("empty folder")), (0o4711, 0o1500, 0o2777));
    assert_eq!((stat(b"small").mtime(), stat(b"small").mtime_nsec()), (-2, 999_999_993));
    assert_eq!((stat(b"big").mtime(), stat(b"big").mtime_nsec()), (4_500_000_000, 1));
    for name in [&b"empty"[..], odd, b"dangling", b"fifo", b"socket", b"closed", b"empty folder", b"."] {
        let stat = stat(name);
        assert_eq!(stat.mtime() * 1_000_000_000 + stat.mtime_nsec(), THEN, "{name:?}");
    }
    assert_eq!(fs::read_link(srv.join("dangling")).unwrap(), Path::new("no/where"));
    assert_eq!(fs::read_link(srv.join("long")).unwrap().as_os_str().len(), 4095);
    assert!(stat(b"fifo").file_type().is_fifo() && mode("fifo") == 0o622);
    assert!(stat(b"socket").file_type().is_socket() && mode("socket") == 0o755);
    assert_eq!(get_xattr(&srv.join("tagged"), "user.b"), [7; 3000]);
    assert_eq!(get_xattr(&srv.join("tagged"), "user.a"), b"");
    if root {
        assert!(stat(b"null").file_type().is_char_device());
        assert_eq!(stat(b"null").rdev(), rustix::fs::makedev(1, 3));
        let owned = stat(b"owned");
        assert_eq!((owned.uid(), owned.gid(), owned.mode() & 0o7777), (12_345, 54_321, 0o2755));
    }
    // Once more: nothing is left to do, and nothing is touched.
    let before = look(&target);
    let again = restore(&repo, &id, &to(&target));
    assert_eq!((again.unchanged, again.created + again.overwritten + again.repaired), (entries, 0));
    assert_eq!(look(&target), before);
}

#[test]
fn holes_stay_holes_and_zeros_take_their_place() {
    const MIB: u64 = 1 << 20;
    let Vault { repo, cache: _cache, .. } = Vault::new();
    let session = support::begin(&repo).unwrap();
    let (head, tail) = (noise(1, 8192), noise(2, 8192));
    let content = vec![
        ListEntry::Hole { len: 4 * MIB },
        chunk(&session, &head),
        ListEntry::Hole { len: 1 << 40 },
        ListEntry::Zeros { len: 65_536 },
        chunk(&session, &tail),
        ListEntry::Hole { len: 12_288 },
    ];
    let size = 4 * MIB + 8192 + (1 << 40) + 65_536 + 8192 + 12_288;
    let sparse = Node { meta: meta(0o644), ..Node::with_content("sparse", NodeType::File, content).unwrap() };
    let children = support::listing(&session, &[sparse]).unwrap();
    let id = commit(&repo, session, children, "/sparse");
    let temp = tempfile::tempdir().unwrap();
    let request = kamba_vault::ops::restore_files::FilesRequest { verify: true, ..to(temp.path()) };
    let report = restore(&repo, &id, &request);
    assert_eq!((report.bytes, report.verified), (size, 1));
    let path = temp.path().join("sparse");
    let stat = path.metadata().unwrap();
    assert_eq!(stat.size(), size);
    assert!((80 * 1024..MIB).contains(&(stat.blocks() * 512)), "{}", stat.blocks());
    let file = fs::File::open(path).unwrap();
    let read = |at| {
        let mut bytes = vec![1; 8192];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, at).unwrap();
        bytes
    };
    assert!(read(4 * MIB) == head && read(size - 12_288 - 8192) == tail);
    assert!(read(0).iter().chain(&read(4 * MIB + 8192)).all(|byte| *byte == 0));
}

#[test]
fn names_of_one_file_are_one_file_again() {
    let mut tree = Tree::default();
    let (mut fifo, big) = (meta(0o600), noise(3, 3_000_000));
    fifo.link_group = Some(b"fifo".to_vec());
    for name in ["a/one", "a/two", "b/c/three", "z"] {
        tree.put(name, linked("small", "text"));
    }
    for name in ["a/big", "b/big"] {
        tree.put(name, linked("big", &big))
            .put(format!("{name}.fifo"), special(NodeType::Fifo, fifo.clone()));
    }
    (0..600).for_each(|n| {
        tree.put(format!("many/{n:03}"), linked("many", "many"));
    });
    tree.put("other", file("text"));
    let Vault { repo, cache: _cache, .. } = Vault::new();
    let id = tree.commit(&repo, "/");
    let temp = tempfile::tempdir().unwrap();
    restore(&repo, &id, &to(temp.path()));
    let stat = |name: &str| temp.path().join(name).symlink_metadata().unwrap();
    for (names, count) in [
        (&["a/one", "a/two", "b/c/three", "z"][..], 4),
        (&["a/big", "b/big"], 2),
        (&["a/big.fifo", "b/big.fifo"], 2),
        (&["many/000", "many/001", "many/599"], 600),
        (&["other"], 1),
    ] {
        let inodes: Vec<u64> = names.iter().map(|name| stat(name).ino()).collect();
        assert!(inodes.windows(2).all(|pair| pair[0] == pair[1]), "{names:?} {inodes:?}");
        assert_eq!(stat(names[0]).nlink(), count);
    }
    assert!(fs::read(temp.path().join("b/big")).unwrap() == big);
    assert_eq!(stat("b/c").mtime(), THEN / 1_000_000_000);
    let again = restore(&repo, &id, &to(temp.path()));
    assert_eq!(again.created + again.overwritten + again.repaired, 0);
    // A name that became a file of its own is a name of the same again.
    fs::remove_file(temp.path().join("a/two")).unwrap();
    fs::write(temp.path().join("a/two"), "other").unwrap();
    let mended = restore(&repo, &id, &to(temp.path()));
    assert_eq!((mended.overwritten, stat("a/two").ino()), (1, stat("z").ino()));
}

#[test]
fn a_folder_gives_its_contents_and_a_file_itself() {
    let mut tree = Tree::default();
    tree.put("srv/up/a/b", file("b")).put("srv/up/c", file("c")).put("srv/other", file("other"));
    let Vault { repo, cache: _cache, .. } = Vault::new();
    let id = tree.commit(&repo, "/srv");
    for (path, found) in [
        (None, &["srv", "srv/other", "srv/up", "srv/up/a", "srv/up/a/b", "srv/up/c"][..]),
        (Some("/srv/up"), &["a", "a/b", "c"]),
        (Some("srv/up/"), &["a", "a/b", "c"]),
        (Some("/srv/up/a/b"), &["b"]),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let mut request = to(&temp.path().join("new"));
        (request.path, request.verify) = (path.map(|path| path.as_bytes().to_vec()), true);
        restore(&repo, &id, &request);
        let names: Vec<_> = look(&request.target).into_keys().collect();
        assert_eq!(names, found.iter().map(Into::into).collect::<Vec<std::path::PathBuf>>(), "{path:?}");
    }
    let temp = tempfile::tempdir().unwrap();
    let request =
        kamba_vault::ops::restore_files::FilesRequest { path: Some("/srv/none".into()), ..to(temp.path()) };
    let error = crate::tree::try_restore(&repo, &id, &request, &Default::default()).unwrap_err();
    assert!(error.to_string().ends_with("has no /srv/none"), "{error}");
}
