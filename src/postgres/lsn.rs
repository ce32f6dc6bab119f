//! Positions in the write-ahead log, in PostgreSQL's spelling (`pg_lsn` in its manual).

use std::fmt;
use std::str::FromStr;

/// A byte's position in the write-ahead log of one timeline ("log sequence number").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// So many bytes further on; the last position there is, at most.
    pub fn plus(self, bytes: u64) -> Self {
        Lsn(self.0.saturating_add(bytes))
    }
}

/// As PostgreSQL writes it: `16/B374D848`.
impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

/// The text is no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position in the WAL looks like 16/B374D848")]
pub struct NotLsn;

impl FromStr for Lsn {
    type Err = NotLsn;

    /// Reads two hexadecimal numbers of one to eight digits with a slash between them, and nothing else
    /// (`pg_lsn_in_internal` in PostgreSQL's `pg_lsn.c`).
    fn from_str(text: &str) -> Result<Self, NotLsn> {
        let half = |digits: &str| {
            let is_hex = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let number = u32::from_str_radix(digits, 16).map_err(|_| NotLsn)?;
            if is_hex { Ok(u64::from(number)) } else { Err(NotLsn) }
        };
        let (high, low) = text.split_once('/').ok_or(NotLsn)?;
        Ok(Lsn(half(high)? << 32 | half(low)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_positions_are_read() {
        assert_eq!("16/b374D848".parse(), Ok(Lsn(0x16_B374_D848)));
        for bad in ["", "/", "1", "1/", "/1", "1/2/3", "+1/2", "1/-2", "123456789/0", "0/123456789", " 1/2"] {
            assert_eq!(bad.parse::<Lsn>(), Err(NotLsn), "{bad}");
        }
        assert_eq!(Lsn(u64::MAX - 1).plus(5), Lsn(u64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(position: u64) {
            prop_assert_eq!(Lsn(position).to_string().parse(), Ok(Lsn(position)));
        }
    }
}
