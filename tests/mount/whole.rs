//! What is mounted is what was there, in every field that Linux keeps.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::install::install;
use crate::look::{Look, assert_same, look, names, open_folder};
use crate::maker::{Dice, NOBODY, Owner, is_root, make};
use crate::program::finish;
use crate::scene::{Mounted, Scene, below};

/// A look at a tree, without what a mount cannot know: of a file with several names it knows that, and not how
/// many.
fn looked(top: &std::path::Path) -> Look {
    let mut look = look(top);
    look.values_mut().for_each(|seen| seen.names = seen.names.min(2));
    look
}

#[test]
fn a_tree_is_what_it_was() {
    let scene = Scene::new();
    fs::remove_dir(scene.path("tree")).unwrap();
    make(&scene.path("tree"), 20_261_128, Owner::Runner);
    let before = looked(&scene.path("tree"));
    scene.snapshot();
    let mounted = scene.mount(&[]);
    let seen = looked(&scene.latest());
    assert_same(&before, &seen);
    // And again, from what the kernel remembers; and after it has forgotten, with the same numbers.
    assert_same(&before, &looked(&scene.latest()));
    drop(mounted);
    let mounted = scene.mount(&["latest"]);
    let alone = looked(&below(&mounted.at, &scene.path("tree")));
    assert_same(&before, &alone);
    drop(mounted);
    let mounted = scene.mount(&[]);
    let again = looked(&scene.latest());
    let inodes = |look: &Look| look.values().map(|seen| seen.inode).collect::<Vec<_>>();
    assert_eq!(inodes(&seen), inodes(&again));
    // Every name of an entry has its number, and no other entry has.
    let files: BTreeSet<u64> = again.values().map(|seen| seen.inode).collect();
    let names: usize = again.values().filter(|seen| seen.names == 1).count();
    assert!(files.len() > names);
    assert_eq!(mounted.log(), "");
}

#[test]
fn a_folder_of_many_is_listed_and_each_is_found() {
    let scene = Scene::new();
    let many = scene.path("tree/many");
    fs::create_dir(&many).unwrap();
    let mut dice = Dice(7);
    let mut wanted = BTreeSet::new();
    for number in 0..20_000u64 {
        let name = format!("{}-{number}", dice.roll(1_000_000));
        fs::write(many.join(&name), number.to_string()).unwrap();
        wanted.insert(name.into_bytes());
    }
    scene.snapshot();
    let mounted = scene.mount(&[]);
    let folder = scene.latest().join("many");
    // By name, before anything was listed.
    for name in wanted.iter().step_by(97) {
        let name = std::str::from_utf8(name).unwrap();
        let number = name.split('-').nth(1).unwrap();
        assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), number);
    }
    assert!(fs::metadata(folder.join("5-none")).is_err() && fs::metadata(folder.join("zzz")).is_err());
    let listed = names(open_folder(rustix::fs::CWD, folder.to_str().unwrap().as_bytes()));
    assert_eq!(listed, wanted.into_iter().collect::<Vec<_>>());
    assert_eq!(mounted.log(), "");
}

#[test]
fn nothing_can_be_changed() {
    let scene = Scene::new();
    fs::write(scene.path("tree/a"), "a").unwrap();
    scene.snapshot();
    let _mounted = scene.mount(&[]);
    let file = scene.latest().join("a");
    let refused = |done: std::io::Result<()>| {
        assert_eq!(done.unwrap_err().raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()));
    };
    refused(fs::write(&file, "b"));
    refused(fs::remove_file(&file));
    refused(fs::create_dir(scene.path("mnt/new")));
    refused(fs::rename(&file, scene.latest().join("b")));
    refused(fs::set_permissions(&file, fs::Permissions::from_mode(0o600)));
}

/// The program as a user who is not root, with a repository of theirs.
fn of_nobody(scene: &Scene) -> impl Fn() -> Command {
    install(std::path::Path::new(env!("CARGO_BIN_EXE_kamba-vault")), &scene.path("program"));
    output_of_chown(scene);
    let (program, home) = (scene.path("program"), scene.path(""));
    let owner = NOBODY;
    move || {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={owner}"), &format!("--regid={owner}"), "--clear-groups"]);
        command.arg(&program).env_clear().env("HOME", &home).env("TZ", "UTC");
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("KAMBA_REPO", home.join("repository")).env("KAMBA_KEY_FILE", home.join("key"));
        command
    }
}

fn output_of_chown(scene: &Scene) {
    let owner = format!("{NOBODY}:{NOBODY}");
    crate::scene::output(Command::new("chown").args(["-R", &owner]).arg(scene.path("")));
}

#[test]
fn a_user_who_is_not_root_mounts_and_others_see_nothing() {
    if !is_root() {
        // Then the other tests are this one.
        return;
    }
    let scene = Scene::new();
    // Somebody else's file that nobody may read: who has the repository's key reads it all the same.
    fs::write(scene.path("tree/secret"), "secret").unwrap();
    fs::set_permissions(scene.path("tree/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    scene.snapshot();
    let program = of_nobody(&scene);
    let mut mounted = Mounted::start(program(), scene.path("mnt"), &[], &scene.path("log"));
    let file = scene.latest().join("secret");
    // Root is another user too.
    assert_eq!(fs::read(&file).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
    let mut cat = Command::new("setpriv");
    cat.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "cat"]);
    assert_eq!(finish(cat.arg(&file)).text(), "secret");
    mounted.signal(rustix::process::Signal::INT);
    assert_eq!(mounted.ended(), Some(0), "{}", mounted.log());
    assert!(!crate::scene::is_mounted(&mounted.at));
}

#[test]
fn with_allow_other_modes_decide() {
    if !is_root() {
        // Others may only be let in by root, or where the system's settings say so.
        return;
    }
    let scene = Scene::new();
    for (name, mode) in [("open", 0o644), ("closed", 0o600)] {
        fs::write(scene.path("tree").join(name), name).unwrap();
        fs::set_permissions(scene.path("tree").join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    scene.snapshot();
    let folder = scene.path("");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let _mounted = scene.mount(&["latest", "--allow-other"]);
    let tree = below(&scene.path("mnt"), &scene.path("tree"));
    let cat = |name: &str| {
        let mut cat = Command::new("setpriv");
        cat.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "cat"]);
        finish(cat.arg(tree.join(name)))
    };
    assert_eq!(cat("open").text(), "open");
    assert!(cat("closed").failed(1).contains("Permission denied"));
    assert_eq!(fs::read_to_string(tree.join("closed")).unwrap(), "closed");
    assert_eq!(fs::metadata(tree.join("closed")).unwrap().mode() & 0o7777, 0o600);
}
