//! `linux.resources` → limits: what is asked for, in our own words, whatever the hierarchy. Pure.
//!
//! Zeros are read as engines mean them: "leave as it is" (blockIO.weight 0, cpu.shares 0, memory.limit 0 …). A
//! `pids.limit` of 0 is a limit, as the specification says; except when podman asks, which makes that of
//! `--pids-limit -1`. Devices are elsewhere (`devices.rs`).

use std::collections::HashMap;
use std::fmt;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxRdma, LinuxResources,
    LinuxThrottleDevice, Spec,
};

use crate::error::ConfigError;

/// What the limits are for: a few zeros and defaults mean something else to a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The cgroup is new: what is not set has the kernel's default.
    Create {
        /// What a `pids.limit` of 0 is.
        no_pids: NoPids,
    },
    /// The container runs: what is not set stays.
    Update,
}

/// What a `pids.limit` of 0 means to whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPids {
    /// That nothing may be forked.
    Limit,
    /// That there is no limit.
    Unlimited,
}

impl NoPids {
    /// By the letter (`strict`) always a limit; otherwise what the manager that wrote the config means by it.
    pub(super) fn of(spec: &Spec, strict: bool) -> Self {
        let manager = spec.annotations().as_ref().and_then(|all| all.get(MANAGER));
        match manager.map(String::as_str) {
            Some(PODMAN) if !strict => NoPids::Unlimited,
            _ => NoPids::Limit,
        }
    }
}

/// The annotation in which a manager names itself.
const MANAGER: &str = "io.container.manager";
/// As podman does.
const PODMAN: &str = "libpod";

/// A number, or no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// No limit.
    Max,
    /// The limit.
    Of(u64),
}

impl Amount {
    /// As the v1 files want it.
    pub(super) fn v1(self) -> String {
        match self {
            Amount::Max => "-1".to_owned(),
            Amount::Of(n) => n.to_string(),
        }
    }

    /// As the v2 files want it.
    pub(super) fn v2(self) -> String {
        match self {
            Amount::Max => "max".to_owned(),
            Amount::Of(n) => n.to_string(),
        }
    }
}

/// A block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// Its major number.
    pub(super) major: u32,
    /// Its minor number.
    pub(super) minor: u32,
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// Which flow of a block device is throttled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    ReadBytes,
    WriteBytes,
    ReadOps,
    WriteOps,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    CpuIdle(bool),
    CpuShares(u64),
    CpuBandwidth { quota: Option<Amount>, period: Option<u64>, burst: Option<u64> },
    RealtimePeriod(u64),
    RealtimeRuntime(i64),
    Cpus(String),
    Mems(String),
    Memory { limit: Option<Amount>, swap: Option<Amount> },
    MemoryReservation(Amount),
    MemoryTcp(Amount),
    Swappiness(u64),
    NoOomKiller,
    Pids(Amount),
    BlockWeight(u16),
    BlockLeafWeight(u16),
    DiskWeight(Disk, u16),
    DiskLeafWeight(Disk, u16),
    Throttle(Flow, Disk, u64),
    HugePages { size: String, limit: u64 },
    NetClass(u32),
    NetPriority { interface: String, priority: u32 },
    Rdma { device: String, handles: Option<u32>, objects: Option<u32> },
    Unified { file: String, value: String },
}

/// A limit, and the config field that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) pointer: String,
    pub(super) limit: Limit,
}

/// Collects limits, complaints and warnings below one config pointer.
pub(super) struct Limits<'a> {
    base: &'a str,
    purpose: Purpose,
    pub(super) asked: Vec<Asked>,
    pub(super) warnings: Vec<ConfigError>,
    complaints: &'a mut Vec<ConfigError>,
}

/// Everything but the devices. `base` is the pointer of `resources` itself.
pub(super) fn read<'a>(
    resources: &LinuxResources,
    base: &'a str,
    purpose: Purpose,
    complaints: &'a mut Vec<ConfigError>,
) -> (Vec<Asked>, Vec<ConfigError>) {
    let mut limits = Limits { base, purpose, asked: Vec::new(), warnings: Vec::new(), complaints };
    if let Some(memory) = resources.memory() {
        limits.memory(memory);
    }
    if let Some(cpu) = resources.cpu() {
        limits.cpu(cpu);
    }
    if let Some(pids) = resources.pids() {
        limits.pids(pids.limit());
    }
    if let Some(block) = resources.block_io() {
        limits.block(block);
    }
    if let Some(pages) = resources.hugepage_limits() {
        limits.huge_pages(pages);
    }
    if let Some(network) = resources.network() {
        limits.network(network);
    }
    if let Some(rdma) = resources.rdma() {
        limits.rdma(rdma);
    }
    // Last, since it is the most explicit: it may set the same file again.
    if let Some(unified) = resources.unified() {
        limits.unified(unified);
    }
    (limits.asked, limits.warnings)
}

impl Limits<'_> {
    fn ask(&mut self, field: &str, limit: Limit) {
        self.asked.push(Asked { pointer: format!("{}/{field}", self.base), limit });
    }

    fn complain(&mut self, field: &str, message: impl Into<String>) {
        self.complaints.push(ConfigError::at(format!("{}/{field}", self.base), message));
    }

    fn warn(&mut self, field: &str, message: impl Into<String>) {
        self.warnings.push(ConfigError::at(format!("{}/{field}", self.base), message));
    }

    /// -1 is no limit, 0 leaves it, other negative numbers are nothing.
    fn amount(&mut self, field: &str, value: Option<i64>) -> Option<Amount> {
        match value? {
            0 => None,
            -1 => Some(Amount::Max),
            n => match u64::try_from(n) {
                Ok(n) => Some(Amount::Of(n)),
                Err(_) => {
                    self.complain(field, format!("expected -1 (no limit) or a number of bytes, got {n}"));
                    None
                }
            },
        }
    }

    fn memory(&mut self, memory: &LinuxMemory) {
        let limit = self.amount("memory/limit", memory.limit());
        let swap = self.amount("memory/swap", memory.swap());
        match (limit, swap) {
            (None, None) => {}
            (_, None) => self.ask("memory/limit", Limit::Memory { limit, swap }),
            (Some(Amount::Of(limit)), Some(Amount::Of(swap))) if swap < limit => self.complain(
                "memory/swap",
                format!("{swap} is memory and swap together, so it cannot be below memory.limit ({limit})"),
            ),
            (Some(Amount::Max), Some(Amount::Of(swap))) => {
                self.complain("memory/swap", format!("{swap} cannot be a limit while memory.limit is none (-1)"));
            }
            (None, Some(Amount::Of(_))) if self.purpose != Purpose::Update => {
                self.complain("memory/swap", "memory and swap together cannot be limited without memory.limit");
            }
            (None, Some(_)) => self.ask("memory/swap", Limit::Memory { limit, swap }),
            (Some(_), Some(_)) => self.ask("memory/limit", Limit::Memory { limit, swap }),
        }
        if let Some(amount) = self.amount("memory/reservation", memory.reservation()) {
            self.ask("memory/reservation", Limit::MemoryReservation(amount));
        }
        #[allow(deprecated)] // the field exists in old configs, and they deserve to hear of it
        if memory.kernel().is_some_and(|n| n != 0) {
            self.warn("memory/kernel", "ignored: Linux has no separate limit for kernel memory any more");
        }
        if let Some(amount) = self.amount("memory/kernelTCP", memory.kernel_tcp()) {
            self.ask("memory/kernelTCP", Limit::MemoryTcp(amount));
        }
        match memory.swappiness() {
            None => {}
            // docker's and Go's way to write -1 in an unsigned field: leave it.
            Some(u64::MAX) => {}
            Some(n) if n <= 100 => self.ask("memory/swappiness", Limit::Swappiness(n)),
            Some(n) => self.complain("memory/swappiness", format!("expected 0 to 100, got {n}")),
        }
        if memory.disable_oom_killer() == Some(true) {
            self.ask("memory/disableOOMKiller", Limit::NoOomKiller);
        }
        if memory.use_hierarchy() == Some(false) {
            self.warn("memory/useHierarchy", "ignored: Linux accounts memory hierarchically, always");
        }
    }

    fn cpu(&mut self, cpu: &LinuxCpu) {
        // Idle before shares: an idle group has no shares to set, and a group that wakes up must wake up first.
        let mut idle = false;
        match cpu.idle() {
            None => {}
            Some(n @ (0 | 1)) => {
                idle = n == 1;
                self.ask("cpu/idle", Limit::CpuIdle(idle));
            }
            Some(n) => self.complain("cpu/idle", format!("expected 0 or 1, got {n}")),
        }
        if let Some(shares) = cpu.shares().filter(|&n| n != 0 && !idle) {
            self.ask("cpu/shares", Limit::CpuShares(shares));
        }
        let quota = cpu.quota().filter(|&n| n != 0).map(|n| u64::try_from(n).map_or(Amount::Max, Amount::Of));
        let period = cpu.period().filter(|&n| n != 0);
        let burst = cpu.burst();
        let field = if quota.is_some() {
            "cpu/quota"
        } else if period.is_some() {
            "cpu/period"
        } else {
            "cpu/burst"
        };
        if quota.is_some() || period.is_some() || burst.is_some() {
            self.ask(field, Limit::CpuBandwidth { quota, period, burst });
        }
        if let Some(period) = cpu.realtime_period().filter(|&n| n != 0) {
            self.ask("cpu/realtimePeriod", Limit::RealtimePeriod(period));
        }
        if let Some(runtime) = cpu.realtime_runtime().filter(|&n| n != 0) {
            self.ask("cpu/realtimeRuntime", Limit::RealtimeRuntime(runtime));
        }
        self.cpu_list("cpu/cpus", cpu.cpus().as_deref(), Limit::Cpus);
        self.cpu_list("cpu/mems", cpu.mems().as_deref(), Limit::Mems);
    }

    fn cpu_list(&mut self, field: &str, list: Option<&str>, limit: fn(String) -> Limit) {
        let Some(list) = list.map(str::trim).filter(|l| !l.is_empty()) else { return };
        if list.chars().all(|c| c.is_ascii_digit() || ",-:/ ".contains(c)) {
            self.ask(field, limit(list.to_owned()));
        } else {
            self.complain(field, format!("expected a list like 0-3,7, got {list:?}"));
        }
    }

    fn pids(&mut self, limit: i64) {
        match u64::try_from(limit) {
            Ok(0) if self.purpose != (Purpose::Create { no_pids: NoPids::Limit }) => {}
            Ok(n) => self.ask("pids/limit", Limit::Pids(Amount::Of(n))),
            Err(_) => self.ask("pids/limit", Limit::Pids(Amount::Max)),
        }
    }

    fn weight(&mut self, field: &str, weight: Option<u16>) -> Option<u16> {
        match weight {
            None | Some(0) => None,
            Some(n @ 10..=1000) => Some(n),
            Some(n) => {
                self.complain(field, format!("expected 10 to 1000, got {n}"));
                None
            }
        }
    }

    fn disk(&mut self, field: &str, major: i64, minor: i64) -> Option<Disk> {
        match (u32::try_from(major), u32::try_from(minor)) {
            (Ok(major), Ok(minor)) => Some(Disk { major, minor }),
            _ => {
                self.complain(field, format!("{major}:{minor} is no device number"));
                None
            }
        }
    }

    fn block(&mut self, block: &LinuxBlockIo) {
        if let Some(weight) = self.weight("blockIO/weight", block.weight()) {
            self.ask("blockIO/weight", Limit::BlockWeight(weight));
        }
        if let Some(weight) = self.weight("blockIO/leafWeight", block.leaf_weight()) {
            self.ask("blockIO/leafWeight", Limit::BlockLeafWeight(weight));
        }
        for (i, device) in block.weight_device().iter().flatten().enumerate() {
            let field = format!("blockIO/weightDevice/{i}");
            let Some(disk) = self.disk(&field, device.major(), device.minor()) else { continue };
            let field = format!("blockIO/weightDevice/{i}/weight");
            if let Some(weight) = self.weight(&field, device.weight()) {
                self.ask(&field, Limit::DiskWeight(disk, weight));
            }
            let field = format!("blockIO/weightDevice/{i}/leafWeight");
            if let Some(weight) = self.weight(&field, device.leaf_weight()) {
                self.ask(&field, Limit::DiskLeafWeight(disk, weight));
            }
        }
        self.throttle("blockIO/throttleReadBpsDevice", Flow::ReadBytes, block.throttle_read_bps_device());
        self.throttle("blockIO/throttleWriteBpsDevice", Flow::WriteBytes, block.throttle_write_bps_device());
        self.throttle("blockIO/throttleReadIOPSDevice", Flow::ReadOps, block.throttle_read_iops_device());
        self.throttle("blockIO/throttleWriteIOPSDevice", Flow::WriteOps, block.throttle_write_iops_device());
    }

    fn throttle(&mut self, field: &str, flow: Flow, devices: &Option<Vec<LinuxThrottleDevice>>) {
        for (i, device) in devices.iter().flatten().enumerate() {
            let field = format!("{field}/{i}");
            if let Some(disk) = self.disk(&field, device.major(), device.minor()) {
                self.ask(&field, Limit::Throttle(flow, disk, device.rate()));
            }
        }
    }

    fn huge_pages(&mut self, pages: &[LinuxHugepageLimit]) {
        for (i, page) in pages.iter().enumerate() {
            let size = page.page_size();
            // It becomes part of a file name.
            let digits =
                size.strip_suffix("KB").or_else(|| size.strip_suffix("MB")).or_else(|| size.strip_suffix("GB"));
            if !digits.is_some_and(|d| !d.is_empty() && !d.starts_with('0') && d.bytes().all(|b| b.is_ascii_digit())) {
                let field = format!("hugepageLimits/{i}/pageSize");
                self.complain(&field, format!("expected a page size like 2MB, got {size:?}"));
                continue;
            }
            let field = format!("hugepageLimits/{i}/limit");
            match u64::try_from(page.limit()) {
                Ok(limit) => self.ask(&field, Limit::HugePages { size: size.clone(), limit }),
                Err(_) => self.complain(&field, format!("expected a number of bytes, got {}", page.limit())),
            }
        }
    }

    fn network(&mut self, network: &LinuxNetwork) {
        if let Some(class) = network.class_id().filter(|&n| n != 0) {
            self.ask("network/classID", Limit::NetClass(class));
        }
        for (i, priority) in network.priorities().iter().flatten().enumerate() {
            let field = format!("network/priorities/{i}");
            let interface = priority.name().clone();
            if interface.is_empty() || interface.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
                self.complain(&field, format!("{interface:?} is no name of a network interface"));
            } else {
                self.ask(&field, Limit::NetPriority { interface, priority: priority.priority() });
            }
        }
    }

    fn rdma(&mut self, rdma: &HashMap<String, LinuxRdma>) {
        for (device, limit) in sorted(rdma) {
            let field = format!("rdma/{}", escape(device));
            if device.is_empty() || device.chars().any(|c| c.is_whitespace() || c.is_control()) {
                self.complain(&field, format!("{device:?} is no name of an RDMA device"));
            } else if limit.hca_handles().is_some() || limit.hca_objects().is_some() {
                let (handles, objects) = (limit.hca_handles(), limit.hca_objects());
                self.ask(&field, Limit::Rdma { device: device.clone(), handles, objects });
            }
        }
    }

    fn unified(&mut self, unified: &HashMap<String, String>) {
        for (file, value) in sorted(unified) {
            let field = format!("unified/{}", escape(file));
            let plain = file.split_once('.').is_some_and(|(c, rest)| !c.is_empty() && !rest.is_empty())
                && file.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !plain {
                self.complain(&field, "expected the name of a cgroup v2 file, like memory.high");
            } else if OURS.contains(&file.as_str()) {
                self.complain(&field, "cannot be set: it is the runtime's own means to place and stop the container");
            } else {
                self.ask(&field, Limit::Unified { file: file.clone(), value: value.clone() });
            }
        }
    }
}

/// Files by which the runtime itself places, counts, stops and kills the container's processes.
const OURS: [&str; 6] =
    ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "cgroup.type", "cgroup.freeze", "cgroup.kill"];

/// A map in an order that does not change from run to run: plans are compared.
fn sorted<T>(map: &HashMap<String, T>) -> Vec<(&String, &T)> {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_key(|(name, _)| *name);
    pairs
}

/// A name as a token of a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
