//! Snapshots and targets that mean harm: nothing is ever written outside of the target.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink as link};

use kamba_vault::base::kind::ChunkKind;
use kamba_vault::format::list::ListEntry;
use kamba_vault::format::node::{FileMeta, Node, NodeType};
use kamba_vault::ops::restore_files::{FilesRequest, Severity};
use rustix::fs::makedev;
use rustix::process::{Gid, Uid};

use crate::support::{self, Vault, names, noise};
use crate::tree::{Heard, Item, Tree, commit, file, look, meta, restore, special, symlink, to, try_restore};

#[test]
fn names_that_lead_elsewhere_are_damage_and_reach_nothing() {
    for name in [&b".."[..], b"../outside", b"/etc/outside", b"a/b", b".", b"", b"nul\0"] {
        let vault = Vault::new();
        let session = support::begin(&vault.repo).unwrap();
        let content = support::store(&session, b"evil").unwrap().entries;
        let mut node = Node::with_content("x", NodeType::File, content).unwrap();
        (node.name, node.meta) = (name.to_vec(), meta(0o644));
        let mut record = Vec::new();
        node.encode(&mut record);
        // What no builder writes.
        let chunk = [&[record.len() as u8][..], &record].concat();
        assert!(record.len() < 128);
        let id = session.store(ChunkKind::Tree, &chunk).unwrap();
        let bad = vec![ListEntry::Chunk { len: chunk.len() as u32, id }];
        let good =
            Node::with_content("z", NodeType::File, support::store(&session, b"z").unwrap().entries).unwrap();
        let nodes = [Node::with_children("bad", NodeType::Directory, bad), good];
        let children = support::listing(&session, &nodes).unwrap();
        let id = commit(&vault.repo, session, children, "/");
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("target");
        let report = try_restore(&vault.repo, &id, &to(&target), &Heard::default()).unwrap();
        assert_eq!(report.count(Severity::Damaged), 1, "{name:?} {report:?}");
        assert_eq!(look(temp.path()).len(), 3, "{name:?}: target, bad and z: {:?}", look(temp.path()));
    }
}

#[test]
fn links_in_the_way_are_replaced_and_never_followed() {
    let mut tree = Tree::default();
    tree.put("dir/file", file("inside")).put("file", file("inside")).put("out", symlink(".."));
    let vault = Vault::new();
    let id = tree.commit(&vault.repo, "/");
    let temp = tempfile::tempdir().unwrap();
    let (outside, target) = (temp.path().join("outside"), temp.path().join("target"));
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(target.join("extra")).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    link(&outside, target.join("dir")).unwrap();
    link(outside.join("file"), target.join("file")).unwrap();
    link(&outside, target.join("extra/link")).unwrap();
    let before = look(&outside);
    restore(&vault.repo, &id, &FilesRequest { delete: true, verify: true, ..to(&target) });
    assert_eq!(look(&outside), before);
    assert_eq!(fs::read(target.join("dir/file")).unwrap(), b"inside");
    assert!(target.join("dir").symlink_metadata().unwrap().is_dir() && !target.join("extra").exists());
}

#[test]
fn a_user_without_rights_gets_what_he_may_and_is_told_the_rest() {
    let foreign = FileMeta { uid: Some(0), gid: Some(0), ..meta(0o6755) };
    let device = FileMeta { device: Some(makedev(1, 3)), ..foreign.clone() };
    let mut tree = Tree::default();
    tree.put("plain", file("plain")).put("setuid", Item::File(foreign.clone(), b"setuid".to_vec()));
    let vault = Vault::new();
    let soft = tree.commit(&vault.repo, "/");
    tree.put("device", special(NodeType::CharDevice, device));
    let hard = tree.commit(&vault.repo, "/");
    let temp = support::folder();
    let all: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(temp.path(), all.clone()).unwrap();
    for path in walk(vault.cache.path()) {
        fs::set_permissions(path, all.clone()).unwrap();
    }
    let reports = std::thread::scope(|scope| {
        let restoring = scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                let (user, group) = (Some(Uid::from_raw(65534)), Some(Gid::from_raw(65534)));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            }
            [soft, hard].map(|id| {
                let target = temp.path().join(id.to_hex());
                let request = FilesRequest { verify: true, ..to(&target) };
                try_restore(&vault.repo, &id, &request, &Heard::default()).unwrap()
            })
        });
        restoring.join().unwrap()
    });
    let target = temp.path().join(soft.to_hex());
    assert_eq!(fs::read(target.join("setuid")).unwrap(), b"setuid");
    assert_eq!(target.join("setuid").metadata().unwrap().mode() & 0o7777, 0o755);
    assert!(reports[0].count(Severity::NotRoot) >= 2, "{:?}", reports[0]);
    assert_eq!(
        reports[0].troubles.len(),
        reports[0].troubles.keys().filter(|(s, _)| *s == Severity::NotRoot).count()
    );
    assert_eq!(
        (reports[1].count(Severity::Failed), reports[1].count(Severity::Differs)),
        (1, 0),
        "{:?}",
        reports[1]
    );
    assert!(!temp.path().join(hard.to_hex()).join("device").exists());
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let below = look(folder).into_keys().map(|path| folder.join(path));
    std::iter::once(folder.to_owned()).chain(below).collect()
}

#[test]
fn damage_costs_the_files_that_it_hit() {
    let mut tree = Tree::default();
    for n in 0..12 {
        tree.put(format!("d{}/{n:02}", n % 3), file(noise(n, 3_000_000)));
    }
    (0..50).for_each(|n| {
        tree.put(format!("small/{n:02}"), file(noise(100 + n, 500)));
    });
    let vault = Vault::with_chunks(64 << 10);
    let id = tree.commit(&vault.repo, "/");
    let packs = names(&*vault.memory, "data/");
    assert!(packs.len() >= 3, "{packs:?}");
    let mut bytes = vault.memory.get_all(&packs[1]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    vault.memory.overwrite(&packs[1], &bytes);
    let temp = tempfile::tempdir().unwrap();
    let heard = Heard::default();
    let report =
        try_restore(&vault.repo, &id, &FilesRequest { verify: true, ..to(temp.path()) }, &heard).unwrap();
    let damaged = report.count(Severity::Damaged);
    assert!((1..=3).contains(&damaged), "{:?}", report.troubles);
    assert_eq!(report.created, 62 + 4 - damaged);
    assert_eq!(report.verified, 62 - damaged);
    for trouble in heard.troubles.lock().unwrap().iter() {
        let path = String::from_utf8(trouble.path.clone()).unwrap();
        assert!(!temp.path().join(&path).exists(), "{path} is left out");
    }
    // The whole pack is gone.
    kamba_vault::storage::Backend::delete(&*vault.memory, &packs[1]).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let report = try_restore(&vault.repo, &id, &to(temp.path()), &Heard::default()).unwrap();
    let damaged = report.count(Severity::Damaged);
    assert!(damaged > 3 && report.created == 66 - damaged, "{:?}", report.troubles);
    assert!(look(temp.path()).into_keys().all(|path| !path.to_string_lossy().contains(".kamba")));
}

/// Long files are written side by side, a part of each in turn.
#[test]
fn damage_in_a_long_file_leaves_those_beside_it_alone() {
    let mut tree = Tree::default();
    let long: Vec<Vec<u8>> = (0..3).map(|n| noise(n, (16 << 20) + n as usize * 1_000_003)).collect();
    for (n, content) in long.iter().enumerate() {
        tree.put(format!("{n}"), file(content.clone()));
    }
    let vault = Vault::with_chunks(64 << 10);
    let id = tree.commit(&vault.repo, "/");
    let packs = names(&*vault.memory, "data/");
    let mut bytes = vault.memory.get_all(&packs[0]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    vault.memory.overwrite(&packs[0], &bytes);
    let temp = tempfile::tempdir().unwrap();
    let report = try_restore(&vault.repo, &id, &to(temp.path()), &Heard::default()).unwrap();
    let damaged = report.count(Severity::Damaged) as usize;
    assert!((1..=2).contains(&damaged), "{:?}", report.troubles);
    let whole = (0..3).filter(|n| {
        let path = temp.path().join(n.to_string());
        path.exists() && std::fs::read(path).unwrap() == long[*n]
    });
    assert_eq!(whole.count(), 3 - damaged);
    assert_eq!(look(temp.path()).len(), 3 - damaged, "nothing is left of what is damaged");
}

/// All bytes of an object.
trait GetAll {
    fn get_all(&self, name: &str) -> Vec<u8>;
}

impl GetAll for kamba_vault::storage::Memory {
    fn get_all(&self, name: &str) -> Vec<u8> {
        kamba_vault::storage::Backend::get(self, name, u64::MAX).unwrap()
    }
}
