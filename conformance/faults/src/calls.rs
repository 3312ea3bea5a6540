//! Names of system calls and errnos, for people; and which calls it makes no sense to fail.

use std::collections::HashMap;
use std::fs;

/// The errnos that are injected, with their names.
pub const ERRNOS: [(&str, i32); 8] = [
    ("EIO", libc::EIO),
    ("ENOMEM", libc::ENOMEM),
    ("ENOSPC", libc::ENOSPC),
    ("EPERM", libc::EPERM),
    ("EINTR", libc::EINTR),
    ("EAGAIN", libc::EAGAIN),
    ("ENOSYS", libc::ENOSYS),
    ("EMFILE", libc::EMFILE),
];

/// Names from the kernel's own header, where it is installed.
pub struct Names(HashMap<i64, String>);

impl Names {
    /// Reads the header.
    pub fn read() -> Names {
        let text = fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").unwrap_or_default();
        let pair = |line: &str| {
            let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
            Some((number.trim().parse().ok()?, name.to_owned()))
        };
        Names(text.lines().filter_map(pair).collect())
    }

    /// The name, or the number.
    pub fn of(&self, number: i64) -> String {
        self.0.get(&number).cloned().unwrap_or_else(|| format!("call-{number}"))
    }
}

/// Calls that can't fail: their callers rightly don't look.
pub fn cannot_fail(number: i64) -> bool {
    const CALLS: [i64; 5] =
        [libc::SYS_exit, libc::SYS_exit_group, libc::SYS_rt_sigreturn, libc::SYS_umask, libc::SYS_clock_nanosleep];
    CALLS.contains(&number)
}

/// Calls that do what they do whatever they come to: Linux closes a descriptor even when it says EIO.
pub fn does_it_anyway(number: i64) -> bool {
    number == libc::SYS_close
}

/// Calls by which the C library and the allocator begin to live: failing them ends a program before, or whatever, it does.
pub fn is_foundation(name: &str) -> bool {
    const FOUNDATION: [&str; 14] = [
        "brk",
        "mmap",
        "munmap",
        "mremap",
        "mprotect",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "sigaltstack",
        "rt_sigaction",
        "poll",
        "prlimit64",
        "getrandom",
    ];
    FOUNDATION.contains(&name)
}
