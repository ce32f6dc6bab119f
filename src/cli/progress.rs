//! Progress on standard error: bars on a terminal, a plain line now and then elsewhere, JSON lines
//! for programs, or nothing. Counting is an atomic addition; a thread of its own draws, so that
//! work never waits for a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::base::monitor::{Count, Monitor};
use crate::cli::args::Global;
use crate::cli::figures::{Figures, Rate};
use crate::cli::text::{paragraph, printable};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    None,
    /// Bars that are drawn over and over.
    Bars,
    /// A line every ten seconds.
    Lines,
    /// A line of JSON every second.
    Json,
}

impl Style {
    /// What suits these flags and this standard error.
    pub fn choose(global: &Global, terminal: bool) -> Self {
        match (global.quiet || global.no_progress, terminal, global.json) {
            (true, _, _) => Style::None,
            (_, true, _) => Style::Bars,
            (_, _, true) => Style::Json,
            _ => Style::Lines,
        }
    }

    /// How often there is something to draw.
    fn interval(self) -> Option<Duration> {
        match self {
            Style::None => None,
            Style::Bars => Some(Duration::from_millis(100)),
            Style::Lines => Some(Duration::from_secs(10)),
            Style::Json => Some(Duration::from_secs(1)),
        }
    }
}

/// What is shown besides progress, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Manner {
    style: Style,
    json: bool,
    notes: bool,
    items: bool,
}

/// The command line's monitor. Cloning shares it. [`Progress::finish`] ends the drawing; results
/// and errors are printed after that.
#[derive(Clone)]
pub struct Progress {
    shared: Arc<Shared>,
    drawer: Arc<Mutex<Option<Drawer>>>,
}

/// The thread that draws; it ends when `stop` is dropped.
struct Drawer {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

struct Shared {
    manner: Manner,
    bar: ProgressBar,
    /// Counts since the start; a phase's own are the difference to `Phase::before`.
    counts: [AtomicU64; COUNTS.len()],
    phase: Mutex<Phase>,
}

/// Every count, in the order of `Shared::counts`.
const COUNTS: [Count; 5] =
    [Count::SourceBytes, Count::NewBytes, Count::StoredBytes, Count::DoneBytes, Count::Items];

struct Phase {
    name: String,
    unit: Count,
    total: Option<u64>,
    item: String,
    before: [u64; COUNTS.len()],
    started: Instant,
    rate: Rate,
}

impl Phase {
    fn new(name: &str, unit: Count, total: Option<u64>, before: [u64; COUNTS.len()]) -> Self {
        let (name, item) = (name.to_owned(), String::new());
        Phase { name, unit, total, item, before, started: Instant::now(), rate: Rate::default() }
    }
}

impl Progress {
    /// A monitor that shows what these flags ask for. `own_terminal` is false where standard
    /// output carries bytes to the same terminal, which a bar would tear.
    pub fn start(global: &Global, own_terminal: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let mut style = Style::choose(global, terminal);
        if style == Style::Bars && !own_terminal {
            style = Style::None;
        }
        let manner =
            Manner { style, json: global.json && !terminal, notes: !global.quiet, items: global.verbose > 0 };
        let shared = Arc::new(Shared {
            manner,
            bar: bar(style),
            counts: Default::default(),
            phase: Mutex::new(Phase::new("", Count::Items, None, Default::default())),
        });
        let drawer = style.interval().map(|interval| draw_every(interval, Arc::clone(&shared)));
        Progress { shared, drawer: Arc::new(Mutex::new(drawer)) }
    }

    /// Stops drawing and removes the bar. Idempotent; messages still reach the user afterwards.
    pub fn finish(&self) {
        let drawer = lock(&self.drawer).take();
        if let Some(Drawer { stop, thread }) = drawer {
            drop(stop);
            // A drawer that panicked has drawn its last; the work itself is unharmed.
            let _ = thread.join();
        }
        self.shared.bar.finish_and_clear();
    }
}

fn draw_every(interval: Duration, shared: Arc<Shared>) -> Drawer {
    let (stop, stopped) = bounded::<()>(0);
    let thread = thread::spawn(move || {
        while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
            shared.draw();
        }
    });
    Drawer { stop, thread }
}

fn bar(style: Style) -> ProgressBar {
    if style != Style::Bars {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
}

/// The bar's look; the words come from `Figures`.
fn look(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => "{prefix} [{bar:24}] {percent:>3}% {wide_msg}",
        None => "{prefix} {spinner} {wide_msg}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ").tick_chars("-\\|/ ")
}

/// The lock's content even after a panic elsewhere: progress is only for show.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn totals(&self) -> [u64; COUNTS.len()] {
        std::array::from_fn(|i| self.counts[i].load(Ordering::Relaxed))
    }

    fn draw(&self) {
        let mut phase = lock(&self.phase);
        if phase.name.is_empty() {
            return;
        }
        let now = self.totals();
        let since = |count: Count| {
            let i = COUNTS.iter().position(|c| *c == count).unwrap_or(0);
            now[i].saturating_sub(phase.before[i])
        };
        let elapsed = phase.started.elapsed();
        let mut figures = Figures {
            done: since(phase.unit),
            total: phase.total,
            unit: phase.unit,
            bytes: since(Count::SourceBytes).max(since(Count::DoneBytes)),
            new_bytes: since(Count::NewBytes),
            stored_bytes: since(Count::StoredBytes),
            items: since(Count::Items),
            ..Figures::default()
        };
        phase.rate.push(elapsed, figures.bytes, figures.done);
        (figures.bytes_per_second, figures.done_per_second) = phase.rate.per_second();
        match self.manner.style {
            Style::None => {}
            Style::Bars => {
                self.bar.set_position(figures.done);
                self.bar.set_message(printable(&figures.words(&phase.item)).into_owned());
                self.bar.tick();
            }
            Style::Lines => self.line(&format!("{}: {}", phase.name, figures.words(""))),
            Style::Json => self.line(&figures.json(&phase.name, &phase.item, elapsed).to_string()),
        }
    }

    /// Prints a line of its own on standard error, above the bar if there is one. A standard error
    /// that is closed is no reason to stop the work.
    fn line(&self, text: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr(), "{text}");
        });
    }

    fn message(&self, message_type: &str, label: &str, text: &str) {
        if self.manner.json {
            self.line(&json!({ "message_type": message_type, "message": text }).to_string());
        } else {
            self.line(&format!("{label}{}", paragraph(text)));
        }
    }
}

impl Monitor for Progress {
    fn phase(&self, name: &str, unit: Count, total: Option<u64>) {
        *lock(&self.shared.phase) = Phase::new(name, unit, total, self.shared.totals());
        let bar = &self.shared.bar;
        bar.set_style(look(total));
        bar.set_prefix(name.to_owned());
        // The figures of the phase before are no longer true.
        bar.set_message("");
        bar.set_length(total.unwrap_or(0));
        bar.set_position(0);
    }

    fn add(&self, count: Count, n: u64) {
        if let Some(i) = COUNTS.iter().position(|c| *c == count) {
            self.shared.counts[i].fetch_add(n, Ordering::Relaxed);
        }
    }

    fn item(&self, name: &str) {
        name.clone_into(&mut lock(&self.shared.phase).item);
        if self.shared.manner.items {
            self.shared.message("item", "", name);
        }
    }

    fn note(&self, message: &str) {
        if self.shared.manner.notes {
            self.shared.message("note", "note: ", message);
        }
    }

    fn warn(&self, message: &str) {
        self.shared.message("warning", "warning: ", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_follows_flags_and_terminal() {
        let global = |quiet, no_progress, json| Global { quiet, no_progress, json, ..Global::default() };
        let plain = global(false, false, false);
        assert_eq!(Style::choose(&plain, true), Style::Bars);
        assert_eq!(Style::choose(&plain, false), Style::Lines);
        assert_eq!(Style::choose(&global(false, false, true), false), Style::Json);
        assert_eq!(Style::choose(&global(false, false, true), true), Style::Bars);
        for silent in [global(true, false, false), global(false, true, true)] {
            assert_eq!(Style::choose(&silent, true), Style::None);
            assert_eq!(Style::choose(&silent, false), Style::None);
        }
    }

    #[test]
    fn counts_belong_to_the_phase_they_fell_in() {
        let quiet = Global { quiet: true, ..Global::default() };
        let progress = Progress::start(&quiet, true);
        for count in COUNTS {
            progress.add(count, 1);
        }
        progress.phase("checking packs", Count::Items, Some(10));
        progress.add(Count::Items, 4);
        let phase = lock(&progress.shared.phase);
        let now = progress.shared.totals();
        let since: Vec<u64> = now.iter().zip(phase.before).map(|(n, b)| n - b).collect();
        assert_eq!(since, [0, 0, 0, 0, 4]);
        drop(phase);
        progress.finish();
        progress.finish();
    }
}
