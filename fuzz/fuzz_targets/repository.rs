//! A repository that was tampered with, opened and read whole: nothing panics, hangs or grows beyond
//! its limits, and no snapshot ever gives back what was not put into it. See `attack` and `reading`.
#![no_main]

use kamba_vault_fuzz::attack::attack;
use kamba_vault_fuzz::input::Input;
use kamba_vault_fuzz::reading::read_everything;
use kamba_vault_fuzz::vault::VAULT;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let and_write = input.u8() & 1 == 1;
    read_everything(&attack(&VAULT, &mut input), and_write);
});
