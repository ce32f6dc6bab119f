//! The program: its answers, its exit status, and a restore that is killed and goes on.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;

use kamba_vault::repo::{Credentials, Repository, read_key_file};
use kamba_vault::storage::{Backend, Local};
use serde_json::{Value, json};

use crate::program::Sandbox;
use crate::support::{environment, noise, wait_for};
use crate::tree::{Tree, file, look};

/// The sandbox's repository, opened here.
fn open(sandbox: &Sandbox) -> Repository {
    let backend: Arc<dyn Backend> = Arc::new(Local::open(sandbox.path("repository")).unwrap());
    let key = read_key_file(&fs::read(sandbox.path("key")).unwrap()).unwrap();
    let credentials = Credentials { passphrase: None, key_file: Some(key) };
    Repository::open(environment(backend, &sandbox.path("own cache")), &credentials).unwrap()
}

fn restore(sandbox: &Sandbox, more: &[&str]) -> crate::program::Run {
    let target = sandbox.path("target");
    let args = ["restore", "files", "latest", "--target", target.to_str().unwrap(), "--numeric-ids"];
    sandbox.run(&[&args, more].concat())
}

#[test]
fn the_answer_says_what_was_done() {
    let sandbox = Sandbox::new();
    let mut tree = Tree::default();
    tree.put("srv/a", file("a")).put("srv/b/c", file("ccc"));
    tree.commit(&open(&sandbox), "/srv");
    let dry = restore(&sandbox, &["--json", "--dry-run"]);
    let lines: Vec<Value> = dry.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert_eq!(lines[0], json!({"message_type": "create", "path": "srv"}));
    assert_eq!((&lines[4]["message_type"], &lines[4]["created"]), (&json!("summary"), &json!(4)));
    assert!(!sandbox.path("target").exists());
    let made = restore(&sandbox, &["--json", "--verify"]).json();
    for (field, value) in [("created", 4), ("bytes", 4), ("verified", 2), ("damaged", 0), ("failed", 0)] {
        assert_eq!(made[field], json!(value), "{field}");
    }
    let again = restore(&sandbox, &[]);
    assert!(
        again.text().ends_with("0 created, 0 overwritten, 0 repaired, 0 deleted, 4 unchanged\n"),
        "{again:?}"
    );
}

#[test]
fn damage_is_status_20_and_the_rest_is_restored() {
    let sandbox = Sandbox::new();
    let mut tree = Tree::default();
    tree.put("a", file(noise(1, 9_000_000))).put("b", file(noise(2, 9_000_000))).put("c", file("c"));
    tree.commit(&open(&sandbox), "/");
    let pack = crate::program::largest(&sandbox.path("repository/data"));
    let mut bytes = fs::read(&pack).unwrap();
    bytes[100_000] ^= 1;
    let mut permissions = pack.metadata().unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    fs::set_permissions(&pack, permissions).unwrap();
    fs::write(&pack, bytes).unwrap();
    let run = restore(&sandbox, &[]);
    assert_eq!(run.status, 20, "{run:?}");
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(said.contains("1 entry left out") && said.contains("damaged    "), "{said}");
    assert_eq!(look(&sandbox.path("target")).len(), 2);
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| entries.flatten().count())
}

/// Kills `child` once there are `most` files; `false` if it was done before.
fn kill_at(mut child: Child, folder: &Path, most: usize) -> bool {
    let mut ended = false;
    wait_for("files", || {
        ended = child.try_wait().unwrap().is_some();
        ended || count(folder) >= most
    });
    let _ = child.kill();
    child.wait().unwrap();
    !ended
}

#[test]
fn a_restore_that_is_killed_goes_on() {
    let sandbox = Sandbox::new();
    let mut tree = Tree::default();
    for n in 0..4000 {
        tree.put(format!("many/{n:05}"), file(noise(n, 3000 + n as usize)));
    }
    tree.put("many/big", file(noise(9999, 20_000_000)));
    tree.commit(&open(&sandbox), "/many");
    let target = sandbox.path("target");
    let mut killed = 0;
    for most in [1, 300, 900, 2000] {
        let mut command = sandbox.program();
        command.args(["-q", "restore", "files", "latest", "--numeric-ids", "--target"]).arg(&target);
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        killed += usize::from(kill_at(child, &target.join("many"), most));
    }
    let report = restore(&sandbox, &["--json", "--verify"]).json();
    assert_eq!((&report["verified"], &report["damaged"]), (&json!(4001), &json!(0)));
    if killed == 4 {
        assert!(report["unchanged"].as_u64().unwrap() > 0, "{report}");
    }
    let found = look(&target);
    assert_eq!(found.len(), 4002);
    assert!(found.into_keys().all(|path| !path.to_string_lossy().contains(".kamba")));
}
