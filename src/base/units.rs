//! Sizes for people: binary units, as the field prints them, and parsing of `10M`, `1.5 GiB`. Spans of
//! time, likewise: `90s`, `5m`.

use std::time::Duration;

/// `n` bytes with a binary unit and three significant digits or so: `312.4 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Parses a size such as `4096`, `10M`, `1.5GiB`, `64 KiB`. Units are binary, case is ignored.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let value: f64 = number.parse().ok()?;
    let shift = match unit.trim().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let bytes = value * (1u64 << shift) as f64;
    (bytes.is_finite() && (0.0..9.0e18).contains(&bytes)).then_some(bytes as u64)
}

/// Parses a span of time such as `90`, `90s`, `5m`, `2h`, `1d`: a whole number, of seconds without a unit.
pub fn parse_span(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit.trim() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_parse() {
        for (text, want) in [("90", 90), ("90s", 90), (" 5 min", 300), ("2H", 7200), ("1d", 86_400)] {
            assert_eq!(parse_span(text), Some(Duration::from_secs(want)), "{text}");
        }
        for bad in ["", "s", "-1", "1.5m", "1w", "99999999999999999999s", "999999999999999999d"] {
            assert_eq!(parse_span(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_print_and_parse() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1 << 20), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        for (text, want) in [("4096", 4096), ("10M", 10 << 20), ("1.5GiB", 3 << 29), ("64 KiB", 65536)] {
            assert_eq!(parse_bytes(text), Some(want), "{text}");
        }
        for bad in ["", "x", "-1", "1Q", "1..2", "99999999999999T"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }
}
