//! The output of a command that runs here, so that its end can be judged: a command that fails or
//! is killed leaves no snapshot (I-3).

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use crate::base::clock::Cancel;
use crate::base::monitor::Monitor;
use crate::base::secret::PASSWORD_VARIABLE;
use crate::format::root::SnapshotKind;
use crate::ops::Error;
use crate::ops::child::Running;
use crate::ops::input::Input;
use crate::ops::snapshot::stream::gather;

use crate::ops::snapshot::{Made, Provenance, earlier, in_session, node_name};
use crate::repo::{self, Repository};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct CommandRequest {
    /// What the stream is called in the snapshot.
    pub name: String,
    /// The program and its arguments, at least the program.
    pub command: Vec<OsString>,
    /// Whether output without a byte is fine.
    pub allow_empty: bool,
    /// Whether all that the command starts is stopped with it; not where it may need a terminal.
    pub own_group: bool,
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
        let (name, mut running) = start(request)?;
        let stdout = running.stdout().ok_or(repo::Error::Worker)?;
        let mut input = Input::new(stdout, cancel);
        let earlier = earlier(session, provenance, SnapshotKind::Stream, &request.name);
        let stream = session.stream_after(earlier.content(&request.name));
        gather(session, stream, &request.name, &mut input, request.allow_empty, || {
            finish(&name, &mut running, cancel)
        })
    })
}

/// Starts the command; its name goes with it.
fn start(request: &CommandRequest) -> Result<(String, Running), Error> {
    let (program, arguments) = request.command.split_first().ok_or_else(|| Error::Usage {
        message: "no command was given".into(),
        hint: Some("write it after --: kamba-vault snapshot command --name NAME -- PROGRAM ARGUMENT…"),
    })?;
    let name = program.to_string_lossy().into_owned();
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).env_remove(PASSWORD_VARIABLE);
    match Running::start(&mut command, request.own_group) {
        Ok(running) => Ok((name, running)),
        Err(source) => Err(Error::Start { command: name, source }),
    }
}

/// Waits for the end and judges it. Output may end before the command does.
fn finish(name: &str, running: &mut Running, cancel: &Cancel) -> Result<(), Error> {
    match running.wait(cancel) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => {
            Err(Error::Command { command: name.to_owned(), how: describe(status), stderr: String::new() })
        }
        Ok(None) => Err(repo::Error::Interrupted.into()),
        Err(source) => Err(Error::Start { command: name.to_owned(), source }),
    }
}

/// How a process ended, in words.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended in an unknown way".into(),
    }
}
