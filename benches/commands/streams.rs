//! A dump through a pipe into a new store, back, verified, and the next day's dump: ours, the
//! floor, and the peers. The stages of one round follow each other on the same store.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Part;
use crate::bench::Bench;
use crate::measure::{Output, Result, Run};
use crate::peers::{Contender, Engine, FLOOR, ours_and_floor, peers};
use crate::report::Work;
use crate::support::shop::{Business, Shop};

/// The tasks, as they stand in the table.
pub const FIRST: &str = "first dump from a pipe";
/// Giving it back.
pub const CAT: &str = "the dump back to a pipe";
/// Verifying it.
pub const CHECK: &str = "verifying all data";
/// The next dump.
pub const SECOND: &str = "the next day's dump";

/// A stage of a round.
#[derive(Clone, Copy)]
enum Stage {
    First,
    Cat,
    Check,
    Second,
}

impl Stage {
    fn task(self) -> &'static str {
        match self {
            Stage::First => FIRST,
            Stage::Cat => CAT,
            Stage::Check => CHECK,
            Stage::Second => SECOND,
        }
    }

    fn part(self) -> Part {
        match self {
            Stage::First => Part::Stdin,
            Stage::Cat => Part::Cat,
            Stage::Check => Part::Check,
            Stage::Second => Part::Second,
        }
    }

    /// What the stage runs.
    fn run(self, engine: &dyn Engine, dumps: &Dumps) -> Option<Run> {
        match self {
            Stage::First => Some(engine.store(1).fed(&dumps.first)),
            Stage::Cat => engine.read(1).map(|run| run.into(Output::Pipe)),
            Stage::Check => engine.check(),
            Stage::Second => Some(engine.store(2).fed(&dumps.second)),
        }
    }
}

/// The two dumps.
pub struct Dumps {
    /// Of one day.
    pub first: PathBuf,
    /// Of the next.
    second: PathBuf,
    /// Length of the first.
    pub first_len: u64,
    second_len: u64,
}

impl Dumps {
    /// Makes both.
    pub fn make(bench: &Bench) -> Result<Self> {
        bench.say("making up the dumps");
        let mut shop = Shop::of_size(bench.size(), Business::Usual);
        let make = |name: &str, shop: &Shop| -> Result<(PathBuf, u64)> {
            let path = bench.path(name);
            let len = shop.write(&mut File::create(&path)?)?;
            Ok((path, len))
        };
        let (first, first_len) = make("shop-1.sql", &shop)?;
        shop.pass_day();
        let (second, second_len) = make("shop-2.sql", &shop)?;
        Ok(Dumps { first, second, first_len, second_len })
    }
}

/// Measures the stages that were asked for.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let stages = [Stage::First, Stage::Cat, Stage::Check, Stage::Second];
    let wanted: Vec<Stage> = stages.into_iter().filter(|stage| bench.args.wants(stage.part())).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let mut contenders = ours_and_floor();
    if bench.args.wants(Part::Peers) {
        contenders.extend(peers());
    }
    enter(bench, &contenders, &wanted);
    let dumps = Dumps::make(bench)?;
    for stage in &wanted {
        let len = if matches!(stage, Stage::Second) { dumps.second_len } else { dumps.first_len };
        bench.report.works(stage.task(), Work::Bytes(len));
    }
    contenders.retain(|contender| contender.engine.is_some());
    for round in 0..bench.args.runs {
        let folder = bench.path("stores");
        play(bench, &mut contenders, &wanted, &dumps, &folder, round == 0)?;
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::remove_file(&dumps.first)?;
    std::fs::remove_file(&dumps.second)?;
    Ok(())
}

/// Enters everybody into the table, in order.
fn enter(bench: &mut Bench, contenders: &[Contender], wanted: &[Stage]) {
    for contender in contenders.iter().filter(|contender| contender.engine.is_some()) {
        bench.report.uses(&contender.version);
    }
    for stage in wanted {
        bench.report.floor(stage.task(), FLOOR);
        for contender in contenders {
            match contender.engine {
                Some(_) => bench.report.enter(stage.task(), contender.name),
                None => bench.report.remark(stage.task(), contender.name, "not installed"),
            }
        }
    }
}

/// One round: every stage with everybody. Who fails is out from then on.
fn play(
    bench: &mut Bench,
    contenders: &mut Vec<Contender>,
    wanted: &[Stage],
    dumps: &Dumps,
    folder: &Path,
    is_first: bool,
) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    each(bench, contenders, wanted[0].task(), |_, contender| {
        let Some(engine) = &mut contender.engine else { return Ok(true) };
        engine.begin(&folder.join(contender.name.replace(' ', "_"))).map(|()| true)
    })?;
    if !matches!(wanted[0], Stage::First) {
        each(bench, contenders, wanted[0].task(), |bench, contender| {
            let Some(engine) = &contender.engine else { return Ok(true) };
            bench.run(engine.store(1).fed(&dumps.first)).map(|_| true)
        })?;
    }
    for &stage in wanted {
        warm(if matches!(stage, Stage::Second) { &dumps.second } else { &dumps.first })?;
        each(bench, contenders, stage.task(), |bench, contender| {
            stage_of(bench, contender, stage, dumps, is_first)
        })?;
    }
    Ok(())
}

/// Lets everybody do something; who fails is recorded at `task` and out.
pub fn each(
    bench: &mut Bench,
    contenders: &mut Vec<Contender>,
    task: &'static str,
    mut act: impl FnMut(&mut Bench, &mut Contender) -> Result<bool>,
) -> Result<()> {
    let mut staying = Vec::new();
    for mut contender in contenders.drain(..) {
        match act(bench, &mut contender) {
            Ok(true) => staying.push(contender),
            Ok(false) => {}
            Err(error) => bench.failed(task, contender.name, &*error)?,
        }
    }
    *contenders = staying;
    bench.check()
}

fn stage_of(
    bench: &mut Bench,
    contender: &Contender,
    stage: Stage,
    dumps: &Dumps,
    is_first: bool,
) -> Result<bool> {
    let (task, name) = (stage.task(), contender.name);
    let Some(engine) = &contender.engine else { return Ok(true) };
    let Some(run) = stage.run(&**engine, dumps) else {
        bench.report.remark(task, name, "cannot");
        return Ok(true);
    };
    if !bench.measure(task, name, run)? {
        return Ok(false);
    }
    match stage {
        Stage::First | Stage::Second => {
            let stored = engine.stored()?;
            bench.report.stored(task, name, stored);
        }
        // Once, not measured: what comes back is what went in.
        Stage::Cat if is_first => {
            if let Some(read) = engine.read(1) {
                bench.run(read.into(Output::Compare(dumps.first.clone())))?;
            }
        }
        Stage::Cat | Stage::Check => {}
    }
    Ok(true)
}

/// Reads a file once, so that it is in the page cache.
pub fn warm(file: &Path) -> Result<()> {
    std::io::copy(&mut File::open(file)?, &mut std::io::sink())?;
    Ok(())
}
