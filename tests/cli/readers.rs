//! Standard output whose reader has gone, or sleeps: what was found keeps its exit status, and
//! nothing that the user wants to end goes on.

use std::fs;
use std::io::{self, Read};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Run, Sandbox, files, finish, largest, noise};

/// Runs it with a standard output that nobody reads.
fn unread(sandbox: &Sandbox, args: &[&str]) -> Run {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    finish(sandbox.program().args(args).stdout(writer))
}

/// Starts `cat` of a large stream and reads its beginning.
fn begun(sandbox: &Sandbox) -> (Child, io::PipeReader) {
    sandbox.feed(&noise(8_000_000), &["snapshot", "stdin", "--name", "a"]).text();
    let (mut reader, writer) = io::pipe().unwrap();
    let mut command = sandbox.program();
    let child = command.args(["cat", "latest"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    reader.read_exact(&mut [0; 10]).unwrap();
    (child, reader)
}

fn ended(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn nobody_reading_is_no_failure() {
    let sandbox = Sandbox::new();
    for args in
        [&["snapshots"][..], &["ls", "latest", "--json"], &["check", "--read-data"], &["cat", "latest"]]
    {
        sandbox.feed(b"x", &["snapshot", "stdin", "--name", "a"]).text();
        unread(&sandbox, args).text();
    }
    let none = unread(&sandbox, &["ls", "latest:none"]);
    assert_eq!(none.status, 1, "{none:?}");
}

#[test]
fn damage_keeps_its_status_when_nobody_reads_of_it() {
    let sandbox = Sandbox::new();
    sandbox.feed(&noise(2_000_000), &["snapshot", "stdin", "--name", "a"]).text();
    flip(&largest(&sandbox.path("repository")));
    for args in [&["check", "--read-data"][..], &["check", "--read-data", "--json"]] {
        assert_eq!(unread(&sandbox, args).status, 20, "{args:?}");
    }
    let id = sandbox.snapshots()[0]["id"].as_str().unwrap().to_owned();
    let objects = files(&sandbox.path("repository"));
    flip(objects.iter().find(|path| path.to_str().unwrap().contains(&id)).unwrap());
    // The cache has the sound copy.
    fs::remove_dir_all(sandbox.path(".cache")).unwrap();
    assert_eq!(unread(&sandbox, &["snapshots"]).status, 20);
}

/// Changes a bit in the middle of a file.
fn flip(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let sandbox = Sandbox::new();
    let (child, reader) = begun(&sandbox);
    drop(reader);
    assert_eq!(ended(child), (Some(0), String::new()));

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = finish(sandbox.program().args(["cat", "latest"]).stdout(full));
    assert!(run.failed(1).contains("No space left"), "{run:?}");
}

#[test]
fn a_reader_that_sleeps_does_not_keep_it_from_ending() {
    let sandbox = Sandbox::new();
    let (child, reader) = begun(&sandbox);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(ended(child), (Some(130), "error: interrupted\n".to_owned()));
    drop(reader);
}
