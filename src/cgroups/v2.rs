//! The v2 hierarchy as a table: limit → controller and `file = value`, with the conversions of v1's units. Pure.

use crate::step::Step;
use crate::sys::Errno;

use super::limits::{Amount, Asked, Flow, Limit, Purpose};
use super::op::{FileValue, Op};

/// The controller that has this limit; none if v2 has no such thing.
pub(super) fn controller(limit: &Limit) -> Option<&str> {
    Some(match limit {
        Limit::CpuIdle(_) | Limit::CpuShares(_) | Limit::CpuBandwidth { .. } => "cpu",
        Limit::Cpus(_) | Limit::Mems(_) => "cpuset",
        Limit::Memory { .. } | Limit::MemoryReservation(_) => "memory",
        Limit::Pids(_) => "pids",
        Limit::BlockWeight(_) | Limit::DiskWeight(..) | Limit::Throttle(..) => "io",
        Limit::HugePages { .. } => "hugetlb",
        Limit::Rdma { .. } => "rdma",
        Limit::Unified { file, .. } => file.split('.').next()?,
        Limit::RealtimePeriod(_)
        | Limit::RealtimeRuntime(_)
        | Limit::MemoryTcp(_)
        | Limit::Swappiness(_)
        | Limit::NoOomKiller
        | Limit::BlockLeafWeight(_)
        | Limit::DiskLeafWeight(..)
        | Limit::NetClass(_)
        | Limit::NetPriority { .. } => return None,
    })
}

/// Not a limit but a preference, so that a container without it still keeps to everything it was given.
pub(super) fn may_be_left_out(limit: &Limit) -> bool {
    matches!(limit, Limit::MemoryTcp(_) | Limit::Swappiness(_) | Limit::NoOomKiller)
}

/// The steps that set `asked` in `tree`, or why it cannot be.
pub(super) fn steps(tree: usize, asked: &Asked, purpose: Purpose) -> Result<Vec<Step<Op>>, String> {
    let step = |op| Step::asked(asked.pointer.clone(), op);
    let write = |file: &str, value: String| step(Op::Write { tree, write: FileValue::new(file, value) });
    Ok(match &asked.limit {
        // A kernel before 5.15 has no idle groups: not idle is what it does anyway.
        Limit::CpuIdle(false) => vec![write("cpu.idle", "0".to_owned()).tolerating(&[Errno::ENOENT])],
        Limit::CpuIdle(true) => vec![write("cpu.idle", "1".to_owned())],
        Limit::CpuShares(n) => vec![write("cpu.weight", weight_of_shares(*n).to_string())],
        Limit::CpuBandwidth { quota, period, burst } => bandwidth(tree, &step, *quota, *period, *burst, purpose),
        Limit::Cpus(list) => vec![write("cpuset.cpus", list.clone())],
        Limit::Mems(list) => vec![write("cpuset.mems", list.clone())],
        Limit::Memory { limit, swap } => memory(&write, *limit, *swap)?,
        Limit::MemoryReservation(amount) => vec![write("memory.low", amount.v2())],
        Limit::Pids(amount) => vec![write("pids.max", amount.v2())],
        Limit::BlockWeight(w) => vec![step(Op::FirstOf {
            tree,
            choices: vec![FileValue::new("io.bfq.weight", w), FileValue::new("io.weight", weight_of_block_weight(*w))],
        })],
        Limit::DiskWeight(disk, w) => vec![step(Op::FirstOf {
            tree,
            choices: vec![
                FileValue::new("io.bfq.weight", format!("{disk} {w}")),
                FileValue::new("io.weight", format!("{disk} {}", weight_of_block_weight(*w))),
            ],
        })],
        Limit::Throttle(flow, disk, rate) => {
            let key = match flow {
                Flow::ReadBytes => "rbps",
                Flow::WriteBytes => "wbps",
                Flow::ReadOps => "riops",
                Flow::WriteOps => "wiops",
            };
            // 0 lifts the limit on v1; here the word for that is max.
            let rate = if *rate == 0 { Amount::Max } else { Amount::Of(*rate) };
            vec![write("io.max", format!("{disk} {key}={}", rate.v2()))]
        }
        Limit::HugePages { size, limit } => vec![
            // Reservations are counted apart since 5.7; an older kernel has only the second file.
            write(&format!("hugetlb.{size}.rsvd.max"), limit.to_string()).tolerating(&[Errno::ENOENT]),
            write(&format!("hugetlb.{size}.max"), limit.to_string()),
        ],
        Limit::Rdma { device, handles, objects } => {
            vec![write("rdma.max", super::v1::rdma(device, *handles, *objects))]
        }
        // A file takes one entry per write, a config may list several.
        Limit::Unified { file, value } => {
            value.lines().filter(|l| !l.trim().is_empty()).map(|line| write(file, line.trim().to_owned())).collect()
        }
        _ => return Err("cgroup v2 has no such limit".to_owned()),
    })
}

fn bandwidth(
    tree: usize,
    step: &dyn Fn(Op) -> Step<Op>,
    quota: Option<Amount>,
    period: Option<u64>,
    burst: Option<u64>,
    purpose: Purpose,
) -> Vec<Step<Op>> {
    let max = match (quota, period) {
        (Some(quota), Some(period)) => Some(format!("{} {period}", quota.v2())),
        // The kernel keeps the period by itself …
        (Some(quota), None) => Some(quota.v2()),
        // … but not the quota; a new cgroup has none.
        (None, Some(period)) if purpose != Purpose::Update => Some(format!("max {period}")),
        _ => None,
    };
    let mut writes: Vec<FileValue> = max.map(|value| FileValue::new("cpu.max", value)).into_iter().collect();
    // Burst last: it may not exceed the quota.
    writes.extend(burst.map(|n| FileValue::new("cpu.max.burst", n)));
    let mut steps = Vec::new();
    if let (None, Some(period), Purpose::Update) = (quota, period, purpose) {
        steps.push(step(Op::Period { tree, period }));
    }
    match writes.len() {
        0 => {}
        1 => steps.push(step(Op::Write { tree, write: writes.remove(0) })),
        _ => steps.push(step(Op::Together { tree, writes })),
    }
    steps
}

/// The config counts memory and swap together, v2 counts swap alone.
fn memory(
    write: &dyn Fn(&str, String) -> Step<Op>,
    limit: Option<Amount>,
    swap: Option<Amount>,
) -> Result<Vec<Step<Op>>, String> {
    let swap = match (limit, swap) {
        (_, Some(Amount::Max)) | (Some(Amount::Max), None) => Some(Amount::Max),
        (Some(Amount::Of(limit)), Some(Amount::Of(both))) => Some(Amount::Of(both.saturating_sub(limit))),
        (None, Some(Amount::Of(_))) => {
            return Err("cgroup v2 limits swap alone, so memory.swap needs memory.limit beside it".to_owned());
        }
        (_, None) | (Some(Amount::Max), Some(Amount::Of(_))) => None,
    };
    let mut steps = Vec::new();
    if let Some(swap) = swap {
        let step = write("memory.swap.max", swap.v2());
        // Without swap accounting there is no file: no swap limit is what it has, and no swap what it mostly has.
        let harmless = matches!(swap, Amount::Max | Amount::Of(0));
        steps.push(if harmless { step.tolerating(&[Errno::ENOENT]) } else { step });
    }
    steps.extend(limit.map(|limit| write("memory.max", limit.v2())));
    Ok(steps)
}

/// v1 shares (2 … 262144, default 1024) → v2 weight (1 … 10000, default 100): a quadratic curve, on logarithmic scales,
/// through those three points, as runc ≥ 1.3.2 and crun ≥ 1.23 draw it.
fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// 10 … 1000 of the block layer → 1 … 10000 of io.weight, as a straight line.
fn weight_of_block_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_as_in_runc_1_3_2() {
        // The three points of the curve, and what the published formula gives between them.
        for (shares, weight) in [
            (1, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (102, 17),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (10_240, 639),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight_of_shares(shares), weight, "{shares}");
        }
    }

    #[test]
    fn the_curve_never_falls() {
        let mut last = 0;
        for shares in 2..=262_144 {
            let weight = weight_of_shares(shares);
            assert!(weight >= last && (1..=10_000).contains(&weight), "{shares}: {weight} after {last}");
            last = weight;
        }
    }

    #[test]
    fn block_weights_become_io_weights() {
        for (block, io) in [(10, 1), (100, 910), (500, 4950), (1000, 10_000)] {
            assert_eq!(weight_of_block_weight(block), io, "{block}");
        }
    }
}
