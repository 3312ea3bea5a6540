//! Who the workload is: session, limits, groups, ids, capabilities, working directory, and what it executes.
//!
//! The order of the ops is the point of this subject: each right is given up only when nothing after it needs it.

pub mod affinity;
mod apply;
pub mod labels;
pub mod lookup;
pub mod lower;
pub mod scheduling;
mod stub;

use std::fmt;

use serde::Serialize;

use affinity::Mask;
pub use apply::{Executable, apply, apply_host};
use scheduling::{MemoryPolicy, Scheduler};
pub use stub::sealed_stub;

/// What the host side does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostOp {
    /// Writes /proc/PID/oom_score_adj.
    OomScore(i32),
    /// Says now, as long as /proc is the host's, what the next execve makes of us: whoever is born after inherits that.
    Label {
        /// The module.
        lsm: Lsm,
        /// Its label.
        label: String,
    },
    /// Our own CPU affinity, before anybody is born.
    Affinity(Mask),
}

/// What init does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitOp {
    /// A session of its own: no terminal of the caller's stays in reach (TIOCSTI).
    Session,
    /// A session keyring of its own.
    Keyring(String),
    /// personality(2).
    Personality(u64),
    /// Opens the file that takes this module's label, while /proc is the host's.
    OpenLabel(Lsm),
    /// What execve makes of the workload, in the eyes of a security module.
    Label {
        /// The module.
        lsm: Lsm,
        /// Its label.
        label: String,
    },
    /// What the caller had set for itself and the workload must not get: securebits, timer slack, scheduling, memory policy, core dump filter.
    Forget,
    /// Makes the working directory, where it is missing.
    MakeCwd(String),
    /// One resource limit.
    Rlimit {
        /// `RLIMIT_NOFILE`.
        name: String,
        /// Its number.
        resource: u32,
        /// The soft limit.
        soft: u64,
        /// The hard limit.
        hard: u64,
    },
    /// sched_setattr(2).
    Scheduler(Scheduler),
    /// ioprio_set(2).
    IoPriority {
        /// IOPRIO_CLASS_*.
        class: u32,
        /// 0 is the highest.
        level: u32,
    },
    /// set_mempolicy(2).
    MemoryPolicy(MemoryPolicy),
    /// Every CPU of our cpuset: the caller's own choice was not the workload's.
    AllCpus,
    /// CPU affinity: for a process that joins the container.
    Affinity(Mask),
    /// Drops everything else from the bounding set.
    Bounding(Caps),
    /// Exactly these supplementary groups.
    Groups(Vec<u32>),
    /// Real, effective and saved ids; capabilities are kept for the next steps.
    Ids {
        /// The user.
        uid: u32,
        /// The primary group.
        gid: u32,
    },
    /// chdir, and a check that the kernel sees it inside the root.
    Cwd(String),
    /// Permitted, effective, inheritable and ambient, exactly.
    Capabilities {
        /// The permitted set.
        permitted: Caps,
        /// The effective set.
        effective: Caps,
        /// The inheritable set.
        inheritable: Caps,
        /// The ambient set.
        ambient: Caps,
        /// Kept on top until execve, which takes it away: a seccomp filter without no_new_privs wants it.
        until_exec: Caps,
    },
    /// Finds the executable as the workload would, and checks that it can be run.
    LookUp {
        /// `args[0]`.
        name: String,
        /// `PATH` of the container's environment.
        path: String,
    },
    /// The umask.
    Umask(u32),
    /// PR_SET_NO_NEW_PRIVS.
    NoNewPrivs,
    /// Every signal to its default, none blocked.
    Signals,
}

/// A security module that labels processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Lsm {
    /// Profiles by name.
    AppArmor,
    /// Contexts.
    SELinux,
}

impl Lsm {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Lsm::AppArmor => "AppArmor",
            Lsm::SELinux => "SELinux",
        }
    }
}

/// A set of capabilities: bit n is capability number n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps(pub u64);

impl Caps {
    /// The names in the set, in the order of their numbers.
    pub fn names(self) -> Vec<String> {
        lower::all_capabilities().filter(|(_, number)| self.0 & (1 << number) != 0).map(|(name, _)| name).collect()
    }
}

impl Serialize for Caps {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.names())
    }
}

impl fmt::Display for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> =
            self.names().iter().map(|n| n.trim_start_matches("CAP_").to_ascii_lowercase()).collect();
        if names.is_empty() { f.write_str("none") } else { f.write_str(&names.join(" ")) }
    }
}

impl fmt::Display for HostOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostOp::OomScore(value) => write!(f, "oom_score_adj {value}"),
            HostOp::Label { lsm, label } => write!(f, "{} label {label}, from execve on, to be inherited", lsm.name()),
            HostOp::Affinity(cpus) => write!(f, "own CPU affinity {cpus}"),
        }
    }
}

impl fmt::Display for InitOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitOp::Session => f.write_str("new session"),
            InitOp::Keyring(name) => write!(f, "new session keyring {name}"),
            InitOp::Personality(persona) => write!(f, "personality {persona:#x}"),
            InitOp::OpenLabel(lsm) => write!(f, "open the file for {}'s label", lsm.name()),
            InitOp::Label { lsm, label } => write!(f, "{} label {label}, from execve on", lsm.name()),
            InitOp::Forget => f.write_str(
                "forget the caller's securebits, timer slack, nice, scheduler, I/O priority, memory policy, \
                 huge page switch and core dump filter",
            ),
            InitOp::MakeCwd(path) => write!(f, "make directory {path}, if it is missing"),
            InitOp::Rlimit { name, soft, hard, .. } => write!(f, "{name} soft {soft} hard {hard}"),
            InitOp::Scheduler(scheduler) => scheduler.fmt(f),
            InitOp::IoPriority { class, level } => f.write_str(&scheduling::io_words(*class, *level)),
            InitOp::MemoryPolicy(policy) => policy.fmt(f),
            InitOp::AllCpus => f.write_str("CPU affinity: all of the cpuset"),
            InitOp::Affinity(cpus) => write!(f, "CPU affinity {cpus}"),
            InitOp::Bounding(set) => write!(f, "bounding capabilities: {set}"),
            InitOp::Groups(groups) if groups.is_empty() => f.write_str("no supplementary groups"),
            InitOp::Groups(groups) => write!(f, "supplementary groups {groups:?}"),
            InitOp::Ids { uid, gid } => write!(f, "uid {uid} gid {gid}"),
            InitOp::Cwd(path) => write!(f, "chdir {path}, and check that it is inside"),
            InitOp::Capabilities { permitted, effective, inheritable, ambient, until_exec } => {
                write!(
                    f,
                    "capabilities: permitted {permitted}; effective {effective}; inheritable {inheritable}; ambient {ambient}"
                )?;
                if until_exec.0 == 0 { Ok(()) } else { write!(f, "; until execve also {until_exec}") }
            }
            InitOp::LookUp { name, .. } => write!(f, "look up {name}"),
            InitOp::Umask(mask) => write!(f, "umask {mask:04o}"),
            InitOp::NoNewPrivs => f.write_str("no_new_privs"),
            InitOp::Signals => f.write_str("all signals to their defaults"),
        }
    }
}
