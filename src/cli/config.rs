//! The configuration file: TOML, read once, checked strictly. Knows nothing of flags or the
//! environment; `settings` decides which of the three wins.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cli::exit::Failure;

/// Largest configuration file: far more than anyone writes by hand.
const CONFIG_MAX: u64 = 1 << 20;

/// A configuration file's contents. Paths in it are relative to its own folder.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `[repository]`.
    #[serde(default)]
    pub repository: RepositorySection,
}

/// Where the repository is and what unlocks it.
#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct RepositorySection {
    /// The repository's URL or path.
    pub url: Option<String>,
    /// Options of its backend; may hold secrets.
    #[serde(default)]
    pub options: BTreeMap<String, OptionValue>,
    /// A file whose first line is the passphrase.
    pub password_file: Option<PathBuf>,
    /// A command that prints the passphrase.
    pub password_command: Option<String>,
    /// A key file.
    pub key_file: Option<PathBuf>,
}

impl std::fmt::Debug for RepositorySection {
    // Options may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RepositorySection").field("url", &self.url).finish_non_exhaustive()
    }
}

/// An option's value: written as text, a number or a truth value, handed on as text.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum OptionValue {
    /// `region = "eu-west-1"`
    Text(String),
    /// `port = 9000`
    Number(i64),
    /// `allow_anonymous = true`
    Truth(bool),
}

impl OptionValue {
    /// The value as the backend takes it.
    pub fn to_text(&self) -> String {
        match self {
            OptionValue::Text(text) => text.clone(),
            OptionValue::Number(number) => number.to_string(),
            OptionValue::Truth(truth) => truth.to_string(),
        }
    }
}

impl Config {
    /// Reads the file at `path`; `None` if there is none. `~/` in it is `home`.
    pub fn read(path: &Path, home: Option<&Path>) -> Result<Option<Self>, Failure> {
        let what = || format!("read the configuration file {}", path.display());
        let cannot = |why: &str| Failure::usage(format!("cannot {}: {why}", what()));
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io(what(), &error)),
        };
        let mut text = String::new();
        file.take(CONFIG_MAX + 1).read_to_string(&mut text).map_err(|e| Failure::io(what(), &e))?;
        if text.len() as u64 > CONFIG_MAX {
            return Err(cannot("it is too large"));
        }
        let mut config = parse(&text).map_err(|why| cannot(&why))?;
        config.resolve(path.parent().unwrap_or(Path::new(".")), home);
        Ok(Some(config))
    }

    /// Makes every relative path start at `folder`, the configuration file's own, and those that
    /// begin with `~/` at `home`.
    fn resolve(&mut self, folder: &Path, home: Option<&Path>) {
        let absolute = |path: &Path| match (path.strip_prefix("~"), home) {
            (Ok(below), Some(home)) => home.join(below),
            _ => folder.join(path),
        };
        let repository = &mut self.repository;
        for path in [&mut repository.password_file, &mut repository.key_file].into_iter().flatten() {
            *path = absolute(path);
        }
        if let Some(url) = &mut repository.url
            && !url.contains(':')
            && !url.starts_with('/')
        {
            *url = absolute(Path::new(url)).display().to_string();
        }
    }
}

/// Parses the file's text. An error names the line and not its contents, which may be secret.
fn parse(text: &str) -> Result<Config, String> {
    let config: Config = toml::from_str(text).map_err(|error| {
        let message = error.message().lines().next().unwrap_or("not valid");
        match error.span() {
            Some(span) => {
                let line = text.get(..span.start).unwrap_or(text).matches('\n').count() + 1;
                format!("line {line}: {message}")
            }
            None => message.to_owned(),
        }
    })?;
    let repository = &config.repository;
    if repository.password_file.is_some() && repository.password_command.is_some() {
        return Err("[repository] names both password_file and password_command".to_owned());
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_whole_file_is_understood() {
        let mut config = parse(
            "[repository]\nurl = 's3://b/p'\npassword_file = 'pass'\nkey_file = '/k'\n\
             [repository.options]\nendpoint = 'http://h'\nport = 9000\nallow_anonymous = true\n",
        )
        .unwrap();
        config.resolve(Path::new("/etc/kamba-vault"), None);
        let repository = config.repository;
        assert_eq!(repository.url.as_deref(), Some("s3://b/p"));
        assert_eq!(repository.password_file, Some("/etc/kamba-vault/pass".into()));
        assert_eq!(repository.key_file, Some("/k".into()));
        let options: Vec<_> =
            repository.options.iter().map(|(k, v)| format!("{k}={}", v.to_text())).collect();
        assert_eq!(options, ["allow_anonymous=true", "endpoint=http://h", "port=9000"]);
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn a_relative_repository_lies_beside_the_file() {
        for (url, want) in
            [("repo", "/c/repo"), ("/r", "/r"), ("file:///r", "file:///r"), ("opendal:x", "opendal:x")]
        {
            let mut config = parse(&format!("repository.url = '{url}'")).unwrap();
            config.resolve(Path::new("/c"), None);
            assert_eq!(config.repository.url.as_deref(), Some(want));
        }
    }

    #[test]
    fn a_tilde_is_the_users_home() {
        let text = "[repository]\nurl = '~/vault'\npassword_file = '~/pass'\nkey_file = '~other/key'\n";
        let mut config = parse(text).unwrap();
        config.resolve(Path::new("/c"), Some(Path::new("/home/u")));
        let repository = config.repository;
        assert_eq!(repository.url.as_deref(), Some("/home/u/vault"));
        assert_eq!(repository.password_file, Some("/home/u/pass".into()));
        assert_eq!(repository.key_file, Some("/c/~other/key".into()), "only our own");
    }

    #[test]
    fn the_example_in_the_help_is_understood() {
        let (_, example) = crate::cli::args::REFERENCE.split_once("  [repository]\n").unwrap();
        let (example, _) = example.split_once("\n\n").unwrap();
        let config = parse(&format!("[repository]\n{example}")).unwrap();
        let repository = config.repository;
        assert!(repository.url.is_some() && repository.password_file.is_some(), "{example}");
        assert!(repository.key_file.is_some() && !repository.options.is_empty(), "{example}");
        // What is commented out is understood as well.
        let command = example.replace("  password_file", "  # password_file").replace("# or ", "");
        assert!(parse(&format!("[repository]\n{command}")).unwrap().repository.password_command.is_some());
    }

    #[test]
    fn mistakes_are_named_by_line_and_never_quoted() {
        let error = parse("[repository]\nurl = 'x'\npasword_file = 'y'\n").unwrap_err();
        assert!(error.starts_with("line 3: unknown field"), "{error}");
        let error = parse("[repository.options]\nsecret_access_key = \"hunter2\n").unwrap_err();
        assert!(error.starts_with("line 2: ") && !error.contains("hunter2"), "{error}");
        let error = parse("[repository.options]\nsecret_access_key = ['hunter2']\n").unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
        let error = parse("[repository]\npassword_file = 'a'\npassword_command = 'b'\n").unwrap_err();
        assert!(error.contains("both"), "{error}");
        assert!(!format!("{:?}", parse("[repository.options]\na = 'hunter2'")).contains("hunter2"));
    }

    #[test]
    fn a_missing_file_is_told_from_an_unreadable_one() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Config::read(&dir.path().join("none"), None).unwrap(), None);
        let failure = Config::read(dir.path(), None).unwrap_err();
        assert!(failure.render().contains("configuration file"), "{}", failure.render());
    }
}
