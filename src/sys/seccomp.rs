//! seccomp(2): install a filter, ask what the kernel can do. Nothing here ever sets no_new_privs: that is the config's
//! decision, made elsewhere; without it and without CAP_SYS_ADMIN the kernel answers EACCES, and so do we.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use serde::{Serialize, Serializer};

use super::{Call, Errno, Error, Result};

/// One instruction of a classic BPF program, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Class, size or operation, source.
    pub code: u16,
    /// Instructions to skip if the comparison holds.
    pub jt: u8,
    /// Instructions to skip if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

const _: () = assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
const _: () = assert!(align_of::<Instruction>() == align_of::<libc::sock_filter>());

/// The flags of SECCOMP_SET_MODE_FILTER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Bits the config asked for: a kernel that lacks one is an error.
    pub asked: u32,
    /// Bits we would like: left out if the kernel lacks them.
    pub wished: u32,
}

impl Flags {
    /// All threads get the filter.
    pub const TSYNC: u32 = 1 << 0;
    /// Log what is not allowed.
    pub const LOG: u32 = 1 << 1;
    /// Keep speculative store bypass.
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// Give us the descriptor that receives notifications.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// Report a failed TSYNC as ESRCH, not as a thread id, which could be taken for a descriptor.
    pub const TSYNC_ESRCH: u32 = 1 << 4;
    /// A task whose notification was received dies only by fatal signals.
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;

    const NAMES: [(u32, &str); 6] = [
        (Self::TSYNC, "TSYNC"),
        (Self::LOG, "LOG"),
        (Self::SPEC_ALLOW, "SPEC_ALLOW"),
        (Self::NEW_LISTENER, "NEW_LISTENER"),
        (Self::TSYNC_ESRCH, "TSYNC_ESRCH"),
        (Self::WAIT_KILLABLE_RECV, "WAIT_KILLABLE_RECV"),
    ];

    /// The names of the set bits; a merely wished one ends in `?`.
    pub fn names(self) -> Vec<String> {
        let name = |(bit, name): (u32, &str)| match (self.asked & bit != 0, self.wished & bit != 0) {
            (true, _) => Some(name.to_owned()),
            (false, true) => Some(format!("{name}?")),
            (false, false) => None,
        };
        Self::NAMES.into_iter().filter_map(name).collect()
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

/// Puts the calling process under `program`. From here on only what it allows can be called.
/// With NEW_LISTENER the notification descriptor comes back, close-on-exec.
pub fn install(program: &[Instruction], flags: Flags) -> Result<Option<OwnedFd>> {
    match set_filter(program, flags.asked | flags.wished) {
        // EINVAL is also the answer to a malformed program; without the wished bits it would come again.
        Err(e) if e.errno == Errno::EINVAL && flags.wished & !flags.asked != 0 => set_filter(program, flags.asked),
        answer => answer,
    }
}

fn set_filter(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    let about = || format!("SECCOMP_SET_MODE_FILTER of {} instructions, flags {flags:#x}", program.len());
    let len = u16::try_from(program.len()).map_err(|_| Error::new(Call::Seccomp, Errno::EINVAL).about(about()))?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // SAFETY: `fprog` points at `len` instructions that live until the call returns, laid out as the kernel's (asserted
    // above); the kernel only reads them. It may forbid us system calls afterwards, but touches no memory of ours.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog) };
    match answer {
        0 if flags & Flags::NEW_LISTENER == 0 => Ok(None),
        // SAFETY: with NEW_LISTENER the kernel's non-negative answer is a new descriptor that nobody else knows.
        fd @ 0.. if flags & Flags::NEW_LISTENER != 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        // TSYNC without ESRCH: the id of a thread that could not follow.
        1.. => Err(Error::new(Call::Seccomp, Errno::ESRCH).about(about())),
        _ => Err(Error::last(Call::Seccomp).about(about())),
    }
}

/// Whether a descriptor is the listener of a filter.
pub fn is_listener(fd: impl AsFd) -> bool {
    const SECCOMP_IOCTL_NOTIF_ID_VALID: libc::c_ulong = 0x4008_2102;
    let nobody = 0u64;
    // SAFETY: the request reads one u64, alive across the call; the descriptor is borrowed for it. A listener knows no
    // notification 0; what is no listener does not know the request.
    let answer = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const nobody) };
    answer == 0 || Errno::last() == Errno::ENOENT
}

/// Whether the running kernel knows this SECCOMP_RET_* action.
pub fn knows_action(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 from a pointer that is valid for the whole call.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// Which of `bits` the running kernel knows as flags: for `features` and `doctor`.
/// A null program with known flags is EFAULT, an unknown flag EINVAL, and nothing is ever installed.
pub fn known_flags(bits: u32) -> u32 {
    let known = |bit: u32| {
        // Some flags are only good together with another.
        let flags = match bit {
            Flags::TSYNC_ESRCH => bit | Flags::TSYNC,
            Flags::WAIT_KILLABLE_RECV => bit | Flags::NEW_LISTENER,
            _ => bit,
        };
        let none = std::ptr::null::<libc::sock_fprog>();
        // SAFETY: the null pointer is the point: the kernel checks the flags, then fails with EFAULT on reading it.
        let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, none) };
        answer == -1 && Errno::last() == Errno::EFAULT
    };
    (0..32).map(|shift| 1 << shift).filter(|bit| bits & bit != 0 && known(*bit)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_knows_every_action_and_flag_we_compile() {
        for action in [0x8000_0000, 0, 0x0003_0000, 0x0005_0000, 0x7fc0_0000, 0x7ff0_0000, 0x7ffc_0000, 0x7fff_0000] {
            assert!(knows_action(action), "{action:#x}");
        }
        assert!(!knows_action(0x1234_0000));
        assert_eq!(known_flags(0x3f), 0x3f);
        assert_eq!(known_flags(1 << 30), 0);
    }

    #[test]
    fn a_malformed_program_is_einval_and_says_what_was_tried() {
        let e = install(&[], Flags { asked: 0, wished: Flags::SPEC_ALLOW }).unwrap_err();
        assert_eq!(e.errno, Errno::EINVAL);
        assert_eq!(e.to_string(), "seccomp SECCOMP_SET_MODE_FILTER of 0 instructions, flags 0x0: invalid argument");
    }

    #[test]
    fn wished_flags_are_marked() {
        let flags = Flags { asked: Flags::LOG, wished: Flags::SPEC_ALLOW };
        assert_eq!(flags.names(), ["LOG", "SPEC_ALLOW?"]);
    }
}
