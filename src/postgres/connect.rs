//! How to reach a server: settings from flags, a URL or a connection string, made into what a
//! child process gets. libpq itself (in psql and pg_dump) does the connecting, so services,
//! password files, TLS and sockets work as everywhere.
//!
//! The password goes through the environment and never into an argument, a message or `Debug`.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::postgres::error::Error;

/// The connection parameters that libpq knows, up to PostgreSQL 18 ("Parameter Key Words" in its
/// manual). Others are refused: `sslmod=verify-full` must not pass for a safe connection.
const KEYWORDS: &str = "application_name channel_binding client_encoding connect_timeout dbname \
    fallback_application_name gssdelegation gssencmode gsslib host hostaddr keepalives \
    keepalives_count keepalives_idle keepalives_interval krbsrvname load_balance_hosts \
    max_protocol_version min_protocol_version options passfile password port replication \
    require_auth requirepeer requiressl service servicefile ssl_max_protocol_version \
    ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey \
    sslkeylogfile sslmode sslnegotiation sslpassword sslrootcert sslsni target_session_attrs \
    tcp_user_timeout user";

/// What object-relational mappers add to a DATABASE_URL, meant for themselves and without meaning
/// for a connection.
const NOT_OURS: &str = "connection_limit pgbouncer pool_timeout pool_size schema socket_timeout \
    statement_cache_size prepared_statements";

/// The variables by which a user's environment could lead libpq to another server, or change what
/// the server is told ("Environment Variables" in PostgreSQL's manual).
pub const VARIABLES: [&str; 22] = [
    "PGAPPNAME",
    "PGCHANNELBINDING",
    "PGCLIENTENCODING",
    "PGCONNECT_TIMEOUT",
    "PGDATABASE",
    "PGDATESTYLE",
    "PGGSSENCMODE",
    "PGHOST",
    "PGHOSTADDR",
    "PGOPTIONS",
    "PGPASSFILE",
    "PGPASSWORD",
    "PGPORT",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLMODE",
    "PGSSLNEGOTIATION",
    "PGTARGETSESSIONATTRS",
    "PGTZ",
    "PGUSER",
];

const URL: &str = "the connection URL";
const STRING: &str = "the connection string";

/// The URL schemes of libpq.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// Connection settings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// What may be seen.
    shown: BTreeMap<String, String>,
    password: Option<Zeroizing<String>>,
    /// Whether the environment has no say.
    alone: bool,
}

impl Settings {
    /// Nothing set: libpq's environment and defaults decide.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a URL (`postgres://user@host/db?sslmode=require`), a connection string
    /// (`host=db1 dbname=shop`), or the name of a database.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if let Some(rest) = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)) {
            return parse_url(rest).map_err(|reason| Error::Settings { place: URL, reason });
        }
        if text.contains("://") {
            let reason = "it begins neither with postgres:// nor with postgresql://".to_owned();
            return Err(Error::Settings { place: URL, reason });
        }
        if text.contains('=') {
            return parse_string(text).map_err(|reason| Error::Settings { place: STRING, reason });
        }
        let mut settings = Settings::new();
        settings.set("dbname", text).map_err(|reason| Error::Settings { place: STRING, reason })?;
        Ok(settings)
    }

    /// The same with another database.
    pub fn with_database(&self, name: &str) -> Self {
        self.with("dbname", name)
    }

    /// The same with another host, or folder of a socket.
    pub fn with_host(&self, host: &str) -> Self {
        self.with("host", host)
    }

    /// The same with another port.
    pub fn with_port(&self, port: u16) -> Self {
        self.with("port", &port.to_string())
    }

    /// The same with another user.
    pub fn with_user(&self, user: &str) -> Self {
        self.with("user", user)
    }

    /// The database, if the settings name one; else PGDATABASE, the service or the user's name do.
    pub fn database(&self) -> Option<&str> {
        self.shown.get("dbname").map(String::as_str)
    }

    /// Whether a password is among them.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// A connection string with everything but the password, for an argument `--dbname`.
    pub fn connection_string(&self) -> String {
        let quote = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let parts: Vec<String> = self.shown.iter().map(|(k, v)| format!("{k}='{}'", quote(v))).collect();
        parts.join(" ")
    }

    /// The same, whatever the environment says: for a server of our own, which the user's settings
    /// must not be mixed up with.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Gives a child process the password, through its environment.
    pub fn apply(&self, command: &mut Command) {
        if self.alone {
            VARIABLES.iter().for_each(|name| {
                command.env_remove(name);
            });
        }
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password.as_str());
        }
    }

    /// Whether the environment has no say.
    pub(super) fn is_alone(&self) -> bool {
        self.alone
    }

    /// All of them, the password too, for PostgreSQL's client library in this process.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        let shown = self.shown.iter().map(|(keyword, value)| (keyword.as_str(), value.as_str()));
        shown.chain(self.password.iter().map(|password| ("password", password.as_str())))
    }

    fn with(&self, keyword: &str, value: &str) -> Self {
        let mut settings = self.clone();
        settings.shown.insert(keyword.to_owned(), value.to_owned());
        settings
    }

    fn set(&mut self, keyword: &str, value: &str) -> Result<(), String> {
        if value.contains('\0') {
            return Err(format!("{keyword} holds a zero byte"));
        }
        let listed = |list: &str| list.split_ascii_whitespace().any(|word| word == keyword);
        match keyword {
            "password" => self.password = Some(Zeroizing::new(value.to_owned())),
            // Nothing but an argument could carry it to a child process.
            "sslpassword" => return Err("sslpassword would be seen in a list of processes".to_owned()),
            "replication" => return Err("replication is set where it is needed".to_owned()),
            _ if listed(NOT_OURS) => {}
            _ if listed(KEYWORDS) => {
                self.shown.insert(keyword.to_owned(), value.to_owned());
            }
            // The keyword could be a misplaced password.
            _ => return Err("there is a parameter that PostgreSQL does not know".to_owned()),
        }
        Ok(())
    }
}

/// The place, for people: `shop on db1:5432 as backup`. No secrets.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let get = |keyword: &str| self.shown.get(keyword).filter(|v| !v.is_empty());
        match get("dbname") {
            Some(name) => write!(f, "{name}")?,
            None => f.write_str("the default database")?,
        }
        if let Some(host) = get("host").or_else(|| get("hostaddr")) {
            write!(f, " on {host}")?;
            if let Some(port) = get("port") {
                write!(f, ":{port}")?;
            }
        } else if let Some(service) = get("service") {
            write!(f, " of service {service}")?;
        }
        match get("user") {
            Some(user) => write!(f, " as {user}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.password.is_some() { " with a password" } else { "" };
        write!(f, "Settings({}{password})", self.connection_string())
    }
}

/// `user:password@host:port,host:port/database?keyword=value&…`, as libpq reads it
/// (`conninfo_uri_parse_options` in PostgreSQL's `fe-connect.c`).
fn parse_url(rest: &str) -> Result<Settings, String> {
    let mut settings = Settings::new();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = match authority.split_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    if hosts.contains('@') {
        return Err("an @ in the user or password has to be written as %40".to_owned());
    }
    if let Some(login) = login {
        let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
        set_decoded(&mut settings, "user", user)?;
        set_decoded(&mut settings, "password", password.unwrap_or_default())?;
    }
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = split_host(host)?;
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err("a port is not a number".to_owned());
        }
        names.push(name);
        ports.push(port);
    }
    let is_set = |list: &[&str]| list.iter().any(|item| !item.is_empty());
    if is_set(&names) {
        set_decoded(&mut settings, "host", &names.join(","))?;
    }
    if is_set(&ports) {
        set_decoded(&mut settings, "port", &ports.join(","))?;
    }
    set_decoded(&mut settings, "dbname", database)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (keyword, value) = pair.split_once('=').ok_or("a parameter lacks its =")?;
        let keyword = decode(keyword)?;
        // The spelling of JDBC.
        if keyword == "ssl" && value == "true" {
            settings.set("sslmode", "require")?;
        } else {
            settings.set(&keyword, &decode(value)?)?;
        }
    }
    Ok(settings)
}

/// A host and its port, either of which may be missing; `[::1]` is an address.
fn split_host(host: &str) -> Result<(&str, &str), String> {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, rest) = rest.split_once(']').ok_or("an address lacks its ]")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((name, port)),
            None if rest.is_empty() => Ok((name, "")),
            None => Err("something stands behind the ] of an address".to_owned()),
        };
    }
    Ok(host.split_once(':').unwrap_or((host, "")))
}

fn set_decoded(settings: &mut Settings, keyword: &str, value: &str) -> Result<(), String> {
    if value.is_empty() { Ok(()) } else { settings.set(keyword, &decode(value)?) }
}

fn decode(text: &str) -> Result<String, String> {
    // percent_encoding leaves a lone % as it is; libpq refuses it.
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        if !after.as_bytes().get(..2).is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
            return Err("a % that begins no percent-encoding (write it as %25)".to_owned());
        }
        rest = after;
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| "a percent-encoding that is not UTF-8".to_owned())
}

/// `keyword = value keyword='quoted value'`, as libpq reads it (`conninfo_parse`).
fn parse_string(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (keyword, after) = rest.split_once('=').ok_or("a keyword lacks its =")?;
        let (value, after) = take_value(after.trim_start())?;
        settings.set(keyword.trim(), &value)?;
        rest = after.trim_start();
    }
    Ok(settings)
}

/// A value up to a blank, or in single quotes; a backslash takes the next character as it is.
fn take_value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.strip_prefix('\'');
    let body = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted.is_some() => return Ok((value, &body[at + 1..])),
            c if c.is_whitespace() && quoted.is_none() => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted.is_some() {
        return Err("a quoted value lacks its closing quote".to_owned());
    }
    Ok((value, ""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::Settings;

    fn parsed(text: &str) -> (String, Option<String>) {
        let settings = Settings::parse(text).unwrap();
        let mut command = Command::new("true");
        settings.apply(&mut command);
        let mut env = command.get_envs();
        let password = env.next().map(|(_, v)| v.unwrap().to_str().unwrap().to_owned());
        (settings.connection_string(), password)
    }

    #[test]
    fn urls_and_strings_read_as_libpq_reads_them() {
        let cases = [
            ("shop", "dbname='shop'", None),
            ("postgres://", "", None),
            ("postgresql://db1", "host='db1'", None),
            ("postgres://db1:5433/shop", "dbname='shop' host='db1' port='5433'", None),
            ("postgres://me:s%40cret@db1/shop", "dbname='shop' host='db1' user='me'", Some("s@cret")),
            ("postgres://[::1]:5433/", "host='::1' port='5433'", None),
            ("postgres://a:1,b,c:3/x", "dbname='x' host='a,b,c' port='1,,3'", None),
            ("postgres:///x?host=%2Ftmp%2Fsockets", "dbname='x' host='/tmp/sockets'", None),
            (
                "postgres://u@h/x?sslmode=verify-full",
                "dbname='x' host='h' sslmode='verify-full' user='u'",
                None,
            ),
            ("postgres://h/x?ssl=true", "dbname='x' host='h' sslmode='require'", None),
            ("postgres://h/x?password=p%20w", "dbname='x' host='h'", Some("p w")),
            ("postgres://h/x?schema=public&pgbouncer=true", "dbname='x' host='h'", None),
            ("host=db1 dbname = shop", "dbname='shop' host='db1'", None),
            (r"host='a b' user=o\'hara password='p\'w'", r"host='a b' user='o\'hara'", Some("p'w")),
        ];
        for (text, shown, password) in cases {
            assert_eq!(parsed(text), (shown.to_owned(), password.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_without_the_secret() {
        let cases = [
            ("mysql://h", "the connection URL: it begins neither"),
            ("postgres://u:topsecret@host@x/y", "an @ in the user or password"),
            ("postgres://u:topsecret@h:port/x", "a port is not a number"),
            ("postgres://u:100%topsecret@h/x", "a % that begins no percent-encoding"),
            ("postgres://u:%fftopsecret@h/x", "not UTF-8"),
            ("postgres://u:topsecret@[::1/x", "an address lacks its ]"),
            ("postgres://h/x?sslmod=topsecret", "a parameter that PostgreSQL does not know"),
            ("postgres://h/x?topsecret", "a parameter lacks its ="),
            ("postgres://h/x?sslpassword=topsecret", "sslpassword would be seen"),
            ("password='topsecret", "a quoted value lacks its closing quote"),
            ("password=a topsecret", "a keyword lacks its ="),
            ("topsecret=1", "a parameter that PostgreSQL does not know"),
            ("postgres://u:topsecret%00@h/x", "password holds a zero byte"),
        ];
        for (text, want) in cases {
            let error = Settings::parse(text).unwrap_err().to_string();
            assert!(error.contains(want) && !error.contains("topsecret"), "{text}: {error}");
        }
    }

    #[test]
    fn nothing_shows_the_password() {
        let settings = Settings::parse("postgres://me:topsecret@db1:5433/shop").unwrap();
        assert_eq!(settings.to_string(), "shop on db1:5433 as me");
        let debug = format!("{settings:?}");
        assert!(debug.contains("with a password") && !debug.contains("topsecret"));
        let other = settings.with_database("it's").with_host("/run").with_port(1).with_user("you");
        assert_eq!(other.connection_string(), r"dbname='it\'s' host='/run' port='1' user='you'");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_text_parses_or_fails(text in "(postgres://)?[a-z0-9:@/?&=%'\\\\ ,\\[\\]é]{0,40}") {
            if let Ok(settings) = Settings::parse(&text) {
                let again = Settings::parse(&format!("{} user='u'", settings.connection_string())).unwrap();
                prop_assert_eq!(again.connection_string(), settings.with_user("u").connection_string());
            }
        }

        #[test]
        fn any_value_survives_quoting(value in "[^\\x00]{0,20}") {
            let settings = Settings::new().with_database(&value);
            let again = Settings::parse(&settings.connection_string()).unwrap();
            prop_assert_eq!(again.database().unwrap(), value.as_str());
            prop_assert!(settings.connection_string().starts_with("dbname='"));
        }
    }
}
