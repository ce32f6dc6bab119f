//! The demo, small: it plays to its end, leaves nothing behind, and says truly how to clean up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{finish, program, wait_for};

/// A folder for temporary files that a server's own user can reach.
fn stage() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("kv").tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn demo(folder: &Path) -> Command {
    let mut command = program(folder);
    command.env("TMPDIR", folder).args(["demo", "--size", "1M"]);
    // The user's own settings lead to a real database and a real repository, and must not count.
    command.env("PGHOST", "db.example.org").env("PGSERVICE", "none").env("KAMBA_PASSWORD", "x");
    command
}

fn left(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn the_demo_plays_to_its_end_and_leaves_nothing() {
    let folder = stage();
    let run = finish(&mut demo(folder.path()));
    let text = run.text();
    let parts = ["snapshots\n", "no damage found", "DROP TABLE", "--create\n", "as it was", "cleaned up"];
    let images = ["4 added", "1 removed", "3 with other content", "1 renamed", "$ rm -r /"];
    for part in parts.into_iter().chain(images) {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert_eq!(text.matches("object is as it was").count(), 2);
    assert_eq!(text.matches("image is as it was, byte for byte").count(), 2);
    assert_eq!(left(folder.path()), [""; 0]);
}

#[test]
fn what_is_kept_works_as_printed_and_goes_as_printed() {
    let folder = stage();
    let run = finish(demo(folder.path()).arg("--keep"));
    let text = run.text();
    assert_eq!(left(folder.path()).len(), 2);
    let lines = |prefix: &str| -> String {
        text.lines().filter(|line| line.starts_with(prefix)).map(|line| format!("{line}\n")).collect()
    };
    let typed = |part: &str| {
        text.lines().filter_map(|line| line.strip_prefix("$ ")).rfind(|l| l.contains(part)).unwrap()
    };
    let (check, diff) = (typed("check"), typed("diff"));
    let (gone, back) = (typed("rm -r"), typed("restore files"));
    let (_, removal) = text.split_once("To remove it:\n").unwrap();
    let images = gone.strip_prefix("rm -r ").unwrap();
    let repeated = format!("{check}\n{diff}\n{gone}\n{back}\ntest -s {images}/1/product-0042.jpg");
    let script = format!("set -e\n{}\n{repeated}\npsql -d shop -c 'SELECT 1'\n{removal}", lines("  export "));
    let mut sh = Command::new("sh");
    let again = finish(sh.args(["-c", &script]).env("HOME", folder.path()).stdin(Stdio::null()));
    assert_eq!(again.status, 0, "{script}\n{again:?}");
    assert_eq!(left(folder.path()), [""; 0]);
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let folder = stage();
    let mut child = demo(folder.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the demo's folders", || left(folder.path()).len() == 2);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert_eq!(left(folder.path()), [""; 0]);
}
