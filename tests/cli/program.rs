//! Running the binary in an environment of its own: nothing of the developer's configuration,
//! repository or database can leak in.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// What a run left.
#[derive(Debug)]
pub struct Run {
    /// The exit status; -1 if a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Standard output as text, of a run that must have succeeded and complained of nothing. On a busy
    /// machine it may have lasted long enough to tell of its progress.
    #[track_caller]
    pub fn text(&self) -> &str {
        let complaint = self.stderr.lines().find(|line| !is_progress(line));
        assert_eq!((self.status, complaint), (0, None), "{self:?}");
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Standard output as the one JSON document it must be.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap()
    }

    /// What was said of a failure that must have this status and no result.
    #[track_caller]
    pub fn failed(&self, status: i32) -> &str {
        assert_eq!((self.status, self.stdout.len()), (status, 0), "{self:?}");
        &self.stderr
    }
}

/// Whether a line of standard error only says how far the work has come.
fn is_progress(line: &str) -> bool {
    let is_message = ["warning:", "error:", "hint:", "note:"].iter().any(|word| line.starts_with(word));
    line.starts_with("{\"message_type\":\"progress\"")
        || (line.contains(" B/s") || line.contains("iB/s")) && !is_message
}

/// The binary, with an empty environment but for PATH and a home.
pub fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kamba-vault"));
    command.env_clear().env("HOME", home).env("TZ", "UTC").stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Runs the binary with these arguments and no input.
pub fn run(args: &[&str]) -> Run {
    let home = tempfile::tempdir().unwrap();
    finish(program(home.path()).args(args))
}

/// Runs `command` to its end.
pub fn finish(command: &mut Command) -> Run {
    outcome(command.output().unwrap())
}

/// What is left of a run that is over.
pub fn outcome(Output { status, stdout, stderr }: Output) -> Run {
    Run { status: status.code().unwrap_or(-1), stdout, stderr: String::from_utf8(stderr).unwrap() }
}

/// A home with a repository in it that a key file unlocks, so that no run waits for Argon2.
pub struct Sandbox {
    /// The home folder.
    pub home: tempfile::TempDir,
}

impl Sandbox {
    /// An initialised repository.
    pub fn new() -> Self {
        let sandbox = Sandbox::empty();
        sandbox.run(&["init"]).text();
        sandbox
    }

    /// No repository yet.
    pub fn empty() -> Self {
        Sandbox { home: tempfile::tempdir().unwrap() }
    }

    /// A file in the home folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The binary with the repository and its key in the environment.
    pub fn program(&self) -> Command {
        let mut command = program(self.home.path());
        command.env("KAMBA_REPO", self.path("repository")).env("KAMBA_KEY_FILE", self.path("key"));
        command
    }

    /// Runs it without input.
    pub fn run(&self, args: &[&str]) -> Run {
        finish(self.program().args(args))
    }

    /// Runs it with this input.
    pub fn feed(&self, input: &[u8], args: &[&str]) -> Run {
        let mut command = self.program();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        thread::scope(|scope| {
            // It may end without having read everything.
            scope.spawn(move || drop(stdin.write_all(input)));
            outcome(child.wait_with_output().unwrap())
        })
    }

    /// The snapshots as JSON.
    pub fn snapshots(&self) -> Vec<Value> {
        self.run(&["snapshots", "--json"]).json().as_array().unwrap().clone()
    }
}

/// Bytes that look random but are always the same, and that no codec shrinks.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// The largest file below `folder`: a pack of data.
pub fn largest(folder: &Path) -> PathBuf {
    files(folder).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

/// Every file below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

/// Waits until `done`; a test that waits for what never comes fails instead of hanging.
#[track_caller]
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not come");
}
