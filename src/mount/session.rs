//! From mounting to unmounting: the folder is looked at first, the kernel's questions are answered by
//! several threads, and an end is waited for. Who asks to end while programs are at work there is told
//! which; who asks again gets their way.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::base::clock::Cancel;
use crate::base::monitor::Monitor;
use crate::mount::Error;
use crate::mount::fs::Files;

/// What `/proc/self/mountinfo` shows as source.
const NAME: &str = "kamba-vault";
/// How often it is looked whether the end has come.
const TICK: Duration = Duration::from_millis(50);
/// Ticks between two tries to unmount what is in use.
const TRY_EVERY: u32 = 10;
/// Threads that answer the kernel: some wait for the repository, and the others go on.
const THREADS_MIN: usize = 4;
/// Programs that are named in a message.
const NAMED: usize = 5;

/// Who may look, and whom the kernel asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Every user of the machine may look, as far as modes and ACLs allow.
    pub others: bool,
}

/// A mount that answers.
pub struct Mounted {
    session: BackgroundSession,
    target: PathBuf,
}

/// Makes sure that something can be mounted on `target`, and answers its full path. What a process that
/// died has left mounted there is taken away.
pub fn prepare(target: &Path, monitor: &dyn Monitor) -> Result<PathBuf, Error> {
    let place = |reason, hint| Error::Place { path: target.to_owned(), reason, hint };
    let look = |source| Error::Look { path: target.to_owned(), source };
    // Its attributes may still be known to the kernel; a listing has to be asked for.
    let dead = |e: io::Error| Errno::from_io_error(&e) == Some(Errno::NOTCONN);
    if fs::read_dir(target).is_err_and(dead) && is_ours(target) {
        end(target, true).map_err(|source| Error::Refused { path: target.to_owned(), source })?;
        monitor.note(&format!("what a dead process had mounted on {} was unmounted", target.display()));
    }
    match fs::metadata(target) {
        Ok(metadata) if !metadata.is_dir() => Err(place("is no folder", "name an empty folder")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            Err(place("is not there", "make it first: mkdir, as the user who mounts"))
        }
        Err(e) => Err(look(e)),
        Ok(_) => {
            let mut inside = fs::read_dir(target).map_err(look)?;
            if inside.next().is_some() {
                return Err(place(
                    "is not empty",
                    "name an empty folder: what is in this one would be hidden",
                ));
            }
            fs::canonicalize(target).map_err(look)
        }
    }
}

/// Whether one of ours is mounted on `target`, which may not answer any more.
fn is_ours(target: &Path) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else { return false };
    // The folder itself cannot be asked for its full path; the one above can.
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let Ok(full) = fs::canonicalize(parent).map(|parent| parent.join(name)) else { return false };
    mounts.lines().any(|line| {
        // The fifth field is the folder; after a dash come the type and the source.
        let folder = line.split(' ').nth(4).map(unescaped);
        let source = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').nth(1));
        folder.as_deref() == full.to_str() && source == Some(NAME)
    })
}

/// A path of `/proc/self/mountinfo`, where blanks and the like are written as octal numbers (proc(5)).
fn unescaped(field: &str) -> String {
    let mut out = field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
    out = out.replace("\\134", "\\");
    out
}

/// Mounts `files` on `target`, which [`prepare`] has looked at.
pub fn start(files: Files, target: &Path, access: Access) -> Result<Mounted, Error> {
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::RO, MountOption::FSName(NAME.to_owned()), MountOption::Subtype(NAME.to_owned())];
    if access.others {
        config.acl = SessionACL::All;
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    config.n_threads = Some((cores * 2).max(THREADS_MIN));
    config.clone_fd = true;
    let refused = |source| Error::Refused { path: target.to_owned(), source };
    let opening = files.opening();
    let session = Session::new(files, target, &config).and_then(Session::spawn).map_err(refused)?;
    opening.open(session.notifier());
    Ok(Mounted { session, target: target.to_owned() })
}

impl Mounted {
    /// Waits until it is unmounted, by whomever, or until `stop` is raised, and then sees to it.
    pub fn wait(self, stop: &Cancel, monitor: &dyn Monitor) -> Result<(), Error> {
        let (mut asked, mut ticks) = (false, 0u32);
        while !self.session.guard.is_finished() {
            let again = stop.take();
            if again || (asked && ticks.is_multiple_of(TRY_EVERY)) {
                match end(&self.target, again && asked) {
                    Ok(()) => break,
                    Err(e) if again => monitor.warn(&self.in_use(&e)),
                    Err(_) => {}
                }
                asked = true;
            }
            ticks = ticks.wrapping_add(1);
            std::thread::sleep(TICK);
        }
        let ended = |source| Error::Ended { path: self.target.clone(), source };
        match self.session.join() {
            // What was forced apart from outside has ended all the same.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::CONNABORTED) => Ok(()),
            joined => joined.map_err(ended),
        }
    }

    fn in_use(&self, error: &io::Error) -> String {
        let target = self.target.display();
        let users = users(&self.target);
        let named: Vec<String> =
            users.iter().take(NAMED).map(|(pid, name)| format!("{name} ({pid})")).collect();
        let by = match (named.is_empty(), users.len().saturating_sub(NAMED)) {
            (true, _) => format!("cannot unmount {target}: {error}"),
            (false, 0) => format!("{target} is in use by {}", named.join(", ")),
            (false, more) => format!("{target} is in use by {} and {more} more", named.join(", ")),
        };
        format!("{by}; it is unmounted when they have ended, or now if you interrupt again")
    }
}

/// Unmounts; with `detach` also what is in use, which then goes when the last has ended.
fn end(target: &Path, detach: bool) -> io::Result<()> {
    let flags = if detach { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match unmount(target, flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        // Not there any more: somebody else was faster.
        Err(Errno::INVAL) => Ok(()),
        Err(Errno::PERM) => end_as_user(target, detach),
        Err(e) => Err(e.into()),
    }
}

/// Users other than root unmount through the program that mounted for them.
fn end_as_user(target: &Path, detach: bool) -> io::Result<()> {
    let mut command = Command::new("fusermount3");
    command.arg("-u").args(detach.then_some("-z")).arg("--").arg(target);
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// The processes that have something open below `target`, or stand there, as far as we may see.
fn users(target: &Path) -> BTreeMap<u32, String> {
    let mut users = BTreeMap::new();
    let Ok(processes) = fs::read_dir("/proc") else { return users };
    for process in processes.filter_map(Result::ok) {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid != std::process::id() && is_user(&process.path(), target) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            users.insert(pid, name.trim().to_owned());
        }
    }
    users
}

fn is_user(process: &Path, target: &Path) -> bool {
    // The links are read and not followed: nothing here waits for the mount.
    let points = |link: PathBuf| fs::read_link(link).is_ok_and(|to| to.starts_with(target));
    let open = fs::read_dir(process.join("fd"));
    ["cwd", "root", "exe"].iter().any(|name| points(process.join(name)))
        || open.is_ok_and(|open| open.filter_map(Result::ok).any(|link| points(link.path())))
        || fs::read_to_string(process.join("maps"))
            .is_ok_and(|maps| target.to_str().is_some_and(|target| maps.contains(&format!(" {target}/"))))
}

/// Raises how far the kernel reads ahead, where it lets us: fewer questions for the same bytes.
pub fn read_ahead(target: &Path) {
    let Ok(metadata) = fs::metadata(target) else { return };
    let device = metadata.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    // Users other than root may not: then it stays as it is.
    let _ = fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), "1024");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::monitor::Silent;

    #[test]
    fn what_cannot_be_mounted_on_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let says = |path: &Path| prepare(path, &Silent).unwrap_err().to_string();
        assert!(says(&folder.path().join("x")).ends_with("x is not there"));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(says(&file).ends_with("file is no folder"));
        assert!(says(folder.path()).ends_with("is not empty"));
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        assert_eq!(prepare(&empty, &Silent).unwrap(), fs::canonicalize(&empty).unwrap());
    }

    #[test]
    fn blanks_in_mount_points_are_read() {
        assert_eq!(unescaped("/a\\040b\\134c"), "/a b\\c");
    }
}
