//! Limits for callers without root's rights: what was not delegated to them is left out, with one warning that says what
//! is missing. Pure.

use super::super::limits::{Asked, Limit};
use super::super::place::Placement;
use super::super::{v1, v2};
use crate::error::ConfigError;
use crate::facts::Facts;

/// Where systemd is told which controllers a user's session gets.
const DROP_IN: &str = "/etc/systemd/system/user@.service.d/delegate.conf";

/// The controllers that have this limit on v1 and on v2.
fn controllers(limit: &Limit) -> impl Iterator<Item = &str> {
    v1::controller(limit).into_iter().chain(v2::controller(limit))
}

/// Whether the caller is what stands against the limit, not this host: it has no cgroup at all, or not this controller.
pub(super) fn is_undelegated(limit: &Limit, placement: &Placement, facts: &Facts) -> bool {
    let trees = &facts.cgroups;
    let host_has = |name: &str| {
        trees.v1.iter().any(|tree| tree.controllers.iter().any(|c| c == name))
            || trees.v2.as_ref().is_some_and(|tree| name == "cgroup" || tree.controllers.iter().any(|c| c == name))
    };
    let we_have = |name: &str| placement.tree_of(name).is_some() || name == "cgroup" && placement.v2_tree().is_some();
    facts.rootless() && (placement.is_none() || controllers(limit).any(host_has) && !controllers(limit).any(we_have))
}

/// The one warning.
pub(super) fn warning(left_out: &[Asked], facts: &Facts) -> Option<ConfigError> {
    let fields: Vec<&str> =
        left_out.iter().map(|a| a.pointer.strip_prefix("/linux/resources/").unwrap_or(&a.pointer)).collect();
    let legacy = |limit: &Limit| {
        v1::controller(limit)
            .is_some_and(|name| facts.cgroups.v1.iter().any(|v1| v1.controllers.iter().any(|c| c == name)))
    };
    let why = match (&facts.cgroups.v2, left_out.iter().any(|asked| legacy(&asked.limit))) {
        _ if left_out.is_empty() => return None,
        (_, true) => "they are cgroup v1's here, which only root can manage safely".to_owned(),
        (None, false) => "no cgroup hierarchy is mounted here".to_owned(),
        (Some(_), false) => {
            let mut missing: Vec<&str> = left_out.iter().filter_map(|a| v2::controller(&a.limit)).collect();
            missing.sort_unstable();
            missing.dedup();
            let session = match facts.delegated.is_empty() {
                true => "; then run rt in the user's own session: systemd-run --user --scope -p Delegate=yes rt ...",
                false => "",
            };
            format!(
                "the cgroup controllers {} are not delegated to uid {}: as root write \"[Service]\" and \
                 \"Delegate=cpu cpuset io memory pids\" to {DROP_IN}, run systemctl daemon-reload, and log in again{session}",
                missing.join(" "),
                facts.euid
            )
        }
    };
    Some(ConfigError::at("/linux/resources", format!("running without {}: {why}", fields.join(", "))))
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Spec;
    use serde_json::json;

    use crate::cgroups::lower;
    use crate::facts::{CgroupTrees, Delegated, Facts, Unified};

    fn facts(delegated: Option<&[&str]>) -> Facts {
        let words = |list: &[&str]| list.iter().map(|c| (*c).to_owned()).collect();
        let v2 = Unified {
            mountpoint: "/cg".into(),
            own: "/user.slice/a/b.scope".into(),
            controllers: words(&["cpu", "memory", "pids"]),
        };
        let delegated = delegated.map(|controllers| Delegated {
            mountpoint: "/cg".into(),
            directory: "user.slice/a".into(),
            controllers: words(controllers),
        });
        let cgroups = CgroupTrees { v1: Vec::new(), v2: Some(v2) };
        Facts { euid: 1000, cgroups, delegated: delegated.into_iter().collect(), ..Facts::default() }
    }

    fn lowered(facts: &Facts) -> (Vec<String>, Vec<String>, Vec<String>) {
        let resources = json!({"memory": {"limit": 1_000_000}, "pids": {"limit": 9}, "cpu": {"shares": 100}});
        let spec: Spec =
            serde_json::from_value(json!({"ociVersion": "1.2.0", "linux": {"resources": resources}})).unwrap();
        let mut complaints = Vec::new();
        let lowered = lower(&spec, facts, "box", false, &mut complaints);
        let words = |errors: &[crate::error::ConfigError]| errors.iter().map(ToString::to_string).collect();
        (lowered.prepare.iter().map(|s| s.op.to_string()).collect(), words(&lowered.warnings), words(&complaints))
    }

    #[test]
    fn with_everything_delegated_all_limits_are_set() {
        let (steps, warnings, complaints) = lowered(&facts(Some(&["cpu", "memory", "pids"])));
        assert_eq!(
            steps,
            [
                "make cgroup /cg/user.slice/a/box",
                "enable the controllers cpu memory pids above it",
                "memory.max = 1000000",
                "cpu.weight = 17",
                "pids.max = 9"
            ]
        );
        assert_eq!((warnings, complaints), (vec![], vec![]));
    }

    #[test]
    fn what_is_not_delegated_is_left_out_with_one_warning_that_names_the_drop_in() {
        let (steps, warnings, complaints) = lowered(&facts(Some(&["pids"])));
        assert_eq!(steps.last().unwrap(), "pids.max = 9");
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.starts_with("/linux/resources: running without memory/limit, cpu/shares: "), "{warning}");
        assert!(warning.contains("controllers cpu memory are not delegated to uid 1000"), "{warning}");
        assert!(warning.contains("user@.service.d/delegate.conf") && warning.contains("Delegate=cpu"), "{warning}");
        assert!(!warning.contains("systemd-run") && complaints.is_empty(), "{warning}");
    }

    #[test]
    fn without_any_delegation_there_is_no_cgroup_and_one_warning() {
        let (steps, warnings, complaints) = lowered(&facts(None));
        assert_eq!((steps, complaints), (vec![], vec![]));
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.contains("delegate.conf") && warning.contains("systemd-run --user --scope"), "{warning}");
    }

    #[test]
    fn who_says_rootless_false_gets_errors_instead() {
        let facts = Facts { as_rootless: Some(false), ..facts(None) };
        let (steps, warnings, _) = lowered(&facts);
        assert_eq!(steps[0], "make cgroup /cg/box");
        assert!(warnings.is_empty());
    }
}
