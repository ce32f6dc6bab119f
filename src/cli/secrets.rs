//! Passphrases and key files: where they come from and how they are read. A secret is held in
//! memory that is wiped, never in an argument, a message or an error. What unlocks what is the
//! repository's business.

use std::error::Error;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::base::class::Class;
use crate::base::clock::Cancel;
use crate::base::limits::PASSPHRASE_MAX;
use crate::base::secret::{Secret32, SecretBytes};
use crate::cli::env;
use crate::cli::exit::Failure;
use crate::cli::terminal::Terminal;
use crate::ops::child::Running;
use crate::ops::input::Input;
use crate::repo;

/// How much of a source is read: the longest passphrase, a line's end, and a byte that is too much.
const SOURCE_MAX: usize = PASSPHRASE_MAX + 3;
/// More than any key file has.
const KEY_FILE_MAX: u64 = 4096;

/// Where the passphrase comes from.
#[derive(Clone, Debug)]
pub enum PasswordSource {
    /// The environment held it.
    Given(SecretBytes),
    /// The first line of a file.
    File(PathBuf),
    /// What a command prints, up to the first line's end.
    Command(String),
    /// Nobody said: a person is asked, if there is one.
    Ask,
}

/// What the user named to unlock a repository with.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Where the passphrase comes from.
    pub password: PasswordSource,
    /// The key file, if one was named.
    pub key_file: Option<PathBuf>,
}

impl Secrets {
    /// The passphrase from the file, command or variable that was named; `None` if none was.
    pub fn stated(&self, cancel: &Cancel) -> Result<Option<SecretBytes>, Failure> {
        match &self.password {
            PasswordSource::Given(secret) => {
                first_line(secret.bytes(), &format!("the passphrase in {}", env::PASSWORD)).map(Some)
            }
            PasswordSource::File(path) => from_file(path).map(Some),
            PasswordSource::Command(command) => from_command(command, cancel).map(Some),
            PasswordSource::Ask => Ok(None),
        }
    }

    /// The passphrase of an existing repository, stated or asked for.
    pub fn passphrase(&self, cancel: &Cancel) -> Result<SecretBytes, Failure> {
        if let Some(stated) = self.stated(cancel)? {
            return Ok(stated);
        }
        let terminal = Terminal::if_interactive(cancel).ok_or_else(nobody_to_ask)?;
        let answer = terminal.ask_secret("Passphrase of the repository: ")?;
        checked(&answer, "the passphrase")
    }

    /// A new repository's passphrase: stated, or asked for twice. `None` where a key file stands
    /// alone: no passphrase was stated and nobody can be asked, or the answer was empty.
    pub fn new_passphrase(&self, cancel: &Cancel) -> Result<Option<SecretBytes>, Failure> {
        if let Some(stated) = self.stated(cancel)? {
            return Ok(Some(stated));
        }
        let with_key_file = self.key_file.is_some();
        let Some(terminal) = Terminal::if_interactive(cancel) else {
            return if with_key_file { Ok(None) } else { Err(nobody_to_ask()) };
        };
        let first = terminal.ask_secret(if with_key_file {
            "New passphrase, in addition to the key file (empty for none): "
        } else {
            "New passphrase: "
        })?;
        if first.is_empty() && with_key_file {
            return Ok(None);
        }
        let passphrase = checked(&first, "the passphrase")?;
        let second = terminal.ask_secret("The same again: ")?;
        if *first != *second {
            return Err(Failure::usage("the two passphrases differ"));
        }
        Ok(Some(passphrase))
    }

    /// The key in the key file, if one was named.
    pub fn key(&self) -> Result<Option<Secret32>, Failure> {
        self.key_file.as_deref().map(read_key_file).transpose()
    }

    /// The files that hold a secret and that others than their owner can read.
    pub fn exposed(&self) -> Vec<&Path> {
        let password = match &self.password {
            PasswordSource::File(path) => Some(path.as_path()),
            _ => None,
        };
        password.into_iter().chain(self.key_file.as_deref()).filter(|path| is_exposed(path)).collect()
    }
}

fn nobody_to_ask() -> Failure {
    Failure::usage("no passphrase was given, and standard input is no terminal to ask on").with_hint(
        "use --password-file, --password-command or --key-file, or set KAMBA_PASSWORD, KAMBA_PASSWORD_FILE, \
         KAMBA_PASSWORD_COMMAND or KAMBA_KEY_FILE",
    )
}

/// Whether anyone but the owner may read the file. A pipe or a device is nobody's to leave open.
fn is_exposed(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o044 != 0)
}

fn from_file(path: &Path) -> Result<SecretBytes, Failure> {
    let what = format!("read the password file {}", path.display());
    let file = File::open(path).map_err(|e| Failure::io(&what, &e))?;
    let bytes = read_bounded(file).map_err(|e| Failure::io(&what, &e))?;
    first_line(&bytes, &format!("the first line of {}", path.display()))
}

/// Runs `command` with the shell. Its standard input is empty, since ours may be the stream to be
/// stored; its messages reach the user; what it printed shows in no error. It may ask on our
/// terminal, if we have one; else all that it starts is stopped with it.
fn from_command(command: &str, cancel: &Cancel) -> Result<SecretBytes, Failure> {
    const WHAT: &str = "run the password command";
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env_remove(env::PASSWORD);
    shell.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running =
        Running::start(&mut shell, !io::stdin().is_terminal()).map_err(|e| Failure::io(WHAT, &e))?;
    let printed = match running.stdout() {
        Some(stdout) => read_bounded(Input::new(stdout, cancel)),
        None => Ok(Zeroizing::default()),
    };
    if cancel.is_cancelled() {
        return Err(Failure::interrupted());
    }
    // Neither of these waits for what the command still wants to do: dropping it stops it.
    let printed = printed.map_err(|e| Failure::io(WHAT, &e))?;
    if printed.len() == SOURCE_MAX {
        return Err(Failure::usage(format!("the password command printed more than {PASSPHRASE_MAX} bytes")));
    }
    let status = running.wait(cancel).map_err(|e| Failure::io(WHAT, &e))?;
    let status = status.ok_or_else(Failure::interrupted)?;
    if !status.success() {
        return Err(Failure::new(Class::Failed, format!("the password command failed: {status}")));
    }
    first_line(&printed, "what the password command printed")
}

/// At most `SOURCE_MAX` bytes. The buffer has its full size from the start: one that grows leaves
/// copies of the secret behind.
fn read_bounded(mut from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; SOURCE_MAX]);
    let mut filled = 0;
    while filled < SOURCE_MAX {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

/// The bytes up to the first line's end; `what` names their source in errors.
fn first_line(bytes: &[u8], what: &str) -> Result<SecretBytes, Failure> {
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    checked(line.strip_suffix(b"\r").unwrap_or(line), what)
}

fn checked(passphrase: &[u8], what: &str) -> Result<SecretBytes, Failure> {
    match passphrase.len() {
        0 => Err(Failure::usage(format!("{what} is empty"))),
        1..=PASSPHRASE_MAX => Ok(SecretBytes::new(passphrase.to_vec())),
        _ => Err(Failure::usage(format!("{what} is longer than {PASSPHRASE_MAX} bytes"))),
    }
}

fn read_key_file(path: &Path) -> Result<Secret32, Failure> {
    let what = format!("read the key file {}", path.display());
    let file = File::open(path).map_err(|e| Failure::io(&what, &e))?;
    // Full capacity at once, as above.
    let mut text = Zeroizing::new(Vec::with_capacity(KEY_FILE_MAX as usize));
    file.take(KEY_FILE_MAX).read_to_end(&mut text).map_err(|e| Failure::io(&what, &e))?;
    repo::read_key_file(&text).map_err(|e| {
        // What is wrong in it; that it is about a key file is said.
        let why = e.source().map_or_else(|| e.to_string(), ToString::to_string);
        Failure::usage(format!("{} is no key file, or damaged: {why}", path.display()))
    })
}

/// Writes a new key file with `text` that only its owner can read, durably: a repository whose key
/// is lost in a power cut is lost with it. Never replaces a file: it may be another's key.
pub fn write_key_file(path: &Path, text: &str) -> Result<(), Failure> {
    let fail = |e: io::Error| Failure::io(format!("create the key file {}", path.display()), &e);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Under its name it is whole or not there: half a key would be taken for a damaged one.
    let mut file = tempfile::Builder::new().prefix(".kamba-key-").tempfile_in(folder).map_err(fail)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(fail)?;
    file.persist_noclobber(path).map_err(|e| fail(e.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::SystemRandom;

    fn secrets(password: PasswordSource) -> Secrets {
        Secrets { password, key_file: None }
    }

    fn command(text: &str) -> Result<SecretBytes, Failure> {
        secrets(PasswordSource::Command(text.into())).passphrase(&Cancel::new())
    }

    #[test]
    fn a_file_gives_its_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pass");
        for (text, want) in [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), (" a b \r\nnote\n", " a b ")] {
            std::fs::write(&path, text).unwrap();
            let got = secrets(PasswordSource::File(path.clone())).passphrase(&Cancel::new()).unwrap();
            assert_eq!(got.bytes(), want.as_bytes(), "{text:?}");
        }
        for (text, why) in [("\nhunter2", "empty"), (&"x".repeat(PASSPHRASE_MAX + 1), "longer")] {
            std::fs::write(&path, text).unwrap();
            let failure = secrets(PasswordSource::File(path.clone())).passphrase(&Cancel::new()).unwrap_err();
            assert!(failure.render().contains(why), "{}", failure.render());
            assert_eq!(failure.exit_status(), 2);
        }
        std::fs::write(&path, "x".repeat(PASSPHRASE_MAX) + "\r\n").unwrap();
        let longest = secrets(PasswordSource::File(path)).passphrase(&Cancel::new()).unwrap();
        assert_eq!(longest.bytes().len(), PASSPHRASE_MAX);
    }

    #[test]
    fn a_command_gives_what_it_prints_if_it_succeeds() {
        assert_eq!(command("echo hunter2; echo more").unwrap().bytes(), b"hunter2");
        let failure = command("echo hunter2; exit 3").unwrap_err();
        assert!(failure.render().contains("exit status: 3"), "{}", failure.render());
        assert!(!failure.render().contains("hunter2"));
        assert!(command("true").unwrap_err().render().contains("empty"));
        // Its input is empty: it must not eat the stream that is to be stored.
        assert_eq!(command("cat; echo done").unwrap().bytes(), b"done");
        // One that never stops printing is cut off, not stored.
        assert!(command("yes").unwrap_err().render().contains("more than"));
    }

    #[test]
    fn an_interrupted_command_is_not_waited_for() {
        let cancel = Cancel::new();
        cancel.cancel();
        for command in ["exec sleep 1000", "echo x; exec >&-; exec sleep 1000"] {
            let failure = secrets(PasswordSource::Command(command.into())).passphrase(&cancel).unwrap_err();
            assert_eq!(failure.exit_status(), 130, "{command}");
        }
    }

    #[test]
    fn a_key_file_is_private_reads_back_and_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let (text, key) = repo::new_key_file(&SystemRandom).unwrap();
        write_key_file(&path, &text).unwrap();
        let named = Secrets { password: PasswordSource::Ask, key_file: Some(path.clone()) };
        assert_eq!(named.key().unwrap().unwrap(), key);
        assert_eq!(named.exposed(), [] as [&Path; 0]);
        assert!(write_key_file(&path, &text).is_err());
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(named.exposed(), [path.as_path()]);
        std::fs::write(&path, &text[..text.len() - 2]).unwrap();
        let failure = named.key().unwrap_err();
        assert!(failure.render().contains("key file"), "{}", failure.render());
        assert_eq!(failure.exit_status(), 2);
    }
}
