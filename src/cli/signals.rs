//! Signals: the first SIGINT, SIGTERM or SIGHUP raises the cancel flag that all work watches; a
//! second SIGINT ends the process at once. Nothing is half-committed either way: a snapshot is
//! one object, created at the very end (I-3, I-10).

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::base::clock::Cancel;

/// Installs the handlers and gives the flag that they raise. A signal that the parent asked us to
/// ignore stays ignored, or `nohup` and a shell's background jobs would not work. `interrupted` is the
/// status with which a second SIGINT ends the process.
pub fn install(interrupted: u8) -> io::Result<Cancel> {
    let raised = Arc::new(AtomicBool::new(false));
    let ignored = fs::read_to_string("/proc/self/status").map_or(0, |text| ignored_mask(&text));
    let wanted = |signal: i32| ignored & (1 << (signal - 1)) == 0;
    if wanted(SIGINT) {
        // Before the flag's own handler: handlers run in order, so the first SIGINT finds it down.
        flag::register_conditional_shutdown(SIGINT, interrupted.into(), Arc::clone(&raised))?;
    }
    for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| wanted(*s)) {
        flag::register(signal, Arc::clone(&raised))?;
    }
    Ok(Cancel::from_flag(raised))
}

/// The set of ignored signals from `/proc/self/status` (proc(5): bit n-1 stands for signal n);
/// none where the file has no such line.
fn ignored_mask(status: &str) -> u64 {
    let line = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        // What `nohup` leaves: SIGHUP, beside SIGPIPE which the runtime ignores.
        let status = "Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        let mask = ignored_mask(status);
        assert_ne!(mask & (1 << (SIGHUP - 1)), 0);
        assert_eq!(mask & (1 << (SIGINT - 1)), 0);
        assert_eq!(ignored_mask("Name:\tx\n"), 0);
    }
}
