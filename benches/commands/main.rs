//! Whole commands, measured as a user would: against the least that such work can take (`zstd`,
//! `pg_dump`) and against the programs that one could use instead, on dumps made up here.
//!
//! `cargo bench --bench commands -- --only stdin,second,cat,check,days,db,cluster,files,mount,scale,index,latency,peers`,
//! and `-- --help` for the rest. Everything of one kind is run in turns, A B A B, and medians are
//! compared, because machines have moods. It prints one table in Markdown; what it is doing
//! meanwhile goes to standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program, and its result a table")]

mod bench;
mod cluster;
mod database;
mod days;
mod files;
mod index;
mod latency;
mod machine;
mod measure;
mod mount;
mod peers;
mod report;
mod scale;
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod targets;
mod vault;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::bench::Bench;
use crate::measure::Result;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// A first snapshot from a pipe
    Stdin,
    /// The snapshot of the next day's dump
    Second,
    /// The dump back to a pipe
    Cat,
    /// Verifying all data
    Check,
    /// A dump every day, with business as usual and with changes everywhere
    Days,
    /// A PostgreSQL database against pg_dump to nowhere
    Db,
    /// A whole PostgreSQL cluster and its WAL against pgBackRest, where installed
    Cluster,
    /// A file tree and photos, against tar, find and cp
    Files,
    /// Reading through a mount, against the disk
    Mount,
    /// Very many files in a folder, and in a tree
    Scale,
    /// An index of very many chunks
    Index,
    /// A first snapshot over a slow network
    Latency,
    /// The same with restic, borg, rustic and bupstash, where installed
    Peers,
}

/// Measures whole commands
#[derive(Debug, Parser)]
#[command(name = "commands")]
pub struct Args {
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<Part>,

    /// Size of the dumps, and of a tree and photos that are made up, in MB (10^6 bytes)
    #[arg(long, default_value_t = 1240, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..))]
    pub size: u64,

    /// The file tree to take a copy of, for `files` and `mount`; else one of that size is made up
    #[arg(long, value_name = "DIR")]
    pub tree: Option<PathBuf>,

    /// Its next version, for `files`: what each adds for it is told
    #[arg(long, value_name = "DIR", requires = "tree")]
    pub next_tree: Option<PathBuf>,

    /// How often each is run; the median counts
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,

    /// Files in one folder, for `scale`; the tree has ten times as many
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub entries: u64,

    /// Days on which a dump is made, for `days`
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub days: u32,

    /// Chunks in the index
    #[arg(long, default_value_t = 10_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub chunks: u64,

    /// Work in a new folder below this one; it takes some ten times the size of the dumps
    ///
    /// As root, for `db`, the user who runs PostgreSQL must be able to reach it.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Cargo says that this is to be a bench and no test.
    #[arg(long, hide = true)]
    bench: bool,

    /// The process that snapshots its input into the repository in this folder, for `latency`.
    #[arg(long, hide = true)]
    inner: Option<PathBuf>,

    /// Whether that one has a slow network in between.
    #[arg(long, hide = true)]
    slow: bool,
}

impl Args {
    /// Whether this part was asked for.
    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

fn main() -> ExitCode {
    // `cargo test --benches` runs this too, and is no time for gigabytes.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let args = Args::parse();
    let done = match &args.inner {
        Some(folder) => latency::inner(folder, args.slow).map(|()| true),
        None => measure_all(args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures what was asked for and prints it. `false` if something of it failed.
fn measure_all(args: Args) -> Result<bool> {
    let (json, base) = (args.json, args.dir.clone().unwrap_or_else(std::env::temp_dir));
    let mut bench = Bench::new(args, &base)?;
    streams::measure(&mut bench)?;
    if bench.args.wants(Part::Days) {
        days::measure(&mut bench)?;
    }
    if bench.args.wants(Part::Db) {
        database::measure(&mut bench)?;
    }
    if bench.args.wants(Part::Cluster) {
        cluster::measure(&mut bench)?;
    }
    if bench.args.wants(Part::Files) {
        files::measure(&mut bench)?;
    }
    if bench.args.wants(Part::Mount) {
        mount::measure(&mut bench)?;
    }
    if bench.args.wants(Part::Scale) {
        scale::measure(&mut bench)?;
    }
    if bench.args.wants(Part::Index) {
        index::measure(&mut bench)?;
    }
    if bench.args.wants(Part::Latency) {
        latency::measure(&mut bench)?;
    }
    let report = bench.finish()?;
    if json {
        println!("{:#}", report.json());
    } else {
        println!("{}", report.markdown());
    }
    Ok(!report.has_failures())
}
