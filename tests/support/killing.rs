//! Programs that are killed at a moment of the test's choice.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a busy machine; what needs it never comes.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Starts the program and kills it when `reached`; `false` if it ended before.
pub fn kill_when(command: &mut Command, mut reached: impl FnMut() -> bool) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let ended = loop {
        if child.try_wait().unwrap().is_some() {
            break true;
        }
        if reached() {
            break false;
        }
        assert!(began.elapsed() < WAIT_MAX, "neither the moment came nor the end");
        std::thread::sleep(Duration::from_millis(1));
    };
    let _ = child.kill();
    child.wait().unwrap();
    !ended
}

/// Makes of `strace`, which starts that program as whoever should run `command`, one that runs `command` until one of
/// its threads makes the system call `call` for the `n`-th time. It dies there, and the call has no effect.
pub fn dying_at(mut strace: Command, command: &Command, call: &str, n: u32) -> Command {
    strace.env_clear();
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    command.get_current_dir().map(|dir| strace.current_dir(dir));
    strace.args(["--follow-forks", "--quiet=all", "--output=/dev/null"]);
    strace.arg(format!("--trace={call}")).arg(format!("--inject={call}:signal=KILL:when={n}"));
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

/// Whether a program that [`dying_at`] made has died where it should.
pub fn has_died(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}
