//! The probe: a static program that the root integration tests run *inside* a container. It prints what it sees
//! (`fingerprint`) or does one small thing (`exit 7`, `alloc 64`, …).
//!
//! It must never judge: what is right is written in the tests. And it must not change what it reports, which is why
//! it has no Rust `main`: the standard library's start-up ignores SIGPIPE and opens missing descriptors.
#![no_main]
#![allow(unsafe_code, clippy::disallowed_methods)]

mod actions;
mod fingerprint;
mod hook;
mod inside;
mod kernel;
mod linger;
mod paths;

use std::ffi::OsString;

/// The C library's entry; the arguments come from `std::env::args_os`, which does not need Rust's start-up.
// SAFETY: the only `main` of this program; the name is what the C start-up code calls, with this signature.
#[unsafe(no_mangle)]
pub extern "C" fn main(_argc: i32, _argv: *const *const u8) -> i32 {
    let args: Vec<String> = std::env::args_os()
        .map(OsString::into_string)
        .map(|arg| arg.unwrap_or_else(|raw| format!("{raw:?}")))
        .collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("probe: {message}");
            120
        }
    }
}

/// What a sub-command answers: an exit code, or why it could not be done.
pub type Outcome = Result<i32, String>;

fn run(words: &[&str]) -> Outcome {
    let (name, rest) = words.split_first().ok_or("which sub-command?")?;
    match *name {
        "fingerprint" => fingerprint::print(rest),
        "hook" => hook::record(rest),
        "exit" => Ok(number(rest, 0)? as i32),
        "signal-self" => actions::signal_self(number(rest, 0)? as i32),
        "sleep" => actions::sleep_for_ever(),
        "trap" => actions::trap(rest),
        "notify" => actions::notify(rest),
        "print-env" => actions::print_env(),
        "write" => actions::write(rest),
        "read" => actions::read(rest),
        "syscall" => actions::syscall(rest),
        "fork-sleep" => actions::fork_sleep(number(rest, 0)?),
        "orphan" => actions::orphan(),
        "hold-fd" => actions::hold_fd(rest),
        "alloc" => actions::alloc(number(rest, 0)?),
        "count" => linger::count(rest),
        "tty-size" => actions::tty_size(),
        "tty-echo" => actions::tty_echo(),
        "hunt-exe" => inside::hunt_exe(rest),
        "mknod" => inside::mknod(rest),
        "mount-proc" => inside::mount_proc(rest),
        other => Err(format!("no such sub-command: {other}")),
    }
}

/// The `index`th word as a number.
fn number(words: &[&str], index: usize) -> Result<u64, String> {
    let word = words.get(index).ok_or("a number is missing")?;
    word.parse().map_err(|_| format!("not a number: {word}"))
}
