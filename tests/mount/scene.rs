//! A repository, and mounts of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::{Run, Sandbox, largest, wait_for};

/// A repository with a key file, a folder for trees, and one to mount on.
pub struct Scene {
    pub sandbox: Sandbox,
}

impl Scene {
    pub fn new() -> Self {
        let scene = Scene { sandbox: Sandbox::new() };
        fs::create_dir(scene.path("tree")).unwrap();
        fs::create_dir(scene.path("mnt")).unwrap();
        scene
    }

    /// A path in the home folder, without links.
    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.home.path().canonicalize().unwrap().join(name)
    }

    pub fn run(&self, args: &[&str]) -> Run {
        self.sandbox.run(args)
    }

    /// Takes a snapshot of the tree; its id.
    pub fn snapshot(&self) -> String {
        let made = self.run(&["snapshot", "files", "--json", self.path("tree").to_str().unwrap()]).json();
        made["id"].as_str().unwrap().to_owned()
    }

    /// Where the tree of the newest snapshot is in a mount of all of them.
    pub fn latest(&self) -> PathBuf {
        below(&self.path("mnt/latest"), &self.path("tree"))
    }

    /// What forgetting a snapshot leaves: its root is gone.
    pub fn forget(&self, id: &str) {
        let named = |path: &Path| path.file_name().unwrap().to_string_lossy().contains(id);
        let roots = crate::program::files(&self.path("repository/roots"));
        fs::remove_file(roots.iter().find(|path| named(path)).unwrap()).unwrap();
    }

    /// Flips a bit in the middle of the largest pack of data; its path.
    pub fn damage(&self) -> PathBuf {
        let pack = largest(&self.path("repository/data"));
        let mut bytes = fs::read(&pack).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&pack, bytes).unwrap();
        pack
    }

    pub fn mount(&self, args: &[&str]) -> Mounted {
        Mounted::start(self.sandbox.program(), self.path("mnt"), args, &self.path("log"))
    }
}

/// `path` below `top`.
pub fn below(top: &Path, path: &Path) -> PathBuf {
    top.join(path.strip_prefix("/").unwrap())
}

/// A process that mounts. When it is dropped, it and its mount are gone.
pub struct Mounted {
    pub process: Child,
    pub at: PathBuf,
    log: PathBuf,
}

impl Mounted {
    /// Starts it, and waits until it has mounted.
    pub fn start(mut program: Command, at: PathBuf, args: &[&str], log: &Path) -> Self {
        program.arg("mount").arg(&at).args(args).arg("--no-progress");
        let mut process = program.stdout(Stdio::piped()).stderr(File::create(log).unwrap()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mounted = Mounted { process, at, log: log.to_owned() };
        assert!(line.starts_with("mounted on "), "{line}{}", mounted.log());
        mounted
    }

    /// What it said to people.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits for its end; the exit status.
    pub fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        wait_for("the end of the mount", || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    /// Bytes that it has read, from the repository above all.
    pub fn read(&self) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.process.id())).unwrap();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    /// Bytes of memory it has taken at most.
    pub fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.at, UnmountFlags::DETACH);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether something is mounted there.
pub fn is_mounted(at: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == at.to_str())
}

/// The output of a program that must succeed.
pub fn output(command: &mut Command) -> Vec<u8> {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}: {text}");
    stdout
}

/// The snapshots of the repository, oldest first.
pub fn ids(scene: &Scene) -> Vec<String> {
    let listed = scene.run(&["snapshots", "--json"]).json();
    let id = |snapshot: &Value| snapshot["id"].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(id).collect()
}
