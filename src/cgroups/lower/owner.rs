//! Who owns the container's cgroup: with a user namespace, a new cgroup namespace and a writable cgroup mount the
//! workload may manage cgroups below its own, so its directory is given to it. Pure.
//!
//! Only the v2 tree: delegation is not secure in v1.

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount, Spec};

use crate::cgroups::{Op, Placement};
use crate::step::Step;

/// The step, if the config asks for all three.
pub(in crate::cgroups) fn lower(spec: &Spec, placement: &Placement) -> Option<Step<Op>> {
    let linux = spec.linux().as_ref()?;
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let new = |kind| namespaces.iter().any(|n| n.typ() == kind && n.path().is_none());
    let at = spec.mounts().as_deref().unwrap_or_default().iter().position(is_writable_cgroup)?;
    let tree = placement.v2_tree()?;
    if !new(LinuxNamespaceType::Cgroup) || !new(LinuxNamespaceType::User) {
        return None;
    }
    let inside = spec.process().as_ref().map_or(0, |p| p.user().uid());
    let uid = outside(linux.uid_mappings().as_deref().unwrap_or_default(), inside)?;
    Some(Step::asked(format!("/mounts/{at}"), Op::Own { tree, dir: placement.trees[tree].dir(), uid }))
}

fn is_writable_cgroup(mount: &Mount) -> bool {
    let options = mount.options().as_deref().unwrap_or_default();
    let last = options.iter().rev().find(|o| matches!(o.as_str(), "ro" | "rw"));
    mount.destination().as_os_str() == "/sys/fs/cgroup"
        && matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"))
        && last.is_none_or(|o| o == "rw")
}

/// What a uid of the container is outside.
fn outside(mappings: &[LinuxIdMapping], uid: u32) -> Option<u32> {
    let holds = |m: &&LinuxIdMapping| uid.checked_sub(m.container_id()).is_some_and(|n| n < m.size());
    mappings.iter().find(holds).and_then(|m| m.host_id().checked_add(uid - m.container_id()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cgroups::{Place, Version};

    fn lowered(change: impl Fn(&mut Value)) -> Option<String> {
        let mut config = json!({
            "ociVersion": "1.3.0",
            "process": {"cwd": "/", "user": {"uid": 5, "gid": 0}},
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}],
            "linux": {"namespaces": [{"type": "cgroup"}, {"type": "user"}],
                      "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1},
                                      {"containerID": 1, "hostID": 100_000, "size": 65535}]},
        });
        change(&mut config);
        let place = Place {
            version: Version::V2,
            controllers: Vec::new(),
            mountpoint: "/cg".into(),
            path: "box".into(),
            made: Vec::new(),
            delegated: String::new(),
        };
        let step =
            lower(&serde_json::from_value(config).unwrap(), &Placement { trees: vec![place], ..Placement::none() })?;
        Some(format!("{} {}", step.origin, step.op))
    }

    #[test]
    fn the_cgroup_belongs_to_the_workload_s_user() {
        assert_eq!(lowered(|_| ()).as_deref(), Some("/mounts/0 cgroup /cg/box belongs to uid 100004"));
        let root = lowered(|c| c["process"]["user"]["uid"] = json!(0));
        assert_eq!(root.as_deref(), Some("/mounts/0 cgroup /cg/box belongs to uid 1000"));
        assert!(lowered(|c| c["mounts"][0]["options"] = json!(["ro", "rw"])).is_some());
    }

    #[test]
    fn only_if_it_may_and_can_be_managed_from_inside() {
        assert_eq!(lowered(|c| c["mounts"][0]["options"] = json!(["rw", "ro"])), None);
        assert_eq!(lowered(|c| c["mounts"][0]["destination"] = json!("/mnt")), None);
        assert_eq!(lowered(|c| c["mounts"] = json!([])), None);
        assert_eq!(lowered(|c| c["linux"]["namespaces"] = json!([{"type": "cgroup"}])), None);
        assert_eq!(lowered(|c| c["linux"]["namespaces"] = json!([{"type": "user"}])), None);
        let joined = json!([{"type": "cgroup", "path": "/proc/1/ns/cgroup"}, {"type": "user"}]);
        assert_eq!(lowered(|c| c["linux"]["namespaces"] = joined.clone()), None);
        assert_eq!(lowered(|c| c["process"]["user"]["uid"] = json!(70_000)), None, "mapped to nobody");
    }
}
