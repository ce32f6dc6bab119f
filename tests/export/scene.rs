//! Trees that archives can hold, and programs that read archives.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::FileType;

use crate::look::{Look, look};
use crate::maker::{Owner, make};
use crate::program::{Run, finish, outcome};
use crate::vault::Vault;

/// Makes the tree `top` with every kind of entry, but for paths that are longer than the system takes: those
/// no other program can make. What an archive should have of it.
pub fn tree(top: &Path, seed: u64, owner: Owner) -> Look {
    make(top, seed, owner);
    fs::remove_dir_all(top.join("0".repeat(200))).unwrap();
    look(top).into_iter().filter(|(_, seen)| seen.kind != FileType::Socket).collect()
}

/// What is exported of the snapshot `latest` of the tree `top`.
pub fn exported(vault: &Vault, top: &Path, more: &[&str]) -> Run {
    let what = format!("latest:{}", top.to_str().unwrap());
    vault.run(&[&["export", what.as_str()], more].concat())
}

/// Sends what is exported of a tree through a pipe to `reader`: how both ended.
pub fn piped(vault: &Vault, top: &Path, more: &[&str], reader: &mut Command) -> (Run, Run) {
    let what = format!("latest:{}", top.to_str().unwrap());
    let mut export = vault.program();
    export.args(["export", what.as_str()]).args(more).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut export = export.spawn().unwrap();
    let archive = export.stdout.take().unwrap();
    let reader = reader.stdin(archive).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let read = outcome(reader.wait_with_output().unwrap());
    (outcome(export.wait_with_output().unwrap()), read)
}

/// GNU tar, extracting all there is from its input to `target`.
pub fn extract(target: &Path) -> Command {
    fs::create_dir(target).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--preserve-permissions", "--numeric-owner", "--acls", "--xattrs"]);
    // It cannot believe in times before 1970 and after today.
    tar.args(["--xattrs-include=*", "--warning=no-timestamp", "--warning=no-unknown-keyword", "--file=-"]);
    tar.arg("--directory").arg(target);
    tar
}

/// What a program of this folder, in Python, says of these arguments.
pub fn python(program: &str, args: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export").join(program);
    let run = finish(Command::new("python3").arg("-X").arg("utf8").arg(path).args(args));
    assert_eq!((run.status, run.stderr.as_str()), (0, ""), "{run:?}");
    String::from_utf8(run.stdout).unwrap()
}
