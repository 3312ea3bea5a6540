//! The way into the program and out of it, without the standard library's own preparations.
//!
//! Those read /proc/self/maps to find the stack's guard page and install handlers that say "stack overflow" before the end
//! that comes anyway: some twenty calls before each `rt state`. What else they do is done here.

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Makes a `fn() -> u8` the program; its value is the exit code.
#[macro_export]
macro_rules! program {
    ($run:path) => {
        // SAFETY: the C library calls `main` once, by this name and with these arguments; no other code here is called so.
        #[unsafe(no_mangle)]
        extern "C" fn main(_count: i32, _words: *const *const i8) -> i32 {
            $crate::sys::start::begin();
            $crate::sys::start::end($run())
        }
    };
}

/// Before anything else. On failure nothing sensible can be done any more: the program ends.
pub fn begin() {
    std::panic::set_hook(Box::new(say_panic));
    if fill_stdio().is_err() {
        super::process::exit_now(1);
    }
    // A reader that has gone is an error of write(2) to us, not our end.
    super::process::ignore(libc::SIGPIPE);
}

/// A panic is a bug: where it is. The standard library would walk the stack too where RUST_BACKTRACE asks for it, which the
/// release has no tables for.
fn say_panic(what: &std::panic::PanicHookInfo) {
    use std::io::Write;
    // Nobody to tell is no reason for a second panic.
    let _ = writeln!(std::io::stderr(), "rt: this is a bug in rt, please report it: {what}");
}

/// A caller may leave 0, 1 or 2 closed. What we open next must not become anybody's standard output.
fn fill_stdio() -> super::Result<()> {
    let stdin = std::io::stdin();
    let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
    let mut fds = [
        PollFd::new(std::os::fd::AsFd::as_fd(&stdin), PollFlags::empty()),
        PollFd::new(std::os::fd::AsFd::as_fd(&stdout), PollFlags::empty()),
        PollFd::new(std::os::fd::AsFd::as_fd(&stderr), PollFlags::empty()),
    ];
    super::During::during(poll(&mut fds, PollTimeout::ZERO), super::Call::Poll)?;
    for fd in &fds {
        if fd.revents().is_some_and(|events| events.contains(PollFlags::POLLNVAL)) {
            // It gets the lowest number that is free, which is this one; it stays for good.
            std::mem::forget(super::fs::open_host("/dev/null", OFlag::O_RDWR)?);
        }
    }
    Ok(())
}

/// Writes out what is buffered, and ends.
#[allow(clippy::disallowed_methods)] // this is main's own return
pub fn end(code: u8) -> ! {
    std::process::exit(code.into())
}
