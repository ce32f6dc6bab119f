//! Tars, read by GNU tar and by Python.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use crate::look::{assert_same, look};
use crate::maker::Owner;
use crate::scene::{exported, extract, piped, python, tree};
use crate::vault::{Vault, places};

/// As root with all that only root may make and restore, else with what anybody may.
#[test]
fn gnu_tar_brings_everything_back() {
    for (seed, place) in places().iter().enumerate() {
        let vault = Vault::new(place, Owner::Runner);
        let top = vault.path("tree");
        let should = tree(&top, 100 + seed as u64, Owner::Runner);
        assert_eq!(vault.snapshot(&top)["problems"], 0);
        let target = vault.path("target");
        let (export, tar) = piped(&vault, &top, &[], &mut extract(&target));
        assert_eq!((tar.status, tar.stderr.as_str()), (0, ""), "{tar:?}");
        assert_eq!(export.status, 0, "{export:?}");
        let note = "note: 3 entries left out: no archive holds a socket (first: names/socket)";
        assert!(export.stderr.lines().any(|line| line == note), "{export:?}");
        assert_same(&should, &look(&target));
    }
}

#[test]
fn python_reads_the_same() {
    let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
    let top = vault.path("tree");
    let should = tree(&top, 7, Owner::Runner);
    vault.snapshot(&top);
    let archive = vault.path("archive.tar");
    for (more, birth) in [(&[][..], "--none"), (&["--libarchive"], "--birth")] {
        let output = ["--json", "--output", archive.to_str().unwrap()];
        let document = exported(&vault, &top, &[&output, more].concat());
        let document: serde_json::Value = serde_json::from_slice(&document.stdout).unwrap();
        assert_eq!(document["entries"], should.len() - 1, "{document}");
        assert_eq!(document["written"], archive.metadata().unwrap().len());
        assert_eq!(document["notes"], serde_json::json!({"socket": 3}));
        let said = python("read_tar.py", &[archive.to_str().unwrap(), top.to_str().unwrap(), birth]);
        assert_eq!(said, format!("{} entries\n", should.len() - 1));
    }
}

#[test]
fn the_same_snapshot_is_the_same_bytes_and_another_way_to_the_same_file_too() {
    let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
    let top = vault.path("tree");
    tree(&top, 8, Owner::Runner);
    vault.snapshot(&top);
    for format in ["tar", "zip"] {
        let once = exported(&vault, &top, &["--format", format]).stdout;
        let file = vault.path("archive").with_extension(format);
        exported(&vault, &top, &["-o", file.to_str().unwrap()]);
        assert!(!once.is_empty() && once == exported(&vault, &top, &["--format", format]).stdout);
        assert!(once == fs::read(file).unwrap());
    }
}

#[test]
fn a_huge_file_with_holes_costs_what_it_has() {
    const TIB: u64 = 1 << 40;
    let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
    let top = vault.path("tree");
    fs::create_dir(&top).unwrap();
    let file = File::create(top.join("huge")).unwrap();
    file.set_len(TIB).unwrap();
    for at in [0, 1 << 33, TIB - 5] {
        file.write_all_at(b"data!", at).unwrap();
    }
    // So many places that they stand in lists of their own, and their map is longer than a block.
    let many = File::create(top.join("many")).unwrap();
    many.set_len(3000 << 16).unwrap();
    (0..3000u64).for_each(|n| many.write_all_at(&n.to_le_bytes(), n << 16).unwrap());
    vault.snapshot(&top);
    let archive = exported(&vault, &top, &[]);
    assert_eq!((archive.status, archive.stderr.as_str()), (0, ""));
    // A block of the file system each, and what says where they are.
    assert!(archive.stdout.len() < 3010 * 4096 + (1 << 20), "{}", archive.stdout.len());
    let target = vault.path("target");
    let (_, tar) = piped(&vault, &top, &[], &mut extract(&target));
    assert_eq!((tar.status, tar.stderr.as_str()), (0, ""));
    let (is, was) = (target.join("huge"), top.join("huge"));
    assert_eq!(is.metadata().unwrap().len(), TIB);
    assert!(is.metadata().unwrap().blocks() <= was.metadata().unwrap().blocks() + 64);
    let back = File::open(is).unwrap();
    let mut bytes = [0; 10];
    for at in [0, 1 << 33, TIB - 10] {
        back.read_exact_at(&mut bytes, at).unwrap();
        let should: &[u8] = if at == TIB - 10 { b"\0\0\0\0\0data!" } else { b"data!\0\0\0\0\0" };
        assert_eq!(bytes, should);
    }
    assert!(fs::read(target.join("many")).unwrap() == fs::read(top.join("many")).unwrap());
    assert!(target.join("many").metadata().unwrap().blocks() * 512 < 3100 * 4096);
}

#[test]
fn what_is_asked_for_is_at_the_top() {
    let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
    let top = vault.path("tree");
    fs::create_dir_all(top.join("folder/inner")).unwrap();
    fs::write(top.join("folder/inner/file"), "content").unwrap();
    vault.snapshot(&top);
    let list = |what: &str| {
        let mut tar = Command::new("tar");
        let (export, tar) = piped(&vault, std::path::Path::new(what), &[], tar.args(["-t", "-f", "-"]));
        assert_eq!((export.status, tar.status), (0, 0), "{export:?} {tar:?}");
        tar.text().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let full = top.to_str().unwrap().trim_start_matches('/').to_owned();
    assert_eq!(list(&format!("/{full}")), ["folder/", "folder/inner/", "folder/inner/file"]);
    assert_eq!(list(&format!("{full}/folder/")), ["inner/", "inner/file"]);
    assert_eq!(list(&format!("{full}/folder/inner/file")), ["file"]);
    let whole = list("");
    assert_eq!(whole.last().unwrap(), &format!("{full}/folder/inner/file"));
    assert_eq!(whole[0], format!("{}/", full.split('/').next().unwrap()));
    let none = exported(&vault, &top.join("none"), &[]);
    assert!(none.failed(1).contains("none"), "{none:?}");
}
