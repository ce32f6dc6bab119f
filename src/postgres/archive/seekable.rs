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

/// Blocks as bytes to keep: LEB128 pairs of dump id and distance from the block before.
pub fn encode_blocks(blocks: &[Block]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blocks.len() * 6);
    let mut last = 0;
    for block in blocks {
        put_number(&mut out, u64::from(block.dump_id));
        put_number(&mut out, block.offset.wrapping_sub(last));
        last = block.offset;
    }
    out
}

/// What `encode_blocks` made bytes of; `None` if it did not.
pub fn decode_blocks(mut bytes: &[u8]) -> Option<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut last = 0u64;
    while !bytes.is_empty() {
        let dump_id = u32::try_from(take_number(&mut bytes)?).ok()?;
        last = last.checked_add(take_number(&mut bytes)?)?;
        blocks.push(Block { dump_id, offset: last });
    }
    Some(blocks)
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(first & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        number |= part << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Block, decode_blocks, encode_blocks};

    #[test]
    fn blocks_read_back() {
        let blocks: Vec<Block> = [(3012, 40_000), (7, 41_000), (i32::MAX as u32, 1 << 60)]
            .map(|(dump_id, offset)| Block { dump_id, offset })
            .to_vec();
        let bytes = encode_blocks(&blocks);
        assert_eq!(decode_blocks(&bytes), Some(blocks));
        assert_eq!(decode_blocks(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode_blocks(&[0xff; 11]), None);
        assert_eq!(decode_blocks(&[]), Some(Vec::new()));
    }
}
