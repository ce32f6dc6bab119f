//! Snapshots that no honest writer stores, seen through a view and read at any place. See `view`.
#![no_main]

use kamba_vault_fuzz::view::play;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| play(data));
