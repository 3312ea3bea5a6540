//! `linux`: devices, network devices, paths, labels of the kernel's odds and ends. Namespaces, sysctls and resources have
//! files of their own.

use std::path::{Component, Path};

use oci_spec::runtime::{
    Linux, LinuxDeviceType, LinuxIntelRdt, LinuxMemoryPolicy, LinuxNamespaceType, MemoryPolicyFlagType,
    MemoryPolicyModeType,
};
use serde_json::Value;

use super::namespaces::listed;
use super::pointer::escape;
use super::process::absolute;
use super::remarks::Remarks;
use super::schema::quoted;
use super::{cpulist, resources, sysctl};
use crate::error::Rule;

/// The longest name of a network interface (IFNAMSIZ less the NUL).
const MAX_INTERFACE: usize = 15;

/// Looks at everything below `linux` that is not about namespaces.
pub fn validate(linux: &Linux, value: &Value, remarks: &mut Remarks) {
    devices(linux, value, remarks);
    net_devices(linux, remarks);
    paths(linux, remarks);
    sysctl::validate(linux, remarks);
    if let Some(found) = linux.resources() {
        resources::validate(found, "/linux/resources", remarks);
    }
    if let Some(policy) = linux.memory_policy() {
        memory_policy(policy, remarks);
    }
    if let Some(rdt) = linux.intel_rdt() {
        intel_rdt(rdt, remarks);
    }
    if let Some(flags) = linux.personality().as_ref().and_then(|personality| personality.flags().as_deref())
        && !flags.is_empty()
    {
        remarks.strictly(
            Rule::PersonalityFlags,
            "/linux/personality/flags",
            "no flag of a personality is supported",
            "ignored",
        );
    }
    let syscalls = linux.seccomp().iter().flat_map(|seccomp| seccomp.syscalls().iter().flatten());
    for (index, rule) in syscalls.enumerate() {
        seccomp_names(rule.names(), index, remarks);
    }
}

fn devices(linux: &Linux, value: &Value, remarks: &mut Remarks) {
    for (index, device) in linux.devices().iter().flatten().enumerate() {
        let base = format!("/linux/devices/{index}");
        absolute(device.path(), || format!("{base}/path"), remarks);
        if device.typ() == LinuxDeviceType::P {
            continue;
        }
        for number in ["major", "minor"] {
            let pointer = format!("{base}/{number}");
            if value.pointer(&pointer).is_none() {
                remarks.fault(
                    Rule::MissingProperty,
                    pointer,
                    format!("missing; a device of type {} needs it", device.typ().as_str()),
                );
            }
        }
    }
}

fn net_devices(linux: &Linux, remarks: &mut Remarks) {
    let Some(devices) = linux.net_devices().as_ref().filter(|devices| !devices.is_empty()) else { return };
    if listed(Some(linux), LinuxNamespaceType::Network).is_none() {
        remarks.fault(Rule::NeedsNamespace, "/linux/netDevices", "needs a network namespace in /linux/namespaces");
    }
    let mut taken: Vec<(&str, &str)> = Vec::new();
    let mut sorted: Vec<_> = devices.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_str());
    for (name, device) in sorted {
        let pointer = format!("/linux/netDevices/{}", escape(name));
        interface(name, &pointer, remarks);
        let inside = device.name().as_deref().unwrap_or(name);
        if device.name().is_some() {
            interface(inside, &format!("{pointer}/name"), remarks);
        }
        if let Some((_, first)) = taken.iter().find(|(other, _)| *other == inside && !inside.contains('%')) {
            let message = format!("{} is the name of {} already", quoted(inside), quoted(first));
            remarks.error(format!("{pointer}/name"), message);
        }
        taken.push((inside, name));
    }
}

/// What the kernel takes for the name of an interface.
fn interface(name: &str, pointer: &str, remarks: &mut Remarks) {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > MAX_INTERFACE || matches!(name, "." | "..") || name.contains(bad) {
        let message = format!(
            "expected the name of an interface, 1 to {MAX_INTERFACE} bytes without / : or space, got {}",
            quoted(name)
        );
        remarks.error(pointer, message);
    }
}

fn paths(linux: &Linux, remarks: &mut Remarks) {
    let mount_namespace = listed(Some(linux), LinuxNamespaceType::Mount).is_some();
    for (name, paths) in [("maskedPaths", linux.masked_paths()), ("readonlyPaths", linux.readonly_paths())] {
        for (index, path) in paths.iter().flatten().enumerate() {
            absolute(Path::new(path), || format!("/linux/{name}/{index}"), remarks);
        }
        if !mount_namespace && paths.as_ref().is_some_and(|paths| !paths.is_empty()) {
            remarks.fault(
                Rule::NeedsNamespace,
                format!("/linux/{name}"),
                "needs a mount namespace in /linux/namespaces",
            );
        }
    }
    if let Some(path) = linux.cgroups_path()
        && path.components().any(|component| component == Component::ParentDir)
    {
        let message = format!("expected a path without .., got {}", quoted(&path.to_string_lossy()));
        remarks.error("/linux/cgroupsPath", message);
    }
    if let Some(propagation) = linux.rootfs_propagation()
        && remarks.strict
        && !matches!(propagation.as_str(), "shared" | "slave" | "private" | "unbindable")
    {
        let message = format!("expected one of shared, slave, private, unbindable, got {}", quoted(propagation));
        remarks.fault(Rule::UnknownWord, "/linux/rootfsPropagation", message);
    }
}

fn memory_policy(policy: &LinuxMemoryPolicy, remarks: &mut Remarks) {
    use MemoryPolicyModeType::{MpolBind, MpolDefault, MpolLocal, MpolPreferred};
    let mode = policy.mode();
    let nodes = policy.nodes().as_deref().map(str::trim).filter(|nodes| !nodes.is_empty());
    let pointer = "/linux/memoryPolicy/nodes";
    match (mode, nodes) {
        (MpolDefault | MpolLocal, Some(nodes)) => {
            remarks.fault(
                Rule::MemoryPolicy,
                pointer,
                format!("expected to be left out for {mode}, got {}", quoted(nodes)),
            );
        }
        (MpolDefault | MpolLocal | MpolPreferred, None) => {}
        (_, None) => {
            remarks.fault(Rule::MemoryPolicy, pointer, format!("missing; {mode} needs a list of nodes like 0-3,7"))
        }
        (_, Some(nodes)) => {
            if let Err(why) = cpulist::check(nodes) {
                remarks.error(pointer, why);
            }
        }
    }
    let flags = policy.flags().as_deref().unwrap_or_default();
    let has = |flag| flags.contains(&flag);
    let pointer = "/linux/memoryPolicy/flags";
    let (fixed, relative) =
        (has(MemoryPolicyFlagType::MpolFStaticNodes), has(MemoryPolicyFlagType::MpolFRelativeNodes));
    if fixed && relative {
        remarks.fault(
            Rule::MemoryPolicy,
            pointer,
            "expected one of MPOL_F_STATIC_NODES, MPOL_F_RELATIVE_NODES, got both",
        );
    }
    if (fixed || relative) && (matches!(mode, MpolDefault | MpolLocal) || nodes.is_none()) {
        remarks.fault(
            Rule::MemoryPolicy,
            pointer,
            format!("flags about nodes go with a mode that has nodes, not with {mode}"),
        );
    }
    if has(MemoryPolicyFlagType::MpolFNumaBalancing)
        && mode != MpolBind
        && mode != MemoryPolicyModeType::MpolPreferredMany
    {
        remarks.fault(
            Rule::MemoryPolicy,
            pointer,
            format!("MPOL_F_NUMA_BALANCING goes with MPOL_BIND or MPOL_PREFERRED_MANY, not with {mode}"),
        );
    }
}

fn intel_rdt(rdt: &LinuxIntelRdt, remarks: &mut Remarks) {
    if let Some(group) = rdt.clos_id()
        && group != "/"
        && (matches!(group.as_str(), "." | "..") || group.contains(['/', '\n']))
    {
        let message = format!("expected the name of a directory or \"/\", got {}", quoted(group));
        remarks.error("/linux/intelRdt/closID", message);
    }
    for (index, line) in rdt.schemata().iter().flatten().enumerate() {
        if line.contains('\n') || !line.contains(':') {
            let message = format!("expected one line like L3:0=ff, got {}", quoted(line));
            remarks.error(format!("/linux/intelRdt/schemata/{index}"), message);
        }
    }
    if let Some(line) = rdt.mem_bw_schema()
        && (!line.starts_with("MB:") || line.contains('\n'))
    {
        remarks.error("/linux/intelRdt/memBwSchema", format!("expected one line like MB:0=70, got {}", quoted(line)));
    }
}

/// Only that there are names; what they and the rest of the rule mean is for the compiler of filters.
fn seccomp_names(names: &[String], index: usize, remarks: &mut Remarks) {
    let base = format_args!("/linux/seccomp/syscalls/{index}/names");
    if names.is_empty() {
        remarks.error(base.to_string(), "expected at least one system call, got an empty array");
    }
    for (at, _) in names.iter().enumerate().filter(|(_, name)| name.is_empty()) {
        remarks.error(format!("{base}/{at}"), "expected the name of a system call, got \"\"");
    }
}
