//! Reading that can be interrupted: waits for input and for the cancel flag at once, because a
//! signal handler does not wake a blocking read. Serves prompts and what password commands print.

use std::fs::File;
use std::io::{self, Read};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::clock::Cancel;

/// How often a wait looks at the cancel flag.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A file, pipe or terminal that stops waiting for bytes once the cancel flag is raised.
#[derive(Debug)]
pub struct Interruptible {
    file: File,
    cancel: Cancel,
}

impl Interruptible {
    /// Reads from `file` until `cancel` is raised.
    pub fn new(file: File, cancel: &Cancel) -> Self {
        Interruptible { file, cancel: cancel.clone() }
    }
}

impl Read for Interruptible {
    /// Like any reader; once cancelled, an error whose kind is not `Interrupted`, since every
    /// caller takes that one for a reason to try again.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("interrupted"));
            }
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut fds, Some(&LOOK_EVERY)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.file.read(into),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::thread;

    fn pipe() -> (File, File) {
        let (reader, writer) = io::pipe().unwrap();
        (File::from(OwnedFd::from(reader)), File::from(OwnedFd::from(writer)))
    }

    #[test]
    fn reads_to_the_end_like_any_reader() {
        let (reader, mut writer) = pipe();
        let feed = thread::spawn(move || writer.write_all(&[7; 300_000]));
        let mut got = Vec::new();
        Interruptible::new(reader, &Cancel::new()).read_to_end(&mut got).unwrap();
        feed.join().unwrap().unwrap();
        assert_eq!(got, vec![7; 300_000]);
    }

    #[test]
    fn a_raised_flag_ends_a_wait_for_bytes_that_never_come() {
        let (reader, writer) = pipe();
        let cancel = Cancel::new();
        let waiting = {
            let mut input = Interruptible::new(reader, &cancel);
            thread::spawn(move || input.read_to_end(&mut Vec::new()))
        };
        cancel.cancel();
        let error = waiting.join().unwrap().unwrap_err();
        assert_ne!(error.kind(), io::ErrorKind::Interrupted);
        drop(writer);
    }
}
