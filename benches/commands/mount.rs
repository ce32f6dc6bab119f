//! Mounts: a file tree read through one with `tar` and looked through with `find`, a large file read in order
//! and at random places, and how long it takes until one is ready. Against the same on the disk that the
//! tree came from, and against a peer that mounts. Memory is that of the process that mounts.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kamba_vault::base::secret::Secret32;
use kamba_vault::crypto;
use rustix::mount::{UnmountFlags, unmount};

use crate::Part;
use crate::bench::Bench;
use crate::files::make_tree;
use crate::measure::{Input, Output, Result, Run, Sample, peak_of};
use crate::peers::{Contender, RESTIC, ours_and_floor, peers};
use crate::report::Work;
use crate::vault::{NAME, Vault};

/// All of a tree, by a program that reads every file.
pub const TAR: &str = "mount, tar of a tree";
/// All names and attributes of a tree, for the first time.
pub const FIND: &str = "mount, find in a tree";
/// The same again.
pub const FIND_AGAIN: &str = "mount, find again";
/// A large file, in order.
pub const LARGE: &str = "mount, large file in order";
/// The same, a page here and there.
pub const RANDOM: &str = "mount, 10,000 pages of it at random";
/// Until a repository of many snapshots can be looked into.
pub const READY: &str = "mount, ready with 1,000 snapshots";

/// What a mount is compared with.
pub const DISK: &str = "the source";
const SNAPSHOTS: usize = 1_000;
const PAGES: u64 = 10_000;
const PAGE: u64 = 4096;
/// How long a mount may take to come, or to go.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures all of it.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let tree = bench.path("tree");
    let (files, bytes) = make_tree(bench, &tree)?;
    let large = bench.path("large");
    make_large(&large, bench.size())?;
    bench.report.works(TAR, Work::Bytes(bytes));
    bench.report.works(LARGE, Work::Bytes(bench.size()));
    bench.say(&format!("{} files", files.len()));
    let mut contenders: Vec<Contender> = ours_and_floor().into_iter().filter(|c| c.name == NAME).collect();
    if bench.args.wants(Part::Peers) {
        contenders.extend(peers().into_iter().filter(|peer| peer.name == RESTIC));
    }
    enter(bench, &contenders);
    contenders.retain(|contender| contender.engine.is_some());
    // The tree comes last: it is what is newest in every mount.
    for contender in &mut contenders {
        let Some(engine) = &mut contender.engine else { continue };
        engine.begin(&bench.path(&format!("mount-store-{}", contender.name)))?;
        for (number, what) in [(1, &large), (2, &tree)] {
            engine.snapshot(what, number).map_or(Ok(()), |run| bench.run(run).map(drop))?;
        }
    }
    for _ in 0..bench.args.runs {
        source(bench, &tree, &large)?;
        for contender in &contenders {
            play(bench, contender, &tree, &large)?;
        }
    }
    fs::remove_dir_all(&tree)?;
    ready(bench)
}

fn enter(bench: &mut Bench, contenders: &[Contender]) {
    for task in [TAR, FIND, FIND_AGAIN, LARGE, RANDOM] {
        bench.report.floor(task, DISK);
        bench.report.enter(task, DISK);
        for contender in contenders {
            match contender.engine {
                Some(_) => bench.report.enter(task, contender.name),
                None => bench.report.remark(task, contender.name, "not installed"),
            }
        }
    }
    bench.report.enter(READY, NAME);
}

/// A file of about `bytes` that does not compress.
fn make_large(file: &Path, bytes: u64) -> Result<()> {
    let mut out = File::create(file)?;
    let mut part = vec![0; 4_000_000];
    for number in 0..bytes.div_ceil(part.len() as u64) {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        crypto::expand("kamba-vault bench large file", &Secret32(seed), &mut part);
        out.write_all(&part)?;
    }
    Ok(())
}

/// The same things without a mount.
fn source(bench: &mut Bench, tree: &Path, large: &Path) -> Result<()> {
    bench.measure(TAR, DISK, tar(tree))?;
    bench.measure(FIND, DISK, find(tree))?;
    bench.measure(FIND_AGAIN, DISK, find(tree))?;
    bench.measure(LARGE, DISK, in_order(large))?;
    let seconds = at_random(large)?;
    bench.report.took(RANDOM, DISK, Sample { seconds, peak: None });
    Ok(())
}

fn play(bench: &mut Bench, contender: &Contender, tree: &Path, large: &Path) -> Result<()> {
    let Some(engine) = &contender.engine else { return Ok(()) };
    let at = bench.path("mnt");
    fs::create_dir_all(&at)?;
    for task in [TAR, FIND, LARGE, RANDOM] {
        let number = if [LARGE, RANDOM].contains(&task) { 1 } else { 2 };
        let Some((command, top)) = engine.mount(&at, number) else { continue };
        let source = if number == 1 { large } else { tree };
        let mounted = Mounted::start(command, &at)?;
        let place = top.join(source.strip_prefix("/")?);
        take(bench, &mounted, task, contender.name, &place)?;
        if task == FIND {
            take(bench, &mounted, FIND_AGAIN, contender.name, &place)?;
        }
        mounted.end()?;
    }
    Ok(())
}

fn take(
    bench: &mut Bench,
    mounted: &Mounted,
    task: &'static str,
    who: &'static str,
    place: &Path,
) -> Result<()> {
    let taken = match task {
        TAR => bench.run(tar(place)).map(|sample| sample.seconds),
        LARGE => bench.run(in_order(place)).map(|sample| sample.seconds),
        RANDOM => at_random(place),
        _ => bench.run(find(place)).map(|sample| sample.seconds),
    };
    match taken {
        Ok(seconds) => {
            bench.say(&format!("{task} · {who}: {seconds:.2} s"));
            bench.report.took(task, who, Sample { seconds, peak: peak_of(mounted.process.id()) });
            Ok(())
        }
        Err(error) => bench.failed(task, who, &*error),
    }
}

fn tar(tree: &Path) -> Run {
    let mut command = Command::new("tar");
    command.arg("-cf").arg("-").arg("-C").arg(tree).arg(".");
    Run { command, input: Input::Nothing, output: Output::Pipe }
}

fn find(tree: &Path) -> Run {
    let mut command = Command::new("find");
    command.arg(tree).args(["-printf", "%s %T@ %i\n"]);
    Run::new(command)
}

fn in_order(file: &Path) -> Run {
    let mut command = Command::new("cat");
    command.arg(file);
    Run::new(command)
}

/// Seconds that reading pages at random places takes.
fn at_random(file: &Path) -> Result<f64> {
    let start = Instant::now();
    let file = File::open(file)?;
    // Whoever reads like this says so, or the kernel reads around each page.
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
    let pages = (file.metadata()?.len() / PAGE).max(1);
    let mut page = [0; PAGE as usize];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..PAGES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.read_at(&mut page, state % pages * PAGE)?;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// How long a mount of many snapshots takes until its folders can be listed.
fn ready(bench: &mut Bench) -> Result<()> {
    bench.say(&format!("making {SNAPSHOTS} snapshots"));
    let vault = Vault::create(&bench.path("many"))?;
    for number in 0..SNAPSHOTS {
        let file = bench.path("small");
        fs::write(&file, number.to_string())?;
        bench.run(Run::new(vault.command(&["snapshot", "stdin", "--name", "small"])).fed(&file))?;
    }
    let at = bench.path("mnt");
    for _ in 0..bench.args.runs {
        let start = Instant::now();
        let mut command = vault.command(&["mount"]);
        command.arg(&at);
        let mounted = Mounted::start(command, &at)?;
        let found = fs::read_dir(at.join("snapshots"))?.count();
        let seconds = start.elapsed().as_secs_f64();
        if found != SNAPSHOTS {
            return Err(format!("{found} snapshots are shown, of {SNAPSHOTS}").into());
        }
        bench.report.took(READY, NAME, Sample { seconds, peak: peak_of(mounted.process.id()) });
        mounted.end()?;
    }
    Ok(())
}

/// A process that mounts.
struct Mounted {
    process: Child,
    at: PathBuf,
}

impl Mounted {
    fn start(mut command: Command, at: &Path) -> Result<Self> {
        let device = fs::metadata(at)?.dev();
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut mounted = Mounted { process, at: at.to_owned() };
        let start = Instant::now();
        while fs::metadata(at)?.dev() == device {
            if let Some(status) = mounted.process.try_wait()? {
                return Err(format!("{:?} ended: {status}", command.get_program()).into());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("{:?} does not mount", command.get_program()).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(mounted)
    }

    fn end(mut self) -> Result<()> {
        unmount(&self.at, UnmountFlags::empty())?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // After a failure: nothing must stay behind in the folder that is deleted.
        let _ = unmount(&self.at, UnmountFlags::DETACH);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
