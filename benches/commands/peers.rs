//! The programs that a user could take instead, each as it comes: its own default chunks and
//! compression (zstd 3 where it must be asked for), encrypted, local. Passwords are stretched as
//! each does by default; that is part of its time. Memory is that of the program itself: what
//! bupstash's own server process takes comes on top.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Input, Output, Result, Run, run};
use crate::vault::{self, Vault, size_of};

const PASSWORD: &str = "correct horse battery staple";

/// Something that stores a stream and gives it back.
pub trait Engine {
    /// Makes an empty store below `folder`. Not measured.
    fn begin(&mut self, folder: &Path) -> Result<()>;
    /// Stores what comes from a pipe as number `n`.
    fn store(&self, n: u32) -> Run;
    /// Prints what was stored as number `n`, if it can.
    fn read(&self, n: u32) -> Option<Run>;
    /// Verifies all data, if it can.
    fn check(&self) -> Option<Run>;
    /// Stores a file tree as number `n`, if it can.
    fn snapshot(&self, _tree: &Path, _n: u32) -> Option<Run> {
        None
    }
    /// Restores the tree that was stored as number `n`, by its full path below `target`, if it can. It
    /// is the one stored last.
    fn restore(&self, _n: u32, _target: &Path) -> Option<Run> {
        None
    }
    /// Compares two trees, if it can. They are those stored last.
    fn diff(&self, _old: u32, _new: u32) -> Option<Run> {
        None
    }
    /// What mounts all snapshots on a folder, and the folder there of the one that was stored as number `n`,
    /// if it can.
    fn mount(&self, _at: &Path, _n: u32) -> Option<(Command, PathBuf)> {
        None
    }
    /// Bytes on disk.
    fn stored(&self) -> Result<u64>;
}

/// An engine by its name, or none if it is not installed.
pub struct Contender {
    /// What it is called in the table.
    pub name: &'static str,
    /// What it says its version is.
    pub version: String,
    /// The engine.
    pub engine: Option<Box<dyn Engine>>,
}

/// What the floor is called.
pub const FLOOR: &str = "zstd -3 -T2";
/// The peer whose stored size is ours to come near.
pub const RESTIC: &str = "restic";
/// Another one that stores file trees.
pub const BORG: &str = "borg";

/// The program under test and the floor.
pub fn ours_and_floor() -> Vec<Contender> {
    let ours: Box<dyn Engine> = Box::new(Ours { vault: Vault::at(PathBuf::new()), last: Cell::new(0) });
    let version = format!("kamba-vault {}", env!("CARGO_PKG_VERSION"));
    let floor = installed(FLOOR, "zstd", |program| Box::new(Zstd(Base::new(program))));
    vec![Contender { name: vault::NAME, version, engine: Some(ours) }, floor]
}

/// The peers.
pub fn peers() -> Vec<Contender> {
    vec![
        installed(RESTIC, "restic", |program| Box::new(Restic(Base::new(program)))),
        installed(BORG, "borg", |program| Box::new(Borg(Base::new(program)))),
        installed("rustic", "rustic", |program| Box::new(Rustic(Base::new(program)))),
        installed("bupstash", "bupstash", |program| Box::new(Bupstash(Base::new(program)))),
    ]
}

fn installed(name: &'static str, program: &str, make: impl FnOnce(PathBuf) -> Box<dyn Engine>) -> Contender {
    let Some(path) = find(program) else { return Contender { name, version: String::new(), engine: None } };
    let flag = if program == "restic" { "version" } else { "--version" };
    let said = Command::new(&path).arg(flag).output().map(|said| said.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let first = said.lines().next().unwrap_or_default();
    // Up to the number: who wrote and what compiled it matters less.
    let words = first.trim_matches(|c: char| c == '*' || c == ' ').split_inclusive(' ');
    let mut is_over = false;
    let version: String =
        words.take_while(|word| !std::mem::replace(&mut is_over, word.contains('.'))).collect();
    let version = version.trim_end_matches([' ', ',']).to_owned();
    Contender { name, version, engine: Some(make(path)) }
}

/// The first program of that name in PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

struct Ours {
    vault: Vault,
    /// Number of what was stored last.
    last: Cell<u32>,
}

impl Ours {
    fn run(&self, arguments: &[&str]) -> Run {
        Run::new(self.vault.command(arguments))
    }
}

impl Engine for Ours {
    fn begin(&mut self, folder: &Path) -> Result<()> {
        self.vault = Vault::create(folder)?;
        Ok(())
    }

    fn store(&self, n: u32) -> Run {
        self.last.set(n);
        self.run(&["snapshot", "stdin", "--name", "shop.sql"])
    }

    fn read(&self, n: u32) -> Option<Run> {
        let later = self.last.get().checked_sub(n)?;
        Some(self.run(&["cat", &format!("latest~{later}:shop.sql")]))
    }

    fn check(&self) -> Option<Run> {
        Some(self.run(&["check", "--read-data"]))
    }

    fn snapshot(&self, tree: &Path, n: u32) -> Option<Run> {
        Some(self.run(&["snapshot", "files", "--tag", &n.to_string(), &tree.to_string_lossy()]))
    }

    fn restore(&self, _n: u32, target: &Path) -> Option<Run> {
        Some(self.run(&["restore", "files", "latest", "--target", &target.to_string_lossy()]))
    }

    fn diff(&self, _old: u32, _new: u32) -> Option<Run> {
        Some(self.run(&["diff", "latest~1", "latest"]))
    }

    fn mount(&self, at: &Path, n: u32) -> Option<(Command, PathBuf)> {
        let mut command = self.vault.command(&["mount"]);
        command.arg(at);
        Some((command, at.join(format!("by-tag/{n}/latest"))))
    }

    fn stored(&self) -> Result<u64> {
        size_of(&self.vault.repository())
    }
}

/// What peers have in common: a program and a folder.
struct Base {
    program: PathBuf,
    folder: PathBuf,
}

impl Base {
    fn new(program: PathBuf) -> Self {
        Base { program, folder: PathBuf::new() }
    }

    fn begin(&mut self, folder: &Path) -> Result<()> {
        self.folder = folder.to_owned();
        std::fs::create_dir_all(folder)?;
        std::fs::write(self.path("password"), PASSWORD)?;
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// The program, kept away from the user's configuration and caches.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("HOME", &self.folder);
        for variable in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
            command.env(variable, self.path("xdg"));
        }
        command
    }
}

/// No engine, but the least that storing a compressed stream takes.
struct Zstd(Base);

impl Zstd {
    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = self.0.command();
        command.args(arguments);
        Run::new(command)
    }

    fn file(&self, n: u32) -> PathBuf {
        self.0.repository().join(format!("shop-{n}.zst"))
    }
}

impl Engine for Zstd {
    fn begin(&mut self, folder: &Path) -> Result<()> {
        self.0.begin(folder)?;
        Ok(std::fs::create_dir(self.0.repository())?)
    }

    fn store(&self, n: u32) -> Run {
        self.run(&["-3", "-T2", "-q", "-c"]).into(Output::File(self.file(n)))
    }

    fn read(&self, n: u32) -> Option<Run> {
        Some(self.run(&["-d", "-q", "-c", &self.file(n).to_string_lossy()]))
    }

    fn check(&self) -> Option<Run> {
        Some(self.run(&["-t", "-q", "-r", &self.0.repository().to_string_lossy()]))
    }

    fn snapshot(&self, tree: &Path, n: u32) -> Option<Run> {
        let mut tar = Command::new("tar");
        tar.args(["-cf", "-", "-C"]).arg(tree).arg(".");
        let file = self.0.repository().join(format!("tree-{n}.tar.zst"));
        let run = self.run(&["-3", "-T2", "-q", "-c"]).into(Output::File(file));
        Some(Run { input: Input::From(tar), ..run })
    }

    fn stored(&self) -> Result<u64> {
        size_of(&self.0.repository())
    }
}

struct Restic(Base);

impl Restic {
    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = self.0.command();
        command.arg("--repo").arg(self.0.repository()).arg("--password-file").arg(self.0.path("password"));
        command.arg("--cache-dir").arg(self.0.path("cache")).arg("--quiet").args(arguments);
        Run::new(command)
    }
}

impl Engine for Restic {
    fn begin(&mut self, folder: &Path) -> Result<()> {
        self.0.begin(folder)?;
        run(self.run(&["init"])).map(drop)
    }

    fn store(&self, n: u32) -> Run {
        self.run(&["backup", "--stdin", "--stdin-filename", &format!("shop-{n}.sql")])
    }

    fn snapshot(&self, tree: &Path, n: u32) -> Option<Run> {
        Some(self.run(&["backup", "--tag", &n.to_string(), &tree.to_string_lossy()]))
    }

    fn restore(&self, n: u32, target: &Path) -> Option<Run> {
        let (tag, target) = (n.to_string(), target.to_string_lossy());
        Some(self.run(&["restore", "latest", "--tag", &tag, "--target", &target]))
    }

    fn read(&self, n: u32) -> Option<Run> {
        Some(self.run(&["dump", "latest", &format!("/shop-{n}.sql")]))
    }

    fn check(&self) -> Option<Run> {
        Some(self.run(&["check", "--read-data"]))
    }

    fn mount(&self, at: &Path, n: u32) -> Option<(Command, PathBuf)> {
        let Run { command, .. } = self.run(&["mount", "--tag", &n.to_string(), &at.to_string_lossy()]);
        Some((command, at.join("snapshots/latest")))
    }

    fn stored(&self) -> Result<u64> {
        size_of(&self.0.repository())
    }
}

struct Borg(Base);

impl Borg {
    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = self.0.command();
        command.env("BORG_BASE_DIR", &self.0.folder).env("BORG_PASSPHRASE", PASSWORD);
        command.env("BORG_REPO", self.0.repository()).args(arguments);
        Run::new(command)
    }
}

impl Engine for Borg {
    fn begin(&mut self, folder: &Path) -> Result<()> {
        self.0.begin(folder)?;
        run(self.run(&["init", "--encryption", "repokey-blake2"])).map(drop)
    }

    fn store(&self, n: u32) -> Run {
        self.run(&["create", "--compression", "zstd,3", "--stdin-name", "shop.sql", &format!("::{n}"), "-"])
    }

    fn snapshot(&self, tree: &Path, n: u32) -> Option<Run> {
        let (name, tree) = (format!("::{n}"), tree.to_string_lossy());
        Some(self.run(&["create", "--compression", "zstd,3", &name, &tree]))
    }

    fn restore(&self, n: u32, target: &Path) -> Option<Run> {
        let mut run = self.run(&["extract", &format!("::{n}")]);
        run.command.current_dir(target);
        Some(run)
    }

    fn diff(&self, old: u32, new: u32) -> Option<Run> {
        Some(self.run(&["diff", &format!("::{old}"), &new.to_string()]))
    }

    fn read(&self, n: u32) -> Option<Run> {
        Some(self.run(&["extract", "--stdout", &format!("::{n}")]))
    }

    fn check(&self) -> Option<Run> {
        Some(self.run(&["check", "--verify-data"]))
    }

    fn stored(&self) -> Result<u64> {
        size_of(&self.0.repository())
    }
}

struct Rustic(Base);

impl Rustic {
    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = self.0.command();
        command.env("RUSTIC_REPOSITORY", self.0.repository());
        command.env("RUSTIC_PASSWORD_FILE", self.0.path("password"));
        command.env("RUSTIC_CACHE_DIR", self.0.path("cache"));
        command.args(["--no-progress", "--log-level", "warn"]).args(arguments);
        Run::new(command)
    }
}

impl Engine for Rustic {
    fn begin(&mut self, folder: &Path) -> Result<()> {
        self.0.begin(folder)?;
        run(self.run(&["init"])).map(drop)
    }

    fn store(&self, n: u32) -> Run {
        self.run(&["backup", "--stdin-filename", &format!("shop-{n}.sql"), "-"])
    }

    fn read(&self, n: u32) -> Option<Run> {
        Some(self.run(&["dump", &format!("latest:shop-{n}.sql")]))
    }

    fn check(&self) -> Option<Run> {
        Some(self.run(&["check", "--read-data"]))
    }

    fn stored(&self) -> Result<u64> {
        size_of(&self.0.repository())
    }
}

struct Bupstash(Base);

impl Bupstash {
    fn run(&self, arguments: &[&str]) -> Run {
        let mut command = self.0.command();
        command.env("BUPSTASH_REPOSITORY", self.0.repository()).env("BUPSTASH_KEY", self.0.path("key"));
        command.args(arguments);
        Run::new(command)
    }
}

impl Engine for Bupstash {
    fn begin(&mut self, folder: &Path) -> Result<()> {
        self.0.begin(folder)?;
        let key = self.0.path("key");
        run(self.run(&["new-key", "-o", &key.to_string_lossy()]))?;
        run(self.run(&["init"])).map(drop)
    }

    fn store(&self, n: u32) -> Run {
        self.run(&["put", "-q", "--compression", "zstd:3", &format!("name=shop-{n}.sql"), "-"])
    }

    fn read(&self, n: u32) -> Option<Run> {
        Some(self.run(&["get", "-q", &format!("name=shop-{n}.sql")]))
    }

    fn check(&self) -> Option<Run> {
        None
    }

    fn stored(&self) -> Result<u64> {
        size_of(&self.0.repository())
    }
}
