//! A pipe that is read until its end or until the user asks to stop: a source that is silent for
//! an hour must not make Ctrl-C wait for an hour.

use std::io::{self, Read};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::clock::Cancel;

/// How long one wait lasts before the wish to stop is looked at.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Bytes that the kernel is asked to keep in the pipe: fewer switches between writer and reader.
const PIPE_SIZE: usize = 1 << 20;

/// A cancellable reader.
pub struct Input<R> {
    inner: R,
    cancel: Cancel,
}

impl<R: Read + AsFd> Input<R> {
    /// Reads `inner` until `cancel`.
    pub fn new(inner: R, cancel: Cancel) -> Self {
        // Not a pipe, or not allowed that much: then it stays as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(&inner, PIPE_SIZE);
        Input { inner, cancel }
    }
}

impl<R: Read + AsFd> Read for Input<R> {
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
