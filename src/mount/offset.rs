//! Offsets in folders, as the kernel gets them and gives them back.

/// The place of the entry that follows `offset`: page, and place there.
pub fn place(offset: u64) -> (usize, usize) {
    match (offset >> 32, offset & u64::from(u32::MAX)) {
        (0, _) => (0, 0),
        (page, next) => (page as usize - 1, next as usize),
    }
}

/// The offset that follows the entry at a place. Those of the two dots are 1 and 2.
pub fn offset_after(page: usize, at: usize) -> u64 {
    ((page as u64 + 1) << 32) | (at as u64 + 1)
}
