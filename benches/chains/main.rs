//! Which chains of deltas are worth their reading: a shop's dumps of many days, stored under each policy
//! with the real chunker, follower and codecs, and read back through the chains
//! (`format-spec/deltas.md`, depth limit).
//!
//! `cargo bench --bench chains`, and `-- --help` for the rest. It prints tables in Markdown and lines of
//! comma-separated values; what it is doing meanwhile goes to standard error. Bytes are of segments as they
//! are sealed: the index, directories and lists come to the same under every policy.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program, and its result a table")]

mod days;
mod policy;
mod reader;
mod report;
mod run;
mod store;
mod stored;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "packs are for the other benches")]
mod support;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::days::Days;
use crate::policy::Policy;
use crate::reader::Reader;
use crate::run::Run;
use crate::store::Aims;
use crate::support::shop::Business;

/// What can fail here is told to the user as it is.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A dump is read back so often on each day on which it is read; the shortest time counts.
const ROUNDS: usize = 3;

/// What happens in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// A shop's day
    Usual,
    /// 1 % of the rows of every table change, 0.5 % are new
    Everywhere,
}

/// Compares policies for chains of deltas
#[derive(Debug, Parser)]
#[command(name = "chains")]
struct Args {
    /// Only this case
    #[arg(long, value_enum)]
    case: Option<Case>,

    /// Days on which a dump is made
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,

    /// Size of the first dump, in MB (10^6 bytes)
    #[arg(long, default_value_t = 16, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..))]
    size: u64,

    /// Give each chunk a segment of its own, where the engine puts neighbours into one
    #[arg(long)]
    single: bool,

    /// Cargo says that this is to be a bench and no test.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    // `cargo test --benches` runs this too, and is no time for years of business.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let args = Args::parse();
    for case in args.case.map_or(vec![Case::Usual, Case::Everywhere], |case| vec![case]) {
        match play(&args, case) {
            Ok(runs) => println!("{}", report::of(case.name(), &runs)),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Case::Usual => "usual",
            Case::Everywhere => "everywhere",
        }
    }

    fn business(self) -> Business {
        match self {
            Case::Usual => Business::Usual,
            Case::Everywhere => Business::Everywhere,
        }
    }
}

/// All days of a case under every policy.
fn play(args: &Args, case: Case) -> Result<Vec<Run>> {
    let mut days = Days::new(args.size * 1_000_000, case.business())?;
    let aims = if args.single { Aims::SINGLE } else { Aims::ENGINE };
    let runs: Result<Vec<Run>> = Policy::ALL.into_iter().map(|policy| Run::new(policy, aims)).collect();
    let (mut runs, mut reader) = (runs?, Reader::default());
    for number in 1..=args.days {
        let day = days.next_day()?;
        for run in &mut runs {
            run.store(&day)?;
        }
        if report::DAYS.contains(&number) || number == args.days {
            // In turns, because machines have moods.
            for _ in 0..ROUNDS {
                runs.iter_mut().try_for_each(|run| run.read(&day, &mut reader))?;
            }
            eprintln!("{}: day {number} of {}", case.name(), args.days);
        }
    }
    Ok(runs)
}
