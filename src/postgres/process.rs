//! Child processes: a program runs in a process group of its own, so that Ctrl-C on the terminal
//! reaches us alone and we decide; a cancel ends the whole group, politely and then not. What it
//! says on standard error is drained all the while and its end is kept. None outlives its owner, unless
//! this whole process is killed outright: then a program ends when it next needs a pipe from us, and a
//! pg_restore with several jobs, which needs none, at its own end.

use std::collections::VecDeque;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::base::clock::Cancel;
use crate::base::limits::TOOL_STDERR_MAX;
use crate::base::secret::PASSWORD_VARIABLE;
use crate::postgres::error::Error;

/// How often a running program's owner is asked whether to go on.
const TICK: Duration = Duration::from_millis(50);

/// Ticks between the polite signal and the other: two seconds.
const GRACE_TICKS: u32 = 40;

/// Size of the pipes to and from a program: fewer switches between it and us.
const PIPE_SIZE: usize = 1 << 20;

/// A running program.
pub struct Running {
    name: &'static str,
    child: Child,
    watch: Arc<Watch>,
    watcher: Option<JoinHandle<()>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    cancel: Cancel,
}

/// What the watcher and the owner share.
#[derive(Default)]
struct Watch {
    /// True once the program has ended: its id may belong to another process from then on.
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, group: Pid, signal: Signal) {
        let ended = self.lock();
        if !*ended {
            // Fails only if the group is gone already.
            let _ = kill_process_group(group, signal);
        }
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// The end of what it wrote to standard error.
    pub stderr: String,
}

impl Running {
    /// Starts `command`. Standard error is always taken; the rest is as the command says.
    pub fn start(name: &'static str, command: &mut Command, cancel: &Cancel) -> Result<Self, Error> {
        if cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        command.stderr(Stdio::piped()).process_group(0).env_remove(PASSWORD_VARIABLE);
        let mut child = command.spawn().map_err(Error::io(format!("{name} could not be started")))?;
        let stderr = child.stderr.take().map(|stderr| std::thread::spawn(move || last_of(stderr)));
        let watch = Arc::new(Watch::default());
        let group = Pid::from_child(&child);
        let watcher = {
            let (watch, cancel) = (Arc::clone(&watch), cancel.clone());
            std::thread::spawn(move || stand_by(&watch, group, &cancel))
        };
        Ok(Running { name, child, watch, watcher: Some(watcher), stderr, cancel: cancel.clone() })
    }

    /// The program's standard output, if it is a pipe.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        let stdout = self.child.stdout.take()?;
        // A smaller pipe is only slower: unprivileged users have a limit on the sum.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_SIZE);
        Some(stdout)
    }

    /// The program's standard input, if it is a pipe.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        let stdin = self.child.stdin.take()?;
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE_SIZE);
        Some(stdin)
    }

    /// Reads standard output to its end. More than `max` bytes are no answer, and an error.
    pub fn answer(&mut self, max: u64) -> Result<Vec<u8>, Error> {
        let mut answer = Vec::new();
        if let Some(stdout) = self.stdout() {
            let read = stdout.take(max + 1).read_to_end(&mut answer);
            read.map_err(Error::io(format!("reading what {} says", self.name)))?;
        }
        if answer.len() as u64 > max { Err(Error::Answer("more than it was asked for")) } else { Ok(answer) }
    }

    /// Waits for the end, whatever it is.
    pub fn wait(mut self) -> Result<Ended, Error> {
        drop(self.child.stdin.take());
        let status = self.reap()?;
        let stderr = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if self.cancel.is_cancelled() && !status.success() {
            return Err(Error::Cancelled);
        }
        Ok(Ended { status, stderr: String::from_utf8_lossy(&stderr).trim_end().to_owned() })
    }

    /// Waits for the end; anything but status 0 is an error.
    pub fn wait_for_success(self) -> Result<Ended, Error> {
        let name = self.name;
        let ended = self.wait()?;
        if ended.status.success() {
            return Ok(ended);
        }
        Err(Error::Failed { program: name, status: describe(ended.status), stderr: ended.stderr })
    }

    fn has_ended(&self) -> bool {
        let id = WaitId::Pid(Pid::from_child(&self.child));
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(id, options), Ok(None))
    }

    /// Waits without taking the process away first, so that no signal can hit a stranger.
    fn reap(&mut self) -> Result<ExitStatus, Error> {
        let pid = Pid::from_child(&self.child);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(pid), options), Err(rustix::io::Errno::INTR)) {}
        let status = {
            let mut ended = self.watch.lock();
            let status = self.child.wait();
            *ended = true;
            status
        };
        self.watch.changed.notify_all();
        if let Some(watcher) = self.watcher.take() {
            // It holds nothing and returns at once.
            let _ = watcher.join();
        }
        status.map_err(Error::io(format!("waiting for {}", self.name)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.watcher.is_none() {
            return;
        }
        drop((self.child.stdin.take(), self.child.stdout.take()));
        let group = Pid::from_child(&self.child);
        self.watch.signal(group, Signal::TERM);
        for _ in 0..GRACE_TICKS {
            if self.has_ended() {
                break;
            }
            std::thread::sleep(TICK);
        }
        if !self.has_ended() {
            self.watch.signal(group, Signal::KILL);
        }
        let _ = self.reap();
    }
}

/// Ends the program's group when it is cancelled.
fn stand_by(watch: &Watch, group: Pid, cancel: &Cancel) {
    let mut ticks = 0;
    let mut ended = watch.lock();
    while !*ended {
        if cancel.is_cancelled() {
            if ticks == 0 || ticks == GRACE_TICKS {
                let signal = if ticks == 0 { Signal::TERM } else { Signal::KILL };
                let _ = kill_process_group(group, signal);
            }
            ticks += 1;
        }
        (ended, _) = watch.changed.wait_timeout(ended, TICK).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Reads to the end and keeps the last part, from the beginning of a line.
fn last_of(mut from: ChildStderr) -> Vec<u8> {
    let mut last = VecDeque::with_capacity(TOOL_STDERR_MAX);
    let mut buf = [0u8; 4096];
    let mut cut = false;
    while let Ok(n @ 1..) = from.read(&mut buf) {
        last.extend(&buf[..n]);
        let over = last.len().saturating_sub(TOOL_STDERR_MAX);
        cut |= over > 0;
        last.drain(..over);
    }
    let mut last = Vec::from(last);
    if let (true, Some(newline)) = (cut, last.iter().position(|b| *b == b'\n')) {
        last.drain(..=newline);
    }
    last
}

/// How a program ended, in words that follow its name.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended badly".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::Running;
    use crate::base::clock::Cancel;
    use crate::base::limits::TOOL_STDERR_MAX;
    use crate::postgres::error::Error;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    #[test]
    fn a_failure_says_how_and_why() {
        let running = Running::start("sh", &mut shell("echo broken >&2; exit 3"), &Cancel::new()).unwrap();
        let error = running.wait_for_success().unwrap_err();
        assert_eq!(error.to_string(), "sh ended with status 3: broken");
        let running = Running::start("sh", &mut shell("kill -9 $$"), &Cancel::new()).unwrap();
        assert_eq!(running.wait_for_success().unwrap_err().to_string(), "sh was killed by signal 9");
    }

    #[test]
    fn a_cancel_ends_the_program_and_its_children() {
        let cancel = Cancel::new();
        let mut running =
            Running::start("sh", &mut shell("trap '' TERM; sleep 1000 & echo started; wait"), &cancel)
                .unwrap();
        let mut stdout = running.stdout().unwrap();
        let mut line = [0u8; 8];
        stdout.read_exact(&mut line).unwrap();
        cancel.cancel();
        // Standard output ends when the last process that holds it is gone.
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).unwrap();
        assert!(matches!(running.wait(), Err(Error::Cancelled)));
        assert!(matches!(Running::start("sh", &mut shell("true"), &cancel), Err(Error::Cancelled)));
    }

    #[test]
    fn dropping_ends_the_program() {
        let mut running =
            Running::start("sh", &mut shell("echo started; sleep 1000"), &Cancel::new()).unwrap();
        let mut stdout = running.stdout().unwrap();
        drop(running);
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).unwrap();
    }

    #[test]
    fn the_end_of_a_long_complaint_is_kept() {
        let script = "i=0; while [ $i -lt 2000 ]; do echo line $i >&2; i=$((i+1)); done";
        let ended = Running::start("sh", &mut shell(script), &Cancel::new()).unwrap().wait().unwrap();
        assert!(ended.stderr.len() <= TOOL_STDERR_MAX);
        assert!(ended.stderr.starts_with("line ") && ended.stderr.ends_with("line 1999"));
    }
}
