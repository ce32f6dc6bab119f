//! The recipe: how to get the exact bytes of an archive back from the objects it was split into.
//!
//! # Layout
//!
//! Two bytes, the recipe's version (1) and the magnitude bytes of the archive's integers; then
//! operations to the end. An operation is a LEB128 number `value << 3 | code`:
//!
//! | code | operation | meaning |
//! |---|---|---|
//! | 0 | `value` names one without a number: | |
//! | | 0 END | the integer 0 |
//! | | 1 OBJECT | the next object becomes the current one |
//! | | 2 ROWS | the same, and the object's bytes are followed, where asked for, by `\.` and three newlines |
//! | | 3 LINES | frames of one line each, up to its newline; as many as COUNT says, else to the object's end |
//! | | 4 AGAIN | frames of the same length as the last FRAME; COUNT likewise |
//! | | 5 ALL | the object's bytes to its end, without frames |
//! | 1 | LITERAL `value` | that many bytes of the recipe |
//! | 2 | FRAME `value` | one frame of that many bytes |
//! | 3 | COUNT `value` | belongs to the LINES or AGAIN before it |
//! | 4 | BLOCK `value` | like LITERAL; the bytes begin a data block: its type, and its dump id as an integer |
//!
//! A frame is an integer, its length, and that many bytes of the current object. Objects are
//! numbered in order of appearance and each is used once. Every count is optional because a
//! stream is taken apart while it runs: an operation stands before the bytes that it covers, and
//! so a reader of stream and recipe needs no memory of either. A table's operations are the same
//! whatever its rows, so the recipe of an unchanged schema does not change.

use crate::base::limits::{ARCHIVE_FRAME_MAX, RECIPE_LITERAL_MAX};

/// The version this program writes and reads.
pub const RECIPE_VERSION: u8 = 1;

/// What pg_dump writes after the rows of a COPY: the end marker and two empty lines.
pub const COPY_END: &[u8; 5] = b"\\.\n\n\n";

/// Longest encoded operation, without a literal's bytes.
pub const OP_LEN_MAX: usize = 10;

/// One operation. A literal's bytes follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The integer 0.
    End,
    /// Begin the next object.
    Object,
    /// Begin the next object, which holds COPY rows.
    Rows,
    /// Frames of one line each.
    Lines,
    /// Frames as long as the last.
    Again,
    /// The rest of the object, unframed.
    All,
    /// So many bytes of the recipe.
    Literal(u64),
    /// One frame of so many bytes.
    Frame(u64),
    /// How many lines or frames.
    Count(u64),
    /// So many bytes of the recipe, which begin a data block.
    Block(u64),
}

/// What `Op::decode` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// The operation and its encoded length.
    Op(Op, usize),
    /// The bytes end inside the operation.
    NeedMore,
    /// No operation that this version knows, or a number beyond its limit.
    Bad,
}

impl Op {
    /// Appends the operation.
    #[inline]
    pub fn encode(self, out: &mut Vec<u8>) {
        let (code, value) = match self {
            Op::End => (0, 0),
            Op::Object => (0, 1),
            Op::Rows => (0, 2),
            Op::Lines => (0, 3),
            Op::Again => (0, 4),
            Op::All => (0, 5),
            Op::Literal(n) => (1, n),
            Op::Frame(n) => (2, n),
            Op::Count(n) => (3, n),
            Op::Block(n) => (4, n),
        };
        let mut number = value << 3 | code;
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }

    /// Reads the operation at the start of `bytes`. Limits are checked here (I-9).
    #[inline]
    pub fn decode(bytes: &[u8]) -> Decoded {
        let mut number = 0u64;
        for (i, byte) in bytes.iter().take(OP_LEN_MAX).enumerate() {
            let part = u64::from(byte & 0x7f);
            if i == OP_LEN_MAX - 1 && part > 1 {
                return Decoded::Bad;
            }
            number |= part << (7 * i);
            if byte & 0x80 == 0 {
                return match Op::from_number(number) {
                    Some(op) => Decoded::Op(op, i + 1),
                    None => Decoded::Bad,
                };
            }
        }
        if bytes.len() < OP_LEN_MAX { Decoded::NeedMore } else { Decoded::Bad }
    }

    fn from_number(number: u64) -> Option<Self> {
        let value = number >> 3;
        let literal = (1..=RECIPE_LITERAL_MAX as u64).contains(&value);
        Some(match (number & 7, value) {
            (0, 0) => Op::End,
            (0, 1) => Op::Object,
            (0, 2) => Op::Rows,
            (0, 3) => Op::Lines,
            (0, 4) => Op::Again,
            (0, 5) => Op::All,
            (1, n) if literal => Op::Literal(n),
            // A frame of no bytes is END.
            (2, n) if (1..=ARCHIVE_FRAME_MAX).contains(&n) => Op::Frame(n),
            (3, n) => Op::Count(n),
            (4, n) if literal => Op::Block(n),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_read_back() {
        let ops = [
            Op::End,
            Op::Object,
            Op::Rows,
            Op::Lines,
            Op::Again,
            Op::All,
            Op::Literal(1),
            Op::Literal(RECIPE_LITERAL_MAX as u64),
            Op::Frame(1),
            Op::Frame(ARCHIVE_FRAME_MAX),
            Op::Count(0),
            Op::Count((1 << 61) - 1),
            Op::Block(6),
        ];
        for op in ops {
            let mut bytes = Vec::new();
            op.encode(&mut bytes);
            assert_eq!(Op::decode(&bytes), Decoded::Op(op, bytes.len()));
            assert_eq!(Op::decode(&bytes[..bytes.len() - 1]), Decoded::NeedMore);
        }
    }

    #[test]
    fn what_is_beyond_a_limit_is_bad() {
        for op in [Op::Literal(RECIPE_LITERAL_MAX as u64 + 1), Op::Frame(ARCHIVE_FRAME_MAX + 1), Op::Frame(0)]
        {
            let mut bytes = Vec::new();
            op.encode(&mut bytes);
            assert_eq!(Op::decode(&bytes), Decoded::Bad, "{op:?}");
        }
        assert_eq!(Op::decode(&[6 << 3]), Decoded::Bad, "an unknown name");
        assert_eq!(Op::decode(&[6]), Decoded::Bad, "an unknown code");
        assert_eq!(Op::decode(&[0xff; 10]), Decoded::Bad, "a number too long");
        assert_eq!(Op::decode(&[0xff; 9]), Decoded::NeedMore);
    }
}
