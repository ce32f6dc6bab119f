//! Times as PostgreSQL reads them and as messages show them: UTC, with as many digits as PostgreSQL keeps.

use crate::base::clock::Timestamp;

const DAY: i64 = 86_400;

/// `2026-11-22 02:00:20.5+00`: what `timestamptz` takes, to the microsecond, rounded down.
pub fn postgres(time: Timestamp) -> String {
    let micros = time.0.div_euclid(1000);
    let (seconds, micros) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    let fraction = fraction.trim_end_matches('0');
    format!("{}{fraction}+00", civil(seconds))
}

/// `2026-11-22 02:00:20 UTC`.
pub fn words(time: Timestamp) -> String {
    format!("{} UTC", civil(time.0.div_euclid(1_000_000_000)))
}

/// A length of time: `3 days`, `5 h`, `12 min`, `7 s`.
pub fn span(nanos: i64) -> String {
    match nanos.max(0) / 1_000_000_000 {
        s if s >= 2 * DAY => format!("{} days", s / DAY),
        s if s >= 2 * 3600 => format!("{} h", s / 3600),
        s if s >= 2 * 60 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// Date and time of day of a second since 1970, in the Gregorian calendar ("civil_from_days": eras of 400
/// years, years from March).
fn civil(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(DAY) + 719_468, seconds.rem_euclid(DAY));
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn times_are_written_as_postgresql_reads_them() {
        for (time, want) in [
            (0, "1970-01-01 00:00:00+00"),
            (951_782_400 * SECOND, "2000-02-29 00:00:00+00"),
            (1_795_312_820 * SECOND + 500_000_000, "2026-11-22 02:00:20.5+00"),
            (1_795_312_820 * SECOND + 999_999_999, "2026-11-22 02:00:20.999999+00"),
            (1_795_312_820 * SECOND + 40_999, "2026-11-22 02:00:20.00004+00"),
            (-1, "1969-12-31 23:59:59.999999+00"),
            (i64::MAX, "2262-04-11 23:47:16.854775+00"),
        ] {
            assert_eq!(postgres(Timestamp(time)), want);
        }
        assert_eq!(words(Timestamp(1_795_312_820 * SECOND + 7)), "2026-11-22 02:00:20 UTC");
    }

    #[test]
    fn spans_are_as_rough_as_they_are_long() {
        for (seconds, want) in
            [(-3, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")]
        {
            assert_eq!(span(seconds * SECOND), want);
        }
    }
}
