//! `cat SNAPSHOT:PATH`: the bytes of one entry.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::ops::look;

const EXAMPLES: &str = "\
Examples:
  kamba-vault cat latest:uploads.tar | tar -t
  kamba-vault cat latest@db=shop:shop/database.dump | pg_restore --list
  kamba-vault cat latest@db=shop:shop/tables/public.orders.copy | head";

/// Write an entry of a snapshot to standard output
///
/// Every byte is verified before it is written. A snapshot of a single stream needs no path.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CatArgs {
    /// An id or its beginning, latest, latest~2, latest@db=NAME, or a time; and a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: String,
}

/// Writes the bytes.
pub fn run(args: &CatArgs, context: &Context) -> Result<Done, Failure> {
    let progress = context.progress_beside_data();
    let repository = context.open()?;
    let (snapshot, path) = context.find(&repository, &args.snapshot)?;
    let view = look::view(&repository, &snapshot, progress, &context.cancel)?;
    match look::cat(&view, &snapshot, path.as_deref(), &mut &context.output, progress) {
        // Whoever read it has seen enough: that is an end and no failure.
        Err(_) if context.output.reader_gone() => Ok(Done::Complete),
        written => written.map(|_| Done::Complete).map_err(Failure::from),
    }
}
