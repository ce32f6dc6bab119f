//! `diff`: every kind of change, the same as a comparison written naively, and no more reads than
//! there is change.

use std::collections::{BTreeMap, BTreeSet};

use kamba_vault::base::clock::{Cancel, Timestamp};
use kamba_vault::format::node::{Node, NodeType};
use kamba_vault::ops::diff::{Change, ChangeKind, Summary, diff};
use kamba_vault::ops::look;
use kamba_vault::repo::roots::Snapshot;

use crate::trees::{Counting, Tree, file, folder, large, link};

/// All changes between two snapshots, or places in them.
fn changes_at(vault: &Counting, old: (&Snapshot, &str), new: (&Snapshot, &str)) -> (Vec<Change>, Summary) {
    let (reader, cancel) = (vault.reader(), Cancel::new());
    let entry = |(snapshot, path): (&Snapshot, &str)| {
        look::entry(&look::view_with(&reader, snapshot, &cancel), snapshot, path).unwrap()
    };
    let mut changes = Vec::new();
    let summary = diff(&reader, &entry(old), &entry(new), new.1.as_bytes(), &cancel, &mut |change| {
        changes.push(change.clone());
        Ok(())
    });
    (changes, summary.unwrap())
}

fn changes(vault: &Counting, old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let (changes, summary) = changes_at(vault, (old, ""), (new, ""));
    let count = |kind| changes.iter().filter(|change| change.kind == kind).count() as u64;
    let counted = [
        (ChangeKind::Added, summary.added),
        (ChangeKind::Removed, summary.removed),
        (ChangeKind::Content, summary.content),
        (ChangeKind::Metadata, summary.metadata),
        (ChangeKind::Type, summary.types),
        (ChangeKind::Renamed, summary.renamed),
    ];
    counted.iter().for_each(|(kind, n)| assert_eq!(count(*kind), *n, "{kind:?}"));
    changes
}

/// Changes in words.
fn words(changes: &[Change]) -> String {
    let word = |change: &Change| {
        let old = change.old_path.as_deref().map(|old| format!("{} -> ", String::from_utf8_lossy(old)));
        let path = String::from_utf8_lossy(&change.path);
        format!("{:?} {}{path} {}", change.kind, old.unwrap_or_default(), change.attributes.join(" "))
            .trim()
            .to_owned()
    };
    changes.iter().map(word).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_kind_of_change_is_told() {
    let vault = Counting::new();
    let old = Tree::from([
        ("a".to_owned(), folder()),
        ("a/changed".to_owned(), file("one")),
        ("a/emptied".to_owned(), file("")),
        ("a/moved".to_owned(), file("moves")),
        ("a/same".to_owned(), file("same")),
        ("a/touched".to_owned(), file("touched")),
        ("flips".to_owned(), folder()),
        ("flips/below".to_owned(), file("below")),
        ("gone".to_owned(), folder()),
        ("gone/sub".to_owned(), folder()),
        ("gone/sub/kept".to_owned(), file("kept elsewhere")),
        ("gone/sub/lost".to_owned(), file("lost")),
        ("link".to_owned(), link("here")),
        ("whole".to_owned(), folder()),
        ("whole/x".to_owned(), file("x")),
        ("whole/y".to_owned(), file("y")),
    ]);
    let mut new = old.clone();
    new.insert("a/changed".into(), file("two"));
    let moved = new.remove("a/moved").unwrap();
    new.insert("moved too".into(), moved);
    let touched = &mut new.get_mut("a/touched").unwrap().1.meta;
    (touched.mode, touched.mtime) = (Some(0o600), Some(Timestamp(5)));
    new.remove("flips/below");
    new.insert("flips".into(), link("/etc"));
    new.retain(|path, _| !path.starts_with("gone") && !path.starts_with("whole"));
    new.insert("kept".into(), file("kept elsewhere"));
    new.insert("link".into(), link("there"));
    new.insert("z".into(), folder());
    new.insert("z/whole".into(), folder());
    new.insert("z/whole/x".into(), file("x"));
    new.insert("z/whole/y".into(), file("y"));
    let (old, new) = (vault.commit(&old), vault.commit(&new));
    insta::assert_snapshot!(words(&changes(&vault, &old, &new)), @r"
    Content a/changed
    Metadata a/touched mode mtime
    Type flips
    Removed flips/below
    Removed gone
    Removed gone/sub
    Removed gone/sub/lost
    Renamed gone/sub/kept -> kept
    Content link link_target
    Renamed a/moved -> moved too
    Removed whole
    Added z
    Added z/whole
    Renamed whole/x -> z/whole/x
    Renamed whole/y -> z/whole/y
    ");
    assert_eq!(changes(&vault, &old, &old), []);
    let (below, _) = changes_at(&vault, (&old, "a"), (&new, "a"));
    insta::assert_snapshot!(words(&below), @r"
    Content a/changed
    Removed a/moved
    Metadata a/touched mode mtime
    ");
    let (files, _) = changes_at(&vault, (&old, "a/changed"), (&new, "kept"));
    insta::assert_snapshot!(words(&files), @r"
    Content kept
    ");
}

#[test]
fn a_folder_that_moved_whole_is_one_change() {
    let vault = Counting::new();
    let mut old = large(4, 30);
    old.insert("new".into(), folder());
    let mut new = old.clone();
    let (at, place) = ("srv/002", "new/place");
    for (path, entry) in old.iter().filter(|(path, _)| path.starts_with(at)) {
        new.remove(path);
        new.insert(path.replacen(at, place, 1), entry.clone());
    }
    let changed = changes(&vault, &vault.commit(&old), &vault.commit(&new));
    assert_eq!(words(&changed), "Renamed srv/002 -> new/place");
}

#[test]
fn a_file_that_was_renamed_and_written_to_is_known_by_its_inode() {
    let vault = Counting::new();
    let tree = |path: &str, text: &str, ctime| {
        let mut file = file(text);
        let meta = &mut file.1.meta;
        (meta.inode, meta.btime, meta.ctime) = (Some(12), Some(Timestamp(3)), Some(Timestamp(ctime)));
        Tree::from([(path.to_owned(), file)])
    };
    let (old, new) = (vault.commit(&tree("a", "before", 4)), vault.commit(&tree("b", "after", 5)));
    assert_eq!(words(&changes(&vault, &old, &new)), "Renamed a -> b content");
    let touched = vault.commit(&tree("a", "before", 9));
    assert_eq!(changes(&vault, &old, &touched), [], "a time of change alone is no change");
}

#[test]
fn the_parts_of_a_database_are_compared_under_the_names_that_are_shown() {
    let vault = Counting::new();
    let tree = |row: &str| {
        let database = (Vec::new(), Node::new("", NodeType::Database));
        Tree::from([
            ("shop".to_owned(), database),
            ("shop/head".to_owned(), file(format!("definitions {}", row.len()))),
            ("shop/info".to_owned(), file(row)),
            ("shop/recipe".to_owned(), file(row)),
            ("shop/tables".to_owned(), folder()),
            ("shop/tables/public.a.copy".to_owned(), file(row)),
            ("shop/tables/public.b.copy".to_owned(), file("as before")),
        ])
    };
    let (old, new) = (vault.commit(&tree("row")), vault.commit(&tree("rows")));
    insta::assert_snapshot!(words(&changes(&vault, &old, &new)), @r"
    Content shop
    Content shop/schema.sql
    Content shop/tables/public.a.copy
    ");
}

#[test]
fn what_did_not_change_is_not_read() {
    let vault = Counting::new();
    let mut tree = large(60, 40);
    let old = vault.commit(&tree);
    tree.insert("srv/030/00020".into(), file("changed"));
    let new = vault.commit(&tree);
    let (all, read) = vault.counted(|| {
        let (reader, cancel) = (vault.reader(), Cancel::new());
        let view = look::view_with(&reader, &old, &cancel);
        let mut count = 0;
        look::walk(&view, &view.root(), "", true, &mut |_, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
        count
    });
    assert_eq!(all, tree.len());
    assert!(read > 15, "the tree is too small to tell: {read}");
    let (changed, read) = vault.counted(|| changes(&vault, &old, &new));
    assert_eq!(words(&changed), "Content srv/030/00020 xattrs");
    // Three folders lie between the root and the file, of the new ones all in one segment.
    assert!(read <= 6, "{read}");
    let (none, read) = vault.counted(|| changes(&vault, &old, &old));
    assert_eq!((none.len(), read), (0, 0));
}

fn assert_reads_little(vault: &Counting, old: &Tree, new: &Tree, want: &str) {
    let (old, new) = (vault.commit(old), vault.commit(new));
    let (changed, read) = vault.counted(|| changes(vault, &old, &new));
    assert_eq!(words(&changed), want);
    assert!(read <= 8, "{want}: {read}");
}

#[test]
fn within_a_large_folder_only_chunks_that_changed_are_read() {
    let vault = Counting::new();
    let old = large(1, 3000);
    let mut changed = old.clone();
    changed.get_mut("srv/000/01500").unwrap().1.meta.mode = Some(0o600);
    assert_reads_little(&vault, &old, &changed, "Metadata srv/000/01500 mode");
    let mut fewer = old.clone();
    fewer.remove("srv/000/00700");
    assert_reads_little(&vault, &old, &fewer, "Removed srv/000/00700");
    let mut more = old.clone();
    more.insert("srv/000/02000x".into(), file("more"));
    assert_reads_little(&vault, &old, &more, "Added srv/000/02000x");
}

/// A tree like `tree` with a few changes, chosen by `seed`.
fn changed(tree: &Tree, seed: u64) -> Tree {
    let mut new = tree.clone();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 20) as usize % below
    };
    for _ in 0..1 + next(8) {
        let paths: Vec<String> = new.keys().cloned().collect();
        let path = paths[next(paths.len())].clone();
        let below = format!("{path}/");
        let is_folder = new[&path].1.kind == NodeType::Directory;
        match next(7) {
            0 => new.retain(|other, _| *other != path && !other.starts_with(&below)),
            1 if is_folder => {
                drop(new.insert(format!("{below}{}", next(1000)), file(format!("{}", next(50)))))
            }
            1 => drop(new.insert(path, file(format!("{}", next(50))))),
            2 => new.get_mut(&path).unwrap().1.meta.mode = Some(next(0o777) as u32),
            3 => drop(new.insert(format!("top{}", next(9)), folder())),
            4 => {
                new.retain(|other, _| !other.starts_with(&below));
                new.insert(path, link("flipped"));
            }
            _ => {
                let place = format!("moved{}", next(5));
                let moving = new.keys().filter(|other| **other == path || other.starts_with(&below));
                for other in moving.cloned().collect::<Vec<_>>() {
                    let entry = new.remove(&other).unwrap();
                    new.insert(format!("{place}{}", &other[path.len()..]), entry);
                }
                // What stood at that place must not be a file with something below it.
                let is_file = |path: &String| new.get(path).is_some_and(|e| e.1.kind != NodeType::Directory);
                if is_file(&place) {
                    new.retain(|other, _| !other.starts_with(&format!("{place}/")));
                }
            }
        }
        if new.is_empty() {
            new.insert("last".into(), file("last"));
        }
    }
    new
}

/// Demands that the changes are what leads from `old` to `new`, and that none is missing.
fn assert_leads(old: &Tree, new: &Tree, changes: &[Change], seed: u64) {
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let mut result: BTreeMap<String, String> = old.keys().map(|path| (path.clone(), path.clone())).collect();
    let mut arrived = BTreeMap::new();
    let mut told = BTreeSet::new();
    for change in changes {
        let path = text(&change.path);
        match change.kind {
            ChangeKind::Removed => assert!(result.remove(&path).is_some(), "{seed}: {path} was not there"),
            ChangeKind::Renamed => {
                let from = text(change.old_path.as_ref().unwrap());
                let below = format!("{from}/");
                let all: Vec<String> =
                    result.keys().filter(|p| **p == from || p.starts_with(&below)).cloned().collect();
                assert!(all.contains(&from), "{seed}: {from} was not there");
                for old in all {
                    result.remove(&old);
                    arrived.insert(format!("{path}{}", &old[from.len()..]), old);
                }
            }
            ChangeKind::Added => {
                assert!(new.contains_key(&path), "{seed}: {path} is not there");
                arrived.insert(path, String::new());
            }
            kind => assert!(told.insert(path.clone()), "{seed}: {path} is told twice, {kind:?}"),
        }
    }
    for (path, from) in arrived {
        assert!(result.insert(path.clone(), from).is_none(), "{seed}: {path} was there");
    }
    let (is, should): (Vec<_>, Vec<_>) = (result.keys().collect(), new.keys().collect());
    assert_eq!(is, should, "{seed}: {}", words(changes));
    for (path, from) in result.iter().filter(|(_, from)| !from.is_empty()) {
        let differs = old[from] != new[path];
        if path == from {
            assert_eq!(told.contains(path), differs, "{seed}: {path}");
        } else {
            assert_eq!(old[from].0, new[path].0, "{seed}: {from} is not {path}");
        }
    }
}

#[test]
fn changes_lead_from_one_tree_to_the_other() {
    let vault = Counting::new();
    let mut tree = Tree::new();
    for i in 0..6 {
        tree.insert(format!("d{i}"), folder());
        for j in 0..3 {
            tree.insert(format!("d{i}/s{j}"), folder());
            for k in 0..3 {
                tree.insert(format!("d{i}/s{j}/f{k}"), file(format!("{}", i * 10 + j + k)));
            }
        }
    }
    let mut before = vault.commit(&tree);
    for seed in 1..=60 {
        let new = changed(&tree, seed);
        let after = vault.commit(&new);
        let forth = changes(&vault, &before, &after);
        assert_leads(&tree, &new, &forth, seed);
        assert_leads(&new, &tree, &changes(&vault, &after, &before), seed);
        (tree, before) = (new, after);
    }
}
