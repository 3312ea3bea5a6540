//! The v1 hierarchies as a table: limit → controller and `file = value`. Pure.

use crate::step::Step;
use crate::sys::Errno;

use super::limits::{Amount, Asked, Flow, Limit};
use super::op::{FileValue, Op};

/// Shares that the kernel would silently round.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// The hierarchy that has this limit; none if v1 never had it.
pub(super) fn controller(limit: &Limit) -> Option<&'static str> {
    Some(match limit {
        Limit::CpuIdle(_)
        | Limit::CpuShares(_)
        | Limit::CpuBandwidth { .. }
        | Limit::RealtimePeriod(_)
        | Limit::RealtimeRuntime(_) => "cpu",
        Limit::Cpus(_) | Limit::Mems(_) => "cpuset",
        Limit::Memory { .. }
        | Limit::MemoryReservation(_)
        | Limit::MemoryTcp(_)
        | Limit::Swappiness(_)
        | Limit::NoOomKiller => "memory",
        Limit::Pids(_) => "pids",
        Limit::BlockWeight(_)
        | Limit::BlockLeafWeight(_)
        | Limit::DiskWeight(..)
        | Limit::DiskLeafWeight(..)
        | Limit::Throttle(..) => "blkio",
        Limit::HugePages { .. } => "hugetlb",
        Limit::NetClass(_) => "net_cls",
        Limit::NetPriority { .. } => "net_prio",
        Limit::Rdma { .. } => "rdma",
        Limit::Unified { .. } => return None,
    })
}

/// The steps that set `asked` in `tree`, or why it cannot be.
pub(super) fn steps(tree: usize, asked: &Asked) -> Result<Vec<Step<Op>>, String> {
    let step = |op| Step::asked(asked.pointer.clone(), op);
    let write = |file: &str, value: String| step(Op::Write { tree, write: FileValue::new(file, value) });
    Ok(match &asked.limit {
        // A kernel before 5.15 has no idle groups: not idle is what it does anyway.
        Limit::CpuIdle(false) => vec![write("cpu.idle", "0".to_owned()).tolerating(&[Errno::ENOENT])],
        Limit::CpuIdle(true) => vec![write("cpu.idle", "1".to_owned())],
        Limit::CpuShares(n) if !SHARES.contains(n) => return Err(format!("expected 2 to 262144, got {n}")),
        Limit::CpuShares(n) => vec![write("cpu.shares", n.to_string())],
        Limit::CpuBandwidth { quota, period, burst } => {
            let mut writes = Vec::new();
            writes.extend(period.map(|n| FileValue::new("cpu.cfs_period_us", n)));
            writes.extend(quota.map(|q| FileValue::new("cpu.cfs_quota_us", q.v1())));
            // Burst last: it may not exceed the quota.
            writes.extend(burst.map(|n| FileValue::new("cpu.cfs_burst_us", n)));
            vec![step(together(tree, writes))]
        }
        Limit::RealtimePeriod(n) => vec![write("cpu.rt_period_us", n.to_string())],
        Limit::RealtimeRuntime(n) => vec![write("cpu.rt_runtime_us", n.to_string())],
        Limit::Cpus(list) => vec![write("cpuset.cpus", list.clone())],
        Limit::Mems(list) => vec![write("cpuset.mems", list.clone())],
        Limit::Memory { limit, swap } => memory(tree, &step, *limit, *swap),
        Limit::MemoryReservation(amount) => vec![write("memory.soft_limit_in_bytes", amount.v1())],
        Limit::MemoryTcp(amount) => vec![write("memory.kmem.tcp.limit_in_bytes", amount.v1())],
        Limit::Swappiness(n) => vec![write("memory.swappiness", n.to_string())],
        Limit::NoOomKiller => vec![write("memory.oom_control", "1".to_owned())],
        Limit::Pids(amount) => vec![write("pids.max", amount.v2())], // the one v1 file that says "max"
        Limit::BlockWeight(w) => vec![step(either(tree, ["blkio.weight", "blkio.bfq.weight"], w))],
        Limit::BlockLeafWeight(w) => vec![write("blkio.leaf_weight", w.to_string())],
        Limit::DiskWeight(disk, w) => {
            vec![step(either(tree, ["blkio.weight_device", "blkio.bfq.weight_device"], format!("{disk} {w}")))]
        }
        Limit::DiskLeafWeight(disk, w) => vec![write("blkio.leaf_weight_device", format!("{disk} {w}"))],
        Limit::Throttle(flow, disk, rate) => {
            let file = match flow {
                Flow::ReadBytes => "blkio.throttle.read_bps_device",
                Flow::WriteBytes => "blkio.throttle.write_bps_device",
                Flow::ReadOps => "blkio.throttle.read_iops_device",
                Flow::WriteOps => "blkio.throttle.write_iops_device",
            };
            vec![write(file, format!("{disk} {rate}"))]
        }
        Limit::HugePages { size, limit } => vec![
            // Reservations are counted apart since 5.7; an older kernel has only the second file.
            write(&format!("hugetlb.{size}.rsvd.limit_in_bytes"), limit.to_string()).tolerating(&[Errno::ENOENT]),
            write(&format!("hugetlb.{size}.limit_in_bytes"), limit.to_string()),
        ],
        Limit::NetClass(n) => vec![write("net_cls.classid", n.to_string())],
        Limit::NetPriority { interface, priority } => {
            vec![write("net_prio.ifpriomap", format!("{interface} {priority}"))]
        }
        Limit::Rdma { device, handles, objects } => vec![write("rdma.max", rdma(device, *handles, *objects))],
        Limit::Unified { .. } => return Err("only the cgroup v2 hierarchy has such files".to_owned()),
    })
}

/// Memory before memory and swap: that is the order a new cgroup wants; an update may want the other.
fn memory(tree: usize, step: &dyn Fn(Op) -> Step<Op>, limit: Option<Amount>, swap: Option<Amount>) -> Vec<Step<Op>> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    if limit == Some(Amount::Max) && swap.is_none() {
        // No limit on memory means none on memory and swap either; without swap accounting there is none to lift.
        let lift = Op::Write { tree, write: FileValue::new(SWAP, "-1") };
        let open = Op::Write { tree, write: FileValue::new(LIMIT, "-1") };
        return vec![step(lift).tolerating(&[Errno::ENOENT]), step(open)];
    }
    let writes = [limit.map(|a| FileValue::new(LIMIT, a.v1())), swap.map(|a| FileValue::new(SWAP, a.v1()))];
    vec![step(together(tree, writes.into_iter().flatten().collect()))]
}

fn together(tree: usize, mut writes: Vec<FileValue>) -> Op {
    match writes.len() {
        1 => Op::Write { tree, write: writes.remove(0) },
        _ => Op::Together { tree, writes },
    }
}

fn either(tree: usize, files: [&str; 2], value: impl ToString) -> Op {
    Op::FirstOf { tree, choices: files.map(|file| FileValue::new(file, value.to_string())).to_vec() }
}

/// One line of rdma.max; the same on both hierarchies.
pub(super) fn rdma(device: &str, handles: Option<u32>, objects: Option<u32>) -> String {
    let mut line = device.to_owned();
    if let Some(n) = handles {
        line += &format!(" hca_handle={n}");
    }
    if let Some(n) = objects {
        line += &format!(" hca_object={n}");
    }
    line
}
