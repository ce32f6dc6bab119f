//! What came of it, as tables in Markdown and as lines for whoever draws curves.

use std::fmt::Write;
use std::ops::RangeInclusive;

use crate::run::{ReadBack, Run};

/// Days that stand in the tables of days.
pub const DAYS: [u32; 9] = [1, 2, 5, 10, 20, 50, 100, 150, 200];
/// The lines for curves are of every so many days.
const CURVE_STEP: usize = 10;

/// All of it.
pub fn of(case: &str, runs: &[Run]) -> String {
    let mut out = String::new();
    if let Some((first, last)) = runs.first().and_then(|run| run.days.first().zip(run.days.last())) {
        let (first, last) = (first.len as f64 / 1e6, last.len as f64 / 1e6);
        out += &format!("{case}: the first dump has {first:.1} MB, the last one {last:.1}\n");
    }
    let tables = [summary(runs), by_day(runs, stored_by), by_day(runs, read_on), by_day(runs, decoded_on)];
    let titles = [
        "what a day adds, in % of the first, and what reading takes",
        "all that is stored, times the first day's",
        "MB/s of reading the dump back, one core",
        "plaintext decoded for a byte of the dump",
    ];
    for (title, table) in titles.iter().zip(tables) {
        out += &format!("\n{case}: {title}\n\n{table}");
    }
    out + "\n" + &curves(case, runs)
}

fn summary(runs: &[Run]) -> String {
    let mut table = String::from(
        "| policy | first day, MB | days 2 to 50 | from day 51 | the same, of the day's dump stored whole \
         | highest day, of that | links, mean | links, most | MB/s on day 10, of day 1 | on the last |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for run in runs {
        let first = added_first(run);
        let last = run.days.len() as u32;
        let of_first = |days| mean(added(run, days).map(|(added, _)| 100.0 * added / first));
        let of_day = mean(added(run, 51..=last).map(|(added, whole)| 100.0 * added / whole));
        let highest = added(run, 2..=last).map(|(added, whole)| 100.0 * added / whole).fold(0.0, f64::max);
        let links = mean(run.days.iter().skip(50).map(|day| day.reach.mean));
        let most = run.days.iter().map(|day| day.reach.max).max().unwrap_or_default();
        let speed = |day| read_on(run, day).zip(read_on(run, 1)).map(|(then, first)| then / first);
        let row = [
            format!("{:.2}", first / 1e6),
            fixed(of_first(2..=50), 2),
            fixed(of_first(51..=last), 2),
            fixed(of_day, 2),
            format!("{highest:.1}"),
            fixed(links, 1),
            most.to_string(),
            number(speed(10)),
            number(speed(last)),
        ];
        writeln!(table, "| {} | {} |", run.policy, row.join(" | ")).ok();
    }
    table
}

/// A row for each policy, a column for each of some days.
fn by_day(runs: &[Run], value: impl Fn(&Run, u32) -> Option<f64>) -> String {
    let last = runs.first().map_or(0, |run| run.days.len() as u32);
    let days: Vec<u32> = DAYS.into_iter().filter(|day| *day <= last).collect();
    let heads: String = days.iter().map(|day| format!(" {day} |")).collect();
    let mut table = format!("| day |{heads}\n|---|{}\n", "---|".repeat(days.len()));
    for run in runs {
        let row: String = days.iter().map(|day| format!(" {} |", number(value(run, *day)))).collect();
        writeln!(table, "| {} |{row}", run.policy).ok();
    }
    table
}

/// What each day added, for each of some, and what its dump would come to as the first day's did.
fn added(run: &Run, days: RangeInclusive<u32>) -> impl Iterator<Item = (f64, f64)> {
    let per_byte = run.days.first().map_or(1.0, |first| first.added as f64 / first.len as f64);
    let (from, to) = (*days.start() as usize, *days.end() as usize);
    let days = run.days.iter().take(to).skip(from - 1);
    days.map(move |day| (day.added as f64, per_byte * day.len as f64))
}

fn added_first(run: &Run) -> f64 {
    run.days.first().map_or(1.0, |day| day.added as f64)
}

/// What is stored by a day's end, times what the first added.
fn stored_by(run: &Run, day: u32) -> Option<f64> {
    Some(added(run, 1..=day).map(|(added, _)| added).sum::<f64>() / added_first(run))
}

fn read_on(run: &Run, day: u32) -> Option<f64> {
    let speed = |read: &ReadBack| read.len as f64 / 1e6 / read.time.as_secs_f64();
    run.reads.iter().find(|read| read.day == day).map(speed)
}

fn decoded_on(run: &Run, day: u32) -> Option<f64> {
    run.days.get(day as usize - 1).map(|day| day.reach.decoded)
}

/// None of no values.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then_some(sum / count)
}

/// With so many decimal places.
fn fixed(value: Option<f64>, places: usize) -> String {
    value.map(|value| format!("{value:.places$}")).unwrap_or_default()
}

/// With three digits or so.
fn number(value: Option<f64>) -> String {
    match value {
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
        None => String::new(),
    }
}

fn curves(case: &str, runs: &[Run]) -> String {
    let mut lines = String::from("curve,case,policy,day,stored that day,stored by then\n");
    for run in runs {
        let mut total = 0;
        for (number, day) in (1..).zip(&run.days) {
            total += day.added;
            if number % CURVE_STEP == 0 || number == 1 {
                writeln!(lines, "curve,{case},{},{number},{},{total}", run.policy, day.added).ok();
            }
        }
    }
    lines
}
