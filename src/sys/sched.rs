//! Where and when a process runs: policy, nice, CPUs, memory nodes, I/O priority.
//! Contracts: sched_setattr(2), sched_setaffinity(2), set_mempolicy(2), ioprio_set(2), PR_SET_THP_DISABLE(2const).

use super::{Call, Error, Result};

/// `struct sched_attr` of the kernel, second version (with the utilisation clamps).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    size: u32,
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// For SCHED_DEADLINE, nanoseconds.
    pub runtime: u64,
    /// For SCHED_DEADLINE, nanoseconds.
    pub deadline: u64,
    /// For SCHED_DEADLINE, nanoseconds.
    pub period: u64,
    util_min: u32,
    util_max: u32,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            size: size_of::<Self>() as u32,
            policy: 0,
            flags: 0,
            nice: 0,
            priority: 0,
            runtime: 0,
            deadline: 0,
            period: 0,
            util_min: 0,
            util_max: 0,
        }
    }
}

/// sched_setattr(2) of ourselves.
pub fn set_scheduler(attributes: &Attributes) -> Result<()> {
    // SAFETY: the struct is laid out as the kernel's and carries its own size; the kernel only reads it, for pid 0, us.
    match unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attributes), 0) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::SchedSetattr)),
    }
}

/// sched_getattr(2) of ourselves.
pub fn scheduler() -> Result<Attributes> {
    let mut attributes = Attributes::default();
    let size = size_of::<Attributes>();
    // SAFETY: the kernel writes at most `size` bytes, the struct's own.
    match unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) } {
        0 => Ok(attributes),
        _ => Err(Error::last(Call::SchedSetattr).about("sched_getattr")),
    }
}

/// sched_setaffinity(2) of a process (0: of ourselves): bit n of the words is CPU n. The kernel takes what its cpuset
/// leaves of it.
pub fn set_affinity(pid: i32, mask: &[u64]) -> Result<()> {
    // SAFETY: pointer and size in bytes of one live slice; the kernel only reads it.
    match unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(mask), mask.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::SchedAffinity)),
    }
}

/// set_mempolicy(2): `mode` with its flags, bit n of the words is node n.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<()> {
    // The kernel counts one bit more than it reads.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let pointer = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the kernel reads `bits - 1` bits, which is the whole live slice, or nothing.
    match unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::SetMempolicy)),
    }
}

/// ioprio_set(2) of ourselves.
pub fn set_io_priority(class: u32, level: u32) -> Result<()> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: numbers only.
    match unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << 13 | level) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::Ioprio)),
    }
}

/// Transparent huge pages as the system has them: a caller may have switched them off for all its descendants.
pub fn allow_huge_pages() -> Result<()> {
    // SAFETY: numbers only; unused arguments are zero as required.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 0u64, 0u64, 0u64, 0u64) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::Prctl).about("PR_SET_THP_DISABLE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_reads_our_structs() {
        let before = scheduler().unwrap();
        set_scheduler(&before).unwrap();
        assert_eq!(scheduler().unwrap(), before);
        let bad = Attributes { policy: 77, ..Attributes::default() };
        assert_eq!(set_scheduler(&bad).unwrap_err().errno, super::super::Errno::EINVAL);
    }

    #[test]
    fn an_empty_mask_is_refused() {
        assert_eq!(set_affinity(0, &[0]).unwrap_err().errno, super::super::Errno::EINVAL);
        set_affinity(0, &[!0; 16]).unwrap();
        // A kernel of one node needn't have the call.
        assert!(set_memory_policy(0, &[]).map_or_else(|e| e.errno == super::super::Errno::ENOSYS, |()| true));
    }
}
