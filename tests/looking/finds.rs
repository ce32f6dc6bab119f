//! `find`: the same entries as a walk and a filter find, and shared subtrees are read once.

use kamba_vault::base::clock::{Cancel, Timestamp};
use kamba_vault::ops::find::{KEPT_MAX, Pattern, Query, Search};
use kamba_vault::repo::roots::Snapshot;
use kamba_vault::vfs::EntryKind;

use crate::trees::{Counting, Tree, file, folder, large, link};

fn named(pattern: &str) -> Query {
    Query { patterns: vec![vec![Pattern::new(pattern.as_bytes()).unwrap()]], ..Query::default() }
}

fn found(search: &mut Search, snapshot: &Snapshot) -> Vec<String> {
    let mut paths = Vec::new();
    let searched = search.run(snapshot, &mut |path, found| {
        let path = String::from_utf8(path.to_vec()).unwrap();
        assert!(path.ends_with(std::str::from_utf8(&found.name).unwrap()));
        paths.push(path);
        Ok(())
    });
    searched.unwrap();
    paths
}

fn search(vault: &Counting, query: Query, kept_max: usize) -> Search {
    Search::new(vault.reader(), query, kept_max, Cancel::new())
}

fn sample() -> Tree {
    let mut tree = Tree::from([
        ("srv".to_owned(), folder()),
        ("srv/uploads".to_owned(), folder()),
        ("srv/uploads/a.png".to_owned(), file([7; 3000])),
        ("srv/uploads/b.PNG".to_owned(), file("b")),
        ("srv/uploads/link".to_owned(), link("a.png")),
        ("srv/uploads/old".to_owned(), folder()),
        ("srv/uploads/old/a.png".to_owned(), file("old")),
        ("srv/empty".to_owned(), folder()),
    ]);
    tree.get_mut("srv/uploads/old/a.png").unwrap().1.meta.mtime = Some(Timestamp(-5));
    tree
}

#[test]
fn each_condition_narrows() {
    let vault = Counting::new();
    let snapshot = vault.commit(&sample());
    let check = |query: Query, want: &[&str]| {
        let paths = found(&mut search(&vault, query.clone(), KEPT_MAX), &snapshot);
        assert_eq!(paths, want, "{query:?}");
    };
    let kinds = |kinds: &[EntryKind]| Query { kinds: kinds.to_vec(), ..Query::default() };
    let (a, b, old) = ("srv/uploads/a.png", "srv/uploads/b.PNG", "srv/uploads/old/a.png");
    check(named("*.png"), &[a, old]);
    check(named("uploads/*.png"), &[a]);
    check(named("/uploads/*.png"), &[]);
    check(named("/srv/**/*.png"), &[a, old]);
    check(named("srv/uploads"), &["srv/uploads"]);
    check(kinds(&[EntryKind::Symlink]), &["srv/uploads/link"]);
    check(kinds(&[EntryKind::File, EntryKind::Symlink]), &[a, b, "srv/uploads/link", old]);
    check(Query { larger: Some(1), ..Query::default() }, &[a, old]);
    check(Query { larger: Some(3000), ..Query::default() }, &[]);
    check(Query { smaller: Some(3), ..Query::default() }, &[b]);
    check(Query { older: Some(Timestamp(0)), ..Query::default() }, &[old]);
    check(Query { newer: Some(Timestamp(0)), ..named("a.png") }, &[a]);
    let both = [named("a*").patterns, named("/srv/uploads/*").patterns].concat();
    check(Query { patterns: both, ..Query::default() }, &[a]);
}

#[test]
fn shared_subtrees_are_read_once_and_give_the_same() {
    let vault = Counting::new();
    let mut tree = large(60, 40);
    let first = vault.commit(&tree);
    tree.insert("srv/030/00020x".into(), file("new"));
    let second = vault.commit(&tree);
    let mut search = search(&vault, named("0002*"), KEPT_MAX);
    let (before, all) = vault.counted(|| found(&mut search, &first));
    assert_eq!(before.len(), 600);
    assert!(all > 15, "the tree is too small to tell: {all}");
    let (after, read) = vault.counted(|| found(&mut search, &second));
    assert!(read <= 3, "{read}");
    let mut want = before.clone();
    want.insert(want.iter().position(|path| path == "srv/030/00020").unwrap() + 1, "srv/030/00020x".into());
    assert_eq!(after, want);
    let (again, read) = vault.counted(|| found(&mut search, &first));
    assert_eq!((again, read), (before, 0));
}

#[test]
fn the_same_subtree_elsewhere_is_searched_by_its_own_path() {
    let vault = Counting::new();
    let mut tree = sample();
    for (path, entry) in sample() {
        tree.insert(path.replacen("srv", "var", 1), entry);
    }
    let snapshot = vault.commit(&tree);
    let paths = found(&mut search(&vault, named("/var/uploads/*.png"), KEPT_MAX), &snapshot);
    assert_eq!(paths, ["var/uploads/a.png"]);
}

#[test]
fn with_little_room_the_same_is_found() {
    let vault = Counting::new();
    let mut tree = sample();
    let mut snapshots = vec![vault.commit(&tree)];
    for i in 0..5 {
        tree.insert(format!("srv/uploads/old/{i}.png"), file("more"));
        snapshots.push(vault.commit(&tree));
    }
    for query in [Query::default(), named("*.png"), named("nowhere")] {
        let fresh: Vec<_> =
            snapshots.iter().map(|s| found(&mut search(&vault, query.clone(), 0), s)).collect();
        for room in [0, 200, 700, 1500, KEPT_MAX] {
            let mut search = search(&vault, query.clone(), room);
            for (snapshot, want) in snapshots.iter().chain(&snapshots).zip(fresh.iter().chain(&fresh)) {
                assert_eq!(found(&mut search, snapshot), *want, "{room}");
            }
        }
    }
}
