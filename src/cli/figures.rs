//! What progress is made of: figures at one moment, the rate over the last seconds, and the words
//! and JSON for them. No clock and no terminal, so tests can look at every case.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::monitor::Count;
use crate::base::units;
use crate::cli::{text, time};

/// Rates look back this far: long enough to be calm, short enough to notice a stall.
const WINDOW: Duration = Duration::from_secs(15);

/// The figures of one phase at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// How far the phase is, in its unit.
    pub done: u64,
    /// Where it ends, if that is known.
    pub total: Option<u64>,
    /// The phase's unit.
    pub unit: Count,
    /// Bytes read or written back, plaintext.
    pub bytes: u64,
    /// Of these, bytes the repository did not have.
    pub new_bytes: u64,
    /// Bytes sent to the backend.
    pub stored_bytes: u64,
    /// Tables, streams, objects finished.
    pub items: u64,
    /// The recent rate of `bytes`.
    pub bytes_per_second: f64,
    /// The recent rate of `done`.
    pub done_per_second: f64,
}

impl Default for Figures {
    fn default() -> Self {
        Figures {
            done: 0,
            total: None,
            unit: Count::Items,
            bytes: 0,
            new_bytes: 0,
            stored_bytes: 0,
            items: 0,
            bytes_per_second: 0.0,
            done_per_second: 0.0,
        }
    }
}

impl Figures {
    /// One line for people: `1.2 GiB of 3.4 GiB, 310.0 MiB/s, new 12.0 MiB, 3 items, 0:07 left`.
    pub fn words(&self, item: &str) -> String {
        let mut words = vec![match (self.unit, self.total) {
            (Count::Items, Some(total)) => format!("{} of {total}", self.done),
            (Count::Items, None) => text::count(self.done, "item"),
            (_, Some(total)) => format!("{} of {}", units::bytes(self.done), units::bytes(total)),
            (_, None) => units::bytes(self.done),
        }];
        if self.unit == Count::Items && self.bytes > 0 {
            words.push(units::bytes(self.bytes));
        }
        if self.bytes > 0 {
            words.push(format!("{}/s", units::bytes(self.bytes_per_second as u64)));
        }
        if self.new_bytes > 0 {
            words.push(format!("new {}", units::bytes(self.new_bytes)));
        }
        if self.unit != Count::Items && self.items > 0 {
            words.push(text::count(self.items, "item"));
        }
        if let Some(seconds) = self.seconds_left() {
            words.push(format!("{} left", time::span(seconds)));
        }
        if !item.is_empty() {
            words.push(item.to_owned());
        }
        words.join(", ")
    }

    /// One line for programs, with the same figures.
    pub fn json(&self, phase: &str, item: &str, elapsed: Duration) -> Value {
        json!({
            "message_type": "progress",
            "phase": phase,
            "item": item,
            "unit": if self.unit == Count::Items { "items" } else { "bytes" },
            "done": self.done,
            "total": self.total,
            "bytes": self.bytes,
            "new_bytes": self.new_bytes,
            "stored_bytes": self.stored_bytes,
            "items": self.items,
            "bytes_per_second": self.bytes_per_second as u64,
            "seconds_elapsed": elapsed.as_secs(),
            "seconds_left": self.seconds_left().map(|s| s as u64),
        })
    }

    /// How long the rest takes at the recent rate; unknown without a total or while nothing moves.
    fn seconds_left(&self) -> Option<f64> {
        let left = self.total?.saturating_sub(self.done);
        (left > 0 && self.done_per_second > 0.0).then(|| left as f64 / self.done_per_second)
    }
}

/// The rate of two counts over the last seconds.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    samples: VecDeque<(Duration, u64, u64)>,
}

impl Rate {
    /// Both counts stood here, `at` this time since the start.
    pub fn push(&mut self, at: Duration, bytes: u64, done: u64) {
        if self.samples.is_empty() {
            self.samples.push_back((Duration::ZERO, 0, 0));
        }
        self.samples.push_back((at, bytes, done));
        // One sample older than the window stays: lines come further apart than a window is wide.
        while self.samples.get(1).is_some_and(|(second, ..)| at.saturating_sub(*second) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Bytes and units per second between the oldest and the newest sample.
    pub fn per_second(&self) -> (f64, f64) {
        match (self.samples.front(), self.samples.back()) {
            (Some((t0, bytes0, done0)), Some((t1, bytes1, done1))) if t1 > t0 => {
                let seconds = (*t1 - *t0).as_secs_f64();
                let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
                (per_second(*bytes1, *bytes0), per_second(*done1, *done0))
            }
            _ => (0.0, 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn reading() -> Figures {
        Figures {
            done: 100 * MIB,
            total: Some(400 * MIB),
            unit: Count::SourceBytes,
            bytes: 100 * MIB,
            new_bytes: 12 * MIB,
            stored_bytes: 5 * MIB,
            items: 3,
            bytes_per_second: 50.0 * MIB as f64,
            done_per_second: 50.0 * MIB as f64,
        }
    }

    #[test]
    fn words_say_what_is_known_and_no_more() {
        let cases = [
            (reading(), "public.orders"),
            (Figures { total: None, items: 0, new_bytes: 0, ..reading() }, ""),
            (Figures { unit: Count::Items, done: 3, total: Some(9), done_per_second: 0.5, ..reading() }, ""),
            (Figures { done_per_second: 0.0, bytes_per_second: 0.0, ..reading() }, ""),
            (Figures::default(), ""),
        ];
        let words: Vec<String> = cases.iter().map(|(figures, item)| figures.words(item)).collect();
        insta::assert_snapshot!(words.join("\n"), @r"
        100.0 MiB of 400.0 MiB, 50.0 MiB/s, new 12.0 MiB, 3 items, 6.0 s left, public.orders
        100.0 MiB, 50.0 MiB/s
        3 of 9, 100.0 MiB, 50.0 MiB/s, new 12.0 MiB, 12 s left
        100.0 MiB of 400.0 MiB, 0 B/s, new 12.0 MiB, 3 items
        0 items
        ");
        insta::assert_snapshot!(reading().json("reading", "public.orders", Duration::from_secs(2)), @r#"{"message_type":"progress","phase":"reading","item":"public.orders","unit":"bytes","done":104857600,"total":419430400,"bytes":104857600,"new_bytes":12582912,"stored_bytes":5242880,"items":3,"bytes_per_second":52428800,"seconds_elapsed":2,"seconds_left":6}"#);
    }

    #[test]
    fn the_rate_forgets_what_is_long_ago() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), (0.0, 0.0));
        rate.push(Duration::from_secs(1), 100, 1);
        assert_eq!(rate.per_second(), (100.0, 1.0));
        for second in 2..100 {
            rate.push(Duration::from_secs(second), 100, 1);
        }
        assert_eq!(rate.per_second(), (0.0, 0.0), "a stall shows");
        assert!(rate.samples.len() < 20, "and samples do not pile up");
        let mut rare = Rate::default();
        rare.push(Duration::from_secs(100), 1000, 10);
        rare.push(Duration::from_secs(200), 3000, 20);
        assert_eq!(rare.per_second(), (20.0, 0.1), "samples further apart than the window still count");
    }
}
