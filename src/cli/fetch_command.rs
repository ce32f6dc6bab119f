//! The command by which a restored server fetches its WAL from the repository that this run uses. It stands in
//! the cluster's configuration, where others may read it, and in process lists: secrets stay out of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::args::Global;
use crate::cli::env;
use crate::cli::exit::Failure;
use crate::cli::secrets::PasswordSource;
use crate::cli::settings::{Settings, secret_in_url};

/// A configuration file that says nothing.
const NO_FILE: &str = "/dev/null";

/// The command, and what else the server needs for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchCommand {
    /// Its words, up to the verb.
    pub words: Vec<OsString>,
    /// What the server's environment has to hold, in words for the user.
    pub lacking: Vec<String>,
}

/// Makes the command of what this run was told. The server runs elsewhere: paths become absolute.
pub fn fetch_command(
    program: PathBuf,
    settings: &Settings,
    global: &Global,
) -> Result<FetchCommand, Failure> {
    let mut command = FetchCommand { words: vec![program.into()], lacking: Vec::new() };
    let mut flag = |name: &str, value: OsString| command.words.extend([OsString::from(name), value]);
    // Without a file that is named, the server would look for one in the home of whoever starts it, which may
    // be another's.
    flag(
        "--config",
        match &settings.config_file {
            Some(file) => absolute(file)?.into(),
            None => NO_FILE.into(),
        },
    );
    let secret = secret_in_url(&settings.url);
    if secret.is_none() {
        flag("--repo", location(&settings.url)?);
    }
    for (key, value) in &global.options {
        flag("--option", format!("{key}={value}").into());
    }
    if let Some(file) = &settings.secrets.key_file {
        flag("--key-file", absolute(file)?.into());
    }
    match &settings.secrets.password {
        PasswordSource::File(file) => flag("--password-file", absolute(file)?.into()),
        PasswordSource::Command(line) => flag("--password-command", line.into()),
        PasswordSource::Given(_) => command.lacking.push(format!(
            "the passphrase is not written anywhere: the server needs {} in its environment, or better a key file of its own",
            env::PASSWORD_FILE
        )),
        PasswordSource::Ask if settings.secrets.key_file.is_none() => command.lacking.push(format!(
            "nobody is there to ask for a passphrase: the server needs {} or {} in its environment",
            env::KEY_FILE,
            env::PASSWORD_FILE
        )),
        PasswordSource::Ask => {}
    }
    if let Some(what) = secret {
        command.lacking.push(format!(
            "{what} in the repository's URL is a secret and not written anywhere: the server needs {} in its environment",
            env::REPO
        ));
    }
    Ok(command)
}

/// A repository's URL; a path as an absolute one.
fn location(url: &str) -> Result<OsString, Failure> {
    let is_url = url.contains("://") || url.starts_with("opendal:");
    if is_url { Ok(url.into()) } else { Ok(absolute(Path::new(url))?.into()) }
}

/// A path that means the same in any folder.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|e| Failure::io(format!("find {}", path.display()), &e))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::env::Environment;

    fn command(global: &Global, environment: &[(&str, &str)]) -> (String, Vec<String>) {
        let empty = tempfile::tempdir().unwrap();
        let home = [("HOME", empty.path().to_str().unwrap())];
        let environment = Environment::of(&[environment, &home].concat());
        let settings = Settings::resolve(global, &environment).unwrap();
        let made = fetch_command("/bin/kamba-vault".into(), &settings, global).unwrap();
        let words: Vec<String> = made.words.iter().map(|w| w.to_str().unwrap().to_owned()).collect();
        (words.join(" "), made.lacking)
    }

    #[test]
    fn it_says_where_the_repository_is_and_no_secret() {
        let global = Global {
            repo: Some("s3://bucket/p".into()),
            options: vec![("region".into(), "eu".into())],
            key_file: Some("/etc/key".into()),
            ..Global::default()
        };
        let words =
            "/bin/kamba-vault --config /dev/null --repo s3://bucket/p --option region=eu --key-file /etc/key";
        assert_eq!(command(&global, &[]), (words.into(), vec![]));

        let (words, lacking) = command(
            &Global::default(),
            &[(env::REPO, "webdav://u:hunter2@host/p"), (env::PASSWORD, "hunter3")],
        );
        assert_eq!(words, "/bin/kamba-vault --config /dev/null");
        assert_eq!(lacking.len(), 2, "{lacking:?}");
        assert!(lacking[0].contains(env::PASSWORD_FILE) && lacking[1].contains(env::REPO), "{lacking:?}");

        let (words, lacking) =
            command(&Global::default(), &[(env::REPO, "some/folder"), (env::KEY_FILE, "key")]);
        let here = std::path::absolute("some/folder").unwrap();
        assert!(
            words.starts_with(&format!(
                "/bin/kamba-vault --config /dev/null --repo {} --key-file /",
                here.display()
            )),
            "{words}"
        );
        assert_eq!(lacking, Vec::<String>::new());
        let (_, lacking) = command(&Global::default(), &[(env::REPO, "/r")]);
        assert!(lacking[0].contains(env::KEY_FILE), "{lacking:?}");
    }

    #[test]
    fn a_configuration_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[repository]\nurl = \"/r\"\npassword_file = \"pw\"\n").unwrap();
        let global = Global { config: Some(file.clone()), ..Global::default() };
        let (words, lacking) = command(&global, &[]);
        let (file, password) = (file.display(), dir.path().join("pw"));
        assert_eq!(
            words,
            format!("/bin/kamba-vault --config {file} --repo /r --password-file {}", password.display())
        );
        assert_eq!(lacking, Vec::<String>::new());
    }
}
