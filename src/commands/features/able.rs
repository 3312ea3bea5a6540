//! What we can do, asked of the plan: a plan is all that is ever executed, so what it has a step for is done, and nothing
//! else is. Pure; the hosts that are planned for are made up, and have everything.

use serde_json::{Value, json};

use crate::facts::{CgroupTrees, Facts, Hierarchy, Systemd, Unified};
use crate::plan::{self, Options, Plan};
use crate::spec;
use crate::step::Origin;

/// Annotations that change a plan.
#[cfg(test)]
const ANNOTATIONS: &[&str] = &[crate::cgroups::systemd::PREFIX, crate::identity::lower::KEEP_GROUPS];

/// A host with one kind of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// One hierarchy for each controller.
    V1,
    /// One tree.
    V2,
}

const CONTROLLERS: [&str; 8] = ["blkio", "cpu", "cpuset", "devices", "hugetlb", "memory", "pids", "rdma"];

/// A made-up host that has everything.
pub fn facts(host: Host) -> Facts {
    let hierarchy = |controller: &&str| Hierarchy {
        controllers: vec![(*controller).to_owned()],
        mountpoint: format!("/cgroup/{controller}"),
        own: "/".to_owned(),
    };
    let cgroups = match host {
        Host::V1 => CgroupTrees { v1: CONTROLLERS.iter().map(hierarchy).collect(), v2: None },
        Host::V2 => {
            let controllers = CONTROLLERS.iter().map(|name| (*name).to_owned()).collect();
            let tree = Unified { mountpoint: "/cgroup".to_owned(), own: "/".to_owned(), controllers };
            CgroupTrees { v1: Vec::new(), v2: Some(tree) }
        }
    };
    let systemd = (host == Host::V2).then(|| Systemd { user: false, cgroup: "/".to_owned() });
    Facts {
        capabilities: u64::MAX,
        cgroups,
        systemd,
        selinux: true,
        apparmor: true,
        resctrl: Some("/resctrl".to_owned()),
        ..Facts::default()
    }
}

/// The plan of a small config in which one section is set. None if it is refused.
fn planned(host: Host, pointer: &str, value: Value) -> Option<Plan> {
    planned_on(&facts(host), false, pointer, value)
}

fn planned_on(facts: &Facts, systemd: bool, pointer: &str, value: Value) -> Option<Plan> {
    let mut config = json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["true"], "cwd": "/"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "pid"}]},
    });
    let (parent, name) = pointer.rsplit_once('/')?;
    config.pointer_mut(parent)?[name] = value;
    let config = spec::read_config(config.to_string().into_bytes(), false).ok()?;
    let options = Options { id: "ID".to_owned(), bundle: "/bundle".to_owned(), systemd, ..Options::default() };
    Some(plan::lower(&config.spec, facts, &options).ok()?.plan)
}

/// Whether a plan has a step that was asked for at this place or below.
fn asked(plan: &Plan, pointer: &str) -> bool {
    let host = [&plan.prepare, &plan.adopt, &plan.hooks].into_iter().flatten().map(|step| &step.origin);
    let init = [&plan.build, &plan.enter, &plan.become_, &plan.start].into_iter().flatten().map(|step| &step.origin);
    host.chain(init).any(|origin| matches!(origin, Origin::Config(place) if place.starts_with(pointer)))
}

fn does(pointer: &str, value: Value) -> bool {
    planned(Host::V2, pointer, value).is_some_and(|plan| asked(&plan, pointer))
}

/// Mounts with id maps of their own.
pub fn idmapped_mounts() -> bool {
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let mount =
        json!({"destination": "/x", "source": "/", "options": ["bind"], "uidMappings": map, "gidMappings": map});
    does("/mounts", json!([mount]))
}

/// Limits on a host of that kind.
pub fn cgroups(host: Host) -> bool {
    let pointer = "/linux/resources";
    planned(host, pointer, json!({"pids": {"limit": 1}})).is_some_and(|plan| asked(&plan, pointer))
}

/// Scopes that systemd makes: the host's, or a user's own.
pub fn systemd(user: bool) -> bool {
    let pointer = "/linux/cgroupsPath";
    let facts = Facts { systemd: Some(Systemd { user, cgroup: "/".to_owned() }), ..facts(Host::V2) };
    planned_on(&facts, true, pointer, json!(":a:b")).is_some_and(|plan| asked(&plan, pointer))
}

/// Limits of RDMA devices.
pub fn rdma() -> bool {
    let limits = json!({"rdma": {"mlx5_0": {"hcaHandles": 1}}});
    planned(Host::V2, "/linux/resources", limits).is_some_and(|plan| asked(&plan, "/linux/resources/rdma"))
}

/// Filters.
pub fn seccomp() -> bool {
    does("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW"}))
}

/// Filters that ask somebody else.
pub fn notify() -> bool {
    let rule = json!({"names": ["mknod"], "action": "SCMP_ACT_NOTIFY"});
    let section = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/socket", "syscalls": [rule]});
    planned(Host::V2, "/linux/seccomp", section).is_some_and(|plan| asked(&plan, "/linux/seccomp/listener"))
}

/// AppArmor profiles.
pub fn apparmor() -> bool {
    does("/process/apparmorProfile", json!("profile"))
}

/// SELinux labels of processes.
pub fn selinux() -> bool {
    does("/process/selinuxLabel", json!("a:b:c:s0"))
}

/// A property of linux.intelRdt.
pub fn intel_rdt(property: &str) -> bool {
    let value = match property {
        "schemata" => json!({"closID": "group", "schemata": ["L3:0=f"]}),
        "enableMonitoring" => json!({"closID": "group", "enableMonitoring": true}),
        _ => json!({"closID": "group"}),
    };
    let pointer = "/linux/intelRdt";
    let place = if property == "closID" { pointer.to_owned() } else { format!("{pointer}/{property}") };
    planned(Host::V2, pointer, value).is_some_and(|plan| asked(&plan, &place))
}

/// Memory policies.
pub fn memory_policy() -> bool {
    does("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"}))
}

/// Network devices moved into the container.
pub fn net_devices() -> bool {
    does("/linux/netDevices", json!({"eth0": {}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_does_is_not_claimed() {
        assert!(!does("/hostname", json!("x")), "refused without a uts namespace");
        assert!(!does("/annotations", json!({"org.criu.config": "x"})));
        assert!(does("/linux/maskedPaths", json!(["/proc/keys"])));
    }

    /// Annotations that others act upon; should one of them change a plan, the features have to say so.
    #[test]
    fn no_annotation_changes_the_plan_in_silence() {
        let plain = planned(Host::V2, "/annotations", json!({}));
        for (name, _) in spec::lint::RISKY_ANNOTATIONS {
            let key = if name.ends_with('.') { format!("{name}x") } else { (*name).to_owned() };
            if *name == crate::cgroups::systemd::PREFIX {
                // For the unit alone: see below.
                continue;
            }
            let changed = planned(Host::V2, "/annotations", json!({key: "1"}));
            assert_eq!(changed != plain, ANNOTATIONS.contains(name), "{name}");
        }
        let by_systemd = |value| planned_on(&facts(Host::V2), true, "/annotations", value);
        for (name, value) in
            [("org.systemd.property.KillMode", "'mixed'"), ("org.systemd.property.TimeoutStopSec", "1")]
        {
            assert!(by_systemd(json!({name: value})) != by_systemd(json!({})), "{name}");
        }
    }
}
