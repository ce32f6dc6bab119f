//! A dump every day: what each adds to the store, how long it takes, and how fast the last one comes
//! back. With business as usual, and with changes everywhere in every table.

use std::fs::File;
use std::path::PathBuf;

use crate::Part;
use crate::bench::Bench;
use crate::measure::{Output, Result};
use crate::peers::{Contender, FLOOR, ours_and_floor, peers};
use crate::report::Work;
use crate::streams::{each, warm};
use crate::support::shop::{Business, Shop};

/// The tasks of one kind of business, as they stand in the table.
pub struct Tasks {
    business: Business,
    /// The first dump.
    pub first: &'static str,
    /// Those of the days after it; what each adds is what is stored.
    pub next: &'static str,
    /// The first dump back.
    pub read_first: &'static str,
    /// The last one.
    pub read_last: &'static str,
}

/// Business as usual.
pub const USUAL: Tasks = Tasks {
    business: Business::Usual,
    first: "usual days: the first dump",
    next: "usual days: each dump after it",
    read_first: "usual days: the first dump back",
    read_last: "usual days: the last dump back",
};
/// Changes everywhere.
pub const EVERYWHERE: Tasks = Tasks {
    business: Business::Everywhere,
    first: "changes everywhere: the first dump",
    next: "changes everywhere: each dump after it",
    read_first: "changes everywhere: the first dump back",
    read_last: "changes everywhere: the last dump back",
};

/// Measures both.
pub fn measure(bench: &mut Bench) -> Result<()> {
    for tasks in [&USUAL, &EVERYWHERE] {
        play(bench, tasks)?;
    }
    Ok(())
}

/// Days of one kind, one after another, everybody's turn on each.
fn play(bench: &mut Bench, tasks: &Tasks) -> Result<()> {
    let mut contenders = ours_and_floor();
    if bench.args.wants(Part::Peers) {
        contenders.extend(peers());
    }
    contenders.retain(|contender| contender.engine.is_some());
    for contender in &contenders {
        bench.report.uses(&contender.version);
    }
    for task in [tasks.first, tasks.next, tasks.read_first, tasks.read_last] {
        bench.report.floor(task, FLOOR);
    }
    let folder = bench.path("days");
    std::fs::create_dir_all(&folder)?;
    each(bench, &mut contenders, tasks.first, |_, contender| {
        let Some(engine) = &mut contender.engine else { return Ok(true) };
        engine.begin(&folder.join(contender.name.replace(' ', "_"))).map(|()| true)
    })?;
    let mut shop = Shop::of_size(bench.size(), tasks.business);
    let dump = bench.path("day.sql");
    let days = bench.args.days;
    for day in 1..=days {
        let len = write(bench, &shop, &dump)?;
        let (store, read) = match day {
            1 => (tasks.first, Some(tasks.read_first)),
            day if day == days => (tasks.next, Some(tasks.read_last)),
            _ => (tasks.next, None),
        };
        each(bench, &mut contenders, store, |bench, contender| {
            bench.report.works(store, Work::Bytes(len));
            store_one(bench, contender, store, day, &dump)
        })?;
        if let Some(task) = read {
            bench.report.works(task, Work::Bytes(len));
            for round in 0..bench.args.runs {
                each(bench, &mut contenders, task, |bench, contender| {
                    read_one(bench, contender, task, day, (round == 0).then_some(&dump))
                })?;
            }
        }
        shop.pass_day();
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(std::fs::remove_file(&dump)?)
}

/// Writes a day's dump.
fn write(bench: &Bench, shop: &Shop, dump: &PathBuf) -> Result<u64> {
    bench.check()?;
    let len = shop.write(&mut File::create(dump)?)?;
    warm(dump)?;
    Ok(len)
}

fn store_one(
    bench: &mut Bench,
    contender: &Contender,
    task: &'static str,
    day: u32,
    dump: &PathBuf,
) -> Result<bool> {
    let Some(engine) = &contender.engine else { return Ok(true) };
    let before = engine.stored()?;
    if !bench.measure(task, contender.name, engine.store(day).fed(dump))? {
        return Ok(false);
    }
    bench.report.stored(task, contender.name, engine.stored()?.saturating_sub(before));
    Ok(true)
}

/// Reads one back, which is compared first, and not measured then, with what it has to be.
fn read_one(
    bench: &mut Bench,
    contender: &Contender,
    task: &'static str,
    day: u32,
    compare: Option<&PathBuf>,
) -> Result<bool> {
    let Some(engine) = &contender.engine else { return Ok(true) };
    let (Some(measured), Some(compared)) = (engine.read(day), engine.read(day)) else { return Ok(true) };
    if let Some(dump) = compare {
        bench.run(compared.into(Output::Compare(dump.clone())))?;
    }
    bench.measure(task, contender.name, measured.into(Output::Pipe))
}
