//! The output of a command that runs here, so that its end can be judged: a command that fails or
//! is killed leaves no snapshot (I-3).

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::base::clock::Cancel;
use crate::base::monitor::Monitor;
use crate::base::secret::PASSWORD_VARIABLE;
use crate::ops::Error;
use crate::ops::snapshot::input::Input;
use crate::ops::snapshot::stream::gather;
use crate::ops::snapshot::{Made, Provenance, in_session, node_name};
use crate::repo::Repository;

/// How long a command may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CommandRequest {
    /// What the stream is called in the snapshot.
    pub name: String,
    /// The program and its arguments, at least the program.
    pub command: Vec<OsString>,
    /// Whether output without a byte is fine.
    pub allow_empty: bool,
}

/// Snapshots the standard output of a command.
pub fn snapshot_command(
    repo: &Repository,
    provenance: &Provenance,
    request: &CommandRequest,
    monitor: Arc<dyn Monitor>,
    cancel: &Cancel,
) -> Result<Made, Error> {
    node_name(&request.name)?;
    in_session(repo, provenance, monitor, cancel, |session| {
        let mut running = Running::start(&request.command)?;
        let stdout = running.child.stdout.take().ok_or(crate::repo::Error::Worker)?;
        let mut input = Input::new(stdout, cancel.clone());
        gather(session, &request.name, &mut input, request.allow_empty, || running.finish())
    })
}

/// A running command; stopped when dropped before its end.
struct Running {
    name: String,
    child: Child,
    ended: bool,
}

impl Running {
    fn start(command: &[OsString]) -> Result<Self, Error> {
        let (program, arguments) = command.split_first().ok_or_else(|| Error::Usage {
            message: "no command was given".into(),
            hint: Some("write it after --: kamba-vault snapshot command --name NAME -- PROGRAM ARGUMENT…"),
        })?;
        let name = program.to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped()).env_remove(PASSWORD_VARIABLE);
        let started = command.spawn();
        match started {
            Ok(child) => Ok(Running { name, child, ended: false }),
            Err(source) => Err(Error::Start { command: name, source }),
        }
    }

    /// Waits for the end and judges it. Output may end before the command does.
    fn finish(&mut self) -> Result<(), Error> {
        let status = self.child.wait();
        self.ended = true;
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Error::Command {
                command: self.name.clone(),
                how: describe(status),
                stderr: String::new(),
            }),
            Err(source) => Err(Error::Start { command: self.name.clone(), source }),
        }
    }
}

/// How a process ended, in words.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended in an unknown way".into(),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let step = Duration::from_millis(20);
        let mut waited = Duration::ZERO;
        while waited < GRACE {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(step);
            waited += step;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
