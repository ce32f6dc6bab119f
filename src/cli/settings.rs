//! Joins flags, environment and configuration file into what a command works with: a flag beats
//! the environment, which beats the file. Refuses secrets in arguments, where every process list
//! would show them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::secret::SecretBytes;
use crate::base::units;
use crate::cli::args::Global;
use crate::cli::config::{Config, RepositorySection};
use crate::cli::env::{self, Environment};
use crate::cli::exit::Failure;
use crate::cli::secrets::{PasswordSource, Secrets};

/// Our folder's name below the user's and the system's configuration and cache folders.
const FOLDER: &str = "kamba-vault";

/// What a command that works on a repository needs to know.
#[derive(Debug)]
pub struct Settings {
    /// The repository's URL or path.
    pub url: String,
    /// Options of its backend.
    pub options: BTreeMap<String, String>,
    /// What unlocks it.
    pub secrets: Secrets,
    /// The configuration file that was read, if there was one.
    pub config_file: Option<PathBuf>,
    /// Where the index cache lives, if there is a place for it.
    pub cache_dir: Option<PathBuf>,
    /// Bytes that the base cache may take.
    pub base_cache: u64,
    /// Bytes per second to upload at most.
    pub limit_upload: Option<u64>,
    /// Bytes per second to download at most.
    pub limit_download: Option<u64>,
}

impl Settings {
    /// Joins the three sources; fails if no repository is named.
    pub fn resolve(global: &Global, environment: &Environment) -> Result<Self, Failure> {
        refuse_secrets(global)?;
        let (config, config_file) = configuration(global, environment)?;
        let section = config.repository;
        let stated = match &global.repo {
            Some(url) => Some(url.clone()),
            None => environment.text(env::REPO)?,
        };
        let options = options(global, &section, stated.as_deref());
        let secrets = secrets(global, environment, &section)?;
        let url = stated.or(section.url).ok_or_else(|| {
            Failure::usage("no repository was named")
                .with_hint("use --repo, set KAMBA_REPO, or name it in the configuration file")
        })?;
        Ok(Settings {
            url,
            options,
            secrets,
            config_file,
            cache_dir: cache_dir(global, environment),
            base_cache: base_cache(global, environment)?,
            limit_upload: global.limit_upload,
            limit_download: global.limit_download,
        })
    }
}

/// Where the index cache lives: as named, else below the user's home; a service of the system's
/// has none, and its cache is the system's. Another one without a home has no place for it.
fn cache_dir(global: &Global, environment: &Environment) -> Option<PathBuf> {
    let named = global.cache_dir.clone().or_else(|| environment.path(env::CACHE_DIR));
    let system = || environment.is_root().then(|| Path::new("/var/cache").to_path_buf());
    let default = || environment.user_cache_dir().or_else(system).map(|dir| dir.join(FOLDER));
    named.or_else(default)
}

/// How large the base cache may get, unless somebody says so.
const BASE_CACHE: u64 = 4 << 30;

/// How large the base cache may get.
fn base_cache(global: &Global, environment: &Environment) -> Result<u64, Failure> {
    let of_environment = || match environment.text(env::BASE_CACHE)? {
        None => Ok(BASE_CACHE),
        Some(text) => units::parse_bytes(&text).ok_or_else(|| {
            Failure::usage(format!("{} is no size: {text}", env::BASE_CACHE))
                .with_hint("such as 4G, or 0 for none")
        }),
    };
    global.base_cache.map_or_else(of_environment, Ok)
}

/// The configuration, and where it was read from: the file that was named, which must be there, or the first
/// default that is.
fn configuration(global: &Global, environment: &Environment) -> Result<(Config, Option<PathBuf>), Failure> {
    let home = environment.path("HOME");
    if let Some(path) = global.config.clone().or_else(|| environment.path(env::CONFIG)) {
        let missing = || Failure::usage(format!("there is no configuration file {}", path.display()));
        let config = Config::read(&path, home.as_deref())?.ok_or_else(missing)?;
        return Ok((config, Some(path)));
    }
    let user = environment.user_config_dir().map(|dir| dir.join(FOLDER).join("config.toml"));
    for path in user.into_iter().chain([Path::new("/etc").join(FOLDER).join("config.toml")]) {
        if let Some(config) = Config::read(&path, home.as_deref())? {
            return Ok((config, Some(path)));
        }
    }
    Ok((Config::default(), None))
}

/// The backend's options. Those of the file go with the file's repository: another one, named by
/// a flag or the environment, must not be sent its endpoint and credentials.
fn options(global: &Global, section: &RepositorySection, stated: Option<&str>) -> BTreeMap<String, String> {
    let of_this_repository = stated.is_none() || section.url.is_none() || stated == section.url.as_deref();
    let from_file = section.options.iter().filter(|_| of_this_repository);
    let from_file = from_file.map(|(key, value)| (key.clone(), value.to_text()));
    from_file.chain(global.options.iter().cloned()).collect()
}

/// What unlocks the repository. Two sources of one rank are refused: which of them is right?
fn secrets(
    global: &Global,
    environment: &Environment,
    section: &RepositorySection,
) -> Result<Secrets, Failure> {
    let flags = choose(
        "--password-file and --password-command",
        [
            global.password_file.clone().map(PasswordSource::File),
            global.password_command.clone().map(PasswordSource::Command),
        ],
    )?;
    let password = match flags {
        Some(flag) => flag,
        None => of_environment(environment)?.unwrap_or_else(|| of_section(section)),
    };
    let key_file = global.key_file.clone().or_else(|| environment.path(env::KEY_FILE));
    Ok(Secrets { password, key_file: key_file.or_else(|| section.key_file.clone()) })
}

fn of_environment(environment: &Environment) -> Result<Option<PasswordSource>, Failure> {
    use std::os::unix::ffi::OsStringExt;
    let given = environment.raw(env::PASSWORD).map(|value| SecretBytes::new(value.into_vec()));
    choose(
        "KAMBA_PASSWORD, KAMBA_PASSWORD_FILE and KAMBA_PASSWORD_COMMAND",
        [
            given.map(PasswordSource::Given),
            environment.path(env::PASSWORD_FILE).map(PasswordSource::File),
            environment.text(env::PASSWORD_COMMAND)?.map(PasswordSource::Command),
        ],
    )
}

fn of_section(section: &RepositorySection) -> PasswordSource {
    let file = section.password_file.clone().map(PasswordSource::File);
    let command = section.password_command.clone().map(PasswordSource::Command);
    file.or(command).unwrap_or(PasswordSource::Ask)
}

/// The only one that is there; an error if several are, naming them as `names`.
fn choose<const N: usize>(
    names: &str,
    sources: [Option<PasswordSource>; N],
) -> Result<Option<PasswordSource>, Failure> {
    let mut there = sources.into_iter().flatten();
    let first = there.next();
    match there.next() {
        Some(_) => Err(Failure::usage(format!("give only one of {names}"))),
        None => Ok(first),
    }
}

/// Refuses what looks like a secret in the arguments.
fn refuse_secrets(global: &Global) -> Result<(), Failure> {
    const INSTEAD: &str = "put it under [repository.options] in the configuration file, \
                           or where the service's own tools look for it";
    let refuse = |what: String| {
        Err(Failure::usage(format!("{what} is a secret, and any process list would show it"))
            .with_hint(INSTEAD))
    };
    if let Some((key, _)) = global.options.iter().find(|(key, _)| is_secret_option(key)) {
        return refuse(format!("--option {key}"));
    }
    match global.repo.as_deref().and_then(secret_in_url) {
        Some(what) => refuse(format!("{what} in --repo")),
        None => Ok(()),
    }
}

/// What in a URL is a secret, if anything: a password before the host, or an option after `?`.
pub fn secret_in_url(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    if url.password().is_some() {
        return Some("the password".to_owned());
    }
    let secret = url.query_pairs().find(|(key, _)| is_secret_option(key))?;
    Some(format!("'{}'", secret.0))
}

/// Whether an option of this name holds a secret, by the naming habits of the storage services:
/// `secret_access_key`, `account_key`, `password`, `session_token`; but `access_key_id`,
/// `credential_path` and sftp's `key` (a path) do not.
fn is_secret_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let named = ["secret", "password", "token", "credential"].iter().any(|word| name.contains(word));
    (named && !name.ends_with("_path")) || name.ends_with("_key")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::base::clock::Cancel;

    const FILE: &str = "[repository]\nurl = '/from-file'\npassword_file = 'pass-file'\nkey_file = '/key-file'\n\
                        [repository.options]\nregion = 'file'\nsecret_access_key = 'file'\n";

    /// A folder with a configuration file, and an environment whose home it is.
    fn home(config: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(".config/kamba-vault");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), config).unwrap();
        dir
    }

    fn resolve(global: &Global, home: &Path, more: &[(&str, &str)]) -> Result<Settings, Failure> {
        let mut pairs = vec![("HOME", home.to_str().unwrap())];
        pairs.extend_from_slice(more);
        Settings::resolve(global, &Environment::of(&pairs))
    }

    fn flag_repo(url: &str) -> Global {
        Global { repo: Some(url.into()), ..Global::default() }
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file() {
        let home = home(FILE);
        let file = resolve(&Global::default(), home.path(), &[]).unwrap();
        assert_eq!(file.url, "/from-file");
        assert_eq!(file.options["region"], "file");
        assert_eq!(file.secrets.key_file, Some("/key-file".into()));
        assert_eq!(file.cache_dir, Some(home.path().join(".cache/kamba-vault")));
        let beside_the_file = home.path().join(".config/kamba-vault/pass-file");
        assert!(matches!(file.secrets.password, PasswordSource::File(path) if path == beside_the_file));

        let vars = [
            (env::REPO, "/from-env"),
            (env::PASSWORD, "hunter2"),
            (env::KEY_FILE, "/key-env"),
            (env::CACHE_DIR, "/cache-env"),
            (env::BASE_CACHE, "100M"),
        ];
        let environment = resolve(&Global::default(), home.path(), &vars).unwrap();
        assert_eq!(environment.url, "/from-env");
        assert_eq!(environment.secrets.stated(&Cancel::new()).unwrap().unwrap().bytes(), b"hunter2");
        assert_eq!(environment.secrets.key_file, Some("/key-env".into()));
        assert_eq!(environment.cache_dir, Some("/cache-env".into()));

        let global = Global {
            password_command: Some("true".into()),
            key_file: Some("/key-flag".into()),
            cache_dir: Some("/cache-flag".into()),
            base_cache: Some(0),
            ..flag_repo("/from-flag")
        };
        let flag = resolve(&global, home.path(), &vars).unwrap();
        assert_eq!(flag.url, "/from-flag");
        assert!(matches!(flag.secrets.password, PasswordSource::Command(_)));
        assert_eq!(flag.secrets.key_file, Some("/key-flag".into()));
        assert_eq!(flag.cache_dir, Some("/cache-flag".into()));
        assert_eq!([file.base_cache, environment.base_cache, flag.base_cache], [4 << 30, 100 << 20, 0]);
        let wrong = resolve(&flag_repo("/r"), home.path(), &[(env::BASE_CACHE, "much")]).err().unwrap();
        assert_eq!(wrong.class(), crate::base::class::Class::Usage);
    }

    #[test]
    fn another_repository_is_not_sent_the_files_options() {
        let home = home(FILE);
        let other = resolve(&flag_repo("s3://elsewhere"), home.path(), &[]).unwrap();
        assert!(other.options.is_empty(), "{:?}", other.options.keys());
        let same = resolve(&flag_repo("/from-file"), home.path(), &[]).unwrap();
        assert_eq!(same.options.len(), 2);
        let overridden = Global { options: vec![("region".into(), "flag".into())], ..Global::default() };
        assert_eq!(resolve(&overridden, home.path(), &[]).unwrap().options["region"], "flag");
    }

    #[test]
    fn what_is_missing_or_doubled_is_an_error() {
        let empty = tempfile::tempdir().unwrap();
        let none = resolve(&Global::default(), empty.path(), &[]).unwrap_err();
        assert!(none.render().contains("no repository was named"), "{}", none.render());
        let named = Global { config: Some("/none.toml".into()), ..flag_repo("/r") };
        assert!(resolve(&named, empty.path(), &[]).unwrap_err().render().contains("/none.toml"));
        let twice = [(env::PASSWORD, "hunter2"), (env::PASSWORD_FILE, "/p")];
        let failure = resolve(&flag_repo("/r"), empty.path(), &twice).unwrap_err();
        assert_eq!(failure.exit_status(), 2);
        assert!(!failure.render().contains("hunter2"));
    }

    #[test]
    fn secrets_in_arguments_are_refused_and_not_repeated() {
        let empty = tempfile::tempdir().unwrap();
        let secret = |key: &str| (key.to_owned(), "hunter2".to_owned());
        let refused = [
            Global { options: vec![secret("secret_access_key")], ..flag_repo("/r") },
            Global { options: vec![secret("account_key")], ..flag_repo("/r") },
            flag_repo("webdav://user:hunter2@host/p"),
            flag_repo("opendal:s3?bucket=b&session_token=hunter2"),
        ];
        for global in refused {
            let failure = resolve(&global, empty.path(), &[]).unwrap_err();
            assert_eq!(failure.exit_status(), 2);
            assert!(failure.render().contains("process list"), "{}", failure.render());
            assert!(!failure.render().contains("hunter2"), "{}", failure.render());
        }
        for key in ["access_key_id", "region", "key", "credential_path", "allow_anonymous"] {
            let global = Global { options: vec![secret(key)], ..flag_repo("/r") };
            resolve(&global, empty.path(), &[]).unwrap();
        }
        // The environment shows in no process list.
        resolve(&Global::default(), empty.path(), &[(env::REPO, "webdav://u:p@host/p")]).unwrap();
    }
}
