//! Asking a person: a line, or a secret with the echo off. Only ever used when standard input is a
//! terminal, so that nothing waits for an answer in a script. Ctrl-C at a prompt ends the program
//! and leaves the terminal as it was.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::{Zeroize, Zeroizing};

use crate::base::clock::Cancel;
use crate::cli::exit::Failure;
use crate::ops::input::Input;

/// Longest answer: what a terminal's line discipline holds (N_TTY_BUF_SIZE of Linux).
const ANSWER_MAX: usize = 4096;

/// The terminal of whoever started us.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
    cancel: Cancel,
}

impl Terminal {
    /// The controlling terminal, if standard input is a terminal; `None` in scripts and services.
    pub fn if_interactive(cancel: &Cancel) -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        // Not standard error, which may be redirected. A container's terminal may control nobody.
        let tty = OpenOptions::new().read(true).write(true).open("/dev/tty");
        let tty = tty.or_else(|_| stdin.as_fd().try_clone_to_owned().map(File::from)).ok()?;
        Some(Terminal { tty, cancel: cancel.clone() })
    }

    /// Shows `prompt` and reads a line, without its end.
    pub fn ask(&self, prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        self.show(prompt)?;
        self.line()
    }

    /// Shows `prompt` and reads a line without showing it.
    pub fn ask_secret(&self, prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
        // The echo goes first: what is typed before the prompt appears must not show either.
        let echo = EchoOff::new(&self.tty).map_err(|e| Failure::io("turn off the terminal's echo", &e))?;
        let answer = self.show(prompt).and_then(|()| self.line());
        drop(echo);
        if answer.is_err() {
            // The line feed that ends an answer was not typed: what follows starts a new line.
            let _ = self.show("\n");
        }
        answer
    }

    fn show(&self, text: &str) -> Result<(), Failure> {
        (&self.tty).write_all(text.as_bytes()).map_err(|e| Failure::io("write to the terminal", &e))
    }

    fn line(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let tty = self.tty.try_clone().map_err(|e| Failure::io("open the terminal", &e))?;
        let mut input = Input::new(tty, &self.cancel);
        // Full capacity at once: a vector that grows leaves copies of the secret behind.
        let mut line = Zeroizing::new(Vec::with_capacity(ANSWER_MAX));
        let mut piece = Zeroizing::new([0; ANSWER_MAX]);
        loop {
            let n = match input.read(&mut piece[..]) {
                Ok(n) => n,
                Err(_) if self.cancel.is_cancelled() => return Err(Failure::interrupted()),
                Err(error) => return Err(Failure::io("read from the terminal", &error)),
            };
            if n == 0 || line.len() + n > ANSWER_MAX {
                let why = if n == 0 { "no answer was given" } else { "the answer is too long" };
                return Err(Failure::usage(why));
            }
            line.extend_from_slice(&piece[..n]);
            piece.zeroize();
            if line.last() == Some(&b'\n') {
                line.pop();
                return Ok(line);
            }
        }
    }
}

/// Keeps the echo off; dropping it restores the terminal.
struct EchoOff<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> EchoOff<'a> {
    fn new(tty: &'a File) -> io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // The line feed at the end still shows, so the next line is a new one.
        silent.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(tty, OptionalActions::Now, &silent)?;
        Ok(EchoOff { tty, before })
    }
}

impl Drop for EchoOff<'_> {
    fn drop(&mut self) {
        // Nobody to tell, and nothing else to try.
        let _ = tcsetattr(self.tty, OptionalActions::Now, &self.before);
    }
}
