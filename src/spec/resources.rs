//! `linux.resources`: values that no hierarchy of cgroups could take. What depends on the hierarchy is for the cgroups.
//!
//! Serves config.json and the file of `update --resources`; `base` is where the object stands. Zeros are fine everywhere:
//! engines send them for what is not set.

use oci_spec::runtime::{LinuxBlockIo, LinuxMemory, LinuxResources};

use super::pointer::escape;
use super::remarks::Remarks;
use super::schema::quoted;
use crate::error::Rule;

/// Looks at all resources.
pub fn validate(resources: &LinuxResources, base: &str, remarks: &mut Remarks) {
    for (index, rule) in resources.devices().iter().flatten().enumerate() {
        let access = rule.access().as_deref().unwrap_or_default();
        if !access.chars().all(|c| "rwm".contains(c)) {
            let message = format!("expected letters out of rwm, got {}", quoted(access));
            remarks.error(format!("{base}/devices/{index}/access"), message);
        }
    }
    if let Some(memory) = resources.memory() {
        check_memory(memory, base, remarks);
    }
    if let Some(block_io) = resources.block_io() {
        check_block_io(block_io, &format!("{base}/blockIO"), remarks);
    }
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        if !page_size(limit.page_size()) {
            let message = format!("expected a size like 64KB, 2MB or 1GB, got {}", quoted(limit.page_size()));
            remarks.error(format!("{base}/hugepageLimits/{index}/pageSize"), message);
        }
    }
    for (index, priority) in resources.network().iter().flat_map(|net| net.priorities().iter().flatten()).enumerate() {
        if priority.name().is_empty() {
            let message = "expected the name of an interface, got \"\"";
            remarks.error(format!("{base}/network/priorities/{index}/name"), message);
        }
    }
    for (device, limits) in resources.rdma().iter().flatten() {
        if limits.hca_handles().is_none() && limits.hca_objects().is_none() {
            remarks.fault(
                Rule::MissingProperty,
                format!("{base}/rdma/{}", escape(device)),
                "expected hcaHandles, hcaObjects or both",
            );
        }
    }
    for key in resources.unified().iter().flat_map(|all| all.keys()) {
        if key.is_empty() || key.starts_with('.') || key.contains('/') {
            let message = format!("expected the name of a cgroup file like memory.high, got {}", quoted(key));
            remarks.error(format!("{base}/unified/{}", escape(key)), message);
        }
    }
}

fn check_memory(memory: &LinuxMemory, base: &str, remarks: &mut Remarks) {
    if let (Some(limit), Some(swap)) = (memory.limit(), memory.swap())
        && limit > 0
        && swap > 0
        && swap < limit
    {
        let message = format!("expected memory and swap together, so at least the limit {limit}, got {swap}");
        remarks.fault(Rule::SwapBelowLimit, format!("{base}/memory/swap"), message);
    }
}

fn check_block_io(block_io: &LinuxBlockIo, base: &str, remarks: &mut Remarks) {
    let mut weight = |pointer: String, weight: Option<u16>| {
        if let Some(weight) = weight.filter(|weight| *weight != 0 && !(10..=1000).contains(weight)) {
            remarks.fault(Rule::OutOfRange, pointer, format!("expected an integer from 10 to 1000, got {weight}"));
        }
    };
    weight(format!("{base}/weight"), block_io.weight());
    weight(format!("{base}/leafWeight"), block_io.leaf_weight());
    let devices = block_io.weight_device().as_deref().unwrap_or_default();
    for (index, device) in devices.iter().enumerate() {
        weight(format!("{base}/weightDevice/{index}/weight"), device.weight());
        weight(format!("{base}/weightDevice/{index}/leafWeight"), device.leaf_weight());
    }
    for (index, device) in devices.iter().enumerate() {
        if device.weight().is_none() && device.leaf_weight().is_none() {
            remarks.fault(
                Rule::MissingProperty,
                format!("{base}/weightDevice/{index}"),
                "expected weight, leafWeight or both",
            );
        }
    }
}

fn page_size(text: &str) -> bool {
    let Some(number) = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit)) else { return false };
    !number.is_empty() && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
}
