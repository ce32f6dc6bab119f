//! One run of this program: its arguments, the folder it works in, and what it has found out.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kamba_vault::base::clock::Cancel;
use signal_hook::consts::{SIGINT, SIGTERM};
use tempfile::TempDir;

use crate::Args;
use crate::machine;
use crate::measure::{Result, Run, Sample, run};
use crate::report::Report;

/// The state of the run.
pub struct Bench {
    /// What was asked for.
    pub args: Args,
    /// What was found out.
    pub report: Report,
    /// Raised by a signal: everything is stopped and deleted.
    pub cancel: Cancel,
    base: PathBuf,
    folder: TempDir,
}

impl Bench {
    /// Works in a new folder below `base`.
    pub fn new(args: Args, base: &Path) -> Result<Self> {
        let base = base.canonicalize().map_err(|e| format!("{}: {e}", base.display()))?;
        let folder = tempfile::Builder::new().prefix("kamba-bench-").tempdir_in(&base)?;
        let raised = std::sync::Arc::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, std::sync::Arc::clone(&raised))?;
        }
        let report = Report::new(machine::describe(), args.runs);
        Ok(Bench { args, report, cancel: Cancel::from_flag(raised), base, folder })
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder that the user named.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Size of the dumps in bytes.
    pub fn size(&self) -> u64 {
        self.args.size * 1_000_000
    }

    /// Runs and records; `false` if it failed, which is recorded too.
    pub fn measure(&mut self, task: &'static str, who: &'static str, what: Run) -> Result<bool> {
        match self.run(what) {
            Ok(sample) => {
                eprintln!("{task} · {who}: {:.2} s", sample.seconds);
                self.report.took(task, who, sample);
                Ok(true)
            }
            Err(error) => self.failed(task, who, &*error).map(|()| false),
        }
    }

    /// Runs without recording what it takes.
    pub fn run(&self, what: Run) -> Result<Sample> {
        self.check()?;
        // Nobody is to pay for what others left to be written.
        rustix::fs::sync();
        run(what)
    }

    /// Measures what writes about `bytes`. As many are written and removed before: a virtual machine gives memory
    /// that was not used for a while more slowly, and whoever comes first would pay for all who come after.
    pub fn measure_writing(
        &mut self,
        task: &'static str,
        who: &'static str,
        what: Run,
        bytes: u64,
    ) -> Result<bool> {
        let path = self.path("used-before");
        io::copy(&mut io::repeat(0).take(bytes), &mut File::create(&path)?)?;
        fs::remove_file(&path)?;
        self.measure(task, who, what)
    }

    /// Records a failure; fails itself if it was the user who ended it.
    pub fn failed(
        &mut self,
        task: &'static str,
        who: &'static str,
        error: &dyn std::error::Error,
    ) -> Result<()> {
        self.check()?;
        eprintln!("{task} · {who}: failed: {error}");
        self.report.failed(task, who, error.to_string());
        Ok(())
    }

    /// Says what is going on.
    pub fn say(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Fails if the user asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() { Err("interrupted".into()) } else { Ok(()) }
    }

    /// Deletes the folder. What was found out stays.
    pub fn finish(self) -> Result<Report> {
        self.folder.close()?;
        Ok(self.report)
    }
}
