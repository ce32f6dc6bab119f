//! `init`: create a repository and its first keyslot.

use std::path::Path;

use clap::Args;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::base::clock::SystemClock;
use crate::base::limits;
use crate::base::units;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::secrets::write_key_file;
use crate::cli::settings::Settings;
use crate::crypto::SystemRandom;
use crate::format::name::CONFIG;
use crate::repo::{self, Credentials, InitOptions};
use crate::storage::{Probe, Probed};

const EXAMPLES: &str = "\
Examples:
  kamba-vault --repo /srv/backup init
  kamba-vault --repo s3://bucket/shop --option region=eu-central-1 init
  kamba-vault --repo /srv/backup --key-file /etc/kamba-vault/key init
  KAMBA_PASSWORD_FILE=/etc/kamba-vault/passphrase kamba-vault --repo /srv/backup init";

/// Create a repository and its first keyslot
///
/// The keyslot is unlocked by a passphrase, by a passphrase and a key file together, or by a key
/// file alone (--key-file without any passphrase). A key file that is not there is created. Keep
/// copies of both somewhere else: without them nothing can ever be restored.
///
/// The place is probed for what it really guarantees, and that is recorded in the repository.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InitArgs {
    /// Average size of chunks: a power of two from 16K to 4M
    ///
    /// Smaller ones store less after scattered changes and make a larger index. It cannot be
    /// changed later.
    #[arg(long, value_name = "SIZE", value_parser = chunk_size, default_value = "64K")]
    pub chunk_size: u32,
}

/// The result, for programs.
#[derive(Serialize)]
struct Document {
    repository: String,
    location: String,
    unlocked_by: &'static str,
    key_file_created: bool,
    create_if_absent: &'static str,
    list_after_write: bool,
}

/// Creates the repository.
pub fn run(args: &InitArgs, context: &Context) -> Result<Done, Failure> {
    let settings = context.settings()?;
    let backend = context.backend(&settings)?;
    if backend.stat(CONFIG)?.is_some() {
        // Before anything is asked for or written that a repository of before has no use for.
        return Err(repo::Error::AlreadyThere { location: backend.location() }.into());
    }
    let passphrase = settings.secrets.new_passphrase(&context.cancel)?;
    let new_key = new_key_file(&settings)?;
    let key_file = match &new_key {
        Some((_, _, key)) => Some(key.clone()),
        None => settings.secrets.key()?,
    };
    let credentials = Credentials { passphrase, key_file };
    if let Some((path, text, _)) = &new_key {
        // Before the repository, which without its key would be lost. If `init` fails after this,
        // the file stays and serves the next attempt.
        write_key_file(path, text)?;
    }
    let options = InitOptions { chunk_avg: args.chunk_size, ..InitOptions::default() };
    let (id, probe) = repo::init(&*backend, &credentials, &options, &SystemClock, &SystemRandom)?;
    let document = Document {
        repository: id.to_hex(),
        location: absolute(backend.location()),
        unlocked_by: match (&credentials.passphrase, &credentials.key_file) {
            (Some(_), Some(_)) => "passphrase_and_key_file",
            (Some(_), None) => "passphrase",
            _ => "key_file",
        },
        key_file_created: new_key.is_some(),
        create_if_absent: match probe.create_if_absent {
            Probed::Atomic => "atomic",
            Probed::LookFirst => "look_first",
            Probed::Ignored => "ignored",
        },
        list_after_write: probe.list_after_write,
    };
    context.result(&document, || words(&document, &probe, new_key.as_ref().map(|(path, ..)| *path)))?;
    Ok(Done::Complete)
}

/// A folder's full path: where a relative one leads is forgotten by tomorrow. Else as it is.
fn absolute(location: String) -> String {
    std::fs::canonicalize(&location).map_or(location, |path| path.display().to_string())
}

type NewKey<'a> = (&'a Path, Zeroizing<String>, crate::base::secret::Secret32);

/// A key for the key file that was named and is not there yet.
fn new_key_file(settings: &Settings) -> Result<Option<NewKey<'_>>, Failure> {
    match settings.secrets.key_file.as_deref() {
        Some(path) if !path.exists() => {
            let (text, key) = repo::new_key_file(&SystemRandom)?;
            Ok(Some((path, text, key)))
        }
        _ => Ok(None),
    }
}

/// The result, for people.
fn words(document: &Document, probe: &Probe, new_key: Option<&Path>) -> String {
    let mut out = format!("created repository {} at {}\n", document.repository, document.location);
    if let Some(path) = new_key {
        out.push_str(&format!("created key file {}\n", path.display()));
    }
    out.push_str(match document.unlocked_by {
        "passphrase" => "It is unlocked by the passphrase.",
        "key_file" => "It is unlocked by the key file.",
        _ => "It is unlocked by the passphrase and the key file together.",
    });
    out.push_str(" Keep a copy somewhere else: without it nothing can be restored.\n");
    out.push_str(match probe.create_if_absent {
        Probed::Atomic => "",
        Probed::LookFirst => {
            "This place cannot create an object exclusively, so two writers are told apart less strictly.\n"
        }
        Probed::Ignored => {
            "This place overwrites objects although it is asked not to, so two writers are told apart \
             less strictly.\n"
        }
    });
    out
}

fn chunk_size(text: &str) -> Result<u32, String> {
    let size = units::parse_bytes(text).and_then(|n| u32::try_from(n).ok()).filter(|n| n.is_power_of_two());
    size.filter(|n| (limits::CHUNK_AVG_MIN..=limits::CHUNK_AVG_MAX).contains(n))
        .ok_or_else(|| "expected a power of two from 16K to 4M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sizes_that_the_format_allows_are_taken() {
        assert_eq!(chunk_size("64K"), Ok(limits::CHUNK_AVG_DEFAULT));
        assert_eq!(chunk_size("16384"), Ok(limits::CHUNK_AVG_MIN));
        assert_eq!(chunk_size("4MiB"), Ok(limits::CHUNK_AVG_MAX));
        for bad in ["8K", "8M", "48K", "0", "x", "4G", "16G"] {
            assert!(chunk_size(bad).is_err(), "{bad}");
        }
    }
}
