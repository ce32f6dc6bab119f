//! The program killed in the middle, in snapshot and in restore: the next run goes on, and what comes
//! back is complete.

use std::fs;
use std::path::Path;

use crate::killing::kill_when;
use crate::look::{Look, assert_same, look};
use crate::maker::{Dice, Owner, make};
use crate::vault::Vault;

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| entries.flatten().count())
}

#[test]
fn what_was_killed_goes_on_and_is_complete() {
    let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
    let tree = vault.path("tree");
    make(&tree, 5, Owner::Runner);
    let (mut dice, many) = (Dice(3), tree.join("many"));
    fs::create_dir(&many).unwrap();
    for n in 0..1500 {
        let len = dice.roll(6000) as usize;
        fs::write(many.join(format!("{n:05}")), dice.bytes(len)).unwrap();
    }
    for n in 0..6 {
        fs::write(
            many.join(format!("big {n}")),
            (0..6_000_000).map(|_| dice.roll(256) as u8).collect::<Vec<_>>(),
        )
        .unwrap();
    }
    let should = look(&tree);
    let args = ["snapshot", "files", tree.to_str().unwrap()];
    for more in [0, 1, 2] {
        let before = vault.stored();
        kill_when(vault.program().args(args), || vault.stored() > before + more);
    }
    assert_eq!(vault.snapshot(&tree)["problems"], 0);

    let target = vault.path("target");
    let from = format!("latest:{}", tree.to_str().unwrap());
    let args = ["restore", "files", &from, "--numeric-ids", "--target", target.to_str().unwrap()];
    for most in [1, 200, 700, 1400] {
        kill_when(vault.program().args(args), || count(&target.join("many")) >= most);
    }
    let run = vault.restore("latest", &tree, &target, &["--verify"]);
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
    let is = look(&target);
    assert_same(&should, &is);
    let top =
        |look: &Look| (look[&b""[..]].mode, look[&b""[..]].uid, look[&b""[..]].gid, look[&b""[..]].mtime);
    assert_eq!(top(&is), top(&should), "the folder that the first run made, too");
    // It may say that sessions that died left packs behind.
    let checked = vault.run(&["check"]);
    assert_eq!(checked.status, 0, "{checked:?}");
}
