//! One execution of the target that this binary is named after.
#![no_main]

libfuzzer_sys::fuzz_target!(|choices: &[u8]| rt_fuzz::once(env!("CARGO_BIN_NAME"), choices));
