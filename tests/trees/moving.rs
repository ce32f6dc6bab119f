//! A tree that changes while the program walks it, with links that lead out of it swapped in: it never
//! fails, and nothing from outside is ever in the snapshot.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::maker::{Dice, Owner};
use crate::vault::Vault;

/// A name and a content that are only outside.
const MARKER: &str = "marker-from-outside";

/// One change somewhere; it may fail, since the one before may have removed what it needs.
fn change(top: &Path, outside: &Path, dice: &mut Dice) {
    let folder = top.join(format!("d{}", dice.roll(6)));
    let inner = folder.join(format!("e{}", dice.roll(6)));
    let file = inner.join(format!("f{}", dice.roll(8)));
    let _ = match dice.roll(10) {
        0 | 1 => fs::create_dir_all(&inner),
        2 | 3 => fs::write(&file, vec![b'x'; dice.roll(200_000) as usize]),
        4 => fs::remove_file(&file),
        5 => fs::remove_dir_all(&inner).and_then(|()| symlink(outside, &inner)),
        6 => fs::remove_file(&inner).and_then(|()| fs::create_dir(&inner)),
        7 => fs::rename(&folder, top.join(format!("d{}", dice.roll(6)))),
        8 => fs::remove_file(&file).and_then(|()| symlink(outside.join(MARKER), &file)),
        _ => {
            fs::rename(&inner, top.join(format!("g{}", dice.roll(4)))).and_then(|()| symlink(outside, &inner))
        }
    };
}

#[test]
fn a_tree_that_changes_while_the_program_walks_it_never_fails_it_and_never_leads_outside() {
    let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
    let (top, outside) = (vault.path("tree"), vault.path("elsewhere"));
    fs::create_dir(&top).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join(MARKER), MARKER.repeat(100)).unwrap();
    let (stop, mut dice) = (AtomicBool::new(false), Dice(42));
    (0..400).for_each(|_| change(&top, &outside, &mut dice));
    let runs: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                change(&top, &outside, &mut dice);
            }
        });
        let runs =
            (0..12).map(|_| vault.run(&["snapshot", "files", "--json", top.to_str().unwrap()])).collect();
        stop.store(true, Ordering::Relaxed);
        runs
    });
    for run in &runs {
        assert!(matches!(run.status, 0 | 3), "{run:?}");
    }
    for n in 0..runs.len() {
        let target = vault.path(&format!("target {n}"));
        let run = vault.restore(&format!("latest~{n}"), &top, &target, &[]);
        // What the snapshot says it could not read whole, its restore says too.
        assert!(matches!(run.status, 0 | 3), "{run:?}");
        for (path, seen) in crate::look::look(&target) {
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap();
            assert!(name.is_empty() || name.len() == 2, "{} is from outside", path.escape_ascii());
            assert!(seen.content != Some(blake3::hash(MARKER.repeat(100).as_bytes())), "read through a link");
        }
        fs::remove_dir_all(&target).unwrap();
    }
    let checked = vault.run(&["check"]);
    assert_eq!(checked.status, 0, "{checked:?}");
}
