//! Standard output: results and nothing else. A reader that goes away (`kamba-vault ls … | head`)
//! is no error, and changes no exit status: what was found counts, whoever read of it. Every other
//! write error is one. A reader that sleeps does not keep us from ending when the user asks to. Text
//! and JSON come from here, so that `--json` can promise that standard output carries JSON alone.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use serde::Serialize;

use crate::base::class::Class;
use crate::base::clock::Cancel;
use crate::cli::exit::Failure;

/// How often a wait for the reader looks at the cancel flag.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What a pipe takes at most, unless it is root's (`/proc/sys/fs/pipe-max-size`).
const PIPE: usize = 1 << 20;

/// Standard output, unbuffered: a result is written in one piece, and `cat` writes large blocks.
#[derive(Debug)]
pub struct Output {
    file: File,
    cancel: Cancel,
    reader_gone: AtomicBool,
}

impl Output {
    /// Standard output of this process, until `cancel`.
    pub fn stdout(cancel: &Cancel) -> Result<Self, Failure> {
        let fd =
            io::stdout().as_fd().try_clone_to_owned().map_err(|e| Failure::io("open standard output", &e))?;
        Ok(Output::to_file(File::from(fd), cancel))
    }

    fn to_file(file: File, cancel: &Cancel) -> Self {
        let file = never_blocking(&file).unwrap_or(file);
        Output { file, cancel: cancel.clone(), reader_gone: AtomicBool::new(false) }
    }

    /// Whether whoever read our output has closed it: no error, but whoever only writes can stop.
    pub fn reader_gone(&self) -> bool {
        self.reader_gone.load(Ordering::SeqCst)
    }

    /// Has a pipe take more at once, as whoever writes a great deal wants: fewer turns between the two of them.
    pub fn widen(&self) {
        // What is no pipe, or may have no larger one, works as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(&self.file, PIPE);
    }

    /// Writes `text` as it is. That nobody reads it any more is no failure.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        let mut writer = self;
        match writer.write_all(text.as_bytes()) {
            Err(_) if self.reader_gone() => Ok(()),
            written => written.map_err(|e| Failure::io("write to standard output", &e)),
        }
    }

    /// Writes one JSON document, on one line.
    pub fn json<T: Serialize>(&self, document: &T) -> Result<(), Failure> {
        let mut line = serde_json::to_string(document)
            .map_err(|e| Failure::new(Class::Internal, format!("encode the result as JSON: {e}")))?;
        line.push('\n');
        self.text(&line)
    }
}

/// A pipe opened once more, so that writing to it never blocks: on the one we were given, that
/// would change it for whoever shares it. `None` for all else, which stays as it is: a file opened
/// once more would begin at its start.
fn never_blocking(file: &File) -> Option<File> {
    if !file.metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).ok().map(File::from)
}

impl Output {
    /// Waits until something can be written, or until the user asks to stop.
    fn wait(&self) -> io::Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.file, PollFlags::OUT)];
            match poll(&mut fds, Some(&LOOK_EVERY)) {
                Ok(0) if self.cancel.is_cancelled() => return Err(io::Error::other("interrupted")),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // What cannot be waited for tells its own error when it is written to.
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }
}

impl Write for &Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.wait()?;
            match (&self.file).write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                    self.reader_gone.store(true, Ordering::SeqCst);
                    return Err(e);
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::thread;

    fn pipe() -> (io::PipeReader, Output, Cancel) {
        let (reader, writer) = io::pipe().unwrap();
        let cancel = Cancel::new();
        let output = Output::to_file(File::from(OwnedFd::from(writer)), &cancel);
        (reader, output, cancel)
    }

    #[test]
    fn documents_are_single_lines() {
        let (mut reader, output, _) = pipe();
        output.json(&serde_json::json!({"id": "a\nb", "tags": []})).unwrap();
        drop(output);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "{\"id\":\"a\\nb\",\"tags\":[]}\n");
    }

    #[test]
    fn a_reader_that_left_is_told_from_a_full_disk() {
        let (reader, output, _) = pipe();
        drop(reader);
        assert!(!output.reader_gone());
        output.text("x").unwrap();
        assert!(output.reader_gone());

        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let full = Output::to_file(full, &Cancel::new());
        let failure = full.text("x").unwrap_err();
        assert!(!full.reader_gone());
        assert!(failure.render().contains("standard output"), "{}", failure.render());
    }

    #[test]
    fn a_reader_that_sleeps_is_waited_for_until_the_user_asks_to_stop() {
        let text = "x".repeat(1 << 20);
        let (mut reader, output, cancel) = pipe();
        let waiting = {
            let text = text.clone();
            thread::spawn(move || (output.text(&text), output.text(&text)))
        };
        let mut got = vec![0; text.len()];
        reader.read_exact(&mut got).unwrap();
        assert!(got == text.as_bytes());
        cancel.cancel();
        let (first, second) = waiting.join().unwrap();
        first.unwrap();
        second.unwrap_err();
    }

    #[test]
    fn a_result_that_can_be_written_is_written_even_after_a_signal() {
        let (mut reader, output, cancel) = pipe();
        cancel.cancel();
        output.text("done\n").unwrap();
        drop(output);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "done\n");
    }
}
