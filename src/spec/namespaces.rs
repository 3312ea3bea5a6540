//! `linux.namespaces` and what depends on them: id mappings and time offsets.

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Spec, User};

use super::process::absolute;
use super::remarks::Remarks;
use crate::error::Rule;

/// How many lines an id map may have (the kernel's UID_GID_MAP_MAX_EXTENTS).
pub const MAX_MAPPINGS: usize = 340;
/// An id map is one write, and the kernel takes less than a page.
const MAX_MAP_BYTES: usize = 4095;
/// Where ids end: 2^32 - 1 means "no id".
const ID_END: u64 = u32::MAX as u64;

/// The entry for a namespace, new or joined.
pub fn listed(linux: Option<&Linux>, kind: LinuxNamespaceType) -> Option<&LinuxNamespace> {
    linux?.namespaces().iter().flatten().find(|namespace| namespace.typ() == kind)
}

/// Looks at namespaces, mappings, offsets.
pub fn validate(spec: &Spec, remarks: &mut Remarks) {
    let Some(linux) = spec.linux() else { return };
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    for (index, namespace) in namespaces.iter().enumerate() {
        if let Some(path) = namespace.path() {
            absolute(path, || format!("/linux/namespaces/{index}/path"), remarks);
        }
        if let Some(first) = namespaces[..index].iter().position(|other| other.typ() == namespace.typ()) {
            let message = format!("is listed already as /linux/namespaces/{first}; keep one of them");
            remarks.fault(Rule::DuplicateNamespace, format!("/linux/namespaces/{index}/type"), message);
        }
    }
    user_namespace(linux, spec.process().as_ref().map(|process| process.user()), remarks);
    time_namespace(linux, remarks);
}

fn user_namespace(linux: &Linux, user: Option<&User>, remarks: &mut Remarks) {
    let uids = linux.uid_mappings().as_deref().unwrap_or_default();
    let gids = linux.gid_mappings().as_deref().unwrap_or_default();
    mappings(uids, || "/linux/uidMappings".to_owned(), remarks);
    mappings(gids, || "/linux/gidMappings".to_owned(), remarks);
    let namespace = listed(Some(linux), LinuxNamespaceType::User);
    for (name, list) in [("uidMappings", uids), ("gidMappings", gids)] {
        let pointer = format!("/linux/{name}");
        match namespace {
            None if !list.is_empty() => {
                remarks.fault(Rule::NeedsNamespace, pointer, "needs a user namespace in /linux/namespaces")
            }
            Some(namespace) if namespace.path().is_none() && list.is_empty() => {
                remarks.fault(
                    Rule::MissingProperty,
                    pointer,
                    "missing; a new user namespace needs at least one mapping",
                );
            }
            _ => {}
        }
    }
    if let (Some(user), Some(_)) = (user, namespace) {
        mapped("/process/user/uid", user.uid(), "uidMappings", uids, remarks);
        mapped("/process/user/gid", user.gid(), "gidMappings", gids, remarks);
        for (index, gid) in user.additional_gids().iter().flatten().enumerate() {
            mapped(&format!("/process/user/additionalGids/{index}"), *gid, "gidMappings", gids, remarks);
        }
    }
}

/// An id that has no mapping can't be taken on: the kernel says EINVAL and nothing else.
fn mapped(pointer: &str, id: u32, name: &str, mappings: &[LinuxIdMapping], remarks: &mut Remarks) {
    let covers = |mapping: &LinuxIdMapping| {
        let start = u64::from(mapping.container_id());
        (start..start + u64::from(mapping.size())).contains(&u64::from(id))
    };
    if !mappings.is_empty() && !mappings.iter().any(covers) {
        remarks.fault(Rule::UnmappedId, pointer, format!("{id} is not mapped by /linux/{name}"));
    }
}

/// Looks at one list of mappings by itself: of the container or of a mount.
pub fn mappings(list: &[LinuxIdMapping], pointer: impl Fn() -> String, remarks: &mut Remarks) {
    if list.len() > MAX_MAPPINGS {
        remarks.fault(
            Rule::TooMany,
            pointer(),
            format!("expected at most {MAX_MAPPINGS} mappings, got {}", list.len()),
        );
        return;
    }
    let digits = |number: u32| number.checked_ilog10().unwrap_or(0) as usize + 1;
    let line = |m: &LinuxIdMapping| digits(m.container_id()) + digits(m.host_id()) + digits(m.size()) + 3;
    let bytes: usize = list.iter().map(line).sum();
    if bytes > MAX_MAP_BYTES {
        remarks.fault(
            Rule::TooMany,
            pointer(),
            format!("expected at most {MAX_MAP_BYTES} bytes of map, which is one write, got {bytes}"),
        );
    }
    for (index, mapping) in list.iter().enumerate() {
        if mapping.size() == 0 {
            remarks.fault(Rule::MappingRange, format!("{}/{index}/size", pointer()), "expected at least one id, got 0");
        }
        for (name, start) in [("containerID", mapping.container_id()), ("hostID", mapping.host_id())] {
            if u64::from(start) + u64::from(mapping.size()) > ID_END {
                let message =
                    format!("{start} and {} ids from there go past the last id, {}", mapping.size(), ID_END - 1);
                remarks.fault(Rule::MappingRange, format!("{}/{index}/{name}", pointer()), message);
            }
        }
    }
    overlap(list, "containerID", LinuxIdMapping::container_id, &pointer, remarks);
    overlap(list, "hostID", LinuxIdMapping::host_id, &pointer, remarks);
}

fn overlap(
    list: &[LinuxIdMapping],
    name: &str,
    start: impl Fn(&LinuxIdMapping) -> u32,
    pointer: &impl Fn() -> String,
    remarks: &mut Remarks,
) {
    let mut ranges: Vec<(u64, u64, usize)> = list
        .iter()
        .enumerate()
        .map(|(index, mapping)| {
            let first = u64::from(start(mapping));
            (first, first + u64::from(mapping.size()), index)
        })
        .collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        let ((_, end, one), (next, next_end, other)) = (pair[0], pair[1]);
        if next < end && next < next_end {
            let (first, second) = (one.min(other), one.max(other));
            let message = format!("its range overlaps that of mapping {first}; every id can be mapped once");
            remarks.fault(Rule::MappingOverlap, format!("{}/{second}/{name}", pointer()), message);
        }
    }
}

fn time_namespace(linux: &Linux, remarks: &mut Remarks) {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else { return };
    match listed(Some(linux), LinuxNamespaceType::Time).map(|namespace| namespace.path()) {
        None => {
            remarks.fault(Rule::NeedsNamespace, "/linux/timeOffsets", "needs a time namespace in /linux/namespaces")
        }
        Some(Some(_)) => {
            remarks.fault(
                Rule::NeedsNamespace,
                "/linux/timeOffsets",
                "needs a new time namespace; the clocks of one that is joined are set already",
            );
        }
        Some(None) => {}
    }
    for (clock, offset) in offsets {
        let pointer = format!("/linux/timeOffsets/{}", super::pointer::escape(clock));
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            remarks.fault(Rule::UnknownWord, &pointer, "unknown clock; expected one of monotonic, boottime");
        }
        if let Some(nanoseconds) = offset.nanosecs().filter(|nanoseconds| *nanoseconds >= 1_000_000_000) {
            let message = format!("expected an integer from 0 to 999999999, got {nanoseconds}");
            remarks.fault(Rule::OutOfRange, format!("{pointer}/nanosecs"), message);
        }
    }
}
