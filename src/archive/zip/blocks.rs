//! Data as deflate has them without compression: blocks of at most 65,535 bytes, each with its length before it
//! (RFC 1951, 3.2.4).

/// Longest block.
const BLOCK: u64 = u16::MAX as u64;
/// Bytes before each.
const HEAD: u64 = 5;

/// The blocks of data of a known length.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// Bytes to come, and those of them that are in the block that has begun.
    left: u64,
    block: u64,
}

impl Blocks {
    /// The blocks of `size` bytes.
    pub fn new(size: u64) -> Self {
        Blocks { left: size, block: 0 }
    }

    /// Bytes that `size` bytes take.
    pub fn packed(size: u64) -> u64 {
        size.saturating_add(size.div_ceil(BLOCK).saturating_mul(HEAD))
    }

    /// What stands before the next byte, if a block begins with it, and how many bytes can follow.
    pub fn begin(&mut self) -> (Option<[u8; HEAD as usize]>, u64) {
        if self.block > 0 || self.left == 0 {
            return (None, self.block);
        }
        self.block = self.left.min(BLOCK);
        let is_last = u8::from(self.block == self.left);
        let [low, high] = (self.block as u16).to_le_bytes();
        (Some([is_last, low, high, !low, !high]), self.block)
    }

    /// Says that `len` bytes followed, no more than could.
    pub fn passed(&mut self, len: u64) {
        self.left = self.left.saturating_sub(len);
        self.block = self.block.saturating_sub(len);
    }
}
