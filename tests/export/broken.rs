//! Archives that come to no end: nobody takes them for whole.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::maker::Owner;
use crate::program::{Run, files, finish, largest, noise, outcome};
use crate::scene::{exported, extract, piped};
use crate::vault::Vault;

/// More than a pipe holds.
const MANY: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// A snapshot of a folder with as many files of noise as there are names.
fn noisy(names: &[&str]) -> (Vault, PathBuf) {
    let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
    let top = vault.path("tree");
    fs::create_dir(&top).unwrap();
    let noise = noise(names.len() * 300_000);
    for (name, part) in names.iter().zip(noise.chunks(300_000)) {
        fs::create_dir_all(top.join(name).parent().unwrap()).unwrap();
        fs::write(top.join(name), part).unwrap();
    }
    vault.snapshot(&top);
    (vault, top)
}

/// Changes a bit of the largest file in a folder of the repository, at one place after the other until `is_right`.
fn damage(vault: &Vault, folder: &str, is_right: impl Fn() -> bool) {
    let path = largest(&vault.path_of_repository().join(folder));
    let sound = fs::read(&path).unwrap();
    for sixteenth in 1..16 {
        let mut bytes = sound.clone();
        bytes[sound.len() * sixteenth / 16] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        if is_right() {
            return;
        }
    }
    panic!("no damage in {} is the right one", path.display());
}

fn read_as(archive: &[u8], name: &str, program: &mut Command) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, archive).unwrap();
    finish(program.arg(path))
}

/// Demands that neither GNU tar nor Python takes it for whole.
#[track_caller]
fn assert_broken(tar: &[u8]) {
    let gnu = read_as(tar, "a.tar", Command::new("tar").arg("-tf"));
    // How it says so depends on whether it looks for the end by seeking.
    assert!(gnu.status == 2 && gnu.stderr.contains("Error is not recoverable"), "{gnu:?}");
    let all = "import sys, tarfile; [0 for member in tarfile.open(sys.argv[1])]";
    let python = read_as(tar, "a.tar", Command::new("python3").args(["-c", all]));
    assert!(python.status == 1 && python.stderr.contains("ReadError"), "{python:?}");
}

#[test]
fn what_ends_the_archive_is_not_taken_for_the_bytes_of_a_short_file() {
    for len in [1, 227, 512, 513, 1024, 5000] {
        let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
        let top = vault.path("tree");
        fs::create_dir(&top).unwrap();
        fs::write(top.join("short"), noise(len)).unwrap();
        vault.snapshot(&top);
        damage(&vault, "data", || exported(&vault, &top, &[]).status == 20);
        assert_broken(&exported(&vault, &top, &[]).stdout);
    }
}

#[test]
fn a_damaged_file_is_named_and_what_is_before_it_is_right() {
    let names = ["a", "b", "c", "d/1", "d/2", "e", "f", "g", "h"];
    let (vault, top) = noisy(&names);
    let is_damaged =
        |name: &&&str| vault.run(&["cat", &format!("latest:{}", top.join(name).display())]).status == 20;
    let first = || names.iter().find(is_damaged).copied();
    damage(&vault, "data", || first().is_some_and(|first| first != "a"));
    let first = first().unwrap();

    let tar = exported(&vault, &top, &[]);
    let zip = exported(&vault, &top, &["--format", "zip"]);
    for run in [&tar, &zip] {
        assert_eq!(run.status, 20, "{run:?}");
        let said = format!("error: {} (snapshot ", top.join(first).display());
        assert!(run.stderr.contains(&said) && run.stderr.contains("do not use it"), "{said} {}", run.stderr);
        assert!(run.stderr.contains(&format!("breaks off after {} bytes", run.stdout.len())));
    }
    assert_broken(&tar.stdout);
    let test = "import sys, zipfile; zipfile.ZipFile(sys.argv[1])";
    let python = read_as(&zip.stdout, "a.zip", Command::new("python3").args(["-c", test]));
    assert!(python.stderr.contains("BadZipFile"), "{python:?}");

    let target = vault.path("target");
    let (export, tar) = piped(&vault, &top, &[], &mut extract(&target));
    assert_eq!((export.status, tar.status), (20, 2));
    for name in names.iter().take_while(|name| **name != first) {
        assert!(fs::read(target.join(name)).unwrap() == fs::read(top.join(name)).unwrap(), "{name}");
    }

    // A file that is asked for is there when it is whole, and not before.
    let output = vault.path("kept.tar");
    fs::write(&output, "what was there").unwrap();
    let run = exported(&vault, &top, &["--output", output.to_str().unwrap()]);
    assert!(run.failed(20).contains(first) && !run.stderr.contains("do not use it"), "{run:?}");
    assert_eq!(fs::read(&output).unwrap(), b"what was there");
    let left: Vec<_> = files(output.parent().unwrap());
    assert!(!left.iter().any(|path| path.to_str().unwrap().contains(".kamba-export")), "{left:?}");
}

#[test]
fn a_listing_that_is_damaged_breaks_it_off_too() {
    let vault = Vault::new(&std::env::temp_dir(), Owner::Runner);
    let top = vault.path("tree");
    fs::create_dir_all(top.join("a")).unwrap();
    fs::write(top.join("a/file"), "content").unwrap();
    // A listing that is larger than what is stored together.
    fs::create_dir_all(top.join("b")).unwrap();
    let mut dice = crate::maker::Dice(5);
    for n in 0..4000 {
        let noise: String = (0..13).map(|_| format!("{:0>16x}", dice.roll(1 << 31) * 0x9e37_79b9)).collect();
        fs::write(top.join(format!("b/{n:0>4}{noise}")), "").unwrap();
    }
    vault.snapshot(&top);
    let listed =
        |name: &str| vault.run(&["ls", "-q", &format!("latest:{}", top.join(name).display())]).status;
    damage(&vault, "meta", || (listed("a"), listed("b")) == (0, 20));
    let run = exported(&vault, &top, &[]);
    assert_eq!(run.status, 20, "{run:?}");
    assert!(run.stderr.contains(&format!("error: {} (snapshot ", top.join("b").display())), "{}", run.stderr);
    let listed = read_as(&run.stdout, "a.tar", Command::new("tar").arg("-tf"));
    assert!(String::from_utf8_lossy(&listed.stdout).starts_with("a/\na/file\nb/\n"), "{listed:?}");
    assert_broken(&run.stdout);
}

/// Starts an export and reads its beginning.
fn begun(vault: &Vault, top: &Path) -> (std::process::Child, io::PipeReader) {
    let (mut reader, writer) = io::pipe().unwrap();
    let mut command = vault.program();
    command.arg("export").arg(format!("latest:{}", top.display())).stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    drop(command);
    reader.read_exact(&mut [0; 512]).unwrap();
    (child, reader)
}

#[test]
fn a_reader_that_leaves_is_no_failure_and_a_full_disk_is() {
    let (vault, top) = noisy(&MANY);
    let (child, reader) = begun(&vault, &top);
    drop(reader);
    let run = outcome(child.wait_with_output().unwrap());
    assert_eq!((run.status, run.stderr.as_str()), (0, ""));

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = vault.program();
    let run = finish(command.args(["export", "latest"]).stdout(full));
    assert!(run.failed(1).contains("No space left"), "{run:?}");
    let run = vault.run(&["export", "latest", "--format", "tar", "--output", "/dev/full"]);
    assert!(run.failed(1).contains("No space left"), "{run:?}");
    // What is no file stays what it is.
    vault.run(&["export", "latest", "--format", "tar", "--output", "/dev/null"]).text();
    assert!(std::os::unix::fs::FileTypeExt::is_char_device(&fs::metadata("/dev/null").unwrap().file_type()));
}

#[test]
fn an_export_ends_when_it_is_asked_to() {
    let (vault, top) = noisy(&MANY);
    let (child, mut reader) = begun(&vault, &top);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let run = outcome(child.wait_with_output().unwrap());
    assert_eq!((run.status, run.stderr.as_str()), (130, "error: interrupted\n"));
    let mut rest = vec![0; 512];
    reader.read_to_end(&mut rest).unwrap();
    assert!(!rest.ends_with(&[0; 1024]));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let (vault, top) = noisy(&["a"]);
    for (output, said) in [("archive.tar.gz", "--format"), ("archive", "--format"), ("/tmp/.", "--format")] {
        let run = exported(&vault, &top, &["--output", output]);
        assert!(run.failed(2).contains(said), "{run:?}");
    }
    let run = exported(&vault, &top, &["--output", "/tmp", "--format", "tar"]);
    assert!(run.failed(2).contains("is a folder"), "{run:?}");
    // `script` gives the program a terminal.
    let mut program = vault.program();
    let line = format!("{} export latest", env!("CARGO_BIN_EXE_kamba-vault"));
    let envs: Vec<_> = program.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
    program = Command::new("script");
    program.envs(envs).args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let run = finish(program.stdin(Stdio::null()));
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status == 2 && said.contains("standard output is a terminal"), "{run:?}");
}
