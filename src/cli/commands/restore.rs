//! `restore db`: write a snapshot's database back.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::base::units;
use crate::cli::commands::{restore_files, restore_pitr};
use crate::cli::confirm::confirm;
use crate::cli::connection;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::table::{Align, Table};
use crate::cli::text::{count, printable};
use crate::ops::restore_db::{RestoreRequest, Restored, TableResult, find_database, restore_db};
use crate::ops::{self, look};
use crate::postgres::restore::RestoreOptions;

/// Write a snapshot back
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct RestoreArgs {
    /// What is restored.
    #[command(subcommand)]
    pub what: What,
}

/// One variant for each kind of restore.
#[derive(Debug, Subcommand)]
pub enum What {
    Db(DbArgs),
    Files(restore_files::FilesArgs),
    Pitr(restore_pitr::PitrArgs),
}

const DB_EXAMPLES: &str = "\
Examples:
  kamba-vault restore db latest@db=shop --dbname shop_copy --create
  kamba-vault restore db latest@db=shop --dbname shop --table public.orders --yes
  kamba-vault restore db 2026-11-22T03:00:shop --dbname shop --clean --jobs 4
  kamba-vault restore db latest --dbname shop_copy --create --globals --no-owner";

/// Restore a PostgreSQL database, through pg_restore
///
/// Refuses a database that is not empty, without --clean or --yes. Afterwards the rows of every
/// table are counted and compared with the snapshot's; if they differ, the exit status is 20. The
/// connection is libpq's, as for 'snapshot db'.
#[derive(Debug, Args)]
#[command(after_help = DB_EXAMPLES)]
pub struct DbArgs {
    /// An id or its beginning, latest, latest~2, latest@db=NAME, or a time; with the database after
    /// a colon if the snapshot has several
    #[arg(value_name = "SNAPSHOT[:DATABASE]")]
    pub snapshot: String,

    /// The database to restore into
    #[arg(long, value_name = "NAME", required_unless_present = "url", conflicts_with = "url")]
    pub dbname: Option<String>,

    /// The same as a connection URL, without its password
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// Only this table, as SCHEMA.TABLE; may be repeated
    ///
    /// With what belongs to it: rows, indexes, constraints, triggers, its sequence, its partitions.
    #[arg(long = "table", value_name = "S.T")]
    pub tables: Vec<String>,

    /// Only definitions, no rows
    #[arg(long, conflicts_with = "data_only")]
    pub schema_only: bool,

    /// Only rows, into tables that are there
    #[arg(long, conflicts_with_all = ["clean", "create"])]
    pub data_only: bool,

    /// Create the database first
    #[arg(long)]
    pub create: bool,

    /// Drop what the snapshot has before restoring it
    #[arg(long)]
    pub clean: bool,

    /// First restore roles and tablespaces, if the snapshot has them
    #[arg(long)]
    pub globals: bool,

    /// Restore with this many connections at once
    ///
    /// This takes a temporary copy of the whole dump, unencrypted, in the folder of TMPDIR.
    #[arg(long, value_name = "N", default_value = "1", value_parser = jobs, conflicts_with = "single_transaction")]
    pub jobs: NonZeroU32,

    /// Restore into a database that is not empty without asking
    #[arg(long)]
    pub yes: bool,

    /// Everything or nothing
    #[arg(long)]
    pub single_transaction: bool,

    /// Let everything belong to the user who restores
    #[arg(long)]
    pub no_owner: bool,

    /// Leave out privileges
    #[arg(long)]
    pub no_privileges: bool,

    /// With --data-only: do not check foreign keys meanwhile; takes a superuser
    #[arg(long, requires = "data_only")]
    pub disable_triggers: bool,

    /// Find pg_restore and psql in this folder instead of PATH
    #[arg(long, value_name = "DIR")]
    pub pg_bin_dir: Option<PathBuf>,
}

/// More connections than any server profits from would only be refused by it.
const JOBS_MAX: u32 = 256;

fn jobs(text: &str) -> Result<NonZeroU32, String> {
    let jobs = text.parse().ok().filter(|n: &NonZeroU32| n.get() <= JOBS_MAX);
    jobs.ok_or_else(|| format!("expected a number from 1 to {JOBS_MAX}"))
}

/// Restores what is asked for.
pub fn run(args: RestoreArgs, context: &Context) -> Result<Done, Failure> {
    match args.what {
        What::Db(args) => restore(args, context),
        What::Files(args) => restore_files::run(&args, context),
        What::Pitr(args) => restore_pitr::run(&args, context),
    }
}

/// Restores a database, then compares.
fn restore(args: DbArgs, context: &Context) -> Result<Done, Failure> {
    let mut request = request(&args, context)?;
    let repository = context.open()?;
    let (snapshot, name) = context.find(&repository, &args.snapshot)?;
    let view = look::view(&repository, &snapshot, context.progress(), &context.cancel)?;
    let name = name.map(|name| String::from_utf8_lossy(&name).into_owned());
    let entry = find_database(&view, name.as_deref())?;
    let attempt =
        |request: &RestoreRequest| restore_db(&view, &entry, request, context.progress(), &context.cancel);
    let restored = match attempt(&request) {
        // Nothing was changed so far; a person may say to go on.
        Err(error @ ops::Error::NotEmpty { .. }) => {
            let question = format!("{error}. Restore into it all the same?");
            context.finish_progress();
            confirm(&question, error.into(), &context.cancel)?;
            request.into_nonempty = true;
            attempt(&request)?
        }
        done => done?,
    };
    context.result(&Document::from(&restored), || words(&restored))?;
    restored.verify()?;
    Ok(Done::Complete)
}

fn request(args: &DbArgs, context: &Context) -> Result<RestoreRequest, Failure> {
    Ok(RestoreRequest {
        settings: connection::settings(args.dbname.as_deref(), args.url.as_deref(), &context.environment)?,
        tools: connection::tools(args.pg_bin_dir.clone(), context),
        tables: args.tables.clone(),
        create: args.create,
        globals: args.globals,
        into_nonempty: args.yes,
        jobs: args.jobs,
        temp: context.environment.temp_dir(),
        options: RestoreOptions {
            schema_only: args.schema_only,
            data_only: args.data_only,
            disable_triggers: args.disable_triggers,
            clean: args.clean,
            single_transaction: args.single_transaction,
            no_owner: args.no_owner,
            no_privileges: args.no_privileges,
            ..RestoreOptions::default()
        },
    })
}

/// What was restored, for programs.
#[derive(Serialize)]
struct Document<'a> {
    database: &'a str,
    bytes: u64,
    /// False if pg_restore failed with some of it.
    complete: bool,
    /// Null if there was nothing to compare.
    matches: Option<bool>,
    tables: Vec<TableDocument<'a>>,
}

/// A table, compared with the snapshot.
#[derive(Serialize)]
struct TableDocument<'a> {
    table: &'a str,
    expected: u64,
    found: Option<u64>,
    matches: bool,
}

impl<'a> From<&'a Restored> for Document<'a> {
    fn from(restored: &'a Restored) -> Self {
        let table = |t: &'a TableResult| TableDocument {
            table: &t.table,
            expected: t.expected,
            found: t.found,
            matches: t.matches(),
        };
        Document {
            database: &restored.database,
            bytes: restored.bytes,
            complete: restored.failure.is_none(),
            matches: restored.matches(),
            tables: restored.tables.iter().map(table).collect(),
        }
    }
}

/// What was restored, for people: every table with its rows.
fn words(restored: &Restored) -> String {
    let mut out = String::new();
    if !restored.tables.is_empty() {
        let mut table = Table::new(&[
            ("table", Align::Left),
            ("snapshot", Align::Right),
            ("restored", Align::Right),
            ("", Align::Left),
        ]);
        for result in &restored.tables {
            let found = result.found.map_or("-".to_owned(), |rows| rows.to_string());
            let verdict = if result.matches() { "ok" } else { "differs" };
            table.row([result.table.clone(), result.expected.to_string(), found, verdict.to_owned()]);
        }
        out.push_str(&table.render());
    }
    let rows = restored.tables.iter().filter_map(|t| t.found).sum();
    let compared = match restored.matches() {
        Some(_) => format!("{} with {}", count(restored.tables.len() as u64, "table"), count(rows, "row")),
        None => "no rows were compared".to_owned(),
    };
    out.push_str(&format!(
        "restored {}{} from {} of dump: {compared}\n",
        if restored.failure.is_some() { "what could be of " } else { "" },
        printable(&restored.database),
        units::bytes(restored.bytes),
    ));
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_table_that_differs_stands_out() {
        let result = |table: &str, expected, found| TableResult { table: table.into(), expected, found };
        let restored = Restored {
            database: "shop".into(),
            bytes: 5 << 20,
            tables: vec![
                result("public.orders", 12, Some(12)),
                result("public.\"odd\nname\"", 1_000_000, Some(7)),
                result("public.gone", 1, None),
            ],
            failure: None,
        };
        insta::assert_snapshot!(words(&restored), @r#"
        table                  snapshot  restored
        public.orders                12        12  ok
        public."odd\u{a}name"   1000000         7  differs
        public.gone                   1         -  differs
        restored shop from 5.0 MiB of dump: 3 tables with 19 rows
        "#);
        assert_eq!(Document::from(&restored).matches, Some(false));
        assert!(restored.verify().is_err());
        let nothing = Restored { database: "shop".into(), ..Restored::default() };
        insta::assert_snapshot!(words(&nothing), @"restored shop from 0 B of dump: no rows were compared");
        assert_eq!(Document::from(&nothing).matches, None);
        nothing.verify().unwrap();
    }
}
