//! What zip had no place for at first: large numbers, times that are exact, owners.

use super::{Entry, put16, put32, put64};
use crate::base::clock::Timestamp;

const NANOS: i64 = 1_000_000_000;
const DAY: i64 = 86_400;
/// Seconds from 1601, when Windows's time begins, to 1970.
const SINCE_1601: i64 = 11_644_473_600;

/// Appends numbers that need 64 bits.
pub(super) fn sizes(numbers: &[u64], out: &mut Vec<u8>) {
    put16(0x0001, out);
    put16(8 * numbers.len() as u16, out);
    numbers.iter().for_each(|number| put64(*number, out));
}

/// Appends the time, in UTC, and the owner.
pub(super) fn times_and_owner(entry: &Entry, out: &mut Vec<u8>) {
    let seconds = entry.mtime.0.div_euclid(NANOS);
    match i32::try_from(seconds) {
        Ok(seconds) => {
            put16(0x5455, out);
            put16(5, out);
            out.push(1);
            out.extend_from_slice(&seconds.to_le_bytes());
        }
        // What does not fit there is told as Windows counts, as a time for each of change, reading and birth.
        Err(_) => {
            let ticks = (seconds + SINCE_1601).max(0) as u64 * 10_000_000
                + entry.mtime.0.rem_euclid(NANOS) as u64 / 100;
            put16(0x000a, out);
            put16(32, out);
            put32(0, out);
            put16(1, out);
            put16(24, out);
            [ticks; 3].into_iter().for_each(|ticks| put64(ticks, out));
        }
    }
    put16(0x7875, out);
    put16(11, out);
    out.push(1);
    for number in [entry.uid, entry.gid] {
        out.push(4);
        put32(number, out);
    }
}

/// Date and time of DOS: from 1980 to 2107, in steps of two seconds. Readers take it for their own zone's; this is
/// UTC's.
pub(super) fn dos_time(time: Timestamp) -> (u16, u16) {
    let seconds = time.0.div_euclid(NANOS);
    let (year, month, day) = date(seconds.div_euclid(DAY));
    if year < 1980 {
        return (1 << 5 | 1, 0);
    }
    if year > 2107 {
        return (127 << 9 | 12 << 5 | 31, 23 << 11 | 59 << 5 | 29);
    }
    let of_day = seconds.rem_euclid(DAY);
    let date = (year - 1980) << 9 | month << 5 | day;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    (date as u16, (hour << 11 | minute << 5 | (second / 2)) as u16)
}

/// Year, month and day of a day since 1970-01-01. The year begins with March here, so that leap days come last.
fn date(day: i64) -> (i64, i64, i64) {
    // Since 0000-03-01, in spans of 400 years, which are all alike.
    let day = day + 719_468;
    let (span, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (span * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        for (day, should) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (-25_567, (1900, 1, 1)),
            (-25_509, (1900, 2, 28)),
            (-25_508, (1900, 3, 1)),
            (20_786, (2026, 11, 29)),
        ] {
            assert_eq!(date(day), should);
        }
    }

    #[test]
    fn dos_has_its_own_times() {
        let at = |seconds: i64| dos_time(Timestamp(seconds * NANOS));
        assert_eq!(at(315_532_800), (1 << 5 | 1, 0));
        assert_eq!(at(0), (1 << 5 | 1, 0));
        // 2026-11-29 13:14:15.
        assert_eq!(at(20_786 * DAY + 47_655), (46 << 9 | 11 << 5 | 29, 13 << 11 | 14 << 5 | 7));
        assert_eq!(at(4_354_819_199), (127 << 9 | 12 << 5 | 31, 23 << 11 | 59 << 5 | 29));
        assert_eq!(at(4_354_819_200), (127 << 9 | 12 << 5 | 31, 23 << 11 | 59 << 5 | 29));
    }
}
