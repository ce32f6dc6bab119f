//! `cat SNAPSHOT:PATH`: the bytes of one entry.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::Args;

use crate::base::class::Class;
use crate::base::monitor::Monitor;
use crate::cli::context::Context;
use crate::cli::exit::{Done, Failure};
use crate::cli::output::Output;
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
    pub snapshot: OsString,
}

/// Writes the bytes.
pub fn run(args: &CatArgs, context: &Context) -> Result<Done, Failure> {
    let progress = context.progress_beside_data();
    let repository = context.open()?;
    let (snapshot, path) = context.find(&repository, &args.snapshot)?;
    let view = look::view(&repository, &snapshot, progress, &context.cancel)?;
    let asked = args.snapshot.to_string_lossy();
    progress.item(&asked);
    let mut out = Counted { out: &context.output, written: 0 };
    match look::cat(&view, &snapshot, path.as_deref(), &mut out, progress) {
        Ok(_) => Ok(Done::Complete),
        // Whoever read it has seen enough: that is an end and no failure.
        Err(_) if context.output.reader_gone() => Ok(Done::Complete),
        Err(error) => Err(broken_off(error.into(), &asked, &snapshot.id.to_hex(), out.written)),
    }
}

/// Why the output is not whole. What was written before is right, and may look like all of it.
fn broken_off(failure: Failure, asked: &str, id: &str, written: u64) -> Failure {
    let failure = match failure.class() {
        Class::Damaged => failure.about(&format!("{asked} (snapshot {id})")),
        _ => failure,
    };
    match written {
        0 => failure,
        n => failure.which_means(&format!("the output stops after {n} bytes: do not use it")),
    }
}

/// Counts what was written.
struct Counted<'a> {
    out: &'a Output,
    written: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
