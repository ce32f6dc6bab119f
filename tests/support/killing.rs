//! Programs that are killed at a moment of the test's choice.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::{Command, Stdio};
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
