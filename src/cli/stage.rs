//! The demo's stage: a folder of its own, a throwaway server, and a way to run commands and show
//! them as a reader would type them. Runs this very program as a child for each of its commands,
//! so that what is shown is what happened.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::base::class::Class;
use crate::cli::context::Context;
use crate::cli::env;
use crate::cli::exit::Failure;
use crate::postgres::cluster::Cluster;
use crate::postgres::connect::VARIABLES;
use crate::postgres::tools::{Program, Tools};

/// How often a running command is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What of our own could lead the demo's commands anywhere else, beside libpq's variables.
const NOT_OURS: [&str; 4] = [env::PASSWORD, env::PASSWORD_FILE, env::PASSWORD_COMMAND, env::DATABASE_URL];

/// Where the demo plays.
pub struct Stage<'a> {
    context: &'a Context,
    folder: TempDir,
    program: PathBuf,
    psql: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

impl<'a> Stage<'a> {
    /// A stage for commands that reach `cluster` and a repository that is not there yet.
    pub fn new(cluster: &Cluster, tools: &Tools, context: &'a Context) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("kamba-demo-")
            .tempdir_in(context.environment.temp_dir())
            .map_err(|e| Failure::io("make a temporary folder", &e))?;
        let inside = |name: &str| folder.path().join(name).into_os_string();
        // An empty configuration: the user's own is about a real repository.
        let config = inside("config.toml");
        fs::write(&config, "").map_err(|e| Failure::io("write to a temporary folder", &e))?;
        let environment = vec![
            ("PGHOST", cluster.folder().as_os_str().to_owned()),
            ("PGPORT", "5432".into()),
            ("PGUSER", "postgres".into()),
            (env::REPO, inside("repository")),
            (env::KEY_FILE, inside("key")),
            (env::CACHE_DIR, inside("cache")),
            (env::CONFIG, config),
        ];
        let program = context.environment.program()?;
        let psql = tools.find(Program::Psql, "the server", cluster.version())?.path;
        Ok(Stage { context, folder, program, psql, environment })
    }

    /// A file of the stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a reader types first, so that the commands shown reach the same places.
    pub fn exports(&self) -> String {
        let line = |(name, value): &(&str, OsString)| {
            format!("  export {name}={}\n", quoted(&value.to_string_lossy()))
        };
        self.environment.iter().map(line).collect()
    }

    /// A line of the story. It goes to standard error when results are for programs.
    pub fn say(&self, text: &str) -> Result<(), Failure> {
        match (self.context.global.quiet, self.context.json()) {
            (true, _) => Ok(()),
            (_, true) => {
                let line = match io::stderr().is_terminal() {
                    true => text.to_owned(),
                    false => serde_json::json!({"message_type": "note", "message": text}).to_string(),
                };
                writeln!(io::stderr(), "{line}").map_err(|e| Failure::io("write", &e))
            }
            _ => self.context.output.text(&format!("{text}\n")),
        }
    }

    /// Runs one of this program's commands and shows it with what it prints.
    pub fn kamba(&self, args: &[&str]) -> Result<(), Failure> {
        self.say(&format!("$ {}", typed(&self.shown(&self.program, "kamba-vault"), args)))?;
        let mut command = self.command(&self.program);
        command.args(args).args(self.context.json().then_some("--json"));
        command.args(self.context.global.no_progress.then_some("--no-progress"));
        command.args(self.context.global.quiet.then_some("--quiet"));
        let status = self.wait(command.spawn().map_err(|e| Failure::io("run this program again", &e))?)?;
        self.say("")?;
        succeeded(status, args)
    }

    /// Runs one of this program's commands for its JSON, without showing it.
    pub fn ask(&self, args: &[&str]) -> Result<serde_json::Value, Failure> {
        let output = self.path("answer.json");
        let file = fs::File::create(&output).map_err(|e| Failure::io("write to a temporary folder", &e))?;
        let mut command = self.command(&self.program);
        command.args(args).args(["--json", "--quiet"]).stdout(file);
        let status = self.wait(command.spawn().map_err(|e| Failure::io("run this program again", &e))?)?;
        succeeded(status, args)?;
        let text =
            fs::read_to_string(&output).map_err(|e| Failure::io("read from a temporary folder", &e))?;
        serde_json::from_str(&text)
            .map_err(|e| Failure::new(Class::Internal, format!("'{}' printed no JSON: {e}", args.join(" "))))
    }

    /// Runs psql and shows it; gives what it prints.
    pub fn psql(&self, args: &[&str]) -> Result<String, Failure> {
        self.say(&format!("$ {}", typed(&self.shown(&self.psql, "psql"), args)))?;
        let output = self.path("answer.txt");
        let file = fs::File::create(&output).map_err(|e| Failure::io("write to a temporary folder", &e))?;
        let mut command = self.command(&self.psql);
        // What a reader's own psqlrc adds would only be in the way of comparing.
        command.args(["--no-psqlrc", "--quiet"]).args(args).stdout(file);
        let status = self.wait(command.spawn().map_err(|e| Failure::io("run psql", &e))?)?;
        succeeded(status, args)?;
        fs::read_to_string(&output).map_err(|e| Failure::io("read from a temporary folder", &e))
    }

    /// Deletes a file or a folder with all that is in it, as if typed.
    pub fn remove(&self, path: &Path) -> Result<(), Failure> {
        let shown = path.display().to_string();
        let is_folder = path.is_dir();
        let args = if is_folder { vec!["-r", &shown] } else { vec![&*shown] };
        self.say(&format!("$ {}\n", typed("rm", &args)))?;
        let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.map_err(|e| Failure::io(format!("remove {shown}"), &e))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        NOT_OURS.iter().chain(&VARIABLES).for_each(|name| {
            command.env_remove(name);
        });
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// How a reader calls a program: by name if PATH leads to it, else by its file.
    fn shown(&self, program: &Path, name: &str) -> String {
        if self.context.environment.in_path(name) {
            name.to_owned()
        } else {
            quoted(&program.display().to_string())
        }
    }

    /// Waits for a command; one that is to stop is told so, and waited for all the same.
    fn wait(&self, mut child: Child) -> Result<ExitStatus, Failure> {
        let mut told = false;
        loop {
            if let Some(status) = child.try_wait().map_err(|e| Failure::io("wait for a command", &e))? {
                return if self.context.cancel.is_cancelled() {
                    Err(Failure::interrupted())
                } else {
                    Ok(status)
                };
            }
            if self.context.cancel.is_cancelled() && !told {
                let _ = kill_process(Pid::from_child(&child), Signal::TERM);
                told = true;
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Leaves everything in its place. Gives the folder.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

fn succeeded(status: ExitStatus, args: &[&str]) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    let what = args.first().unwrap_or(&"");
    Err(Failure::new(Class::Failed, format!("the demo's '{what}' did not succeed ({status})")))
}

/// A command as it is typed.
fn typed(program: &str, args: &[&str]) -> String {
    let words = args.iter().map(|arg| quoted(arg));
    std::iter::once(program.to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as a shell takes it, in quotes where it must be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_a_shell_takes_them() {
        let args = ["restore", "latest@db=shop", "--table", "odd name", "it's", ""];
        assert_eq!(typed("kv", &args), r"kv restore latest@db=shop --table 'odd name' 'it'\''s' ''");
    }
}
