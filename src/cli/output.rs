//! Standard output: results and nothing else. A reader that goes away (`kamba-vault ls … | head`)
//! ends the program quietly; every other write error is an error. Text and JSON come from here, so
//! that `--json` can promise that standard output carries JSON alone.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::base::class::Class;
use crate::cli::exit::Failure;

/// Standard output, unbuffered: a result is written in one piece, and `cat` writes large blocks.
#[derive(Debug)]
pub struct Output {
    file: File,
    reader_gone: AtomicBool,
}

impl Output {
    /// Standard output of this process.
    pub fn stdout() -> Result<Self, Failure> {
        let fd =
            io::stdout().as_fd().try_clone_to_owned().map_err(|e| Failure::io("open standard output", &e))?;
        Ok(Output::to_file(File::from(fd)))
    }

    fn to_file(file: File) -> Self {
        Output { file, reader_gone: AtomicBool::new(false) }
    }

    /// Whether whoever read our output has closed it: no error, but nothing more to do.
    pub fn reader_gone(&self) -> bool {
        self.reader_gone.load(Ordering::SeqCst)
    }

    /// Writes `text` as it is.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        let mut writer = self;
        writer.write_all(text.as_bytes()).map_err(|e| Failure::io("write to standard output", &e))
    }

    /// Writes one JSON document, on one line.
    pub fn json<T: Serialize>(&self, document: &T) -> Result<(), Failure> {
        let mut line = serde_json::to_string(document)
            .map_err(|e| Failure::new(Class::Internal, format!("encode the result as JSON: {e}")))?;
        line.push('\n');
        self.text(&line)
    }
}

impl Write for &Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.file).write(bytes).inspect_err(|e| {
            if e.kind() == io::ErrorKind::BrokenPipe {
                self.reader_gone.store(true, Ordering::SeqCst);
            }
        })
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

    #[test]
    fn documents_are_single_lines() {
        let (mut reader, writer) = io::pipe().unwrap();
        let output = Output::to_file(File::from(std::os::fd::OwnedFd::from(writer)));
        output.json(&serde_json::json!({"id": "a\nb", "tags": []})).unwrap();
        drop(output);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "{\"id\":\"a\\nb\",\"tags\":[]}\n");
    }

    #[test]
    fn a_reader_that_left_is_told_from_a_full_disk() {
        let (reader, writer) = io::pipe().unwrap();
        let output = Output::to_file(File::from(std::os::fd::OwnedFd::from(writer)));
        drop(reader);
        assert!(!output.reader_gone());
        output.text("x").unwrap_err();
        assert!(output.reader_gone());

        let full = Output::to_file(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let failure = full.text("x").unwrap_err();
        assert!(!full.reader_gone());
        assert!(failure.render().contains("standard output"), "{}", failure.render());
    }
}
