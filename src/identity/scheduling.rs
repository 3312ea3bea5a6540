//! When the workload gets a CPU, a disk, and memory of which node: `scheduler`, `ioPriority`, `memoryPolicy` as data.
//!
//! The tables here are what the spec's words mean to the kernel; `rt features` reads them too.

use std::fmt;

use serde::Serialize;

use super::affinity::Mask;

/// The spec's policies and the kernel's numbers, see sched(7). SCHED_ISO is reserved: no mainline kernel has it.
pub const POLICIES: &[(&str, u32)] = &[
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", FIFO),
    ("SCHED_RR", RR),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", ISO),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", DEADLINE),
];
/// SCHED_FIFO.
pub const FIFO: u32 = 1;
/// SCHED_RR.
pub const RR: u32 = 2;
/// SCHED_ISO.
pub const ISO: u32 = 4;
/// SCHED_DEADLINE.
pub const DEADLINE: u32 = 6;

/// The spec's scheduler flags and the kernel's bits.
pub const SCHEDULER_FLAGS: &[(&str, u64)] = &[
    ("SCHED_FLAG_RESET_ON_FORK", RESET_ON_FORK),
    ("SCHED_FLAG_RECLAIM", 0x02),
    ("SCHED_FLAG_DL_OVERRUN", 0x04),
    ("SCHED_FLAG_KEEP_POLICY", 0x08),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];
/// Children start with SCHED_OTHER: without it a SCHED_DEADLINE process may not fork.
pub const RESET_ON_FORK: u64 = 0x01;

/// The spec's I/O classes and the kernel's numbers.
pub const IO_CLASSES: &[(&str, u32)] = &[("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];

/// The spec's memory policies and the kernel's numbers, see set_mempolicy(2).
pub const MEMORY_MODES: &[(&str, u32)] = &[
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];
/// The spec's flags of a memory policy and the kernel's bits.
pub const MEMORY_FLAGS: &[(&str, u32)] =
    &[("MPOL_F_STATIC_NODES", 1 << 15), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_NUMA_BALANCING", 1 << 13)];

/// sched_setattr(2), all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// SCHED_*.
    pub policy: u32,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// SCHED_DEADLINE, nanoseconds.
    pub runtime: u64,
    /// SCHED_DEADLINE, nanoseconds.
    pub deadline: u64,
    /// SCHED_DEADLINE, nanoseconds.
    pub period: u64,
}

impl Scheduler {
    /// The policy in the spec's word.
    pub fn name(&self) -> &'static str {
        word(POLICIES, self.policy)
    }
}

/// set_mempolicy(2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryPolicy {
    /// MPOL_*.
    pub mode: u32,
    /// MPOL_F_*.
    pub flags: u32,
    /// The nodes that it is about.
    pub nodes: Mask,
}

fn word<N: PartialEq>(table: &[(&'static str, N)], number: N) -> &'static str {
    table.iter().find(|(_, n)| *n == number).map_or("?", |(name, _)| name)
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scheduler {}", self.name())?;
        match self.policy {
            FIFO | RR => write!(f, " priority {}", self.priority)?,
            DEADLINE => write!(f, " runtime {} deadline {} period {}", self.runtime, self.deadline, self.period)?,
            _ => write!(f, " nice {}", self.nice)?,
        }
        SCHEDULER_FLAGS.iter().filter(|(_, bit)| self.flags & bit != 0).try_for_each(|(name, _)| write!(f, " {name}"))
    }
}

impl fmt::Display for MemoryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory policy {}", word(MEMORY_MODES, self.mode))?;
        if !self.nodes.is_empty() {
            write!(f, " nodes {}", self.nodes)?;
        }
        MEMORY_FLAGS.iter().filter(|(_, bit)| self.flags & bit != 0).try_for_each(|(name, _)| write!(f, " {name}"))
    }
}

/// An I/O priority in words.
pub(super) fn io_words(class: u32, level: u32) -> String {
    format!("I/O priority {} {level}", word(IO_CLASSES, class))
}
