//! What the tests of every encoding share.

use std::fmt::Debug;

use crate::format::error::Error;

/// Checks that `bytes` are the one encoding of what they decode to, and that every truncation and
/// every changed byte is refused, or is itself the one encoding of something else. No panics.
pub fn canonical<T: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Error>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let check = |bytes: &[u8]| match decode(bytes) {
        Ok(value) => assert_eq!(encode(&value), bytes, "decoded to {value:?}"),
        Err(error) => assert!(error.offset <= bytes.len() as u64, "{error} in {} bytes", bytes.len()),
    };
    assert_eq!(decode(bytes).err(), None);
    check(bytes);
    // Every place when it is small, a spread of places when it is large.
    let step = (bytes.len() / 600).max(1);
    for at in (0..bytes.len()).step_by(step) {
        check(&bytes[..at]);
        for change in [1u8, 0x80, 0xff, 1 << (at % 8)] {
            let mut changed = bytes.to_vec();
            changed[at] ^= change;
            check(&changed);
        }
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    check(&longer);
}
