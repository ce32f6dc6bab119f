//! Versions of PostgreSQL, as programs and servers tell them.

use std::fmt;

/// A version as PostgreSQL numbers it: 150018 is 15.18, 90624 is 9.6.24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl Version {
    /// Reads the first version in a text such as `pg_dump (PostgreSQL) 15.18 (Debian 15.18-1)`,
    /// `17beta1` or `9.6.24`.
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let mut numbers = Vec::new();
        for part in word.split('.') {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            // Six digits: a part of a version is never more, and the sum below stays small.
            numbers.push(part[..end.min(6)].parse::<u32>().ok().filter(|n| *n < 10_000)?);
            if end < part.len() {
                break;
            }
        }
        let part = |i: usize| numbers.get(i).copied().unwrap_or(0);
        Some(Version(match part(0) {
            major @ 10.. => major * 10_000 + part(1),
            old => old * 10_000 + part(1).min(99) * 100 + part(2).min(99),
        }))
    }

    /// What has to match between programs and servers: 15 of 15.18, 9.6 of 9.6.24.
    pub fn major(self) -> Version {
        Version(if self.0 >= 100_000 { self.0 / 10_000 * 10_000 } else { self.0 / 100 * 100 })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0;
        if n >= 100_000 {
            write!(f, "{}.{}", n / 10_000, n % 10_000)
        } else {
            write!(f, "{}.{}.{}", n / 10_000, n / 100 % 100, n % 100)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_read_and_compare() {
        let cases = [
            ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(150_018)),
            ("psql (PostgreSQL) 17beta1", Some(170_000)),
            ("17devel", Some(170_000)),
            ("9.6.24", Some(90_624)),
            ("9.2", Some(90_200)),
            ("PostgreSQL 16.4 on x86_64", Some(160_004)),
            ("no number", None),
            ("", None),
            ("99999999999.1", None),
            ("15.x", None),
        ];
        for (text, want) in cases {
            assert_eq!(Version::parse(text).map(|v| v.0), want, "{text}");
        }
        assert_eq!(Version(150_018).major(), Version(150_000));
        assert_eq!(Version(90_624).major(), Version(90_600));
        assert_eq!(Version(150_018).to_string(), "15.18");
        assert_eq!(Version(90_624).to_string(), "9.6.24");
    }
}
