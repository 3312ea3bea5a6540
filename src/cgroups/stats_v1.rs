//! The counters of one v1 hierarchy.

use crate::sys;

use super::stats::{BlockEntry, CpuSet, HugePages, MemoryEntry, Stats, cpu_list, of, table};
use super::tree::Tree;

/// Nanoseconds of a clock tick in cpuacct.stat.
const TICK: u64 = 10_000_000;

/// Adds what this hierarchy counts.
pub(super) fn read(tree: &Tree, stats: &mut Stats) -> sys::Result<()> {
    for controller in &tree.place.controllers {
        match controller.as_str() {
            "cpu" => cpu(tree, stats)?,
            "cpuacct" => cpuacct(tree, stats)?,
            "cpuset" => stats.cpuset = cpuset(tree)?,
            "memory" => memory(tree, stats)?,
            "pids" => {
                stats.pids.current = tree.number("pids.current")?;
                let limit = tree.number("pids.max")?;
                stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
            }
            "blkio" => block(tree, stats)?,
            "hugetlb" => {
                for size in tree.between("hugetlb.", ".limit_in_bytes")? {
                    if size.ends_with(".rsvd") {
                        continue;
                    }
                    let number = |what: &str| tree.number(&format!("hugetlb.{size}.{what}"));
                    let (usage, max, failcnt) =
                        (number("usage_in_bytes")?, number("max_usage_in_bytes")?, number("failcnt")?);
                    stats.hugetlb.insert(size.clone(), HugePages { usage, max, failcnt });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn cpu(tree: &Tree, stats: &mut Stats) -> sys::Result<()> {
    let text = tree.text("cpu.stat")?.unwrap_or_default();
    let throttling = &mut stats.cpu.throttling;
    throttling.periods = of(&text, "nr_periods");
    throttling.throttled_periods = of(&text, "nr_throttled");
    throttling.throttled_time = of(&text, "throttled_time");
    Ok(())
}

fn cpuacct(tree: &Tree, stats: &mut Stats) -> sys::Result<()> {
    let usage = &mut stats.cpu.usage;
    let numbers = |text: Option<String>| -> Vec<u64> {
        text.unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect()
    };
    usage.total = tree.number("cpuacct.usage")?;
    usage.percpu = numbers(tree.text("cpuacct.usage_percpu")?);
    usage.percpu_user = numbers(tree.text("cpuacct.usage_percpu_user")?);
    usage.percpu_kernel = numbers(tree.text("cpuacct.usage_percpu_sys")?);
    // The exact counters where the kernel has them, else ticks.
    let text = tree.text("cpuacct.stat")?.unwrap_or_default();
    (usage.user, usage.kernel) = (of(&text, "user") * TICK, of(&text, "system") * TICK);
    if !usage.percpu_user.is_empty() {
        (usage.user, usage.kernel) = (usage.percpu_user.iter().sum(), usage.percpu_kernel.iter().sum());
    }
    Ok(())
}

fn cpuset(tree: &Tree) -> sys::Result<CpuSet> {
    let number = |name: &str| tree.number(&format!("cpuset.{name}"));
    Ok(CpuSet {
        cpus: cpu_list(&tree.text("cpuset.cpus")?.unwrap_or_default()),
        cpu_exclusive: number("cpu_exclusive")?,
        mems: cpu_list(&tree.text("cpuset.mems")?.unwrap_or_default()),
        mem_hardwall: number("mem_hardwall")?,
        mem_exclusive: number("mem_exclusive")?,
        memory_migrate: number("memory_migrate")?,
        memory_spread_page: number("memory_spread_page")?,
        memory_spread_slab: number("memory_spread_slab")?,
        memory_pressure: number("memory_pressure")?,
        sched_load_balance: number("sched_load_balance")?,
        sched_relax_domain_level: tree
            .text("cpuset.sched_relax_domain_level")?
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0),
    })
}

fn memory(tree: &Tree, stats: &mut Stats) -> sys::Result<()> {
    let entry = |name: &str| -> sys::Result<MemoryEntry> {
        let number = |what: &str| tree.number(&format!("{name}.{what}"));
        Ok(MemoryEntry {
            limit: number("limit_in_bytes")?,
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        })
    };
    let memory = &mut stats.memory;
    memory.raw = table(&tree.text("memory.stat")?.unwrap_or_default());
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = entry("memory")?;
    memory.swap = entry("memory.memsw")?;
    memory.kernel = entry("memory.kmem")?;
    memory.kernel_tcp = entry("memory.kmem.tcp")?;
    Ok(())
}

fn block(tree: &Tree, stats: &mut Stats) -> sys::Result<()> {
    let entries = |files: &[&str]| -> sys::Result<Vec<BlockEntry>> {
        for file in files {
            let found = lines(&tree.text(file)?.unwrap_or_default());
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    };
    let block = &mut stats.blkio;
    // What an I/O scheduler counts is more exact than what the throttle sees; without one there is the latter.
    let bytes = ["blkio.bfq.io_service_bytes_recursive", "blkio.io_service_bytes_recursive"];
    block.bytes = entries(&[bytes[0], bytes[1], "blkio.throttle.io_service_bytes_recursive"])?;
    let operations = ["blkio.bfq.io_serviced_recursive", "blkio.io_serviced_recursive"];
    block.operations = entries(&[operations[0], operations[1], "blkio.throttle.io_serviced_recursive"])?;
    block.queued = entries(&["blkio.bfq.io_queued_recursive", "blkio.io_queued_recursive"])?;
    block.service_time = entries(&["blkio.bfq.io_service_time_recursive", "blkio.io_service_time_recursive"])?;
    block.wait_time = entries(&["blkio.bfq.io_wait_time_recursive", "blkio.io_wait_time_recursive"])?;
    block.merged = entries(&["blkio.bfq.io_merged_recursive", "blkio.io_merged_recursive"])?;
    block.time = entries(&["blkio.bfq.time_recursive", "blkio.time_recursive"])?;
    block.sectors = entries(&["blkio.bfq.sectors_recursive", "blkio.sectors_recursive"])?;
    Ok(())
}

/// `8:0 Read 4096` or `8:0 4096`; the line of sums at the end is none.
fn lines(text: &str) -> Vec<BlockEntry> {
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (major, minor) = words.first()?.split_once(':')?;
        let (op, value) = match words[1..] {
            [value] => ("", value),
            [op, value] => (op, value),
            _ => return None,
        };
        Some(BlockEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_counters_have_one_line_for_each_device_and_operation() {
        let found = lines("8:0 Read 4096\n8:0 Total 4096\n254:3 77\nTotal 4096\n");
        assert_eq!(found.len(), 3);
        assert_eq!(found[0], BlockEntry { major: 8, minor: 0, op: "Read".into(), value: 4096 });
        assert_eq!(found[2], BlockEntry { major: 254, minor: 3, op: String::new(), value: 77 });
    }
}
