//! Repository URLs: text to the place it means, and back to text that may be shown. A place that
//! is shown carries no credentials, whether they stood in the URL or in the options.
//!
//! Not here: whether anything is at the place, and which options a service knows.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::error::{Error, ErrorKind};

/// Settings of a service by name. Shown, it names them without their values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// No settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing what it was.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into().to_ascii_lowercase(), value.into());
    }

    /// Sets `key` unless it is set.
    pub fn set_default(&mut self, key: &str, value: impl Into<String>) {
        self.0.entry(key.to_owned()).or_insert_with(|| value.into());
    }

    /// Sets what a `key=value` says, as it stands on a command line.
    pub fn set_pair(&mut self, pair: &str) -> Result<(), Error> {
        match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => self.set(key, value),
            // Not shown: whoever forgot the key may have typed a secret.
            _ => return Err(refused("", "an option is written key=value")),
        }
        Ok(())
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Removes `key` and returns its value.
    pub fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    /// Every setting, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// These settings, and `others` where they have none.
    pub fn or(mut self, others: &Settings) -> Self {
        for (key, value) in others.iter() {
            self.set_default(key, value);
        }
        self
    }

    /// `text` without any value of a setting that may be secret.
    pub fn scrub(&self, text: &str) -> String {
        const SECRET: [&str; 6] = ["key", "secret", "token", "pass", "credential", "account"];
        let mut text = text.to_owned();
        for (key, value) in self.iter() {
            // A value of a few bytes would strike ordinary words; no secret is that short.
            if value.len() >= 4 && SECRET.iter().any(|word| key.contains(word)) {
                text = text.replace(value, "***");
            }
        }
        text
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a repository URL means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder on this machine.
    Local(PathBuf),
    /// Objects in this process's memory, by name.
    Memory(String),
    /// A folder that an SSH server serves.
    Sftp(SftpPlace),
    /// An object store or other service.
    Service(ServicePlace),
}

/// A folder that an SSH server serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SftpPlace {
    /// User on the server; ssh's own configuration decides if there is none.
    pub user: Option<String>,
    /// Name or address of the server, or an alias in ssh's configuration.
    pub host: String,
    /// Port, likewise.
    pub port: Option<u16>,
    /// Absolute path; relative to the user's home if it begins with `~/`.
    pub path: String,
    /// Settings from the URL's query.
    pub settings: Settings,
}

/// An object store or other service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePlace {
    /// The service's name, such as `s3`.
    pub service: String,
    /// Settings from the URL, `root` and bucket among them.
    pub settings: Settings,
    /// The URL without credentials.
    pub shown: String,
}

impl Place {
    /// The place that `text` means: a URL, or else a path.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(refused("", "the repository's URL is empty"));
        }
        if let Some(rest) = text.strip_prefix("opendal:") {
            return any_service(rest);
        }
        // Only then a URL: a path may well hold a colon.
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Place::Local(PathBuf::from(text)));
        };
        let url = Url::parse(text).map_err(|error| refused(scheme, &error.to_string()))?;
        if url.fragment().is_some() {
            return Err(refused(&shown(&url), "a # in it must be written %23"));
        }
        match url.scheme() {
            "file" => file(&url),
            "memory" => Ok(Place::Memory(url.host_str().unwrap_or_default().to_owned())),
            "sftp" => sftp(&url),
            "s3" => bucket(&url, "s3", "bucket"),
            "gs" | "gcs" => bucket(&url, "gcs", "bucket"),
            "azblob" => bucket(&url, "azblob", "container"),
            "b2" => bucket(&url, "b2", "bucket"),
            "webdav" => webdav(&url, "http"),
            "webdavs" => webdav(&url, "https"),
            other => Err(refused(
                &shown(&url),
                &format!(
                    "\"{other}\" is no known kind of place; known are file, s3, gs, azblob, b2, sftp, webdav, \
                     webdavs, memory and opendal:SERVICE"
                ),
            )),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Local(path) => write!(f, "{}", path.display()),
            Place::Memory(name) => write!(f, "memory://{name}"),
            Place::Sftp(place) => write!(f, "{place}"),
            Place::Service(place) => f.write_str(&place.shown),
        }
    }
}

impl fmt::Display for SftpPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        write!(f, "sftp://{user}{}{port}{slash}{}", self.host, self.path)
    }
}

fn refused(location: &str, reason: &str) -> Error {
    Error::new(
        ErrorKind::Config,
        "open",
        if location.is_empty() { "repository" } else { "" },
        location,
        reason,
    )
}

/// The URL without its password, query and fragment.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Refused only by URLs that cannot have one.
    let _ = url.set_password(None);
    url.to_string().trim_end_matches('/').to_owned()
}

fn decoded(text: &str, url: &Url) -> Result<String, Error> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(String::from).map_err(|_| refused(&shown(url), "it is not UTF-8"))
}

fn queried(url: &Url) -> Settings {
    let mut settings = Settings::new();
    for (key, value) in url.query_pairs() {
        settings.set(key, value);
    }
    settings
}

fn host(url: &Url, what: &str) -> Result<String, Error> {
    match url.host_str() {
        Some(host) if !host.is_empty() => decoded(host, url),
        _ => Err(refused(&shown(url), &format!("its {what} is missing"))),
    }
}

fn file(url: &Url) -> Result<Place, Error> {
    match url.to_file_path() {
        Ok(path) if url.query().is_none() => Ok(Place::Local(path)),
        _ => Err(refused(&shown(url), "a file URL is written file:///path")),
    }
}

fn sftp(url: &Url) -> Result<Place, Error> {
    if url.password().is_some() {
        return Err(refused(&shown(url), "ssh takes no password here: use a key or an agent"));
    }
    let path = decoded(url.path(), url)?;
    let path = path.strip_prefix("/~/").map(|rest| format!("~/{rest}")).unwrap_or(path);
    let (user, host) = (decoded(url.username(), url)?, host(url, "host")?);
    // Both become arguments of ssh.
    if user.starts_with('-') || host.starts_with('-') {
        return Err(refused(&shown(url), "neither user nor host may begin with a dash"));
    }
    if path.trim_matches('/').is_empty() {
        return Err(refused(&shown(url), "its path is missing"));
    }
    Ok(Place::Sftp(SftpPlace {
        user: Some(user).filter(|user| !user.is_empty()),
        host,
        port: url.port(),
        path: path.trim_end_matches('/').to_owned(),
        settings: queried(url),
    }))
}

fn bucket(url: &Url, service: &str, bucket: &str) -> Result<Place, Error> {
    if !url.username().is_empty() || url.port().is_some() {
        // Whatever stands before the @ may be an access key.
        let reason =
            format!("it is written {0}://{bucket}/prefix; the rest belongs in options", url.scheme());
        return Err(refused("", &reason));
    }
    let mut settings = queried(url);
    settings.set(bucket, host(url, bucket)?);
    settings.set("root", decoded(url.path(), url)?);
    Ok(Place::Service(ServicePlace { service: service.to_owned(), settings, shown: shown(url) }))
}

fn webdav(url: &Url, transport: &str) -> Result<Place, Error> {
    let mut settings = queried(url);
    let host = host(url, "host")?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    settings.set("endpoint", format!("{transport}://{host}{port}"));
    settings.set("root", decoded(url.path(), url)?);
    for (key, value) in [("username", Some(url.username())), ("password", url.password())] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            settings.set(key, decoded(value, url)?);
        }
    }
    Ok(Place::Service(ServicePlace { service: "webdav".to_owned(), settings, shown: shown(url) }))
}

/// `SERVICE?key=value&…`, as any service may be written.
fn any_service(text: &str) -> Result<Place, Error> {
    let (service, query) = text.split_once('?').unwrap_or((text, ""));
    let mut settings = Settings::new();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        settings.set(key, value);
    }
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if service.is_empty() || !service.bytes().all(valid) {
        return Err(refused("", "it is written opendal:SERVICE?key=value"));
    }
    let root = settings.get("root").unwrap_or_default().trim_matches('/');
    let bucket = settings.get("bucket").or(settings.get("container")).unwrap_or_default();
    let place = [bucket, root].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let shown = settings.scrub(&format!("opendal:{service}:{place}")).trim_end_matches(':').to_owned();
    Ok(Place::Service(ServicePlace { service: service.to_owned(), settings, shown }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn service(text: &str) -> (String, String, Vec<(String, String)>) {
        match Place::parse(text).unwrap() {
            Place::Service(place) => (
                place.service,
                place.shown,
                place.settings.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            ),
            other => panic!("{text} is {other:?}"),
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn paths_are_paths() {
        for path in ["/srv/repo", "repo", "./a:b", "../x", "C:/x", "/with space/ä"] {
            assert_eq!(Place::parse(path).unwrap(), Place::Local(PathBuf::from(path)));
        }
        assert_eq!(Place::parse("file:///a%20b").unwrap(), Place::Local(PathBuf::from("/a b")));
        assert_eq!(Place::parse("memory://x").unwrap(), Place::Memory("x".to_owned()));
        assert_eq!(Place::parse("memory://").unwrap(), Place::Memory(String::new()));
    }

    #[test]
    fn services_have_their_parts() {
        let (name, shown, settings) =
            service("s3://bucket/a/prefix/?endpoint=http://127.0.0.1:9000&region=x");
        assert_eq!((name.as_str(), shown.as_str()), ("s3", "s3://bucket/a/prefix"));
        assert_eq!(
            settings,
            pairs(&[
                ("bucket", "bucket"),
                ("endpoint", "http://127.0.0.1:9000"),
                ("region", "x"),
                ("root", "/a/prefix/")
            ])
        );
        assert_eq!(service("gs://b").2, pairs(&[("bucket", "b"), ("root", "")]));
        assert_eq!(service("azblob://c/p").2, pairs(&[("container", "c"), ("root", "/p")]));
        assert_eq!(service("b2://b/p").0, "b2");
        let (name, shown, settings) = service("webdavs://me:s%40cret@host:8443/dav/x");
        assert_eq!((name.as_str(), shown.as_str()), ("webdav", "webdavs://me@host:8443/dav/x"));
        assert_eq!(
            settings,
            pairs(&[
                ("endpoint", "https://host:8443"),
                ("password", "s@cret"),
                ("root", "/dav/x"),
                ("username", "me")
            ])
        );
        let (name, shown, settings) = service("opendal:s3?bucket=b&root=/r&secret_access_key=hush");
        assert_eq!((name.as_str(), shown.as_str(), settings.len()), ("s3", "opendal:s3:b/r", 3));
    }

    #[test]
    fn sftp_has_its_parts() {
        let Place::Sftp(place) = Place::parse("sftp://me@host:2222/srv/a%20b/").unwrap() else { panic!() };
        assert_eq!((place.user.as_deref(), place.host.as_str()), (Some("me"), "host"));
        assert_eq!((place.port, place.path.as_str()), (Some(2222), "/srv/a b"));
        assert_eq!(place.to_string(), "sftp://me@host:2222/srv/a b");
        let Place::Sftp(place) = Place::parse("sftp://host/~/repo").unwrap() else { panic!() };
        assert_eq!((place.path.as_str(), place.to_string().as_str()), ("~/repo", "sftp://host/~/repo"));
    }

    #[test]
    fn nonsense_is_refused_without_secrets() {
        for text in [
            "",
            "ftp://me:hush1@host/x",
            "s3://",
            "s3:///prefix",
            "s3://hush1:hush1@bucket/x",
            "sftp://me:hush1@host/x",
            "sftp://host",
            "sftp://host/",
            "sftp://-oProxyCommand=hush1/x",
            "file://host/x",
            "file:///x?y",
            "s3://b/x#y",
            "opendal:",
            "opendal:S3://hush1",
            "webdav:///x",
        ] {
            let error = Place::parse(text).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Config, "{text}");
            assert!(!error.to_string().contains("hush1") || text.contains("-o"), "{error}");
        }
    }

    #[test]
    fn settings_show_no_values() {
        let mut settings = Settings::new();
        settings.set_pair("secret_access_key=hush=1").unwrap();
        settings.set_pair("Region=eu").unwrap();
        assert_eq!(settings.get("secret_access_key"), Some("hush=1"));
        assert_eq!(settings.get("region"), Some("eu"));
        assert!(settings.set_pair("nothing").is_err() && settings.set_pair("=x").is_err());
        assert_eq!(format!("{settings:?}"), r#"{"region", "secret_access_key"}"#);
        assert_eq!(settings.scrub("denied for hush=1 in eu"), "denied for *** in eu");
    }
}
