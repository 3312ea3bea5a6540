//! Between the walk and the types: repairs what the oci-spec crate parses too strictly, says what it changed.
//!
//! Works on the value in place. Changes no meaning: what comes out says what the specification says that went in says.

use serde_json::{Map, Value, json};

use super::cpulist;
use super::remarks::Remarks;
use super::schema::{self, Findings, Kind, Need, Property, quoted};
use crate::error::Rule;

/// The capabilities of Linux 6.x, all 41, as the specification writes them.
pub const CAPABILITIES: &[&str] = &[
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

/// Sweeps out what the walk found to be no property of ours: unknown and foreign members, nulls, blank strings.
pub fn tidy(value: &mut Value, table: &'static [Property], findings: &Findings) {
    if findings.untidy {
        sweep(value, Kind::Object(table));
    }
}

fn sweep(value: &mut Value, kind: Kind) {
    match (kind, value) {
        (Kind::Object(table), Value::Object(members)) => members.retain(|name, value| {
            let Some(property) = schema::find(table, name) else { return false };
            let absent = match property.need {
                Need::Required => false,
                Need::Optional => value.is_null(),
                Need::Blankable => value.is_null() || value == "",
            };
            sweep(value, property.kind);
            !absent && !matches!(property.kind, Kind::Foreign)
        }),
        (Kind::Map(item), Value::Object(members)) => members.values_mut().for_each(|value| sweep(value, *item)),
        (Kind::List(item), Value::Array(list)) => list.iter_mut().for_each(|value| sweep(value, *item)),
        _ => {}
    }
}

/// Repairs a whole config.
pub fn config(value: &mut Value, remarks: &mut Remarks) {
    if let Some(object) = value.get_mut("process").and_then(Value::as_object_mut) {
        process(object, "/process", remarks);
    }
    for (index, mount) in array(value.get_mut("mounts")).iter_mut().enumerate() {
        destination(mount, index, remarks);
        left_behind(mount, index, remarks);
    }
    if let Some(object) = value.pointer_mut("/linux/resources").and_then(Value::as_object_mut) {
        resources(object);
    }
}

/// Repairs `process`, which stands at `base`.
pub fn process(process: &mut Map<String, Value>, base: &str, remarks: &mut Remarks) {
    process.entry("user").or_insert_with(|| json!({"uid": 0, "gid": 0}));
    if let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) {
        known_capabilities(sets, base, remarks);
        ambient_capabilities(sets, base, remarks);
    }
    for flag in array(process.get_mut("scheduler").and_then(|scheduler| scheduler.get_mut("flags"))) {
        // The crate derives these two names from its own spelling of the variants.
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = json!("SCHED_RESET_ON_FORK"),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = json!("SCHED_FLAG_D_L_OVERRUN"),
            _ => {}
        }
    }
    if let Some(affinity) = process.get_mut("execCPUAffinity").and_then(Value::as_object_mut) {
        cpu_affinity(affinity, base, remarks);
    }
}

/// Unknown capabilities are dropped with a warning: the specification wants the container to start without them.
fn known_capabilities(sets: &mut Map<String, Value>, base: &str, remarks: &mut Remarks) {
    for (set, names) in sets.iter_mut() {
        let Value::Array(names) = names else { continue };
        let known = |name: &Value| name.as_str().is_some_and(|name| CAPABILITIES.contains(&name));
        if names.iter().all(known) {
            continue;
        }
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !known(name)) {
            let name = name.as_str().unwrap_or_default();
            remarks.strictly(
                Rule::UnknownCapability,
                format!("{base}/capabilities/{set}/{index}"),
                &unknown_capability(name),
                "left out",
            );
        }
        names.retain(known);
    }
}

fn unknown_capability(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    match CAPABILITIES.iter().find(|known| &known[4..] == bare) {
        Some(meant) => format!("unknown capability {} (its name is {meant})", quoted(name)),
        None => format!("unknown capability {}", quoted(name)),
    }
}

/// The kernel has no ambient capability that is not permitted and inheritable as well.
fn ambient_capabilities(sets: &mut Map<String, Value>, base: &str, remarks: &mut Remarks) {
    let Some(Value::Array(mut ambient)) = sets.remove("ambient") else { return };
    let holds = |set: &str, name: &Value| sets.get(set).and_then(Value::as_array).is_some_and(|set| set.contains(name));
    let lacking = |name: &Value| ["inheritable", "permitted"].into_iter().find(|set| !holds(set, name));
    for name in &ambient {
        if let (Some(set), Some(name)) = (lacking(name), name.as_str()) {
            let message = format!("{name} is left out: it is not in the {set} set, so it can't be ambient");
            remarks.warn(Rule::AmbientCapability, format!("{base}/capabilities/ambient"), message);
        }
    }
    ambient.retain(|name| lacking(name).is_none());
    sets.insert("ambient".to_owned(), Value::Array(ambient));
}

/// The crate takes no spaces in a list of CPUs, and gives no place when it refuses one.
fn cpu_affinity(affinity: &mut Map<String, Value>, base: &str, remarks: &mut Remarks) {
    affinity.retain(|name, list| {
        let Some(text) = list.as_str() else { return true };
        let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let pointer = || format!("{base}/execCPUAffinity/{name}");
        match cpulist::check(&text) {
            Ok(()) => *list = Value::String(text),
            Err(why) => {
                remarks.error(pointer(), why);
                return false;
            }
        }
        true
    });
}

/// Relative destinations are old but legal; they start at the container's root.
fn destination(mount: &mut Value, index: usize, remarks: &mut Remarks) {
    let Some(destination) = mount.get_mut("destination") else { return };
    let Some(path) = destination.as_str() else { return };
    if path.is_empty() || path.starts_with('/') {
        return;
    }
    let absolute = format!("/{path}");
    let message = format!("relative paths are deprecated; {} is taken as {}", quoted(path), quoted(&absolute));
    remarks.warn(Rule::RelativePath, format!("/mounts/{index}/destination"), message);
    *destination = Value::String(absolute);
}

/// Data of a tmpfs that was left behind when the mount became a bind mount, as the OCI validation suite does. Nothing could
/// use it; any other data on a bind mount is an error.
fn left_behind(mount: &mut Value, index: usize, remarks: &mut Remarks) {
    let options = mount.get("options").and_then(Value::as_array);
    let has = |wanted: fn(&str) -> bool| options.into_iter().flatten().filter_map(Value::as_str).any(wanted);
    let bind = |word: &str| matches!(word, "bind" | "rbind");
    if !(mount.get("type").and_then(Value::as_str).is_some_and(bind) || has(bind)) || !has(for_tmpfs) {
        return;
    }
    let Some(Value::Array(options)) = mount.get_mut("options") else { return };
    let mut at = 0;
    options.retain(|option| {
        let Some(text) = option.as_str().filter(|text| for_tmpfs(text)) else {
            at += 1;
            return true;
        };
        remarks.strictly(Rule::DataOnBind, format!("/mounts/{index}/options/{at}"), &data_on_bind(text), "ignored");
        at += 1;
        false
    });
}

fn for_tmpfs(option: &str) -> bool {
    let name = |word: &str| matches!(word.split('=').next(), Some("gid" | "mode" | "nr_inodes" | "size" | "uid"));
    option.split(',').all(name)
}

/// What is wrong with an option of a bind mount that only a filesystem could use.
pub fn data_on_bind(option: &str) -> String {
    format!("{} is data for a filesystem, and a bind mount has none that could use it", quoted(option))
}

/// Repairs `linux.resources` or the file of `update --resources`.
pub fn resources(resources: &mut Map<String, Value>) {
    // To the crate a missing limit is 0, and 0 is a real limit.
    if resources.get("pids").is_some_and(|pids| pids.get("limit").is_none()) {
        resources.remove("pids");
    }
    for limit in array(resources.get_mut("hugepageLimits")).iter_mut().filter_map(|entry| entry.get_mut("limit")) {
        // Signed in the crate. This many bytes are no limit on any machine.
        if limit.as_u64().is_some_and(|bytes| bytes > i64::MAX as u64) {
            *limit = json!(i64::MAX);
        }
    }
    for rule in array(resources.get_mut("devices")).iter_mut().filter_map(Value::as_object_mut) {
        rule.entry("type").or_insert_with(|| json!("a"));
    }
}

fn array(value: Option<&mut Value>) -> &mut [Value] {
    value.and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{Capability, LinuxResources, LinuxSchedulerFlag, Process, Spec};
    use serde::Deserialize;

    use super::super::properties::{CONFIG, PROCESS};
    use super::*;

    /// What the crate makes of it as it stands, and after the repairs.
    fn before_and_after(value: Value) -> (Result<Process, String>, Process, Remarks) {
        let before = Process::deserialize(&value).map_err(|e| e.to_string());
        let mut remarks = Remarks::new(false);
        let mut value = value;
        let findings = schema::walk(&value, PROCESS, &mut remarks);
        tidy(&mut value, PROCESS, &findings);
        process(value.as_object_mut().unwrap(), "", &mut remarks);
        (before, Process::deserialize(&value).unwrap(), remarks)
    }

    fn said(list: &[crate::error::ConfigError]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_crate_misspells_two_scheduler_flags() {
        let flags = ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"];
        for flag in flags {
            let (before, ..) = before_and_after(
                json!({"cwd": "/", "user": {}, "scheduler": {"policy": "SCHED_OTHER", "flags": [flag]}}),
            );
            assert!(before.unwrap_err().contains("unknown variant"), "{flag} parses by itself now");
        }
        let (_, after, _) =
            before_and_after(json!({"cwd": "/", "scheduler": {"policy": "SCHED_DEADLINE", "flags": flags}}));
        assert_eq!(
            after.scheduler().as_ref().unwrap().flags().as_ref().unwrap(),
            &[LinuxSchedulerFlag::SchedResetOnFork, LinuxSchedulerFlag::SchedFlagDLOverrun]
        );
    }

    #[test]
    fn unknown_capabilities_are_left_out_with_a_warning() {
        let sets = json!({"cwd": "/", "user": {}, "capabilities": {"bounding": ["CAP_KILL", "CAP_FLY", "chown"]}});
        let (before, after, remarks) = before_and_after(sets);
        assert!(before.is_err());
        let bounding = after.capabilities().as_ref().unwrap().bounding().as_ref().unwrap();
        assert_eq!(bounding.iter().copied().collect::<Vec<_>>(), [Capability::Kill]);
        assert!(remarks.errors.is_empty());
        assert_eq!(
            said(&remarks.warnings),
            [
                "/capabilities/bounding/1: unknown capability \"CAP_FLY\"; left out",
                "/capabilities/bounding/2: unknown capability \"chown\" (its name is CAP_CHOWN); left out",
            ]
        );
    }

    #[test]
    fn ambient_capabilities_need_the_other_two_sets() {
        let (_, after, remarks) = before_and_after(json!({"cwd": "/", "capabilities": {
            "permitted": ["CAP_KILL", "CAP_CHOWN"], "inheritable": ["CAP_KILL", "CAP_FOWNER"],
            "ambient": ["CAP_KILL", "CAP_CHOWN", "CAP_FOWNER"],
        }}));
        let ambient = after.capabilities().as_ref().unwrap().ambient().as_ref().unwrap();
        assert_eq!(ambient.iter().copied().collect::<Vec<_>>(), [Capability::Kill]);
        assert_eq!(
            said(&remarks.warnings),
            [
                "/capabilities/ambient: CAP_CHOWN is left out: it is not in the inheritable set, so it can't be ambient",
                "/capabilities/ambient: CAP_FOWNER is left out: it is not in the permitted set, so it can't be ambient",
            ]
        );
    }

    #[test]
    fn all_capabilities_parse() {
        for name in CAPABILITIES {
            let parsed = Capability::deserialize(&json!(name)).unwrap();
            assert_eq!(serde_json::to_value(parsed).unwrap(), json!(name));
        }
        assert_eq!(CAPABILITIES.len(), 41);
        assert!(CAPABILITIES.is_sorted());
    }

    #[test]
    fn a_missing_user_is_root() {
        let (before, after, _) = before_and_after(json!({"cwd": "/"}));
        assert!(before.unwrap_err().contains("missing field `user`"));
        assert_eq!((after.user().uid(), after.user().gid()), (0, 0));
        let (_, after, _) = before_and_after(json!({"cwd": "/", "user": null}));
        assert_eq!((after.user().uid(), after.user().gid()), (0, 0));
    }

    #[test]
    fn cpu_affinity_takes_blanks_and_spaces() {
        for list in ["", "0-3, 7"] {
            let (before, ..) = before_and_after(json!({"cwd": "/", "user": {}, "execCPUAffinity": {"initial": list}}));
            assert!(before.unwrap_err().contains("Invalid execCPUAffinity"));
        }
        let (_, after, remarks) =
            before_and_after(json!({"cwd": "/", "execCPUAffinity": {"initial": "", "final": "0-3, 7"}}));
        let affinity = after.exec_cpu_affinity().as_ref().unwrap();
        assert_eq!((affinity.initial().as_deref(), affinity.cpu_affinity_final().as_deref()), (None, Some("0-3,7")));
        assert!(remarks.errors.is_empty());
        let (_, _, remarks) = before_and_after(json!({"cwd": "/", "execCPUAffinity": {"final": "3-1"}}));
        assert_eq!(
            said(&remarks.errors),
            ["/execCPUAffinity/final: expected a list like 0-3,7 with rising ranges, got \"3-1\""]
        );
    }

    #[test]
    fn resources_that_the_crate_misreads() {
        let mut value = json!({
            "pids": {}, "hugepageLimits": [{"pageSize": "2MB", "limit": u64::MAX}],
            "devices": [{"allow": false}],
        });
        assert_eq!(LinuxResources::deserialize(&json!({"pids": {}})).unwrap().pids().unwrap().limit(), 0);
        assert!(LinuxResources::deserialize(&json!({"hugepageLimits": value["hugepageLimits"]})).is_err());
        assert!(LinuxResources::deserialize(&json!({"devices": [{"allow": true, "type": ""}]})).is_err());
        resources(value.as_object_mut().unwrap());
        let parsed = LinuxResources::deserialize(&value).unwrap();
        assert!(parsed.pids().is_none());
        assert_eq!(parsed.hugepage_limits().as_ref().unwrap()[0].limit(), i64::MAX);
        assert_eq!(value["devices"][0]["type"], "a");
    }

    #[test]
    fn a_limit_of_no_pids_is_kept() {
        let mut value = json!({"pids": {"limit": 0}});
        resources(value.as_object_mut().unwrap());
        assert_eq!(LinuxResources::deserialize(&value).unwrap().pids().unwrap().limit(), 0);
    }

    #[test]
    fn what_is_not_ours_is_swept_out() {
        let mut value = json!({
            "ociVersion": "1.3.0", "root": {"path": "r", "readonly": null}, "hostname": "",
            // The crate would refuse each of these.
            "windows": 5, "vm": [], "solaris": "x", "zos": 1, "uidMappings": 7,
            "linux": {"namespaces": [{"type": "pid", "path": ""}], "intelRdt": {"enableCmt": "?"}},
            "annotations": {"a": ""},
        });
        assert!(Spec::deserialize(&value).is_err());
        let findings = schema::walk(&value, CONFIG, &mut Remarks::new(false));
        tidy(&mut value, CONFIG, &findings);
        assert_eq!(
            value,
            json!({"ociVersion": "1.3.0", "root": {"path": "r"}, "annotations": {"a": ""},
                "linux": {"namespaces": [{"type": "pid"}], "intelRdt": {}}})
        );
    }
}
