//! Restoring over what is there: only what has to be is changed, a dry run changes nothing, and
//! nothing is deleted that is not the snapshot's to delete.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kamba_vault::base::clock::Timestamp;
use kamba_vault::base::id::SessionId;
use kamba_vault::format::node::FileMeta;
use kamba_vault::ops::restore_files::{Action, FilesRequest, Severity};

use crate::support::{Vault, noise};
use crate::tree::{
    Heard, Item, THEN, Tree, file, linked, look, meta, restore, set_mtime, symlink, to, try_restore,
};

/// A snapshot of `/srv`, restored to a folder.
fn restored() -> (Vault, SessionId, tempfile::TempDir) {
    let mut tree = Tree::default();
    for name in ["a", "b", "c/d", "c/e", "f/g", "h"] {
        tree.put(format!("srv/{name}"), file(format!("content of {name}")));
    }
    tree.put("srv/link", symlink("a"));
    let vault = Vault::new();
    let id = tree.commit(&vault.repo, "/srv");
    let temp = tempfile::tempdir().unwrap();
    restore(&vault.repo, &id, &to(temp.path()));
    (vault, id, temp)
}

/// Changes of every sort.
fn change(srv: &Path) {
    fs::write(srv.join("a"), "other content").unwrap();
    fs::set_permissions(srv.join("b"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(srv.join("c/d")).unwrap();
    fs::remove_dir_all(srv.join("f")).unwrap();
    fs::write(srv.join("f"), "no folder").unwrap();
    fs::remove_file(srv.join("h")).unwrap();
    fs::create_dir_all(srv.join("h/deep/er")).unwrap();
    fs::remove_file(srv.join("link")).unwrap();
    std::os::unix::fs::symlink("b", srv.join("link")).unwrap();
    fs::create_dir_all(srv.join("extra/deep")).unwrap();
    fs::write(srv.join("extra/deep/file"), "extra").unwrap();
    fs::write(srv.join("c/extra"), "extra").unwrap();
    fs::write(srv.parent().unwrap().join("beside"), "kept").unwrap();
}

#[test]
fn only_what_has_to_be_is_changed_and_a_dry_run_says_what() {
    let (vault, id, temp) = restored();
    let sound = look(temp.path());
    let untouched = look(&temp.path().join("srv"))[Path::new("c/e")].clone();
    change(&temp.path().join("srv"));
    let before = look(temp.path());
    let request = FilesRequest { delete: true, ..to(temp.path()) };
    let dry = FilesRequest { dry_run: true, ..request.clone() };
    let (planned, done) = (Heard::default(), Heard::default());
    let plan = try_restore(&vault.repo, &id, &dry, &planned).unwrap();
    assert_eq!(look(temp.path()), before, "a dry run changes nothing");
    let report = try_restore(&vault.repo, &id, &request, &done).unwrap();
    assert_eq!(plan, report);
    for (action, paths) in [
        (Action::Create, &["srv/c/d", "srv/f/g"][..]),
        (Action::Overwrite, &["srv/a", "srv/f", "srv/h", "srv/link"]),
        (Action::Delete, &["srv/c/extra", "srv/extra"]),
    ] {
        assert_eq!(done.paths(action), paths, "{action:?}");
        assert_eq!(planned.paths(action), paths, "{action:?}");
    }
    // The folders' times were moved by the changes.
    assert_eq!(done.paths(Action::Repair), ["srv", "srv/b", "srv/c"]);
    assert!(report.troubles.is_empty(), "{report:?}");
    assert_eq!(look(&temp.path().join("srv"))[Path::new("c/e")], untouched);
    fs::remove_file(temp.path().join("beside")).unwrap();
    let names = |look: std::collections::BTreeMap<_, String>| look.into_keys().collect::<Vec<_>>();
    assert_eq!(names(look(temp.path())), names(sound));
    assert_eq!(fs::read(temp.path().join("srv/a")).unwrap(), b"content of a");
    let again = restore(&vault.repo, &id, &FilesRequest { verify: true, ..request });
    assert_eq!((again.unchanged, again.verified), (10, 6));
    assert_eq!(again.created + again.overwritten + again.repaired + again.deleted, 0);
}

/// Writes other bytes of the same number, and puts the time back.
fn forge(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, bytes.iter().map(|byte| byte ^ 0x20).collect::<Vec<_>>()).unwrap();
    set_mtime(path, THEN);
}

#[test]
fn content_is_compared_where_size_and_time_are_right() {
    let mut tree = Tree::default();
    tree.put("srv/right", file(noise(1, 70_000))).put("srv/forged", file(noise(2, 70_000)));
    for name in ["srv/one", "srv/two"] {
        tree.put(name, linked("pair", "of the same file"));
    }
    let vault = Vault::new();
    let id = tree.commit(&vault.repo, "/srv");
    let temp = tempfile::tempdir().unwrap();
    restore(&vault.repo, &id, &to(temp.path()));
    let at = |name: &str| temp.path().join("srv").join(name);
    ["forged", "two"].iter().for_each(|name| forge(&at(name)));
    let right = look(&at(""))[Path::new("right")].clone();

    let quick = FilesRequest { quick: true, ..to(temp.path()) };
    assert_eq!(restore(&vault.repo, &id, &quick).unchanged, 5, "by size and time nothing is wrong");
    let dry = FilesRequest { dry_run: true, ..to(temp.path()) };
    let (planned, done) = (Heard::default(), Heard::default());
    try_restore(&vault.repo, &id, &dry, &planned).unwrap();
    try_restore(&vault.repo, &id, &to(temp.path()), &done).unwrap();
    // The other name of a file that is written anew is made anew.
    for heard in [&planned, &done] {
        assert_eq!(heard.paths(Action::Overwrite), ["srv/forged", "srv/one", "srv/two"]);
    }
    assert!(fs::read(at("forged")).unwrap() == noise(2, 70_000));
    assert_eq!(fs::read(at("two")).unwrap(), b"of the same file");
    assert_eq!(at("one").metadata().unwrap().ino(), at("two").metadata().unwrap().ino());
    assert_eq!(look(&at(""))[Path::new("right")], right, "it is not touched");
    assert_eq!(restore(&vault.repo, &id, &to(temp.path())).unchanged, 5);
}

#[test]
fn a_file_that_nobody_can_have_written_to_is_not_read() {
    let (vault, _, temp) = restored();
    let stat = temp.path().join("srv/b").metadata().unwrap();
    let ctime = stat.ctime() * 1_000_000_000 + stat.ctime_nsec();
    // What the snapshot has is another content: only who reads the file can tell.
    for (ctime, inode, overwritten) in
        [(ctime, stat.ino(), 0), (ctime + 1, stat.ino(), 1), (ctime, stat.ino() + 1, 1)]
    {
        let mut tree = Tree::default();
        let known = FileMeta { ctime: Some(Timestamp(ctime)), inode: Some(inode), ..meta(0o644) };
        tree.put("b", Item::File(known, b"CONTENT OF b".to_vec()));
        let id = tree.commit(&vault.repo, "/");
        let dry = FilesRequest { dry_run: true, ..to(&temp.path().join("srv")) };
        assert_eq!(restore(&vault.repo, &id, &dry).overwritten, overwritten);
    }
}

#[test]
fn without_delete_what_is_more_stays() {
    let (vault, id, temp) = restored();
    change(&temp.path().join("srv"));
    restore(&vault.repo, &id, &to(temp.path()));
    assert_eq!(fs::read(temp.path().join("srv/extra/deep/file")).unwrap(), b"extra");
}

#[test]
fn delete_keeps_to_the_source_and_to_the_patterns() {
    let mut tree = Tree::default();
    tree.put("srv/up/a", file("a")).put("srv/up/keep/b", file("b"));
    let vault = Vault::new();
    let id = tree.commit(&vault.repo, "/srv/up");
    let temp = tempfile::tempdir().unwrap();
    let extra = ["etc/passwd", "srv/www/x", "srv/x", "srv/up/x", "srv/up/keep/x", "srv/up/keep/x.log"];
    for name in extra {
        let path = temp.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "extra").unwrap();
    }
    let excluding = FilesRequest { delete: true, exclude: vec!["*.log".into()], ..to(temp.path()) };
    let report = restore(&vault.repo, &id, &excluding);
    assert_eq!(report.deleted, 2);
    let there = |name: &str| temp.path().join(name).exists();
    assert_eq!(extra.map(there), [true, true, true, false, false, true]);
    // Only a part is wanted: only there anything is extra.
    fs::write(temp.path().join("srv/up/x"), "extra").unwrap();
    let including = FilesRequest { delete: true, include: vec!["keep".into()], ..to(temp.path()) };
    let report = restore(&vault.repo, &id, &including);
    assert_eq!((report.deleted, there("srv/up/x"), there("srv/up/keep/x.log")), (1, true, false));
}

#[test]
fn patterns_choose_and_make_no_empty_folders() {
    let (vault, id, temp) = restored();
    let choose = |include: &[&str], exclude: &[&str]| {
        let target = temp.path().join(format!("{include:?}{exclude:?}").replace('/', "_"));
        let strings = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect();
        let request = FilesRequest {
            path: Some("/srv".into()),
            include: strings(include),
            exclude: strings(exclude),
            verify: true,
            ..to(&target)
        };
        restore(&vault.repo, &id, &request);
        look(&target).into_keys().map(|path| path.display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(choose(&["d", "link"], &[]), ["c", "c/d", "link"]);
    assert_eq!(choose(&["/c"], &["e"]), ["c", "c/d"]);
    assert_eq!(choose(&[], &["/c", "f", "[ab]"]), ["h", "link"]);
    assert_eq!(choose(&["nothing"], &[]), [""; 0]);
}

#[test]
fn what_could_not_be_read_is_not_taken_for_gone_or_empty() {
    let unread = || FileMeta { problem: Some("cannot read it".into()), ..meta(0o755) };
    let mut tree = Tree::default();
    tree.put("srv/closed", Item::Folder(unread(), Tree::default()))
        .put("srv/open", Item::Folder(meta(0o755), Tree::default()))
        .put("srv/new", Item::File(unread(), Vec::new()))
        .put("srv/part", Item::File(unread(), b"pa".to_vec()))
        .put("srv/unread", Item::File(unread(), Vec::new()));
    let vault = Vault::new();
    let id = tree.commit(&vault.repo, "/srv");
    let temp = tempfile::tempdir().unwrap();
    for name in ["closed/kept", "open/gone", "part", "unread"] {
        let path = temp.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "here").unwrap();
    }
    let request = FilesRequest { path: Some("/srv".into()), delete: true, verify: true, ..to(temp.path()) };
    let report = try_restore(&vault.repo, &id, &request, &Heard::default()).unwrap();
    assert_eq!((report.count(Severity::Incomplete), report.deleted), (4, 1), "{report:?}");
    assert_eq!(report.troubles.keys().filter(|(of, _)| *of != Severity::Incomplete).count(), 0, "{report:?}");
    let read = |name: &str| fs::read_to_string(temp.path().join(name)).unwrap_or_default();
    assert_eq!(
        ["closed/kept", "open/gone", "part", "unread", "new"].map(read),
        ["here", "", "pa", "here", ""]
    );
    assert!(temp.path().join("new").exists());
}
