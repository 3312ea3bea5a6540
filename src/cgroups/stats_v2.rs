//! The counters of the unified hierarchy.

use crate::sys;

use super::stats::{BlockEntry, HugePages, MemoryEntry, Stats, cpu_list, of, pressure, table};
use super::tree::Tree;

/// Adds what the v2 tree counts. On a hybrid host (`only` is false) it is asked for the controllers that it has alone.
pub(super) fn read(tree: &Tree, only: bool, stats: &mut Stats) -> sys::Result<()> {
    let has = |controller: &str| only || tree.place.controllers.iter().any(|c| c == controller);
    if has("cpu") {
        cpu(tree, stats)?;
    }
    if has("cpuset") {
        stats.cpuset.cpus = cpu_list(&tree.text("cpuset.cpus.effective")?.unwrap_or_default());
        stats.cpuset.mems = cpu_list(&tree.text("cpuset.mems.effective")?.unwrap_or_default());
    }
    if has("memory") {
        memory(tree, stats)?;
    }
    if has("pids") {
        stats.pids.current = tree.number("pids.current")?;
        let limit = tree.number("pids.max")?;
        stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
    }
    if has("io") {
        (stats.blkio.bytes, stats.blkio.operations) = io(&tree.text("io.stat")?.unwrap_or_default());
    }
    if has("hugetlb") {
        for size in tree.between("hugetlb.", ".current")?.into_iter().filter(|size| !size.ends_with(".rsvd")) {
            let events = tree.text(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
            let usage = tree.number(&format!("hugetlb.{size}.current"))?;
            stats.hugetlb.insert(size, HugePages { usage, max: 0, failcnt: of(&events, "max") });
        }
    }
    // Pressure is counted without any controller.
    stats.cpu.psi = tree.text("cpu.pressure")?.map(|text| pressure(&text));
    stats.memory.psi = tree.text("memory.pressure")?.map(|text| pressure(&text));
    stats.blkio.psi = tree.text("io.pressure")?.map(|text| pressure(&text));
    Ok(())
}

fn cpu(tree: &Tree, stats: &mut Stats) -> sys::Result<()> {
    let text = tree.text("cpu.stat")?.unwrap_or_default();
    let nanoseconds = |key: &str| of(&text, key) * 1000;
    let (usage, throttling) = (&mut stats.cpu.usage, &mut stats.cpu.throttling);
    (usage.total, usage.user, usage.kernel) =
        (nanoseconds("usage_usec"), nanoseconds("user_usec"), nanoseconds("system_usec"));
    throttling.periods = of(&text, "nr_periods");
    throttling.throttled_periods = of(&text, "nr_throttled");
    throttling.throttled_time = nanoseconds("throttled_usec");
    Ok(())
}

fn memory(tree: &Tree, stats: &mut Stats) -> sys::Result<()> {
    let memory = &mut stats.memory;
    memory.raw = table(&tree.text("memory.stat")?.unwrap_or_default());
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    let events = tree.text("memory.events")?.unwrap_or_default();
    let (current, limit) = (tree.number("memory.current")?, tree.number("memory.max")?);
    memory.usage = MemoryEntry { limit, usage: current, max: tree.number("memory.peak")?, failcnt: of(&events, "max") };
    let (swap, swap_limit) = (tree.number("memory.swap.current")?, tree.number("memory.swap.max")?);
    // Readers know memory and swap together, as v1 counts them.
    memory.swap = MemoryEntry {
        limit: limit.saturating_add(swap_limit),
        usage: current.saturating_add(swap),
        max: 0,
        failcnt: of(&tree.text("memory.swap.events")?.unwrap_or_default(), "max"),
    };
    memory.kernel.usage = memory.raw.get("kernel").copied().unwrap_or(0);
    Ok(())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6` → bytes and operations.
fn io(text: &str) -> (Vec<BlockEntry>, Vec<BlockEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let Some((device, fields)) = line.split_once(' ') else { continue };
        let Some((major, minor)) = device.split_once(':') else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for field in fields.split_whitespace() {
            let Some((key, value)) = field.split_once('=') else { continue };
            let (list, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "dbytes" => (&mut bytes, "Discard"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                "dios" => (&mut operations, "Discard"),
                _ => continue,
            };
            list.push(BlockEntry { major, minor, op: op.to_owned(), value: value.parse().unwrap_or(0) });
        }
    }
    (bytes, operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_io_stat_is_bytes_and_operations() {
        let (bytes, operations) = io("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:1 \n");
        assert_eq!([bytes.len(), operations.len()], [3, 3]);
        assert_eq!(bytes[1], BlockEntry { major: 8, minor: 0, op: "Write".into(), value: 2 });
        assert_eq!(operations[2].value, 6);
    }
}
