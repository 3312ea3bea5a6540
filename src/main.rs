//! The edge: parse, dispatch, print one error, exit.
#![no_main]

rt::program!(run);

/// The whole of it; the value is the exit code.
fn run() -> u8 {
    match rt::commands::begin(std::env::args_os()) {
        Ok((global, verb, log)) => rt::commands::act(&global, verb, &log),
        Err(code) => code,
    }
}
