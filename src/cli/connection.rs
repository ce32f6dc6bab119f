//! How the command line reaches PostgreSQL: --dbname and --url, then DATABASE_URL, then libpq's own
//! environment, which the programs that we start read themselves.

use std::path::PathBuf;

use crate::cli::context::Context;
use crate::cli::env::{self, Environment};
use crate::cli::exit::Failure;
use crate::postgres::connect::Settings;
use crate::postgres::tools::Tools;

/// The connection that these flags mean. A URL replaces DATABASE_URL; the name of a database only
/// its database.
pub fn settings(
    dbname: Option<&str>,
    url: Option<&str>,
    environment: &Environment,
) -> Result<Settings, Failure> {
    if let Some(name) = dbname {
        check_name(name)?;
    }
    if let Some(url) = url {
        let settings = Settings::parse(url)?;
        if settings.has_password() {
            return Err(Failure::usage("the password in --url would show in any process list")
                .with_hint("leave it out, and use PGPASSFILE or PGPASSWORD, or set DATABASE_URL instead"));
        }
        return Ok(settings);
    }
    let base = match environment.text(env::DATABASE_URL)? {
        Some(url) => Settings::parse(&url)?,
        None => Settings::new(),
    };
    Ok(match dbname {
        Some(name) => base.with_database(name),
        None => base,
    })
}

/// psql and pg_dump take a whole connection for a database's name; here it could only be a mistake,
/// and one that shows a password in any process list. So the text is not repeated either.
fn check_name(name: &str) -> Result<(), Failure> {
    if name.is_empty() {
        return Err(Failure::usage("the name in --dbname is empty")
            .with_hint("`psql --list` shows the server's databases"));
    }
    if name.contains("://") || name.contains('=') {
        return Err(Failure::usage("what --dbname was given is no name of a database")
            .with_hint("give a connection to --url, or set DATABASE_URL if it holds a password"));
    }
    Ok(())
}

/// Where PostgreSQL's programs are.
pub fn tools(folder: Option<PathBuf>, context: &Context) -> Tools {
    Tools::new(folder, context.environment.search_path(), &context.cancel)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_flag_beats_the_environment_and_a_name_replaces_only_the_database() {
        let environment = Environment::of(&[(env::DATABASE_URL, "postgres://me:hunter2@db1/shop")]);
        let text = |dbname, url| settings(dbname, url, &environment).unwrap().to_string();
        assert_eq!(text(None, None), "shop on db1 as me");
        assert_eq!(text(Some("copy"), None), "copy on db1 as me");
        assert_eq!(text(None, Some("postgres://db2/x")), "x on db2");
    }

    #[test]
    fn a_password_in_an_argument_is_refused_and_not_repeated() {
        let none = Environment::of(&[]);
        for url in ["postgres://me:hunter2@db1/shop", "host=db1 password=hunter2"] {
            let failure = settings(None, Some(url), &none).unwrap_err();
            assert_eq!(failure.exit_status(), 2);
            assert!(failure.render().contains("process list") && !failure.render().contains("hunter2"));
        }
    }

    #[test]
    fn a_name_is_a_name() {
        let none = Environment::of(&[]);
        for name in ["", "postgres://me:hunter2@h/x", "host=db1 password=hunter2", "mysql://hunter2"] {
            let failure = settings(Some(name), None, &none).unwrap_err();
            assert_eq!(failure.exit_status(), 2, "{name}");
            assert!(!failure.render().contains("hunter2"), "{}", failure.render());
        }
    }
}
