//! The edge: parse, dispatch, print one error, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    match rt::commands::begin(std::env::args_os()) {
        Ok((global, verb, log)) => rt::commands::act(&global, verb, &log),
        Err(code) => code,
    }
}
