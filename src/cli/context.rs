//! What every command works with: the shared flags, the environment, standard output, progress, the
//! cancel flag and the clock; and from these an open repository.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use jiff::tz::TimeZone;
use tempfile::TempDir;

use crate::base::class::Class;
use crate::base::clock::{Cancel, SystemClock};
use crate::base::monitor::Monitor;
use crate::cli::args::Global;
use crate::cli::env::Environment;
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::cli::secrets::PasswordSource;
use crate::cli::selector::Selector;
use crate::cli::settings::Settings;
use crate::cli::terminal::Terminal;
use crate::crypto::SystemRandom;
use crate::format::keyslot::SlotKind;
use crate::ops::look;
use crate::repo::roots::Snapshot;
use crate::repo::{self, Credentials, Repository, Unlocked};
use crate::storage::{self, Backend};

/// One run of the program.
pub struct Context {
    /// The flags that all commands share.
    pub global: Global,
    /// The environment.
    pub environment: Environment,
    /// Raised by the first signal.
    pub cancel: Cancel,
    /// Standard output.
    pub output: Output,
    progress: OnceLock<Progress>,
    /// An index cache for this run alone, where the usual one cannot be used.
    temporary_cache: OnceLock<TempDir>,
}

impl Context {
    /// The context of a process.
    pub fn new(global: Global, environment: Environment, cancel: Cancel) -> Result<Self, Failure> {
        let output = Output::stdout(&cancel)?;
        let (progress, temporary_cache) = (OnceLock::new(), OnceLock::new());
        Ok(Context { global, environment, cancel, output, progress, temporary_cache })
    }

    /// Whether results are JSON.
    pub fn json(&self) -> bool {
        self.global.json
    }

    /// The machine's time zone.
    pub fn zone(&self) -> TimeZone {
        TimeZone::system()
    }

    /// Progress, which begins when it is first asked for.
    pub fn progress(&self) -> &Progress {
        self.progress.get_or_init(|| Progress::start(&self.global, true))
    }

    /// Progress for a command that writes data to standard output: no bar if that is the same
    /// terminal. To be called before any other use of progress.
    pub fn progress_beside_data(&self) -> &Progress {
        self.progress.get_or_init(|| Progress::start(&self.global, !io::stdout().is_terminal()))
    }

    /// Progress as the library takes it.
    pub fn monitor(&self) -> Arc<dyn Monitor> {
        Arc::new(self.progress().clone())
    }

    /// Ends progress, if there was any: what follows on the terminal is a result or an error.
    pub fn finish_progress(&self) {
        if let Some(progress) = self.progress.get() {
            progress.finish();
        }
    }

    /// Ends progress and prints a result: `document` for programs, `words` for people.
    pub fn result<T: serde::Serialize>(
        &self,
        document: &T,
        words: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        self.finish_progress();
        if self.json() { self.output.json(document) } else { self.output.text(&words()) }
    }

    /// The repository that is meant and what unlocks it.
    pub fn settings(&self) -> Result<Settings, Failure> {
        let settings = Settings::resolve(&self.global, &self.environment)?;
        for path in settings.secrets.exposed() {
            self.progress().warn(&format!("{} can be read by other users: chmod 600 it", path.display()));
        }
        Ok(settings)
    }

    /// The backend that the settings name.
    pub fn backend(&self, settings: &Settings) -> Result<Arc<dyn Backend>, Failure> {
        let mut options = storage::Options {
            limit_upload: settings.limit_upload,
            limit_download: settings.limit_download,
            ..storage::Options::default()
        };
        for (key, value) in &settings.options {
            options.settings.set(key, value);
        }
        let context = storage::Context::new(self.cancel.clone(), self.monitor());
        Ok(storage::open(&settings.url, &options, &context)?)
    }

    /// Opens the repository, with an index cache of this run's own where the usual one cannot be
    /// used: a read-only home or a full disk must not stand between a user and a restore (I-11).
    pub fn open(&self) -> Result<Repository, Failure> {
        let settings = self.settings()?;
        let unlocked = self.unlock(&settings)?;
        let cache_dir = match &settings.cache_dir {
            Some(folder) => folder.clone(),
            None => self.temporary_cache("there is no home folder to keep the index cache in")?,
        };
        match Repository::with_index(unlocked.clone(), &cache_dir) {
            Err(error @ repo::Error::Cache { .. }) if self.temporary_cache.get().is_none() => {
                let cache_dir = self.temporary_cache(&error.to_string())?;
                Ok(Repository::with_index(unlocked, &cache_dir)?)
            }
            opened => Ok(opened?),
        }
    }

    /// Unlocks the repository, without its index. A passphrase is only asked for when nothing else opens
    /// it, and after it is known that there is a repository.
    pub fn unlock(&self, settings: &Settings) -> Result<Unlocked, Failure> {
        let environment = repo::Environment {
            backend: self.backend(settings)?,
            cache_dir: settings.cache_dir.clone().unwrap_or_default(),
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            copies_limit: settings.base_cache,
        };
        let secrets = &settings.secrets;
        let mut credentials =
            Credentials { passphrase: secrets.stated(&self.cancel)?, key_file: secrets.key()? };
        let wrong = match Unlocked::open(environment.clone(), &credentials) {
            Err(error) if error.class() == Class::WrongKey => Failure::from(error),
            opened => return Ok(opened?),
        };
        if !matches!(secrets.password, PasswordSource::Ask) {
            return Err(explained(wrong, &*environment.backend, &credentials));
        }
        if credentials.key_file.is_some() && Terminal::if_interactive(&self.cancel).is_none() {
            return Err(explained(wrong, &*environment.backend, &credentials));
        }
        credentials.passphrase = Some(secrets.passphrase(&self.cancel)?);
        Ok(Unlocked::open(environment, &credentials)?)
    }

    /// A folder for this run's own index cache, which goes with it; `why` there must be one.
    fn temporary_cache(&self, why: &str) -> Result<PathBuf, Failure> {
        const INSTEAD: &str = "name another folder with --cache-dir or KAMBA_CACHE_DIR";
        let parent = self.environment.temp_dir();
        let made = tempfile::Builder::new().prefix("kamba-cache-").tempdir_in(&parent).map_err(|e| {
            let message = format!("{why}; nor can a temporary one be made in {}: {e}", parent.display());
            Failure::new(Class::Failed, message).with_hint(INSTEAD)
        })?;
        self.progress().warn(&format!(
            "{why}: this run uses a temporary one in {}, and loads the whole index; {INSTEAD}",
            parent.display()
        ));
        Ok(self.temporary_cache.get_or_init(|| made).path().to_owned())
    }

    /// The snapshot and path that `text` means.
    pub fn find(
        &self,
        repository: &Repository,
        text: impl AsRef<OsStr>,
    ) -> Result<(Snapshot, Option<Vec<u8>>), Failure> {
        let selector = Selector::parse(text, &self.zone())?;
        let found = look::find(repository, &selector.which, &selector.wanted, self.progress(), &self.cancel);
        match found {
            Ok(found) => Ok((found, selector.path)),
            Err(error) => Err(selector.explained(error)),
        }
    }
}

/// A key that opens nothing, with what would open it where that is of another kind: no passphrase
/// is right where a key file is missing.
fn explained(failure: Failure, backend: &dyn Backend, credentials: &Credentials) -> Failure {
    let (passphrase, key_file) = (credentials.passphrase.is_some(), credentials.key_file.is_some());
    let given = match (passphrase, key_file) {
        (true, false) => "only a passphrase",
        (false, true) => "only a key file",
        _ => return failure,
    };
    let slots = repo::slot_names(backend).unwrap_or_default();
    let mut needed = BTreeSet::new();
    for slot in slots.iter().filter_map(|name| repo::read_slot(backend, name).ok()) {
        if (passphrase || !slot.kind.needs_passphrase()) && (key_file || slot.kind == SlotKind::Passphrase) {
            return failure;
        }
        needed.insert(match slot.kind {
            SlotKind::Passphrase => "a passphrase",
            SlotKind::KeyFile => "a key file",
            SlotKind::Both => "a passphrase and a key file together",
        });
    }
    let needed = needed.into_iter().collect::<Vec<_>>().join(" or ");
    match needed.is_empty() {
        true => failure,
        false => failure.with_hint(format!("{given} was given; it takes {needed}")),
    }
}
