//! Offsets for the table of contents. pg_dump into a pipe cannot go back and fill them in; with
//! them, the archive is byte for byte what `pg_dump --file` would have written, and `pg_restore
//! --jobs` starts with the largest tables instead of searching for each.

use crate::postgres::archive::split::Block;
use crate::postgres::archive::toc::Head;

/// The state of an offset that is known (`K_OFFSET_POS_SET`).
const POSITION_SET: u8 = 2;

/// The head with the offsets of `blocks` filled in. It is as long as it was, so what follows it
/// stays where it is. Entries without a block keep what they have.
pub fn patch_head(head: &Head, blocks: &[Block]) -> Vec<u8> {
    let mut bytes = head.bytes().to_vec();
    let width = usize::from(head.header().offset_size);
    for block in blocks {
        let Some(entry) = head.entry(block.dump_id) else { continue };
        let at = entry.offset_at();
        if let Some(field) = bytes.get_mut(at..at + 1 + width) {
            field[0] = POSITION_SET;
            field[1..].copy_from_slice(&block.offset.to_le_bytes()[..width]);
        }
    }
    bytes
}
