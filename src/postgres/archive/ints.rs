//! The archive's integers: a sign byte, then `int_size` bytes of magnitude, least significant
//! first (`WriteInt` and `ReadInt` in PostgreSQL's `pg_backup_archiver.c`). Bytes in, values out.

/// Smallest and largest integer size that an archive may declare. Every pg_dump writes 4.
pub const INT_SIZES: std::ops::RangeInclusive<u8> = 4..=8;

/// Most bytes that one integer takes.
pub const INT_LEN_MAX: usize = 9;

/// How the integers of one archive are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntLayout {
    size: u8,
}

/// What `IntLayout::read` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int {
    /// The input ends inside the integer.
    NeedMore,
    /// A value as PostgreSQL would write it again.
    Value(i64),
    /// Bytes that `WriteInt` never writes: a strange sign, a negative zero, or more than 32 bits.
    Odd,
}

impl Default for IntLayout {
    /// What every pg_dump of today writes.
    fn default() -> Self {
        IntLayout { size: 4 }
    }
}

impl IntLayout {
    /// The layout for integers of `size` magnitude bytes; `None` for a size no archive has.
    pub fn new(size: u8) -> Option<Self> {
        INT_SIZES.contains(&size).then_some(IntLayout { size })
    }

    /// Magnitude bytes.
    pub fn size(self) -> u8 {
        self.size
    }

    /// Bytes that one integer takes.
    pub fn width(self) -> usize {
        usize::from(self.size) + 1
    }

    /// Reads the integer at the start of `bytes`.
    #[inline]
    pub fn read(self, bytes: &[u8]) -> Int {
        let Some(field) = bytes.get(..self.width()) else { return Int::NeedMore };
        let low = u32::from_le_bytes([field[1], field[2], field[3], field[4]]);
        let high_is_zero = self.size == 4 || field[5..].iter().all(|b| *b == 0);
        match (field[0], low) {
            // The C type is a 32-bit int, so anything beyond it was never written by PostgreSQL.
            _ if !high_is_zero => Int::Odd,
            (0, n) if n <= i32::MAX as u32 => Int::Value(i64::from(n)),
            (1, n) if (1..=1 << 31).contains(&n) => Int::Value(-i64::from(n)),
            _ => Int::Odd,
        }
    }

    /// Appends a length, oid or marker. The value is a non-negative 32-bit integer.
    #[inline]
    pub fn write(self, out: &mut Vec<u8>, value: u32) {
        let mut field = [0u8; INT_LEN_MAX];
        field[1..5].copy_from_slice(&value.to_le_bytes());
        out.extend_from_slice(&field[..self.width()]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn integers_read_back_in_every_size() {
        for size in INT_SIZES {
            let layout = IntLayout::new(size).unwrap();
            for value in [0u32, 1, 45, 255, 65_536, i32::MAX as u32] {
                let mut bytes = Vec::new();
                layout.write(&mut bytes, value);
                assert_eq!(bytes.len(), layout.width());
                assert_eq!(layout.read(&bytes), Int::Value(i64::from(value)));
                assert_eq!(layout.read(&bytes[..bytes.len() - 1]), Int::NeedMore);
            }
        }
        assert_eq!(IntLayout::new(3), None);
        assert_eq!(IntLayout::new(9), None);
    }

    #[test]
    fn what_postgresql_never_writes_is_odd() {
        let four = IntLayout::new(4).unwrap();
        assert_eq!(four.read(&[1, 1, 0, 0, 0]), Int::Value(-1));
        assert_eq!(four.read(&[1, 0, 0, 0, 128]), Int::Value(-(1 << 31)));
        assert_eq!(four.read(&[1, 0, 0, 0, 0]), Int::Odd, "negative zero");
        assert_eq!(four.read(&[2, 1, 0, 0, 0]), Int::Odd, "sign");
        assert_eq!(four.read(&[0, 0, 0, 0, 128]), Int::Odd, "beyond int");
        let eight = IntLayout::new(8).unwrap();
        assert_eq!(eight.read(&[0, 1, 0, 0, 0, 1, 0, 0, 0]), Int::Odd, "beyond 32 bits");
    }
}
