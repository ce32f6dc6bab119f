//! Deltas: hostile frames with any prefix, and any plaintext against any other there and back.
//!
//! An input is a length of plaintext (4 bytes), the length of the prefix (2 bytes), the prefix, and coded
//! bytes.
#![no_main]

use std::cell::RefCell;

use kamba_vault::base::limits::SEGMENT_PLAIN_MAX;
use kamba_vault::codec::Level;
use kamba_vault::codec::prefix::{Decoder, Encoder};
use kamba_vault_fuzz::input::Input;
use libfuzzer_sys::fuzz_target;

thread_local! {
    // As a reader and a writer have them: kept from segment to segment, also after a damaged one.
    static DECODER: RefCell<(Decoder, Vec<u8>)> = RefCell::default();
    static ENCODER: RefCell<Encoder> = RefCell::new(Encoder::new(Level::DEFAULT).unwrap());
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let plain_len = input.u32();
    let prefix_len = usize::from(input.u8()) << 8 | usize::from(input.u8());
    let rest = input.rest();
    let (prefix, coded) = rest.split_at(prefix_len.min(rest.len()));
    if let Some(plain) = decode(prefix, coded, plain_len) {
        assert!(plain.len() == plain_len as usize && plain_len <= SEGMENT_PLAIN_MAX);
        assert_eq!(decode(prefix, coded, plain_len), Some(plain), "a frame has one meaning");
    }
    round_trip(prefix, coded);
    round_trip(coded, prefix);
});

fn decode(prefix: &[u8], coded: &[u8], plain_len: u32) -> Option<Vec<u8>> {
    DECODER.with_borrow_mut(|(decoder, out)| {
        decoder.decode(prefix, coded, plain_len, out).ok().map(|()| out.clone())
    })
}

/// What is coded against a prefix comes back with it.
fn round_trip(prefix: &[u8], plain: &[u8]) {
    let mut coded = Vec::new();
    ENCODER.with_borrow_mut(|encoder| encoder.encode(prefix, plain, &mut coded).unwrap());
    assert_eq!(decode(prefix, &coded, plain.len() as u32).as_deref(), Some(plain));
}
