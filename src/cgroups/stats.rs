//! What a container has used, read from its cgroups: one model for both hierarchies, in the shape that `events --stats`
//! prints. A file that this kernel or this hierarchy does not have is a zero, as with runc.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::sys::{self, cgroup};

use super::apply::Cgroup;
use super::place::Version;
use super::tree::{Tree, gone, number_of};

/// Everything that is counted.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    /// CPU time.
    pub cpu: Cpu,
    /// CPUs and memory nodes it may use.
    pub cpuset: CpuSet,
    /// Memory.
    pub memory: Memory,
    /// Processes.
    pub pids: Pids,
    /// Block devices.
    pub blkio: BlockIo,
    /// Huge pages, by size.
    pub hugetlb: BTreeMap<String, HugePages>,
    /// Nothing is measured through Intel RDT; readers want the object.
    pub intel_rdt: BTreeMap<String, ()>,
    /// Network interfaces; for who knows the network namespace to fill in.
    pub network_interfaces: Option<Vec<Interface>>,
}

/// CPU time.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)] // the names are the documentation: they are what is printed
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// In nanoseconds.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// How often its quota held it back.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// The cpuset files.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// One counter with its limit. No limit is the largest number.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Memory.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Memory and swap together, on both hierarchies.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Processes. A limit of 0 is none.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// One number about one block device.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct BlockEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Block devices.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct BlockIo {
    #[serde(rename = "ioServiceBytesRecursive", skip_serializing_if = "Vec::is_empty")]
    pub bytes: Vec<BlockEntry>,
    #[serde(rename = "ioServicedRecursive", skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<BlockEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub queued: Vec<BlockEntry>,
    #[serde(rename = "ioServiceTimeRecursive", skip_serializing_if = "Vec::is_empty")]
    pub service_time: Vec<BlockEntry>,
    #[serde(rename = "ioWaitTimeRecursive", skip_serializing_if = "Vec::is_empty")]
    pub wait_time: Vec<BlockEntry>,
    #[serde(rename = "ioMergedRecursive", skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<BlockEntry>,
    #[serde(rename = "ioTimeRecursive", skip_serializing_if = "Vec::is_empty")]
    pub time: Vec<BlockEntry>,
    #[serde(rename = "sectorsRecursive", skip_serializing_if = "Vec::is_empty")]
    pub sectors: Vec<BlockEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Huge pages of one size, in bytes.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct HugePages {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// Pressure stall information.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

/// Shares of the last 10, 60 and 300 seconds, and microseconds in all.
#[derive(Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

/// One network interface, as the container sees it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct Interface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Cgroup {
    /// Reads all counters.
    pub fn stats(&self) -> sys::Result<Stats> {
        let mut stats = Stats::default();
        let v2 = self.ours().find(|t| t.is_v2());
        for tree in self.ours().filter(|t| t.place.version == Version::V1) {
            super::stats_v1::read(tree, &mut stats)?;
        }
        if let Some(tree) = v2 {
            // What a v1 hierarchy counts is not counted here.
            let only = self.ours().count() == 1;
            super::stats_v2::read(tree, only, &mut stats)?;
        }
        Ok(stats)
    }
}

impl Tree {
    /// The text of a file; none if there is no such file here.
    pub(super) fn text(&self, file: &str) -> sys::Result<Option<String>> {
        match self.read(file) {
            Ok(text) => Ok(Some(text)),
            Err(e) if gone(&e) || e.errno == sys::Errno::EOPNOTSUPP => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The number in a file: `max` is the largest, nothing is 0.
    pub(super) fn number(&self, file: &str) -> sys::Result<u64> {
        let text = self.text(file)?.unwrap_or_default();
        Ok(if text.trim() == "max" { u64::MAX } else { text.trim().parse().unwrap_or(0) })
    }

    /// The files of the directory whose names begin and end so: what stands between.
    pub(super) fn between(&self, begin: &str, end: &str) -> sys::Result<Vec<String>> {
        let dir = cgroup::open_dir(self.mount(), &self.place.path)?;
        let names = sys::fs::names(&dir)?;
        Ok(names.iter().filter_map(|n| n.strip_prefix(begin)?.strip_suffix(end)).map(str::to_owned).collect())
    }
}

/// `key value` lines as a map.
pub(super) fn table(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| line.split_once(' ').and_then(|(k, v)| Some((k.to_owned(), v.trim().parse().ok()?)));
    text.lines().filter_map(pair).collect()
}

/// The value of `key` among `key value` lines, or 0.
pub(super) fn of(text: &str, key: &str) -> u64 {
    number_of(text, key).unwrap_or(0)
}

/// `0-3,7` → 0, 1, 2, 3, 7.
pub(super) fn cpu_list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// A `*.pressure` file.
pub(super) fn pressure(text: &str) -> Pressure {
    let stall = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
        let field = |key: &str| line.split_whitespace().find_map(|f| f.strip_prefix(key)?.strip_prefix('='));
        let float = |key: &str| field(key).and_then(|v| v.parse().ok()).unwrap_or(0.0);
        let total = field("total").and_then(|v| v.parse().ok()).unwrap_or(0);
        Stall { avg10: float("avg10"), avg60: float("avg60"), avg300: float("avg300"), total }
    };
    Pressure { some: stall("some"), full: stall("full") }
}

/// /proc/PID/net/dev, without the loopback.
pub fn interfaces(text: &str) -> Vec<Interface> {
    let interface = |line: &str| {
        let (name, counters) = line.split_once(':')?;
        let n: Vec<u64> = counters.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
        let at = |index: usize| n.get(index).copied().unwrap_or(0);
        Some(Interface {
            name: name.trim().to_owned(),
            rx_bytes: at(0),
            rx_packets: at(1),
            rx_errors: at(2),
            rx_dropped: at(3),
            tx_bytes: at(8),
            tx_packets: at(9),
            tx_errors: at(10),
            tx_dropped: at(11),
        })
    };
    text.lines().skip(2).filter_map(interface).filter(|i| i.name != "lo").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_formats_are_read() {
        assert_eq!(cpu_list("0-2,7\n"), [0, 1, 2, 7]);
        assert_eq!(cpu_list("\n"), Vec::<u16>::new());
        let psi = pressure(
            "some avg10=1.50 avg60=0.20 avg300=0.01 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
        );
        assert_eq!(psi.some, Stall { avg10: 1.5, avg60: 0.2, avg300: 0.01, total: 77 });
        assert_eq!(psi.full.total, 5);
        let dev = "Inter-| Receive\n face |bytes\n    lo: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n  eth0: 10 20 30 40 0 0 0 0 50 60 70 80 0 0 0 0\n";
        let found = interfaces(dev);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].rx_dropped, found[0].tx_bytes), ("eth0", 40, 50));
    }

    #[test]
    fn what_nobody_counts_is_printed_as_runc_prints_it() {
        let empty = serde_json::to_string(&Stats::default()).unwrap();
        assert!(
            empty.starts_with(r#"{"cpu":{"usage":{"kernel":0,"user":0},"throttling":{}},"cpuset":{"cpu_exclusive":0,"#)
        );
        assert!(empty.contains(r#""memory":{"usage":{"limit":0,"failcnt":0},"swap":{"limit":0,"failcnt":0},"#));
        assert!(empty.ends_with(r#""pids":{},"blkio":{},"hugetlb":{},"intel_rdt":{},"network_interfaces":null}"#));
    }
}
