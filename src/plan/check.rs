//! The order rules, as data with their reasons. A plan that breaks one is a bug of ours: tests hold every golden plan
//! against them, and a debug build every plan it makes.

use super::lower::overlap::shows_network;
use super::{InitOp, Plan};
use crate::{identity, namespaces, rootfs};

/// What a rule talks about.
type Matches = fn(&InitOp) -> bool;

/// `first` never comes after `then`.
pub struct Rule {
    /// What the rule calls the earlier one.
    pub first: (&'static str, Matches),
    /// What it calls the later one.
    pub then: (&'static str, Matches),
    /// Why.
    pub why: &'static str,
}

macro_rules! is {
    ($pattern:pat) => {
        |op| matches!(op, $pattern)
    };
}

/// The way into the root.
const WAY_IN: Matches =
    is!(InitOp::Rootfs(rootfs::InitOp::Exchange | rootfs::InitOp::Pivot | rootfs::InitOp::Chroot { .. }));

/// The rules for init's steps.
pub const RULES: &[Rule] = &[
    Rule {
        first: ("join cgroups", is!(InitOp::JoinCgroups)),
        then: ("cgroup namespace", is!(InitOp::Namespace(namespaces::InitOp::NewCgroup))),
        why: "a cgroup namespace is rooted where its maker is (cgroup_namespaces(7))",
    },
    Rule {
        first: ("join namespaces", is!(InitOp::Namespace(namespaces::InitOp::Join { .. }))),
        then: ("mounts", is!(InitOp::Rootfs(rootfs::InitOp::Mount(_)))),
        why: "proc, sysfs and mqueue show the namespaces of who mounts them",
    },
    Rule {
        first: ("network namespace", is!(InitOp::Namespace(namespaces::InitOp::EnterNetwork))),
        then: ("what shows it", shows_network),
        why: "sysfs shows the namespace of who mounts it, and a server is spoken to in it",
    },
    Rule {
        first: ("network namespace", is!(InitOp::Namespace(namespaces::InitOp::EnterNetwork))),
        then: ("hooks and sysctls", is!(InitOp::Hook(_) | InitOp::Namespace(namespaces::InitOp::Sysctl { .. }))),
        why: "they are the container's",
    },
    Rule {
        first: ("source opened by init", is!(InitOp::Rootfs(rootfs::InitOp::Open(_)))),
        then: ("root of the user namespace", is!(InitOp::Namespace(namespaces::InitOp::BecomeRoot))),
        why: "what belongs to the caller is in reach of the caller's own id only",
    },
    Rule {
        first: ("label's file", is!(InitOp::Identity(identity::InitOp::OpenLabel(_)))),
        then: ("mounts", is!(InitOp::Rootfs(_))),
        why: "an image that covers it would get a workload without its label (CVE-2019-16884)",
    },
    Rule {
        first: ("isolation", is!(InitOp::Rootfs(rootfs::InitOp::Isolate { .. }))),
        then: ("mount", is!(InitOp::Rootfs(rootfs::InitOp::AttachRoot { .. } | rootfs::InitOp::Mount(_)))),
        why: "a mount in a shared peer group would reach the host",
    },
    Rule {
        first: (
            "mount, device or link",
            is!(InitOp::Rootfs(rootfs::InitOp::Mount(_) | rootfs::InitOp::Device(_) | rootfs::InitOp::Link { .. })),
        ),
        then: ("mask", is!(InitOp::Rootfs(rootfs::InitOp::Mask { .. } | rootfs::InitOp::ReadonlyPath { .. }))),
        why: "what is mounted later would show what was masked (CVE-2025-31133)",
    },
    Rule {
        first: ("mask", is!(InitOp::Rootfs(rootfs::InitOp::Mask { .. } | rootfs::InitOp::ReadonlyPath { .. }))),
        then: ("pivot", WAY_IN),
        why: "the /dev/null of a mask is the host's, and can be reached before the pivot only",
    },
    Rule {
        first: ("terminal", is!(InitOp::Terminal(_))),
        then: ("mask", is!(InitOp::Rootfs(rootfs::InitOp::Mask { .. }))),
        why: "/dev/console is a mount like the others (CVE-2025-52565)",
    },
    Rule {
        first: ("sysctl", is!(InitOp::Namespace(namespaces::InitOp::Sysctl { .. }))),
        then: ("pivot", WAY_IN),
        why: "sysctls go through the host's procfs, never through one that the image can cover (CVE-2025-52881)",
    },
    Rule {
        first: ("pivot", WAY_IN),
        then: (
            "read-only mount",
            is!(InitOp::Rootfs(rootfs::InitOp::ReadonlyRoot | rootfs::InitOp::ReadonlyMount { .. })),
        ),
        why: "mount points and links are still made before",
    },
    Rule {
        first: ("working directory made", is!(InitOp::Identity(identity::InitOp::MakeCwd(_)))),
        then: ("ids", is!(InitOp::Identity(identity::InitOp::Ids { .. }))),
        why: "only root can make it",
    },
    Rule {
        first: ("resource limits", is!(InitOp::Identity(identity::InitOp::Rlimit { .. }))),
        then: ("ids", is!(InitOp::Identity(identity::InitOp::Ids { .. }))),
        why: "raising one needs CAP_SYS_RESOURCE",
    },
    Rule {
        first: (
            "scheduler and I/O priority",
            is!(InitOp::Identity(identity::InitOp::Scheduler(_) | identity::InitOp::IoPriority { .. })),
        ),
        then: ("ids", is!(InitOp::Identity(identity::InitOp::Ids { .. }))),
        why: "they need CAP_SYS_NICE",
    },
    Rule {
        first: ("the caller's settings forgotten", is!(InitOp::Identity(identity::InitOp::Forget))),
        then: (
            "scheduler and the like",
            is!(InitOp::Identity(
                identity::InitOp::Scheduler(_)
                    | identity::InitOp::IoPriority { .. }
                    | identity::InitOp::MemoryPolicy(_)
            )),
        ),
        why: "it would take back what the config asked for",
    },
    Rule {
        first: ("CPU affinity", is!(InitOp::Identity(identity::InitOp::AllCpus | identity::InitOp::Affinity(_)))),
        then: ("scheduler", is!(InitOp::Identity(identity::InitOp::Scheduler(_)))),
        why: "a SCHED_DEADLINE process may not change its CPUs",
    },
    Rule {
        first: ("join cgroups", is!(InitOp::JoinCgroups)),
        then: ("CPU affinity", is!(InitOp::Identity(identity::InitOp::AllCpus | identity::InitOp::Affinity(_)))),
        why: "all CPUs are those of the cpuset that one is in",
    },
    Rule {
        first: ("groups", is!(InitOp::Identity(identity::InitOp::Groups(_)))),
        then: ("ids", is!(InitOp::Identity(identity::InitOp::Ids { .. }))),
        why: "afterwards we may no longer change them",
    },
    Rule {
        first: ("bounding set", is!(InitOp::Identity(identity::InitOp::Bounding(_)))),
        then: ("ids", is!(InitOp::Identity(identity::InitOp::Ids { .. }))),
        why: "dropping from it needs CAP_SETPCAP",
    },
    Rule {
        first: ("ids", is!(InitOp::Identity(identity::InitOp::Ids { .. }))),
        then: ("capabilities", is!(InitOp::Identity(identity::InitOp::Capabilities { .. }))),
        why: "a change of ids clears what was set before",
    },
    Rule {
        first: ("ids", is!(InitOp::Identity(identity::InitOp::Ids { .. }))),
        then: ("working directory entered", is!(InitOp::Identity(identity::InitOp::Cwd(_)))),
        why: "the workload's own rights decide where it may be",
    },
    Rule {
        first: ("working directory entered", is!(InitOp::Identity(identity::InitOp::Cwd(_)))),
        then: ("look-up", is!(InitOp::Identity(identity::InitOp::LookUp { .. }))),
        why: "a relative executable is relative to it",
    },
    Rule {
        first: ("hook", is!(InitOp::Hook(_))),
        then: (
            "labels, signals, descriptors, filter",
            is!(InitOp::Identity(identity::InitOp::Label { .. } | identity::InitOp::Signals)
                | InitOp::CloseFds { .. }
                | InitOp::LoadSeccomp),
        ),
        why: "hooks run as our children, need what these take away, and must not be labelled",
    },
    Rule {
        first: ("no_new_privs", is!(InitOp::Identity(identity::InitOp::NoNewPrivs))),
        then: ("filter", is!(InitOp::LoadSeccomp)),
        why: "without CAP_SYS_ADMIN the kernel takes a filter only then",
    },
    Rule {
        first: ("anything", |op| !matches!(op, InitOp::LoadSeccomp | InitOp::HandListener { .. })),
        then: ("filter", is!(InitOp::LoadSeccomp)),
        why: "after it only execve: what a profile denies must not be needed by us",
    },
    Rule {
        first: ("filter", is!(InitOp::LoadSeccomp)),
        then: ("its listener", is!(InitOp::HandListener { .. })),
        why: "the kernel gives it when the filter is loaded",
    },
];

/// Every rule that a plan breaks, in words.
pub fn check(plan: &Plan) -> Vec<String> {
    let order: Vec<&InitOp> =
        [&plan.build, &plan.enter, &plan.become_, &plan.start].into_iter().flatten().map(|s| &s.op).collect();
    let mut broken = Vec::new();
    for rule in RULES {
        let then = order.iter().position(|op| rule.then.1(op));
        let first = order.iter().rposition(|op| rule.first.1(op));
        if let (Some(first), Some(then)) = (first, then)
            && first > then
        {
            broken.push(format!("{} must come before {}: {}", rule.first.0, rule.then.0, rule.why));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Step;

    #[test]
    fn a_plan_in_the_wrong_order_is_found() {
        let step = |op| Step::default("test", InitOp::Identity(op));
        let mut plan = Plan::default();
        plan.become_.push(step(identity::InitOp::Ids { uid: 1, gid: 1 }));
        plan.become_.push(step(identity::InitOp::Groups(vec![])));
        let broken = check(&plan);
        assert_eq!(broken, ["groups must come before ids: afterwards we may no longer change them"]);
        plan.become_.swap(0, 1);
        assert!(check(&plan).is_empty());
    }
}
