//! The command line itself: the options that every command shares and the list of commands. What
//! belongs to one command stands in its file under `commands`. Nothing here reads the environment
//! or a file: `settings` joins the three sources, so that their order of precedence is in one place.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::base::units;
use crate::cli::commands::{
    cat, check, completions, demo, diff, doctor, export, find, init, key, ls, man, restore, snapshot,
    snapshots, stats, wal,
};

#[cfg(feature = "mount")]
use crate::cli::commands::mount;

const ABOUT: &str = "Encrypted, deduplicating backups for PostgreSQL, files and any stream";

const EXAMPLES: &str = "\
Examples:
  kamba-vault demo                                   see everything once, on a throwaway database
  kamba-vault --repo /srv/backup init                create a repository
  kamba-vault --repo /srv/backup snapshot db --dbname shop
  kamba-vault --repo /srv/backup snapshot files /srv/uploads
  kamba-vault --repo /srv/backup snapshots
  kamba-vault --repo /srv/backup restore db latest@db=shop --dbname shop_copy --create

'kamba-vault COMMAND --help' shows a command's options and examples.";

pub(super) const REFERENCE: &str = "\
Repository URLs:
  /path, file:///path                    a local directory
  s3://bucket/prefix                     also gs://, azblob://, b2://, webdav://, memory://
  sftp://user@host/path                  through the system's ssh
  opendal:SERVICE?key=value              any further OpenDAL service

Environment (a flag beats the environment, which beats the configuration file):
  KAMBA_REPO                             the repository's URL
  KAMBA_PASSWORD                         the passphrase
  KAMBA_PASSWORD_FILE                    a file whose first line is the passphrase
  KAMBA_PASSWORD_COMMAND                 a command that prints the passphrase
  KAMBA_KEY_FILE                         a key file
  KAMBA_CACHE_DIR                        where the index cache lives
  KAMBA_BASE_CACHE                       how large the base cache may get
  KAMBA_CONFIG                           the configuration file
  PGHOST, PGPORT, PGUSER, PGPASSWORD, PGPASSFILE, PGSERVICE, DATABASE_URL
                                         how to reach PostgreSQL, as libpq reads them

Configuration file (--config, KAMBA_CONFIG, ~/.config/kamba-vault/config.toml or
/etc/kamba-vault/config.toml, the first that is there):
  [repository]
  url = \"s3://bucket/prefix\"
  password_file = \"/etc/kamba-vault/passphrase\"
  # or password_command = \"pass show backup\"
  key_file = \"/etc/kamba-vault/key\"
  [repository.options]
  endpoint = \"http://127.0.0.1:9000\"

Exit status:
  0   done
  1   failed
  2   bad usage
  3   done, but some of the source could not be read
  10  no repository there
  11  in use by another
  12  wrong passphrase or key
  13  the role lacks the right
  20  damage found, or a restore that does not match
  130 interrupted";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "kamba-vault",
    version,
    about = ABOUT,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{REFERENCE}"),
    help_expected = true,
    disable_help_subcommand = true,
    infer_subcommands = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What every command understands.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that stand before or after the command.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The repository's URL or path [env: KAMBA_REPO]
    #[arg(long, global = true, value_name = "URL")]
    pub repo: Option<String>,

    /// Read this configuration file [env: KAMBA_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Write JSON alone to standard output
    ///
    /// One document, or one line per event. Progress and messages go to standard error, as JSON
    /// lines too unless that is a terminal.
    #[arg(long, global = true)]
    pub json: bool,

    /// Say nothing but warnings, errors and results
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Name each table, stream or object that is worked on
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// Show no progress, neither bars nor lines
    #[arg(long, global = true)]
    pub no_progress: bool,

    /// An option of the repository's backend; may be repeated
    ///
    /// Such as endpoint=http://127.0.0.1:9000 or region=eu-west-1. Secrets are refused here, where
    /// any process list would show them: put them under [repository.options] in the configuration
    /// file, or where the service's own tools look for them.
    #[arg(long = "option", global = true, value_name = "KEY=VALUE", value_parser = key_value, hide_short_help = true)]
    pub options: Vec<(String, String)>,

    /// Upload at most this many bytes a second: 512K, 10M
    #[arg(long, global = true, value_name = "RATE", value_parser = rate, hide_short_help = true)]
    pub limit_upload: Option<u64>,

    /// Download at most this many bytes a second: 512K, 10M
    #[arg(long, global = true, value_name = "RATE", value_parser = rate, hide_short_help = true)]
    pub limit_download: Option<u64>,

    /// Read the passphrase from this file's first line [env: KAMBA_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "password_command")]
    pub password_file: Option<PathBuf>,

    /// Run this with sh and read the passphrase from what it prints [env: KAMBA_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND", hide_short_help = true)]
    pub password_command: Option<String>,

    /// Unlock with this key file, alone or together with a passphrase [env: KAMBA_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Keep the index cache here; it can be deleted at any time [env: KAMBA_CACHE_DIR]
    #[arg(long, global = true, value_name = "DIR", hide_short_help = true)]
    pub cache_dir: Option<PathBuf>,

    /// Keep copies of this much of what was stored far away, so that later only changes go there
    /// [default: 4G] [env: KAMBA_BASE_CACHE]
    ///
    /// For repositories that are reached over a network, or that the key may not read. The copies are
    /// encrypted, lie beside the index cache, and can be deleted at any time: what changes is then
    /// stored whole once. 0 keeps none.
    #[arg(long, global = true, value_name = "SIZE", value_parser = size, hide_short_help = true)]
    pub base_cache: Option<u64>,
}

/// One variant for each command; each has a file of its own.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(init::InitArgs),
    Snapshot(snapshot::SnapshotArgs),
    Snapshots(snapshots::SnapshotsArgs),
    Ls(ls::LsArgs),
    Find(find::FindArgs),
    Diff(diff::DiffArgs),
    Cat(cat::CatArgs),
    Export(export::ExportArgs),
    Restore(restore::RestoreArgs),
    Wal(wal::WalArgs),
    #[cfg(feature = "mount")]
    Mount(mount::MountArgs),
    Check(check::CheckArgs),
    Doctor(doctor::DoctorArgs),
    Stats(stats::StatsArgs),
    Key(key::KeyArgs),
    Demo(demo::DemoArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Splits `KEY=VALUE` at the first `=`.
fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// A number of bytes.
fn size(text: &str) -> Result<u64, String> {
    units::parse_bytes(text).ok_or_else(|| "expected a size such as 512M or 4G".to_owned())
}

/// A rate in bytes per second, above zero: nought would wait for ever.
fn rate(text: &str) -> Result<u64, String> {
    match units::parse_bytes(text) {
        Some(0) => Err("a limit of zero would never finish".to_owned()),
        Some(n) => Ok(n),
        None => Err("expected a size such as 512K or 10M".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn visit(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.get_subcommands().next().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                let examples = help.starts_with("Examples:\n  ") && help.contains("kamba-vault ");
                assert!(examples, "{path} has no examples");
            }
            command.get_subcommands().for_each(|c| visit(c, &path));
        }
        visit(&Cli::command(), "");
    }

    #[test]
    fn globals_stand_before_and_after_the_command() {
        let before = Cli::try_parse_from(["kamba-vault", "--repo", "/r", "--json", "snapshots"]).unwrap();
        let after = Cli::try_parse_from(["kamba-vault", "snapshots", "--repo", "/r", "--json"]).unwrap();
        for cli in [before, after] {
            assert_eq!(cli.global.repo.as_deref(), Some("/r"));
            assert!(cli.global.json);
        }
    }

    #[test]
    fn options_and_rates_are_checked() {
        assert_eq!(key_value("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(key_value("a="), Ok(("a".into(), String::new())));
        assert!(key_value("=b").is_err() && key_value("ab").is_err());
        assert_eq!(rate("10M"), Ok(10 << 20));
        assert!(rate("0").is_err() && rate("fast").is_err());
    }
}
