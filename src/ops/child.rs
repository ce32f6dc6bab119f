//! A program that the user names: waited for together with the cancel flag, and stopped, politely
//! and then not, when its owner goes before it ends. PostgreSQL's own tools are
//! `postgres::process`'s, which also listens to what they say.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::base::clock::Cancel;

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// The first wait between two looks: most programs end with their output.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// The longest wait between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running program; stopped when dropped before its end.
#[derive(Debug)]
pub struct Running {
    child: Child,
    own_group: bool,
    ended: bool,
}

impl Running {
    /// Starts `command`. With `own_group` all that it starts is stopped with it; but a program in a
    /// group of its own cannot read from the terminal, so that is for where there is none.
    pub fn start(command: &mut Command, own_group: bool) -> io::Result<Self> {
        if own_group {
            command.process_group(0);
        }
        Ok(Running { child: command.spawn()?, own_group, ended: false })
    }

    /// Its standard output, if that is a pipe and was not taken yet.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for the end, which may come long after the output's; `None` once `cancel` is raised.
    pub fn wait(&mut self, cancel: &Cancel) -> io::Result<Option<ExitStatus>> {
        let mut step = FIRST_LOOK;
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                return Ok(Some(status));
            }
            if cancel.is_cancelled() {
                return Ok(None);
            }
            sleep(step);
            step = (step * 2).min(LOOK_EVERY);
        }
    }

    /// Signals a program that was not waited for to its end: until then its number is nobody else's.
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        // Fails only if it is gone already.
        let _ = if self.own_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.signal(Signal::TERM);
        let mut waited = Duration::ZERO;
        while waited < GRACE {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;
    use std::process::Stdio;

    fn shell(script: &str) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        Running::start(&mut command, true).unwrap()
    }

    #[test]
    fn the_end_is_waited_for_beyond_the_output() {
        let mut running = shell("exec >&-; sleep 0.1; exit 3");
        let status = running.wait(&Cancel::new()).unwrap().unwrap();
        assert_eq!(status.code(), Some(3));
    }

    #[test]
    fn a_raised_flag_ends_the_wait_and_dropping_stops_the_program() {
        let mut running = shell("exec >&-; exec sleep 1000");
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(running.wait(&cancel).unwrap().is_none());
    }

    #[test]
    fn what_it_started_is_stopped_with_it() {
        let mut running = shell("sleep 1000 & echo started; wait");
        let mut stdout = running.stdout().unwrap();
        stdout.read_exact(&mut [0; 8]).unwrap();
        drop(running);
        // Standard output ends when the last process that holds it is gone.
        stdout.read_to_end(&mut Vec::new()).unwrap();
    }
}
