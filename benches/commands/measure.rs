//! One measured process: fed from a pipe, read through a pipe, its wall time and its peak memory.
//! Memory is read from `/proc` while it runs: resource usage as `wait4` gives it would begin at
//! what the parent had when it forked.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often memory is looked at. The kernel keeps the peak, so only what comes last can be missed.
const LOOK: Duration = Duration::from_millis(4);
/// How much of what a failed process said is told.
const TOLD: usize = 300;

/// What can fail here is told to the user as it is.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What a process reads.
pub enum Input {
    /// Nothing.
    Nothing,
    /// This file, through `cat` and a pipe.
    Pipe(PathBuf),
    /// What this process prints, through a pipe.
    From(Command),
}

/// Where what it prints goes.
pub enum Output {
    /// To `/dev/null`.
    Nothing,
    /// Into this file.
    File(PathBuf),
    /// Through a pipe to `cat`, and from there to `/dev/null`.
    Pipe,
    /// Through a pipe to `cmp`, which fails if it is not this file.
    Compare(PathBuf),
}

/// A process to be measured.
pub struct Run {
    /// The process.
    pub command: Command,
    /// What it reads.
    pub input: Input,
    /// Where its output goes.
    pub output: Output,
}

impl Run {
    /// A process that reads and prints nothing of interest.
    pub fn new(command: Command) -> Self {
        Run { command, input: Input::Nothing, output: Output::Nothing }
    }

    /// The same, fed from a file through a pipe.
    pub fn fed(self, file: impl Into<PathBuf>) -> Self {
        Run { input: Input::Pipe(file.into()), ..self }
    }

    /// The same with another output.
    pub fn into(self, output: Output) -> Self {
        Run { output, ..self }
    }
}

/// What one run took.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// From before the first process was started until the last one ended.
    pub seconds: f64,
    /// Most memory that was resident in the measured process alone, in bytes.
    pub peak: Option<u64>,
}

/// Runs it; fails if it or a process beside it fails.
pub fn run(run: Run) -> Result<Sample> {
    let Run { mut command, input, output } = run;
    let program = command.get_program().to_string_lossy().into_owned();
    let mut said = tempfile::tempfile()?;
    command.stderr(said.try_clone()?);
    let start = Instant::now();
    let mut beside = Vec::new();
    match input {
        Input::Nothing => command.stdin(Stdio::null()),
        Input::Pipe(file) => {
            let mut cat = Command::new("cat");
            cat.arg(file);
            feed(&mut command, "cat", cat, &mut beside)?
        }
        Input::From(source) => feed(&mut command, "what feeds it", source, &mut beside)?,
    };
    match &output {
        Output::Nothing => command.stdout(Stdio::null()),
        Output::File(file) => command.stdout(File::create(file)?),
        Output::Pipe | Output::Compare(_) => command.stdout(Stdio::piped()),
    };
    let child = command.spawn();
    // The command holds this end of the pipes: while it does, nobody downstream sees their end.
    drop(command);
    let mut child = child.map_err(|e| format!("{program}: {e}"))?;
    if let Some(pipe) = child.stdout.take() {
        let mut reader = match output {
            Output::Compare(file) => {
                let mut cmp = Command::new("cmp");
                cmp.arg("-").arg(file);
                cmp
            }
            _ => Command::new("cat"),
        };
        let name = if reader.get_args().len() > 0 { "cmp" } else { "cat" };
        beside.push((name, reader.stdin(pipe).stdout(Stdio::null()).spawn()?));
    }
    let (status, peak) = wait(&mut child)?;
    let mut failed = (!status.success()).then(|| format!("{program}: {status}"));
    for (name, mut process) in beside {
        let status = process.wait()?;
        if !status.success() {
            failed.get_or_insert(format!("{name} beside {program}: {status}"));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    match failed {
        None => Ok(Sample { seconds, peak }),
        Some(failed) => Err(format!("{failed}: {}", last_words(&mut said)).into()),
    }
}

/// Starts `source` and makes what it prints the input of `command`.
fn feed<'a>(
    command: &'a mut Command,
    name: &'static str,
    mut source: Command,
    beside: &mut Vec<(&'static str, Child)>,
) -> Result<&'a mut Command> {
    let mut source = source.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let pipe = source.stdout.take().ok_or("no pipe")?;
    beside.push((name, source));
    Ok(command.stdin(pipe))
}

/// Waits for the end of a process and watches its memory.
fn wait(child: &mut Child) -> Result<(std::process::ExitStatus, Option<u64>)> {
    let status_file = format!("/proc/{}/status", child.id());
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = None;
            while !ended.load(Ordering::Relaxed) {
                // A process that has ended has no memory, but keeps its number until it is waited for.
                peak = peak_in(&status_file).max(peak);
                std::thread::park_timeout(LOOK);
            }
            peak
        });
        let status = child.wait();
        ended.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        let peak = watcher.join().map_err(|_| "the watching thread failed")?;
        Ok((status?, peak))
    })
}

/// Most memory that was resident in a running process, in bytes.
pub fn peak_of(pid: u32) -> Option<u64> {
    peak_in(&format!("/proc/{pid}/status"))
}

fn peak_in(status_file: &str) -> Option<u64> {
    let status = std::fs::read_to_string(status_file).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The end of what a process said.
fn last_words(said: &mut File) -> String {
    let mut text = Vec::new();
    let read = said.seek(SeekFrom::Start(0)).and_then(|_| said.read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let joined = lines.join("; ");
    let from = joined.char_indices().rev().nth(TOLD).map_or(0, |(at, _)| at);
    match read {
        Ok(_) => joined[from..].to_owned(),
        Err(_) => String::new(),
    }
}
