//! The two calls for which the safe wrappers don't know all signal numbers (real-time signals would get lost).

use std::io;

use nix::unistd::Pid;

/// Why a tracee stopped.
pub enum Stop {
    /// It is gone, with this exit status (or the signal plus 128).
    Ended(i32),
    /// At the entry or the exit of a system call.
    Call,
    /// One of PTRACE_EVENT_*.
    Event(i32),
    /// Before a signal is delivered.
    Signal(i32),
}

/// Waits for this tracee, or for any. None when there is none left.
pub fn wait_stop(pid: Option<Pid>) -> io::Result<Option<(Pid, Stop)>> {
    let mut status = 0;
    // SAFETY: waitpid writes one int through the pointer, which is to a live local variable.
    let found = unsafe { libc::waitpid(pid.map_or(-1, Pid::as_raw), &mut status, libc::__WALL) };
    if found < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ECHILD) { Ok(None) } else { Err(error) };
    }
    let stop = if libc::WIFEXITED(status) {
        Stop::Ended(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Stop::Ended(128 + libc::WTERMSIG(status))
    } else if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
        Stop::Call
    } else if status >> 16 != 0 {
        Stop::Event(status >> 16)
    } else {
        Stop::Signal(libc::WSTOPSIG(status))
    };
    Ok(Some((Pid::from_raw(found), stop)))
}

/// Lets a stopped tracee go on to its next system call, with a signal or 0.
pub fn resume(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: PTRACE_SYSCALL reads and writes no memory of ours; address and data are plain numbers.
    let done = unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid.as_raw(), 0, signal as libc::c_long) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The number of the system call a tracee is about to make; None at the end of one.
pub fn entered_call(pid: Pid) -> Option<libc::c_long> {
    let info = nix::sys::ptrace::syscall_info(pid).ok()?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: the union's `entry` member is the one the kernel filled in, as `op` says.
    Some(unsafe { info.u.entry.nr } as libc::c_long)
}
