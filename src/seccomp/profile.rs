//! The config's seccomp section, understood: every default filled in, every name looked up. Plain data for `compile`,
//! `explain` and tests; never a reference to the config's own types.

use serde::Serialize;

use super::arch::Arch;
use super::syscalls::Syscall;
use crate::sys::seccomp::Flags;

/// What the kernel does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// SIGSYS ends the thread.
    KillThread,
    /// SIGSYS ends the process.
    KillProcess,
    /// A SIGSYS that can be handled.
    Trap,
    /// The call is not made and fails with this errno.
    Errno(u16),
    /// A tracer decides and gets this number; without one ENOSYS.
    Trace(u16),
    /// The call is made.
    Allow,
    /// The call is made and logged.
    Log,
    /// The listener decides.
    Notify,
}

impl Action {
    /// The SECCOMP_RET_* value.
    pub fn ret(self) -> u32 {
        match self {
            Action::KillProcess => 0x8000_0000,
            Action::KillThread => 0,
            Action::Trap => 0x0003_0000,
            Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Action::Notify => 0x7fc0_0000,
            Action::Trace(number) => 0x7ff0_0000 | u32::from(number),
            Action::Log => 0x7ffc_0000,
            Action::Allow => 0x7fff_0000,
        }
    }

    /// The action of a SECCOMP_RET_* value.
    pub fn of_ret(ret: u32) -> Option<Action> {
        let data = (ret & 0xffff) as u16;
        Some(match ret & 0xffff_0000 {
            0x8000_0000 => Action::KillProcess,
            0 => Action::KillThread,
            0x0003_0000 => Action::Trap,
            0x0005_0000 => Action::Errno(data),
            0x7fc0_0000 => Action::Notify,
            0x7ff0_0000 => Action::Trace(data),
            0x7ffc_0000 => Action::Log,
            0x7fff_0000 => Action::Allow,
            _ => return None,
        })
    }

    /// Whether the call may run under it. A tracer is expected to cope with calls it does not know.
    pub fn permits(self) -> bool {
        matches!(self, Action::Allow | Action::Log | Action::Trace(_))
    }
}

/// What an argument must be, all numbers unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the operators of the spec
pub enum Test {
    Ne(u64),
    Lt(u64),
    Le(u64),
    Eq(u64),
    Ge(u64),
    Gt(u64),
    /// `argument & mask == value & mask`.
    MaskedEq {
        mask: u64,
        value: u64,
    },
}

/// A condition on one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub arg: u8,
    /// What it must be.
    pub test: Test,
}

/// One rule of the profile: this call, under all these conditions, gets this action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The call.
    pub syscall: Syscall,
    /// What happens to it.
    pub action: Action,
    /// All must hold; at most one per argument. None: always.
    pub when: Vec<Condition>,
    /// Which element of /linux/seccomp/syscalls asked for it.
    pub entry: u32,
}

/// One architecture of the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Which.
    pub arch: Arch,
    /// Calls with a higher number get ENOSYS; none: they get the default.
    pub newest: Option<u32>,
}

/// Who is told of NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// The UNIX socket that gets the descriptor.
    pub path: String,
    /// Opaque text for it.
    pub metadata: String,
}

/// The whole section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// What happens to a call without a rule.
    pub default: Action,
    /// The architectures, the native one first.
    pub sections: Vec<Section>,
    /// In the order of the config.
    pub rules: Vec<Rule>,
    /// For `sys::seccomp::install`.
    pub flags: Flags,
    /// Present if and only if some action is NOTIFY.
    pub listener: Option<Listener>,
    /// What was skipped, with its pointer, for the log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
