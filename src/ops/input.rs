//! A pipe, file or terminal that is read until its end or until the user asks to stop: a signal
//! handler does not wake a blocking read, and a source that is silent for an hour must not make
//! Ctrl-C wait for an hour.

use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::clock::Cancel;

/// How long one wait lasts before the wish to stop is looked at.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Bytes that the kernel is asked to keep in the pipe: fewer switches between writer and reader.
const PIPE_SIZE: usize = 1 << 20;

/// A cancellable reader.
#[derive(Debug)]
pub struct Input<R> {
    inner: R,
    cancel: Cancel,
}

impl<R: Read + AsFd> Input<R> {
    /// Reads `inner` until `cancel`.
    pub fn new(inner: R, cancel: &Cancel) -> Self {
        // Not a pipe, or not allowed that much: then it stays as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(&inner, PIPE_SIZE);
        Input { inner, cancel: cancel.clone() }
    }
}

impl<R: Read + AsFd> Read for Input<R> {
    /// Like any reader; once cancelled, an error whose kind is not `Interrupted`, since every
    /// caller takes that one for a reason to try again.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("interrupted"));
            }
            let mut fds = [PollFd::new(&self.inner, PollFlags::IN)];
            match poll(&mut fds, Some(&WAIT)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // Some files cannot be polled; reading them does not block.
                Ok(_) | Err(_) => return self.inner.read(out),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::File;
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
        Input::new(reader, &Cancel::new()).read_to_end(&mut got).unwrap();
        feed.join().unwrap().unwrap();
        assert_eq!(got, vec![7; 300_000]);
    }

    #[test]
    fn a_raised_flag_ends_a_wait_for_bytes_that_never_come() {
        let (reader, writer) = pipe();
        let cancel = Cancel::new();
        let waiting = {
            let mut input = Input::new(reader, &cancel);
            thread::spawn(move || input.read_to_end(&mut Vec::new()))
        };
        cancel.cancel();
        let error = waiting.join().unwrap().unwrap_err();
        assert_ne!(error.kind(), io::ErrorKind::Interrupted);
        drop(writer);
    }
}
