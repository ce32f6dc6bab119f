//! How a run ends: the error type of the command line, the way it is shown, and the exit status.
//! Every layer's error becomes a [`Failure`] here, by its class and hint; no other file decides on
//! a status. Only an internal inconsistency asks for a bug report: an unplugged cable must not.

use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;

use serde::Serialize;

use crate::base::class::Class;
use crate::cli::text::paragraph;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// All of it was done (0).
    Complete,
    /// Done, but some of the source could not be read; the snapshot says which (3).
    Incomplete,
    /// Done, and it found damage, which the result names (20).
    Damaged,
    /// The repository has answered that it has no such WAL file (1, as PostgreSQL understands it).
    Absent,
    /// Done, and it found problems, which the result names (1).
    Problems,
}

impl Done {
    /// The process exit status.
    pub fn exit_status(self) -> u8 {
        match self {
            Done::Complete => 0,
            Done::Incomplete => 3,
            Done::Damaged => Class::Damaged.exit_status(),
            Done::Absent | Done::Problems => 1,
        }
    }
}

/// Who reads the exit status. PostgreSQL's server takes some as orders, which are not this program's usual
/// meanings ("Continuous Archiving" in its manual; `pgarch.c`, `xlogarchive.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// A user or a script: the README's table.
    Usual,
    /// The archiver, from `wal push`: above 125 it would end itself, so every failure is 1.
    Push,
    /// Recovery, from `wal fetch`: up to 125 it believes that the WAL ends here, so every failure is 126.
    Fetch,
    /// A standby server, from `wal fetch --standby`: it asks again, so every failure is 1.
    Standby,
}

impl Contract {
    /// What these arguments ask for, even if as a whole they make no sense: a mistake in
    /// `restore_command` must not end a recovery either.
    pub fn of(arguments: &[OsString]) -> Self {
        let mut words = arguments.iter().skip(1);
        if !words.any(|word| word == "wal") {
            return Contract::Usual;
        }
        let words: Vec<&OsString> = words.collect();
        let has = |wanted: &str| words.iter().any(|word| *word == wanted);
        match (has("fetch"), has("--standby"), has("push")) {
            (true, false, _) => Contract::Fetch,
            (true, true, _) => Contract::Standby,
            (false, _, true) => Contract::Push,
            (false, _, false) => Contract::Usual,
        }
    }

    /// The exit status of a failure whose usual one is `usual`.
    pub fn status(self, usual: u8) -> u8 {
        match self {
            Contract::Usual => usual,
            Contract::Push | Contract::Standby => 1,
            Contract::Fetch => 126,
        }
    }
}

/// What a layer's error answers, so that it can be shown and turned into an exit status.
pub trait Classified: Error {
    /// What the caller can do about it.
    fn class(&self) -> Class;
    /// What the user could try, without a full stop.
    fn hint(&self) -> Option<String>;
}

/// Forwards a layer's own `class()` and `hint()`.
macro_rules! classified {
    ($($error:ty),+ $(,)?) => {$(
        impl Classified for $error {
            fn class(&self) -> Class {
                <$error>::class(self)
            }
            fn hint(&self) -> Option<String> {
                <$error>::hint(self).map(Into::into)
            }
        }
    )+};
}

classified!(
    crate::files::Error,
    crate::storage::Error,
    crate::repo::Error,
    crate::ops::Error,
    crate::postgres::error::Error
);
#[cfg(feature = "mount")]
classified!(crate::mount::Error);

/// Why a command failed, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    class: Class,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut failure = Failure::new(error.class(), error.to_string());
        failure.hint = error.hint();
        failure.causes = causes(&error);
        failure
    }
}

/// The chain below `error`, without links that only repeat what was said already.
fn causes(error: &dyn Error) -> Vec<String> {
    let mut said = error.to_string();
    let mut chain = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.contains(&text) {
            said.push_str(&text);
            chain.push(text);
        }
        next = cause.source();
    }
    chain
}

impl Failure {
    /// A failure of `class`; `message` says what failed on which object, without a full stop.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Failure { class, message: message.into(), causes: Vec::new(), hint: None }
    }

    /// The request itself is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(Class::Usage, message)
    }

    /// The user asked to stop.
    pub fn interrupted() -> Self {
        Failure::new(Class::Interrupted, "interrupted")
    }

    /// A failed system call: `what` names the action and its object, as in "write FILE".
    pub fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        Failure::new(Class::Failed, format!("cannot {}: {error}", what.into()))
    }

    /// The same failure with a hint: what the user could try, without a full stop.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure with what it happened to before its message.
    pub fn about(mut self, object: &str) -> Self {
        self.message = format!("{object}: {}", self.message);
        self
    }

    /// The same failure with what it means after its message.
    pub fn which_means(mut self, consequence: &str) -> Self {
        self.message = format!("{}\n{consequence}", self.message);
        self
    }

    /// What is left to say when the user asked to stop: damage that was found on the way keeps its
    /// words and its status, everything else was only a consequence.
    pub fn into_interrupted(self) -> Self {
        if self.class == Class::Damaged { self } else { Failure::interrupted() }
    }

    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The process exit status.
    pub fn exit_status(&self) -> u8 {
        self.class.exit_status()
    }

    /// For people: the message, what caused it, and a hint. Ends with a line feed.
    pub fn render(&self) -> String {
        let mut out = format!("error: {}\n", paragraph(&self.message));
        for cause in &self.causes {
            let _ = writeln!(out, "  caused by: {}", paragraph(cause));
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "hint: {}", paragraph(hint));
        }
        if self.class == Class::Internal {
            let _ = writeln!(
                out,
                "This is an inconsistency inside kamba-vault {}, which nobody foresaw. \
                 Please report it with the lines above.",
                env!("CARGO_PKG_VERSION")
            );
        }
        out
    }

    /// For a server's log: all of it in one line. Ends with a line feed.
    pub fn render_line(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("hint: {hint}"));
        let parts: Vec<&str> =
            [&self.message].into_iter().chain(&self.causes).chain(&hint).map(String::as_str).collect();
        let words: Vec<String> = parts.join("; ").split_whitespace().map(str::to_owned).collect();
        format!("error: {}\n", paragraph(&words.join(" ")))
    }

    /// For programs: one line of JSON with a stable shape. Ends with a line feed.
    pub fn render_json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            message_type: &'static str,
            status: u8,
            class: &'static str,
            message: &'a str,
            causes: &'a [String],
            hint: Option<&'a str>,
        }
        let document = Document {
            message_type: "error",
            status: self.exit_status(),
            class: class_name(self.class),
            message: &self.message,
            causes: &self.causes,
            hint: self.hint.as_deref(),
        };
        let mut line = serde_json::to_string(&document).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// The class's name in JSON.
fn class_name(class: Class) -> &'static str {
    match class {
        Class::Usage => "usage",
        Class::Failed => "failed",
        Class::NoRepository => "no_repository",
        Class::InUse => "in_use",
        Class::WrongKey => "wrong_key",
        Class::Denied => "denied",
        Class::Damaged => "damaged",
        Class::Interrupted => "interrupted",
        Class::Internal => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Error as StorageError, ErrorKind};

    #[derive(Debug, thiserror::Error)]
    #[error("read the pack: {0}")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Inner(&'static str, #[source] std::fmt::Error);

    impl Classified for Outer {
        fn class(&self) -> Class {
            Class::Damaged
        }
        fn hint(&self) -> Option<String> {
            None
        }
    }

    #[test]
    fn a_layers_error_keeps_its_words_class_and_hint() {
        let full =
            StorageError::new(ErrorKind::Full, "create", "data/3f/3f00", "/srv/backup", "no space left");
        let (words, hint) = (full.to_string(), full.hint().unwrap_or_default());
        let failure = Failure::from(full);
        assert_eq!(failure.exit_status(), 1);
        assert_eq!(failure.render(), format!("error: {words}\nhint: {hint}\n"));
        let line = failure.render_json();
        insta::assert_snapshot!(line.replace(&words, "WORDS").replace(hint, "HINT"), @r#"{"message_type":"error","status":1,"class":"failed","message":"WORDS","causes":[],"hint":"HINT"}"#);
    }

    #[test]
    fn a_cause_is_named_once() {
        let failure = Failure::from(Outer(Inner("it is torn", std::fmt::Error)));
        assert_eq!(failure.exit_status(), 20);
        insta::assert_snapshot!(failure.render(), @r"
        error: read the pack: it is torn
          caused by: an error occurred when formatting an argument
        ");
    }

    #[test]
    fn only_an_internal_error_asks_for_a_report() {
        let all = [
            (Class::Usage, 2),
            (Class::Failed, 1),
            (Class::NoRepository, 10),
            (Class::InUse, 11),
            (Class::WrongKey, 12),
            (Class::Denied, 13),
            (Class::Damaged, 20),
            (Class::Interrupted, 130),
            (Class::Internal, 1),
        ];
        for (class, status) in all {
            let failure = Failure::new(class, "x");
            assert_eq!(failure.exit_status(), status, "{class:?}");
            assert_eq!(failure.render().contains("report"), class == Class::Internal, "{class:?}");
        }
        assert_eq!([Done::Complete, Done::Incomplete, Done::Damaged].map(Done::exit_status), [0, 3, 20]);
    }

    #[test]
    fn a_server_is_answered_as_it_understands() {
        let contract = |line: &str| Contract::of(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(contract("kamba-vault wal push pg_wal/x"), Contract::Push);
        assert_eq!(contract("kamba-vault --repo /r wal --quiet fetch a b"), Contract::Fetch);
        assert_eq!(contract("kamba-vault wal fetch --standby a b"), Contract::Standby);
        assert_eq!(contract("kamba-vault wal fetch --no-such-option"), Contract::Fetch);
        assert_eq!(contract("kamba-vault wal status"), Contract::Usual);
        assert_eq!(contract("kamba-vault snapshot files wal"), Contract::Usual);
        assert_eq!(contract("wal fetch"), Contract::Usual, "the program's own name is no command");
        let all = [Contract::Usual, Contract::Push, Contract::Fetch, Contract::Standby];
        assert_eq!(all.map(|contract| contract.status(20)), [20, 1, 126, 1]);
    }

    #[test]
    fn a_log_gets_one_line() {
        let failure = Failure::from(Outer(Inner("it is\ntorn", std::fmt::Error))).with_hint("mend it");
        let line = failure.render_line();
        assert_eq!(
            line,
            "error: read the pack: it is torn; an error occurred when formatting an argument; hint: mend it\n"
        );
    }

    #[test]
    fn a_hostile_name_cannot_drive_the_terminal() {
        let failure = Failure::new(Class::Failed, "read \x1b[2Jtable");
        assert_eq!(failure.render(), "error: read \\u{1b}[2Jtable\n");
    }
}
