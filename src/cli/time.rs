//! Times for people: the library counts nanoseconds, people read and write local clock time. The
//! time zone is handed in, so tests do not depend on the machine's.

use jiff::Timestamp as JiffTimestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

use crate::base::clock::Timestamp;

/// A time at the start of a text, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leading {
    /// The time that is meant.
    pub time: Timestamp,
    /// Bytes of the text that it takes.
    pub len: usize,
}

/// `2026-11-22 03:00:20` in `zone`; the bare number for what no calendar reaches.
pub fn local(time: Timestamp, zone: &TimeZone) -> String {
    match JiffTimestamp::from_nanosecond(time.0.into()) {
        Ok(at) => at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => format!("{} ns", time.0),
    }
}

/// RFC 3339 in UTC with all its digits, so that a program loses nothing: `2026-11-22T02:00:20.5Z`.
pub fn rfc3339(time: Timestamp) -> String {
    JiffTimestamp::from_nanosecond(time.0.into())
        .map_or_else(|_| format!("{} ns", time.0), |at| at.to_string())
}

/// `2026-11-22T02-00-20Z`: in UTC, for names of files. Without colons, which other systems do not take in
/// names, and which rsync and scp take for the end of a host's.
pub fn file_name(time: Timestamp) -> String {
    match JiffTimestamp::from_nanosecond(time.0.into()) {
        Ok(at) => at.strftime("%Y-%m-%dT%H-%M-%SZ").to_string(),
        Err(_) => format!("{}ns", time.0),
    }
}

/// A span for people: `0.8 s`, `42 s`, `3:07`, `1:02:45`.
pub fn span(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m}:{s:02}"),
        (h, m, s) => format!("{h}:{m:02}:{s:02}"),
    }
}

/// Recognises a time at the start of `text`: `2026-11-22T03:00`, with a blank instead of the `T`,
/// with seconds, a fraction, and `Z` or an offset such as `+02:00`; without one it is `zone`'s.
///
/// Written with seconds but no fraction it means that whole second, because that is how listings
/// print a snapshot's time. `Ok(None)` if it does not begin like a date; an error says what is
/// wrong with one that does.
pub fn leading(text: &str, zone: &TimeZone) -> Result<Option<Leading>, String> {
    let Some(date) = pattern(text, "dddd-dd-dd") else { return Ok(None) };
    let wrong = |len: usize| format!("'{}' is no time", text.get(..len).unwrap_or(text));
    let after_date = text.get(date..).unwrap_or_default();
    if !after_date.starts_with(['T', 't', ' ']) {
        return Err(format!(
            "'{}' has no time of day: write {}T23:59 for the end of that day",
            &text[..date],
            &text[..date]
        ));
    }
    let clock = date + 1;
    let minutes = pattern(&text[clock..], "dd:dd").ok_or_else(|| wrong(text.len()))?;
    let mut len = clock + minutes;
    let seconds = pattern(&text[len..], ":dd").filter(|n| completes(&text[len + n..]));
    len += seconds.unwrap_or(0);
    let fraction = seconds.and_then(|_| fraction(&text[len..]));
    len += fraction.map_or(0, |(n, _)| n);
    let civil = civil(&text[..date], &text[clock..clock + minutes + seconds.unwrap_or(0)])
        .ok_or_else(|| wrong(len))?;
    let (offset, zone) = match offset(&text[len..]) {
        Some((n, offset)) => (n, TimeZone::fixed(offset.ok_or_else(|| wrong(len + n))?)),
        None => (0, zone.clone()),
    };
    len += offset;
    let at = zone.to_timestamp(civil).map_err(|_| wrong(len))?;
    let nanos = match (seconds, fraction) {
        (Some(_), None) => 999_999_999,
        (_, fraction) => fraction.map_or(0, |(_, nanos)| nanos),
    };
    let nanos = i64::try_from(at.as_nanosecond()).map_err(|_| wrong(len))?.saturating_add(nanos);
    Ok(Some(Leading { time: Timestamp(nanos), len }))
}

/// The pattern's length if `text` begins like it, where `d` stands for a digit.
fn pattern(text: &str, pattern: &str) -> Option<usize> {
    let mut bytes = text.bytes();
    let fits = pattern.bytes().all(|want| match (want, bytes.next()) {
        (b'd', Some(got)) => got.is_ascii_digit(),
        (_, got) => got == Some(want),
    });
    fits.then_some(pattern.len())
}

/// Whether a time whose seconds stand before `rest` is complete there. If not, the colon before
/// the seconds begins a path instead: `…T03:00:07.csv`, `…T03:00:2024`.
fn completes(rest: &str) -> bool {
    let rest = fraction(rest).map_or(rest, |(n, _)| &rest[n..]);
    let rest = offset(rest).map_or(rest, |(n, _)| &rest[n..]);
    rest.is_empty() || rest.starts_with([':', '@'])
}

/// `.5` as its length and nanoseconds; digits beyond the ninth are dropped.
fn fraction(text: &str) -> Option<(usize, i64)> {
    let digits = text.strip_prefix('.')?;
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    let padded = format!("{:0<9}", digits.get(..len.min(9))?);
    (len > 0).then_some((len + 1, padded.parse().ok()?))
}

/// `Z`, `+02:00` or `-0530` as its length and offset; `None` inside for one that cannot be.
fn offset(text: &str) -> Option<(usize, Option<Offset>)> {
    if text.starts_with(['Z', 'z']) {
        return Some((1, Some(Offset::UTC)));
    }
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let len = pattern(&text[1..], "dd:dd").or_else(|| pattern(&text[1..], "dddd"))?;
    let digits = text[1..=len].replace(':', "");
    let hours: i32 = digits[..2].parse().ok()?;
    let minutes: i32 = digits[2..].parse().ok()?;
    let offset = (minutes < 60).then(|| Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok());
    Some((len + 1, offset.flatten()))
}

fn civil(date: &str, clock: &str) -> Option<DateTime> {
    let mut date = date.split('-');
    let date =
        Date::new(date.next()?.parse().ok()?, date.next()?.parse().ok()?, date.next()?.parse().ok()?).ok()?;
    let mut clock = clock.split(':');
    let (hour, minute) = (clock.next()?.parse().ok()?, clock.next()?.parse().ok()?);
    let second = clock.next().map_or(Some(0), |s| s.parse().ok())?;
    Some(date.to_datetime(Time::new(hour, minute, second, 0).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[track_caller]
    fn read(text: &str) -> (i64, &str) {
        let leading = leading(text, &berlin()).unwrap().unwrap();
        (leading.time.0, &text[leading.len..])
    }

    #[test]
    fn times_are_read_as_precisely_as_they_are_written() {
        let three = 1_795_312_800 * SECOND; // 2026-11-22T02:00:00Z
        assert_eq!(read("2026-11-22T03:00"), (three, ""));
        assert_eq!(read("2026-11-22 03:00"), (three, ""));
        assert_eq!(read("2026-11-22T03:00Z"), (three + 3600 * SECOND, ""));
        assert_eq!(read("2026-11-22T03:00+03:00"), (three - 7200 * SECOND, ""));
        assert_eq!(read("2026-11-22T03:00-0130"), (three + (3600 + 5400) * SECOND, ""));
        assert_eq!(read("2026-11-22T03:00:20"), (three + 21 * SECOND - 1, ""));
        assert_eq!(read("2026-11-22T03:00:20.5"), (three + 20 * SECOND + SECOND / 2, ""));
        assert_eq!(read("2026-11-22T03:00:20.0000000019Z"), (three + 3620 * SECOND + 1, ""));
        // In summer the same clock time is another instant.
        assert_eq!(read("2026-07-01T12:00").0, 1_782_900_000 * SECOND);
    }

    #[test]
    fn a_time_ends_where_the_path_begins() {
        let three = read("2026-11-22T03:00").0;
        assert_eq!(read("2026-11-22T03:00:/srv/a.png"), (three, ":/srv/a.png"));
        assert_eq!(read("2026-11-22T03:00:shop/x"), (three, ":shop/x"));
        assert_eq!(read("2026-11-22T03:00:2024.csv"), (three, ":2024.csv"));
        assert_eq!(read("2026-11-22T03:00:07.csv"), (three, ":07.csv"));
        assert_eq!(read("2026-11-22T03:00:07-x"), (three, ":07-x"));
        assert_eq!(read("2026-11-22T03:00:07:x").1, ":x");
        assert_eq!(read("2026-11-22T03:00+01:00:x"), (three, ":x"));
        assert_eq!(read("2026-11-22T03:00@db=shop"), (three, "@db=shop"));
    }

    #[test]
    fn what_is_no_time_is_told_from_a_wrong_one() {
        for text in ["", "latest", "2026", "20261122", "3f1c-22", "2026-1-22T03:00"] {
            assert_eq!(leading(text, &berlin()), Ok(None), "{text}");
        }
        for text in [
            "2026-11-22",
            "2026-13-22T03:00",
            "2026-11-31T03:00",
            "2026-11-22T24:01",
            "2026-11-22T3",
            "2026-11-22T03:00+99:00",
        ] {
            assert!(leading(text, &berlin()).is_err(), "{text}");
        }
        assert!(leading("2026-11-22:x", &berlin()).unwrap_err().contains("2026-11-22T23:59"));
    }

    #[test]
    fn times_and_spans_print_for_people_and_programs() {
        let at = Timestamp(1_795_312_820 * SECOND + 500_000_000);
        assert_eq!(local(at, &berlin()), "2026-11-22 03:00:20");
        assert_eq!(rfc3339(at), "2026-11-22T02:00:20.5Z");
        assert_eq!(local(Timestamp(i64::MAX), &berlin()), "2262-04-12 01:47:16");
        for (seconds, want) in [
            (0.04, "0.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.6, "1:00"),
            (187.0, "3:07"),
            (3765.0, "1:02:45"),
        ] {
            assert_eq!(span(seconds), want);
        }
    }

    proptest::proptest! {
        #[test]
        fn every_printed_time_reads_back(nanos in -2_000_000_000 * SECOND..4_000_000_000 * SECOND) {
            let at = Timestamp(nanos);
            let (exact, rest) = { let text = rfc3339(at); let l = leading(&text, &berlin()).unwrap().unwrap(); (l.time, text.len() - l.len) };
            proptest::prop_assert_eq!((exact, rest), (at, 0));
            // A listing shows whole seconds; read back in UTC it includes the snapshot it stands for.
            let shown = local(at, &TimeZone::UTC);
            let read = leading(&shown, &TimeZone::UTC).unwrap().unwrap().time;
            proptest::prop_assert!(read >= at && read.0 - at.0 < SECOND, "{shown}");
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*", date in "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]\\PC{0,12}") {
            let _ = leading(&text, &berlin());
            let _ = leading(&date, &berlin());
        }
    }
}
