//! Dumps as streams: pg_dump in the custom format, uncompressed, and pg_dumpall for what belongs
//! to no database. The end of the stream says nothing yet: only `finish` tells whether the
//! program ended well, and without that there is no dump (I-3).

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::process::{ChildStdout, Command, Stdio};

use crate::base::clock::Cancel;
use crate::postgres::connect::Settings;
use crate::postgres::error::Error;
use crate::postgres::process::Running;
use crate::postgres::tools::Tool;

/// pg_dump's options with one letter that take a value ("pg_dump" in PostgreSQL's manual).
const WITH_VALUE: &[u8] = b"defFhjnNpSTtUZ";

/// Letters of options that this program sets itself, or that make no dump.
const OURS: &[u8] = b"dfFhjpUVwWZ?";

/// The same with their long names. getopt_long takes any unique beginning of a name for it.
const OURS_LONG: [&str; 12] = [
    "compress",
    "dbname",
    "file",
    "format",
    "help",
    "host",
    "jobs",
    "no-password",
    "password",
    "port",
    "username",
    "version",
];

/// A running dump: read it to the end, then `finish`.
pub struct Dump {
    stdout: Option<ChildStdout>,
    running: Running,
}

/// Options for pg_dump that a user passes on.
#[derive(Clone, Debug, Default)]
pub struct PassedOn(Vec<OsString>);

impl PassedOn {
    /// Takes options as they were given; refuses those that would change where the dump comes
    /// from, where it goes, or its format.
    pub fn new(options: Vec<OsString>) -> Result<Self, Error> {
        let mut takes_next = false;
        for option in &options {
            takes_next = match (takes_next, option.as_bytes()) {
                (true, [first, ..]) if *first != b'-' => false,
                (_, [b'-', b'-', name @ ..]) => check_long(option, name)?,
                (_, [b'-', letters @ ..]) if !letters.is_empty() => check_letters(option, letters)?,
                // A name without an option would be another database.
                _ => return Err(Error::Option(option.to_string_lossy().into_owned())),
            };
        }
        Ok(PassedOn(options))
    }

    /// The options.
    pub fn options(&self) -> &[OsString] {
        &self.0
    }
}

/// `--name` or `--name=value`. Returns whether the next word may be its value.
fn check_long(option: &OsStr, name: &[u8]) -> Result<bool, Error> {
    let (name, has_value) = match name.iter().position(|b| *b == b'=') {
        Some(at) => (&name[..at], true),
        None => (name, false),
    };
    if name.is_empty() || OURS_LONG.iter().any(|ours| ours.as_bytes().starts_with(name)) {
        return Err(refused(option));
    }
    Ok(!has_value)
}

/// `-a`, `-ab`, `-tname` or `-t name`. Returns whether the next word is its value.
fn check_letters(option: &OsStr, letters: &[u8]) -> Result<bool, Error> {
    for (i, letter) in letters.iter().enumerate() {
        if OURS.contains(letter) {
            return Err(refused(option));
        }
        if WITH_VALUE.contains(letter) {
            return Ok(i + 1 == letters.len());
        }
    }
    Ok(false)
}

/// Names the option without its value, which could be a connection string.
fn refused(option: &OsStr) -> Error {
    let text = option.to_string_lossy();
    let shown = match text.split_once('=') {
        Some((name, _)) => name,
        None if text.starts_with("--") => &text,
        None => text.get(..2).unwrap_or(&text),
    };
    Error::Option(shown.to_owned())
}

/// Starts a dump of the database of `settings`.
pub fn dump(
    pg_dump: &Tool,
    settings: &Settings,
    passed_on: &PassedOn,
    cancel: &Cancel,
) -> Result<Dump, Error> {
    let mut command = Command::new(&pg_dump.path);
    command.args(["--format=custom", "--compress=0"]).args(&passed_on.0);
    Dump::start("pg_dump", command, settings, cancel)
}

/// Starts a dump, as SQL, of what belongs to no database: roles and tablespaces. Reading the
/// roles' passwords takes a superuser; without them it takes none.
pub fn dump_globals(
    pg_dumpall: &Tool,
    settings: &Settings,
    with_passwords: bool,
    cancel: &Cancel,
) -> Result<Dump, Error> {
    let mut command = Command::new(&pg_dumpall.path);
    command.arg("--globals-only");
    if !with_passwords {
        command.arg("--no-role-passwords");
    }
    Dump::start("pg_dumpall", command, settings, cancel)
}

impl Dump {
    fn start(
        name: &'static str,
        mut command: Command,
        settings: &Settings,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        command
            .arg("--no-password")
            .arg(format!("--dbname={}", settings.connection_string()))
            // A dump is in its database's own encoding, unless an option says otherwise: what the
            // environment happens to hold could lack characters, and would be nobody's decision.
            .env_remove("PGCLIENTENCODING")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        settings.apply(&mut command);
        let mut running = Running::start(name, &mut command, cancel)?;
        Ok(Dump { stdout: running.stdout(), running })
    }

    /// Waits for the program's end, and fails unless it ended well. Returns its warnings. What
    /// was not read is lost, so this comes after the stream's end.
    pub fn finish(mut self) -> Result<String, Error> {
        drop(self.stdout.take());
        Ok(self.running.wait_for_success()?.stderr)
    }
}

impl Read for Dump {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.stdout {
            Some(stdout) => stdout.read(buf),
            None => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PassedOn;

    fn check(options: &[&str]) -> Result<(), String> {
        let options = options.iter().map(Into::into).collect();
        PassedOn::new(options).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn options_about_content_pass() {
        let good: [&[&str]; 8] = [
            &[],
            &["--schema-only"],
            &["-a", "-t", "public.orders", "-Tx"],
            &["-abt", "orders"],
            &["--exclude-table-data=log_*", "--inserts"],
            &["--table", "orders", "-v"],
            &["-n", "fd", "--no-comments"],
            &["--role=reader", "--lock-wait-timeout=5s"],
        ];
        for options in good {
            assert_eq!(check(options), Ok(()), "{options:?}");
        }
    }

    #[test]
    fn options_about_format_and_place_do_not() {
        let bad: [(&[&str], &str); 16] = [
            (&["-Fp"], "-F"),
            (&["-F", "p"], "-F"),
            (&["-aFp"], "-a"),
            (&["--format=plain"], "--format"),
            (&["--form=plain"], "--form"),
            (&["-f", "/tmp/x"], "-f"),
            (&["--file", "/tmp/x"], "--file"),
            (&["-j4"], "-j"),
            (&["-Z9"], "-Z"),
            (&["--comp=9"], "--comp"),
            (&["--dbname=postgres://u:topsecret@h/x"], "--dbname"),
            (&["other_database"], "other_database"),
            (&["-v", "other_database"], "other_database"),
            (&["--help"], "--help"),
            (&["--"], "--"),
            (&["-"], "-"),
        ];
        for (options, name) in bad {
            assert_eq!(
                check(options),
                Err(format!("the pg_dump option {name} cannot be passed on")),
                "{options:?}"
            );
        }
    }
}
