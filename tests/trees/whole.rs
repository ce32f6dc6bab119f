//! Trees there and back: a snapshot, a day, another, by root and by others, on every file system at hand.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::day;
use crate::look::{Look, assert_same, differences, look};
use crate::maker::{NOBODY, Owner, is_root, make};
use crate::vault::{Vault, places, settle};

/// What `diff` of the last two snapshots tells of a tree.
fn told(vault: &Vault, tree: &Path) -> BTreeMap<Vec<u8>, String> {
    let top = tree.to_str().unwrap();
    let run = vault.run(&["diff", "--json", &format!("latest~1:{top}"), &format!("latest:{top}")]);
    let lines = run.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let changes = lines.filter(|line| line["message_type"] == "change").map(|line| {
        let path = line["path"].as_str().unwrap().trim_start_matches('/');
        let below = path.strip_prefix(top.trim_start_matches('/')).unwrap().trim_start_matches('/');
        (below.as_bytes().to_vec(), line["change"].as_str().unwrap().to_owned())
    });
    changes.collect()
}

fn a_day_in(place: &Path, seed: u64) {
    let vault = Vault::new(place, Owner::Runner);
    let tree = vault.path("tree");
    make(&tree, seed, Owner::Runner);
    let before = look(&tree);
    settle(&before);
    let made = vault.snapshot(&tree);
    assert_eq!((&made["problems"], &made["unchanged"]), (&0.into(), &0.into()), "{made}");
    assert_same(&before, &look(&tree));
    let again = vault.snapshot(&tree);
    let others = before.values().filter(|seen| !seen.kind.is_dir()).count();
    let counts = ["unchanged", "changed", "new", "read_bytes"].map(|count| again[count].as_u64().unwrap());
    assert_eq!(counts, [others as u64, 0, 0, 0], "{again}");

    day::pass(&tree);
    let after = look(&tree);
    let made = vault.snapshot(&tree);
    let others = after.values().filter(|seen| !seen.kind.is_dir()).count() as u64;
    let unchanged = day::unchanged(&before, &after);
    assert!(unchanged > 200);
    assert_eq!(made["unchanged"], unchanged, "{made}");
    assert_eq!(
        made["changed"].as_u64().unwrap() + made["new"].as_u64().unwrap(),
        others - unchanged,
        "{made}"
    );
    let expected = day::changes(&before, &after);
    // The comparison that all else here rests on sees each of them.
    assert!(differences(&before, &after).len() >= expected.len());
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(path, change)| (path, change.to_owned())).collect();
    assert_eq!(told(&vault, &tree), expected);

    for (snapshot, should) in [("latest~2", &before), ("latest~1", &before), ("latest", &after)] {
        let target = vault.path(snapshot);
        let run = vault.restore(snapshot, &tree, &target, &["--verify"]);
        assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
        assert_same(should, &look(&target));
    }
    back_again(&vault, &tree, &before);
}

/// Restores the first snapshot over a tree that has changed.
fn back_again(vault: &Vault, tree: &Path, before: &Look) {
    // By size and time this one is what it was: only reading it tells.
    let run = vault.restore("latest~1", tree, tree, &["--quick", "--delete", "--verify"]);
    assert_eq!(run.status, 20, "{run:?}");
    let differ = differences(before, &look(tree));
    let of_edited = differ.iter().filter(|line| line.starts_with(day::EDITED)).count();
    let of_top = differ.iter().filter(|line| line.starts_with(':')).count();
    assert_eq!((of_edited, differ.len() - of_edited - of_top), (1, 0), "{differ:#?}");
    let run = vault.restore("latest~1", tree, tree, &["--delete", "--verify"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
    assert_same(before, &look(tree));
}

/// As root with all that only root may make and restore, else with what anybody may.
#[test]
fn everything_comes_back() {
    for (seed, place) in places().iter().enumerate() {
        a_day_in(place, 1 + seed as u64);
    }
}

#[test]
fn everything_that_a_user_may_set_comes_back() {
    // Only root can be another user. Anybody else is one in the test above.
    if !is_root() {
        return;
    }
    for place in places() {
        let vault = Vault::new(&place, Owner::Nobody);
        let tree = vault.path("tree");
        make(&tree, 9, Owner::Nobody);
        // Something of another user in it, which they may read.
        std::fs::write(tree.join("of root"), "of root").unwrap();
        let should = {
            let mut look = look(&tree);
            let of_root = look.get_mut(&b"of root"[..]).unwrap();
            (of_root.uid, of_root.gid) = (NOBODY, NOBODY);
            look
        };
        let made = vault.snapshot(&tree);
        assert_eq!(made["problems"], 0, "{made}");
        let target = vault.path("target");
        for _ in 0..2 {
            let run = vault.restore("latest", &tree, &target, &["--verify"]);
            assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
            assert_same(&should, &look(&target));
        }
    }
}
