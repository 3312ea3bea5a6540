//! What takes the kernel long and needs nobody's place is done by the host while init builds. Pure.

use crate::facts::Facts;
use crate::namespaces::{self, Kind};
use crate::plan::{HostOp, InitOp, Plan};
use crate::rootfs::{self, What};
use crate::step::Step;

/// A network namespace takes longer than all else of a birth. Where nothing stands against it, the host makes it when init is
/// born, and init enters it before the first mount that shows it.
///
/// Against it: a namespace that is to belong to a new user namespace; an init that waits for the host anyway; a host without
/// the right to come back.
pub(super) fn network(plan: &mut Plan, facts: &Facts) {
    let birth = &mut plan.birth;
    let new = |kind| birth.new.contains(&kind);
    let real_root = facts.euid == 0 && !facts.in_userns;
    if !new(Kind::Network) || new(Kind::User) || birth.wait || birth.midwife || !real_root {
        return;
    }
    birth.new.retain(|kind| *kind != Kind::Network);
    let made = Step::asked("/linux/namespaces", HostOp::Namespace(namespaces::HostOp::NewNetwork));
    plan.adopt.insert(0, made);
    // The host does that, too.
    plan.build.retain(|step| step.op != InitOp::Namespace(namespaces::InitOp::Loopback));
    let at = plan.build.iter().position(|step| shows_network(&step.op)).unwrap_or(plan.build.len());
    let enter = Step::asked("/linux/namespaces", InitOp::Namespace(namespaces::InitOp::EnterNetwork));
    plan.build.insert(at, enter);
}

/// Whether a mount is made by what the network namespace of its maker is: sysfs, and whatever speaks to a server.
pub fn shows_network(op: &InitOp) -> bool {
    const OTHERS: [&str; 4] = ["proc", "tmpfs", "devpts", "mqueue"];
    match op {
        InitOp::Rootfs(rootfs::InitOp::Mount(mount)) => {
            matches!(&mount.what, What::Filesystem { kind, .. } if !OTHERS.contains(&kind.as_str()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Options, lower};
    use serde_json::{Value, json};

    fn planned(euid: u32, change: impl FnOnce(&mut Value)) -> Plan {
        let mut config = serde_json::from_str(&crate::spec::template::template(None)).unwrap();
        change(&mut config);
        let spec = serde_json::from_value(config).unwrap();
        let options = Options { id: "x".into(), bundle: "/b".into(), ..Options::default() };
        lower(&spec, &Facts { euid, ..Facts::default() }, &options).unwrap().plan
    }

    fn enter() -> InitOp {
        InitOp::Namespace(namespaces::InitOp::EnterNetwork)
    }

    #[test]
    fn it_is_entered_right_before_what_shows_it() {
        let plan = planned(0, |_| ());
        assert!(!plan.birth.new.contains(&Kind::Network) && plan.new_namespaces().any(|kind| kind == Kind::Network));
        let at = plan.build.iter().position(|step| step.op == enter()).unwrap();
        assert!(plan.build[at + 1].op.to_string().starts_with("mount sysfs at /sys"));
        assert!(!plan.build[..at].iter().any(|step| shows_network(&step.op)));
        assert!(!plan.build.iter().any(|step| step.op.to_string() == "loopback up"), "the host does it");
        assert_eq!(plan.adopt[0].op.to_string(), "new network namespace with its loopback up, while init builds");
        let none = planned(0, |config| config["mounts"] = json!([]));
        assert_eq!(none.build.last().unwrap().op, enter(), "hooks find init in it");
    }

    #[test]
    fn what_stands_against_it_leaves_it_to_the_birth() {
        let user = json!({"type": "user"});
        let ids = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        let mapped = |config: &mut Value| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(user.clone());
            config["linux"]["uidMappings"] = ids.clone();
            config["linux"]["gidMappings"] = ids.clone();
        };
        let device = |config: &mut Value| config["linux"]["netDevices"] = json!({"eth9": {}});
        let joined = |config: &mut Value| {
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.iter_mut().find(|entry| entry["type"] == "pid").unwrap()["path"] = json!("/proc/1/ns/pid");
        };
        for plan in [planned(0, mapped), planned(1000, mapped), planned(0, device), planned(0, joined)] {
            assert!(plan.birth.new.contains(&Kind::Network), "{}", plan.birth);
            assert!(!plan.build.iter().any(|step| step.op == enter()));
            assert!(plan.build.iter().any(|step| step.op.to_string() == "loopback up"));
        }
    }
}
