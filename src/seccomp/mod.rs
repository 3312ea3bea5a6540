//! seccomp: which system calls the workload may make. `lower` reads the config into a [`Profile`], [`compile`] turns it
//! into a [`Program`] on the host side before birth, `sys::seccomp::install` loads it as the last act before execve.
//!
//! What a profile means where the spec is silent is written down here once; the differential tests hold us to it:
//!
//! - **Several rules for one call.** A rule without arguments decides alone, the first such rule if there are more
//!   (libseccomp keeps it so). Otherwise the rules are tried in the order of the config and the first that matches wins.
//! - **Repeated argument index.** If one rule names an argument twice, each of its conditions becomes a rule of its own:
//!   OR, not AND (runc).
//! - **Equal to the default.** Such a rule is dropped (runc), though its names still count as known to the profile.
//! - **Newer calls.** A call with a higher number than any that the profile names for its ABI gets ENOSYS, unless the
//!   default lets calls run (ALLOW, LOG, TRACE): C libraries try new calls and fall back on ENOSYS only (runc).
//!   Call 0 of s390 is where its kernel puts numbers it does not know: ENOSYS as well.
//! - **Other ABIs.** The native one is always in. A call through any other that the profile does not list, x32 included,
//!   kills the process. (libseccomp kills the thread only; a program that has lost one of its threads hangs, and
//!   another thread may try again. So we differ.)
//! - **Unknown names.** Skipped with a warning: profiles name the calls of all kernels.
//! - **Narrow ABIs.** Where arguments have 32 bits, the low half is compared (libseccomp).
//! - **socketcall and ipc.** A rule for `socket` or `shmget` also covers its way through the carrier, told apart by the
//!   carrier's first argument, whose own condition is replaced (libseccomp). ipc is compared by its low 16 bits,
//!   because the kernel looks at no more.

mod arch;
mod assemble;
mod chain;
mod compile;
mod interpret;
mod lower;
mod notify;
mod profile;
mod syscalls;
#[rustfmt::skip]
mod table;

pub use arch::{Arch, X32_BIT};
pub use compile::{CompileError, MAX_INSTRUCTIONS, Program, compile};
pub use interpret::{Data, Interpreter, Malformed, interpret};
pub use lower::lower;
pub use notify::{Courier, deliver, look_for};
pub use profile::{Action, Condition, Listener, Profile, Rule, Section, Test};
pub use syscalls::Syscall;
