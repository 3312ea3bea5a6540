//! Sets scheduler, I/O priority and memory policy, and says what the kernel wants when it refuses.

use crate::identity::scheduling::{DEADLINE, FIFO, ISO, MemoryPolicy, RR, Scheduler, io_words};
use crate::sys::sched::Attributes;
use crate::sys::{self, Errno, Error, Result};

/// What the caller had set for itself and its descendants would get: back to what the kernel starts a process with.
/// Each is a right that the caller may lack (a nice value can't be lowered without CAP_SYS_NICE): the workload then has
/// no more than the caller had, and that is no reason to fail.
pub(super) fn forget() {
    let _ = sys::sched::set_scheduler(&Attributes::default());
    let _ = sys::sched::set_io_priority(0, 0);
    let _ = sys::sched::set_memory_policy(0, &[]);
    let _ = sys::sched::allow_huge_pages();
    // Which memory a core dump holds: private and shared anonymous memory, ELF headers, private huge pages (core(5)).
    let _ = sys::fs::write(sys::fs::cwd(), "/proc/self/coredump_filter", "0x33");
}

pub(super) fn set_scheduler(asked: &Scheduler) -> Result<()> {
    let mut attributes = Attributes::default();
    (attributes.policy, attributes.flags) = (asked.policy, asked.flags);
    (attributes.nice, attributes.priority) = (asked.nice, asked.priority);
    (attributes.runtime, attributes.deadline, attributes.period) = (asked.runtime, asked.deadline, asked.period);
    sys::sched::set_scheduler(&attributes).map_err(|e| hinted(e, asked))
}

/// One errno has many reasons here, and the kernel gives none.
fn hinted(error: Error, asked: &Scheduler) -> Error {
    let hint = match (asked.policy, error.errno) {
        (DEADLINE, Errno::EPERM) => {
            " (needs CAP_SYS_NICE and all CPUs of the machine: a cpuset, as of /linux/resources/cpu/cpus, rules it out)"
        }
        (DEADLINE, Errno::EBUSY) => " (runtime/period is more than is left for deadline processes)",
        (DEADLINE, Errno::EINVAL) => {
            " (wanted: 1024 ns <= runtime <= deadline <= period, and a period that sched_deadline_period_min_us and \
             _max_us of /proc/sys/kernel allow)"
        }
        (FIFO | RR, Errno::EPERM) => {
            " (needs CAP_SYS_NICE or RLIMIT_RTPRIO, and on cgroup v1 real-time runtime in its cgroup: \
             /linux/resources/cpu/realtimeRuntime)"
        }
        (ISO, Errno::EINVAL) => " (reserved; this kernel has no such policy)",
        (_, Errno::EPERM | Errno::EACCES) => " (needs CAP_SYS_NICE)",
        (_, Errno::EOPNOTSUPP) => " (this kernel was built without utilisation clamps)",
        _ => "",
    };
    error.about(format!("{}{hint}", asked.name()))
}

pub(super) fn set_io_priority(class: u32, level: u32) -> Result<()> {
    sys::sched::set_io_priority(class, level).map_err(|e| {
        let hint = if e.errno == Errno::EPERM { " (needs CAP_SYS_ADMIN or CAP_SYS_NICE)" } else { "" };
        e.about(format!("{}{hint}", io_words(class, level)))
    })
}

pub(super) fn set_memory_policy(policy: &MemoryPolicy) -> Result<()> {
    sys::sched::set_memory_policy(policy.mode | policy.flags, policy.nodes.words()).map_err(|e| {
        let hint = match e.errno {
            Errno::EINVAL => " (are these nodes there, and in the container's cpuset?)",
            Errno::ENOSYS => " (this kernel was built without NUMA)",
            _ => "",
        };
        e.about(format!("{policy}{hint}"))
    })
}
