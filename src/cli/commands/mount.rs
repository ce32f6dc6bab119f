//! `mount DIR [SNAPSHOT]`: the snapshots as folders.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::base::class::Class;
use crate::base::monitor::Monitor;
use crate::cli::context::Context;
use crate::cli::env;
use crate::cli::exit::{Done, Failure};
use crate::cli::time;
use crate::mount::{self, Access, Request};

const EXAMPLES: &str = "\
Examples:
  mkdir /mnt/backup
  kamba-vault mount /mnt/backup                   end with Ctrl-C, or: umount /mnt/backup
  ls /mnt/backup/latest /mnt/backup/by-host
  kamba-vault mount --daemon /mnt/backup latest@db=shop
  pg_restore -l /mnt/backup/shop/database.seekable.dump";

const LAYOUT: &str = "\
What is where:
  snapshots/TIME-ID/        every snapshot, by the time (UTC) it was begun
  latest/                   the newest
  by-host/HOST/TIME-ID      links to those of a machine, and latest beside them
  by-kind/KIND/TIME-ID      likewise for files, db, stream and base
  by-tag/TAG/TIME-ID        likewise for each tag
  by-database/NAME/TIME-ID  links to each dump of a database

Links to snapshots point into snapshots/. A database's folder has its dump (database.dump, and
database.seekable.dump for pg_restore -j), schema.sql, and its tables as .copy and as .csv. Nobody
knows how long a .csv is before it was read: its size shows as 0, cat and cp read all of it, and
tar and rsync take it for empty. Where there was no dump of a database when it was mounted, there
are none.

New snapshots appear by themselves, and nothing can be changed. Without --allow-other only the user
who mounted can look, and sees all of it, whatever the modes say; with it everybody can, as modes
and ACLs allow.";

/// The line by which a process in the background says that it has mounted.
const MOUNTED: &str = "mounted";
/// The option with which that process is started, which help does not show.
const BACKGROUND: &str = "--in-background";

/// Show snapshots as folders
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{LAYOUT}"))]
pub struct MountArgs {
    /// An empty folder
    #[arg(value_name = "DIR")]
    pub target: PathBuf,

    /// Show this snapshot alone: an id or its beginning, latest, latest~2, latest@db=NAME, or a time
    #[arg(value_name = "SNAPSHOT")]
    pub snapshot: Option<OsString>,

    /// Let other users look, as far as modes and ACLs allow them
    #[arg(long)]
    pub allow_other: bool,

    /// Go on in the background once it is mounted
    #[arg(long)]
    pub daemon: bool,

    /// With --daemon, write what goes wrong to this file
    #[arg(long, value_name = "FILE", requires = "daemon")]
    pub log: Option<PathBuf>,

    /// Be the process in the background, with its log
    #[arg(long = "in-background", hide = true, value_name = "FILE", conflicts_with_all = ["daemon", "log"])]
    pub background: Option<PathBuf>,
}

/// What `--json` prints once it is mounted.
#[derive(Serialize)]
struct Document<'a> {
    mounted: &'a Path,
    snapshot: Option<String>,
}

/// Mounts, and stays until it is unmounted.
pub fn run(args: &MountArgs, context: &Context) -> Result<Done, Failure> {
    if args.daemon {
        return in_background(args, context);
    }
    let target = mount::prepare(&args.target, context.progress())?;
    let repository = context.open()?;
    let only = match &args.snapshot {
        None => None,
        Some(text) => match context.find(&repository, text)? {
            (found, None) => Some(found),
            (_, Some(_)) => {
                let message = "a whole snapshot can be mounted, and no path in it";
                return Err(Failure::new(Class::Usage, message)
                    .with_hint("mount the snapshot, and go to the path below its folder"));
            }
        },
    };
    let id = only.as_ref().map(|snapshot| snapshot.id.to_hex());
    let request =
        Request { only, access: Access { others: args.allow_other }, write_time: Box::new(time::file_name) };
    let monitor: Arc<dyn Monitor> = context.monitor();
    let mounted = mount::mount(&repository, &target, request, monitor, &context.cancel)?;
    // From here on an interrupt means the mount, and not what somebody is reading.
    context.cancel.spare(true);
    context.finish_progress();
    match &args.background {
        Some(log) => leave(log, context)?,
        None if context.json() => context.output.json(&Document { mounted: &target, snapshot: id })?,
        None => context.output.text(&format!(
            "mounted on {}; end with Ctrl-C, or: {} {}\n",
            target.display(),
            if rustix::process::geteuid().is_root() { "umount" } else { "fusermount3 -u" },
            target.display()
        ))?,
    }
    let ended = mounted.wait(&context.cancel, context.progress());
    context.cancel.spare(false);
    ended?;
    Ok(Done::Complete)
}

/// Starts the same again in the background, and waits until it has mounted.
fn in_background(args: &MountArgs, context: &Context) -> Result<Done, Failure> {
    let failed = |what: &str, e: io::Error| Failure::new(Class::Failed, format!("cannot {what}: {e}"));
    let log = match (&args.log, context.settings()?.cache_dir) {
        (Some(log), _) => log.clone(),
        (None, Some(folder)) => folder.join("mount.log"),
        (None, None) => {
            let message = "there is no home folder to keep the log in";
            return Err(Failure::new(Class::Usage, message).with_hint("name a file with --log"));
        }
    };
    open_log(&log)?;
    let mut command = Command::new(context.environment.program()?);
    command.args(background_arguments(env::arguments().into_iter().skip(1), &log));
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|e| failed("start in the background", e))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // A process that ends early closes it.
        let _ = BufReader::new(stdout).read_line(&mut line);
    }
    if line.trim_end() == MOUNTED {
        let (pid, mounted) = (child.id(), &args.target);
        context.result(&BackgroundDocument { mounted, pid, log: &log }, || {
            format!("mounted on {} by process {pid}; its log is {}\n", mounted.display(), log.display())
        })?;
        return Ok(Done::Complete);
    }
    // It has said itself why.
    let status = child.wait().map_err(|e| failed("wait for the process in the background", e))?;
    let class = CLASSES.into_iter().find(|class| Some(i32::from(class.exit_status())) == status.code());
    Err(Failure::new(class.unwrap_or(Class::Failed), "nothing was mounted"))
}

/// What a process in the background can have failed with.
const CLASSES: [Class; 7] = [
    Class::Usage,
    Class::NoRepository,
    Class::InUse,
    Class::WrongKey,
    Class::Denied,
    Class::Damaged,
    Class::Interrupted,
];

/// What `--json` prints of a process in the background.
#[derive(Serialize)]
struct BackgroundDocument<'a> {
    mounted: &'a Path,
    pid: u32,
    log: &'a Path,
}

/// The same arguments for the process in the background.
fn background_arguments(arguments: impl Iterator<Item = OsString>, log: &Path) -> Vec<OsString> {
    let mut kept: Vec<OsString> = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            kept.push(argument);
            kept.extend(arguments);
            break;
        }
        match argument.to_str() {
            Some("--daemon") => {}
            Some("--log") => {
                arguments.next();
            }
            Some(text) if text.starts_with("--log=") => {}
            _ => kept.push(argument),
        }
    }
    // In front, where nothing can be taken for the end of the options.
    let at = kept.iter().position(|argument| argument == "mount").map_or(0, |at| at + 1);
    kept.splice(at..at, [OsString::from(BACKGROUND), log.into()]);
    kept
}

fn open_log(log: &Path) -> Result<File, Failure> {
    if let Some(folder) = log.parent() {
        // If that fails, so does what follows, which says more.
        let _ = std::fs::create_dir_all(folder);
    }
    let opened = OpenOptions::new().append(true).create(true).open(log);
    opened.map_err(|e| Failure::io(log.display().to_string(), &e))
}

/// Leaves the terminal, and tells the process that waits.
fn leave(log: &Path, context: &Context) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::io("the terminal", &e);
    let log = open_log(log)?;
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null").map_err(failed)?;
    rustix::stdio::dup2_stdin(&nothing).map_err(|e| failed(e.into()))?;
    rustix::stdio::dup2_stderr(&log).map_err(|e| failed(e.into()))?;
    // A process that already leads a session has no terminal to leave.
    let _ = rustix::process::setsid();
    context.output.text(&format!("{MOUNTED}\n"))?;
    rustix::stdio::dup2_stdout(&nothing).map_err(|e| failed(e.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_in_the_background_is_started_with_the_rest() {
        let of = |text: &str| {
            let arguments = text.split(' ').map(OsString::from);
            let kept = background_arguments(arguments, Path::new("L"));
            kept.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of("--repo R mount --daemon D latest"), "--repo R mount --in-background L D latest");
        assert_eq!(of("mount --log X D --daemon"), "mount --in-background L D");
        assert_eq!(of("mount --daemon --log=X -- --daemon"), "mount --in-background L -- --daemon");
    }
}
