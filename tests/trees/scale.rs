//! Memory does not grow with the number of entries: the same commands on a tree and on one ten times as
//! large, and the most memory that each took. `cargo bench --bench commands -- --only scale` is for
//! millions.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::maker::Owner;
use crate::vault::Vault;

/// Entries of the small tree.
const ENTRIES: usize = 5_000;
/// How many times as many the large one has.
const TIMES: usize = 10;
/// How much more memory they may take: what buffers and caches that have a limit take until they are
/// full, but not a node for each entry.
const MORE: u64 = 24 << 20;
/// The same for `diff`, which holds what may have been renamed, up to a limit.
const MORE_IN_DIFF: u64 = 96 << 20;

/// Runs the program; the most memory that was resident in it. The kernel keeps the peak, and it is
/// looked at without a pause: a run may end within milliseconds.
fn peak(vault: &Vault, args: &[&str]) -> u64 {
    let mut child = vault.program().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        let text = fs::read_to_string(&status_file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        peak = kib.map_or(peak, |kib| peak.max(kib << 10));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };
    assert!(status.success(), "{args:?}");
    peak
}

/// Half of the entries in one folder, a quarter each in many and as further names of the first.
fn make(top: &Path, entries: usize) {
    for folder in ["one", "links"] {
        fs::create_dir_all(top.join(folder)).unwrap();
    }
    for n in 0..entries / 2 {
        let name = format!("some image of a product, number {n:07}.jpg");
        fs::write(top.join("one").join(&name), "").unwrap();
        if n % 2 == 0 {
            fs::hard_link(top.join("one").join(&name), top.join("links").join(&name)).unwrap();
        }
    }
    for n in 0..entries / 4 {
        let folder = top.join(format!("many/{}", n / 50));
        if n % 50 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        fs::write(folder.join(format!("{n}")), n.to_le_bytes()).unwrap();
    }
}

/// What each command took at most.
fn peaks(place: &Path, entries: usize) -> Vec<(&'static str, u64)> {
    let vault = Vault::new(place, Owner::Runner);
    let (tree, target) = (vault.path("tree"), vault.path("target"));
    make(&tree, entries);
    let (tree, target) = (tree.to_str().unwrap(), target.to_str().unwrap());
    let restore = ["restore", "files", "latest", "--numeric-ids", "--target", target];
    let folder = |name: &str| format!("latest:{tree}/{name}");
    vec![
        ("first", peak(&vault, &["snapshot", "files", tree])),
        ("again", peak(&vault, &["snapshot", "files", tree])),
        ("restore", peak(&vault, &restore)),
        ("restore again", peak(&vault, &[&restore[..], &["--delete", "--verify"]].concat())),
        ("find", peak(&vault, &["find", "*7*"])),
        ("diff", peak(&vault, &["diff", &folder("one"), &folder("many")])),
    ]
}

#[test]
fn memory_does_not_grow_with_the_number_of_entries() {
    let place = crate::vault::places().pop().unwrap();
    let (small, large) = (peaks(&place, ENTRIES), peaks(&place, ENTRIES * TIMES));
    for ((what, small), (_, large)) in small.iter().zip(&large) {
        assert!(*large > 1 << 20, "{what}: its memory was not seen");
        let more = if *what == "diff" { MORE_IN_DIFF } else { MORE };
        assert!(*large < small + more, "{what}: {small} bytes, and {large} with {TIMES} times the entries");
    }
}
