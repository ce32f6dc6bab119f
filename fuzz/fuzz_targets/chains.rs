//! Chains of deltas: cycles, chains too deep, bases that are missing, damaged or lie, bombs. What is there
//! is read, what is not is an error, and `check` says the same. See `chains`.
#![no_main]

use kamba_vault_fuzz::chains::play;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| play(data));
