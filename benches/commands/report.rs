//! What was measured, as a table and as JSON.

use serde_json::{Value, json};

use crate::measure::Sample;
use crate::targets::{self, Target};

/// What a task works on, for its rate.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Bytes of plaintext.
    Bytes(u64),
    /// Chunks of an index.
    Chunks(u64),
}

/// One task by one program.
#[derive(Debug)]
struct Row {
    task: &'static str,
    who: &'static str,
    samples: Vec<Sample>,
    stored: Vec<f64>,
    /// Stands in place of figures.
    remark: Option<String>,
    failed: bool,
}

/// All rows, in the order in which they were entered.
#[derive(Debug)]
pub struct Report {
    machine: String,
    runs: u32,
    programs: Vec<String>,
    rows: Vec<Row>,
    floors: Vec<(&'static str, &'static str)>,
    works: Vec<(&'static str, Work)>,
    /// Name of the file tree that was worked on, and how much is in it.
    tree: Option<(String, String)>,
}

impl Report {
    /// An empty report.
    pub fn new(machine: String, runs: u32) -> Self {
        let (programs, rows, floors, works) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Report { machine, runs, programs, rows, floors, works, tree: None }
    }

    /// Notes the version of a program.
    pub fn uses(&mut self, version: &str) {
        if !self.programs.iter().any(|known| known == version) {
            self.programs.push(version.to_owned());
        }
    }

    /// Notes what the file tree is.
    pub fn tree(&mut self, name: &str, files: usize, bytes: u64) {
        let much = format!("{files} files, {:.1} MB", bytes as f64 / 1e6);
        self.tree = Some((name.to_owned(), much));
    }

    /// The name of the file tree.
    pub fn tree_name(&self) -> &str {
        self.tree.as_ref().map_or("", |(name, _)| name)
    }

    /// `who` is what others are compared with at `task`.
    pub fn floor(&mut self, task: &'static str, who: &'static str) {
        self.floors.push((task, who));
    }

    /// `task` works on this much.
    pub fn works(&mut self, task: &'static str, work: Work) {
        self.works.push((task, work));
    }

    /// Makes room for a row.
    pub fn enter(&mut self, task: &'static str, who: &'static str) {
        self.row(task, who);
    }

    /// Says something in place of figures.
    pub fn remark(&mut self, task: &'static str, who: &'static str, text: &str) {
        self.row(task, who).remark = Some(text.to_owned());
    }

    /// Says why there are no figures.
    pub fn failed(&mut self, task: &'static str, who: &'static str, why: String) {
        let row = self.row(task, who);
        (row.remark, row.failed) = (Some(format!("failed: {why}")), true);
    }

    /// One run.
    pub fn took(&mut self, task: &'static str, who: &'static str, sample: Sample) {
        self.row(task, who).samples.push(sample);
    }

    /// Bytes on disk after it.
    pub fn stored(&mut self, task: &'static str, who: &'static str, bytes: u64) {
        self.row(task, who).stored.push(bytes as f64);
    }

    /// Whether anything failed.
    pub fn has_failures(&self) -> bool {
        self.rows.iter().any(|row| row.failed)
    }

    /// Median wall time.
    pub fn seconds(&self, task: &str, who: &str) -> Option<f64> {
        self.find(task, who).and_then(Row::seconds)
    }

    /// Highest peak of memory in bytes.
    pub fn peak(&self, task: &str, who: &str) -> Option<f64> {
        self.find(task, who).and_then(Row::peak)
    }

    /// Median of bytes on disk.
    pub fn size(&self, task: &str, who: &str) -> Option<f64> {
        self.find(task, who).and_then(Row::size)
    }

    /// Bytes that the first run of `task` added, and the mean of all its runs.
    pub fn added(&self, task: &str, who: &str) -> Option<(f64, f64)> {
        let stored = &self.find(task, who)?.stored;
        Some((*stored.first()?, stored.iter().sum::<f64>() / stored.len() as f64))
    }

    /// Bytes or chunks a second.
    pub fn rate(&self, task: &str, who: &str) -> Option<f64> {
        let (Work::Bytes(amount) | Work::Chunks(amount)) = self.work(task)?;
        Some(amount as f64 / self.seconds(task, who)?)
    }

    /// Wall time relative to the floor's.
    pub fn ratio(&self, task: &str, who: &str) -> Option<f64> {
        let (_, floor) = self.floors.iter().find(|(of, _)| *of == task)?;
        Some(self.seconds(task, who)? / self.seconds(task, floor)?)
    }

    fn work(&self, task: &str) -> Option<Work> {
        self.works.iter().find(|(of, _)| *of == task).map(|(_, work)| *work)
    }

    fn find(&self, task: &str, who: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.task == task && row.who == who)
    }

    fn row(&mut self, task: &'static str, who: &'static str) -> &mut Row {
        let found = self.rows.iter().position(|row| row.task == task && row.who == who);
        let at = found.unwrap_or(self.rows.len());
        if found.is_none() {
            let (samples, stored) = (Vec::new(), Vec::new());
            self.rows.push(Row { task, who, samples, stored, remark: None, failed: false });
        }
        &mut self.rows[at]
    }

    /// The table.
    pub fn markdown(&self) -> String {
        let mut out = format!("{}. Medians of {} runs in turns", self.machine, self.runs);
        out.push_str("; memory is the highest peak. kamba-vault is unlocked by a key file,\n");
        out.push_str(
            "which costs nothing at the start; the others stretch a password as each does by default.\n",
        );
        if !self.programs.is_empty() {
            out.push_str(&format!("{}.\n", self.programs.join("; ")));
        }
        if let Some((name, much)) = &self.tree {
            out.push_str(&format!("File tree: {name}, {much}.\n"));
        }
        out.push('\n');
        let heads = ["task", "with", "seconds", "from – to", "rate", "× floor", "peak memory", "stored"];
        let rows: Vec<[String; 8]> = self.rows.iter().map(|row| self.cells(row)).collect();
        out.push_str(&table(heads, &rows));
        let targets = targets::all(self);
        if !targets.is_empty() {
            let rows: Vec<[String; 4]> = targets.iter().map(Target::cells).collect();
            out.push('\n');
            out.push_str(&table(["target", "wanted", "came to", ""], &rows));
        }
        out
    }

    fn cells(&self, row: &Row) -> [String; 8] {
        let (task, who) = (row.task.to_owned(), row.who.to_owned());
        let none = || "–".to_owned();
        // Who fails is out of the stages that follow.
        let not_run = row.samples.is_empty().then_some("not run");
        if let Some(remark) = row.remark.as_deref().or(not_run) {
            return [task, who, remark.replace('|', "/"), none(), none(), none(), none(), none()];
        }
        let rate = self.rate(row.task, row.who).map(|rate| match self.work(row.task) {
            Some(Work::Chunks(_)) => format!("{rate:.0} chunks/s"),
            _ => format!("{:.0} MB/s", rate / 1e6),
        });
        let megabytes =
            |bytes: Option<f64>| bytes.map_or_else(none, |bytes| format!("{:.1} MB", bytes / 1e6));
        let (low, high) = row.range();
        [
            task,
            who,
            row.seconds().map_or_else(none, |seconds| format!("{seconds:.2}")),
            format!("{low:.2} – {high:.2}"),
            rate.unwrap_or_else(none),
            self.ratio(row.task, row.who).map_or_else(none, |ratio| format!("{ratio:.2}")),
            megabytes(row.peak()),
            megabytes(row.size()),
        ]
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "task": row.task,
                "with": row.who,
                "remark": row.remark,
                "failed": row.failed,
                "runs": row.samples.iter().map(|sample| sample.seconds).collect::<Vec<_>>(),
                "seconds": row.seconds(),
                "per_second": self.rate(row.task, row.who),
                "ratio_to_floor": self.ratio(row.task, row.who),
                "peak_bytes": row.peak(),
                "stored_bytes": row.size(),
            })
        };
        let target = |target: &Target| {
            json!({
                "target": target.what,
                "at_most": target.at_most,
                "at_least": target.at_least,
                "value": target.value,
                "met": target.is_met(),
            })
        };
        json!({
            "machine": self.machine,
            "programs": self.programs,
            "tree": self.tree.as_ref().map(|(name, much)| format!("{name}, {much}")),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "targets": targets::all(self).iter().map(target).collect::<Vec<_>>(),
        })
    }
}

impl Row {
    fn seconds(&self) -> Option<f64> {
        median(self.samples.iter().map(|sample| sample.seconds))
    }

    fn range(&self) -> (f64, f64) {
        let seconds = || self.samples.iter().map(|sample| sample.seconds);
        (seconds().fold(f64::INFINITY, f64::min), seconds().fold(0.0, f64::max))
    }

    fn peak(&self) -> Option<f64> {
        self.samples.iter().filter_map(|sample| sample.peak).max().map(|bytes| bytes as f64)
    }

    fn size(&self) -> Option<f64> {
        median(self.stored.iter().copied())
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let high = *values.get(values.len() / 2)?;
    let low = *values.get((values.len() - 1) / 2)?;
    Some((low + high) / 2.0)
}

/// A Markdown table whose columns also line up for people.
fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    });
    let line = |cells: [&str; N]| {
        let padded: Vec<String> =
            cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let rule: [String; N] = std::array::from_fn(|column| "-".repeat(widths[column].max(3)));
    let mut out = line(heads);
    out.push_str(&format!("|{}|\n", rule.map(|dashes| format!("-{dashes}-")).join("|")));
    for row in rows {
        out.push_str(&line(std::array::from_fn(|column| row[column].as_str())));
    }
    out
}
